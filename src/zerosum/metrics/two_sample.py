"""Two clouds of rows, told from their distances alone: how far apart, how wide, what is missing, who stands alone.

    real     distances between held-out rows, (n, n)        across   from each of them to each sample, (n, m)
    fake     distances between samples, (m, m)

Each function is a few sums over these three. Nothing is fitted and nothing depends on units:
distances count in parts of the usual distance between two real rows. What real data itself scores stands beside each.
Where that unit is nothing but rounding (rows that are all alike), or a distance is no number, each is NaN: not known.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from math import inf, nan
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.data_copying import closest
from zerosum.metrics.prdc import EXACT, Features, Others, rounding

BALL = 0.1
"""Of the real rows, how many the ball around a row holds, in which samples are counted."""

REACH = 0.15
"""Of the usual distance between real rows: the least radius of that ball; a mode hit not quite is no mode lost."""

NEIGHBOURS = 5
"""Of a real row, as far as the last of which it reaches towards samples."""

LEAST = 0.05
"""Of the usual distance: the least reach of a real row towards samples."""


@dataclass(frozen=True)
class Within:
    """The distances within one cloud, and what follows from them: computed once, however often it is asked for."""

    distances: Float[Tensor, "n n"]
    rounding: float = 0.0
    """What the usual distance may be where all rows are alike."""

    @cached_property
    def usual(self) -> float:
        """Mean distance between two different rows; NaN of fewer than two."""
        n = len(self.distances)
        return (self.distances.sum(dtype=torch.float64) / (n * (n - 1))).item() if n > 1 else nan

    @property
    def wide(self) -> bool:
        """Whether the rows are known to differ: the usual distance is a number, and more than rounding."""
        return self.rounding < self.usual < inf

    @cached_property
    def nearest(self) -> Float[Tensor, " n"]:
        """Distance of each row to its nearest other one."""
        return self.kth(1)

    @cached_property
    def ball(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Around each row the radius that holds a tenth of the others, at least `REACH`; which share lies within."""
        n = len(self.distances)
        radius = self.kth(max(1, round(BALL * n))).clamp(min=REACH * self.usual)
        return radius, ((self.distances <= radius[:, None]).sum(1) - 1).double() / (n - 1)

    @cached_property
    def reach(self) -> Float[Tensor, " n"]:
        """Distance of each row to its `NEIGHBOURS`-th neighbour, at least a twentieth of the usual distance."""
        return self.kth(NEIGHBOURS).clamp(min=LEAST * self.usual)

    def kth(self, k: int) -> Float[Tensor, " n"]:
        """Distance of each row to its k-th neighbour, or to the farthest where there are fewer; NaN of a single row."""
        n = len(self.distances)
        if n < 2:
            return self.distances.new_full((n,), nan)
        k = min(k, n - 1)
        return self.distances.topk(k + 1, dim=1, largest=False).values[:, k]


class Clouds(NamedTuple):
    """The distances within and between real rows and samples."""

    real: Within
    fake: Within
    across: Float[Tensor, "n m"]

    @property
    def known(self) -> bool:
        """Whether there is a unit to count distances in, and there are distances to count."""
        measured = (self.across, self.fake.distances)
        return self.real.wide and self.across.numel() > 0 and all(bool(one.isfinite().all()) for one in measured)


def within(rows: Features) -> Within:
    """Euclidean distances of one cloud; by differences where products would leave nothing but rounding."""
    least = rounding(rows).mean().item()
    quick = Within(torch.cdist(rows, rows), least)
    return quick if quick.wide else Within(torch.cdist(rows, rows, compute_mode=EXACT), least)


def clouds(real: Features, fake: Others) -> Clouds:
    """Euclidean distances of two clouds.

    Args:
        real: (n, d) rows; of fewer than two nothing is known.
        fake: (m, d) rows; of one, neither how far they are apart nor which of them are near each other.
    """
    return Clouds(within(real), within(fake), torch.cdist(real, fake))


Measure = Callable[[Clouds], float]


def where_known(measure: Measure) -> Measure:
    """The same measure, NaN of clouds of which nothing is known."""

    @wraps(measure)
    def guarded(among: Clouds) -> float:
        return measure(among) if among.known else nan

    return guarded


@where_known
def energy_distance(among: Clouds) -> float:
    """How far apart two laws are: zero where they are equal, and only there.

    (2 E|x - y| - E|x - x'| - E|y - y'|) / E|x - x'|        x, x' real, y, y' samples

    without bias, so that it is also a little below zero where the laws are equal.

    Source: Szekely & Rizzo 2013, "Energy statistics", Journal of Statistical Planning and Inference 143, eq. (2).

    >>> round(energy_distance(clouds(torch.tensor([[0.0], [1.0]]), torch.tensor([[9.0], [10.0]]))), 6)
    16.0
    """
    return (2 * among.across.mean(dtype=torch.float64).item() - among.fake.usual) / among.real.usual - 1


@where_known
def spread(among: Clouds) -> float:
    """How wide the samples lie: the usual distance between two of them, over that between two real rows.

    >>> spread(clouds(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])))
    3.0
    """
    return among.fake.usual / among.real.usual


@where_known
def missing(among: Clouds) -> float:
    """Share of the data that has too few samples around it.

    Around each real row lies a ball that holds a tenth of them; the mean over rows of 1 - samples / real rows in it,
    where that is above zero, each count as a share of its cloud. Equal laws score about 0.05 with 500 rows, a G that
    makes half of the modes and nothing else about 0.5.

    >>> missing(clouds(torch.tensor([[0.0], [0.0], [9.0], [9.0]]), torch.zeros(4, 1)))
    0.5
    """
    radius, others = among.real.ball
    samples = (among.across <= radius[:, None]).double().mean(1)
    return (1 - samples / others).clamp(min=0).mean().item()


@where_known
def covered(among: Clouds) -> float:
    """Share of the data that a sample comes near: nearer than the row's k-th neighbour among the real ones is.

    As with `near`, the reach is never below a twentieth of the usual distance.

    Source: coverage of Naeem et al. 2020, arXiv:2002.09797, section 3, but for the least reach.

    >>> covered(clouds(torch.tensor([[0.0]] * 6 + [[9.0]] * 6), torch.tensor([[0.5]])))
    0.0
    """
    return (among.across.min(1).values <= among.real.reach).double().mean().item()


@where_known
def near(among: Clouds) -> float:
    """Share of the samples that lie within reach of real data: nearer to a row than its k-th neighbour is.

    The reach is never below a twentieth of the usual distance, so that a tight mode hit not quite counts as hit.

    >>> near(clouds(torch.arange(9.0)[:, None], torch.tensor([[4.2], [4.3], [4.4], [99.0]])))
    0.75
    """
    return (among.across <= among.real.reach[:, None]).any(0).double().mean().item()


@where_known
def told_apart(among: Clouds) -> float:
    """Share of rows whose nearest other row is of their own kind: 1/2 where the laws are equal, 1 where they never mix.

    The mean of both kinds' shares. Far below 1/2: samples repeat the very rows they are compared with.

    Source: Lopez-Paz & Oquab 2017, arXiv:1610.06545, for nearest neighbours: Xu et al. 2018, arXiv:1806.07755.

    >>> told_apart(clouds(torch.tensor([[0.0], [1.0]]), torch.tensor([[8.0], [9.0]])))
    1.0
    """
    real = _wins(among.real.nearest, among.across.min(1).values)
    fake = _wins(among.fake.nearest, among.across.min(0).values)
    return (real.mean() + fake.mean()).item() / 2


def _wins(own: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """1 where one's own kind is nearer, 1/2 where both are as near; NaN where a distance is none."""
    wins = ((own < other).double() + (own <= other).double()) / 2
    return torch.where(own.isnan() | other.isnan(), nan, wins)


def nearer(fake: Others, train: Features, held_out: Float[Tensor, "k d"]) -> float:
    """Share of the samples nearer to the training rows than to as many held-out rows: 1/2 if none is repeated.

    To a G that learned the law and no row, both kinds of rows are alike, however narrow or wide its samples are.

    Args:
        fake: (m, d) samples.
        train: (n, d) rows that G was trained on.
        held_out: As many rows that it never saw.

    Returns:
        Between 0 and 1; NaN where there are no samples or no rows, or some are no numbers.

    >>> nearer(torch.zeros(4, 1), torch.zeros(2, 1), torch.ones(2, 1))
    1.0
    """
    if not (len(fake) and len(train) and len(held_out)):
        return nan
    ours, theirs = (closest(fake, rows) for rows in (train, held_out))
    return _wins(ours, theirs).mean().item()
