"""Where the theory says that the curves end: the marks of a game at rest.

At rest samples follow the law of the data, so that D can only give one logit a to everything:

    a = argmin cost_D(a, a)        the marks are cost_D(a, a), cost_G(a, a), V(a, a) and the score of a

They are computed from the game's own costs: smoothing and labels move the marks as they move the game. Where many a do
as well as each other (hinge: all from -1 to 1), there is a mark only for what is the same at all of them. A penalty
that is not zero where D is flat (wgan-gp) keeps D from resting; marks then stay only where no D at all tells equal laws
apart, as with the critic's difference.
"""

from math import isclose, log
from typing import NamedTuple

import torch
from torch import Tensor

from zerosum import build
from zerosum.config.settings import Config
from zerosum.game.losses import LOSSES, Cost
from zerosum.game.penalties import PENALTIES, DiscriminatorPass
from zerosum.game.state import Game, Term

FAR = 1000.0
"""Logits are looked for between minus and plus this."""

FLAT = 1e-9
"""A slope below this is none: rounding in float64."""

LOGISTIC = ("minimax", "non-saturating", "likelihood")
"""Games in which D's logit is that of a probability, and V is in nats."""


class Marks(NamedTuple):
    """The numbers of a game at rest; None where there is no one number."""

    discriminator: float | None = None
    generator: float | None = None
    value: float | None = None
    score: float | None = None
    note: str = ""
    """What a reader should know about them, in sentences."""


def marks(config: Config) -> Marks:
    """The theory's marks for the game of these settings.

    Args:
        config: Resolved settings of a run.
    """
    if config.loss.name not in LOSSES:
        return Marks(note="The game is your own, so the charts bear no marks of the theory.")
    game = build.rules(config)
    cost = game.loss.discriminator
    restless = [term.name for term in game.penalties if not rests(term)]
    if restless and not blind(cost):
        names = " and ".join(restless)
        return Marks(note=f"The penalty {names} keeps D from lying flat, so no mark of the theory holds here.")
    low, high = undecided(cost)
    middle, only = (low + high) / 2, high - low < 1e-6
    pays = [at(game.loss.generator, end) for end in (low, middle, high)]
    return Marks(
        discriminator=at(cost, middle) / (2 if game.reduction == "mean" else 1),
        generator=pays[1] if only or isclose(pays[0], pays[2], abs_tol=FLAT) else None,
        value=0.0 - at(game.unsmoothed_cost or cost, middle),
        score=game.loss.score(number(middle)).item() if only else None,
        note=" ".join(notes(config, game, low, high)),
    )


def notes(config: Config, game: Game, low: float, high: float) -> list[str]:
    """What moves the marks, or seems to; D rests at any logit from low to high."""
    found = []
    if 1e-6 < high - low < FAR:
        found.append(f"D is at rest at any one score from {low:g} to {high:g}, so that its scores bear no mark.")
    if game.reduction == "mean":
        found.append("D pays the mean of its two terms, so its mark is half of what two terms would cost.")
    smoothing = config.loss.options.get("smoothing", 0.0)
    if smoothing:
        found.append(f"Labels are smoothed by {smoothing:g}, and the marks are those of the smoothed game.")
    if game.flip:
        found.append(f"D is told the wrong label for {100 * game.flip:g} % of the samples; at rest that moves no mark.")
    return found


def undecided(cost: Cost) -> tuple[float, float]:
    """The lowest and the highest of the logits that do best where D must give everything the same one.

    Holds for costs that are convex along real = fake, as those of LOSSES are.

    >>> undecided(LOSSES["hinge"].discriminator)
    (-1.0, 1.0)
    """
    return tuple(round(_end(cost, upper), 9) for upper in (False, True))  # type: ignore[return-value]


def _end(cost: Cost, upper: bool) -> float:
    low, high = -FAR, FAR
    for _ in range(60):
        middle = (low + high) / 2
        slope = _slope(cost, middle)
        beyond = slope > FLAT if upper else slope >= -FLAT
        low, high = (low, middle) if beyond else (middle, high)
    return (low + high) / 2


def _slope(cost: Cost, a: float) -> float:
    logit = number(a).requires_grad_()
    (slope,) = torch.autograd.grad(cost(logit, logit).sum(), logit)
    return slope.item()


def at(cost: Cost, a: float) -> float:
    """What is paid where D gives everything the same logit."""
    return cost(number(a), number(a)).item()


def number(a: float) -> Tensor:
    """One logit in float64."""
    return torch.tensor([a], dtype=torch.float64)


def blind(cost: Cost) -> bool:
    """Whether no D gains anything on two equal laws: what it wins on one order of a pair, it loses on the other."""
    one, other = torch.linspace(-3, 3, 7).double(), torch.linspace(2, -5, 7).double()
    swapped = cost(one, other) + cost(other, one)
    return bool((swapped - 2 * cost(0 * one, 0 * one)).abs().max() < FLAT)


def rests(term: Term) -> bool:
    """Whether a penalty leaves a D alone that gives everything the same logit; one that is not known does not."""
    if term.name not in PENALTIES:
        return False
    x = torch.zeros(2, 3, requires_grad=True)
    logits = (0 * x).sum(1)
    seen = DiscriminatorPass(x, x, logits, logits, lambda x: (0 * x).sum(1), lambda _, shape: torch.full(shape, 0.5))
    return bool(term.penalty(seen).abs().max() == 0)


def named(value: float) -> str:
    """A number, with its name where it has one.

    >>> named(-2 * log(2)), named(0.5), named(2.0)
    ('−log 4 = −1.386', '1/2', '2')
    """
    text = f"{value:.4g}".replace("-", "−")
    if isclose(value, 0.5, rel_tol=1e-6):
        return "1/2"
    sign = "−" if value < 0 else ""
    names = [f"{sign}log {n} = {text}" for n in (2, 4) if isclose(abs(value), log(n), rel_tol=1e-6)]
    return names[0] if names else text
