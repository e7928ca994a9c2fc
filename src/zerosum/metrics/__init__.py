"""Numbers that say how good samples are, each a function of arrays; METRICS are those of two clouds of features.

distances   Frechet and kernel distance        manifold   precision, recall, density, coverage
classes     class balance, classifier score    density    mode coverage, Parzen log-likelihood
copies      whether training rows are repeated features   what a distance looks at
"""

from collections.abc import Callable
from math import nan, sqrt
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.distances import Estimate, frechet_distance, kernel_distance
from zerosum.metrics.prdc import Features, Others, manifold_rows

Better = Literal["lower", "higher", "nearest 1", "nearest 0"]


class Metric(NamedTuple):
    """A comparison of two clouds of features, real and fake."""

    compute: Callable[[Features, Others], dict[str, Estimate]]
    """(real, fake) -> numbers with their standard errors."""
    better: dict[str, Better]
    """Which way each of its numbers is better."""


def shares(real: Features, fake: Others) -> dict[str, Estimate]:
    """The four numbers of `manifold`, with the standard errors of means over rows."""
    return {name: mean_of(row) for name, row in manifold_rows(real, fake)._asdict().items()}


def mean_of(row: Float[Tensor, " n"]) -> Estimate:
    """A mean with its standard error; NaN of no rows."""
    if not len(row):
        return Estimate(nan, nan)
    return Estimate(row.mean().item(), row.std(correction=0).item() / sqrt(len(row)))


METRICS: dict[str, Metric] = {
    "frechet": Metric(lambda real, fake: {"frechet": frechet_distance(real, fake)}, {"frechet": "lower"}),
    "kernel": Metric(lambda real, fake: {"kernel": kernel_distance(real, fake)}, {"kernel": "lower"}),
    "manifold": Metric(
        shares, {"precision": "higher", "recall": "higher", "density": "nearest 1", "coverage": "higher"}
    ),
}
"""name -> comparison; from outside, "module:metric" does as well."""
