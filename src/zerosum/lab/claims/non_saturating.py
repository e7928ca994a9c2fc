"""Group 7: what the non-saturating cost -log D minimizes, and why its gradient is noisy.

    E_q[-log D*] = KL(q || p) - 2 JSD(p, q) + E_p[log D*] + log 4        D* = p / (p + q)

With D frozen at its best, G follows the gradient of KL(q || p) - 2 JSD = 2 KL(m || p), m = (p+q)/2: a divergence. To
drop one of two modes costs 0.26 nats; the cost of a mode that the data does not have is unbounded.
"""

from math import log, pi

import torch
from torch import Tensor

from zerosum.game.losses import LOSSES
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.costs import AB, cost_derivative, frozen_d_gradient, grad_theta
from zerosum.lab.claims.optimum import mixtures_1d, perturbed
from zerosum.lab.theory import divergences as d
from zerosum.lab.theory.equilibrium import log_ratio, mean_cost
from zerosum.lab.theory.quadrature import float64


def identity() -> Measured:
    """E_q[-log D*] = KL(q || p) - 2 JSD + E_p[log D*] + log 4, for mixtures by quadrature."""
    p, q = mixtures_1d()
    best = p / (p + q)
    closed = d.kl(q, p) - 2 * d.jsd(p, q) + (p * best.log()).sum() + log(4)
    return equal(mean_cost(LOSSES["non-saturating"].generator, log_ratio(p, q), p, q), closed)


def no_contradiction() -> Measured:
    """KL(q || p) - 2 JSD(p, q) = 2 KL(m || p), m = (p+q)/2: a divergence, not two conflicting terms."""
    p, q = mixtures_1d()
    return equal(d.kl(q, p) - 2 * d.jsd(p, q), 2 * d.kl((p + q) / 2, p))


def zero_at_equality_only() -> Measured:
    """2 KL(m || p) is t^2/4 sum h^2/p for q = p + t h, to leading order: q = p is a strict minimum."""
    p, _ = mixtures_1d()
    t = 1e-4
    h = (perturbed(p, 1.0) - p).square() / p
    return equal(2 * d.kl((p + perturbed(p, t)) / 2, p) / (t**2 / 4 * h.sum()), 1.0)


def followed_by_minimax() -> Measured:
    """With D frozen at its best, the minimax gradient of G is the gradient of 2 JSD: freezing D changes nothing."""
    return equal(frozen_d_gradient("minimax"), grad_theta(lambda p, q: 2 * d.jsd(p, q)))


def followed_by_non_saturating() -> Measured:
    """With D frozen at its best, the non-saturating gradient of G is the gradient of KL(q || p) - 2 JSD."""
    return equal(frozen_d_gradient("non-saturating"), grad_theta(lambda p, q: d.kl(q, p) - 2 * d.jsd(p, q)))


def not_followed() -> Measured:
    """The total gradient of the non-saturating cost, D* depending on q, differs from it by that of E_p[log D*]."""
    total = grad_theta(lambda p, q: mean_cost(LOSSES["non-saturating"].generator, log_ratio(p, q), p, q))
    rest = grad_theta(lambda p, q: (p * (p / (p + q)).log()).sum())
    return equal(total - frozen_d_gradient("non-saturating"), rest)


def rest_is_not_small() -> Measured:
    """That difference is not small: its norm is more than a quarter of that of the frozen-D gradient."""
    rest = grad_theta(lambda p, q: (p * (p / (p + q)).log()).sum())
    return at_least(rest.norm() / frozen_d_gradient("non-saturating").norm(), 0.25)


def dropping_a_mode() -> Measured:
    """Dropping one of two modes raises KL(q || p) - 2 JSD by 1/2 (3 log 3 - 4 log 2) = 0.262 nats: a bounded cost."""
    p, q = float64([0.5, 0.5]), float64([1.0, 0.0])
    return equal(2 * d.kl((p + q) / 2, p), 1.5 * log(1.5) + 0.5 * log(0.5))


def inventing_a_mode() -> Measured:
    """If q has half of its mass where p has mass e, KL(q || p) - 2 JSD grows as 1/2 log 1/e, unbounded as e -> 0."""
    e = float64([1e-6, 1e-12, 1e-24])
    costs = [2 * d.kl((float64([1 - x, x]) + 0.5) / 2, float64([1 - x, x])) for x in e.tolist()]
    return equal(torch.stack(costs).diff() / (1 / e).log().diff(), 0.5)


def prices_under_jsd() -> Measured:
    """Under JSD, the divergence of the minimax game, both errors have the same cost: 2 JSD = 3/2 log 4/3 nats."""
    both = float64([0.5, 0.5]), float64([1.0, 0.0])
    return equal(torch.stack([2 * d.jsd(*both), 2 * d.jsd(*both[::-1])]), 1.5 * log(4 / 3))


def noisy_gradients(name: str, n: int = 1_000_000, seed: int = 0) -> Tensor:
    """Draw d cost_G / dx at a sample where D and dD/dx are 0 plus independent Gaussian noise of std 1e-3."""
    rng = torch.Generator().manual_seed(seed)
    off, tilt = 1e-3 * torch.randn(2, n, generator=rng, dtype=torch.float64)
    off = off.abs()  # D is a probability; the distribution of the ratio is the same by symmetry
    logit = off.logit()
    return cost_derivative(name, logit) * tilt / (off * (1 - off))  # da/dx = D'/(D (1 - D))


def cauchy() -> Measured:
    """Where the best D is 0 and the actual D is noise around it, the non-saturating gradient is Cauchy distributed.

    So it has no variance. P(|gradient| > t) = 1 - 2/pi atan t: at t = 1, 10, 100, a million draws, in standard errors.
    """
    found = noisy_gradients("non-saturating").abs()
    t = float64([1.0, 10.0, 100.0])
    share = 1 - 2 / pi * t.atan()
    seen = (found[:, None] > t).double().mean(0)
    return at_most((seen - share).abs() / (share * (1 - share) / len(found)).sqrt(), 4.0)


def minimax_noise() -> Measured:
    """With the same noise the minimax gradient, D'/(1 - D), has the standard deviation of the noise, 1e-3."""
    return equal(noisy_gradients("minimax").std() / 1e-3, 1.0)


def noise_in_the_logit() -> Measured:
    """If instead the logit is noisy, a = -8 + noise with input gradient noise, both gradients have a finite variance.

    The variances are the means of (1 - D)^2 and D^2: the instability needs noise that reaches D = 0.
    """
    rng = torch.Generator().manual_seed(1)
    off, tilt = torch.randn(2, 1_000_000, generator=rng, dtype=torch.float64)
    found = cost_derivative("non-saturating", off - 8) * tilt
    return equal(found.square().mean(), (1 - (off - 8).sigmoid()).square().mean())


CLAIMS = (
    Claim(7, "identity", identity, "KL(q||p) - 2 JSD + E_p log D* + log 4", f"{AB}, theorem 2.5", 1e-6),
    Claim(7, "no-contradiction", no_contradiction, "KL(q||p) - 2 JSD = 2 KL(m||p)", "derived", 1e-6),
    Claim(7, "zero-only-at-p", zero_at_equality_only, "t^2/4 sum h^2/p", "derived", 1e-3),
    Claim(7, "minimax-follows", followed_by_minimax, "grad 2 JSD", f"{AB}, section 2.2", 1e-7),
    Claim(7, "non-saturating-follows", followed_by_non_saturating, "grad (KL(q||p) - 2 JSD)", f"{AB}, thm 2.5", 1e-7),
    Claim(7, "frozen-or-total", not_followed, "total - frozen = grad E_p[log D*]", "derived", 1e-7),
    Claim(7, "frozen-is-not-total", rest_is_not_small, "|rest| >= 1/4 |step|", "derived", 0.0),
    Claim(7, "price-of-dropping", dropping_a_mode, "3/2 log 3/2 - 1/2 log 2", "derived", 1e-12),
    Claim(7, "price-of-inventing", inventing_a_mode, "grows by 1/2 per nat of log 1/e", "derived", 1e-3),
    Claim(7, "price-under-jsd", prices_under_jsd, "3/2 log 4/3, both", "derived", 1e-12),
    Claim(7, "cauchy-gradient", cauchy, "P(> t) = 1 - 2/pi atan t", f"{AB}, theorem 2.6", 0.0),
    Claim(7, "minimax-is-calm", minimax_noise, "std of the noise", "derived", 0.01),
    Claim(7, "noise-in-the-logit", noise_in_the_logit, "E (1-D)^2 E tilt^2", "derived", 0.02),
)
