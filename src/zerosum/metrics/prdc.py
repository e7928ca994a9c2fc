"""Nearest neighbors between two sets of features, and PRDC: precision, recall, density and coverage.

All distances are computed in blocks of rows, so memory grows with the size of one set, not with the product of both.
A result is NaN (unknown) if there are too few rows or if most rows are equal.
"""

from math import nan, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Features = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]
BLOCK = 256
"""Rows per block of the distance matrix: 20 MB for 10,000 others in float64."""

EXACT = "donot_use_mm_for_euclid_dist"
"""Mode of torch.cdist that uses differences: the faster matrix products lose precision for nearly equal points."""

ROUNDING_FACTOR = 8.0
"""A distance from matrix products may be only rounding up to this factor, times sqrt(eps), times the norm of the row.
For equal rows of 1 to 12,288 numbers, factors up to 4.3 were measured."""

MAX_TIED = 0.1
"""Share of real rows with a radius below rounding error, above which all results are unknown."""


def rounding_error(points: Features) -> Float[Tensor, " n"]:
    """Upper bound, for each point, of the distance that matrix products compute between two equal points.

    >>> rounding_error(torch.tensor([[3.0, 4.0]])) < 0.02
    tensor([True])
    """
    return ROUNDING_FACTOR * sqrt(torch.finfo(points.dtype).eps) * points.norm(dim=1)


def knn_distance(points: Features, others: Others, k: int = 1) -> Float[Tensor, " n"]:
    """Euclidean distance of each point to its k-th nearest neighbor among the others.

    Args:
        points: (n, d).
        others: (m, d); the result is NaN if m < k.
        k: Which neighbor; if `others` contains the points themselves, the first is at distance 0.

    >>> knn_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([1.])
    """
    if len(others) < k:
        return points.new_full((len(points),), nan)
    blocks = [torch.cdist(block, others, compute_mode=EXACT) for block in points.split(BLOCK)]
    return torch.cat([block.kthvalue(k, dim=1).values for block in blocks])


class Neighbors(NamedTuple):
    """The k nearest neighbors of each point, sorted by distance."""

    distance: Float[Tensor, "n k"]
    row: Int[Tensor, "n k"]
    """Index of the neighbor in `others`."""


def nearest_neighbors(points: Features, others: Others, k: int = 3) -> Neighbors:
    """Find the k nearest of the others to each point, by matrix products: a copy is at 1e-7 of its norm, not at 0.

    Args:
        points: (n, d).
        others: (m, d).
        k: Number of neighbors, at most m are returned.

    >>> nearest_neighbors(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]), 2).row
    tensor([[1, 0]])
    """
    blocks = [torch.cdist(block, others).topk(min(k, len(others)), largest=False) for block in points.split(BLOCK)]
    return Neighbors(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def coverage(real: Features, fake: Others, k: int = 5) -> float:
    """Share of the real points that have a fake point nearer than their k-th real neighbor.

    Args:
        real: (n, d).
        fake: (m, d).
        k: Which neighbor, the point itself not counted.

    Returns:
        Between 0 and 1; about 1 - 2^-k for m = n and equal distributions; NaN if n <= k or m = 0.

    Source: Naeem et al. 2020, arXiv:2002.09797, section 3.

    >>> coverage(torch.arange(4.0)[:, None], torch.tensor([[0.0]]), k=1)
    0.25
    """
    radius, found = knn_distance(real, real, k + 1), knn_distance(real, fake)
    return nan_if_unknown((found < radius).double(), radius, found).mean().item()


def nan_if_unknown(values: Float[Tensor, " n"], *distances: Tensor) -> Float[Tensor, " n"]:
    """Return the values, or all NaN if one of the distances that they were computed from is NaN."""
    return torch.full_like(values, nan) if any(distance.isnan().any() for distance in distances) else values


class PRDC(NamedTuple):
    """Precision, recall, density and coverage; all are shares except density."""

    precision: float
    """Share of the samples within the radius of a real point (quality)."""
    recall: float
    """Share of the real points within the radius of a sample (diversity)."""
    density: float
    """Mean number of real points whose radius contains a sample, over k; 1 for equal distributions, outlier-robust."""
    coverage: float
    """Share of the real points that have a sample within their radius; outlier-robust."""


class PRDCRows(NamedTuple):
    """The values of each row: each number of `PRDC` is the mean of one of these."""

    precision: Float[Tensor, " m"]
    recall: Float[Tensor, " n"]
    density: Float[Tensor, " m"]
    coverage: Float[Tensor, " n"]


def prdc(real: Features, fake: Others, k: int = 3, k_density: int = 5) -> PRDC:
    """Precision and recall with k neighbors, density and coverage with `k_density`, in one pass over the distances.

    The radius of a point is the distance to its k-th neighbor in its own set, the point itself not counted. The values
    of a perfect generator depend on the dimension and the numbers of rows: show those of real against real beside them.
    A number is NaN if its set has no k-th neighbor; all are NaN if more than `MAX_TIED` of the real rows are equal.

    Args:
        real: (n, d).
        fake: (m, d).
        k: Neighbors for precision and recall.
        k_density: Neighbors for density and coverage.

    Source: Kynkaanniemi et al. 2019, arXiv:1904.06991, section 2; Naeem et al. 2020, arXiv:2002.09797, section 3.

    >>> x = torch.arange(9.0)[:, None]
    >>> prdc(x, x)
    PRDC(precision=1.0, recall=1.0, density=1.0, coverage=1.0)
    """
    return PRDC(*(row.mean().item() for row in prdc_rows(real, fake, k, k_density)))


def prdc_rows(real: Features, fake: Others, k: int = 3, k_density: int = 5) -> PRDCRows:
    """The values whose means `prdc` returns: 0 or 1 for each row, for density a count over k."""
    x, y = real.double(), fake.double()
    if not (len(x) and len(y) and x.isfinite().all() and y.isfinite().all()):
        return PRDCRows(*(side.new_full((len(side),), nan) for side in (y, x, y, x)))
    radius, wide_radius = knn_radii(x, k, k_density)
    (fake_radius,) = knn_radii(y, k)
    if (radius <= rounding_error(x)).double().mean() > MAX_TIED:  # whether a sample lies inside would be chance
        radius, wide_radius, fake_radius = (torch.full_like(one, nan) for one in (radius, wide_radius, fake_radius))
    inside = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    hits = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    recalled, covered = [], []
    for block, near, far in zip(x.split(BLOCK), radius.split(BLOCK), wide_radius.split(BLOCK), strict=True):
        distance = torch.cdist(block, y)
        inside |= (distance < near[:, None]).any(0)
        hits += (distance < far[:, None]).sum(0)
        recalled.append((distance < fake_radius).any(1))
        covered.append(distance.min(1).values < far)
    return PRDCRows(
        nan_if_unknown(inside.double(), radius),
        nan_if_unknown(torch.cat(recalled).double(), fake_radius),
        nan_if_unknown(hits / k_density, wide_radius),
        nan_if_unknown(torch.cat(covered).double(), wide_radius),
    )


def knn_radii(points: Features, *neighbors: int) -> tuple[Float[Tensor, " n"], ...]:
    """For each k in `neighbors`, the distance of each point to its k-th neighbor in the set; NaN if n <= k."""
    count = min(max(neighbors) + 1, len(points))
    blocks = [torch.cdist(block, points).topk(count, largest=False).values for block in points.split(BLOCK)]
    distances = torch.cat(blocks)
    none = points.new_full((len(points),), nan)
    return tuple(distances[:, k] if k < count else none for k in neighbors)
