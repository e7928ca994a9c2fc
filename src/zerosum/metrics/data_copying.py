"""Whether G repeats its training rows: who lies nearer to them, samples or rows that were held out?

A sample that was made up is as far from the training rows as a held-out row is. The test compares both sets of
distances cell by cell of a partition of the space, so that a G that copies here and blurs there is seen:

    U = share of pairs (sample, held-out row) in which the sample is nearer to the training rows
    Z = (1/2 - U) over its deviation where both laws are equal; C_T = mean over cells, weighted by held-out rows

Far below zero: copies. Far above: nothing near the data. Within 3 of zero: neither can be told.

Source: Meehan et al. 2020, arXiv:2004.05675, sections 3 and 4.
"""

from math import nan, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.prdc import BLOCK, Features, Others, rounding

CELLS = 3
FEWEST = 20
"""Rows of each kind that a cell needs to be counted."""


class Copying(NamedTuple):
    """What the test found."""

    z: float
    """C_T, in standard deviations; NaN where no cell had enough rows of both kinds."""
    share: float
    """Of the samples, how many are nearer to a training row than half the usual distance of held-out rows; NaN where
    that is zero or there are none."""
    cells: int
    """Cells that had enough rows to be counted."""


def copying(train: Features, test: Others, fake: Float[Tensor, "k d"], cells: int = CELLS) -> Copying:
    """Compare distances to the training rows: samples against held-out rows.

    Args:
        train: (n, d) rows that G was trained on.
        test: (m, d) rows that it never saw.
        fake: (k, d) samples.
        cells: Parts of the space, around centres found by k-means on the training rows.

    Returns:
        Z of the test, share of near copies, cells counted.
    """
    train, test, fake = train.double(), test.double(), fake.double()
    if not (len(train) and len(test) and len(fake)):
        return Copying(nan, nan, 0)
    theirs, ours = settled(closest(test, train), test), settled(closest(fake, train), fake)
    middles = centres(train, cells)
    cell_of_test, cell_of_fake = (torch.cdist(x, middles).argmin(1) for x in (test, fake))
    scores, weights = [], []
    for cell in range(cells):
        one, other = theirs[cell_of_test == cell], ours[cell_of_fake == cell]
        if min(len(one), len(other)) >= FEWEST:
            scores.append(rank_score(other, one))
            weights.append(len(one))
    weighed = sum(score * weight for score, weight in zip(scores, weights, strict=True))
    z = weighed / sum(weights) if weights else nan
    usual = theirs.median()
    return Copying(z, (ours < usual / 2).double().mean().item() if usual > 0 else nan, len(scores))


def closest(points: Features, others: Others) -> Float[Tensor, " n"]:
    """Distance to the nearest of the others, by products: a copy is at 1e-7 of its own length, not at 0."""
    return torch.cat([torch.cdist(block, others).min(1).values for block in points.split(BLOCK)])


def settled(distance: Float[Tensor, " n"], points: Features) -> Float[Tensor, " n"]:
    """The same distances, zero where only rounding keeps them from it: what lies equally near then ties."""
    return torch.where(distance > rounding(points), distance, 0.0)


def rank_score(ours: Float[Tensor, " k"], theirs: Float[Tensor, " m"]) -> float:
    """Mann and Whitney's test: below zero where ours are smaller; a standard normal number where both laws are equal.

    NaN where there are none of either, or some are no numbers.

    >>> round(rank_score(torch.arange(10.0), torch.arange(10.0)), 12)
    0.0
    """
    k, m = len(ours), len(theirs)
    return (above(ours, theirs) - 1 / 2) * sqrt(12 * k * m / (k + m + 1))


def above(ours: Float[Tensor, " k"], theirs: Float[Tensor, " m"]) -> float:
    """Share of the pairs in which ours is larger, ties counting half: the area under the ROC curve.

    NaN where there are none of either, or some are no numbers.

    >>> above(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0]))
    0.625
    """
    if not (len(ours) and len(theirs)) or ours.isnan().any() or theirs.isnan().any():
        return nan
    ordered = theirs.sort().values
    below = torch.searchsorted(ordered, ours, right=False) + torch.searchsorted(ordered, ours, right=True)
    return below.double().mean().item() / 2 / len(theirs)


def centres(x: Features, count: int, rounds: int = 30) -> Float[Tensor, "count d"]:
    """Centres of k-means, from starting points far apart: the same every time; of no rows, none."""
    if not len(x):
        return x
    found = x[x.sub(x.mean(0)).square().sum(1).argmin()][None]
    while len(found) < count:
        found = torch.cat([found, x[torch.cdist(x, found).min(1).values.argmax()][None]])
    for _ in range(rounds):
        cell = torch.cdist(x, found).argmin(1)
        found = torch.stack([x[cell == k].mean(0) if (cell == k).any() else found[k] for k in range(count)])
    return found
