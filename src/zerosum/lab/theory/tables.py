"""Algorithm 1 in function space: D is a table of logits, G a table of masses, without parametric constraints.

`gradient_descent` is the setting of the convergence proof: D is optimal before every step of G, so G descends
U(q) = max_D V(D, q) = 2 JSD(p, q) - log 4, which is convex in q. `play` is the algorithm: k steps of D, one of G.

Source: Goodfellow et al. 2014, arXiv:1406.2661, Proposition 2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.game.losses import Loss
from zerosum.lab.theory.divergences import jsd
from zerosum.lab.theory.equilibrium import cost_gradient, log_ratio, mean_cost
from zerosum.lab.theory.quadrature import Masses


def generator_gradient(loss: Loss, a: Masses, p: Masses, q: Masses) -> Masses:
    """Gradient of G's mean cost with respect to q for a fixed D, projected onto the simplex by subtracting its mean."""
    q = q.detach().requires_grad_()
    (found,) = torch.autograd.grad(mean_cost(loss.generator, a, p, q), q)
    return found - found.mean()


def gradient_descent(loss: Loss, p: Masses, q: Masses, h: float, steps: int) -> Float[Tensor, " steps"]:
    """Return JSD(p, q) before each step of G against the optimal D.

    G's step is exponentiated gradient descent, q <- q exp(-h gradient), normalized: it cannot leave the simplex.
    """
    found = []
    for _ in range(steps):
        found.append(jsd(p, q))
        q = (q.log() - h * generator_gradient(loss, log_ratio(p, q), p, q)).softmax(0)
    return torch.stack(found)


def play(loss: Loss, p: Masses, a: Masses, q: Masses, h: float, steps: int, k: int = 1) -> Float[Tensor, "steps m"]:
    """Return (a, q - p) after each round of k gradient steps of D and one of G, both of step size h."""
    found = []
    for _ in range(steps):
        for _ in range(k):
            a = a - h * cost_gradient(loss.discriminator, a, p, q)
        q = q - h * generator_gradient(loss, a, p, q)
        found.append(torch.cat([a - a.mean(), q - p]))
    return torch.stack(found)
