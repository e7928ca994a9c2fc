"""The only place where names become objects.

A `Config` holds names and numbers; here each name is looked up in its table (or imported, if it is "module:callable"),
each option is checked against the signature of what it is for, and the pieces are put together into a `Setup`.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from torch import Tensor, nn

from zerosum import draws
from zerosum.config import Choice, Config, Latent, PenaltyChoice, Rules, Tree, explain, with_train
from zerosum.data import DATASETS, Data, checked, from_file
from zerosum.data.order import rows_of
from zerosum.data.record import Form
from zerosum.errors import ConfigError, unknown
from zerosum.game import Batches, Game, Player, State, Term
from zerosum.losses import LOSSES, Loss
from zerosum.nets import NETS, Pair
from zerosum.optimisers import OPTIMISERS, factor
from zerosum.penalties import PENALTIES

T = TypeVar("T")

RESIDENT = 2**30
"""Bytes of training data that are kept in memory (on the device); more than that stays where it is, row by row."""

PLAYERS: tuple[Player, ...] = ("generator", "discriminator")


@dataclass(frozen=True)
class Setup:
    """Everything a run needs, put together."""

    config: Config
    data: Data
    state: State
    game: Game
    batches: Batches


def assemble(config: Config, data: Data | None = None) -> Setup:
    """Build players, rules and data from resolved settings.

    Args:
        config: Settings, see `resolve`.
        data: The data set, if it is already open.

    Raises:
        ConfigError: A name or an option is wrong.
        DataError: The data cannot be trained on.
    """
    data = data or open_data(config)
    device, dtype = torch.device(_usable(config.train.device or "cpu")), getattr(torch, config.train.precision)
    state = new_state(config, data.form, device, dtype)
    return Setup(config, data, state, rules(config), feed(config, data, device, dtype))


def resolve(config: Config) -> Config:
    """The same settings with every option and every choice of this machine filled in."""
    pair = _pair(config)
    nets = {
        "generator": options(config.nets.generator, "nets.generator", pair.generator, takes=("shape", "latent")),
        "discriminator": options(config.nets.discriminator, "nets.discriminator", pair.discriminator, takes=("shape",)),
    }
    loss = _expect(Loss, lookup(LOSSES, config.loss.name, "loss"), f"loss = {config.loss.name}")
    moves: Tree = {
        player: _filled(
            choice, f"optimisers.{player}", lookup(OPTIMISERS, choice.name, "optimiser"), takes=("parameters",)
        )
        for player in PLAYERS
        if (choice := getattr(config.optimisers, player))
    }
    for penalty in config.penalties:
        _term(penalty)
    _refuse_contradictions(config, loss)
    parts = {
        "data": _filled(_absolute(config.data), "data", _opener(config.data), takes=()),
        "nets": config.nets.model_copy(update=nets),
        "loss": _filled(config.loss, "loss", loss.discriminator, loss.generator, takes=("real", "fake")),
        "optimisers": config.optimisers.model_copy(update=moves),
    }
    return with_train(
        config.model_copy(update=parts),
        device=best_device() if config.train.device is None else _usable(config.train.device),
        threads=config.train.threads or torch.get_num_threads(),
    )


def open_data(config: Config) -> Data:
    """The data set of the settings, looked at and found fit to train on."""
    opener = _opener(config.data)
    data = opener(**options(config.data.options, "data", opener))
    return checked(_expect(Data, data, f"data = {config.data.name}"))


def is_file(name: str) -> bool:
    """Whether a data set is named by its file: an ending tells, which no row of DATASETS has."""
    return name.lower().endswith((".npy", ".npz", ".csv")) or (":" not in name and bool(Path(name).suffix))


def suited(data: Data) -> tuple[str, list[str], str]:
    """The recipe to start from for a user's own data, what to change in it, and why.

    Points start from `grid`, with as many latent numbers as dimensions, lest the samples lie on a sheet. Images start
    from `digits`. Where there are few rows, a batch is a quarter of them.
    """
    batch = min(Rules().batch, max(4, len(data.train) // 4))
    changes = ['source="the recipe that suits the data"', f'about="{data.name}"', f"game.batch={batch}"]
    if data.kind == "points":
        why = "points have no neighbourhoods that a convolution could use, so both players are perceptrons"
        return "grid", [*changes, f"latent.size={max(2, data.shape[0])}"], why
    return "digits", changes, f"images of {data.shape[1]} x {data.shape[2]} are played by perceptrons over all pixels"


def new_generator(config: Config, form: Form) -> nn.Module:
    """G as it is before the first round."""
    with _seeded(config.train.seed, "generator"), _making("generator"):
        net = _pair(config).generator(form.shape, config.latent.size, **config.nets.generator)
    return _expect(nn.Module, net, f"nets.name = {config.nets.name}")


def new_discriminator(config: Config, form: Form) -> nn.Module:
    """D as it is before the first round."""
    with _seeded(config.train.seed, "discriminator"), _making("discriminator"):
        net = _pair(config).discriminator(form.shape, **config.nets.discriminator)
    return _expect(nn.Module, net, f"nets.name = {config.nets.name}")


def new_state(config: Config, form: Form, device: torch.device, dtype: torch.dtype) -> State:
    """Both players and the average before the first round."""
    return state_of(config, new_generator(config, form), new_discriminator(config, form), device, dtype)


def state_of(
    config: Config, generator: nn.Module, discriminator: nn.Module, device: torch.device, dtype: torch.dtype
) -> State:
    """A state around two networks."""
    generator, discriminator = generator.to(device, dtype), discriminator.to(device, dtype)
    moves: dict[Player, torch.optim.Optimizer] = {}
    for player, net in (("generator", generator), ("discriminator", discriminator)):
        choice: Choice = getattr(config.optimisers, player)
        where, move = f"optimisers.{player}", lookup(OPTIMISERS, choice.name, "optimiser")
        made = move(net.parameters(), **options(choice.options, where, move))
        moves[player] = _expect(torch.optim.Optimizer, made, f"{where} = {choice.name}")  # type: ignore[index]
    return State(generator, discriminator, copy_of(generator), moves)


def copy_of(net: nn.Module) -> nn.Module:
    """A copy that is never trained and judges nothing by its batch."""
    return deepcopy(net).requires_grad_(False).eval()


def rules(config: Config) -> Game:
    """The game of the settings."""
    loss = lookup(LOSSES, config.loss.name, "loss")
    return Game(
        loss=bound(loss, config.loss),
        latent=latent(config.latent),
        batch=config.game.batch,
        penalties=tuple(_term(choice) for choice in config.penalties),
        k=config.game.k,
        order=config.game.order,
        halved=config.game.terms == "halved",
        flip=config.game.flip,
        clip=config.game.clip,
        seed=config.train.seed,
        value=bound(loss, _unsmoothed(config.loss)).discriminator,
        one_pass=_pair(config).independent,
        schedule=partial(factor, config.schedule),
        half_life=config.average.half_life,
        ramp=config.average.ramp,
    )


def _term(choice: PenaltyChoice) -> Term:
    penalty = lookup(PENALTIES, choice.name, "penalty")
    given = options(choice.options, f"penalties ({choice.name})", penalty, takes=("round",))
    return Term(choice.name, partial(penalty, **given), choice.weight, choice.every)


def bound(loss: Loss, choice: Choice) -> Loss:
    """A loss with its options put in."""
    given = options(choice.options, "loss", loss.discriminator, loss.generator)
    bind = lambda cost: partial(cost, **{key: given[key] for key in given if key in _keywords(cost)})  # noqa: E731
    return loss._replace(discriminator=bind(loss.discriminator), generator=bind(loss.generator))


def _unsmoothed(choice: Choice) -> Choice:
    return Choice(name=choice.name, **{key: value for key, value in choice.options.items() if key != "smoothing"})


def latent(law: Latent) -> Callable[..., Tensor]:
    """(n, seed, *key) -> noise z (n, size)."""
    if law.law == "normal":
        return lambda n, seed, *key: draws.normal((n, law.size), seed, *key)
    return lambda n, seed, *key: law.low + (law.high - law.low) * draws.uniform((n, law.size), seed, *key)


def feed(config: Config, data: Data, device: torch.device, dtype: torch.dtype) -> Batches:
    """Where batches come from: rows that stay on the device if they fit, else fetched as they are needed."""
    seed, size, n = config.train.seed, config.game.batch, len(data.train)
    if n < size:
        raise ConfigError(
            f"game.batch = {size} is more than the {n} training rows. Try --set game.batch={max(1, n // 4)}"
        )
    stored = torch.uint8 if data.train.x.dtype == np.uint8 else dtype
    if data.train.x[:1].nbytes * n > RESIDENT:
        fetch = lambda rows: _tensor(data.train[rows][0], stored).to(device, non_blocking=True)  # noqa: E731
    else:
        whole = _tensor(data.train[np.arange(n)][0], stored).to(device)
        fetch = lambda rows: whole[torch.from_numpy(rows).to(device)]  # noqa: E731

    def batch(number: int) -> tuple[Tensor, None]:
        return data.form.encode(fetch(rows_of(number, size, n, seed)).to(dtype)), None

    return batch


def lookup(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """The row of that name, or the object at "module:name".

    Raises:
        ConfigError: There is no such row, or nothing to import.
    """
    if name in table:
        return table[name]
    if ":" not in name:
        raise ConfigError(unknown(kind, name, table) + '. One of your own is written "module:name"')
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError, SyntaxError) as error:
        raise ConfigError(f"the {kind} '{name}' cannot be imported: {error}") from None


def options(
    given: Mapping[str, Any], where: str, *functions: Callable[..., Any], takes: Sequence[str] | None = None
) -> Tree:
    """The keyword-only arguments of functions: those given, checked, and the defaults of the others.

    Args:
        given: Names and values.
        where: The setting that holds them.
        functions: Rows of a table, or functions of the user's own.
        takes: What they are called with besides; None: that is not looked at.

    Raises:
        ConfigError: One that no function takes, a value of the wrong type or range, or a function that does not fit.
    """
    fields: Tree = {}
    for function in functions:
        hints, keywords = _declared(function, where, takes)
        for name, parameter in keywords.items():
            required = parameter.default is inspect.Parameter.empty
            fields[name] = (hints.get(name, Any), ... if required else parameter.default)
    closed = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    model: type[BaseModel] = create_model("Options", __config__=closed, **fields)
    try:
        return model.model_validate(dict(given)).model_dump()
    except ValidationError as error:
        raise ConfigError(explain(error, model, "the settings", prefix=where)) from None


def best_device() -> str:
    """`cuda` where there is one, else `mps`, else `cpu`."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _usable(device: str) -> str:
    """The device, once a number has been there and back.

    Raises:
        ConfigError: This machine or this torch has no such device.
    """
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = re.split(r"[.!]\s|[.!]?\n|[.!]$", str(error), maxsplit=1)[0]  # less torch's table of kernels
        raise ConfigError(
            f"train.device = '{device}' cannot be used here: {reason}. "
            f"Leave it out, and the best there is ({best_device()}) is used"
        ) from None
    return device


def _keywords(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters.items()
    return {name: parameter for name, parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _declared(
    function: Callable[..., Any], where: str, takes: Sequence[str] | None
) -> tuple[Tree, dict[str, inspect.Parameter]]:
    """Types and keyword-only arguments of a function, once it is seen to take what it will be called with."""
    try:
        hints = get_type_hints(function.func if isinstance(function, partial) else function, include_extras=True)
        keywords = _keywords(function)
        if takes is not None:
            inspect.signature(function).bind(*takes, **keywords)
    except (TypeError, ValueError, NameError) as error:
        call = "" if takes is None else f" with ({', '.join(takes)})"
        raise ConfigError(f"{where}: {function!r} cannot be called{call}: {error}") from None
    return hints, keywords


def _expect(kind: type[T], found: Any, where: str) -> T:
    """What was found, once it is seen to be of that kind."""
    if not isinstance(found, kind):
        raise ConfigError(f"{where}: expected {kind.__name__}, found {type(found).__name__}")
    return found


def _pair(config: Config) -> Pair:
    return _expect(Pair, lookup(NETS, config.nets.name, "pair of networks"), f"nets.name = {config.nets.name}")


def _filled(choice: Choice, where: str, *functions: Callable[..., Any], takes: Sequence[str]) -> Choice:
    return Choice(name=choice.name, **options(choice.options, where, *functions, takes=takes))


def _opener(choice: Choice) -> Callable[..., Data]:
    if is_file(choice.name):
        return partial(from_file, choice.name)
    opener: Callable[..., Data] = lookup(DATASETS, choice.name, "data set")
    return opener


def _absolute(choice: Choice) -> Choice:
    """The same data file from any working folder."""
    if not is_file(choice.name):
        return choice
    try:
        path = Path(choice.name).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"data = {choice.name!r} cannot be a file: {error}") from None
    return Choice(name=path.as_posix(), **choice.options)


def _tensor(x: NDArray[Any], dtype: torch.dtype) -> Tensor:
    """An array as a tensor; kinds that torch does not know (uint16, bool, foreign byte orders) by way of a float."""
    x = np.ascontiguousarray(x)
    known = x.dtype.isnative and (x.dtype.kind in "fi" or x.dtype == np.uint8)
    return torch.from_numpy(x if known else x.astype(np.float32 if x.itemsize < 4 else np.float64)).to(dtype)


def _refuse_contradictions(config: Config, loss: Loss) -> None:
    """Settings that are right one by one and mean nothing together."""
    if config.game.terms == "halved" and loss.terms == 1:
        raise ConfigError(f"game.terms = 'halved' means nothing for {config.loss.name}: D pays one term per pair")


@contextmanager
def _making(player: Player) -> Iterator[None]:
    """Say which player could not be built: sizes that fit into no memory, options its layers refuse."""
    try:
        yield
    except (RuntimeError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ConfigError(f"nets.{player} cannot be built: {str(error).splitlines()[0]}") from error


@contextmanager
def _seeded(seed: int, purpose: str) -> Iterator[None]:
    """Set torch's random state for the making of a player, and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        draws.set_global(seed, purpose)
        yield
