"""Mode hopping: data at -1 and 1 with probability 1/2 each; G puts all mass on one point theta in [-1, 1].

D has the logits psi x. The best psi for theta has the opposite sign, and the best theta for that D is the other end:
alternating best responses cycle with period 2. Three changes end the cycle: an unrolled D (G differentiates through D's
response), a penalty on D with gradient steps of G, or a G that can put mass on both modes.

Source: Goodfellow 2016, arXiv:1701.00160, section 5.1.1; Metz et al. 2017, arXiv:1611.02163, section 3.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.game.losses import LOSSES
from zerosum.game.penalties import PENALTIES, DiscriminatorPass
from zerosum.lab.theory.dirac import linear, midpoint
from zerosum.lab.theory.divergences import Scalar

DATA = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)


def discriminator_cost(theta: float, psi: Scalar, gamma: float = 0.0) -> Scalar:
    """D's minimax cost plus R1 with weight gamma."""
    real, fake = DATA.clone().requires_grad_(), torch.full_like(DATA, theta)
    seen = DiscriminatorPass(real, fake, linear(psi, real), linear(psi, fake), lambda x: linear(psi, x), midpoint)
    cost = LOSSES["minimax"].discriminator(seen.real_logits, seen.fake_logits)
    return (cost + gamma * PENALTIES["r1"](seen)).mean()


def best_psi(theta: float, gamma: float = 0.0) -> float:
    """Find the psi that minimizes D's cost, which is convex in psi, by Newton's method."""
    psi = torch.zeros((), dtype=torch.float64)
    for _ in range(30):
        psi.requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator_cost(theta, psi, gamma), psi, create_graph=True)
        (curvature,) = torch.autograd.grad(gradient, psi)
        step = (gradient / curvature).detach()
        psi = psi.detach() - step
        if step.abs() < 1e-13:
            break
    return psi.item()


def best_theta(psi: float) -> float:
    """Find the theta in [-1, 1] that minimizes G's cost: an end point, since the logit is linear."""
    ends = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    logits = linear(torch.tensor(psi, dtype=torch.float64), ends)
    return ends[LOSSES["minimax"].generator(logits, logits).argmin()].item()


def unrolled_theta(points: int = 41) -> float:
    """Find the theta that is best against D's best response to it, on a grid: G's optimum with a fully unrolled D."""
    grid = torch.linspace(-1, 1, points, dtype=torch.float64).tolist()
    costs = [discriminator_cost(theta, torch.tensor(best_psi(theta), dtype=torch.float64)).item() for theta in grid]
    return grid[max(range(points), key=costs.__getitem__)]


def best_responses(theta: float, rounds: int) -> Float[Tensor, " rounds"]:
    """Return theta after each round of alternating best responses, D first."""
    found = []
    for _ in range(rounds):
        theta = best_theta(best_psi(theta))
        found.append(theta)
    return torch.tensor(found, dtype=torch.float64)


def gradient_steps(theta: float, h: float, gamma: float, rounds: int) -> Float[Tensor, " rounds"]:
    """Return theta after each gradient step of size h, each against the best D under R1 with weight gamma."""
    found = []
    for _ in range(rounds):
        point = torch.tensor([[theta]], dtype=torch.float64, requires_grad=True)
        logits = linear(torch.tensor(best_psi(theta, gamma), dtype=torch.float64), point)
        (gradient,) = torch.autograd.grad(LOSSES["minimax"].generator(logits, logits).sum(), point)
        theta = max(-1.0, min(1.0, theta - h * gradient.item()))
        found.append(theta)
    return torch.tensor(found, dtype=torch.float64)


def period(path: Float[Tensor, " rounds"], last: int = 20) -> int:
    """Period of the last rounds of a path; 0 if there is none of at most `last` / 2."""
    tail = path[-last:]
    for length in range(1, last // 2 + 1):
        if torch.allclose(tail[length:], tail[:-length], rtol=0, atol=1e-6):
            return length
    return 0
