"""Group 12: the game V = x y and equilibria."""

from collections.abc import Callable
from functools import partial
from math import sqrt

import torch
from torch import Tensor

from zerosum.game.losses import LOSSES
from zerosum.lab.claims.claim import Claim, Measured, at_least, at_most, equal
from zerosum.lab.claims.optimum import GOODFELLOW
from zerosum.lab.theory import bilinear
from zerosum.lab.theory.divergences import jsd
from zerosum.lab.theory.equilibrium import cost_gradient, frozen_gradient, log_ratio, mean_cost
from zerosum.lab.theory.quadrature import float64

ZERO_SUM = ("minimax", "wasserstein")
"""The games in which the sum of both costs does not depend on G."""

STEPS = float64([0.05, 0.1, 0.2, 0.3, 0.4])


def sum_of_costs(name: str) -> Tensor:
    """Derivative of cost_D + cost_G with respect to the logit of a sample, at 41 logits."""
    fake = torch.linspace(-4, 4, 41, dtype=torch.float64).requires_grad_()
    real = torch.full_like(fake, 0.5)
    both = LOSSES[name].discriminator(real, fake) + LOSSES[name].generator(real, fake)
    (found,) = torch.autograd.grad(both.sum(), fake)
    return found


def zero_sum() -> Measured:
    """The minimax and the Wasserstein game are zero-sum: cost_D + cost_G does not depend on the logit of a sample."""
    return equal(torch.stack([sum_of_costs(name) for name in ZERO_SUM]), 0.0)


def not_zero_sum() -> Measured:
    """The five other games are not zero-sum: the largest |d(cost_D + cost_G)/d logit| is at least 0.5 in each."""
    others = [name for name in LOSSES if name not in ZERO_SUM]
    return at_least(torch.stack([sum_of_costs(name).abs().max() for name in others]).min(), 0.5)


NEUTRAL = {"least-squares": 0.5}
"""The output of a D that cannot tell data from samples, if it is not 0: halfway between the labels."""


def d_cannot_gain() -> Measured:
    """At q = p and a D of constant output 0 (least squares: 1/2), D's gradient is 0, in all seven games."""
    p = float64([0.4, 0.3, 0.2, 0.1])
    found = [
        cost_gradient(loss.discriminator, torch.full_like(p, NEUTRAL.get(name, 0.0)), p, p)
        for name, loss in LOSSES.items()
    ]
    return equal(torch.stack(found), 0.0)


def g_cannot_gain() -> Measured:
    """Against that D, G's gradient is 0 for every G: all seven games share the equilibrium q = p."""
    p, theta = float64([0.4, 0.3, 0.2, 0.1]), float64([1.0, -0.5, 0.3, 0.0])
    found = [
        frozen_gradient(loss.generator, torch.full_like(p, NEUTRAL.get(name, 0.0)), p, theta)
        for name, loss in LOSSES.items()
    ]
    return equal(torch.stack(found), 0.0)


def nash_is_not_dominance() -> Measured:
    """D = 1/2 is the best response to q = p only: against another q its cost, log 4, is 2 JSD above that of the best D.

    A Nash equilibrium excludes gains by unilateral changes; its strategies need not be dominant.
    """
    p, q = float64([0.4, 0.3, 0.2, 0.1]), float64([0.1, 0.2, 0.3, 0.4])
    cost = LOSSES["minimax"].discriminator
    return equal(mean_cost(cost, torch.zeros_like(p), p, q) - mean_cost(cost, log_ratio(p, q), p, q), 2 * jsd(p, q))


def linear_in_each() -> Measured:
    """The Wasserstein cost with data at 0, a sample at theta, D(x) = psi x is the game V = x y: linear in each player.

    Its second derivatives are 0, 1, 1, 0: it is convex-concave, yet gradient steps do not converge.
    """

    def cost(place: Tensor) -> Tensor:
        data = torch.zeros(1, dtype=torch.float64)
        return LOSSES["wasserstein"].discriminator(data, place[:1] * place[1:]).sum()

    return equal(torch.autograd.functional.hessian(cost, float64([0.7, -1.3])), float64([[0.0, 1.0], [1.0, 0.0]]))


def flow_circles() -> Measured:
    """The continuous-time flow conserves x^2 + y^2: from (1, 1) it returns to (1, 1) after time 2 pi."""
    return equal(bilinear.flow(float64([1.0, 1.0]), 2 * torch.pi), float64([1.0, 1.0]))


def factors(update: Callable[..., Tensor], size: int = 2, steps: Tensor = STEPS, **options: float | bool) -> Tensor:
    """Spectral radius of an update for each of the step sizes."""
    return float64([bilinear.spectral_radius(partial(update, h=h, **options), size) for h in steps.tolist()])


def roles() -> Measured:
    """Every update is, to first order in h, gradient ascent of x and descent of y on V = x y."""
    z, h = float64([0.7, 1.3]).requires_grad_(), 1e-7
    (slope_of_v,) = torch.autograd.grad(z[0] * z[1], z)
    start, still = z.detach(), float64([0.0, 0.0])
    moved = [
        bilinear.simultaneous(start, h),
        bilinear.alternating(start, h),
        bilinear.extragradient(start, h),
        bilinear.optimistic(torch.cat([start, start]), h)[:2],
        bilinear.proximal(start, h),
        bilinear.consensus(start, h, strength=0.0),
        bilinear.heavy_ball(torch.cat([start, still]), h, momentum=-0.5, in_turn=True)[:2],
        bilinear.flow(start, h, steps=1),
    ]
    return equal((torch.stack(moved) - start) / h, slope_of_v * float64([1.0, -1.0]))


def simultaneous_grows() -> Measured:
    """Simultaneous steps diverge for every h > 0: the factor per step is sqrt(1 + h^2)."""
    return equal(factors(bilinear.simultaneous), (1 + STEPS.square()).sqrt())


def simultaneous_walk() -> Measured:
    """200 simultaneous steps with h = 0.1 from (1, 1) end at distance sqrt 2 times 1.01^100 = 3.8251844."""
    path = bilinear.trajectory(partial(bilinear.simultaneous, h=0.1), float64([1.0, 1.0]), 201)
    return equal(path[-1].norm(), sqrt(2) * 1.01**100)


def alternating_invariant() -> Measured:
    """Alternating steps, x first, conserve x^2 + y^2 + h x y: 1,000 steps with h = 0.1 from (1, 1)."""
    x, y = bilinear.trajectory(partial(bilinear.alternating, h=0.1), float64([1.0, 1.0]), 1001).T
    return equal(x.square() + y.square() + 0.1 * x * y, 2.1)


def alternating_factor() -> Measured:
    """The factor of alternating steps is 1 for h < 2: they neither converge nor diverge."""
    return equal(factors(bilinear.alternating, steps=float64([0.1, 0.5, 1.0, 1.5, 1.99])), 1.0)


def alternating_diverges() -> Measured:
    """For h > 2 alternating steps diverge, with the factor (h^2 - 2 + h sqrt(h^2 - 4)) / 2."""
    h = float64([2.1, 2.5, 3.0])
    closed = (h.square() - 2 + h * (h.square() - 4).sqrt()) / 2
    return equal(factors(bilinear.alternating, steps=h), closed)


def extragradient_factor() -> Measured:
    """Extragradient steps have the factor sqrt(1 - h^2 + h^4)."""
    return equal(factors(bilinear.extragradient), (1 - STEPS.square() + STEPS**4).sqrt())


def extragradient_diverges() -> Measured:
    """Extragradient steps converge for h < 1 and diverge for h > 1: the same closed form at 0.9, 1 and 1.1."""
    h = float64([0.9, 1.0, 1.1])
    return equal(factors(bilinear.extragradient, steps=h), (1 - h.square() + h**4).sqrt())


def optimistic_factor() -> Measured:
    """Optimistic steps have the factor sqrt((1 + sqrt(1 - 4 h^2)) / 2), for h up to 1/2."""
    closed = ((1 + (1 - 4 * STEPS.square()).sqrt()) / 2).sqrt()
    return equal(factors(bilinear.optimistic, size=4), closed)


def optimistic_diverges() -> Measured:
    """For h > 1/2 the factor of optimistic steps is sqrt(1 + (2h + sqrt(4h^2 - 1))^2) / 2: 1 at h = 1/sqrt 3."""
    h = float64([0.52, 3**-0.5, 0.65])
    closed = (1 + (2 * h + (4 * h.square() - 1).sqrt()).square()).sqrt() / 2
    return equal(factors(bilinear.optimistic, size=4, steps=h), closed)


def proximal_factor() -> Measured:
    """Proximal (implicit) steps have the factor 1/sqrt(1 + h^2): they converge for every h."""
    h = float64([0.1, 1.0, 10.0])
    return equal(factors(bilinear.proximal, steps=h), 1 / (1 + h.square()).sqrt())


def consensus_factor() -> Measured:
    """Consensus steps of strength 1 have the factor sqrt((1 - h)^2 + h^2): they converge for h < 1."""
    h = float64([0.1, 0.5, 1.0, 1.2])
    closed = ((1 - h).square() + h.square()).sqrt()
    return equal(factors(bilinear.consensus, steps=h, strength=1.0), closed)


def heavy_ball_factor(h: float, b: float) -> float:
    """Largest |root| of (m - 1)^2 (m - b)^2 + h^2 m^3 = 0, by the companion matrix."""
    square = torch.tensor([1.0, -(1 + b), b], dtype=torch.float64)  # (m - 1)(m - b)
    whole = [(square[i] * square[j], i + j) for i in range(3) for j in range(3)]
    coefficients = [sum((value for value, place in whole if place == k), float64(0.0)).item() for k in range(5)]
    coefficients[1] += h * h
    companion = torch.diag(torch.ones(3, dtype=torch.float64), -1)
    companion[0] = -float64(coefficients[1:])
    return torch.linalg.eigvals(companion).abs().max().item()


def negative_momentum() -> Measured:
    """The factor of alternating steps with momentum b is the largest |root| of (m - 1)^2 (m - b)^2 + h^2 m^3."""
    pairs = [(h, b) for h in (0.1, 0.5, 1.0) for b in (-0.5, -0.25, 0.25, 0.5)]
    found = [bilinear.spectral_radius(partial(bilinear.heavy_ball, h=h, momentum=b, in_turn=True), 4) for h, b in pairs]
    return equal(float64(found), float64([heavy_ball_factor(h, b) for h, b in pairs]))


def negative_momentum_helps() -> Measured:
    """Alternating steps with momentum b = -1/2 converge for h < 1; at h = 1 the factor is 1."""
    found = factors(bilinear.heavy_ball, 4, float64([0.1, 0.5, 0.9, 1.0]), momentum=-0.5, in_turn=True)
    return at_most(found, float64([0.9986, 0.963, 0.999, 1 + 1e-7]))


def positive_momentum_hurts() -> Measured:
    """Alternating steps with momentum b > 0 diverge: the factor is above 1 for b = 1/4 and 1/2 at every h."""
    found = [factors(bilinear.heavy_ball, 4, momentum=b, in_turn=True) for b in (0.25, 0.5)]
    return at_least(torch.stack(found), 1.0 + 1e-4)


def momentum_does_not_save_simultaneous() -> Measured:
    """Simultaneous steps diverge with every momentum from -0.9 to 0.9."""
    found = [factors(bilinear.heavy_ball, 4, momentum=b, in_turn=False) for b in torch.linspace(-0.9, 0.9, 13).tolist()]
    return at_least(torch.stack(found), 1.0 + 1e-6)


XY = "arXiv:1701.00160, section 8.2"
GIDEL = "arXiv:1807.04740"
MOKHTARI = "arXiv:1901.08511"

CLAIMS = (
    Claim(12, "zero-sum", zero_sum, "d(cost_D + cost_G)/d fake = 0", f"{GOODFELLOW}, eq. (1)", 1e-12),
    Claim(12, "not-zero-sum", not_zero_sum, "d(cost_D + cost_G)/d fake != 0", "arXiv:1701.00160, section 3.2.3", 0.0),
    Claim(12, "d-cannot-gain", d_cannot_gain, "d cost_D / d a = 0 at q = p", f"{GOODFELLOW}, Theorem 1", 1e-12),
    Claim(12, "g-cannot-gain", g_cannot_gain, "grad cost_G = 0 at constant D", f"{GOODFELLOW}, section 3", 1e-12),
    Claim(12, "nash-not-dominance", nash_is_not_dominance, "regret of D = 1/2 is 2 JSD", "Nash 1951", 1e-12),
    Claim(12, "linear-in-each", linear_in_each, "V_xx = V_yy = 0, V_xy = 1", XY, 1e-12),
    Claim(12, "roles", roles, "dz/dh = (V_x, -V_y)", XY, 1e-6),
    Claim(12, "flow", flow_circles, "x^2 + y^2 constant", XY, 1e-9),
    Claim(12, "simultaneous", simultaneous_grows, "sqrt(1 + h^2)", MOKHTARI, 1e-12),
    Claim(12, "simultaneous-walk", simultaneous_walk, "sqrt 2 (1 + h^2)^(n/2)", MOKHTARI, 1e-9),
    Claim(12, "alternating-invariant", alternating_invariant, "x^2 + y^2 + h x y", GIDEL, 1e-12),
    Claim(12, "alternating", alternating_factor, "1 for h < 2", GIDEL, 1e-6),
    Claim(12, "alternating-breaks", alternating_diverges, "(h^2 - 2 + h sqrt(h^2 - 4))/2", "derived", 1e-9),
    Claim(12, "extragradient", extragradient_factor, "sqrt(1 - h^2 + h^4)", MOKHTARI, 1e-12),
    Claim(12, "extragradient-breaks", extragradient_diverges, "the same; 1 at h = 1", "derived", 1e-12),
    Claim(12, "optimistic", optimistic_factor, "sqrt((1 + sqrt(1 - 4h^2))/2)", MOKHTARI, 1e-9),
    Claim(12, "optimistic-breaks", optimistic_diverges, "1 at h = 1/sqrt 3", "derived", 1e-9),
    Claim(12, "proximal", proximal_factor, "1/sqrt(1 + h^2)", MOKHTARI, 1e-12),
    Claim(12, "consensus", consensus_factor, "sqrt((1 - h g)^2 + h^2)", "arXiv:1705.10461", 1e-12),
    Claim(12, "momentum", negative_momentum, "(m-1)^2 (m-b)^2 + h^2 m^3 = 0", GIDEL, 1e-6),
    Claim(12, "negative-momentum", negative_momentum_helps, "< 1 for h < 1, b = -1/2", GIDEL, 1e-6),
    Claim(12, "positive-momentum", positive_momentum_hurts, "> 1 for b > 0", GIDEL, 0.0),
    Claim(12, "momentum-at-once", momentum_does_not_save_simultaneous, "> 1 for every b", GIDEL, 0.0),
)
