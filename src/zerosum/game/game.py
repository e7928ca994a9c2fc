"""Algorithm 1: two players, trained in alternation.

    for number of training rounds:
        for k steps:
            draw m latents z and m data samples x
            D takes a step down the gradient of   mean cost_D(D(x), D(G(z))) + penalties
        draw m latents z
        G takes a step down the gradient of       mean cost_G(D(x), D(G(z)))

Source: Goodfellow et al. 2014, arXiv:1406.2661, Algorithm 1. Two other orders of play are settings; after each round
the moving average of G's weights is updated. A step of one player leaves the other untouched: parameters, buffers and
gradients. Nothing here waits for the device; whoever wants a number from a `Reading` does.

How a step is computed (precision, micro-batches, ranks) is the engine's affair: see `engine`.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zerosum import rng
from zerosum.config.settings import Order
from zerosum.game.engine import EAGER, FULL_BATCH, Costs, Engine, Shard
from zerosum.game.forward import call, call_stateless, frozen, run_discriminator
from zerosum.game.losses import Logits
from zerosum.game.penalties import DiscriminatorPass, Samples
from zerosum.game.state import Batches, Condition, Game, Reading, Readings, State, Term


def play(state: State, game: Game, batches: Batches, engine: Engine = EAGER) -> Readings:
    """Play one round.

    Torch's global random state is set from the seed and the round, so that dropout repeats itself on a resumed run.

    Args:
        state: The players; changed in place, and one round further.
        game: The rules.
        batches: Where data comes from.
        engine: How steps are computed.

    Returns:
        One reading per step of a player, in the order of play.
    """
    for optimizer in state.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * game.schedule(state.round)
    readings = list(ORDERS[game.order](state, game, batches, engine))
    state.round += 1
    update_average(state, game)
    return readings


def discriminator_first(state: State, game: Game, batches: Batches, engine: Engine) -> Iterator[Reading]:
    """Algorithm 1: k steps of D, then one of G with fresh latents."""
    for i in range(game.k):
        x, c = batches(batch_index(state, game, i))
        fake = generate(state, game, engine, latents(state, game, engine, x, i), c, i)
        yield discriminator_step(state, game, engine, x, fake, c, i)
    if game.batches_per_round > game.k:
        x, c = batches(batch_index(state, game, game.k))
    reading, _ = generator_step(state, game, engine, x, latents(state, game, engine, x, game.k), c)
    yield reading


def generator_first(state: State, game: Game, batches: Batches, engine: Engine) -> Iterator[Reading]:
    """The common sample loop: G moves, then D is trained on the fakes that were made before G moved."""
    taken = [batches(batch_index(state, game, i)) for i in range(game.k)]
    z = [latents(state, game, engine, x, i) for i, (x, _) in enumerate(taken)]
    later = [generate(state, game, engine, z[i], c, i) for i, (_, c) in enumerate(taken) if i]
    x, c = taken[0]
    reading, first = generator_step(state, game, engine, x, z[0], c)
    yield reading
    for i, ((x, c), fake) in enumerate(zip(taken, [first, *later], strict=True)):
        yield discriminator_step(state, game, engine, x, fake, c, i)


def simultaneous(state: State, game: Game, batches: Batches, engine: Engine) -> Iterator[Reading]:
    """The 2014 code: both gradients are taken at the same point, then both players move."""
    x, c = batches(batch_index(state, game, 0))
    due = penalties_due(state, game)
    d, g = engine.update(state, "discriminator", exact=bool(due)), engine.update(state, "generator")
    logits = []
    for shard, real, z, labels in engine.microbatches(x, latents(state, game, engine, x, 0), c):
        engine.seed(shard, game.seed, state.round, 0, "discriminator")
        fake = call(g.module, z, labels)
        uniform = partial(draw, state, game, shard, 0)
        seen = run_discriminator(d.module, real, fake, labels, due, game, engine, uniform)
        cost = {"cost": game.loss.generator(seen.real_logits, seen.fake_logits).mean()}
        d.backward(discriminator_costs(game, seen, due), shard, retain_graph=True)
        g.backward(cost, shard)
        logits.append((seen.real_logits.detach(), seen.fake_logits.detach()))
    readings = Reading("discriminator", d.finish(), joined(logits)), Reading("generator", g.finish())
    d.step(partial(clip_weights, game.clip))
    g.step()
    yield from readings


ORDERS: dict[Order, Callable[[State, Game, Batches, Engine], Iterator[Reading]]] = {
    "discriminator-first": discriminator_first,
    "generator-first": generator_first,
    "simultaneous": simultaneous,
}


def discriminator_step(
    state: State, game: Game, engine: Engine, x: Samples, fake: Samples, c: Condition, i: int
) -> Reading:
    """One optimizer step of D on its cost and the penalties that are due."""
    due, logits = penalties_due(state, game), []
    update = engine.update(state, "discriminator", exact=bool(due))
    for shard, real, made, labels in engine.microbatches(x, fake, c):
        engine.seed(shard, game.seed, state.round, i, "discriminator")
        uniform = partial(draw, state, game, shard, i)
        seen = run_discriminator(update.module, real, made.detach(), labels, due, game, engine, uniform)
        update.backward(discriminator_costs(game, seen, due), shard)
        logits.append((seen.real_logits.detach(), seen.fake_logits.detach()))
    reading = Reading("discriminator", update.finish(), joined(logits))
    update.step(partial(clip_weights, game.clip))
    return reading


def generator_step(
    state: State, game: Game, engine: Engine, x: Samples, z: Tensor, c: Condition
) -> tuple[Reading, Samples]:
    """One optimizer step of G through a D that stays as it is; the samples that G made before it moved."""
    d, update, made = engine.module(state, "discriminator"), engine.update(state, "generator"), []
    for shard, real, z_, labels in engine.microbatches(x, z, c):
        engine.seed(shard, game.seed, state.round, game.k, "generator")
        fake = call(update.module, z_, labels)
        with frozen(d):
            fake_logits = call_stateless(d, fake, labels)
        real_logits = torch.full_like(fake_logits, torch.nan)  # a cost that uses them without saying so stops at once
        if game.loss.uses_real:
            with torch.no_grad():
                real_logits = call_stateless(d, real, labels)
        update.backward({"cost": game.loss.generator(real_logits, fake_logits).mean()}, shard)
        made.append(fake.detach())
    reading = Reading("generator", update.finish())
    update.step()
    return reading, cat(made)


def discriminator_costs(game: Game, seen: DiscriminatorPass, due: list[Term]) -> Costs:
    """D's cost of the game, then each penalty with its weight: means over the micro-batch."""
    cost = game.loss.discriminator(*flipped(game, seen)).mean()
    costs = {"cost": cost / 2 if game.reduction == "mean" else cost}
    for term in due:
        costs[term.name] = term.weight * term.every * term.penalty.function(seen).mean()
    return costs


def flipped(game: Game, seen: DiscriminatorPass) -> tuple[Logits, Logits]:
    """The logits of real and fake, swapped for a random share of the samples."""
    real, fake = seen.real_logits, seen.fake_logits
    if not game.flip:
        return real, fake
    shape = (len(real),) + (1,) * (real.ndim - 1)
    swap = (seen.uniform("flip", shape) < game.flip).to(real.device)
    return torch.where(swap, fake, real), torch.where(swap, real, fake)


def generate(state: State, game: Game, engine: Engine, z: Tensor, c: Condition, i: int) -> Samples:
    """Samples of G without a graph, its buffers untouched."""
    made = []
    with torch.no_grad():
        for shard, z_, labels in engine.microbatches(z, c):
            engine.seed(shard, game.seed, state.round, i, "imagine")
            made.append(call_stateless(engine.module(state, "generator"), z_, labels))
    return cat(made)


def penalties_due(state: State, game: Game) -> list[Term]:
    """The penalties of this round."""
    return [term for term in game.penalties if state.round % term.every == 0]


def clip_weights(bound: float | None, net: nn.Module) -> None:
    """Move every weight of a network into [-bound, bound]."""
    if bound is not None:
        with torch.no_grad():
            for weight in net.parameters():
                weight.clamp_(-bound, bound)


@torch.no_grad()
def update_average(state: State, game: Game) -> None:
    """Update the exponential moving average of G: after `half_life` samples, half of it is new."""
    half_life = game.half_life
    if game.ramp is not None:
        half_life = min(half_life, game.ramp * state.round * game.batch)
    decay = 0.5 ** (game.batch / half_life) if half_life else 0.0
    average, newest = list(state.average.parameters()), list(state.generator.parameters())
    get_ema_multi_avg_fn(decay)(average, newest, state.round)
    for mine, theirs in zip(state.average.buffers(), state.generator.buffers(), strict=True):
        mine.copy_(theirs)


def batch_index(state: State, game: Game, i: int) -> int:
    """The number, since the run began, of the batch that step i of a round takes."""
    return state.round * game.batches_per_round + i


def latents(state: State, game: Game, engine: Engine, like: Tensor, i: int) -> Tensor:
    """Fresh z for a step, in the type and place of the data: this rank's rows of those for the whole batch."""
    if engine.rows == FULL_BATCH.rows:
        return game.latent(len(like), game.seed, state.round, i, "latent").to(like)
    return game.latent(game.batch, game.seed, state.round, i, "latent")[engine.rows].to(like)


def draw(state: State, game: Game, shard: Shard, i: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in [0, 1) that belong to a round, step and purpose; a shard has its rows of the batch's."""
    if shard is FULL_BATCH or shape[:1] != (shard.size,):
        return rng.uniform(shape, game.seed, state.round, i, purpose)
    return rng.uniform((game.batch, *shape[1:]), game.seed, state.round, i, purpose)[shard.rows]


def joined(logits: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """D's logits in all micro-batches of this rank."""
    return cat([real for real, _ in logits]), cat([fake for _, fake in logits])


def cat(parts: list[Tensor]) -> Tensor:
    """Rows put together again."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
