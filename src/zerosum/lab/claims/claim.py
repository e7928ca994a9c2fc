"""What a claim is: a statement, the closed form it rests on, and a function that measures both sides."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc
from math import isfinite
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Number = Tensor | float
Relation = Literal["=", "<=", ">="]


class Measured(NamedTuple):
    """Both sides of a claim, and how far it is missed."""

    expected: float
    measured: float
    error: float
    relation: Relation = "="


def equal(measured: Number, expected: Number) -> Measured:
    """Two numbers, or as many of each: the pair that agrees least.

    The error is the difference over the size of what is expected, where that is more than 1.

    >>> equal(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]))
    Measured(expected=2.0, measured=2.5, error=0.25, relation='=')
    """
    one, other = torch.broadcast_tensors(*(torch.as_tensor(side, dtype=torch.float64) for side in (measured, expected)))
    one, other = one.reshape(-1), other.reshape(-1)
    away = torch.where(one == other, 0.0, (one - other).abs() / other.abs().clamp(min=1))  # infinite ones may agree
    away = away.nan_to_num(torch.inf)
    worst = int(away.argmax())
    return Measured(other[worst].item(), one[worst].item(), away[worst].item())


def at_most(measured: Number, bound: Number) -> Measured:
    """Every number is at or below its bound; the error is the largest excess."""
    return _bounded(measured, bound, 1, "<=")


def at_least(measured: Number, bound: Number) -> Measured:
    """Every number is at or above its bound; the error is the largest shortfall."""
    return _bounded(measured, bound, -1, ">=")


def _bounded(measured: Number, bound: Number, sign: int, relation: Relation) -> Measured:
    one, other = torch.broadcast_tensors(*(torch.as_tensor(side, dtype=torch.float64) for side in (measured, bound)))
    one, other = one.reshape(-1), other.reshape(-1)
    excess = (sign * (one - other)).nan_to_num(torch.inf, torch.inf, -torch.inf)
    worst = int(excess.argmax())
    return Measured(other[worst].item(), one[worst].item(), max(0.0, excess[worst].item()), relation)


@dataclass(frozen=True)
class Claim:
    """One row of the table."""

    group: int
    name: str
    check: Callable[[], Measured]
    """Measures; the first paragraph of its docstring says the claim, with the conditions under which it holds."""
    formula: str
    source: str
    tolerance: float
    trained: bool = False
    """Whether a network is trained for it."""

    @property
    def says(self) -> str:
        """The claim in a sentence."""
        return " ".join((getdoc(getattr(self.check, "func", self.check)) or "").split("\n\n")[0].split())

    def run(self) -> "Verdict":
        """Measure."""
        return Verdict(self, self.check())


class Verdict(NamedTuple):
    """A claim that was measured."""

    claim: Claim
    found: Measured

    @property
    def holds(self) -> bool:
        """Whether the error is a number within the tolerance."""
        return isfinite(self.found.error) and self.found.error <= self.claim.tolerance
