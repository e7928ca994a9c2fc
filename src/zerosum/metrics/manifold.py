"""Distances between two sets of samples, and what share of one lies near the other.

Everything is computed in blocks, so that memory grows with one set and not with the product of both.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Features = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]
BLOCK = 256
"""Rows whose distances are held at a time: 20 MB for 10,000 others in float64."""


def nearest(points: Features, others: Others, k: int = 1) -> Float[Tensor, " n"]:
    """Euclidean distance of each point to its k-th nearest among the others.

    Args:
        points: (n, d).
        others: (m, d), m >= k.
        k: Which neighbour; if `others` holds the points themselves, the first is at distance 0.

    >>> nearest(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([1.])
    """
    exact = "donot_use_mm_for_euclid_dist"  # the faster way loses digits where points nearly coincide
    blocks = [torch.cdist(block, others, compute_mode=exact) for block in points.split(BLOCK)]
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
        others: (m, d), m >= k.
        k: How many.

    >>> neighbours(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]), 2).row
    tensor([[1, 0]])
    """
    blocks = [torch.cdist(block, others).topk(k, largest=False) for block in points.split(BLOCK)]
    return Neighbours(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def coverage(real: Features, fake: Others, k: int = 5) -> float:
    """Share of the real points with a fake nearer than their k-th real neighbour.

    Args:
        real: (n, d), n > k.
        fake: (m, d).
        k: Which neighbour, the point itself not counted.

    Returns:
        Between 0 and 1; about 1 - 2^-k for as many fakes of the same law.

    Source: Naeem et al. 2020, arXiv:2002.09797, section 3.

    >>> coverage(torch.arange(4.0)[:, None], torch.tensor([[0.0]]), k=1)
    0.25
    """
    radius = nearest(real, real, k + 1)
    return (nearest(real, fake) < radius).double().mean().item()


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

    Args:
        real: (n, d), n > both k.
        fake: (m, d), m > both k.
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
    reach, wide = reaches(x, k, dense)
    (fake_reach,) = reaches(y, k)
    inside = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    dense_hits = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    reached, covered = [], []
    for block, near, far in zip(x.split(BLOCK), reach.split(BLOCK), wide.split(BLOCK), strict=True):
        distance = torch.cdist(block, y)
        inside |= (distance < near[:, None]).any(0)
        dense_hits += (distance < far[:, None]).sum(0)
        reached.append((distance < fake_reach).any(1))
        covered.append(distance.min(1).values < far)
    return Rows(inside.double(), torch.cat(reached).double(), dense_hits / dense, torch.cat(covered).double())


def reaches(points: Features, *neighbours: int) -> tuple[Float[Tensor, " n"], ...]:
    """Distances of each point to its k-th nearest other one, for each k."""
    most = max(neighbours) + 1
    blocks = [torch.cdist(block, points).topk(most, largest=False).values for block in points.split(BLOCK)]
    nearest_ones = torch.cat(blocks)
    return tuple(nearest_ones[:, k] for k in neighbours)
