"""Group 9: least squares with labels a for samples, b for data and c for G, and what G follows with D frozen.

    D* = (b p + a q) / (p + q)        2 C = E_p[(D* - c)^2] + E_q[(D* - c)^2]

Up to a constant and a factor C is the same divergence for all labels. G's gradient with D frozen is not that of C,
since D* depends on q, and for some labels it is opposed to it. In the minimax game both are equal (envelope theorem).
"""

import torch
from torch import Tensor

from zerosum.game.losses import LOSSES, Cost, least_squares_discriminator, least_squares_generator
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.costs import DATA, THETA, grad_theta
from zerosum.lab.claims.optimum import GOODFELLOW, mixtures_1d
from zerosum.lab.theory.divergences import Scalar
from zerosum.lab.theory.equilibrium import best_logits, frozen_gradient, log_ratio, mean_cost
from zerosum.lab.theory.quadrature import Masses, float64

MAO = "arXiv:1611.04076"

LABELS = ((0.0, 1.0, 1.0), (-1.0, 1.0, 0.0), (0.3, 2.0, 0.7))
"""Labels (a, b, c): D's target for samples, D's target for data, and G's target for samples."""


def least_squares_cost(a: float, b: float) -> Cost:
    """D's cost with labels a and b."""

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return least_squares_discriminator(real, fake, a=a, b=b)

    return cost


def squares_best() -> Measured:
    """With least squares the best D is (b p + a q)/(p + q), for three choices of the labels."""
    p, q = mixtures_1d()
    found = torch.stack([best_logits(least_squares_cost(a, b), p, q) for a, b, _ in LABELS])
    return equal(found, torch.stack([(b * p + a * q) / (p + q) for a, b, _ in LABELS]))


def twice_c(p: Masses, q: Masses, a: float, b: float, c: float) -> Scalar:
    """2 C = E_p[(D* - c)^2] + E_q[(D* - c)^2]: G's cost at the best D, including the term on real data."""
    best = (b * p + a * q) / (p + q)
    cost = least_squares_generator(best, best, c=c)
    return 2 * ((p + q) * cost).sum()


def squares_divergence() -> Measured:
    """For any labels 2 C = 2 ((a+b)/2 - c)^2 + ((b-a)/2)^2 sum (p-q)^2/(p+q), C being G's cost with the real term."""
    p, q = mixtures_1d()
    spread = ((p - q).square() / (p + q)).sum()
    closed = [2 * ((a + b) / 2 - c) ** 2 + ((b - a) / 2) ** 2 * spread for a, b, c in LABELS]
    return equal(torch.stack([twice_c(p, q, *coding) for coding in LABELS]), torch.stack(closed))


def squares_pearson() -> Measured:
    """With the labels -1, 1, 0, 2 C is Pearson's chi-square of p + q against 2 q."""
    p, q = DATA, THETA.softmax(0)
    return equal(twice_c(p, q, -1.0, 1.0, 0.0), ((2 * q - (p + q)).square() / (p + q)).sum())


def squares_same() -> Measured:
    """The labels 0, 1, 1 minimize the same divergence: their 2 C is 1/2 plus a quarter of the other, for 100 pairs."""
    rng = torch.Generator().manual_seed(4)
    pairs = (2 * torch.randn(100, 2, 5, generator=rng, dtype=torch.float64)).softmax(-1)
    one = torch.stack([twice_c(p, q, 0.0, 1.0, 1.0) for p, q in pairs])
    return equal(one, torch.stack([0.5 + twice_c(p, q, -1.0, 1.0, 0.0) / 4 for p, q in pairs]))


def squares_step(a: float, b: float, c: float, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return G's gradient with D frozen at its best, and the gradient of C."""

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return least_squares_generator(real, fake, c=c)

    q = theta.softmax(0)
    best = (b * DATA + a * q) / (DATA + q)
    return frozen_gradient(cost, best, DATA, theta), grad_theta(lambda p, q: twice_c(p, q, a, b, c) / 2, theta)


THETA_2 = float64([2.0, 0.0, -2.0])
"""G has most of its mass on the first point, more than the data."""


def squares_step_opposes() -> Measured:
    """G's gradient with D frozen is not that of C: with the labels -1, 1, 0 it can be opposed (cosine < -0.5)."""
    step, gradient = squares_step(-1.0, 1.0, 0.0, THETA_2)
    return at_most(torch.cosine_similarity(step, gradient, dim=0), -0.5)


def squares_step_agrees() -> Measured:
    """With the labels 0, 1, 1, at the same q, both have about the same direction (cosine > 0.9) but are not equal."""
    step, gradient = squares_step(0.0, 1.0, 1.0, THETA_2)
    return at_least(torch.cosine_similarity(step, gradient, dim=0), 0.9)


def minimax_step_is_exact() -> Measured:
    """In the minimax game G's gradient with D frozen is the total gradient (envelope theorem), at the same q."""
    a = log_ratio(DATA, THETA_2.softmax(0))
    step = frozen_gradient(LOSSES["minimax"].generator, a, DATA, THETA_2)
    return equal(
        step, grad_theta(lambda p, q: -mean_cost(LOSSES["minimax"].discriminator, log_ratio(p, q), p, q), THETA_2)
    )


CLAIMS = (
    Claim(9, "squares-best-d", squares_best, "D* = (b p + a q)/(p + q)", f"{MAO}, eq. (5)", 1e-6),
    Claim(9, "squares-divergence", squares_divergence, "2((a+b)/2-c)^2 + ((b-a)/2)^2 S", "derived", 1e-6),
    Claim(9, "squares-pearson", squares_pearson, "chi^2(p+q : 2q)", f"{MAO}, theorem 1", 1e-12),
    Claim(9, "squares-same", squares_same, "2 C_011 = 1/2 + 2 C_-110 / 4", "derived", 1e-12),
    Claim(9, "squares-step-opposes", squares_step_opposes, "cosine <= -1/2", "derived", 0.0),
    Claim(9, "squares-step-agrees", squares_step_agrees, "cosine >= 0.9", "derived", 0.0),
    Claim(9, "envelope", minimax_step_is_exact, "frozen = total", f"{GOODFELLOW}, Proposition 2", 1e-7),
)
