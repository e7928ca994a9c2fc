"""Settings with their names looked up: the only place where names become objects.

A `Config` holds names and numbers. `look_up` finds each name in its table, checks its options against the signature of
the row (see `registry`) and binds them; a `Resolved` holds the resulting functions, and whoever receives it looks
nothing up again. `on_this_machine` then fills the settings that a machine decides. The two are separate because a
resumed run keeps the choices of the machine on which it started.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from zerosum import permission, rng
from zerosum.config.recipes import code_settings, is_code, with_train
from zerosum.config.registry import expect, keywords, lookup, options
from zerosum.config.settings import Choice, Config, Latent, Nets, PenaltyChoice, Tree
from zerosum.data import DATASETS, Data, validate
from zerosum.data.source import absolute, is_folder, opener
from zerosum.engine.device import best_device, usable
from zerosum.engine.precision import has_fast_bfloat16
from zerosum.errors import ConfigError, Untrusted, named
from zerosum.game.losses import LOSSES, Cost, Loss
from zerosum.game.optimizers import OPTIMIZERS, factor
from zerosum.game.penalties import PENALTIES, Penalty, as_penalty
from zerosum.game.state import Game, Player, Term
from zerosum.nets import NETS, Networks, declared

PLAYERS: tuple[Player, ...] = ("generator", "discriminator")

MakeOptimizer = Callable[..., Any]
"""(parameters) -> a torch optimizer."""


@dataclass(frozen=True)
class Resolved:
    """Settings and the functions that they name, with all options bound."""

    config: Config
    """The settings, every option filled in."""
    open_data: Callable[[], Data]
    """Opens the data set, and checks that it can be trained on."""
    networks: Networks
    """generator(shape, latent) -> G, discriminator(shape) -> D, and what is declared of them with these options."""
    game: Game
    """The rules, with bound loss, penalties and latent."""
    optimizers: dict[Player, MakeOptimizer]

    def with_train(self, **settings: Any) -> "Resolved":
        """Return a copy with some settings of `train` replaced, none of which is bound."""
        return replace(self, config=with_train(self.config, **settings))


def resolve(config: Config) -> Resolved:
    """Look up every name, and fill in what this machine decides.

    Raises:
        ConfigError: A name or an option is wrong, or this machine has no such device.
    """
    return on_this_machine(look_up(config))


def look_up(config: Config) -> Resolved:
    """Look up every name and check every option; what a machine decides stays open.

    Raises:
        ConfigError: A name or an option is wrong.
        Untrusted: A name refers to code, which the running command may not import.
    """
    nets, networks = bind_networks(config.nets)
    loss, game = bind_game(config)
    optimizers = {player: _bind_optimizer(config, player) for player in PLAYERS}
    data, open_data = _bind_data(config.data)
    choices: Tree = {player: choice for player, (choice, _) in optimizers.items()}
    filled = {"nets": nets, "loss": loss, "data": data, "optimizers": config.optimizers.model_copy(update=choices)}
    makers = {player: make for player, (_, make) in optimizers.items()}
    return Resolved(config.model_copy(update=filled), open_data, networks, game, makers)


def on_this_machine(resolved: Resolved) -> Resolved:
    """Choose device, precision and number of threads, where the settings leave them open.

    Raises:
        ConfigError: This machine has no such device.
    """
    train = resolved.config.train
    device = best_device() if train.device is None else usable(train.device)
    precision = train.precision
    if precision == "auto":
        gains = resolved.networks.bf16 and has_fast_bfloat16(torch.device(device))
        precision = "bfloat16" if gains else "float32"
    return resolved.with_train(device=device, precision=precision, threads=train.threads or torch.get_num_threads())


def fill_options(config: Config) -> Config:
    """Fill in the options of all rows without importing code; the options of code stay as they are given.

    Raises:
        ConfigError: A name or an option is wrong.
    """
    code = {setting for setting, _ in code_settings(config)}
    filled: Tree = {}
    if "nets.name" not in code:
        filled["nets"], _ = bind_networks(config.nets)
    if "loss" not in code:
        filled["loss"], *_ = _bind_loss(config)
    if "data" not in code or is_folder(config.data.name):
        filled["data"], _ = _bind_data(config.data)
    for number, penalty in enumerate(config.penalties):
        if f"penalties.{number}" not in code:
            _bind_penalty(penalty)
    known = (player for player in PLAYERS if f"optimizers.{player}" not in code)
    choices: Tree = {player: _bind_optimizer(config, player)[0] for player in known}
    return config.model_copy(update={**filled, "optimizers": config.optimizers.model_copy(update=choices)})


def open_data(choice: Choice) -> Data:
    """Open the data set that the settings name.

    Raises:
        Untrusted: It is not one of DATASETS, and the command that runs may not open it (see `permission`).
        ConfigError: There is no such data set, or it has no such options.
        DataError: It cannot be trained on.
    """
    name, allowed = choice.name, permission.current()
    if name not in DATASETS and not (allowed.code if is_code(name) else allowed.paths):
        raise Untrusted(
            f"the data that the settings name was not opened ({named(name)}), since this run was not made here. "
            "`zerosum evaluate RUN --data PATH` names it; --trust follows the settings"
        )
    return _bind_data(choice)[1]()


def _bind_data(choice: Choice) -> tuple[Choice, Callable[[], Data]]:
    choice = absolute(choice)
    function = opener(choice)
    choice = _filled(choice, "data", function, takes=())
    opened = partial(function, **choice.options)
    return choice, lambda: validate(expect(Data, opened(), f"data = {choice.name}"))


def bind_networks(nets: Nets) -> tuple[Nets, Networks]:
    """Return the settings of the networks with all options, and the networks with the options bound."""
    pair = expect(Networks, lookup(NETS, nets.name, "pair of networks"), f"nets.name = {nets.name}")
    generator = options(nets.generator, "nets.generator", pair.generator, takes=("shape", "latent"))
    discriminator = options(nets.discriminator, "nets.discriminator", pair.discriminator, takes=("shape",))
    bound = pair._replace(
        generator=partial(pair.generator, **generator),
        discriminator=partial(pair.discriminator, **discriminator),
        per_sample=partial(declared, pair.per_sample, **discriminator),
        bf16=declared(pair.bf16, **discriminator),
    )
    return nets.model_copy(update={"generator": generator, "discriminator": discriminator}), bound


def bind_game(config: Config) -> tuple[Choice, Game]:
    """Return the settings of the loss with all options, and the rules with loss, penalties and latent bound."""
    choice, loss, unsmoothed_cost = _bind_loss(config)
    return choice, Game(
        loss=loss,
        latent=latent(config.latent),
        batch=config.game.batch * config.game.accumulate,
        penalties=tuple(_bind_penalty(penalty) for penalty in config.penalties),
        k=config.game.k,
        order=config.game.order,
        reduction=config.game.reduction,
        flip=config.game.flip,
        clip=config.game.clip,
        seed=config.train.seed,
        unsmoothed_cost=unsmoothed_cost,
        conditional=config.nets.conditions == "labels",
        schedule=partial(factor, config.schedule),
        half_life=config.ema.half_life,
        ramp=config.ema.ramp,
    )


def _bind_loss(config: Config) -> tuple[Choice, Loss, Cost]:
    """The settings of the loss with all options, the bound loss, and D's cost without label smoothing."""
    name = config.loss.name
    loss = lookup(LOSSES, name, "loss")
    if not isinstance(loss, Loss):
        raise ConfigError(
            f"loss = {name}: expected a zerosum.Loss(discriminator, generator), two functions of logits "
            f"(real, fake); found {type(loss).__name__}"
        )
    if config.game.reduction == "mean" and loss.paired:
        raise ConfigError(f"game.reduction = 'mean' means nothing for {name}: D pays one term per pair")
    choice = _filled(config.loss, "loss", loss.discriminator, loss.generator, takes=("real", "fake"))

    def bind(cost: Cost, smoothed: bool = True) -> Cost:
        given = choice.options if smoothed else {**choice.options, "smoothing": 0.0}
        return partial(cost, **{key: given[key] for key in given if key in keywords(cost)})

    bound = loss._replace(discriminator=bind(loss.discriminator), generator=bind(loss.generator))
    return choice, bound, bind(loss.discriminator, smoothed=False)


def _bind_penalty(choice: PenaltyChoice) -> Term:
    function, needs = as_penalty(lookup(PENALTIES, choice.name, "penalty"))
    where = f"penalties ({choice.name})"
    given = options(choice.options, where, function, takes=("seen",), siblings=("weight", "every"))
    return Term(choice.name, Penalty(partial(function, **given), needs), choice.weight, choice.every)


def _bind_optimizer(config: Config, player: Player) -> tuple[Choice, MakeOptimizer]:
    choice, where = getattr(config.optimizers, player), f"optimizers.{player}"
    make = lookup(OPTIMIZERS, choice.name, "optimizer")
    choice = _filled(choice, where, make, takes=("parameters",))
    bound = partial(make, **choice.options)
    return choice, lambda parameters: expect(torch.optim.Optimizer, bound(parameters), f"{where} = {choice.name}")


def latent(settings: Latent) -> Callable[..., Tensor]:
    """(n, seed, *key) -> noise z (n, size)."""
    if settings.distribution == "normal":
        return lambda n, seed, *key: rng.normal((n, settings.size), seed, *key)
    return lambda n, seed, *key: (
        settings.low + (settings.high - settings.low) * rng.uniform((n, settings.size), seed, *key)
    )


def _filled(choice: Choice, where: str, *functions: Callable[..., Any], takes: Sequence[str]) -> Choice:
    return Choice(name=choice.name, **options(choice.options, where, *functions, takes=takes))
