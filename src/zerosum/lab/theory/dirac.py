"""The Dirac-GAN: data at 0, G a single point theta, D a line psi x. The smallest game that shows who converges.

The players follow v(theta, psi) = (-d cost_G / d theta, -d (cost_D + penalties) / d psi), here with the costs and
penalties of the library itself. At the equilibrium (0, 0) the eigenvalues of v's derivative decide: steps come nearer
if every |1 + h lambda| < 1. For the logistic games, f(t) = logsigmoid(t), f'(0) = 1/2, f''(0) = -1/4:

    no penalty        +- i f'                                          circles
    R1 or R2, g       -g/2 +- sqrt(g^2/4 - f'^2)                       inwards
    noise, s          f'' s^2 +- sqrt(f''^2 s^4 - f'^2)                inwards
    consensus, g      -g f'^2 +- i f'                                  inwards

Source: Mescheder et al. 2018, arXiv:1801.04406, sections 2 and 3.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from zerosum.game.losses import Loss
from zerosum.game.penalties import DiscriminatorPass, Penalty
from zerosum.lab.theory.quadrature import normal_nodes

Place = Float[Tensor, "2"]
"""(theta, psi)."""
Field = Callable[[Place], Place]


def half(purpose: str, shape: tuple[int, ...]) -> Tensor:
    """The middle, where a penalty draws a uniform number."""
    return torch.full(shape, 0.5, dtype=torch.float64)


def field(loss: Loss, penalties: Iterable[tuple[float, Penalty]] = (), noise: float = 0.0) -> Field:
    """v of a game: its costs, its penalties with their weights, and Gaussian noise on all that D sees."""
    nodes, weights = normal_nodes(48) if noise else (torch.zeros(1, 1).double(), torch.ones(1).double())

    def v(place: Place) -> Place:
        theta, psi = place if place.requires_grad else place.detach().requires_grad_()
        real, fake = (noise * nodes).requires_grad_(), theta + noise * nodes
        judge = partial(line, psi)
        seen = DiscriminatorPass(real, fake, judge(real), judge(fake), judge, half)
        theirs = weights @ loss.discriminator(seen.real_logits, seen.fake_logits)
        theirs = theirs + sum(weight * (weights @ penalty(seen)) for weight, penalty in penalties)
        ours = weights @ loss.generator(seen.real_logits, seen.fake_logits)
        grad = partial(torch.autograd.grad, create_graph=True)
        return -torch.stack([*grad(ours, theta), *grad(theirs, psi)])

    return v


def line(psi: Tensor, x: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
    """D's logits."""
    return psi * x[:, 0]


def consensus(v: Field, strength: float) -> Field:
    """v, less the slope of strength/2 |v|^2."""

    def calmer(place: Place) -> Place:
        place = place if place.requires_grad else place.detach().requires_grad_()
        here = v(place)
        (slope,) = torch.autograd.grad(here.square().sum() / 2, place, create_graph=True)
        return here - strength * slope

    return calmer


def derivative(v: Field, place: Place | None = None) -> Float[Tensor, "2 2"]:
    """The matrix of v's derivatives at a place, the equilibrium if none is given."""
    found: Tensor = torch.autograd.functional.jacobian(v, torch.zeros(2).double() if place is None else place)
    return found


def eigenvalues(v: Field) -> Complex[Tensor, "2"]:
    """Of v's derivative at the equilibrium, the one with the larger imaginary, then real part first."""
    found = torch.linalg.eigvals(derivative(v)).tolist()
    return torch.tensor(sorted(found, key=lambda value: (-round(value.imag, 9), -value.real)), dtype=torch.complex128)


def walk(v: Field, start: Place, h: float, steps: int) -> Float[Tensor, "steps 2"]:
    """Every place on the way, the start first; both players move at once."""
    found = [start]
    for _ in range(steps - 1):
        found.append((found[-1] + h * v(found[-1])).detach())
    return torch.stack(found)
