"""Mode hopping: data at -1 and 1, half each; all of G's mass at one movable point theta in [-1, 1].

D(x) is a line of logits psi x. The best D for theta leans away from it, and the best theta for that D is the other
end: best responses in turn chase each other for ever, period 2. Three things end it: G foresees D's answer (an unrolled
D), D is held back (a penalty) while G takes steps, or G has mass to spread.

Source: Goodfellow 2016, arXiv:1701.00160, section 5.1.1; Metz et al. 2017, arXiv:1611.02163, section 3.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.game.losses import LOSSES
from zerosum.game.penalties import PENALTIES, DiscriminatorPass
from zerosum.lab.theory.dirac import half, line
from zerosum.lab.theory.divergences import Scalar

DATA = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)


def value(theta: float, psi: Scalar, gamma: float = 0.0) -> Scalar:
    """What D pays: the cost of the minimax game, and R1 with a weight."""
    real, fake = DATA.clone().requires_grad_(), torch.full_like(DATA, theta)
    seen = DiscriminatorPass(real, fake, line(psi, real), line(psi, fake), lambda x: line(psi, x), half)
    cost = LOSSES["minimax"].discriminator(seen.real_logits, seen.fake_logits)
    return (cost + gamma * PENALTIES["r1"](seen)).mean()


def best_slope(theta: float, gamma: float = 0.0) -> float:
    """The psi with which D pays least, by Newton's steps: its cost is convex in psi."""
    psi = torch.zeros((), dtype=torch.float64)
    for _ in range(30):
        psi.requires_grad_()
        (slope,) = torch.autograd.grad(value(theta, psi, gamma), psi, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, psi)
        step = (slope / curvature).detach()
        psi = psi.detach() - step
        if step.abs() < 1e-13:
            break
    return psi.item()


def best_point(psi: float) -> float:
    """The theta in [-1, 1] with which G pays least: an end, since the logit is a line."""
    ends = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    logits = line(torch.tensor(psi, dtype=torch.float64), ends)
    return ends[LOSSES["minimax"].generator(logits, logits).argmin()].item()


def unrolled_point(points: int = 41) -> float:
    """The theta with which G does best against the D that will answer it."""
    grid = torch.linspace(-1, 1, points, dtype=torch.float64).tolist()
    paid = [value(theta, torch.tensor(best_slope(theta), dtype=torch.float64)).item() for theta in grid]
    return grid[max(range(points), key=paid.__getitem__)]


def chase(theta: float, rounds: int) -> Float[Tensor, " rounds"]:
    """Where G is after each of its best responses, D's best response before each."""
    found = []
    for _ in range(rounds):
        theta = best_point(best_slope(theta))
        found.append(theta)
    return torch.tensor(found, dtype=torch.float64)


def stroll(theta: float, h: float, gamma: float, rounds: int) -> Float[Tensor, " rounds"]:
    """Where G is after each of its gradient steps of size h, D at its best for weight gamma before each."""
    found = []
    for _ in range(rounds):
        point = torch.tensor([[theta]], dtype=torch.float64, requires_grad=True)
        logits = line(torch.tensor(best_slope(theta, gamma), dtype=torch.float64), point)
        (slope,) = torch.autograd.grad(LOSSES["minimax"].generator(logits, logits).sum(), point)
        theta = max(-1.0, min(1.0, theta - h * slope.item()))
        found.append(theta)
    return torch.tensor(found, dtype=torch.float64)


def period(path: Float[Tensor, " rounds"], last: int = 20) -> int:
    """After how many rounds the end of a path repeats itself; 0 if it does not within `last`."""
    tail = path[-last:]
    for length in range(1, last // 2 + 1):
        if torch.allclose(tail[length:], tail[:-length], rtol=0, atol=1e-6):
            return length
    return 0
