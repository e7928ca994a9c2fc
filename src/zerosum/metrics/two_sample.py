"""Comparison of real rows and samples by their pairwise distances alone: difference, spread, coverage, memorization.

    real     distances between held-out rows, (n, n)        cross    from each of them to each sample, (n, m)
    fake     distances between samples, (m, m)

Each function computes a few sums over these three matrices. Nothing is fitted, and the results do not depend on units:
the unit of distance is the mean distance between two real rows. A result is NaN (unknown) if this unit is only
rounding error (all rows are equal) or if a distance is not finite.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from math import inf, nan
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.neighbors import Features, Others, nearest_distance, rounding_error

EXACT = "donot_use_mm_for_euclid_dist"
"""Mode of torch.cdist that uses differences: the faster matrix products lose precision for nearly equal points."""

BALL_SHARE = 0.1
"""Each ball contains this fraction of the real rows."""

MIN_BALL_RADIUS = 0.15
"""Minimum radius of a ball, in mean real distances: samples slightly beside a narrow mode still count as hitting it."""

K = 5
"""Number of the neighbor whose distance is the k-nearest-neighbor radius of a real row."""

MIN_KNN_RADIUS = 0.05
"""Minimum k-nearest-neighbor radius of a real row, in mean real distances."""


@dataclass(frozen=True)
class PairwiseDistances:
    """The distances within one set of rows and statistics of them, each computed once."""

    matrix: Float[Tensor, "n n"]
    rounding: float = 0.0
    """Upper bound of the mean distance if all rows are equal."""

    @cached_property
    def mean(self) -> float:
        """Mean distance between two different rows; NaN for fewer than two rows."""
        n = len(self.matrix)
        return (self.matrix.sum(dtype=torch.float64) / (n * (n - 1))).item() if n > 1 else nan

    @property
    def has_scale(self) -> bool:
        """Whether the mean distance is finite and larger than rounding error, so that it can serve as a unit."""
        return self.rounding < self.mean < inf

    @cached_property
    def nearest(self) -> Float[Tensor, " n"]:
        """Distance of each row to its nearest neighbor."""
        return self.kth_nearest(1)

    @cached_property
    def ball(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """For each row, the radius that contains `BALL_SHARE` of the rows (with a minimum), and the share inside."""
        n = len(self.matrix)
        radius = self.kth_nearest(max(1, round(BALL_SHARE * n))).clamp(min=MIN_BALL_RADIUS * self.mean)
        return radius, ((self.matrix <= radius[:, None]).sum(1) - 1).double() / (n - 1)

    @cached_property
    def knn_radius(self) -> Float[Tensor, " n"]:
        """Distance of each row to its `K`-th neighbor, at least `MIN_KNN_RADIUS` mean distances."""
        return self.kth_nearest(K).clamp(min=MIN_KNN_RADIUS * self.mean)

    def kth_nearest(self, k: int) -> Float[Tensor, " n"]:
        """Distance of each row to its k-th neighbor, or to the farthest if there are fewer; NaN for a single row."""
        n = len(self.matrix)
        if n < 2:
            return self.matrix.new_full((n,), nan)
        k = min(k, n - 1)
        return self.matrix.topk(k + 1, dim=1, largest=False).values[:, k]


class TwoSampleDistances(NamedTuple):
    """The distances within and between real rows and samples."""

    real: PairwiseDistances
    fake: PairwiseDistances
    cross: Float[Tensor, "n m"]

    @property
    def valid(self) -> bool:
        """Whether the real rows give a unit of distance, and all distances of the samples are finite."""
        measured = (self.cross, self.fake.matrix)
        return self.real.has_scale and self.cross.numel() > 0 and all(bool(one.isfinite().all()) for one in measured)


def pairwise_distances(rows: Features) -> PairwiseDistances:
    """Euclidean distances within one set, computed by differences if matrix products give only rounding error."""
    bound = rounding_error(rows).mean().item()
    fast = PairwiseDistances(torch.cdist(rows, rows), bound)
    return fast if fast.has_scale else PairwiseDistances(torch.cdist(rows, rows, compute_mode=EXACT), bound)


def two_sample_distances(real: Features, fake: Others) -> TwoSampleDistances:
    """Euclidean distances within and between two sets.

    Args:
        real: (n, d) rows; all measures are NaN if n < 2.
        fake: (m, d) samples; measures of the distances between samples are NaN if m < 2.
    """
    return TwoSampleDistances(pairwise_distances(real), pairwise_distances(fake), torch.cdist(real, fake))


Measure = Callable[[TwoSampleDistances], float]


def nan_if_invalid(measure: Measure) -> Measure:
    """Decorate a measure to return NaN if the distances are not valid."""

    @wraps(measure)
    def guarded(distances: TwoSampleDistances) -> float:
        return measure(distances) if distances.valid else nan

    return guarded


@nan_if_invalid
def energy_distance(distances: TwoSampleDistances) -> float:
    """Energy distance of the two distributions: zero if and only if they are equal.

    (2 E|x - y| - E|x - x'| - E|y - y'|) / E|x - x'|        x, x' real, y, y' samples

    The estimate is unbiased, so it may be slightly below zero for equal distributions.

    Source: Szekely & Rizzo 2013, "Energy statistics", Journal of Statistical Planning and Inference 143, eq. (2).

    >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[9.0], [10.0]])
    >>> round(energy_distance(two_sample_distances(x, y)), 6)
    16.0
    """
    return (2 * distances.cross.mean(dtype=torch.float64).item() - distances.fake.mean) / distances.real.mean - 1


@nan_if_invalid
def spread_ratio(distances: TwoSampleDistances) -> float:
    """Mean distance between two samples, divided by the mean distance between two real rows.

    >>> spread_ratio(two_sample_distances(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])))
    3.0
    """
    return distances.fake.mean / distances.real.mean


@nan_if_invalid
def mode_deficit(distances: TwoSampleDistances) -> float:
    """Share of the data that has too few samples around it.

    A ball around each real row contains a tenth of the real rows. The deficit is the mean over rows of
    max(0, 1 - share of samples in the ball / share of real rows in the ball). It is about 0.05 for equal distributions
    and 500 rows, and about 0.5 for a generator that produces only half of the modes.

    >>> mode_deficit(two_sample_distances(torch.tensor([[0.0], [0.0], [9.0], [9.0]]), torch.zeros(4, 1)))
    0.5
    """
    radius, real_share = distances.real.ball
    fake_share = (distances.cross <= radius[:, None]).double().mean(1)
    return (1 - fake_share / real_share).clamp(min=0).mean().item()


@nan_if_invalid
def tolerant_coverage(distances: TwoSampleDistances) -> float:
    """Share of the real rows that have a sample within their k-nearest-neighbor radius (k = 5, with a minimum radius).

    The minimum radius is the tolerance; without it, and with < in place of <=, it is the coverage of `prdc`.

    Source: coverage of Naeem et al. 2020, arXiv:2002.09797, section 3; the minimum radius is ours.

    >>> tolerant_coverage(two_sample_distances(torch.tensor([[0.0]] * 6 + [[9.0]] * 6), torch.tensor([[0.5]])))
    0.0
    """
    return (distances.cross.min(1).values <= distances.real.knn_radius).double().mean().item()


@nan_if_invalid
def tolerant_precision(distances: TwoSampleDistances) -> float:
    """Share of the samples that lie within the k-nearest-neighbor radius of a real row (k = 5, with a minimum radius).

    With the minimum radius, a sample slightly beside a very narrow mode still counts; without it, and with < in place
    of <=, it is the precision of `prdc`.

    Source: precision of Kynkaanniemi et al. 2019, arXiv:1904.06991, section 2; the minimum radius is ours.

    >>> tolerant_precision(two_sample_distances(torch.arange(9.0)[:, None], torch.tensor([[4.2], [4.3], [4.4], [99]])))
    0.75
    """
    return (distances.cross <= distances.real.knn_radius[:, None]).any(0).double().mean().item()


@nan_if_invalid
def nn_accuracy(distances: TwoSampleDistances) -> float:
    """Leave-one-out accuracy of the 1-nearest-neighbor classifier real against fake, the mean of both classes.

    1/2 for equal distributions, 1 if they do not overlap. Far below 1/2: samples are copies of the real rows.

    Source: Lopez-Paz & Oquab 2017, arXiv:1610.06545, for nearest neighbors: Xu et al. 2018, arXiv:1806.07755.

    >>> nn_accuracy(two_sample_distances(torch.tensor([[0.0], [1.0]]), torch.tensor([[8.0], [9.0]])))
    1.0
    """
    real = _own_is_nearer(distances.real.nearest, distances.cross.min(1).values)
    fake = _own_is_nearer(distances.fake.nearest, distances.cross.min(0).values)
    return (real.mean() + fake.mean()).item() / 2


def _own_is_nearer(own: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """1 if own < other, 1/2 if they are equal, else 0; NaN if a distance is NaN."""
    wins = ((own < other).double() + (own <= other).double()) / 2
    return torch.where(own.isnan() | other.isnan(), nan, wins)


def memorization(fake: Others, train: Features, held_out: Float[Tensor, "k d"]) -> float:
    """Share of the samples that are nearer to the training rows than to as many held-out rows.

    A generator that has learned the distribution but no single row scores 1/2, whatever the spread of its samples.

    Args:
        fake: (m, d) samples.
        train: (n, d) rows of the training set.
        held_out: (n, d) rows that the generator was not trained on.

    Returns:
        Between 0 and 1; NaN if a set is empty or contains NaN.

    >>> memorization(torch.zeros(4, 1), torch.zeros(2, 1), torch.ones(2, 1))
    1.0
    """
    if not (len(fake) and len(train) and len(held_out)):
        return nan
    to_train, to_held_out = (nearest_distance(fake, rows) for rows in (train, held_out))
    return _own_is_nearer(to_train, to_held_out).mean().item()
