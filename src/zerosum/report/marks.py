"""The equilibrium values of a game, which the charts mark by horizontal lines.

At the equilibrium the samples have the distribution of the data, and the best D is a constant logit a:

    a = argmin cost_D(a, a)        values: cost_D(a, a), cost_G(a, a), V(a, a) and the score of a

They are computed from the costs of the game, including label smoothing and flipping. If the minimizer is an interval
(hinge: -1 to 1), only values that are equal at all its points are given. A penalty that is not zero for a constant D
(wgan-gp) moves the equilibrium; values are then given only if no D has an advantage when both distributions are equal,
as with a critic's difference.
"""

from math import isclose, log
from typing import NamedTuple

import torch
from torch import Tensor

from zerosum.config.settings import Config
from zerosum.game.losses import LOSSES, Cost
from zerosum.game.penalties import PENALTIES, DiscriminatorPass
from zerosum.game.state import Game, Term
from zerosum.resolved import bind_game

MAX_LOGIT = 1000.0
"""The search for logits is limited to [-MAX_LOGIT, MAX_LOGIT]."""

TOLERANCE = 1e-9
"""Derivatives and differences below this are rounding errors in float64."""

LOGISTIC = ("minimax", "non-saturating", "likelihood")
"""Losses for which D outputs the logit of a probability, and V is in nats."""


class EquilibriumValues(NamedTuple):
    """The values of a game at its equilibrium; None if not unique."""

    discriminator: float | None = None
    generator: float | None = None
    value: float | None = None
    score: float | None = None
    note: str = ""
    """Explanations, in sentences."""


def equilibrium_values(config: Config) -> EquilibriumValues:
    """Compute the equilibrium values of the game of a run, given its resolved settings."""
    if config.loss.name not in LOSSES:
        return EquilibriumValues(note="The loss is your own, so the charts show no equilibrium values.")
    _, game = bind_game(config)
    cost = game.loss.discriminator
    nonzero = [term.name for term in game.penalties if not zero_for_constant_d(term)]
    if nonzero and not zero_at_equality(cost):
        names = " and ".join(nonzero)
        return EquilibriumValues(note=f"The penalty {names} is not 0 for a constant D: no equilibrium value is known.")
    low, high = best_constant_logits(cost)
    center, only = (low + high) / 2, high - low < 1e-6
    costs_g = [cost_at(game.loss.generator, end) for end in (low, center, high)]
    return EquilibriumValues(
        discriminator=cost_at(cost, center) / (2 if game.reduction == "mean" else 1),
        generator=costs_g[1] if only or isclose(costs_g[0], costs_g[2], abs_tol=TOLERANCE) else None,
        value=0.0 - cost_at(game.unsmoothed_cost or cost, center),
        score=game.loss.score(float64_logit(center)).item() if only else None,
        note=" ".join(notes(config, game, low, high)),
    )


def notes(config: Config, game: Game, low: float, high: float) -> list[str]:
    """Explain settings that change the equilibrium values; any logit in [low, high] is optimal for D."""
    found = []
    if 1e-6 < high - low < MAX_LOGIT:
        found.append(f"At equilibrium D may have any constant score from {low:g} to {high:g}: its scores have no line.")
    if game.reduction == "mean":
        found.append("D's cost is the mean of its two terms, so its equilibrium value is half of that of their sum.")
    smoothing = config.loss.options.get("smoothing", 0.0)
    if smoothing:
        found.append(f"Labels are smoothed by {smoothing:g}; the equilibrium values are those of the smoothed game.")
    if game.flip:
        found.append(f"Labels of {100 * game.flip:g} % of the samples are flipped; that changes no equilibrium value.")
    return found


def best_constant_logits(cost: Cost) -> tuple[float, float]:
    """Return the interval (low, high) of the constant logits that minimize D's cost.

    Valid for costs that are convex along real = fake, as those of LOSSES are.

    >>> best_constant_logits(LOSSES["hinge"].discriminator)
    (-1.0, 1.0)
    """
    return tuple(round(_end(cost, upper), 9) for upper in (False, True))  # type: ignore[return-value]


def _end(cost: Cost, upper: bool) -> float:
    low, high = -MAX_LOGIT, MAX_LOGIT
    for _ in range(60):
        center = (low + high) / 2
        derivative = _derivative(cost, center)
        beyond = derivative > TOLERANCE if upper else derivative >= -TOLERANCE
        low, high = (low, center) if beyond else (center, high)
    return (low + high) / 2


def _derivative(cost: Cost, a: float) -> float:
    logit = float64_logit(a).requires_grad_()
    (derivative,) = torch.autograd.grad(cost(logit, logit).sum(), logit)
    return derivative.item()


def cost_at(cost: Cost, a: float) -> float:
    """Return the cost of a D that gives every input the logit a."""
    return cost(float64_logit(a), float64_logit(a)).item()


def float64_logit(a: float) -> Tensor:
    """Make a tensor of one logit in float64."""
    return torch.tensor([a], dtype=torch.float64)


def zero_at_equality(cost: Cost) -> bool:
    """Whether no D has an advantage on equal distributions: cost(a, b) + cost(b, a) = 2 cost(0, 0) for all a, b."""
    one, other = torch.linspace(-3, 3, 7).double(), torch.linspace(2, -5, 7).double()
    swapped = cost(one, other) + cost(other, one)
    return bool((swapped - 2 * cost(0 * one, 0 * one)).abs().max() < TOLERANCE)


def zero_for_constant_d(term: Term) -> bool:
    """Whether a penalty is zero for a constant D; custom penalties are assumed not to be."""
    if term.name not in PENALTIES:
        return False
    x = torch.zeros(2, 3, requires_grad=True)
    logits = (0 * x).sum(1)
    seen = DiscriminatorPass(x, x, logits, logits, lambda x: (0 * x).sum(1), lambda _, shape: torch.full(shape, 0.5))
    return bool(term.penalty(seen).abs().max() == 0)


def with_name(value: float) -> str:
    """Format a number with four digits, with its closed form for 1/2, log 2 and log 4.

    >>> with_name(-2 * log(2)), with_name(0.5), with_name(2.0)
    ('−log 4 = −1.386', '1/2', '2')
    """
    text = f"{value:.4g}".replace("-", "−")
    if isclose(value, 0.5, rel_tol=1e-6):
        return "1/2"
    sign = "−" if value < 0 else ""
    names = [f"{sign}log {n} = {text}" for n in (2, 4) if isclose(abs(value), log(n), rel_tol=1e-6)]
    return names[0] if names else text
