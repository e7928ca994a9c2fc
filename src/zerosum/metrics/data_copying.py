"""Data-copying test: are samples nearer to the training rows than held-out rows are?

A generator that does not copy produces samples that are as far from the training rows as held-out rows are. The test
compares both sets of distances per cell of the space, to detect a generator that copies in one and blurs in another:

    U = share of pairs (sample, held-out row) in which the sample is nearer to the training rows
    Z = (1/2 - U) / its standard deviation for equal distributions; C_T = mean over cells, weighted by held-out rows

C_T far below zero: copies. Far above: no samples near the data. Between -3 and 3: no significant difference.

Source: Meehan et al. 2020, arXiv:2004.05675, sections 3 and 4.
"""

from math import nan, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.neighbors import Features, Others, nearest_distance, rounding_error

CELLS = 3
MIN_CELL_ROWS = 20
"""Samples, and held-out rows, that a cell must contain to be counted."""


class DataCopying(NamedTuple):
    """Result of the data-copying test."""

    z: float
    """C_T, in standard deviations; NaN if no cell contains enough rows of both kinds."""
    copy_share: float
    """Share of the samples nearer to a training row than half the median distance of held-out rows; NaN if that is
    zero or a set is empty."""
    cells: int
    """Number of cells with enough rows."""


def data_copying_test(train: Features, test: Others, fake: Float[Tensor, "k d"], cells: int = CELLS) -> DataCopying:
    """Compare the distances of samples to the training rows with those of held-out rows.

    Args:
        train: (n, d) rows of the training set.
        test: (m, d) held-out rows.
        fake: (k, d) samples.
        cells: Number of cells of the partition, the clusters of k-means on the training rows.

    Returns:
        C_T, share of near copies, number of cells counted.
    """
    train, test, fake = train.double(), test.double(), fake.double()
    if not (len(train) and len(test) and len(fake)):
        return DataCopying(nan, nan, 0)
    of_test, of_fake = (zero_if_rounding(nearest_distance(x, train), x) for x in (test, fake))
    centers = kmeans_centers(train, cells)
    cell_of_test, cell_of_fake = (torch.cdist(x, centers).argmin(1) for x in (test, fake))
    scores, weights = [], []
    for cell in range(cells):
        one, other = of_test[cell_of_test == cell], of_fake[cell_of_fake == cell]
        if min(len(one), len(other)) >= MIN_CELL_ROWS:
            scores.append(mann_whitney_z(other, one))
            weights.append(len(one))
    weighted = sum(score * weight for score, weight in zip(scores, weights, strict=True))
    z = weighted / sum(weights) if weights else nan
    median = of_test.median()
    return DataCopying(z, (of_fake < median / 2).double().mean().item() if median > 0 else nan, len(scores))


def zero_if_rounding(distance: Float[Tensor, " n"], points: Features) -> Float[Tensor, " n"]:
    """Set distances below rounding error to zero, so that equal distances compare as equal."""
    return torch.where(distance > rounding_error(points), distance, 0.0)


def mann_whitney_z(x: Float[Tensor, " k"], y: Float[Tensor, " m"]) -> float:
    """Mann-Whitney U test as a z-score: below zero if x tends to be smaller than y.

    It is standard normal for equal distributions; NaN if a set is empty or contains NaN.

    >>> round(mann_whitney_z(torch.arange(10.0), torch.arange(10.0)), 12)
    0.0
    """
    k, m = len(x), len(y)
    return (auc(x, y) - 1 / 2) * sqrt(12 * k * m / (k + m + 1))


def auc(x: Float[Tensor, " k"], y: Float[Tensor, " m"]) -> float:
    """Area under the ROC curve: the share of pairs with x > y, ties counting half.

    NaN if a set is empty or contains NaN.

    >>> auc(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]))
    0.625
    """
    if not (len(x) and len(y)) or x.isnan().any() or y.isnan().any():
        return nan
    ordered = y.sort().values
    below = torch.searchsorted(ordered, x, right=False) + torch.searchsorted(ordered, x, right=True)
    return below.double().mean().item() / 2 / len(y)


def kmeans_centers(x: Features, count: int, iterations: int = 30) -> Float[Tensor, "count d"]:
    """Centers of k-means, initialized deterministically by farthest points; empty if there are no rows."""
    if not len(x):
        return x
    found = x[x.sub(x.mean(0)).square().sum(1).argmin()][None]
    while len(found) < count:
        found = torch.cat([found, x[torch.cdist(x, found).min(1).values.argmax()][None]])
    for _ in range(iterations):
        cell = torch.cdist(x, found).argmin(1)
        found = torch.stack([x[cell == k].mean(0) if (cell == k).any() else found[k] for k in range(count)])
    return found
