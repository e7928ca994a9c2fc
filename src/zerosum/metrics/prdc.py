"""PRDC: precision, recall, density and coverage, from nearest-neighbor radii.

    r_k(x) = distance of x to its k-th neighbor in its own set, x not counted

    precision  share of samples y with |x - y| < r_k(x) for some real x    density   mean number of such x, over k
    recall     share of real x with |x - y| < r_k(y) for some sample y     coverage  share of real x with such a y

A result is NaN (unknown) if there are too few rows or if most rows are equal.
"""

from math import nan
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.neighbors import BLOCK, Features, Others, distance_blocks, knn_radii, rounding_error

MAX_TIED = 0.1
"""Share of real rows with a radius below rounding error, above which all results are unknown."""


class PRDC(NamedTuple):
    """Precision, recall, density and coverage; all are shares except density."""

    precision: float
    """Share of the samples within the radius of a real point (quality)."""
    recall: float
    """Share of the real points within the radius of a sample (diversity)."""
    density: float
    """Mean number of real points whose radius contains a sample, over k; 1 for equal distributions, outlier-robust."""
    coverage: float
    """Share of the real points that have a sample within their radius; outlier-robust."""


class PRDCRows(NamedTuple):
    """The values of each row: each number of `PRDC` is the mean of one of these."""

    precision: Float[Tensor, " m"]
    recall: Float[Tensor, " n"]
    density: Float[Tensor, " m"]
    coverage: Float[Tensor, " n"]


def prdc(real: Features, fake: Others, k: int = 3, k_density: int = 5) -> PRDC:
    """Precision and recall with k neighbors, density and coverage with `k_density`, in one pass over the distances.

    The radius of a point is the distance to its k-th neighbor in its own set, the point itself not counted. The values
    of a perfect generator depend on the dimension and the numbers of rows: show those of real against real beside them.
    A number is NaN if its set has no k-th neighbor; all are NaN if more than `MAX_TIED` of the real rows are equal.

    Args:
        real: (n, d).
        fake: (m, d).
        k: Neighbors for precision and recall.
        k_density: Neighbors for density and coverage.

    Source: Kynkaanniemi et al. 2019, arXiv:1904.06991, section 2; Naeem et al. 2020, arXiv:2002.09797, section 3.

    >>> x = torch.arange(9.0)[:, None]
    >>> prdc(x, x)
    PRDC(precision=1.0, recall=1.0, density=1.0, coverage=1.0)
    """
    return PRDC(*(row.mean().item() for row in prdc_rows(real, fake, k, k_density)))


def prdc_rows(real: Features, fake: Others, k: int = 3, k_density: int = 5) -> PRDCRows:
    """The values whose means `prdc` returns: 0 or 1 for each row, for density a count over k."""
    x, y = real.double(), fake.double()
    if not (len(x) and len(y) and x.isfinite().all() and y.isfinite().all()):
        return PRDCRows(*(side.new_full((len(side),), nan) for side in (y, x, y, x)))
    radius, wide_radius = knn_radii(x, k, k_density)
    (fake_radius,) = knn_radii(y, k)
    if (radius <= rounding_error(x)).double().mean() > MAX_TIED:  # whether a sample lies inside would be chance
        radius, wide_radius, fake_radius = (torch.full_like(one, nan) for one in (radius, wide_radius, fake_radius))
    inside = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    hits = torch.zeros(len(y), dtype=torch.float64, device=y.device)
    recalled, covered = [], []
    radii = zip(radius.split(BLOCK), wide_radius.split(BLOCK), strict=True)
    for distance, (near, far) in zip(distance_blocks(x, y), radii, strict=True):
        inside |= (distance < near[:, None]).any(0)
        hits += (distance < far[:, None]).sum(0)
        recalled.append((distance < fake_radius).any(1))
        covered.append(distance.min(1).values < far)
    return PRDCRows(
        _nan_if_unknown(inside.double(), radius),
        _nan_if_unknown(torch.cat(recalled).double(), fake_radius),
        _nan_if_unknown(hits / k_density, wide_radius),
        _nan_if_unknown(torch.cat(covered).double(), wide_radius),
    )


def _nan_if_unknown(values: Float[Tensor, " n"], radius: Tensor) -> Float[Tensor, " n"]:
    """Return the values, or all NaN if one of the radii that they were computed from is NaN."""
    return torch.full_like(values, nan) if radius.isnan().any() else values
