"""A claim: a statement, its closed form, and a function that computes both sides."""

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
    """Both sides of a claim, the error and the relation."""

    expected: float
    measured: float
    error: float
    relation: Relation = "="


def equal(measured: Number, expected: Number) -> Measured:
    """Compare numbers, or tensors elementwise; return the pair with the largest error.

    The error is |measured - expected| / max(1, |expected|).

    >>> equal(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]))
    Measured(expected=2.0, measured=2.5, error=0.25, relation='=')
    """
    one, other = torch.broadcast_tensors(*(torch.as_tensor(side, dtype=torch.float64) for side in (measured, expected)))
    one, other = one.reshape(-1), other.reshape(-1)
    away = torch.where(one == other, 0.0, (one - other).abs() / other.abs().clamp(min=1))  # inf == inf
    away = away.nan_to_num(torch.inf)
    worst = int(away.argmax())
    return Measured(other[worst].item(), one[worst].item(), away[worst].item())


def at_most(measured: Number, bound: Number) -> Measured:
    """Check measured <= bound elementwise; the error is the largest excess."""
    return _bounded(measured, bound, 1, "<=")


def at_least(measured: Number, bound: Number) -> Measured:
    """Check measured >= bound elementwise; the error is the largest shortfall."""
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
    """Computes both sides; the first paragraph of its docstring states the claim and its conditions."""
    formula: str
    source: str
    tolerance: float
    trained: bool = False
    """Whether the check trains a network."""

    @property
    def says(self) -> str:
        """The claim as a sentence: the first paragraph of the docstring of `check`."""
        return " ".join((getdoc(getattr(self.check, "func", self.check)) or "").split("\n\n")[0].split())

    def run(self) -> "Verdict":
        """Check the claim."""
        return Verdict(self, self.check())


class Verdict(NamedTuple):
    """A claim with its measured values."""

    claim: Claim
    found: Measured

    @property
    def holds(self) -> bool:
        """Whether the error is finite and within the tolerance."""
        return isfinite(self.found.error) and self.found.error <= self.claim.tolerance
