"""The only place where names become objects.

A `Config` holds names and numbers; here each name is looked up in its table, each option is checked against the
signature of what it is for (see `lookup`), and the pieces are put together into a `Setup`.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from zerosum import memory, permission, rng
from zerosum.config.recipes import code_settings, is_code, with_train
from zerosum.config.registry import expect, keywords, lookup, options
from zerosum.config.settings import Choice, Config, Latent, Nets, PenaltyChoice, Tree
from zerosum.data import DATASETS, Data, validate
from zerosum.data.loader import batch_loader
from zerosum.data.source import absolute, is_folder, opener
from zerosum.engine import SINGLE, Compute, World, with_global_batch_norm, with_shared_dropout
from zerosum.engine.device import best_device, channels_last, place, usable
from zerosum.engine.precision import has_fast_bfloat16
from zerosum.errors import ConfigError, Untrusted, named
from zerosum.game.engine import EAGER, FULL_BATCH, Engine, Shard
from zerosum.game.forward import call_stateless
from zerosum.game.losses import LOSSES, Loss
from zerosum.game.optimizers import OPTIMIZERS, factor
from zerosum.game.penalties import PENALTIES, Penalty, as_penalty
from zerosum.game.state import Batches, Game, Player, State, Term
from zerosum.nets import NETS, ConditionalGenerator, Discriminator, Pair, ProjectionDiscriminator, is_per_sample
from zerosum.spec import SampleSpec

PLAYERS: tuple[Player, ...] = ("generator", "discriminator")


@dataclass(frozen=True)
class Setup:
    """Everything a run needs, put together."""

    config: Config
    data: Data
    state: State
    game: Game
    batches: Batches
    engine: Engine = EAGER
    world: World = SINGLE


def assemble(config: Config, data: Data | None = None, world: World = SINGLE) -> Setup:
    """Build players, rules and data from resolved settings.

    Args:
        config: Settings, see `resolve`.
        data: The data set, if it is already open.
        world: The processes that play together.

    Raises:
        ConfigError: A name or an option is wrong.
        DataError: The data cannot be trained on.
    """
    data = data or open_data(config)
    device, dtype = place(config)
    if world.size > 1 and device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    shards = world.shards(config.game.batch * config.game.accumulate, config.game.accumulate)
    state = new_state(config, data, device, dtype, shards, world)
    engine = engine_for(config, state, shards, world)
    game = replace(rules(config), one_pass=is_per_sample(state.discriminator))
    batches = batch_loader(data, game.batch, game.seed, device, dtype, labelled=game.conditional, mine=engine.rows)
    return Setup(config, data, state, game, batches, engine, world)


def engine_for(
    config: Config, state: State, shards: tuple[Shard, ...] = (FULL_BATCH,), world: World = SINGLE
) -> Engine:
    """How steps of these players are computed: the plain engine where there is nothing to divide or to round."""
    bfloat16 = config.train.precision == "bfloat16"
    return Compute(state, shards, world, bfloat16) if bfloat16 or shards != (FULL_BATCH,) else EAGER


def resolve(config: Config) -> Config:
    """The same settings with every option and every choice of this machine filled in."""
    config = filled(config)
    device = best_device() if config.train.device is None else usable(config.train.device)
    precision = config.train.precision
    if precision == "auto":
        gains = _pair(config).large and not _spectral(config.nets) and has_fast_bfloat16(torch.device(device))
        precision = "bfloat16" if gains else "float32"
    threads = config.train.threads or torch.get_num_threads()
    return with_train(config, device=device, precision=precision, threads=threads)


def filled(config: Config, code: bool = True) -> Config:
    """The same settings with every option filled in; what a machine decides stays open.

    Args:
        config: Settings.
        code: Whether names of code are followed. If not, nothing is imported, and the options of what is code stay as
            they are given: nobody else knows them.
    """
    left = set() if code else {setting for setting, _ in code_settings(config)}
    parts: Tree = {}
    if "nets.name" not in left:
        parts["nets"] = _filled_nets(config)
    if "loss" not in left:
        parts["loss"] = _filled_loss(config)
    moves: Tree = {}
    for player in PLAYERS:
        choice, where = getattr(config.optimizers, player), f"optimizers.{player}"
        if where not in left:
            moves[player] = _filled(choice, where, lookup(OPTIMIZERS, choice.name, "optimizer"), takes=("parameters",))
    parts["optimizers"] = config.optimizers.model_copy(update=moves)
    for number, penalty in enumerate(config.penalties):
        if f"penalties.{number}" not in left:
            _term(penalty)
    if "data" not in left or is_folder(config.data.name):
        parts["data"] = _filled(absolute(config.data), "data", opener(config.data), takes=())
    return config.model_copy(update=parts)


def _filled_nets(config: Config) -> Nets:
    pair = _pair(config)
    nets = {
        "generator": options(config.nets.generator, "nets.generator", pair.generator, takes=("shape", "latent")),
        "discriminator": options(config.nets.discriminator, "nets.discriminator", pair.discriminator, takes=("shape",)),
    }
    return config.nets.model_copy(update=nets)


def _filled_loss(config: Config) -> Choice:
    loss = lookup(LOSSES, config.loss.name, "loss")
    if not isinstance(loss, Loss):
        raise ConfigError(
            f"loss = {config.loss.name}: expected a zerosum.Loss(discriminator, generator), two functions of logits "
            f"(real, fake); found {type(loss).__name__}"
        )
    _refuse_contradictions(config, loss)
    return _filled(config.loss, "loss", loss.discriminator, loss.generator, takes=("real", "fake"))


def open_data(config: Config) -> Data:
    """The data set of the settings, looked at and found fit to train on.

    Raises:
        Untrusted: It is not one of DATASETS, and the command that runs may not open it (see `permission`).
        ConfigError: There is no such data set, or it has no such options.
        DataError: It cannot be trained on.
    """
    name, allowed = config.data.name, permission.current()
    if name not in DATASETS and not (allowed.code if is_code(name) else allowed.paths):
        raise Untrusted(
            f"the data that the settings name was not opened ({named(name)}), since this run was not made here. "
            "`zerosum evaluate RUN --data PATH` names it; --trust follows the settings"
        )
    open_it = opener(config.data)
    data = open_it(**options(config.data.options, "data", open_it))
    return validate(expect(Data, data, f"data = {name}"))


def new_generator(config: Config, form: SampleSpec, data: Data | None = None) -> nn.Module:
    """G as it is before the first round; without the data, what depends on its statistics starts at zero."""
    classes, size = class_count(config, form), config.latent.size
    make = _pair(config).generator
    statistics = {"mean": data.mean()} if data and "mean" in inspect.signature(make).parameters else {}
    with _seeded(config.train.seed, "generator"), _making("generator"):
        embedding = config.nets.label_size if classes else 0
        net = make(form.shape, size + embedding, **statistics, **config.nets.generator)
        net = ConditionalGenerator(net, classes, embedding) if classes else net
    return expect(nn.Module, net, f"nets.name = {config.nets.name}")


def new_discriminator(config: Config, form: SampleSpec) -> nn.Module:
    """D as it is before the first round."""
    classes = class_count(config, form)
    with _seeded(config.train.seed, "discriminator"), _making("discriminator"):
        net = _pair(config).discriminator(form.shape, **config.nets.discriminator)
        if classes:
            net = ProjectionDiscriminator(
                expect(Discriminator, net, f"nets.name = {config.nets.name}, with conditions"), classes
            )
    return expect(nn.Module, net, f"nets.name = {config.nets.name}")


def class_count(config: Config, form: SampleSpec) -> int:
    """The number of classes that the players are conditioned on; 0 where there are no conditions.

    Raises:
        ConfigError: Classes are asked for, and the data has none.
    """
    if config.nets.conditions == "none":
        return 0
    if not form.classes:
        raise ConfigError("nets.conditions = 'labels' needs data with classes: see data.labels")
    return len(form.classes)


def new_state(
    config: Config,
    data: Data,
    device: torch.device,
    dtype: torch.dtype,
    shards: tuple[Shard, ...] = (FULL_BATCH,),
    world: World = SINGLE,
) -> State:
    """Both players and the average before the first round."""
    players = new_generator(config, data.spec, data), new_discriminator(config, data.spec)
    _refuse_lone_rows(config, data.spec, *players, world)
    return state_of(config, *players, device, dtype, shards, world)


def _refuse_lone_rows(
    config: Config, form: SampleSpec, generator: nn.Module, discriminator: nn.Module, world: World
) -> None:
    """Make sure that players which are to see a single row at a time can: batch normalisation has no mean of one.

    Raises:
        ConfigError: One of them cannot.
    """
    together = world.size > 1 and config.train.statistics == "all"
    if config.game.batch // world.size > 1 or together:
        return
    c = torch.zeros(1, dtype=torch.long) if class_count(config, form) else None
    z, x = latent(config.latent)(1, 0).float(), torch.zeros(1, *form.shape)
    for player, net, given in (("generator", generator, z), ("discriminator", discriminator, x)):
        try:
            with torch.no_grad(), _seeded(config.train.seed, "one row"):
                call_stateless(net, given, c)
        except ValueError as error:
            raise ConfigError(
                f"game.batch = {config.game.batch}: the {player} would see one row at a time, and cannot: "
                f"{str(error).splitlines()[0]}. Make game.batch larger"
            ) from None


def state_of(
    config: Config,
    generator: nn.Module,
    discriminator: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    shards: tuple[Shard, ...] = (FULL_BATCH,),
    world: World = SINGLE,
) -> State:
    """A state around two networks."""
    nets = (divided(net, config, shards, world) for net in (generator, discriminator))
    generator, discriminator = (channels_last(net.to(device, dtype)) for net in nets)
    moves: dict[Player, torch.optim.Optimizer] = {}
    for player, net in (("generator", generator), ("discriminator", discriminator)):
        choice: Choice = getattr(config.optimizers, player)
        where, move = f"optimizers.{player}", lookup(OPTIMIZERS, choice.name, "optimizer")
        made = move(net.parameters(), **options(choice.options, where, move))
        moves[player] = expect(torch.optim.Optimizer, made, f"{where} = {choice.name}")  # type: ignore[index]
    state = State(generator, discriminator, copy_of(generator), moves)
    return state


def divided(net: nn.Module, config: Config, shards: tuple[Shard, ...], world: World) -> nn.Module:
    """The same network, ready to see a part of each batch: what has to look at the whole batch still does."""
    if shards == (FULL_BATCH,):
        return net
    net = with_shared_dropout(net, config.game.batch * config.game.accumulate)
    return with_global_batch_norm(net, world) if world.size > 1 and config.train.statistics == "all" else net


def copy_of(net: nn.Module) -> nn.Module:
    """A copy that is never trained and judges nothing by its batch."""
    return deepcopy(net).requires_grad_(False).eval()


def rules(config: Config) -> Game:
    """The game of the settings."""
    loss = lookup(LOSSES, config.loss.name, "loss")
    return Game(
        loss=bound(loss, config.loss),
        latent=latent(config.latent),
        batch=config.game.batch * config.game.accumulate,
        penalties=tuple(_term(choice) for choice in config.penalties),
        k=config.game.k,
        order=config.game.order,
        reduction=config.game.reduction,
        flip=config.game.flip,
        clip=config.game.clip,
        seed=config.train.seed,
        unsmoothed_cost=bound(loss, _unsmoothed(config.loss)).discriminator,
        conditional=config.nets.conditions == "labels",
        schedule=partial(factor, config.schedule),
        half_life=config.ema.half_life,
        ramp=config.ema.ramp,
    )


def _term(choice: PenaltyChoice) -> Term:
    function, needs = as_penalty(lookup(PENALTIES, choice.name, "penalty"))
    where = f"penalties ({choice.name})"
    given = options(choice.options, where, function, takes=("seen",), siblings=("weight", "every"))
    return Term(choice.name, Penalty(partial(function, **given), needs), choice.weight, choice.every)


def bound(loss: Loss, choice: Choice) -> Loss:
    """A loss with its options put in."""
    given = options(choice.options, "loss", loss.discriminator, loss.generator)
    bind = lambda cost: partial(cost, **{key: given[key] for key in given if key in keywords(cost)})  # noqa: E731
    return loss._replace(discriminator=bind(loss.discriminator), generator=bind(loss.generator))


def _unsmoothed(choice: Choice) -> Choice:
    return Choice(name=choice.name, **{key: value for key, value in choice.options.items() if key != "smoothing"})


def latent(settings: Latent) -> Callable[..., Tensor]:
    """(n, seed, *key) -> noise z (n, size)."""
    if settings.distribution == "normal":
        return lambda n, seed, *key: rng.normal((n, settings.size), seed, *key)
    return lambda n, seed, *key: (
        settings.low + (settings.high - settings.low) * rng.uniform((n, settings.size), seed, *key)
    )


def _pair(config: Config) -> Pair:
    return expect(Pair, lookup(NETS, config.nets.name, "pair of networks"), f"nets.name = {config.nets.name}")


def _spectral(nets: Nets) -> bool:
    """Whether a player divides its matrices by their singular values, which takes more digits than bfloat16 has."""
    return any(options.get("spectral", False) for options in (nets.generator, nets.discriminator))


def _filled(choice: Choice, where: str, *functions: Callable[..., Any], takes: Sequence[str]) -> Choice:
    return Choice(name=choice.name, **options(choice.options, where, *functions, takes=takes))


def _refuse_contradictions(config: Config, loss: Loss) -> None:
    """Settings that are right one by one and mean nothing together."""
    if config.game.reduction == "mean" and loss.paired:
        raise ConfigError(f"game.reduction = 'mean' means nothing for {config.loss.name}: D pays one term per pair")


@contextmanager
def _making(player: Player) -> Iterator[None]:
    """Say which player could not be built: sizes that fit into no memory, options its layers refuse."""
    try:
        with _within_memory(player):
            yield
    except (RuntimeError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ConfigError(f"nets.{player} cannot be built: {str(error).splitlines()[0]}") from error


@contextmanager
def _within_memory(player: Player) -> Iterator[None]:
    """Stop the building of a network as soon as its weights, and as many gradients, take more memory than there is.

    Raises:
        ConfigError: They do.
    """
    there, held = memory.total(), 0

    def count(_: nn.Module, __: str, weight: nn.Parameter | None) -> None:
        nonlocal held
        held += 0 if weight is None or weight.is_meta else 2 * weight.nbytes
        if there is not None and held > there:
            raise ConfigError(
                f"nets.{player} cannot be built: its weights and their gradients take more than the "
                f"{there / 1e9:,.1f} GB of memory that this machine has. Make it narrower, or give it fewer layers"
            )

    counting = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        counting.remove()


@contextmanager
def _seeded(seed: int, purpose: str) -> Iterator[None]:
    """Set torch's random state for the making of a player, and put it back afterwards."""
    with torch.random.fork_rng(devices=[]):
        rng.set_global(seed, purpose)
        yield
