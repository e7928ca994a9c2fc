"""One Gaussian fitted to a mixture of two: how each divergence resolves a misspecified model.

kl(p, q) is large where q lacks mass of p, so q covers both modes; kl(q, p) is large where q has mass and p has not, so
q takes one mode.

Source: Goodfellow 2016, arXiv:1701.00160, figure 14; Minka 2005, "Divergence measures and message passing".
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal
from torch.optim import LBFGS

from zerosum.lab.theory.divergences import Scalar
from zerosum.lab.theory.quadrature import Grid, Masses

Measure = Callable[[Masses, Masses], Scalar]
Parameters = Float[Tensor, "2"]
"""Mean and logarithm of the standard deviation."""


class Fit(NamedTuple):
    """A fitted Gaussian and its divergence from p."""

    mean: float
    std: float
    divergence: float


def gaussian(grid: Grid, parameters: Parameters) -> Masses:
    """Masses of a Gaussian; the log-density is clamped so that all masses are positive."""
    return grid.masses(lambda x: Normal(parameters[0], parameters[1].exp()).log_prob(x[:, 0]).clamp(min=-600))


def fit(measure: Measure, grid: Grid, p: Masses, mean: float, std: float) -> Fit:
    """Find the Gaussian q that minimizes measure(p, q), by L-BFGS from a mean and a standard deviation."""
    parameters = torch.tensor([mean, std], dtype=torch.float64)
    parameters[1].log_()
    parameters.requires_grad_()
    lbfgs = LBFGS([parameters], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe")

    def cost() -> Scalar:
        lbfgs.zero_grad()
        distance = measure(p, gaussian(grid, parameters))
        distance.backward()
        return distance

    lbfgs.step(cost)
    found = parameters.detach()
    return Fit(found[0].item(), found[1].exp().item(), measure(p, gaussian(grid, found)).item())
