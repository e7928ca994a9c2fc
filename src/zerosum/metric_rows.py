"""The rows of an evaluation: each metric for samples, for held-out data and for noise, under one protocol."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isnan, nan
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from zerosum.data import Data
from zerosum.metrics import METRICS, Better, Metric
from zerosum.metrics.classes import class_balance, classifier_score
from zerosum.metrics.data_copying import MIN_CELL_ROWS, data_copying_test
from zerosum.metrics.density import ModeCoverage, log_likelihood, mode_coverage
from zerosum.metrics.features import Array, Extractor, pixels

MAX_ROWS = 10_000
"""Largest number of rows of a set."""

UNKNOWN = "not known: too few of the rows, or too many of them alike"
"""Note beside a value that is NaN although there are enough rows."""

UNKNOWN_COPYING = f"not known: no part of the space holds {MIN_CELL_ROWS} samples and as many held-out rows"
"""The same note for the copying test."""

FLOAT32_RANGE = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
"""The range of float32, the type of points."""

SAFE_TO_SQUARE = (1e-15, 1e15)
"""Range of values whose squares, and sums of 10,000 squares, stay within float32."""

VALIDATION_ROWS = 1_000
"""Training rows that choose the Parzen window, at most half of the reference."""


class MetricRow(NamedTuple):
    """One metric: its value for the samples, for held-out data and for noise."""

    name: str
    value: float
    error: float
    """Standard error; NaN if unknown."""
    real: float
    """Value for held-out data."""
    noise: float
    """Value for noise."""
    n: int
    features: str
    better: Better
    note: str = ""
    """A remark, e.g. which classes or modes were missed."""


@dataclass(frozen=True)
class SampleSets:
    """The sets of rows that are compared, all in the form of samples (uint8 images, float32 points)."""

    data: Data
    fake: Array
    n: int
    """Number of held-out rows and of noise rows."""
    labels: NDArray[np.int64] | None = None
    """(n,) class on which each sample was conditioned; None for an unconditional generator."""
    max_reference: int = MAX_ROWS
    """Largest number of reference rows."""

    @cached_property
    def reference(self) -> Array:
        """Training rows, evenly spaced."""
        return self.data.to_samples(self.data.train.subset(min(self.max_reference, len(self.data.train))))

    @cached_property
    def real(self) -> Array:
        """Held-out rows, evenly spaced."""
        return self.data.to_samples(self.data.test.subset(self.n))

    @cached_property
    def noise(self) -> Array:
        """Rows of noise, from a fixed seed."""
        rng = np.random.default_rng(0)
        if self.data.kind == "images":
            return rng.integers(0, 256, (self.n, *self.real.shape[1:]), dtype=np.uint8)
        low, high = SAFE_TO_SQUARE
        within = low < np.abs(self.reference).max() < high
        rows = self.reference if within else self.reference.astype(np.float64)
        noise = rows.mean(0) + rows.std(0) * rng.standard_normal((self.n, *self.real.shape[1:]))
        return noise.clip(*FLOAT32_RANGE).astype(np.float32)

    def candidates(self) -> tuple[Array, Array, Array]:
        """Return fake, real and noise: the sets that are compared with the reference."""
        return self.fake, self.real, self.noise


Measurement = Callable[[], Iterable[MetricRow]]
"""Computes the rows of one metric, or of a few that share work."""


def feature_measurements(sets: SampleSets, extractor: Extractor) -> list[Measurement]:
    """Return one measurement per metric in feature space, and the data-copying test."""
    reference = extractor.features(sets.reference)
    fake, real, noise = (extractor.features(rows) for rows in sets.candidates())

    def rows_of(metric: Metric) -> Iterator[MetricRow]:
        found, floor, ceiling = (metric.compute(reference, cloud) for cloud in (fake, real, noise))
        for name, better in metric.better.items():
            others = floor[name].value, ceiling[name].value
            note = note_if_nan(found[name].value, UNKNOWN)
            yield MetricRow(name, *found[name], *others, len(fake), extractor.label, better, note)

    def copying_rows() -> Iterator[MetricRow]:
        one, other = real[::2], real[1::2]
        others = data_copying_test(reference, one, other).z, data_copying_test(reference, real, noise).z
        z = data_copying_test(reference, real, fake).z
        note = note_if_nan(z, UNKNOWN_COPYING)
        yield MetricRow("copying", z, nan if note else 1.0, *others, len(fake), extractor.label, "nearest 0", note)

    return [*(partial(rows_of, metric) for metric in METRICS.values()), copying_rows]


def note_if_nan(value: float, note: str) -> str:
    """Return the note if the value is NaN, else an empty string."""
    return note if isnan(value) else ""


def class_rows(sets: SampleSets, extractor: Extractor) -> Iterator[MetricRow]:
    """Yield the classifier's metrics: score, class balance, and accuracy of conditional samples."""
    if extractor.probabilities is None or sets.data.classes is None:
        return
    seen = [extractor.probabilities(rows) for rows in sets.candidates()]
    score, n = [classifier_score(p) for p in seen], len(sets.fake)
    yield MetricRow("classifier score", *score[0], score[1].value, score[2].value, n, extractor.label, "higher")
    labels = sets.data.train.all_labels()
    counts = torch.from_numpy(np.bincount(labels[labels >= 0], minlength=len(sets.data.classes))).double()
    fake, real, noise = (class_balance(p.argmax(1), counts / counts.sum()) for p in seen)
    yield from coverage_rows("classes found", "class KL", (fake, real, noise), sets.data.classes, n, extractor.label)
    if sets.labels is not None:
        held_out = sets.data.test.all_labels()[sets.data.test.subset_indices(sets.n)]
        expected = torch.from_numpy(sets.labels), torch.from_numpy(held_out), torch.from_numpy(sets.labels[: sets.n])
        right, floor, ceiling = (class_accuracy(p, c) for p, c in zip(seen, expected, strict=True))
        yield MetricRow(
            "asked class", right, (right * (1 - right) / n) ** 0.5, floor, ceiling, n, extractor.label, "higher"
        )


def coverage_rows(
    found: str, kl: str, seen: tuple[ModeCoverage, ModeCoverage, ModeCoverage], names: Sequence[str], n: int, label: str
) -> Iterator[MetricRow]:
    """Yield the number of classes or modes found (the note names the missed ones), and the KL divergence of shares."""
    fake, real, noise = seen
    missed = f"missed: {', '.join(names[number] for number in fake.missed)}" if fake.missed else ""
    counts = float(fake.found), fake.found_error, float(real.found), float(noise.found)
    yield MetricRow(found, *counts, n, label, "higher", missed)
    yield MetricRow(kl, fake.kl, fake.kl_error, real.kl, noise.kl, n, label, "lower")


def class_accuracy(p: Float[Tensor, "n classes"], c: Int[Tensor, " n"]) -> float:
    """Classifier accuracy over the rows whose class is known (c >= 0)."""
    return (p.argmax(1) == c)[c >= 0].double().mean().item()


def mixture_rows(sets: SampleSets) -> Iterator[MetricRow]:
    """Yield the mode coverage if the distribution of the data is a known mixture."""
    mixture = sets.data.mixture
    if mixture is None:
        return
    means, sigmas, weights = (torch.from_numpy(part) for part in (mixture.means, mixture.sigmas, mixture.weights))
    fake, real, noise = (mode_coverage(torch.from_numpy(rows), means, sigmas, weights) for rows in sets.candidates())
    n, label = len(sets.fake), "exact density"
    error = (fake.in_modes * (1 - fake.in_modes) / n) ** 0.5
    names = tuple(f"({', '.join(f'{place:.3g}' for place in mean)})" for mean in mixture.means)
    yield from coverage_rows("modes found", "mode KL", (fake, real, noise), names, n, label)
    yield MetricRow("within 3 sigma", fake.in_modes, error, real.in_modes, noise.in_modes, n, label, "higher")


def density_rows(sets: SampleSets) -> Iterator[MetricRow]:
    """Yield the Parzen log-likelihood of held-out images under samples, under training rows and under noise."""
    if sets.data.kind != "images":
        return
    extractor, kept = pixels(), min(VALIDATION_ROWS, len(sets.reference) // 2)
    real, validation = extractor.features(sets.reference).split([len(sets.reference) - kept, kept])
    test, fake, noise = (extractor.features(rows) for rows in (sets.real, sets.fake, sets.noise))
    found, floor, ceiling = (log_likelihood(x, validation, test) for x in (fake, real[: len(fake)], noise))
    seen = f"pixels, sigma {found.sigma:.3g}"
    yield MetricRow("log-likelihood", found.value, found.error, floor.value, ceiling.value, len(fake), seen, "higher")


def row_to_json(row: MetricRow) -> dict[str, Any]:
    """Convert a row to JSON values: NaN becomes null, infinities become strings."""
    return {key: _json_value(value) for key, value in row._asdict().items()}


def number(value: float) -> str:
    """Format a value with four digits; NaN as an empty string."""
    return "" if isnan(value) else f"{value:.4g}"


def _json_value(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value
