"""Two clouds of rows, told from their distances alone: how far apart, how wide, what is missing, who stands alone.

    real     (n, n) distances between held-out rows        across   (n, m) from each of them to each sample
    fake     (m, m) distances between samples

Each function is a few sums over these three, which are computed once. Nothing is fitted and nothing depends on units:
distances count in parts of the usual distance between two real rows. What real data itself scores stands beside each.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from zerosum.metrics.manifold import Features, Others

BALL = 0.1
"""Of the real rows, how many the ball around a row holds, in which samples are counted."""

REACH = 0.15
"""Of the usual distance between real rows: the least radius of that ball; a mode hit not quite is no mode lost."""

LEAST = 0.05
"""Of the usual distance: the least reach of a real row towards samples."""


class Clouds(NamedTuple):
    """The distances within and between real rows and samples."""

    real: Float[Tensor, "n n"]
    fake: Float[Tensor, "m m"]
    across: Float[Tensor, "n m"]


def clouds(real: Features, fake: Others) -> Clouds:
    """Euclidean distances of two clouds.

    Args:
        real: (n, d) rows, n >= 2.
        fake: (m, d) rows, m >= 2.
    """
    return Clouds(torch.cdist(real, real), torch.cdist(fake, fake), torch.cdist(real, fake))


def usual(distances: Float[Tensor, "n n"]) -> float:
    """Mean distance between two different rows."""
    n = len(distances)
    return (distances.double().sum() / (n * (n - 1))).item()


def energy_distance(among: Clouds) -> float:
    """How far apart two laws are: zero where they are equal, and only there.

    (2 E|x - y| - E|x - x'| - E|y - y'|) / E|x - x'|        x, x' real, y, y' samples

    without bias, so that it is also a little below zero where the laws are equal.

    Source: Szekely & Rizzo 2013, "Energy statistics", Journal of Statistical Planning and Inference 143, eq. (2).

    >>> round(energy_distance(clouds(torch.tensor([[0.0], [1.0]]), torch.tensor([[9.0], [10.0]]))), 6)
    16.0
    """
    return (2 * among.across.double().mean().item() - usual(among.fake)) / usual(among.real) - 1


def spread(among: Clouds) -> float:
    """How wide the samples lie: the usual distance between two of them, over that between two real rows.

    >>> spread(clouds(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [3.0]])))
    3.0
    """
    return usual(among.fake) / usual(among.real)


def missing(among: Clouds) -> float:
    """Share of the data that has too few samples around it.

    Around each real row lies a ball that holds a tenth of them; the mean over rows of 1 - samples / real rows in it,
    where that is above zero, each count as a share of its cloud. Equal laws score about 0.05 with 500 rows, a G that
    makes half of the modes and nothing else about 0.5.

    >>> missing(clouds(torch.tensor([[0.0], [0.0], [9.0], [9.0]]), torch.zeros(4, 1)))
    0.5
    """
    n, m = among.across.shape
    kth = min(n - 1, max(1, round(BALL * n)))
    radius = among.real.kthvalue(kth + 1, dim=1).values.clamp(min=REACH * usual(among.real))[:, None]
    others = ((among.real <= radius).sum(1) - 1).double() / (n - 1)
    samples = (among.across <= radius).sum(1).double() / m
    return (1 - samples / others).clamp(min=0).mean().item()


def covered(among: Clouds, k: int = 5) -> float:
    """Share of the data that a sample comes near: nearer than the row's k-th neighbour among the real ones is.

    As with `near`, the reach is never below a twentieth of the usual distance.

    Source: coverage of Naeem et al. 2020, arXiv:2002.09797, section 3, but for the least reach.

    >>> covered(clouds(torch.tensor([[0.0], [1.0], [8.0], [9.0]]), torch.tensor([[0.5]])), k=1)
    0.5
    """
    return (among.across.min(1).values <= _reach(among, k)).double().mean().item()


def near(among: Clouds, k: int = 5) -> float:
    """Share of the samples that lie within reach of real data: nearer to a row than its k-th neighbour is.

    The reach is never below a twentieth of the usual distance, so that a tight mode hit not quite counts as hit.

    >>> near(clouds(torch.arange(9.0)[:, None], torch.tensor([[4.2], [4.3], [4.4], [99.0]])))
    0.75
    """
    return (among.across <= _reach(among, k)[:, None]).any(0).double().mean().item()


def _reach(among: Clouds, k: int) -> Float[Tensor, " n"]:
    """Distance of each real row to its k-th neighbour, at least a twentieth of the usual distance."""
    kth = among.real.kthvalue(min(k + 1, len(among.real)), dim=1).values
    return kth.clamp(min=LEAST * usual(among.real))


def told_apart(among: Clouds) -> float:
    """Share of rows whose nearest other row is of their own kind: 1/2 where the laws are equal, 1 where they never mix.

    The mean of both kinds' shares. Far below 1/2: samples repeat the very rows they are compared with.

    Source: Lopez-Paz & Oquab 2017, arXiv:1610.06545, for nearest neighbours: Xu et al. 2018, arXiv:1806.07755.

    >>> told_apart(clouds(torch.tensor([[0.0], [1.0]]), torch.tensor([[8.0], [9.0]])))
    1.0
    """
    own_real, own_fake = _others(among.real).min(1).values, _others(among.fake).min(1).values
    real = _wins(own_real, among.across.min(1).values)
    fake = _wins(own_fake, among.across.min(0).values)
    return (real.mean() + fake.mean()).item() / 2


def _wins(own: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """1 where one's own kind is nearer, 1/2 where both are as near."""
    return ((own < other).double() + (own <= other).double()) / 2


def _others(distances: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The same, each row as far as can be from itself."""
    itself: Bool[Tensor, "n n"] = torch.eye(len(distances), dtype=torch.bool, device=distances.device)
    return distances.masked_fill(itself, torch.inf)


def nearer(fake: Others, train: Features, held_out: Float[Tensor, "k d"]) -> float:
    """Share of the samples nearer to the training rows than to as many held-out rows: 1/2 if none is repeated.

    To a G that learned the law and no row, both kinds of rows are alike, however narrow or wide its samples are.

    Args:
        fake: (m, d) samples.
        train: (n, d) rows that G was trained on.
        held_out: As many rows that it never saw.

    >>> nearer(torch.zeros(4, 1), torch.zeros(2, 1), torch.ones(2, 1))
    1.0
    """
    ours, theirs = (torch.cdist(fake, rows).min(1).values for rows in (train, held_out))
    return _wins(ours, theirs).mean().item()
