"""Mixtures of Gaussians whose density is known exactly: the field's touchstones for mode collapse.

ring      8 modes on a circle, radius 1, deviation 0.01       grid   25 modes at {-4, -2, 0, 2, 4}^2, deviation 0.05
mixture-1d   any means, deviations and weights on a line

100,000 training and 10,000 test points are drawn once, from fixed seeds that are not the run's, so that every seed of a
run meets the same data. Source of sizes: Lin et al. 2018 (PacGAN), arXiv:1712.04086, section 4.1.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zerosum.config.settings import Rate, Real
from zerosum.data.dataset import Data, Mixture, Rows
from zerosum.errors import DataError

TRAIN, TEST = 100_000, 10_000

MODES = 1_000
"""The most: each then has about a hundred training points."""

Many = Field(max_length=MODES)


def ring(*, modes: Annotated[int, Field(gt=0, le=MODES)] = 8, radius: Rate = 1.0, sigma: Rate = 0.01) -> Data:
    """Gaussians evenly spread on a circle.

    Args:
        modes: How many.
        radius: Of the circle.
        sigma: Standard deviation of each.
    """
    angle = 2 * np.pi * np.arange(modes) / modes
    return _drawn("ring", radius * np.stack([np.cos(angle), np.sin(angle)], 1), sigma)


def grid(*, side: Annotated[int, Field(gt=0, le=isqrt(MODES))] = 5, spacing: Rate = 2.0, sigma: Rate = 0.05) -> Data:
    """Gaussians on a square grid around the origin.

    Args:
        side: How many along one side.
        spacing: Between neighbours.
        sigma: Standard deviation of each.
    """
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return _drawn("grid", np.stack(np.meshgrid(line, line), -1).reshape(-1, 2), sigma)


def mixture_1d(
    *,
    means: Annotated[Sequence[Real], Many] = (-2.0, 2.0),
    sigmas: Annotated[Sequence[Rate], Many] = (0.5, 0.5),
    weights: Annotated[Sequence[Rate], Many] | None = None,
) -> Data:
    """Gaussians on a line.

    Args:
        means: Of each.
        sigmas: Standard deviation of each.
        weights: Shares, of any sum; equal if absent.

    Raises:
        DataError: The lists are empty or differ in length.
    """
    weights = weights or [1.0] * len(means)
    if not means:
        raise DataError("mixture-1d: no means are given; give one for each mode")
    if not len(means) == len(sigmas) == len(weights):
        raise DataError(f"mixture-1d: {len(means)} means, {len(sigmas)} sigmas and {len(weights)} weights must match")
    return _drawn("mixture-1d", np.array(means)[:, None], np.array(sigmas), np.array(weights))


def _drawn(
    name: str,
    means: NDArray[np.float64],
    sigma: float | NDArray[np.float64],
    weights: NDArray[np.float64] | float = 1.0,
) -> Data:
    k = len(means)
    shares = np.broadcast_to(weights, k) / np.broadcast_to(weights, k).sum()
    mixture = Mixture(means, np.broadcast_to(sigma, k).astype(np.float64), shares)
    return Data(
        name=name,
        kind="points",
        train=Rows(*mixture.sample(TRAIN, seed=0)),
        test=Rows(*mixture.sample(TEST, seed=1)),
        classes=tuple(f"mode {number}" for number in range(k)),
        mixture=mixture,
        source="drawn from the exact density",
        licence="none needed",
    )
