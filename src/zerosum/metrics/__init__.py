"""Metrics of sample quality, each a function of arrays. METRICS lists those that compare two sets of features.

distances   Frechet and kernel distance       prdc           precision, recall, density, coverage
classes     class balance, classifier score   two_sample     measures of all pairwise distances, for checkups
features    feature extractors                data_copying   test for copies of training rows
neighbors   nearest neighbors                 density        mode coverage, Parzen log-likelihood
"""

from collections.abc import Callable
from math import nan, sqrt
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from zerosum.metrics.distances import Estimate, frechet_distance, kernel_distance
from zerosum.metrics.neighbors import Features, Others
from zerosum.metrics.prdc import prdc_rows

Better = Literal["lower", "higher", "nearest 1", "nearest 0"]


class Metric(NamedTuple):
    """A comparison of two sets of features, real and fake."""

    compute: Callable[[Features, Others], dict[str, Estimate]]
    """(real, fake) -> name of each number, and its estimate with a standard error."""
    better: dict[str, Better]
    """Which value of each number is better."""


def prdc_estimates(real: Features, fake: Others) -> dict[str, Estimate]:
    """Precision, recall, density and coverage, each with the standard error of a mean over rows."""
    return {name: mean_estimate(values) for name, values in prdc_rows(real, fake)._asdict().items()}


def mean_estimate(values: Float[Tensor, " n"]) -> Estimate:
    """The mean and its standard error; NaN if there are no values."""
    if not len(values):
        return Estimate(nan, nan)
    return Estimate(values.mean().item(), values.std(correction=0).item() / sqrt(len(values)))


METRICS: dict[str, Metric] = {
    "frechet": Metric(lambda real, fake: {"frechet": frechet_distance(real, fake)}, {"frechet": "lower"}),
    "kernel": Metric(lambda real, fake: {"kernel": kernel_distance(real, fake)}, {"kernel": "lower"}),
    "manifold": Metric(
        prdc_estimates, {"precision": "higher", "recall": "higher", "density": "nearest 1", "coverage": "higher"}
    ),
}
"""name -> comparison; a metric of your own is given as "module:metric"."""
