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
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zerosum import draws
from zerosum.losses import Cost, Logits, Loss
from zerosum.penalties import Penalty, Round, Samples
from zerosum.precision import Rounded
from zerosum.schema import Order

Player = Literal["discriminator", "generator"]
Conditions = Tensor | None
Batches = Callable[[int], tuple[Tensor, Conditions]]
"""The number of a batch since the run began -> (x, c), encoded and on the device."""


@dataclass
class State:
    """Everything that changes while the game is played, and is saved."""

    generator: nn.Module
    discriminator: nn.Module
    average: nn.Module
    """The moving average of G, from which samples are drawn."""
    optimisers: dict[Player, Optimizer]
    step: int = 0
    """Rounds played."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Whatever else depends on history and must survive: numbers and texts."""
    rounded: dict[Player, Rounded] = field(default_factory=dict)
    """Copies in bfloat16 that play in a player's place; none: the players play themselves."""

    def acting(self, player: Player) -> nn.Module:
        """Who plays: a player, or its rounded copy."""
        return self.rounded.get(player) or (self.generator if player == "generator" else self.discriminator)


@dataclass(frozen=True)
class Term:
    """A penalty with its strength."""

    name: str
    penalty: Penalty
    weight: float = 1.0
    every: int = 1
    """Rounds from one use to the next; the weight is multiplied by it."""


@dataclass(frozen=True)
class Game:
    """The rules: everything that stays the same from round to round."""

    loss: Loss
    latent: Callable[..., Tensor]
    """(n, seed, *key) -> noise z (n, size)."""
    batch: int = 128
    """m: samples in one step."""
    penalties: tuple[Term, ...] = ()
    k: int = 1
    order: Order = "discriminator-first"
    halved: bool = False
    """D pays the mean of its two terms instead of their sum."""
    flip: float = 0.0
    """Share of the samples whose two logits are swapped in D's step."""
    clip: float | None = None
    """Bound on the size of D's weights after each of its steps."""
    seed: int = 0
    value: Cost | None = None
    """-V as a cost, where it is not D's cost (which may be smoothed)."""
    one_pass: bool = False
    """D may see real and fake in one pass, since it judges each sample by itself."""
    conditional: bool = False
    schedule: Callable[[int], float] = lambda _: 1.0
    """Round, from 0 -> factor on the step sizes."""
    half_life: float = 10_000.0
    """Of a weight's share in the average, in samples; 0: no averaging."""
    ramp: float | None = 0.05
    """At most this share of the samples seen so far is the half-life."""

    @property
    def batches_per_round(self) -> int:
        """Batches of data that one round takes: one per step of D, and one for G where it looks at data."""
        return self.k + (self.order == "discriminator-first" and (self.loss.uses_real or self.conditional))


@dataclass(frozen=True)
class Reading:
    """What one step of one player has to tell; still on the device."""

    player: Player
    terms: dict[str, Tensor]
    """Cost, penalties with their weights, gradient norm: in the order in which they were computed."""
    logits: tuple[Logits, Logits] | None = None
    """D's logits of real and fake, in D's readings."""


Readings = list[Reading]


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
    for optimiser in state.optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = optimiser.defaults["lr"] * game.schedule(state.step)
    readings = list(ORDERS[game.order](state, game, batches))
    state.step += 1
    follow(state, game)
    return readings


def discriminator_first(state: State, game: Game, batches: Batches) -> Iterator[Reading]:
    """Algorithm 1: k steps of D, then one of G with fresh noise."""
    for i in range(game.k):
        x, c = batches(turn(state, game, i))
        with torch.no_grad():
            fake = visit(state.acting("generator"), noise(state, game, x, i), c)
        yield discriminator_step(state, game, x, fake, c, i)
    if game.batches_per_round > game.k:
        x, c = batches(turn(state, game, game.k))
    fake = ask(state.acting("generator"), noise(state, game, x, game.k), c)
    yield generator_step(state, game, x, fake, c)


def generator_first(state: State, game: Game, batches: Batches) -> Iterator[Reading]:
    """The common sample loop: G moves, then D is trained on the fakes that were made before G moved."""
    met = [batches(turn(state, game, i)) for i in range(game.k)]
    with torch.no_grad():
        later = [visit(state.acting("generator"), noise(state, game, x, i), c) for i, (x, c) in enumerate(met) if i]
    x, c = met[0]
    first = ask(state.acting("generator"), noise(state, game, x, 0), c)
    yield generator_step(state, game, x, first, c)
    for i, ((x, c), fake) in enumerate(zip(met, [first, *later], strict=True)):
        yield discriminator_step(state, game, x, fake, c, i)


def simultaneous(state: State, game: Game, batches: Batches) -> Iterator[Reading]:
    """The 2014 code: both gradients are taken at the same point, then both players move."""
    x, c = batches(turn(state, game, 0))
    reseed(state, game, 0, "discriminator")
    fake = ask(state.acting("generator"), noise(state, game, x, 0), c)
    meeting, terms = meet(state, game, x, fake, c, 0)
    terms["gradient norm"] = descent(judge(state, game), total(terms), keep=True)
    cost = game.loss.generator(meeting.real_logits, meeting.fake_logits).mean()
    norm = descent(state.acting("generator"), cost)
    move(state, game, "discriminator")
    move(state, game, "generator")
    yield tell("discriminator", terms, meeting)
    yield tell("generator", {"cost": cost, "gradient norm": norm})


ORDERS: dict[Order, Callable[[State, Game, Batches], Iterator[Reading]]] = {
    "discriminator-first": discriminator_first,
    "generator-first": generator_first,
    "simultaneous": simultaneous,
}


def discriminator_step(state: State, game: Game, x: Samples, fake: Samples, c: Conditions, i: int) -> Reading:
    """D descends the gradient of its cost and penalties."""
    reseed(state, game, i, "discriminator")
    meeting, terms = meet(state, game, x, fake.detach(), c, i)
    terms["gradient norm"] = descent(judge(state, game), total(terms))
    move(state, game, "discriminator")
    return tell("discriminator", terms, meeting)


def generator_step(state: State, game: Game, x: Samples, fake: Samples, c: Conditions) -> Reading:
    """G descends the gradient of its cost, through a D that stays as it is."""
    reseed(state, game, game.k, "generator")
    d = state.acting("discriminator")
    with as_it_is(d):
        fake_logits = visit(d, fake, c)
    real_logits = torch.full_like(fake_logits, torch.nan)  # a cost that uses them without saying so stops at once
    if game.loss.uses_real:
        with torch.no_grad():
            real_logits = visit(d, x, c)
    cost = game.loss.generator(real_logits, fake_logits).mean()
    terms = {"cost": cost, "gradient norm": descent(state.acting("generator"), cost)}
    move(state, game, "generator")
    return tell("generator", terms)


def meet(
    state: State, game: Game, real: Samples, fake: Samples, c: Conditions, i: int
) -> tuple[Round, dict[str, Tensor]]:
    """Show D a batch of data and one of samples: the meeting, and what D pays for it."""
    due = penalties_due(state, game)
    if due:  # penalties differentiate by the samples
        real = real.detach().requires_grad_()
        fake = fake if fake.requires_grad else fake.requires_grad_()
    d = partial(ask, judge(state, game))
    if game.one_pass:
        twice = None if c is None else torch.cat([c, c])
        real_logits, fake_logits = d(torch.cat([real, fake]), twice).chunk(2)
    else:
        real_logits, fake_logits = d(real, c), d(fake, c)
    meeting = Round(real, fake, real_logits, fake_logits, partial(d, c=c), partial(draw, state, game, i))
    cost = game.loss.discriminator(*flipped(state, game, meeting, i)).mean()
    terms = {"cost": cost / 2 if game.halved else cost}
    for term in due:
        terms[term.name] = term.weight * term.every * term.penalty(meeting).mean()
    return meeting, terms


def penalties_due(state: State, game: Game) -> list[Term]:
    """The penalties of this round."""
    return [term for term in game.penalties if state.step % term.every == 0]


def judge(state: State, game: Game) -> nn.Module:
    """D in its own step: itself where a penalty is due, which needs its exact slope, else whoever plays for it."""
    return state.discriminator if penalties_due(state, game) else state.acting("discriminator")


def flipped(state: State, game: Game, meeting: Round, i: int) -> tuple[Logits, Logits]:
    """The logits of real and fake, swapped for a random share of the samples."""
    real, fake = meeting.real_logits, meeting.fake_logits
    if not game.flip:
        return real, fake
    shape = (len(real),) + (1,) * (real.ndim - 1)
    swap = (draw(state, game, i, "flip", shape) < game.flip).to(real.device)
    return torch.where(swap, fake, real), torch.where(swap, real, fake)


def tell(player: Player, terms: dict[str, Tensor], meeting: Round | None = None) -> Reading:
    """A reading that lets go of the graph it was computed in."""
    logits = (meeting.real_logits.detach(), meeting.fake_logits.detach()) if meeting else None
    return Reading(player, {name: value.detach() for name, value in terms.items()}, logits)


def descent(net: nn.Module, cost: Tensor, keep: bool = False) -> Tensor:
    """Put the gradient of a cost into a player's parameters, and nowhere else; its norm."""
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.grad = None
    cost.backward(inputs=parameters, retain_graph=keep)
    if isinstance(net, Rounded):
        parameters = net.hand_over()
    return get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


def move(state: State, game: Game, player: Player) -> None:
    """Let a player take the step that its gradient says."""
    state.optimisers[player].step()
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
        half_life = min(half_life, game.ramp * state.step * game.batch)
    kept = 0.5 ** (game.batch / half_life) if half_life else 0.0
    average, newest = list(state.average.parameters()), list(state.generator.parameters())
    get_ema_multi_avg_fn(kept)(average, newest, state.step)
    for mine, theirs in zip(state.average.buffers(), state.generator.buffers(), strict=True):
        mine.copy_(theirs)


def ask(net: nn.Module, x: Tensor, c: Conditions = None) -> Tensor:
    """G(z, c) or D(x, c); a network without conditions is asked with its first argument alone."""
    out: Tensor = net(x) if c is None else net(x, c)
    return out


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
    return state.step * game.batches_per_round + i


def noise(state: State, game: Game, like: Tensor, i: int) -> Tensor:
    """Fresh z for an inner step, as many and in the type and place of the data."""
    return game.latent(len(like), game.seed, state.step, i, "latent").to(like)


def draw(state: State, game: Game, i: int, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in [0, 1) that belong to this round, inner step and purpose."""
    return draws.uniform(shape, game.seed, state.step, i, purpose)


def reseed(state: State, game: Game, i: int, player: Player) -> None:
    """Set torch's own random state, from which networks draw their dropout."""
    draws.set_global(game.seed, state.step, i, player)


def total(terms: dict[str, Tensor]) -> Tensor:
    """The sum of a player's costs."""
    return torch.stack(list(terms.values())).sum()
