"""The bilinear ("xy") game: x maximizes V = x y, y minimizes it; gradients circle the equilibrium (0, 0).

The gradient field is v(x, y) = (y, -x). Every update is a linear map, which converges if its spectral radius is below
1. The spectral radius for step size h:

    flow            x^2 + y^2 is conserved                 simultaneous   sqrt(1 + h^2): diverges for any h
    alternating     1 up to h = 2                          extragradient  sqrt(1 - h^2 + h^4): converges for h < 1
    optimistic      sqrt((1 + sqrt(1 - 4 h^2)) / 2)        proximal       1 / sqrt(1 + h^2): converges for any h
                    for h <= 1/2                           consensus      sqrt((1 - h g)^2 + h^2), strength g
    momentum        converges for b < 0, alternating

V is linear in each player, hence concave in x and convex in y: the failure is not one of convexity.

Source: Goodfellow 2016, arXiv:1701.00160, section 8.2; Gidel et al. 2019, arXiv:1807.04740; Daskalakis et al. 2018,
arXiv:1711.00141; Mescheder et al. 2017, arXiv:1705.10461; Mokhtari et al. 2020, arXiv:1901.08511.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Point = Float[Tensor, "2 *batch"]
"""(x, y)."""
PointWithMemory = Float[Tensor, "4 *batch"]
"""A point, and the state of the update: the previous point or the velocity."""
Update = Callable[[Tensor], Tensor]


def field(z: Point) -> Point:
    """(y, -x): the gradient of x y with respect to x, and minus that with respect to y."""
    return torch.stack([z[1], -z[0]])


def simultaneous(z: Point, h: float) -> Point:
    """Gradient step of both players at the same point: z + h v(z)."""
    return z + h * field(z)


def alternating(z: Point, h: float) -> Point:
    """Gradient step of x, then of y at the new x."""
    x = z[0] + h * z[1]
    return torch.stack([x, z[1] - h * x])


def extragradient(z: Point, h: float) -> Point:
    """Step with the field at the point that a simultaneous step would reach: z + h v(z + h v(z))."""
    return z + h * field(z + h * field(z))


def optimistic(state: PointWithMemory, h: float) -> PointWithMemory:
    """z + 2 h v(z) - h v(z_previous)."""
    z, before = state[:2], state[2:]
    return torch.cat([z + 2 * h * field(z) - h * field(before), z])


def proximal(z: Point, h: float) -> Point:
    """Implicit step: the solution of z' = z + h v(z')."""
    return (z + h * field(z)) / (1 + h * h)


def consensus(z: Point, h: float, strength: float) -> Point:
    """Simultaneous step that also descends strength/2 |v|^2, whose gradient in this game is strength z."""
    return z + h * (field(z) - strength * z)


def heavy_ball(state: PointWithMemory, h: float, momentum: float, in_turn: bool) -> PointWithMemory:
    """Gradient step plus `momentum` (may be negative) times the last step; x first if `in_turn`, else simultaneous."""
    z, velocity = state[:2], state[2:]
    x_step = momentum * velocity[0] + h * z[1]
    y_step = momentum * velocity[1] - h * (z[0] + x_step if in_turn else z[0])
    step = torch.stack([x_step, y_step])
    return torch.cat([z + step, step])


def flow(z: Point, time: float, steps: int = 1000) -> Point:
    """Integrate dz/dt = v(z) for a time by the fourth-order Runge-Kutta method."""
    h = time / steps
    for _ in range(steps):
        one = field(z)
        two = field(z + h / 2 * one)
        three = field(z + h / 2 * two)
        z = z + h / 6 * (one + 2 * two + 2 * three + field(z + h * three))
    return z


def matrix(update: Update, size: int = 2) -> Float[Tensor, "n n"]:
    """Matrix of a linear update, from its values at the unit vectors."""
    return update(torch.eye(size, dtype=torch.float64))


def spectral_radius(update: Update, size: int = 2) -> float:
    """Largest |eigenvalue| of a linear update: its asymptotic factor per step."""
    return torch.linalg.eigvals(matrix(update, size)).abs().max().item()


def trajectory(update: Update, z: Tensor, steps: int) -> Float[Tensor, "steps n"]:
    """Return the points of a trajectory of `steps` points, including the start."""
    found = [z]
    for _ in range(steps - 1):
        found.append(update(found[-1]))
    return torch.stack(found)
