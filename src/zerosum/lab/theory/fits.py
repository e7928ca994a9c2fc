"""One Gaussian fitted to a mixture of two: what each divergence makes of a model that is too small.

kl(p, q) asks q to be wherever p is, and covers both modes; kl(q, p) asks q to be nowhere else, and takes one.

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
"""Mean and logarithm of the deviation."""


class Fit(NamedTuple):
    """The Gaussian that was found."""

    mean: float
    deviation: float
    divergence: float


def gaussian(grid: Grid, parameters: Parameters) -> Masses:
    """Its masses; far out they stay above zero, where a logarithm has a slope."""
    return grid.masses(lambda x: Normal(parameters[0], parameters[1].exp()).log_prob(x[:, 0]).clamp(min=-600))


def fit(measure: Measure, grid: Grid, p: Masses, mean: float, deviation: float) -> Fit:
    """The Gaussian nearest to p in a measure (p, q) -> number, downhill from a starting point."""
    parameters = torch.tensor([mean, deviation], dtype=torch.float64)
    parameters[1].log_()
    parameters.requires_grad_()
    search = LBFGS([parameters], max_iter=500, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe")

    def cost() -> Scalar:
        search.zero_grad()
        distance = measure(p, gaussian(grid, parameters))
        distance.backward()
        return distance

    search.step(cost)
    found = parameters.detach()
    return Fit(found[0].item(), found[1].exp().item(), measure(p, gaussian(grid, found)).item())
