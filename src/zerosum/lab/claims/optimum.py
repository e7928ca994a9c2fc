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
from zerosum.lab.theory.equilibrium import best_logits, mean, ratio, slope
from zerosum.lab.theory.quadrature import Masses, line, numbers, plane
from zerosum.lab.theory.tables import descend, play

GOODFELLOW = "arXiv:1406.2661"

LETTERS = numbers([0.5, 0.3, 0.2, 0.0]), numbers([0.1, 0.2, 0.3, 0.4])
"""p and q on four points, one of which the data never shows."""


def mixture(means: list[list[float]], sigmas: list[float], weights: list[float]) -> Mixture:
    """Gaussians of any dimension."""
    return Mixture(np.array(means), np.array(sigmas), np.array(weights))


def on_a_line() -> tuple[Masses, Masses]:
    """Two mixtures in one dimension: p with two modes, q with one and a half."""
    grid = line(-12.0, 12.0)
    p = mixture([[-2.0], [1.5]], [0.8, 1.1], [0.4, 0.6])
    q = mixture([[-0.5], [3.0]], [1.4, 1.0], [0.8, 0.2])
    return grid.masses(p.log_prob), grid.masses(q.log_prob)


def in_the_plane() -> tuple[Masses, Masses]:
    """Two mixtures in two dimensions."""
    side = line(-8.0, 8.0, panels=4)
    grid = plane(side, side)
    p = mixture([[-1.0, 0.0], [1.0, 1.0]], [1.0, 1.3], [0.5, 0.5])
    q = mixture([[0.0, -1.0], [0.5, 1.5]], [1.2, 1.0], [0.7, 0.3])
    return grid.masses(p.log_prob), grid.masses(q.log_prob)


def bent(p: Masses, by: float) -> Masses:
    """p (1 + by h) for a fixed h with mean 0 under p: a law near p."""
    h = torch.linspace(-1, 1, len(p)).double().sin()
    return p * (1 + by * (h - (p * h).sum() / p.sum()))


def logistic() -> Cost:
    """D's cost in the game of 2014: -V."""
    return LOSSES["minimax"].discriminator


def best_on_a_line() -> Measured:
    """D = p/(p+q) at every point where a density is, in one dimension: what makes our cost of D smallest there."""
    p, q = on_a_line()
    return equal(best_logits(logistic(), p, q).sigmoid(), p / (p + q))


def best_in_the_plane() -> Measured:
    """D = p/(p+q) at every point for mixtures in the plane as well: what makes our cost of D smallest there."""
    p, q = in_the_plane()
    return equal(best_logits(logistic(), p, q).sigmoid(), p / (p + q))


def best_beats_all() -> Measured:
    """No other D reaches a higher V: 200 random ones, near and far, on four points."""
    p, q = LETTERS
    best = mean(logistic(), ratio(p, q), p, q)
    rng = torch.Generator().manual_seed(0)
    tries = [ratio(p, q).clamp(-9, 9) + s * torch.randn(4, generator=rng).double() for s in np.geomspace(0.01, 5, 200)]
    return at_least(torch.stack([mean(logistic(), a, p, q) for a in tries]), best)


def curvature() -> Measured:
    """Near the best D, V falls with the square of the deviation of its logit, weighted by (p + q) D (1 - D)."""
    p, q = on_a_line()
    a, step = ratio(p, q), 1e-3 * torch.linspace(-3, 3, len(p)).double().cos()
    d = a.sigmoid()
    loss = (mean(logistic(), a + step, p, q) + mean(logistic(), a - step, p, q)) / 2 - mean(logistic(), a, p, q)
    return equal(loss / (step.square() / 2 * (p + q) * d * (1 - d)).sum(), 1.0)


def smoothed_labels() -> Measured:
    """With one-sided label smoothing s the best D is (1 - s) p/(p+q): still a function of p/q, never sure of data."""
    p, q = on_a_line()

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return logistic()(real, fake, smoothing=0.1)  # type: ignore[call-arg]

    return equal(best_logits(cost, p, q).sigmoid(), 0.9 * p / (p + q))


def half_labels() -> Measured:
    """Trained on the label 1/2 for data and samples alike, D answers 1/2 everywhere, whatever p and q are.

    Two best players end at D = 1/2 because q = p, not because the labels are 1/2.
    """
    p, q = on_a_line()

    def cost(real: Tensor, fake: Tensor) -> Tensor:
        return (logistic()(real, real) + logistic()(fake, fake)) / 2

    return equal(best_logits(cost, p, q).sigmoid(), 0.5)


def hinge_best() -> Measured:
    """With the hinge, D's best answer is the sign of p - q, and it then pays 2 (1 - TV(p, q))."""
    p, q = on_a_line()
    return equal(mean(LOSSES["hinge"].discriminator, (p - q).sign(), p, q), 2 * (1 - total_variation(p, q)))


def hinge_is_least() -> Measured:
    """No other D pays less than the sign of p - q in the hinge game: halving finds the same cost."""
    p, q = on_a_line()
    cost = LOSSES["hinge"].discriminator
    return equal(mean(cost, best_logits(cost, p, q), p, q), mean(cost, (p - q).sign(), p, q))


def relativistic_best() -> Measured:
    """In the relativistic game log p - log q, plus any constant, is the best D as well: the slope of its cost is 0."""
    p, q = on_a_line()
    found = slope(LOSSES["relativistic"].discriminator, ratio(p, q) + 3.0, p, q)
    return equal(found / (p + q), 0.0)


def value_on_letters() -> Measured:
    """At the best D the value of the game is -log 4 + 2 JSD, on four points: our cost of D, negated."""
    p, q = LETTERS
    return equal(-mean(logistic(), ratio(p, q), p, q), 2 * jsd(p, q) - log(4))


def value_on_a_line() -> Measured:
    """At the best D the value of the game is -log 4 + 2 JSD for mixtures on a line, by quadrature."""
    p, q = on_a_line()
    return equal(-mean(logistic(), ratio(p, q), p, q), 2 * jsd(p, q) - log(4))


def value_at_equality() -> Measured:
    """Where q = p the best D is 1/2 everywhere and V = -log 4."""
    p, _ = on_a_line()
    return equal(-mean(logistic(), ratio(p, p), p, p), -log(4))


def lowest_value() -> Measured:
    """Away from q = p the value is higher, by t^2/4 sum h^2/p for q = p + t h: -log 4 is the only minimum."""
    p, _ = on_a_line()
    t = 1e-3
    rise = -mean(logistic(), ratio(p, bent(p, t)), p, bent(p, t)) + log(4)
    h = (bent(p, 1.0) - p).square() / p
    return equal(rise / (t**2 / 4 * h.sum()), 1.0)


def value_is_never_below() -> Measured:
    """For 200 random pairs of laws on six points, max_D V is at least -log 4."""
    rng = torch.Generator().manual_seed(1)
    logits = torch.randn(200, 2, 6, generator=rng).double() * 2
    values = [-mean(logistic(), ratio(p, q), p, q) for p, q in logits.softmax(-1)]
    return at_least(torch.stack(values), -log(4))


def cross_entropy() -> Measured:
    """-V is twice the cross-entropy of labels 1 and 0 in an even mixture of data and samples, for any D."""
    p, q = on_a_line()
    d = torch.linspace(-4, 4, len(p)).double().sin().sigmoid()
    real = (p * binary_cross_entropy(d, torch.ones_like(d), reduction="none")).sum()
    fake = (q * binary_cross_entropy(d, torch.zeros_like(d), reduction="none")).sum()
    return equal(mean(logistic(), d.logit(), p, q), 2 * (real + fake) / 2)


def information() -> Measured:
    """JSD is the information in nats that a sample gives about the coin that chose its source: log 2 - H(label | x)."""
    p, q = LETTERS
    joint = torch.stack([p, q]) / 2
    return equal(jsd(p, q), entropy(joint.sum(1)) + entropy(joint.sum(0)) - entropy(joint.reshape(-1)))


def paired_at_equality() -> Measured:
    """In the relativistic game D pays log 2 where q = p, its best logit being any constant."""
    p, _ = on_a_line()
    return equal(mean(LOSSES["relativistic"].discriminator, torch.full_like(p, 2.0), p, p), log(2))


def converges() -> Measured:
    """With the best D before every step of G, masses on six points reach the data: JSD below 1e-9 nats."""
    p, q = start()
    return at_most(descend(LOSSES["minimax"], p, q, h=2.0, steps=600)[-1], 1e-9)


def converges_steadily() -> Measured:
    """On that way the divergence never rises."""
    p, q = start()
    return at_most(descend(LOSSES["minimax"], p, q, h=2.0, steps=600).diff(), 0.0)


def convex() -> Measured:
    """U(q) = max_D V is convex in q, which is why that descent cannot be trapped: midpoints of 200 random pairs."""
    p, _ = start()
    rng = torch.Generator().manual_seed(2)
    pairs = (torch.randn(200, 2, 6, generator=rng).double() * 2).softmax(-1)
    return at_most(torch.stack([jsd(p, (a + b) / 2) - (jsd(p, a) + jsd(p, b)) / 2 for a, b in pairs]), 0.0)


def one_step_of_d() -> Measured:
    """With k = 1 on n equal points, rounds near the equilibrium shrink by sqrt(1 - h/2n), D first.

    The update is a spiral, (a, q) -> (a - h (a/2n + q/2), q + h a'/2) in the deviations from equality, while h is
    small enough for a spiral. Its determinant is the square of the factor.
    """
    n, h = 4, 0.2
    return equal(spiral(n, h, k=1), (1 - h / (2 * n)) ** 0.5)


def one_step_is_not_steady() -> Measured:
    """With k = 1 the divergence also rises on the way: its largest rise in one round is above 0."""
    p, q = torch.full((4,), 0.25, dtype=torch.float64), numbers([0.2, 0.3, 0.26, 0.24])
    path = play(LOSSES["minimax"], p, torch.zeros_like(p), q, h=0.2, steps=100)[:, 4:]
    return at_least(torch.stack([jsd(p, p + away) for away in path]).diff().max(), 1e-6)


def many_steps_of_d() -> Measured:
    """More steps of D to one of G bring the equilibrium nearer per round: the factor falls from k = 1 to 2 to 5."""
    factors = torch.tensor([spiral(4, 0.2, k) for k in (1, 2, 5)])
    return at_most(factors.diff(), -0.01)


def start() -> tuple[Masses, Masses]:
    """Six points: the data, and where G begins."""
    return numbers([0.3, 0.25, 0.2, 0.15, 0.07, 0.03]), numbers([0.02, 0.08, 0.1, 0.2, 0.3, 0.3])


def spiral(n: int, h: float, k: int, tiny: float = 1e-6) -> float:
    """Largest factor by which a small deviation grows in a round of `tables.play` on n equal points."""
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
    Claim(1, "best-d-1d", best_on_a_line, "D* = p/(p+q)", f"{GOODFELLOW}, Proposition 1", 1e-6),
    Claim(1, "best-d-2d", best_in_the_plane, "D* = p/(p+q)", f"{GOODFELLOW}, Proposition 1", 1e-6),
    Claim(1, "best-d-wins", best_beats_all, "V(D) <= V(D*)", f"{GOODFELLOW}, Proposition 1", 0.0),
    Claim(1, "best-d-curvature", curvature, "V(D*) - V(D) -> 1/2 sum (p+q) D*(1-D*) da^2", "derived", 1e-5),
    Claim(1, "smoothed-labels", smoothed_labels, "D* = (1-s) p/(p+q)", "arXiv:1701.00160, section 4.2", 1e-6),
    Claim(1, "half-labels", half_labels, "D* = 1/2 for every p, q", "derived", 1e-6),
    Claim(1, "hinge-best-d", hinge_best, "cost = 2 (1 - TV)", "arXiv:1705.02894", 1e-6),
    Claim(1, "hinge-least", hinge_is_least, "min cost at sign(p - q)", "arXiv:1705.02894", 1e-6),
    Claim(1, "relativistic-best-d", relativistic_best, "slope = 0 at log p/q + c", "derived", 1e-9),
    Claim(2, "value-discrete", value_on_letters, "V(D*) = -log 4 + 2 JSD", f"{GOODFELLOW}, Theorem 1", 1e-12),
    Claim(2, "value-1d", value_on_a_line, "V(D*) = -log 4 + 2 JSD", f"{GOODFELLOW}, Theorem 1", 1e-6),
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
