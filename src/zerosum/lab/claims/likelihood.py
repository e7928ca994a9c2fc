"""Group 8: the likelihood cost -exp(a), whose gradient with D frozen at its best is that of KL(p || q).

    E_q[-p/q d log q / d theta] = d KL(p || q) / d theta

The estimate is unbiased, and its variance is finite only if E_q[(p/q)^2] is: the few samples with p >> q weigh most.
"""

from math import sqrt

import torch
from torch import Tensor
from torch.distributions import Normal

from zerosum.game.losses import LOSSES
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.costs import TUTORIAL, frozen_d_gradient, grad_theta
from zerosum.lab.claims.divergence import normal_masses
from zerosum.lab.theory import divergences as d
from zerosum.lab.theory.equilibrium import log_ratio
from zerosum.lab.theory.quadrature import float64, gauss_legendre


def followed_by_likelihood() -> Measured:
    """With D frozen at its best, the likelihood gradient of G is the gradient of KL(p || q), on three points."""
    return equal(frozen_d_gradient("likelihood"), grad_theta(d.kl))


def score_gradients(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Per sample, the score-function estimate of d cost / d (m, s), cost = -exp(a*), q = N(m, s^2) at (1/2, 1.2)."""
    x = 0.5 + 1.2 * torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    a = Normal(0.0, 1.0).log_prob(x) - Normal(0.5, 1.2).log_prob(x)
    cost = LOSSES["likelihood"].generator(a, a)
    z = (x - 0.5) / 1.2
    return cost * z / 1.2, cost * (z.square() - 1) / 1.2


KL_GRADIENT = float64([0.5 / 1.44, 1 / 1.2 - (1 + 0.25) / 1.2**3])
"""Gradient of KL(N(0, 1) || N(m, s^2)) = log s + (1 + m^2) / (2 s^2) - 1/2 with respect to (m, s), at (1/2, 1.2)."""


def likelihood_by_quadrature() -> Measured:
    """E_q[cost x score] = d KL(p || q) / d (mean, std) for p = N(0, 1), q = N(1/2, 1.2^2), by quadrature."""
    grid = gauss_legendre(-14.0, 14.0, panels=80)
    p, q = normal_masses(grid, 0.0, 1.0), normal_masses(grid, 0.5, 1.2)
    z = (grid.points[:, 0] - 0.5) / 1.2
    cost = LOSSES["likelihood"].generator(log_ratio(p, q), log_ratio(p, q))
    return equal(torch.stack([(q * cost * z / 1.2).sum(), (q * cost * (z.square() - 1) / 1.2).sum()]), KL_GRADIENT)


def likelihood_by_samples() -> Measured:
    """The mean of cost x score over 400,000 samples agrees within 4 standard errors, which are finite for this q."""
    found = torch.stack(score_gradients(400_000, seed=0))
    return at_most((found.mean(1) - KL_GRADIENT).abs() / (found.std(1) / len(found[0]) ** 0.5), 4.0)


def likelihood_variance() -> Measured:
    """Its variance is finite only for sigma_q^2 > sigma_p^2 / 2, where E_q[(p/q)^2] has a closed form."""
    grid = gauss_legendre(-30.0, 30.0, panels=200)
    s = 0.8
    p, q = normal_masses(grid, 0.0, 1.0), normal_masses(grid, 0.0, s)
    cost = LOSSES["likelihood"].generator(log_ratio(p, q), log_ratio(p, q))
    return equal((q * cost.square()).sum(), s**2 / sqrt(2 * s**2 - 1))


def likelihood_infinite_variance() -> Measured:
    """For smaller sigma_q it diverges: at 0.6 the integral over [-L, L] grows more than 1,000 times from L = 4 to 6."""
    found = []
    for reach in (4.0, 6.0):
        grid = gauss_legendre(-reach, reach, panels=200)
        p, q = (Normal(0.0, s).log_prob(grid.points[:, 0]) for s in (1.0, 0.6))
        found.append((grid.weights * (q + 2 * (p - q)).exp()).sum())
    return at_least(found[1] / found[0], 1000.0)


def likelihood_value_says_nothing() -> Measured:
    """The likelihood cost at the best D is -1 for every q: its value is uninformative, its gradient is not."""
    grid = gauss_legendre(-30.0, 30.0, panels=200)
    p = normal_masses(grid, 0.0, 1.0)
    distributions = [normal_masses(grid, m, s) for m, s in ((0.0, 1.0), (1.0, 1.0), (-2.0, 1.5), (0.0, 2.5))]
    cost = LOSSES["likelihood"].generator
    return equal(torch.stack([(q * cost(log_ratio(p, q), log_ratio(p, q))).sum() for q in distributions]), -1.0)


CLAIMS = (
    Claim(8, "likelihood-follows", followed_by_likelihood, "grad KL(p||q)", f"{TUTORIAL}, section 8.3", 1e-7),
    Claim(8, "likelihood-gaussians", likelihood_by_quadrature, "d KL(p||q)", f"{TUTORIAL}, section 8.3", 1e-6),
    Claim(8, "likelihood-samples", likelihood_by_samples, "within 4 standard errors", f"{TUTORIAL}, 8.3", 0.0),
    Claim(8, "likelihood-variance", likelihood_variance, "s^2 / sqrt(2 s^2 - 1)", "derived", 1e-6),
    Claim(8, "likelihood-unbounded", likelihood_infinite_variance, "infinite for s^2 <= 1/2", "derived", 0.0),
    Claim(8, "likelihood-value", likelihood_value_says_nothing, "-1 for every q", "derived", 1e-6),
)
