"""The Dirac-GAN: data at 0, G a single point theta, D(x) = psi x. The smallest game that may fail to converge.

The gradient field v(theta, psi) = (-d cost_G / d theta, -d (cost_D + penalties) / d psi) uses the costs and penalties
of the library. The eigenvalues lambda of its Jacobian at the equilibrium (0, 0) decide: simultaneous steps converge if
every |1 + h lambda| < 1. For the logistic games, f(t) = logsigmoid(t), f'(0) = 1/2, f''(0) = -1/4:

    no penalty              +- i f'                                    circles
    R1 or R2, weight g      -g/2 +- sqrt(g^2/4 - f'^2)                 converges
    noise of std s          f'' s^2 +- sqrt(f''^2 s^4 - f'^2)          converges
    consensus, strength g   -g f'^2 +- i f'                            converges

Source: Mescheder et al. 2018, arXiv:1801.04406, sections 2 and 3.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from zerosum.game.losses import Loss
from zerosum.game.penalties import DiscriminatorPass, Penalty
from zerosum.lab.theory.quadrature import gauss_hermite

Point = Float[Tensor, "2"]
"""(theta, psi)."""
Field = Callable[[Point], Point]


def midpoint(purpose: str, shape: tuple[int, ...]) -> Tensor:
    """Replace a penalty's uniform random numbers by their mean, 1/2."""
    return torch.full(shape, 0.5, dtype=torch.float64)


def field(loss: Loss, penalties: Iterable[tuple[float, Penalty]] = (), noise: float = 0.0) -> Field:
    """Return v of a game: a loss, weighted penalties, and Gaussian noise of std `noise` on all inputs of D."""
    nodes, weights = gauss_hermite(48) if noise else (torch.zeros(1, 1).double(), torch.ones(1).double())

    def v(point: Point) -> Point:
        theta, psi = point if point.requires_grad else point.detach().requires_grad_()
        real, fake = (noise * nodes).requires_grad_(), theta + noise * nodes
        discriminator = partial(linear, psi)
        seen = DiscriminatorPass(real, fake, discriminator(real), discriminator(fake), discriminator, midpoint)
        cost_d = weights @ loss.discriminator(seen.real_logits, seen.fake_logits)
        cost_d = cost_d + sum(weight * (weights @ penalty(seen)) for weight, penalty in penalties)
        cost_g = weights @ loss.generator(seen.real_logits, seen.fake_logits)
        grad = partial(torch.autograd.grad, create_graph=True)
        return -torch.stack([*grad(cost_g, theta), *grad(cost_d, psi)])

    return v


def linear(psi: Tensor, x: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
    """D's logits psi x."""
    return psi * x[:, 0]


def consensus(v: Field, strength: float) -> Field:
    """Return the field v - grad(strength/2 |v|^2) of consensus optimization."""

    def regularized(point: Point) -> Point:
        point = point if point.requires_grad else point.detach().requires_grad_()
        here = v(point)
        (gradient,) = torch.autograd.grad(here.square().sum() / 2, point, create_graph=True)
        return here - strength * gradient

    return regularized


def jacobian(v: Field, point: Point | None = None) -> Float[Tensor, "2 2"]:
    """Jacobian of v at a point (default: the equilibrium)."""
    found: Tensor = torch.autograd.functional.jacobian(v, torch.zeros(2).double() if point is None else point)
    return found


def eigenvalues(v: Field) -> Complex[Tensor, "2"]:
    """Eigenvalues of the Jacobian at the equilibrium, by decreasing imaginary part, then real part."""
    found = torch.linalg.eigvals(jacobian(v)).tolist()
    return torch.tensor(sorted(found, key=lambda value: (-round(value.imag, 9), -value.real)), dtype=torch.complex128)


def trajectory(v: Field, start: Point, h: float, steps: int) -> Float[Tensor, "steps 2"]:
    """Return the points of simultaneous steps of size h, including the start."""
    found = [start]
    for _ in range(steps - 1):
        found.append((found[-1] + h * v(found[-1])).detach())
    return torch.stack(found)
