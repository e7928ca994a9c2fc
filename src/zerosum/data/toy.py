"""Gaussian mixtures with exactly known density, the usual tests for mode collapse (s: standard deviation).

ring      8 modes on a circle of radius 1, s = 0.01       grid   25 modes at {-4, -2, 0, 2, 4}^2, s = 0.05
mixture-1d   a one-dimensional mixture with any means, standard deviations and weights

The 100,000 training and 10,000 test points are drawn from fixed seeds, so they are the same for every seed of a run.
Source of sizes: Lin et al. 2018 (PacGAN), arXiv:1712.04086, section 4.1.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from zerosum.config.settings import Rate, Real
from zerosum.data.dataset import Data, Split
from zerosum.data.mixture import Mixture
from zerosum.errors import DataError

TRAIN, TEST = 100_000, 10_000

MODES = 1_000
"""Maximum number of modes: each then has about a hundred training points."""

AtMostModes = Field(max_length=MODES)


def ring(*, modes: Annotated[int, Field(gt=0, le=MODES)] = 8, radius: Rate = 1.0, sigma: Rate = 0.01) -> Data:
    """Gaussians with equally spaced means on a circle.

    Args:
        modes: Number of modes.
        radius: Radius of the circle.
        sigma: Standard deviation of each mode.
    """
    angle = 2 * np.pi * np.arange(modes) / modes
    return _mixture_data("ring", radius * np.stack([np.cos(angle), np.sin(angle)], 1), sigma)


def grid(*, side: Annotated[int, Field(gt=0, le=isqrt(MODES))] = 5, spacing: Rate = 2.0, sigma: Rate = 0.05) -> Data:
    """Gaussians on a square grid around the origin.

    Args:
        side: Number of modes along one side.
        spacing: Distance between adjacent means.
        sigma: Standard deviation of each mode.
    """
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return _mixture_data("grid", np.stack(np.meshgrid(line, line), -1).reshape(-1, 2), sigma)


def mixture_1d(
    *,
    means: Annotated[Sequence[Real], AtMostModes] = (-2.0, 2.0),
    sigmas: Annotated[Sequence[Rate], AtMostModes] = (0.5, 0.5),
    weights: Annotated[Sequence[Rate], AtMostModes] | None = None,
) -> Data:
    """One-dimensional Gaussian mixture.

    Args:
        means: Mean of each mode.
        sigmas: Standard deviation of each mode.
        weights: Weight of each mode, normalized to sum 1; equal by default.

    Raises:
        DataError: The lists are empty or differ in length.
    """
    weights = weights or [1.0] * len(means)
    if not means:
        raise DataError("mixture-1d: no means are given; give one for each mode")
    if not len(means) == len(sigmas) == len(weights):
        raise DataError(f"mixture-1d: {len(means)} means, {len(sigmas)} sigmas and {len(weights)} weights must match")
    return _mixture_data("mixture-1d", np.array(means)[:, None], np.array(sigmas), np.array(weights))


def _mixture_data(
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
        train=Split(*mixture.sample(TRAIN, seed=0)),
        test=Split(*mixture.sample(TEST, seed=1)),
        classes=tuple(f"mode {number}" for number in range(k)),
        mixture=mixture,
        source="drawn from the exact density",
        license="none needed",
    )
