"""What a game costs when D is known at every point, and the D that does best.

    mean(cost, a, p, q)        E over x ~ p, y ~ q of cost(a(x), a(y))       p, q masses at the nodes where a is known
    best_logits(cost, p, q)    the a that makes D's cost smallest

The costs are those of `zerosum.game.losses`, so that what is shown here is shown of the games that are trained.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.game.losses import Cost
from zerosum.lab.theory.divergences import Scalar
from zerosum.lab.theory.quadrature import Masses

SURE = 700.0
"""A logit that stands for certainty: exp(-700) is the smallest power that float64 holds in full."""


def mean(cost: Cost, a: Masses, p: Masses, q: Masses) -> Scalar:
    """E over x ~ p and, independently, y ~ q of cost(a(x), a(y)): every pair of nodes, weighted."""
    real, fake = (part.reshape(-1) for part in torch.broadcast_tensors(a[:, None], a[None, :]))
    return torch.outer(p, q).reshape(-1) @ cost(real, fake)


def ratio(p: Masses, q: Masses) -> Masses:
    """log p - log q: the logit of p / (p + q), bounded by certainty."""
    return (p.log() - q.log()).clamp(-SURE, SURE)


def slope(cost: Cost, a: Masses, p: Masses, q: Masses) -> Masses:
    """The derivative of the mean cost by D's logit at each node."""
    a = a.detach().requires_grad_()
    (found,) = torch.autograd.grad(mean(cost, a, p, q), a)
    return found


def best_logits(cost: Cost, p: Masses, q: Masses, bound: float = 60.0, halvings: int = 70) -> Masses:
    """The logits in [-bound, bound] at which D's cost is smallest, node by node, by halving.

    Holds for costs that are a convex function of a(x) plus one of a(G(z)): the slope at a node then depends on that
    node alone and changes its sign once.
    """
    low, high = torch.full_like(p, -bound), torch.full_like(p, bound)
    for _ in range(halvings):
        middle = ((low + high) / 2).requires_grad_()
        other = torch.zeros_like(p)
        (rise,) = torch.autograd.grad(p @ cost(middle, other) + q @ cost(other, middle), middle)
        low, high = torch.where(rise > 0, low, middle.detach()), torch.where(rise > 0, middle.detach(), high)
    return (low + high) / 2


def frozen_gradient(cost: Cost, a: Masses, p: Masses, theta: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The gradient of G's cost by the parameters of q = softmax(theta), D as it is: what a step of G follows."""
    theta = theta.detach().requires_grad_()
    (found,) = torch.autograd.grad(mean(cost, a.detach(), p, theta.softmax(0)), theta)
    return found
