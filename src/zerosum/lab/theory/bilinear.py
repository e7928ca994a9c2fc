"""The xy game: x maximises V = x y, y minimises it; (0, 0) is the equilibrium, and gradients circle it.

The field v(x, y) = (y, -x) is what both follow; every update is a linear map, so its largest |eigenvalue| says whether
it comes nearer. With step h:

    flow            x^2 + y^2 stays                        simultaneous   sqrt(1 + h^2): outwards, for any h
    alternating     1 up to h = 2                          extragradient  sqrt(1 - h^2 + h^4), inwards for h < 1
    optimistic      sqrt((1 + sqrt(1 - 4 h^2)) / 2)        proximal       1 / sqrt(1 + h^2), inwards for any h
                    for h <= 1/2                           consensus      sqrt((1 - h g)^2 + h^2), strength g
    momentum        b < 0, alternating: inwards

V is linear in each player, so convex in y and concave in x: what fails is not convexity.

Source: Goodfellow 2016, arXiv:1701.00160, section 8.2; Gidel et al. 2019, arXiv:1807.04740; Daskalakis et al. 2018,
arXiv:1711.00141; Mescheder et al. 2017, arXiv:1705.10461; Mokhtari et al. 2020, arXiv:1901.08511.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Point = Float[Tensor, "2 *batch"]
"""(x, y)."""
Pair = Float[Tensor, "4 *batch"]
"""A point, and what the update remembers: the point before, or the velocity."""
Update = Callable[[Tensor], Tensor]


def field(z: Point) -> Point:
    """(y, -x): x goes up the slope of x y, y goes down."""
    return torch.stack([z[1], -z[0]])


def simultaneous(z: Point, h: float) -> Point:
    """Both move along the field at the same point."""
    return z + h * field(z)


def alternating(z: Point, h: float) -> Point:
    """x moves; y answers to where x went."""
    x = z[0] + h * z[1]
    return torch.stack([x, z[1] - h * x])


def extragradient(z: Point, h: float) -> Point:
    """Move along the field that a step would meet."""
    return z + h * field(z + h * field(z))


def optimistic(pair: Pair, h: float) -> Pair:
    """Twice the field here, less the field before."""
    z, before = pair[:2], pair[2:]
    return torch.cat([z + 2 * h * field(z) - h * field(before), z])


def proximal(z: Point, h: float) -> Point:
    """Move along the field of the place that is reached: z' = z + h v(z'), solved."""
    return (z + h * field(z)) / (1 + h * h)


def consensus(z: Point, h: float, strength: float) -> Point:
    """Both also descend strength/2 |v|^2, whose slope in this game is z."""
    return z + h * (field(z) - strength * z)


def heavy_ball(pair: Pair, h: float, momentum: float, in_turn: bool) -> Pair:
    """Keep a share of the last step, which may be negative; both at once, or x first."""
    z, velocity = pair[:2], pair[2:]
    x_step = momentum * velocity[0] + h * z[1]
    y_step = momentum * velocity[1] - h * (z[0] + x_step if in_turn else z[0])
    step = torch.stack([x_step, y_step])
    return torch.cat([z + step, step])


def flow(z: Point, time: float, steps: int = 1000) -> Point:
    """Follow the field itself for a time (Runge and Kutta's fourth order)."""
    h = time / steps
    for _ in range(steps):
        one = field(z)
        two = field(z + h / 2 * one)
        three = field(z + h / 2 * two)
        z = z + h / 6 * (one + 2 * two + 2 * three + field(z + h * three))
    return z


def matrix(update: Update, size: int = 2) -> Float[Tensor, "n n"]:
    """The matrix of a linear update: what it makes of each unit vector."""
    return update(torch.eye(size, dtype=torch.float64))


def radius(update: Update, size: int = 2) -> float:
    """The largest |eigenvalue| of a linear update: its factor per step in the long run."""
    return torch.linalg.eigvals(matrix(update, size)).abs().max().item()


def walk(update: Update, z: Tensor, steps: int) -> Float[Tensor, "steps n"]:
    """Every place on the way, the start first."""
    found = [z]
    for _ in range(steps - 1):
        found.append(update(found[-1]))
    return torch.stack(found)
