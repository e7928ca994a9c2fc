"""Metrics that use a classifier or labels: classifier score, class balance, distances between classes."""

from collections.abc import Callable
from math import nan
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zerosum.metrics.density import ModeCoverage, coverage_of_counts
from zerosum.metrics.distances import GROUPS, Estimate
from zerosum.metrics.neighbors import Features

Probabilities = Float[Tensor, "n classes"]


def classifier_score(p: Probabilities) -> Estimate:
    """The formula of the Inception score: confident predictions for each sample, many classes over all samples.

    exp E_x KL(p(c|x) || p(c))

    It lies between 1 and the number of classes. It is the Inception score only if the classifier is Inception.

    Args:
        p: (n, classes) probabilities that the classifier predicts for each sample.

    Returns:
        Mean and standard error over min(n, 10) groups of samples; NaN for n = 0, the error also for n = 1.

    Source: Salimans et al. 2016, arXiv:1606.03498, section 4.

    >>> round(classifier_score(torch.eye(2).repeat(20, 1)).value, 9)
    2.0
    """
    groups = min(GROUPS, len(p))
    if not groups:
        return Estimate(nan, nan)
    parts = torch.stack([_score(part.double()) for part in p.tensor_split(groups)])
    error = (parts.std() / groups**0.5).item() if groups > 1 else nan
    return Estimate(parts.mean().item(), error)


def _score(p: Probabilities) -> Float[Tensor, ""]:
    marginal = p.mean(0)
    return (torch.xlogy(p, p) - torch.xlogy(p, marginal)).sum(1).mean().exp()


def class_balance(predicted: Int[Tensor, " n"], shares: Float[Tensor, " classes"]) -> ModeCoverage:
    """Compare the classes of samples with those of the data: classes found, KL in nats, classes missed.

    Args:
        predicted: The class that the classifier predicts for each sample.
        shares: Share of each class in the data.
    """
    counts = torch.bincount(predicted, minlength=len(shares)).double()
    return coverage_of_counts(counts, shares, len(predicted))


class ClassTable(NamedTuple):
    """Distances between classes, and between two halves of the same class."""

    names: tuple[str, ...]
    distance: Float[Tensor, "classes classes"]
    """Off the diagonal between two classes, on the diagonal between two halves of one class."""

    @property
    def separates_classes(self) -> bool:
        """Whether each class is nearer to itself than to any other class: a minimum requirement for a distance."""
        own = self.distance.diagonal()
        others = self.distance + torch.diag(torch.full_like(own, torch.inf))
        return bool((own < others.min(1).values).all())


def class_table(
    features: Features,
    labels: Int[Tensor, " n"],
    names: tuple[str, ...],
    measure: Callable[[Features, Features], float],
) -> ClassTable:
    """Compute the distance between each pair of classes, and between two halves of each class.

    Args:
        features: (n, d) features of real rows.
        labels: (n,) class number of each row.
        names: Names of the classes.
        measure: (features, features) -> distance, symmetric.
    """
    groups = [features[labels == number] for number in range(len(names))]
    distance = torch.zeros(len(names), len(names), dtype=torch.float64)
    for i, one in enumerate(groups):
        distance[i, i] = measure(one[::2], one[1::2])
        for j in range(i):
            distance[i, j] = distance[j, i] = measure(one[::2], groups[j][1::2])  # halves, as on the diagonal
    return ClassTable(names, distance)
