"""Group 6: the three costs of G, their derivatives by the logit, and their gradients with D frozen at its best.

    minimax log(1 - D), non-saturating -log D, likelihood -D/(1 - D)        D = sigmoid(a), at a sample

At the best D the logit is a* = log p/q. G's gradient, with D frozen, goes through the samples x = G(z):

    d cost / d theta = E_q[(d cost / d a) (d a* / d x) (d x / d theta)]

So a cost decides by its derivative which samples count: the bad ones, where D is sure of itself, or the best.
"""

from collections.abc import Callable
from math import erf, exp, sqrt

import torch
from torch import Tensor
from torch.distributions import Normal

from zerosum.game.losses import LOSSES
from zerosum.lab.claims.claim import Claim, Measured, at_most, equal
from zerosum.lab.claims.divergence import normal_masses
from zerosum.lab.claims.optimum import GOODFELLOW
from zerosum.lab.theory.divergences import Scalar
from zerosum.lab.theory.equilibrium import frozen_gradient, log_ratio
from zerosum.lab.theory.quadrature import Masses, float64, gauss_legendre

TUTORIAL = "arXiv:1701.00160"
AB = "arXiv:1701.04862"

DATA = float64([0.5, 0.3, 0.2])
THETA = float64([0.2, -0.4, 0.1])
"""The data on three points, and the parameters of G: q = softmax(theta)."""

COSTS = ("minimax", "non-saturating", "likelihood")


def cost_derivative(name: str, a: Tensor) -> Tensor:
    """Derivative of G's cost with respect to the logit of a sample."""
    a = a.detach().requires_grad_()
    (found,) = torch.autograd.grad(LOSSES[name].generator(torch.zeros_like(a), a).sum(), a)
    return found


def values_of_d() -> Measured:
    """As functions of D(G(z)) the three costs are log(1 - D), -log D and -D/(1 - D)."""
    prob = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    closed = torch.stack([(1 - prob).log(), -prob.log(), -prob / (1 - prob)])
    return equal(torch.stack([LOSSES[name].generator(prob.logit(), prob.logit()) for name in COSTS]), closed)


def derivatives_by_logit() -> Measured:
    """The derivatives of the three costs with respect to the logit a of D(G(z)) are -D, -(1 - D) and -exp(a)."""
    a = torch.linspace(-12, 6, 50, dtype=torch.float64)
    closed = torch.stack([-a.sigmoid(), -(1 - a.sigmoid()), -a.exp()])
    return equal(torch.stack([cost_derivative(name, a) for name in COSTS]), closed)


def derivatives_compared() -> Measured:
    """The non-saturating derivative is (1 - D)/D times the minimax one: the ratio grows as D(G(z)) goes to 0."""
    a = torch.linspace(-20, 5, 60, dtype=torch.float64)
    return equal(cost_derivative("non-saturating", a) / cost_derivative("minimax", a) * a.exp(), 1.0)


def shifted_gaussians(theta: float) -> tuple[Masses, Masses, Masses]:
    """Return masses of data N(0, 1) and samples N(theta, 1), and the input gradient of the best D's logit, -theta."""
    grid = gauss_legendre(-14.0, 14.0 + theta, panels=160)
    return (
        normal_masses(grid, 0.0, 1.0),
        normal_masses(grid, theta, 1.0),
        torch.full((len(grid.weights),), -theta, dtype=torch.float64),
    )


def gradient_size(name: str, theta: float) -> Scalar:
    """|d cost_G / d theta| for samples theta + z, with D frozen at its best."""
    p, q, gradient = shifted_gaussians(theta)
    return (q * cost_derivative(name, log_ratio(p, q)) * gradient).sum().abs()


def minimax_vanishes() -> Measured:
    """As D becomes confident the minimax gradient vanishes: <= theta/2 exp(-theta^2/8) for N(0, 1) and N(theta, 1)."""
    thetas = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    bounds = float64([theta / 2 * exp(-(theta**2) / 8) for theta in thetas])
    return at_most(torch.stack([gradient_size("minimax", theta) for theta in thetas]) / bounds, 1.0)


def non_saturating_stays() -> Measured:
    """For N(0, 1) and N(theta, 1) the non-saturating gradient grows: theta minus the minimax gradient."""
    thetas = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    rest = torch.stack([gradient_size("minimax", theta) for theta in thetas])
    return equal(torch.stack([gradient_size("non-saturating", theta) for theta in thetas]), float64(thetas) - rest)


def likelihood_gradient() -> Measured:
    """For N(0, 1) and N(theta, 1) the gradient of the likelihood cost is theta, that of KL(p || q) = theta^2/2."""
    thetas = (0.5, 1.0, 2.0, 3.0)
    return equal(torch.stack([gradient_size("likelihood", theta) for theta in thetas]), float64(thetas))


def best_samples_rule() -> Measured:
    """The best 1 % of the samples dominate the likelihood gradient: at theta = 3 their share is Phi(3 - 2.326) = 75 %.

    Their share of the non-saturating gradient is 1.0 %.
    """
    theta, z = 3.0, Normal(0.0, 1.0).icdf(float64(0.01))
    grid = gauss_legendre(-16.0, theta + z.item(), panels=160)
    p, q = normal_masses(grid, 0.0, 1.0), normal_masses(grid, theta, 1.0)
    share = (q * cost_derivative("likelihood", log_ratio(p, q))).sum().abs()
    return equal(share, (1 + erf((theta + z.item()) / sqrt(2))) / 2)


def no_sample_rules() -> Measured:
    """No samples dominate the non-saturating gradient: the share of the best 1 % is less than 1 % at theta = 3."""
    theta, z = 3.0, Normal(0.0, 1.0).icdf(float64(0.01))
    p, q, _ = shifted_gaussians(theta)
    weight = q * cost_derivative("non-saturating", log_ratio(p, q)).abs()
    best = gauss_legendre(-16.0, theta + z.item(), panels=160)
    top = normal_masses(best, theta, 1.0)
    top = top * cost_derivative("non-saturating", log_ratio(normal_masses(best, 0.0, 1.0), top)).abs()
    return at_most(top.sum() / weight.sum(), 0.01)


def grad_theta(measure: Callable[[Masses, Masses], Scalar], theta: Tensor = THETA) -> Tensor:
    """Gradient of a function of (p, q) with respect to theta, q = softmax(theta)."""
    theta = theta.detach().requires_grad_()
    (found,) = torch.autograd.grad(measure(DATA, theta.softmax(0)), theta)
    return found


def frozen_d_gradient(name: str) -> Tensor:
    """The gradient that G's optimizer uses: that of its cost through the samples, with D frozen at its best."""
    return frozen_gradient(LOSSES[name].generator, log_ratio(DATA, THETA.softmax(0)), DATA, THETA)


CLAIMS = (
    Claim(6, "cost-values", values_of_d, "log(1-D), -log D, -D/(1-D)", f"{TUTORIAL}, figure 16", 1e-12),
    Claim(6, "cost-slopes", derivatives_by_logit, "-D, -(1-D), -exp(a)", f"{TUTORIAL}, figure 16", 1e-12),
    Claim(6, "slope-ratio", derivatives_compared, "(1-D)/D", f"{GOODFELLOW}, section 3", 1e-9),
    Claim(6, "minimax-vanishes", minimax_vanishes, "<= theta/2 exp(-theta^2/8)", f"{AB}, theorem 2.4", 0.0),
    Claim(6, "non-saturating-stays", non_saturating_stays, "theta - minimax", f"{GOODFELLOW}, section 3", 1e-6),
    Claim(6, "likelihood-slope", likelihood_gradient, "theta", f"{TUTORIAL}, section 8.3", 1e-6),
    Claim(6, "best-samples-rule", best_samples_rule, "Phi(theta + z_0.01)", f"{TUTORIAL}, section 3.2.5", 1e-6),
    Claim(6, "no-sample-rules", no_sample_rules, "share of the best 1 % <= 1 %", f"{TUTORIAL}, section 3.2.5", 0.0),
)
