"""Distances between two sets of features: the Frechet distance and the kernel distance.

    frechet   |m - n|^2 + tr(S + T - 2 (S T)^1/2)        m, n means and S, T covariances
    kernel    E k(x, x') + E k(y, y') - 2 E k(x, y)      k(x, y) = (x.y / d + 1)^3, pairs of different rows

The Frechet distance is that of two Gaussians. It needs only sums, which can be accumulated and merged, and is biased
upwards: it is positive between two halves of one data set. The kernel distance is unbiased and may be below zero. They
are FID and KID only for Inception features. All in float64; NaN if there are too few rows or values are not finite.
"""

from dataclasses import dataclass
from math import nan, sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.neighbors import BLOCK, Features, Others

GROUPS, FEW_GROUPS, MAX_WIDTH = 10, 4, 1024
"""Groups of the jackknife (one is left out at a time); fewer for features of more than MAX_WIDTH numbers."""

ROUNDING = 4 * torch.finfo(torch.float64).eps
"""Relative rounding error of a mean of kernel values."""


class Estimate(NamedTuple):
    """A number and its standard error, each NaN if unknown."""

    value: float
    error: float


@dataclass(frozen=True)
class Moments:
    """Sums over a set of rows, from which its mean and covariance follow; they can be added and subtracted.

    Args:
        n: Number of rows.
        total: (d,) sum of (row - shift).
        square: (d, d) sum of the outer products of (row - shift).
        shift: (d,) a point near the mean, to avoid loss of precision; the same for sets that are added.
    """

    n: int
    total: Float[Tensor, " d"]
    square: Float[Tensor, "d d"]
    shift: Float[Tensor, " d"]

    @staticmethod
    def of(features: Features, shift: Float[Tensor, " d"] | None = None) -> "Moments":
        """Compute the sums; `shift` is the mean by default."""
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
        """Mean of the rows."""
        return self.total / self.n + self.shift

    def covariance(self) -> Float[Tensor, "d d"]:
        """Covariance of the rows, with divisor n - 1."""
        center = self.total / self.n
        return (self.square - self.n * torch.outer(center, center)) / (self.n - 1)


def matrix_sqrt(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Square root of a covariance matrix; negative eigenvalues, from rounding, are set to zero."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def frechet(real: Moments, fake: Moments, half: Float[Tensor, "d d"] | None = None) -> float:
    """Frechet distance between the Gaussians with these means and covariances.

    |m - n|^2 + tr S + tr T - 2 tr (S^1/2 T S^1/2)^1/2

    Args:
        real: Moments of the data.
        fake: Moments of the samples.
        half: S^1/2, if it is already computed.

    Returns:
        Squared distance in squared units of the features, at least 0; NaN for fewer than two rows or non-finite values.

    Source: Dowson & Landau 1982; Heusel et al. 2017, arXiv:1706.08500, eq. (6).

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> frechet(Moments.of(x), Moments.of(x + 3))
    9.0
    """
    if min(real.n, fake.n) < 2 or not (real.square.isfinite().all() and fake.square.isfinite().all()):
        return nan
    s, t = real.covariance(), fake.covariance()
    half = matrix_sqrt(s) if half is None else half
    cross = torch.linalg.eigvalsh(half @ t @ half).clamp(min=0).sqrt().sum()
    shift = (real.mean() - fake.mean()).square().sum()
    return max(0.0, (shift + s.trace() + t.trace() - 2 * cross).item())


def frechet_from_rows(real: Features, fake: Others) -> float:
    """Frechet distance computed from the rows, faster than `frechet` if there are fewer rows than dimensions.

    With the centered rows A and B, tr (S T)^1/2 is the sum of the singular values of A B' over sqrt((n - 1) (m - 1)).
    A B' is (n, m), whereas S and T are (d, d).
    """
    x, y = real.double(), fake.double()
    if min(len(x), len(y)) < 2 or not (x.isfinite().all() and y.isfinite().all()):
        return nan
    a, b = x - x.mean(0), y - y.mean(0)
    n, m = len(a) - 1, len(b) - 1
    cross = torch.linalg.svdvals(a @ b.T).sum() / sqrt(n * m)
    traces = a.square().sum() / n + b.square().sum() / m
    return max(0.0, ((x.mean(0) - y.mean(0)).square().sum() + traces - 2 * cross).item())


def frechet_distance(real: Features, fake: Others) -> Estimate:
    """Frechet distance between two sets of features, with the standard error due to the random samples.

    Args:
        real: (n, d).
        fake: (m, d).

    Returns:
        Distance, and jackknife error over ten groups of the samples (four groups if d > 1,024, at most m).
    """
    if min(len(real), len(fake)) < 2 or not (real.isfinite().all() and fake.isfinite().all()):
        return Estimate(nan, nan)
    groups = min(len(fake), GROUPS if real.shape[1] <= MAX_WIDTH else FEW_GROUPS)
    parts = fake.tensor_split(groups)
    if min(len(real), len(fake)) < real.shape[1] // 2:
        value = frechet_from_rows(real, fake)
        without = [frechet_from_rows(real, torch.cat([*parts[:k], *parts[k + 1 :]])) for k in range(groups)]
    else:
        data, shift = Moments.of(real), real.double().mean(0)
        half, sums = matrix_sqrt(data.covariance()), [Moments.of(part, shift) for part in parts]
        samples = sums[0]
        for part in sums[1:]:
            samples = samples + part
        value = frechet(data, samples, half)
        without = [frechet(data, samples - part, half) for part in sums]
    variance = torch.tensor(without, dtype=torch.float64).var(correction=0) * (groups - 1)
    return Estimate(value, variance.sqrt().item())


def kernel_distance(real: Features, fake: Others) -> Estimate:
    """Unbiased estimate of the squared maximum mean discrepancy with the cubic kernel.

    Args:
        real: (n, d) with n >= 2, for the error n >= 3.
        fake: (m, d) with m >= 2, for the error m >= 3.

    Returns:
        Distance, and jackknife standard error including rounding error, which matters if features are large compared
        with their differences. For equal distributions the error is too large by about sqrt 2.

    Source: Binkowski et al. 2018, arXiv:1801.01401, section 4; Gretton et al. 2012, lemma 6.

    >>> kernel_distance(torch.zeros(3, 1), torch.ones(3, 1)).value
    7.0
    """
    x, y = real.double(), fake.double()
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return Estimate(nan, nan)
    own_x, own_y = _kernel_sums(x, x)[0] - _self_kernel(x), _kernel_sums(y, y)[0] - _self_kernel(y)
    cross_x, cross_y = _kernel_sums(x, y)
    pairs_x, pairs_y, pairs = own_x.sum(), own_y.sum(), cross_x.sum()
    value = pairs_x / (n * (n - 1)) + pairs_y / (m * (m - 1)) - 2 * pairs / (n * m)
    if min(n, m) < 3:
        return Estimate(_nan_if_infinite(value), nan)
    without_x = (pairs_x - 2 * own_x) / ((n - 1) * (n - 2)) - 2 * (pairs - cross_x) / ((n - 1) * m)
    without_y = (pairs_y - 2 * own_y) / ((m - 1) * (m - 2)) - 2 * (pairs - cross_y) / (n * (m - 1))
    variance = without_x.var(correction=0) * (n - 1) + without_y.var(correction=0) * (m - 1)
    rounding = ROUNDING * (pairs_x.abs() / (n * (n - 1)) + pairs_y.abs() / (m * (m - 1)) + 2 * pairs.abs() / (n * m))
    return Estimate(_nan_if_infinite(value), _nan_if_infinite((variance + rounding.square()).sqrt()))


def _nan_if_infinite(number: Float[Tensor, ""]) -> float:
    """The number as a float, or NaN if it is infinite."""
    return number.item() if number.isfinite() else nan


def _kernel_sums(x: Features, y: Others) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Row sums and column sums of the kernel matrix k(x_i, y_j)."""
    rows, columns = [], torch.zeros(len(y), dtype=x.dtype)
    for block in x.split(BLOCK):
        kernel = (block @ y.T / x.shape[1] + 1).pow_(3)
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
    return torch.cat(rows), columns


def _self_kernel(x: Features) -> Float[Tensor, " n"]:
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
