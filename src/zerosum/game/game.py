"""Algorithm 1: two players, trained in alternation.

    for number of training rounds:
        for k steps:
            draw m noise samples z and m data samples x
            D descends the gradient of   mean cost_D(D(x), D(G(z))) + penalties
        draw m noise samples z
        G descends the gradient of       mean cost_G(D(x), D(G(z)))

Source: Goodfellow et al. 2014, arXiv:1406.2661, Algorithm 1. Two other orders of play are settings; after each round
the moving average of G's weights follows. A step of one player leaves the other untouched: parameters, buffers and
gradients. Nothing here waits for the device; whoever wants a number from a `Reading` does.

A step may see its batch in several passes, and several processes may play their parts of it (see `parallel`): gradients
add up to that of the whole batch, and every draw is a part of the draw for the whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import get_total_norm
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zerosum import rng
from zerosum.config.settings import Order
from zerosum.engine import FULL_BATCH, Shard
from zerosum.engine.precision import ComputeCopy
from zerosum.game.losses import Logits
from zerosum.game.penalties import Round, Samples
from zerosum.game.state import Batches, Conditions, Game, Player, Reading, Readings, State, Term


def play(state: State, game: Game, batches: Batches) -> Readings:
    """Play one round.

    Torch's global random state is set from the seed and the round, so that dropout repeats itself on a resumed run.

    Args:
        state: The players; changed in place, and one round further.
        game: The rules.
        batches: Where data comes from.

    Returns:
        One reading per step of a player, in the order of play.
    """
    for optimizer in state.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * game.schedule(state.round)
    readings = list(ORDERS[game.order](state, game, batches))
    state.round += 1
    follow(state, game)
    return readings


def discriminator_first(state: State, game: Game, batches: Batches) -> Iterator[Reading]:
    """Algorithm 1: k steps of D, then one of G with fresh noise."""
    for i in range(game.k):
        x, c = batches(turn(state, game, i))
        fake = imagine(state, game, noise(state, game, x, i), c, i)
        yield discriminator_step(state, game, x, fake, c, i)
    if game.batches_per_round > game.k:
        x, c = batches(turn(state, game, game.k))
    reading, _ = generator_step(state, game, x, noise(state, game, x, game.k), c)
    yield reading


def generator_first(state: State, game: Game, batches: Batches) -> Iterator[Reading]:
    """The common sample loop: G moves, then D is trained on the fakes that were made before G moved."""
    met = [batches(turn(state, game, i)) for i in range(game.k)]
    later = [imagine(state, game, noise(state, game, x, i), c, i) for i, (x, c) in enumerate(met) if i]
    x, c = met[0]
    reading, first = generator_step(state, game, x, noise(state, game, x, 0), c)
    yield reading
    for i, ((x, c), fake) in enumerate(zip(met, [first, *later], strict=True)):
        yield discriminator_step(state, game, x, fake, c, i)


def simultaneous(state: State, game: Game, batches: Batches) -> Iterator[Reading]:
    """The 2014 code: both gradients are taken at the same point, then both players move."""
    x, c = batches(turn(state, game, 0))
    d, g = judge(state, game), state.acting("generator")
    learning_d, learning_g = begin(state, "discriminator", d), begin(state, "generator", g)
    told_d, told_g = [], []
    for part, x_, z, c_ in passes(game, x, noise(state, game, x, 0), c):
        reseed(state, game, 0, "discriminator", part)
        fake = ask(g, z, c_)
        meeting, terms = meet(state, game, part, x_, fake, c_, 0)
        cost = {"cost": game.loss.generator(meeting.real_logits, meeting.fake_logits).mean()}
        descend(state, "discriminator", learning_d, terms, part, keep=True)
        descend(state, "generator", learning_g, cost, part)
        told_d.append(tell("discriminator", terms, meeting))
        told_g.append(tell("generator", cost))
    readings = (
        gather(state, "discriminator", d, learning_d, told_d), gather(state, "generator", g, learning_g, told_g)
    )  # fmt: skip
    move(state, game, "discriminator")
    move(state, game, "generator")
    yield from readings


ORDERS: dict[Order, Callable[[State, Game, Batches], Iterator[Reading]]] = {
    "discriminator-first": discriminator_first,
    "generator-first": generator_first,
    "simultaneous": simultaneous,
}


def discriminator_step(state: State, game: Game, x: Samples, fake: Samples, c: Conditions, i: int) -> Reading:
    """D descends the gradient of its cost and penalties."""
    d, told = judge(state, game), []
    learning = begin(state, "discriminator", d)
    for part, x_, fake_, c_ in passes(game, x, fake, c):
        reseed(state, game, i, "discriminator", part)
        meeting, terms = meet(state, game, part, x_, fake_.detach(), c_, i)
        descend(state, "discriminator", learning, terms, part)
        told.append(tell("discriminator", terms, meeting))
    reading = gather(state, "discriminator", d, learning, told)
    move(state, game, "discriminator")
    return reading


def generator_step(state: State, game: Game, x: Samples, z: Tensor, c: Conditions) -> tuple[Reading, Samples]:
    """G descends the gradient of its cost, through a D that stays as it is; the samples it made before it moved."""
    d, g = state.acting("discriminator"), state.acting("generator")
    told, made = [], []
    learning = begin(state, "generator", g)
    for part, x_, z_, c_ in passes(game, x, z, c):
        reseed(state, game, game.k, "generator", part)
        fake = ask(g, z_, c_)
        with as_it_is(d):
            fake_logits = visit(d, fake, c_)
        real_logits = torch.full_like(fake_logits, torch.nan)  # a cost that uses them without saying so stops at once
        if game.loss.uses_real:
            with torch.no_grad():
                real_logits = visit(d, x_, c_)
        terms = {"cost": game.loss.generator(real_logits, fake_logits).mean()}
        descend(state, "generator", learning, terms, part)
        told.append(tell("generator", terms))
        made.append(fake.detach())
    reading = gather(state, "generator", g, learning, told)
    move(state, game, "generator")
    return reading, joint(made)


def meet(
    state: State, game: Game, part: Shard, real: Samples, fake: Samples, c: Conditions, i: int
) -> tuple[Round, dict[str, Tensor]]:
    """Show D data and samples: the meeting, and what D pays for it."""
    net, due = judge(state, game), penalties_due(state, game)
    asked, told = {term.asks for term in due}, None
    value_and_input_grad = getattr(net, "with_slope", None) if game.one_pass and "anything" not in asked else None
    if asked & {"slopes", "anything"} and not value_and_input_grad:  # penalties differentiate by the samples
        real = real.detach().requires_grad_()
        fake = fake if fake.requires_grad else fake.requires_grad_()
    if "slopes" in asked and value_and_input_grad:
        (real_logits, fake_logits), told = (both.chunk(2) for both in ask(value_and_input_grad, *in_one(real, fake, c)))
    elif game.one_pass:
        real_logits, fake_logits = ask(net, *in_one(real, fake, c)).chunk(2)
    else:
        real_logits, fake_logits = ask(net, real, c), ask(net, fake, c)
    again, at = partial(ask, net, c=c), value_and_input_grad and partial(ask, value_and_input_grad, c=c)
    meeting = Round(real, fake, real_logits, fake_logits, again, partial(draw, state, game, part, i), told, at)
    cost = game.loss.discriminator(*flipped(game, meeting)).mean()
    terms = {"cost": cost / 2 if game.reduction == "mean" else cost}
    for term in due:
        terms[term.name] = term.weight * term.every * term.penalty(meeting).mean()
    return meeting, terms


def in_one(real: Tensor, fake: Tensor, c: Conditions) -> tuple[Tensor, Conditions]:
    """Data and samples for one pass of D."""
    return torch.cat([real, fake]), None if c is None else torch.cat([c, c])


def imagine(state: State, game: Game, z: Tensor, c: Conditions, i: int) -> Samples:
    """Samples of a G that learns nothing from them."""
    made = []
    with torch.no_grad():
        for part, z_, c_ in passes(game, z, c):
            reseed(state, game, i, "imagine", part)
            made.append(visit(state.acting("generator"), z_, c_))
    return joint(made)


def passes(game: Game, *tensors: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Each part of the batch that this process plays, with its rows of each tensor."""
    if len(game.parts) == 1:
        yield game.parts[0], *tensors
        return
    sizes = [part.size for part in game.parts]
    yield from zip(
        game.parts, *([None] * len(sizes) if one is None else one.split(sizes) for one in tensors), strict=True
    )


def joint(parts: list[Tensor]) -> Tensor:
    """Parts put together again."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def penalties_due(state: State, game: Game) -> list[Term]:
    """The penalties of this round."""
    return [term for term in game.penalties if state.round % term.every == 0]


def judge(state: State, game: Game) -> nn.Module:
    """D in its own step: itself where a penalty is due, which needs its exact slope, else whoever plays for it."""
    return state.discriminator if penalties_due(state, game) else state.acting("discriminator")


def flipped(game: Game, meeting: Round) -> tuple[Logits, Logits]:
    """The logits of real and fake, swapped for a random share of the samples."""
    real, fake = meeting.real_logits, meeting.fake_logits
    if not game.flip:
        return real, fake
    shape = (len(real),) + (1,) * (real.ndim - 1)
    swap = (meeting.draw("flip", shape) < game.flip).to(real.device)
    return torch.where(swap, fake, real), torch.where(swap, real, fake)


def tell(player: Player, terms: dict[str, Tensor], meeting: Round | None = None) -> Reading:
    """A reading that lets go of the graph it was computed in."""
    logits = (meeting.real_logits.detach(), meeting.fake_logits.detach()) if meeting else None
    return Reading(player, {name: value.detach() for name, value in terms.items()}, logits)


def begin(state: State, player: Player, net: nn.Module) -> list[nn.Parameter]:
    """Forget a player's last gradient; the parameters by which whoever plays for it is differentiated."""
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if player in state.gradients:
        state.gradients[player].begin()
    else:
        for parameter in learning:
            parameter.grad = None
    return learning


def descend(
    state: State,
    player: Player,
    learning: list[nn.Parameter],
    terms: dict[str, Tensor],
    part: Shard,
    keep: bool = False,
) -> None:
    """Add the gradient of what a pass costs to the parameters, and to nothing else."""
    cost = total(terms) if part is FULL_BATCH else part.share * total(terms)
    cost.backward(inputs=learning, retain_graph=keep)
    if player in state.gradients:
        state.gradients[player].end_pass(terms)


def gather(state: State, player: Player, net: nn.Module, learning: list[nn.Parameter], told: list[Reading]) -> Reading:
    """Let the player have the gradient of all passes; what they told, and its norm."""
    terms, logits = told[-1].terms, together(told)
    if player in state.gradients:
        terms, learning = state.gradients[player].finish(), state.gradients[player].learners
    elif isinstance(net, ComputeCopy):
        learning = net.copy_gradients()
    gradient = [parameter.grad for parameter in learning if parameter.grad is not None]
    return Reading(player, {**terms, "gradient norm": get_total_norm(gradient)}, logits)


def together(told: list[Reading]) -> tuple[Logits, Logits] | None:
    """D's logits in all passes of this process."""
    logits = [reading.logits for reading in told if reading.logits]
    return (joint([real for real, _ in logits]), joint([fake for _, fake in logits])) if logits else None


def move(state: State, game: Game, player: Player) -> None:
    """Let a player take the step that its gradient says."""
    state.optimizers[player].step()
    if player == "discriminator" and game.clip is not None:
        with torch.no_grad():
            for weight in state.discriminator.parameters():
                weight.clamp_(-game.clip, game.clip)
    if player in state.rounded:
        state.rounded[player].follow()


@torch.no_grad()
def follow(state: State, game: Game) -> None:
    """Let the average follow G: after `half_life` samples, half of it is new."""
    half_life = game.half_life
    if game.ramp is not None:
        half_life = min(half_life, game.ramp * state.round * game.batch)
    kept = 0.5 ** (game.batch / half_life) if half_life else 0.0
    average, newest = list(state.average.parameters()), list(state.generator.parameters())
    get_ema_multi_avg_fn(kept)(average, newest, state.round)
    for mine, theirs in zip(state.average.buffers(), state.generator.buffers(), strict=True):
        mine.copy_(theirs)


def ask(net: Callable[..., Any], x: Tensor, c: Conditions = None) -> Any:
    """G(z, c) or D(x, c); a network without conditions is asked with its first argument alone."""
    return net(x) if c is None else net(x, c)


def visit(net: nn.Module, x: Tensor, c: Conditions = None) -> Tensor:
    """The same, leaving the network's buffers (running statistics and the like) as they were."""
    copies = {name: buffer.clone() for name, buffer in net.named_buffers()}
    if not copies:
        return ask(net, x, c)
    out: Tensor = functional_call(net, copies, (x,) if c is None else (x, c))
    return out


@contextmanager
def as_it_is(net: nn.Module) -> Iterator[None]:
    """Ask a network whose weights will not learn from it, so that no gradient is computed for them."""
    learning = [weight for weight in net.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


def turn(state: State, game: Game, i: int) -> int:
    """The number, since the run began, of the batch that an inner step takes."""
    return state.round * game.batches_per_round + i


def noise(state: State, game: Game, like: Tensor, i: int) -> Tensor:
    """Fresh z for an inner step, as many and in the type and place of the data."""
    z = game.latent(game.batch if game.divided else len(like), game.seed, state.round, i, "latent")
    return (z[game.rows] if game.divided else z).to(like)


def draw(state: State, game: Game, part: Shard, i: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in [0, 1) that belong to a round, inner step and purpose; a part has its rows of the batch's."""
    if part is FULL_BATCH or shape[:1] != (part.size,):
        return rng.uniform(shape, game.seed, state.round, i, purpose)
    return rng.uniform((game.batch, *shape[1:]), game.seed, state.round, i, purpose)[part.rows]


def reseed(state: State, game: Game, i: int, purpose: str, part: Shard = FULL_BATCH) -> None:
    """Set torch's own random state, from which networks draw their dropout: the same for each part of a batch."""
    rng.set_global(game.seed, state.round, i, purpose)
    for layer in state.masks:
        layer.part = None if part is FULL_BATCH else part


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of a player's costs."""
    return torch.stack(list(terms.values())).sum()
