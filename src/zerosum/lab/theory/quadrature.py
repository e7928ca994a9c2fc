"""Quadrature: a density is represented by probability masses at nodes.

    integral f(x) p(x) dx  =  sum_i f(x_i) m_i          m_i = w_i p(x_i)

with the nodes x_i and weights w_i of Gauss-Legendre quadrature on equal panels. For smooth densities that vanish at the
ends, a few hundred nodes give an error below 1e-12. The ratio of two densities is the ratio of their masses, so code
for discrete distributions works for densities unchanged.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Masses = Float[Tensor, " n"]

float64 = partial(torch.tensor, dtype=torch.float64)
"""Make a float64 tensor of Python numbers (`torch.tensor(...).double()` would round them to float32 first)."""


class Grid(NamedTuple):
    """Nodes and weights of a quadrature rule."""

    points: Float[Tensor, "n d"]
    weights: Masses

    def masses(self, log_prob: Callable[[Tensor], Tensor]) -> Masses:
        """Return the masses of a density, given its log-density as a function (n, d) -> (n,)."""
        return log_prob(self.points).exp() * self.weights


def gauss_legendre(low: float, high: float, panels: int = 40, order: int = 12) -> Grid:
    """Gauss-Legendre rule on [low, high]: `order` nodes in each of `panels` equal panels.

    >>> grid = gauss_legendre(0.0, 2.0)
    >>> round((grid.points[:, 0] ** 3 * grid.weights).sum().item(), 12)
    4.0
    """
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(order))
    half = (high - low) / panels / 2
    centres = low + half * (2 * torch.arange(panels, dtype=torch.float64) + 1)
    points = (centres[:, None] + half * nodes).reshape(-1, 1)
    return Grid(points, (half * weights).repeat(panels))


def product_grid(first: Grid, second: Grid) -> Grid:
    """Return the product rule of two one-dimensional rules: every pair of their nodes."""
    x, y = torch.meshgrid(first.points[:, 0], second.points[:, 0], indexing="ij")
    return Grid(torch.stack([x, y], -1).reshape(-1, 2), torch.outer(first.weights, second.weights).reshape(-1))


def gauss_hermite(order: int = 64) -> Grid:
    """Gauss-Hermite rule for expectations under N(0, 1)."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(order))
    return Grid(nodes[:, None], weights / weights.sum())
