"""Puts a game together: from settings whose names are looked up (see `resolved`) to players, batches and an engine."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from zerosum import memory, rng
from zerosum.config.registry import expect
from zerosum.config.settings import Config
from zerosum.data import Data
from zerosum.data.loader import batch_loader
from zerosum.engine import SINGLE, Compute, World, with_global_batch_norm, with_shared_dropout
from zerosum.engine.device import channels_last, place
from zerosum.errors import ConfigError
from zerosum.game.engine import EAGER, FULL_BATCH, Eager, Engine, Shard
from zerosum.game.forward import call_stateless
from zerosum.game.state import Batches, Game, Player, State
from zerosum.kernels import input_grad_kernel, with_fast_layers
from zerosum.nets import NETS, ConditionalGenerator, Discriminator, Networks, ProjectionDiscriminator, declared
from zerosum.resolved import Resolved
from zerosum.spec import SampleSpec


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


def assemble(resolved: Resolved, data: Data | None = None, world: World = SINGLE) -> Setup:
    """Build players, engine and batches.

    Args:
        resolved: The settings, with the choices of this machine.
        data: The data set, if it is already open.
        world: The processes that play together.

    Raises:
        ConfigError: The networks do not fit the data or each other, or they cannot be built.
        DataError: The data cannot be trained on.
    """
    data, config = data or resolved.open_data(), resolved.config
    shards = world.shards(resolved.game.batch, config.game.accumulate)
    generator = new_generator(config, resolved.networks, data.spec, data)
    discriminator = new_discriminator(config, resolved.networks, data.spec)
    _refuse_lone_rows(resolved, data.spec, generator, discriminator, world)
    state = state_of(resolved, generator, discriminator, shards, world)
    engine = engine_for(config, state, shards, world)
    game = replace(resolved.game, one_pass=declared(resolved.networks.per_sample, data.spec.shape))
    batches = batch_loader(
        data, game.batch, game.seed, *place(config, world), labelled=game.conditional, mine=engine.rows
    )
    return Setup(config, data, state, game, batches, engine, world)


def engine_for(config: Config, state: State, shards: tuple[Shard, ...], world: World = SINGLE) -> Engine:
    """How steps of these players are computed: the plain engine where there is nothing to divide or to round."""
    bfloat16 = config.train.precision == "bfloat16"
    kernel = input_grad_kernel(state.discriminator) if config.train.kernels == "on" else None
    return Compute(state, shards, world, bfloat16, kernel) if bfloat16 or shards != (FULL_BATCH,) else Eager(kernel)


def new_generator(config: Config, networks: Networks, spec: SampleSpec, data: Data | None = None) -> nn.Module:
    """G as it is before the first round; without the data, what depends on its statistics starts at zero."""
    classes, size, make = class_count(config, spec), config.latent.size, networks.generator
    statistics = {"mean": data.mean()} if data and "mean" in inspect.signature(make).parameters else {}
    with _seeded(config.train.seed, "generator"), _making("generator"):
        embedding = config.nets.label_size if classes else 0
        net = make(spec.shape, size + embedding, **statistics)
        net = ConditionalGenerator(net, classes, embedding) if classes else net
    return _finished(config, net)


def new_discriminator(config: Config, networks: Networks, spec: SampleSpec) -> nn.Module:
    """D as it is before the first round."""
    classes = class_count(config, spec)
    with _seeded(config.train.seed, "discriminator"), _making("discriminator"):
        net = networks.discriminator(spec.shape)
        if classes:
            net = ProjectionDiscriminator(
                expect(Discriminator, net, f"nets.name = {config.nets.name}, with conditions"), classes
            )
    return _finished(config, net)


def _finished(config: Config, net: Any) -> nn.Module:
    """A network as it was built; one of ours with fast layers, if the settings want kernels."""
    net = expect(nn.Module, net, f"nets.name = {config.nets.name}")
    return with_fast_layers(net) if config.train.kernels == "on" and config.nets.name in NETS else net


def class_count(config: Config, spec: SampleSpec) -> int:
    """The number of classes that the players are conditioned on; 0 where there are no conditions.

    Raises:
        ConfigError: Classes are asked for, and the data has none.
    """
    if config.nets.conditions == "none":
        return 0
    if not spec.classes:
        raise ConfigError("nets.conditions = 'labels' needs data with classes: see data.labels")
    return len(spec.classes)


def _refuse_lone_rows(
    resolved: Resolved, spec: SampleSpec, generator: nn.Module, discriminator: nn.Module, world: World
) -> None:
    """Make sure that players which are to see a single row at a time can: batch normalization has no mean of one.

    Raises:
        ConfigError: One of them cannot.
    """
    config = resolved.config
    together = world.size > 1 and config.train.statistics == "all"
    if config.game.batch // world.size > 1 or together:
        return
    c = torch.zeros(1, dtype=torch.long) if resolved.game.conditional else None
    z, x = resolved.game.latent(1, 0).float(), torch.zeros(1, *spec.shape)
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
    resolved: Resolved,
    generator: nn.Module,
    discriminator: nn.Module,
    shards: tuple[Shard, ...] = (FULL_BATCH,),
    world: World = SINGLE,
) -> State:
    """A state around two networks: where and as they are trained, with their optimizers and the average."""
    device, dtype = place(resolved.config, world)
    nets = (divided(net, resolved.config, shards, world) for net in (generator, discriminator))
    generator, discriminator = (channels_last(net.to(device, dtype)) for net in nets)
    players: dict[Player, nn.Module] = {"generator": generator, "discriminator": discriminator}
    optimizers = {player: resolved.optimizers[player](net.parameters()) for player, net in players.items()}
    return State(generator, discriminator, copy_of(generator), optimizers)


def divided(net: nn.Module, config: Config, shards: tuple[Shard, ...], world: World) -> nn.Module:
    """The same network, ready to see a part of each batch: what has to look at the whole batch still does."""
    if shards == (FULL_BATCH,):
        return net
    net = with_shared_dropout(net, config.game.batch * config.game.accumulate)
    return with_global_batch_norm(net, world) if world.size > 1 and config.train.statistics == "all" else net


def copy_of(net: nn.Module) -> nn.Module:
    """A copy that is never trained and judges nothing by its batch."""
    return deepcopy(net).requires_grad_(False).eval()


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
