"""Nearest neighbors between two sets of rows, for every metric that needs them.

Distances are Euclidean, computed in blocks of rows, so memory grows with the size of one set, not with the product of
both. They come from matrix products, |x - y|^2 = |x|^2 + |y|^2 - 2 x.y, so that in float64 a copy is at about 1e-7 of
its norm, not at 0; `rounding_error` is an upper bound.
"""

from collections.abc import Iterator
from math import nan, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Features = Float[Tensor, "n d"]
Others = Float[Tensor, "m d"]
BLOCK = 256
"""Rows per block of the distance matrix: 20 MB for 10,000 others in float64."""

ROUNDING_FACTOR = 8.0
"""A distance from matrix products may be only rounding up to this factor, times sqrt(eps), times the norm of the row.
For equal rows of 1 to 12,288 numbers, factors up to 4.3 were measured."""


def rounding_error(points: Features) -> Float[Tensor, " n"]:
    """Upper bound, for each point, of the distance that matrix products compute between two equal points.

    >>> rounding_error(torch.tensor([[3.0, 4.0]])) < 0.02
    tensor([True])
    """
    return ROUNDING_FACTOR * sqrt(torch.finfo(points.dtype).eps) * points.norm(dim=1)


def distance_blocks(points: Features, others: Others) -> Iterator[Float[Tensor, "block m"]]:
    """Yield the distances of `BLOCK` points at a time to all others."""
    for block in points.split(BLOCK):
        yield torch.cdist(block, others)


def nearest_distance(points: Features, others: Others) -> Float[Tensor, " n"]:
    """Distance of each point to the nearest of the others; NaN if one of its distances is NaN, or there are no others.

    >>> nearest_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([1.])
    """
    if not len(others):
        return points.new_full((len(points),), nan)
    return torch.cat([block.min(1).values for block in distance_blocks(points, others)])


class Neighbors(NamedTuple):
    """The k nearest neighbors of each point, sorted by distance."""

    distance: Float[Tensor, "n k"]
    row: Int[Tensor, "n k"]
    """Index of the neighbor in `others`."""


def nearest_neighbors(points: Features, others: Others, k: int = 3) -> Neighbors:
    """Find the k nearest of the others to each point.

    Args:
        points: (n, d).
        others: (m, d); if it contains the points themselves, the first neighbor is the point.
        k: Number of neighbors, at most m are returned.

    >>> nearest_neighbors(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]), 2).row
    tensor([[1, 0]])
    """
    blocks = [block.topk(min(k, len(others)), largest=False) for block in distance_blocks(points, others)]
    return Neighbors(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def knn_radii(points: Features, *neighbors: int) -> tuple[Float[Tensor, " n"], ...]:
    """For each k in `neighbors`, the distance of each point to its k-th neighbor in the set; NaN if n <= k."""
    distance = nearest_neighbors(points, points, max(neighbors) + 1).distance
    none = points.new_full((len(points),), nan)
    return tuple(distance[:, k] if k < len(points) else none for k in neighbors)
