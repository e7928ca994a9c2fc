"""The expected cost of a D given by its logits at the nodes, and the optimal D.

    mean_cost(cost, a, p, q)   E over x ~ p, y ~ q of cost(a(x), a(y))       p, q, a: masses and logits at the nodes
    best_logits(cost, p, q)    the a that minimizes D's expected cost

The costs are those of `zerosum.game.losses`, so results here hold for the games that are trained.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.game.losses import Cost
from zerosum.lab.theory.divergences import Scalar
from zerosum.lab.theory.quadrature import Masses

MAX_LOGIT = 700.0
"""Bound of |logit|, in place of infinity: exp(-700) is still a normal float64 number."""


def mean_cost(cost: Cost, a: Masses, p: Masses, q: Masses) -> Scalar:
    """E over independent x ~ p and y ~ q of cost(a(x), a(y)), as a weighted sum over all pairs of nodes."""
    real, fake = (part.reshape(-1) for part in torch.broadcast_tensors(a[:, None], a[None, :]))
    return torch.outer(p, q).reshape(-1) @ cost(real, fake)


def log_ratio(p: Masses, q: Masses) -> Masses:
    """log p - log q, clamped to +-MAX_LOGIT: the logit of p / (p + q)."""
    return (p.log() - q.log()).clamp(-MAX_LOGIT, MAX_LOGIT)


def cost_gradient(cost: Cost, a: Masses, p: Masses, q: Masses) -> Masses:
    """The gradient of the mean cost with respect to D's logits at the nodes."""
    a = a.detach().requires_grad_()
    (found,) = torch.autograd.grad(mean_cost(cost, a, p, q), a)
    return found


def best_logits(cost: Cost, p: Masses, q: Masses, bound: float = 60.0, halvings: int = 70) -> Masses:
    """Find the logits in [-bound, bound] that minimize D's expected cost, node by node, by bisection.

    Valid for costs that are a convex function of a(x) plus a convex function of a(G(z)): the derivative at a node then
    depends on that node alone and changes sign once.
    """
    low, high = torch.full_like(p, -bound), torch.full_like(p, bound)
    for _ in range(halvings):
        middle = ((low + high) / 2).requires_grad_()
        other = torch.zeros_like(p)
        (rise,) = torch.autograd.grad(p @ cost(middle, other) + q @ cost(other, middle), middle)
        low, high = torch.where(rise > 0, low, middle.detach()), torch.where(rise > 0, middle.detach(), high)
    return (low + high) / 2


def frozen_gradient(cost: Cost, a: Masses, p: Masses, theta: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """Gradient of G's expected cost with respect to theta, q = softmax(theta), for a fixed D: the step of G."""
    theta = theta.detach().requires_grad_()
    (found,) = torch.autograd.grad(mean_cost(cost, a.detach(), p, theta.softmax(0)), theta)
    return found
