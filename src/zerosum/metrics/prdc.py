"""Distances between two sets of samples, and what share of one lies near the other.

Everything is computed in blocks, so that memory grows with one set and not with the product of both. What cannot be
known, of too few rows or of rows that are all alike, is NaN.
"""

from math import nan, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Features = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]
BLOCK = 256
"""Rows whose distances are held at a time: 20 MB for 10,000 others in float64."""

EXACT = "donot_use_mm_for_euclid_dist"
"""By differences: the faster way, by products, loses digits where points nearly coincide."""

ALIKE = 8.0
"""Roots of the arithmetic's precision, times a row's length, up to which a distance by products may be nothing: between
rows that are the same, of 1 to 12,288 numbers, up to 4.3 were found."""

TIES = 0.1
"""Share of real rows that reach no farther than that, above which nothing that rests on their reach is known."""


def rounding(points: Features) -> Float[Tensor, " n"]:
    """What a distance by products, of each point to one that is the same, may be instead of zero.

    >>> rounding(torch.tensor([[3.0, 4.0]])) < 0.02
    tensor([True])
    """
    return ALIKE * sqrt(torch.finfo(points.dtype).eps) * points.norm(dim=1)


def nearest(points: Features, others: Others, k: int = 1) -> Float[Tensor, " n"]:
    """Euclidean distance of each point to its k-th nearest among the others.

    Args:
        points: (n, d).
        others: (m, d); NaN if m < k.
        k: Which neighbour; if `others` holds the points themselves, the first is at distance 0.

    >>> nearest(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([1.])
    """
    if len(others) < k:
        return points.new_full((len(points),), nan)
    blocks = [torch.cdist(block, others, compute_mode=EXACT) for block in points.split(BLOCK)]
    return torch.cat([block.kthvalue(k, dim=1).values for block in blocks])


class Neighbours(NamedTuple):
    """The nearest of the others, from near to far."""

    distance: Float[Tensor, "n k"]
    row: Int[Tensor, "n k"]
    """Which of the others."""


def neighbours(points: Features, others: Others, k: int = 3) -> Neighbours:
    """The k nearest of the others to each point, by products: a copy is at 1e-7 of its own length, not at 0.

    Args:
        points: (n, d).
        others: (m, d).
        k: How many; at most m are found.

    >>> neighbours(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]), 2).row
    tensor([[1, 0]])
    """
    blocks = [torch.cdist(block, others).topk(min(k, len(others)), largest=False) for block in points.split(BLOCK)]
    return Neighbours(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def coverage(real: Features, fake: Others, k: int = 5) -> float:
    """Share of the real points with a fake nearer than their k-th real neighbour.

    Args:
        real: (n, d).
        fake: (m, d).
        k: Which neighbour, the point itself not counted.

    Returns:
        Between 0 and 1; about 1 - 2^-k for as many fakes of the same law; NaN if n <= k or m = 0.

    Source: Naeem et al. 2020, arXiv:2002.09797, section 3.

    >>> coverage(torch.arange(4.0)[:, None], torch.tensor([[0.0]]), k=1)
    0.25
    """
    radius, found = nearest(real, real, k + 1), nearest(real, fake)
    return resting_on((found < radius).double(), radius, found).mean().item()


def resting_on(values: Float[Tensor, " n"], *reaches: Tensor) -> Float[Tensor, " n"]:
    """The same values, or NaN where a reach that they rest on is not known."""
    return torch.full_like(values, nan) if any(reach.isnan().any() for reach in reaches) else values


class Manifold(NamedTuple):
    """How two clouds lie in each other, each number a share but for the density."""

    precision: float
    """Of the samples that lie within reach of a real point: are they plausible?"""
    recall: float
    """Of the real points that lie within reach of a sample: is everything there?"""
    density: float
    """Real points within reach of a sample, over k: precision that an outlier cannot lift; 1 for the same law."""
    coverage: float
    """Of the real points that have a sample within reach: recall that an outlier cannot lift."""


class Rows(NamedTuple):
    """The same, row by row: each number of `Manifold` is the mean of one of these."""

    precision: Float[Tensor, " m"]
    recall: Float[Tensor, " n"]
    density: Float[Tensor, " m"]
    coverage: Float[Tensor, " n"]


def manifold(real: Features, fake: Others, k: int = 3, dense: int = 5) -> Manifold:
    """Precision and recall with k neighbours, density and coverage with `dense`, from one pass over the distances.

    A point reaches as far as its k-th neighbour among its own kind, itself not counted. What a perfect G would get
    depends on the dimension of the features and on the numbers of rows: show the value of real against real beside it.
    A number is NaN if the rows whose reach it takes have no k-th neighbour, and all are if real rows are mostly alike.

    Args:
        real: (n, d).
        fake: (m, d).
        k: Neighbours for precision and recall.
        dense: Neighbours for density and coverage.

    Source: Kynkaanniemi et al. 2019, arXiv:1904.06991, section 2; Naeem et al. 2020, arXiv:2002.09797, section 3.

    >>> x = torch.arange(9.0)[:, None]
    >>> manifold(x, x)
    Manifold(precision=1.0, recall=1.0, density=1.0, coverage=1.0)
    """
    return Manifold(*(row.mean().item() for row in manifold_rows(real, fake, k, dense)))


def manifold_rows(real: Features, fake: Others, k: int = 3, dense: int = 5) -> Rows:
    """What `manifold` takes the means of: for each real row or sample, whether it is reached, or how often."""
    x, y = real.double(), fake.double()
    if not (len(x) and len(y) and x.isfinite().all() and y.isfinite().all()):
        return Rows(*(side.new_full((len(side),), nan) for side in (y, x, y, x)))
    reach, wide = reaches(x, k, dense)
    (fake_reach,) = reaches(y, k)
    if (reach <= rounding(x)).double().mean() > TIES:  # whether a sample lies within is then chance
        reach, wide, fake_reach = (torch.full_like(one, nan) for one in (reach, wide, fake_reach))
    inside = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    dense_hits = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    reached, covered = [], []
    for block, near, far in zip(x.split(BLOCK), reach.split(BLOCK), wide.split(BLOCK), strict=True):
        distance = torch.cdist(block, y)
        inside |= (distance < near[:, None]).any(0)
        dense_hits += (distance < far[:, None]).sum(0)
        reached.append((distance < fake_reach).any(1))
        covered.append(distance.min(1).values < far)
    return Rows(
        resting_on(inside.double(), reach),
        resting_on(torch.cat(reached).double(), fake_reach),
        resting_on(dense_hits / dense, wide),
        resting_on(torch.cat(covered).double(), wide),
    )


def reaches(points: Features, *neighbours: int) -> tuple[Float[Tensor, " n"], ...]:
    """Distances of each point to its k-th nearest other one, for each k; NaN where there are not so many."""
    most = min(max(neighbours) + 1, len(points))
    blocks = [torch.cdist(block, points).topk(most, largest=False).values for block in points.split(BLOCK)]
    nearest_ones = torch.cat(blocks)
    none = points.new_full((len(points),), nan)
    return tuple(nearest_ones[:, k] if k < most else none for k in neighbours)
