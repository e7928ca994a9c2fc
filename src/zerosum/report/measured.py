"""The metrics of a run as the page shows them: each between what noise and what held-out data score."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from zerosum import evaluation
from zerosum.data import Data
from zerosum.errors import UsageError
from zerosum.report.curves import number
from zerosum.run import RunFolder, read_metrics
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler

QUICK, FEW, WIDE = 1_000, 380, 300
"""Samples of a quick evaluation; few where one holds more numbers than WIDE: seconds on one core, not a minute.

Few enough, at 784 numbers, for Frechet's distance to be computed from the rows, see `metrics.distances`.
"""

NUMBERS, LARGEST = 2**21, 2**15
"""Numbers in all of those samples at most, and in one: beyond, pixels take minutes and say little."""

NO_HASH = "-" + "0" * 12
"""What stands behind the name of an extractor that computes nothing."""

ABOUT = {
    "frechet": "distance of means and covariances",
    "kernel": "squared kernel distance, without bias",
    "precision": "share of the samples that lie near data",
    "recall": "share of the data that lies near samples",
    "density": "how much data lies around each sample",
    "coverage": "share of the data with a sample close by",
    "copying": "below −3: training rows are repeated",
    "classifier score": "how sure the classifier is, and of how many classes",
    "classes found": "classes the classifier sees in the samples",
    "class KL": "how far the classes' shares are off, in nats",
    "asked class": "share in which the class asked for is seen",
    "modes found": "modes of the known law that are hit",
    "within 3 sigma": "share of the samples close to a mode",
    "mode KL": "how far the modes' shares are off, in nats",
    "log-likelihood": "of held-out rows, in nats, by a window around each sample",
}


class Measure(NamedTuple):
    """A metric, ready to be read."""

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
    """How far the value has come from noise (0) to held-out data (1); None where the metric cannot tell these two."""


def measures(folder: RunFolder, sampler: Sampler, data: Data, say: Say = silent) -> tuple[list[Measure], str]:
    """The metrics of the generator's round and where they come from: those on file, or quick ones with pixel features.

    Args:
        folder: The run.
        sampler: Its generator.
        data: What it was trained on.
        say: Told of what is damaged and passed over.

    Raises:
        UsageError: Too few rows for a number, or samples too large for a quick one.
        DataError: The samples or the data cannot be compared.
    """
    on_file = [line for line in read_metrics(folder, say) if line["round"] == sampler.round and line["metrics"]]
    if on_file:
        return [measure(row) for row in on_file[-1]["metrics"]], "From the newest line of metrics.jsonl for this round."
    numbers = math.prod(data.shape)
    if numbers > LARGEST:
        raise UsageError(
            f"one sample holds {numbers:,} numbers, which would take minutes; `zerosum evaluate {folder.path}` has them"
        )
    few = min(FEW, max(evaluation.MIN_ROWS, NUMBERS // numbers))
    n = min(QUICK if numbers <= WIDE else few, len(data.test))
    rows = evaluation.measure(sampler, data, n, "pixels", rows=2 * n)
    what = "pixels" if data.kind == "images" else "numbers"
    quick = f"A quick look with {n:,} samples, {2 * n:,} training rows, and the {what} themselves as features."
    return [measure(evaluation.row_to_json(row)) for row in rows], quick


def measure(row: Mapping[str, Any]) -> Measure:
    """A line of metrics.jsonl, in words."""
    value, error, real, noise = (number(row.get(key)) for key in ("value", "error", "real", "noise"))
    better = str(row.get("better", ""))
    text = [evaluation.number(x) for x in (value, error, real, noise)]
    name = str(row["name"])
    return Measure(
        name=name,
        about="; ".join(part for part in (ABOUT.get(name, ""), str(row.get("note", ""))) if part),
        value=text[0],
        error=text[1],
        real=text[2],
        noise=text[3],
        better=better,
        n=int(row.get("n", 0)),
        features=str(row.get("features", "")).removesuffix(NO_HASH),
        share=progress(value, real, noise, better) if not blind(error, real, noise) else None,
    )


def blind(error: float, real: float, noise: float) -> bool:
    """Whether noise scores what held-out data scores, but for chance: of points, noise has the data's covariance."""
    return abs(noise - real) < 3 * error


def progress(value: float, real: float, noise: float, better: str) -> float | None:
    """How far a value has come from noise to held-out data.

    >>> progress(15.0, 10.0, 20.0, "lower"), progress(-2.0, 0.0, 8.0, "nearest 0")
    (0.5, 0.75)
    """
    if better.startswith("nearest"):
        target = number(better.removeprefix("nearest"))
        value, real, noise = (-abs(x - target) for x in (value, real, noise))
    if not all(map(math.isfinite, (value, real, noise))) or real == noise:
        return None
    return min(1.0, max(0.0, (value - noise) / (real - noise)))
