"""How far two clouds of features are apart: Frechet's distance and the kernel distance.

    frechet   |m - n|^2 + tr(S + T - 2 (S T)^1/2)        m, n means and S, T covariances
    kernel    E k(x, x') + E k(y, y') - 2 E k(x, y)      k(x, y) = (x.y / d + 1)^3, pairs of different rows

The first needs sums only, so it streams and merges; it is the distance of two Gaussians, and biased upwards: two halves
of one data set are apart. The second has no bias and may be below zero. On features of Inception they are FID and KID,
on any others they are not. All in float64. What cannot be known, of too few rows or of no numbers, is NaN.
"""

from dataclasses import dataclass
from math import nan, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.prdc import BLOCK, Features, Others

GROUPS, FEW_GROUPS, WIDE = 10, 4, 1024
"""Parts of which one at a time is left out to estimate an error; fewer for features of more than so many numbers."""

ROUNDING = 4 * torch.finfo(torch.float64).eps
"""Share of a mean of kernels that adding them up may be off by."""


class Estimate(NamedTuple):
    """A number and its standard error, each NaN where it is not known."""

    value: float
    error: float


@dataclass(frozen=True)
class Moments:
    """What `frechet` needs to know of a cloud: sums, which can be added and taken away.

    Args:
        n: Rows.
        total: (d,) sum of the rows, less `shift` each.
        square: (d, d) sum of their outer products.
        shift: (d,) a point near the mean, the same for clouds that are added: sums of small numbers keep their digits.
    """

    n: int
    total: Float[Tensor, " d"]
    square: Float[Tensor, "d d"]
    shift: Float[Tensor, " d"]

    @staticmethod
    def of(features: Features, shift: Float[Tensor, " d"] | None = None) -> "Moments":
        """The sums over some rows."""
        x = features.double()
        shift = x.mean(0) if shift is None else shift
        x = x - shift
        return Moments(len(x), x.sum(0), x.T @ x, shift)

    def __add__(self, other: "Moments") -> "Moments":
        parts = self.total + other.total, self.square + other.square
        return Moments(self.n + other.n, *parts, self.shift)

    def __sub__(self, other: "Moments") -> "Moments":
        parts = self.total - other.total, self.square - other.square
        return Moments(self.n - other.n, *parts, self.shift)

    def mean(self) -> Float[Tensor, " d"]:
        """The mean row."""
        return self.total / self.n + self.shift

    def covariance(self) -> Float[Tensor, "d d"]:
        """The covariance, over n - 1."""
        centre = self.total / self.n
        return (self.square - self.n * torch.outer(centre, centre)) / (self.n - 1)


def root(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The square root of a covariance; rounding below zero counts as zero."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def frechet(real: Moments, fake: Moments, half: Float[Tensor, "d d"] | None = None) -> float:
    """Frechet's distance between the Gaussians with the same means and covariances.

    |m - n|^2 + tr S + tr T - 2 tr (S^1/2 T S^1/2)^1/2

    Args:
        real: Of the data.
        fake: Of the samples.
        half: S^1/2, where it is known already.

    Returns:
        Squared distance in units of the features, at least 0; NaN of fewer than two rows, or of no numbers.

    Source: Dowson & Landau 1982; Heusel et al. 2017, arXiv:1706.08500, eq. (6).

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> frechet(Moments.of(x), Moments.of(x + 3))
    9.0
    """
    if min(real.n, fake.n) < 2 or not (real.square.isfinite().all() and fake.square.isfinite().all()):
        return nan
    s, t = real.covariance(), fake.covariance()
    half = root(s) if half is None else half
    shared = torch.linalg.eigvalsh(half @ t @ half).clamp(min=0).sqrt().sum()
    away = (real.mean() - fake.mean()).square().sum()
    return max(0.0, (away + s.trace() + t.trace() - 2 * shared).item())


def frechet_of_rows(real: Features, fake: Others) -> float:
    """The same from the rows themselves, for fewer rows than numbers in each.

    With A and B the centred rows, tr (S T)^1/2 is the sum of the singular values of A B', over sqrt((n - 1) (m - 1)): a
    matrix of rows by rows, instead of numbers by numbers.
    """
    x, y = real.double(), fake.double()
    if min(len(x), len(y)) < 2 or not (x.isfinite().all() and y.isfinite().all()):
        return nan
    a, b = x - x.mean(0), y - y.mean(0)
    n, m = len(a) - 1, len(b) - 1
    shared = torch.linalg.svdvals(a @ b.T).sum() / sqrt(n * m)
    spread = a.square().sum() / n + b.square().sum() / m
    return max(0.0, ((x.mean(0) - y.mean(0)).square().sum() + spread - 2 * shared).item())


def frechet_distance(real: Features, fake: Others) -> Estimate:
    """Frechet's distance between two clouds, with the error that comes from the choice of samples.

    Args:
        real: (n, d).
        fake: (m, d); the error is that of leaving out a tenth at a time, a quarter for d above 1,024, at least a row.

    Returns:
        Distance and standard error.
    """
    if min(len(real), len(fake)) < 2 or not (real.isfinite().all() and fake.isfinite().all()):
        return Estimate(nan, nan)
    groups = min(len(fake), GROUPS if real.shape[1] <= WIDE else FEW_GROUPS)
    parts = fake.tensor_split(groups)
    if min(len(real), len(fake)) < real.shape[1] // 2:
        value = frechet_of_rows(real, fake)
        left = [frechet_of_rows(real, torch.cat([*parts[:k], *parts[k + 1 :]])) for k in range(groups)]
    else:
        whole, shift = Moments.of(real), real.double().mean(0)
        half, sums = root(whole.covariance()), [Moments.of(part, shift) for part in parts]
        both = sums[0]
        for part in sums[1:]:
            both = both + part
        value = frechet(whole, both, half)
        left = [frechet(whole, both - part, half) for part in sums]
    spread = torch.tensor(left, dtype=torch.float64).var(correction=0) * (groups - 1)
    return Estimate(value, spread.sqrt().item())


def kernel_distance(real: Features, fake: Others) -> Estimate:
    """Squared maximum mean discrepancy with the cubic kernel, without bias.

    Args:
        real: (n, d), of at least 2 rows, for the error 3.
        fake: (m, d), likewise.

    Returns:
        Distance and standard error, by leaving out one row at a time, with what rounding may add to it where features
        are large against their differences. Where both laws are equal, the error is too large by about sqrt 2.

    Source: Binkowski et al. 2018, arXiv:1801.01401, section 4; Gretton et al. 2012, lemma 6.

    >>> kernel_distance(torch.zeros(3, 1), torch.ones(3, 1)).value
    7.0
    """
    x, y = real.double(), fake.double()
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return Estimate(nan, nan)
    own_x, own_y = _sums(x, x)[0] - _kernel_of_itself(x), _sums(y, y)[0] - _kernel_of_itself(y)
    across_x, across_y = _sums(x, y)
    pairs_x, pairs_y, pairs = own_x.sum(), own_y.sum(), across_x.sum()
    value = pairs_x / (n * (n - 1)) + pairs_y / (m * (m - 1)) - 2 * pairs / (n * m)
    if min(n, m) < 3:
        return Estimate(_finite(value), nan)
    without_x = (pairs_x - 2 * own_x) / ((n - 1) * (n - 2)) - 2 * (pairs - across_x) / ((n - 1) * m)
    without_y = (pairs_y - 2 * own_y) / ((m - 1) * (m - 2)) - 2 * (pairs - across_y) / (n * (m - 1))
    variance = without_x.var(correction=0) * (n - 1) + without_y.var(correction=0) * (m - 1)
    digits = ROUNDING * (pairs_x.abs() / (n * (n - 1)) + pairs_y.abs() / (m * (m - 1)) + 2 * pairs.abs() / (n * m))
    return Estimate(_finite(value), _finite((variance + digits.square()).sqrt()))


def _finite(number: Float[Tensor, ""]) -> float:
    """The number, or NaN where it grew beyond all numbers."""
    return number.item() if number.isfinite() else nan


def _sums(x: Features, y: Others) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """The sums of k(x_i, y_j) over j, for each i, and over i, for each j."""
    rows, columns = [], torch.zeros(len(y), dtype=x.dtype)
    for block in x.split(BLOCK):
        kernel = (block @ y.T / x.shape[1] + 1).pow_(3)
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
    return torch.cat(rows), columns


def _kernel_of_itself(x: Features) -> Float[Tensor, " n"]:
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
