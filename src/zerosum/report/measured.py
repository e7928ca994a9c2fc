"""The metrics of a run as the page shows them: each beside its values for noise and for held-out data."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from zerosum import evaluation, metric_rows
from zerosum.data import Data
from zerosum.errors import UsageError
from zerosum.report.curves import number
from zerosum.run import RunFolder, read_metrics
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler

QUICK_SAMPLES, FEW_SAMPLES, WIDE = 1_000, 380, 300
"""Samples of a quick evaluation, which takes seconds on one core; FEW_SAMPLES if a sample has more than WIDE values.

With FEW_SAMPLES of 784 values the Frechet distance is computed from the rows, see `metrics.distances`.
"""

MAX_VALUES, MAX_SAMPLE_VALUES = 2**21, 2**15
"""Largest number of values in all these samples, and in one; beyond, pixel features take minutes and say little."""

NO_HASH = "-" + "0" * 12
"""Suffix of the name of a feature extractor without weights."""

DESCRIPTIONS = {
    "frechet": "distance of means and covariances",
    "kernel": "squared kernel distance, without bias",
    "precision": "share of the samples that lie near data",
    "recall": "share of the data that lies near samples",
    "density": "how much data lies around each sample",
    "coverage": "share of the data with a sample close by",
    "copying": "below −3: training rows are copied",
    "classifier score": "how sure the classifier is, and of how many classes",
    "classes found": "classes the classifier sees in the samples",
    "class KL": "how far the classes' shares are off, in nats",
    "asked class": "share of samples classified as the requested class",
    "modes found": "modes of the known distribution that are hit",
    "within 3 sigma": "share of the samples close to a mode",
    "mode KL": "how far the modes' shares are off, in nats",
    "log-likelihood": "of held-out rows, in nats, by a kernel around each sample",
}


class Measure(NamedTuple):
    """A metric as text."""

    name: str
    about: str
    value: str
    error: str
    real: str
    noise: str
    better: str
    n: int
    features: str
    share: float | None
    """Position of the value between noise (0) and held-out data (1); None if the metric cannot separate these."""


def measures(folder: RunFolder, sampler: Sampler, data: Data, say: Say = silent) -> tuple[list[Measure], str]:
    """Return the metrics of the sampler's round and a sentence on their origin.

    They are read from metrics.jsonl, or else computed from few samples with pixel features.

    Args:
        folder: The run.
        sampler: Its generator.
        data: The data set of the training.
        say: Called with a sentence for each damaged line that is skipped.

    Raises:
        UsageError: Too few rows for a number, or samples too large for a quick one.
        DataError: The samples or the data cannot be compared.
    """
    on_file = [line for line in read_metrics(folder, say) if line["round"] == sampler.round and line["metrics"]]
    if on_file:
        return [measure(row) for row in on_file[-1]["metrics"]], "From the newest line of metrics.jsonl for this round."
    numbers = math.prod(data.shape)
    if numbers > MAX_SAMPLE_VALUES:
        raise UsageError(
            f"one sample holds {numbers:,} numbers, which would take minutes; `zerosum evaluate {folder.path}` has them"
        )
    few = min(FEW_SAMPLES, max(evaluation.MIN_ROWS, MAX_VALUES // numbers))
    n = min(QUICK_SAMPLES if numbers <= WIDE else few, len(data.test))
    rows = evaluation.measure(sampler, data, n, "pixels", rows=2 * n)
    what = "pixels" if data.kind == "images" else "numbers"
    quick = f"A quick look with {n:,} samples, {2 * n:,} training rows, and the {what} themselves as features."
    return [measure(metric_rows.row_to_json(row)) for row in rows], quick


def measure(row: Mapping[str, Any]) -> Measure:
    """Format a metric of metrics.jsonl as text."""
    value, error, real, noise = (number(row.get(key)) for key in ("value", "error", "real", "noise"))
    better = str(row.get("better", ""))
    text = [metric_rows.number(x) for x in (value, error, real, noise)]
    name = str(row["name"])
    return Measure(
        name=name,
        about="; ".join(part for part in (DESCRIPTIONS.get(name, ""), str(row.get("note", ""))) if part),
        value=text[0],
        error=text[1],
        real=text[2],
        noise=text[3],
        better=better,
        n=int(row.get("n", 0)),
        features=str(row.get("features", "")).removesuffix(NO_HASH),
        share=progress(value, real, noise, better) if not indistinguishable(error, real, noise) else None,
    )


def indistinguishable(error: float, real: float, noise: float) -> bool:
    """Whether noise and held-out data differ by less than 3 standard errors."""
    return abs(noise - real) < 3 * error


def progress(value: float, real: float, noise: float, better: str) -> float | None:
    """Return the position of a value between noise (0) and held-out data (1), clamped; None if undefined.

    >>> progress(15.0, 10.0, 20.0, "lower"), progress(-2.0, 0.0, 8.0, "nearest 0")
    (0.5, 0.75)
    """
    if better.startswith("nearest"):
        target = number(better.removeprefix("nearest"))
        value, real, noise = (-abs(x - target) for x in (value, real, noise))
    if not all(map(math.isfinite, (value, real, noise))) or real == noise:
        return None
    return min(1.0, max(0.0, (value - noise) / (real - noise)))
