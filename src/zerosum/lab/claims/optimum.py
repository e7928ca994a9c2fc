"""Groups 1, 2 and 11: the best discriminator, the value of the game, and Algorithm 1 in function space."""

from math import log

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from zerosum.data import Mixture
from zerosum.game.losses import LOSSES, Cost
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.theory.divergences import entropy, jsd, total_variation
from zerosum.lab.theory.equilibrium import best_logits, cost_gradient, log_ratio, mean_cost
from zerosum.lab.theory.quadrature import Masses, float64, gauss_legendre, product_grid
from zerosum.lab.theory.tables import gradient_descent, play

GOODFELLOW = "arXiv:1406.2661"

FOUR_POINTS = float64([0.5, 0.3, 0.2, 0.0]), float64([0.1, 0.2, 0.3, 0.4])
"""p and q on four points; p is 0 on the last."""


def mixture(means: list[list[float]], sigmas: list[float], weights: list[float]) -> Mixture:
    """Make a mixture of isotropic Gaussians: means (k, d), standard deviations (k,), weights (k,)."""
    return Mixture(np.array(means), np.array(sigmas), np.array(weights))


def mixtures_1d() -> tuple[Masses, Masses]:
    """Masses of two mixtures of two Gaussians in one dimension."""
    grid = gauss_legendre(-12.0, 12.0)
    p = mixture([[-2.0], [1.5]], [0.8, 1.1], [0.4, 0.6])
    q = mixture([[-0.5], [3.0]], [1.4, 1.0], [0.8, 0.2])
    return grid.masses(p.log_prob), grid.masses(q.log_prob)


def mixtures_2d() -> tuple[Masses, Masses]:
    """Masses of two mixtures of two Gaussians in two dimensions."""
    side = gauss_legendre(-8.0, 8.0, panels=4)
    grid = product_grid(side, side)
    p = mixture([[-1.0, 0.0], [1.0, 1.0]], [1.0, 1.3], [0.5, 0.5])
    q = mixture([[0.0, -1.0], [0.5, 1.5]], [1.2, 1.0], [0.7, 0.3])
    return grid.masses(p.log_prob), grid.masses(q.log_prob)


def perturbed(p: Masses, t: float) -> Masses:
    """p (1 + t h) for a fixed function h with mean 0 under p: a distribution near p."""
    h = torch.linspace(-1, 1, len(p)).double().sin()
    return p * (1 + t * (h - (p * h).sum() / p.sum()))


def cost_d() -> Cost:
    """D's cost in the minimax game: -V."""
    return LOSSES["minimax"].discriminator


def best_d_1d() -> Measured:
    """D = p/(p+q) minimizes the library's discriminator cost at every point: mixtures in one dimension."""
    p, q = mixtures_1d()
    return equal(best_logits(cost_d(), p, q).sigmoid(), p / (p + q))


def best_d_2d() -> Measured:
    """D = p/(p+q) minimizes the library's discriminator cost at every point: mixtures in two dimensions."""
    p, q = mixtures_2d()
    return equal(best_logits(cost_d(), p, q).sigmoid(), p / (p + q))


def best_d_is_maximum() -> Measured:
    """No other D has a higher V: 200 random D on four points, from near to far."""
    p, q = FOUR_POINTS
    best = mean_cost(cost_d(), log_ratio(p, q), p, q)
    rng = torch.Generator().manual_seed(0)
    ds = [log_ratio(p, q).clamp(-9, 9) + s * torch.randn(4, generator=rng).double() for s in np.geomspace(0.01, 5, 200)]
    return at_least(torch.stack([mean_cost(cost_d(), a, p, q) for a in ds]), best)


def curvature() -> Measured:
    """Near the best D, V falls quadratically in the change da of the logit, with curvature (p + q) D (1 - D)."""
    p, q = mixtures_1d()
    a, da = log_ratio(p, q), 1e-3 * torch.linspace(-3, 3, len(p)).double().cos()
    d = a.sigmoid()
    rise = (mean_cost(cost_d(), a + da, p, q) + mean_cost(cost_d(), a - da, p, q)) / 2 - mean_cost(cost_d(), a, p, q)
    return equal(rise / (da.square() / 2 * (p + q) * d * (1 - d)).sum(), 1.0)


def smoothed_labels() -> Measured:
    """With one-sided label smoothing s the best D is (1 - s) p/(p+q): a function of p/q, bounded by 1 - s."""
    p, q = mixtures_1d()

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return cost_d()(real, fake, smoothing=0.1)  # type: ignore[call-arg]

    return equal(best_logits(cost, p, q).sigmoid(), 0.9 * p / (p + q))


def half_labels() -> Measured:
    """With the label 1/2 for both data and samples, the best D is 1/2 everywhere, for any p and q.

    In the minimax game D is 1/2 at the equilibrium because q = p, not because of the labels.
    """
    p, q = mixtures_1d()

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return (cost_d()(real, real) + cost_d()(fake, fake)) / 2

    return equal(best_logits(cost, p, q).sigmoid(), 0.5)


def hinge_best() -> Measured:
    """With the hinge loss, D = sign(p - q) has the cost 2 (1 - TV(p, q))."""
    p, q = mixtures_1d()
    return equal(mean_cost(LOSSES["hinge"].discriminator, (p - q).sign(), p, q), 2 * (1 - total_variation(p, q)))


def hinge_is_least() -> Measured:
    """No other D has a lower hinge cost than sign(p - q): bisection finds the same minimum."""
    p, q = mixtures_1d()
    cost = LOSSES["hinge"].discriminator
    return equal(mean_cost(cost, best_logits(cost, p, q), p, q), mean_cost(cost, (p - q).sign(), p, q))


def relativistic_best() -> Measured:
    """In the relativistic game the logits log p - log q + c are optimal for any constant c: D's gradient is 0."""
    p, q = mixtures_1d()
    found = cost_gradient(LOSSES["relativistic"].discriminator, log_ratio(p, q) + 3.0, p, q)
    return equal(found / (p + q), 0.0)


def value_on_four_points() -> Measured:
    """At the best D the value of the game, minus D's cost, is -log 4 + 2 JSD: distributions on four points."""
    p, q = FOUR_POINTS
    return equal(-mean_cost(cost_d(), log_ratio(p, q), p, q), 2 * jsd(p, q) - log(4))


def value_1d() -> Measured:
    """At the best D the value of the game is -log 4 + 2 JSD: mixtures in one dimension, by quadrature."""
    p, q = mixtures_1d()
    return equal(-mean_cost(cost_d(), log_ratio(p, q), p, q), 2 * jsd(p, q) - log(4))


def value_at_equality() -> Measured:
    """At q = p the best D is 1/2 everywhere and V = -log 4."""
    p, _ = mixtures_1d()
    return equal(-mean_cost(cost_d(), log_ratio(p, p), p, p), -log(4))


def lowest_value() -> Measured:
    """For q = p + t h the value rises by t^2/4 sum h^2/p to leading order: q = p is a strict minimum."""
    p, _ = mixtures_1d()
    t = 1e-3
    rise = -mean_cost(cost_d(), log_ratio(p, perturbed(p, t)), p, perturbed(p, t)) + log(4)
    h = (perturbed(p, 1.0) - p).square() / p
    return equal(rise / (t**2 / 4 * h.sum()), 1.0)


def value_is_never_below() -> Measured:
    """max_D V is at least -log 4: 200 random pairs of distributions on six points."""
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(200, 2, 6, generator=rng).double() * 2
    values = [-mean_cost(cost_d(), log_ratio(p, q), p, q) for p, q in logits.softmax(-1)]
    return at_least(torch.stack(values), -log(4))


def cross_entropy() -> Measured:
    """-V is twice the cross-entropy of D on an equal mixture of data (label 1) and samples (label 0), for any D."""
    p, q = mixtures_1d()
    d = torch.linspace(-4, 4, len(p)).double().sin().sigmoid()
    real = (p * binary_cross_entropy(d, torch.ones_like(d), reduction="none")).sum()
    fake = (q * binary_cross_entropy(d, torch.zeros_like(d), reduction="none")).sum()
    return equal(mean_cost(cost_d(), d.logit(), p, q), 2 * (real + fake) / 2)


def information() -> Measured:
    """JSD is the mutual information, in nats, of a point and its label (data or sample): log 2 - H(label | x)."""
    p, q = FOUR_POINTS
    joint = torch.stack([p, q]) / 2
    return equal(jsd(p, q), entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint.reshape(-1)))


def paired_at_equality() -> Measured:
    """In the relativistic game D's cost at q = p is log 2, for any constant logit."""
    p, _ = mixtures_1d()
    return equal(mean_cost(LOSSES["relativistic"].discriminator, torch.full_like(p, 2.0), p, p), log(2))


def converges() -> Measured:
    """With the best D before every step of G, a tabular G on six points reaches the data: JSD below 1e-9 nats."""
    p, q = start()
    return at_most(gradient_descent(LOSSES["minimax"], p, q, h=2.0, steps=600)[-1], 1e-9)


def converges_steadily() -> Measured:
    """In that descent (`converges`) the JSD never rises."""
    p, q = start()
    return at_most(gradient_descent(LOSSES["minimax"], p, q, h=2.0, steps=600).diff(), 0.0)


def convex() -> Measured:
    """U(q) = max_D V is convex in q, so its descent has no local minima: midpoints of 200 random pairs."""
    p, _ = start()
    rng = torch.Generator().manual_seed(2)
    pairs = (torch.randn(200, 2, 6, generator=rng).double() * 2).softmax(-1)
    return at_most(torch.stack([jsd(p, (a + b) / 2) - (jsd(p, a) + jsd(p, b)) / 2 for a, b in pairs]), 0.0)


def one_step_of_d() -> Measured:
    """With k = 1, D first, and p uniform on n points, rounds near the equilibrium contract by sqrt(1 - h/2n).

    In the differences from the equilibrium the update is (a, q) -> (a - h (a/2n + q/2), q + h a'/2), a' being the new
    a. For small h its eigenvalues are complex, and the determinant is the square of their absolute value.
    """
    n, h = 4, 0.2
    return equal(round_factor(n, h, k=1), (1 - h / (2 * n)) ** 0.5)


def one_step_is_not_steady() -> Measured:
    """With k = 1 the JSD does not decrease monotonically: its largest rise in one round is above 0."""
    p, q = torch.full((4,), 0.25, dtype=torch.float64), float64([0.2, 0.3, 0.26, 0.24])
    path = play(LOSSES["minimax"], p, torch.zeros_like(p), q, h=0.2, steps=100)[:, 4:]
    return at_least(torch.stack([jsd(p, p + away) for away in path]).diff().max(), 1e-6)


def many_steps_of_d() -> Measured:
    """More steps of D per step of G contract faster per round: the factor decreases from k = 1 to 2 to 5."""
    factors = torch.tensor([round_factor(4, 0.2, k) for k in (1, 2, 5)])
    return at_most(factors.diff(), -0.01)


def start() -> tuple[Masses, Masses]:
    """Return p and the initial q on six points."""
    return float64([0.3, 0.25, 0.2, 0.15, 0.07, 0.03]), float64([0.02, 0.08, 0.1, 0.2, 0.3, 0.3])


def round_factor(n: int, h: float, k: int, tiny: float = 1e-6) -> float:
    """Spectral radius of one round of `tables.play` at the equilibrium, p uniform on n points."""
    p = torch.full((n,), 1 / n, dtype=torch.float64)
    basis = torch.eye(n, dtype=torch.float64)[:-1] - 1 / n  # directions whose entries add up to 0
    directions = torch.linalg.qr(basis.T)[0].T
    columns = []
    for kind in range(2):
        for e in directions:
            a, q = (tiny * e, p) if kind == 0 else (torch.zeros_like(p), p + tiny * e)
            out = play(LOSSES["minimax"], p, a, q, h, steps=1, k=k)[0] / tiny
            columns.append(torch.cat([directions @ out[:n], directions @ out[n:]]))
    return torch.linalg.eigvals(torch.stack(columns, 1)).abs().max().item()


CLAIMS = (
    Claim(1, "best-d-1d", best_d_1d, "D* = p/(p+q)", f"{GOODFELLOW}, Proposition 1", 1e-6),
    Claim(1, "best-d-2d", best_d_2d, "D* = p/(p+q)", f"{GOODFELLOW}, Proposition 1", 1e-6),
    Claim(1, "best-d-wins", best_d_is_maximum, "V(D) <= V(D*)", f"{GOODFELLOW}, Proposition 1", 0.0),
    Claim(1, "best-d-curvature", curvature, "V(D*) - V(D) -> 1/2 sum (p+q) D*(1-D*) da^2", "derived", 1e-5),
    Claim(1, "smoothed-labels", smoothed_labels, "D* = (1-s) p/(p+q)", "arXiv:1701.00160, section 4.2", 1e-6),
    Claim(1, "half-labels", half_labels, "D* = 1/2 for every p, q", "derived", 1e-6),
    Claim(1, "hinge-best-d", hinge_best, "cost = 2 (1 - TV)", "arXiv:1705.02894", 1e-6),
    Claim(1, "hinge-least", hinge_is_least, "min cost at sign(p - q)", "arXiv:1705.02894", 1e-6),
    Claim(1, "relativistic-best-d", relativistic_best, "slope = 0 at log p/q + c", "derived", 1e-9),
    Claim(2, "value-discrete", value_on_four_points, "V(D*) = -log 4 + 2 JSD", f"{GOODFELLOW}, Theorem 1", 1e-12),
    Claim(2, "value-1d", value_1d, "V(D*) = -log 4 + 2 JSD", f"{GOODFELLOW}, Theorem 1", 1e-6),
    Claim(2, "value-at-equality", value_at_equality, "V = -log 4 where q = p", f"{GOODFELLOW}, Theorem 1", 1e-12),
    Claim(2, "value-rises", lowest_value, "V(D*) + log 4 -> t^2/4 sum h^2/p", "derived", 1e-3),
    Claim(2, "value-floor", value_is_never_below, "max_D V >= -log 4", f"{GOODFELLOW}, Theorem 1", 1e-12),
    Claim(2, "cross-entropy", cross_entropy, "-V = 2 H(label, D)", f"{GOODFELLOW}, section 4.1", 1e-12),
    Claim(2, "information", information, "JSD = log 2 - H(label | x)", "Lin 1991", 1e-12),
    Claim(2, "paired-at-equality", paired_at_equality, "cost = log 2 where q = p", "arXiv:2501.05441, eq. (2)", 1e-12),
    Claim(11, "converges", converges, "JSD -> 0", f"{GOODFELLOW}, Proposition 2", 0.0),
    Claim(11, "converges-steadily", converges_steadily, "JSD never rises", f"{GOODFELLOW}, Proposition 2", 1e-12),
    Claim(11, "convex", convex, "JSD(p, (a+b)/2) <= mean of JSD", f"{GOODFELLOW}, Proposition 2", 1e-12),
    Claim(11, "one-step-of-d", one_step_of_d, "factor = sqrt(1 - h/2n)", "derived", 1e-6),
    Claim(11, "one-step-unsteady", one_step_is_not_steady, "JSD rises in some round", "derived", 0.0),
    Claim(11, "more-steps-of-d", many_steps_of_d, "factor falls with k", "derived", 0.0),
)
