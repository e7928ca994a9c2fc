"""Algorithm 1 in function space: D is a table of logits, G a table of masses, both free at every point.

`descend` is the setting of the convergence proof: D is at its best before every step of G, so that G descends
U(q) = max_D V(D, q) = 2 JSD(p, q) - log 4, which is convex in q. `play` is what a program does: k steps of D, one of G.

Source: Goodfellow et al. 2014, arXiv:1406.2661, Proposition 2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.game.losses import Loss
from zerosum.lab.theory.divergences import jsd
from zerosum.lab.theory.equilibrium import mean, ratio, slope
from zerosum.lab.theory.quadrature import Masses


def pull(loss: Loss, a: Masses, p: Masses, q: Masses) -> Masses:
    """The gradient of G's cost by its masses, D as it is, along the simplex: its mean taken off."""
    q = q.detach().requires_grad_()
    (found,) = torch.autograd.grad(mean(loss.generator, a, p, q), q)
    return found - found.mean()


def descend(loss: Loss, p: Masses, q: Masses, h: float, steps: int) -> Float[Tensor, " steps"]:
    """JSD(p, q) before each of so many steps of G, each against the best D for it.

    G moves by q <- q exp(-h slope), normalised: descent that cannot leave the simplex.
    """
    found = []
    for _ in range(steps):
        found.append(jsd(p, q))
        q = (q.log() - h * pull(loss, ratio(p, q), p, q)).softmax(0)
    return torch.stack(found)


def play(loss: Loss, p: Masses, a: Masses, q: Masses, h: float, steps: int, k: int = 1) -> Float[Tensor, "steps m"]:
    """(a, q - p) after each round: k steps of D, then one of G, both of size h."""
    found = []
    for _ in range(steps):
        for _ in range(k):
            a = a - h * slope(loss.discriminator, a, p, q)
        q = q - h * pull(loss, a, p, q)
        found.append(torch.cat([a - a.mean(), q - p]))
    return torch.stack(found)
