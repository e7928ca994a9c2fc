"""Eight f-divergences as games.

    D_f(p || q) = sum q f(p/q)  =  max over T of  E_p[T] - E_q[f*(T)]          f*(t) = sup_u (u t - f(u))

with f convex and f(1) = 0 (except for the row `gan`); the maximum is at T = f'(p/q). T = g(v) for a network's output v,
where the activation g maps the real line onto the domain of f*.

Source: Nowozin et al. 2016, arXiv:1606.00709, tables 1, 2 and 6; every row is checked by a claim.
"""

from collections.abc import Callable
from math import log
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from zerosum.lab.theory.divergences import Scalar
from zerosum.lab.theory.quadrature import Masses

Function = Callable[[Tensor], Tensor]


class Divergence(NamedTuple):
    """An f-divergence: f(u) and f'(u) of u = p/q, the conjugate f*(t), and the output activation g(v)."""

    f: Function
    derivative: Function
    conjugate: Function
    activation: Function

    def of(self, p: Masses, q: Masses) -> Scalar:
        """The divergence D_f(p || q) = sum q f(p/q)."""
        return (q * self.f(p / q)).sum()

    def bound(self, t: Masses, p: Masses, q: Masses) -> Scalar:
        """E_p[T] - E_q[f*(T)]: a lower bound of the divergence, for any T."""
        return (p * t).sum() - (q * self.conjugate(t)).sum()


DIVERGENCES = {
    "kl": Divergence(
        f=lambda u: torch.xlogy(u, u),
        derivative=lambda u: u.log() + 1,
        conjugate=lambda t: (t - 1).exp(),
        activation=lambda v: v,
    ),
    "reverse-kl": Divergence(
        f=lambda u: -u.log(),
        derivative=lambda u: -1 / u,
        conjugate=lambda t: -1 - (-t).log(),
        activation=lambda v: -(-v).exp(),
    ),
    "pearson": Divergence(
        f=lambda u: (u - 1).square(),
        derivative=lambda u: 2 * (u - 1),
        conjugate=lambda t: t.square() / 4 + t,
        activation=lambda v: v,
    ),
    "neyman": Divergence(
        f=lambda u: (1 - u).square() / u,
        derivative=lambda u: 1 - 1 / u.square(),
        conjugate=lambda t: 2 - 2 * (1 - t).sqrt(),
        activation=lambda v: 1 - (-v).exp(),
    ),
    "squared-hellinger": Divergence(
        f=lambda u: (u.sqrt() - 1).square(),
        derivative=lambda u: 1 - 1 / u.sqrt(),
        conjugate=lambda t: t / (1 - t),
        activation=lambda v: 1 - (-v).exp(),
    ),
    "jensen-shannon": Divergence(
        f=lambda u: torch.xlogy(u, u) - (u + 1) * ((1 + u) / 2).log(),
        derivative=lambda u: log(2) + u.log() - (1 + u).log(),
        conjugate=lambda t: -(2 - t.exp()).log(),
        activation=lambda v: log(2) + logsigmoid(v),
    ),
    "gan": Divergence(
        f=lambda u: torch.xlogy(u, u) - (u + 1) * (u + 1).log(),
        derivative=lambda u: u.log() - (1 + u).log(),
        conjugate=lambda t: -(-t.expm1()).log(),
        activation=logsigmoid,
    ),
    "total-variation": Divergence(
        f=lambda u: (u - 1).abs() / 2,
        derivative=lambda u: (u - 1).sign() / 2,
        conjugate=lambda t: t,
        activation=lambda v: v.tanh() / 2,
    ),
}


def output_for(divergence: Divergence, t: Masses, bound: float = 60.0, halvings: int = 80) -> Masses:
    """Invert the activation: find v in [-bound, bound] with g(v) = t by bisection, since g is increasing."""
    low, high = torch.full_like(t, -bound), torch.full_like(t, bound)
    for _ in range(halvings):
        middle = (low + high) / 2
        above = divergence.activation(middle) > t
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2
