"""What a classifier sees in samples: how sure it is, which classes are there, and how far the classes are apart."""

from collections.abc import Callable
from math import nan
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zerosum.metrics.density import Modes, spread_over
from zerosum.metrics.distances import GROUPS, Estimate
from zerosum.metrics.prdc import Features

Probabilities = Float[Tensor, "n classes"]


def classifier_score(p: Probabilities) -> Estimate:
    """How sure the classifier is of each sample, and how many classes it sees in all: the Inception score's formula.

    exp E_x KL(p(c|x) || p(c))

    from 1 to the number of classes. With any classifier but Inception it is not the Inception score.

    Args:
        p: Probabilities of the classes for each sample.

    Returns:
        Mean and standard error over ten parts, fewer of fewer samples; NaN of none, the error also of one.

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


def class_balance(seen: Int[Tensor, " n"], shares: Float[Tensor, " classes"]) -> Modes:
    """Which classes samples belong to, against the data's shares: classes found, KL in nats, classes missed.

    Args:
        seen: The class that the classifier sees in each sample.
        shares: Of the classes in the data.
    """
    counts = torch.bincount(seen, minlength=len(shares)).double()
    return spread_over(counts, shares, len(seen))


class ClassTable(NamedTuple):
    """Distances of each class to each, and of two halves of one class."""

    names: tuple[str, ...]
    distance: Float[Tensor, "classes classes"]
    """Off the diagonal between classes, on it between two halves of one."""

    @property
    def sees(self) -> bool:
        """Whether every class is nearer to itself than to any other: the least that a distance must see."""
        own = self.distance.diagonal()
        others = self.distance + torch.diag(torch.full_like(own, torch.inf))
        return bool((own < others.min(1).values).all())


def class_table(
    features: Features,
    labels: Int[Tensor, " n"],
    names: tuple[str, ...],
    measure: Callable[[Features, Features], float],
) -> ClassTable:
    """Each class against each, beside two halves of the same class.

    Args:
        features: Of real rows.
        labels: Their classes.
        names: Of the classes.
        measure: (features, features) -> distance, the same both ways.
    """
    groups = [features[labels == number] for number in range(len(names))]
    distance = torch.zeros(len(names), len(names), dtype=torch.float64)
    for i, one in enumerate(groups):
        distance[i, i] = measure(one[::2], one[1::2])
        for j in range(i):
            distance[i, j] = distance[j, i] = measure(one[::2], groups[j][1::2])  # halves, as on the diagonal
    return ClassTable(names, distance)
