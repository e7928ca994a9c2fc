"""Divergences and distances of two distributions.

    kl(p, q)         sum p log(p/q)                     >= 0, infinite if q = 0 < p somewhere
    jsd(p, q)        1/2 kl(p, m) + 1/2 kl(q, m)        m = (p+q)/2; symmetric, from 0 to log 2
    total_variation  1/2 sum |p - q|                    from 0 to 1
    chi_square       sum (p - q)^2 / q                  Pearson's
    hellinger        1/2 sum (sqrt p - sqrt q)^2        squared distance, from 0 to 1
    wasserstein_1    integral |F - G| dx                in one dimension; F and G are the distribution functions

p and q are masses at the same nodes (of a discrete distribution, or of `quadrature`); entropies and divergences are in
nats. The closed forms are for Gaussians.
"""

from math import erf, exp, pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.lab.theory.quadrature import Masses

Scalar = Float[Tensor, ""]
Vector = Float[Tensor, " d"]
Matrix = Float[Tensor, "d d"]


def kl(p: Masses, q: Masses) -> Scalar:
    """sum p log(p/q), with 0 log 0 = 0."""
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()


def entropy(p: Masses) -> Scalar:
    """-sum p log p, of a discrete distribution."""
    return -torch.xlogy(p, p).sum()


def jsd(p: Masses, q: Masses) -> Scalar:
    """1/2 KL(p || m) + 1/2 KL(q || m), m = (p+q)/2."""
    m = (p + q) / 2
    return (kl(p, m) + kl(q, m)) / 2


def total_variation(p: Masses, q: Masses) -> Scalar:
    """1/2 sum |p - q|."""
    return (p - q).abs().sum() / 2


def chi_square(p: Masses, q: Masses) -> Scalar:
    """sum (p - q)^2 / q."""
    return ((p - q).square() / q).sum()


def hellinger(p: Masses, q: Masses) -> Scalar:
    """1/2 sum (sqrt p - sqrt q)^2."""
    return (p.sqrt() - q.sqrt()).square().sum() / 2


def wasserstein_1(x: Float[Tensor, " n"], p: Masses, q: Masses) -> Scalar:
    """Wasserstein-1 distance: the sum over the intervals between points of |F - G| times their length.

    Exact for discrete distributions on the sorted points x.
    """
    return ((p - q).cumsum(0)[:-1].abs() * x.diff()).sum()


def gaussian_kl(mean: Vector, cov: Matrix, other_mean: Vector, other_cov: Matrix) -> Scalar:
    """KL(N(m, S) || N(n, T)) = 1/2 (tr T^-1 S + (n-m)' T^-1 (n-m) - d + log det T / det S)."""
    inverse, shift = torch.linalg.inv(other_cov), other_mean - mean
    ratio = torch.logdet(other_cov) - torch.logdet(cov)
    return ((inverse @ cov).trace() + shift @ inverse @ shift - len(mean) + ratio) / 2


def gaussian_hellinger(mean: Vector, cov: Matrix, other_mean: Vector, other_cov: Matrix) -> Scalar:
    """1 - det(S)^1/4 det(T)^1/4 / det(M)^1/2 exp(-1/8 (m-n)' M^-1 (m-n)), M = (S+T)/2."""
    middle, shift = (cov + other_cov) / 2, other_mean - mean
    scale = (torch.logdet(cov) + torch.logdet(other_cov)) / 4 - torch.logdet(middle) / 2
    return 1 - (scale - shift @ torch.linalg.solve(middle, shift) / 8).exp()


def gaussian_chi_square(mean: Vector, cov: Matrix, other_mean: Vector, other_cov: Matrix) -> Scalar:
    """det T / sqrt(det S det(2T - S)) exp((m-n)' (2T - S)^-1 (m-n)) - 1; needs a positive definite 2T - S."""
    wide, shift = 2 * other_cov - cov, other_mean - mean
    scale = torch.logdet(other_cov) - torch.logdet(cov) / 2 - torch.logdet(wide) / 2
    return (scale + shift @ torch.linalg.solve(wide, shift)).exp() - 1


def gaussian_total_variation(mean: Vector, other_mean: Vector, cov: Matrix) -> float:
    """erf(r / sqrt 8), r the Mahalanobis distance of the means; both Gaussians have the same covariance."""
    shift = other_mean - mean
    return erf((shift @ torch.linalg.solve(cov, shift)).sqrt().item() / sqrt(8))


def gaussian_wasserstein_1(mean: float, std: float, other_mean: float, other_std: float) -> float:
    """E|m + s Z|, with m and s the differences of means and standard deviations, Z ~ N(0, 1); in one dimension."""
    m, s = other_mean - mean, abs(other_std - std)
    if s == 0:
        return abs(m)
    return s * sqrt(2 / pi) * exp(-((m / s) ** 2) / 2) + m * erf(m / (s * sqrt(2)))
