"""Evaluation of a run's samples: every metric, beside its values for real data and for noise under the same protocol.

    reference   training rows, evenly spread, at most 10,000
    fake        n samples                        compared with the reference: the value
    real        n held-out rows                  compared with the reference: the floor, the value of a perfect G
    noise       n rows of noise                  compared with the reference: the ceiling, the value of knowing nothing

n is the number of held-out rows, at most 10,000, unless it is given. Noise is uniform for images; for points it is
Gaussian with the mean and standard deviation of each coordinate of the data. Every row names its feature extractor and
the extractor's hash.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil, isnan, nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor

from zerosum import build, checkpoint, permission
from zerosum.config.recipes import is_path
from zerosum.config.registry import lookup
from zerosum.config.settings import Choice, Config
from zerosum.data import Data
from zerosum.data.checks import MIN_ROWS as MIN_TRAIN_ROWS
from zerosum.engine import SINGLE, World
from zerosum.errors import DataError, UsageError
from zerosum.metrics import METRICS, Better, Metric
from zerosum.metrics.classes import ClassTable, class_balance, class_table, classifier_score
from zerosum.metrics.data_copying import MIN_CELL_ROWS, data_copying_test
from zerosum.metrics.density import ModeCoverage, log_likelihood, mode_coverage
from zerosum.metrics.distances import Estimate, Moments, frechet
from zerosum.metrics.features import Array, Extractor, classifier, custom, inception, pixels
from zerosum.run import RunFolder, record_metrics, trust
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler, newest_checkpoint
from zerosum.spec import SampleSpec

MAX_ROWS = 10_000
MIN_ROWS = 50
"""Fewest held-out rows and samples for which a metric is computed."""

UNKNOWN = "not known: too few of the rows, or too many of them alike"
"""Note beside a value that is NaN although there are enough rows."""

UNKNOWN_COPYING = f"not known: no part of the space holds {MIN_CELL_ROWS} samples and as many held-out rows"
"""The same note for the copying test."""

FLOAT32_RANGE = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
"""The range of float32, the type of points."""

SAFE_TO_SQUARE = (1e-15, 1e15)
"""Range of values whose squares, and sums of 10,000 squares, stay within float32."""

CHUNK_ROWS = 1_000
"""Rows in the chunks of feature extraction that are distributed over the processes."""

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


def evaluate(
    folder: RunFolder,
    n: int | None = None,
    features: str | None = None,
    seed: int = 0,
    cache: Path | None = None,
    world: World = SINGLE,
    trusted: bool = False,
    data: str | Path | None = None,
    say: Say = silent,
) -> tuple[int, list[MetricRow]]:
    """Compute all metrics of a run's samples.

    Args:
        folder: The run folder. Its data set must be available.
        n: Number of samples, at least 50; as many as there are held-out rows if absent.
        features: pixels, classifier, inception or "module:callable"; if absent, the classifier for images with labels,
            else pixels.
        seed: Seed of the samples.
        cache: Folder of trained classifiers and of Inception's weights.
        world: Processes that share the work; each returns all metrics.
        trusted: Whether to use the code and data that the settings name although the run was not made here.
        data: Path of the data if it is no longer where the settings say.
        say: Called with one sentence for each damaged checkpoint that was skipped.

    Returns:
        The round of the checkpoint that was used, and the metrics.

    Raises:
        UsageError: There are too few rows, or the extractor is unknown or its file is missing.
        DataError: The data is gone or changed, or the samples do not have its shape or are not finite.
        Untrusted: The run was not made here and names code, or names data and `data` is not given.
    """
    config = folder.read_config()
    with trust.permitted(folder, config, trusted):
        saved = newest_checkpoint(folder, config, say)
        sampler = Sampler.from_checkpoint(config, saved)
        refuse_other_size(config, sampler.spec)
        with world.local_main_first():
            opened = open_own_data(config) if data is None else open_data_at(config, data)
    checkpoint.refuse_other_data(saved, opened.name, opened.fingerprint())
    return saved.round, measure(sampler, opened, n, features, seed, cache, world=world)


def open_own_data(config: Config) -> Data:
    """Open the data set where the settings say it is; an error says what to do if it was moved."""
    try:
        return build.open_data(config)
    except DataError as error:
        if is_path(config.data.name):
            error.add_note("If it was moved, --data PATH says where it is now")
        raise


def refuse_other_size(config: Config, form: SampleSpec) -> None:
    """Raise DataError if the settings would read images in another size than the samples, before any is read."""
    size = config.data.options.get("size")
    wanted = [size, size] if isinstance(size, int) else size
    if form.kind == "images" and isinstance(wanted, list | tuple) and list(wanted) != list(form.shape[1:]):
        raise DataError(
            f"the settings say data.size = {size}, the checkpoint's samples are {form.shape[1]} x {form.shape[2]}: "
            "one of them was changed"
        )


def open_data_at(config: Config, name: str | Path) -> Data:
    """Open the data at a path that the user gave, with the data options of the settings."""
    choice = Choice(name=Path(name).as_posix() if str(name) else "", **config.data.options)
    with permission.granted(code=Path.cwd(), paths=True):
        return build.open_data(config.model_copy(update={"data": choice}))


def measure(
    sampler: Sampler,
    data: Data,
    n: int | None = None,
    features: str | None = None,
    seed: int = 0,
    cache: Path | None = None,
    rows: int = MAX_ROWS,
    world: World = SINGLE,
) -> list[MetricRow]:
    """Compute all metrics of a loaded generator; see `evaluate`.

    Args:
        sampler: The generator.
        data: The data that it was trained on.
        n: Number of samples; as many as there are held-out rows if absent.
        features: The feature extractor.
        seed: Seed of the samples.
        cache: Folder of trained classifiers and of Inception's weights.
        rows: Largest number of training rows to compare with; fewer are faster and give different values.
        world: Processes that share the work.

    Raises:
        UsageError: There are too few rows, or the extractor is unknown or its file is missing.
        DataError: The samples do not have the shape of the data or are not finite.
    """
    refuse_too_few_rows(data)
    n = min(MAX_ROWS, len(data.test)) if n is None else n
    if n < MIN_ROWS:
        raise UsageError(f"n = {n}: at least {MIN_ROWS} samples are needed for a number")
    samples = sampler.draw(n, seed, world=world)
    sets = SampleSets(data, samples.array, min(n, len(data.test)), samples.labels, rows)
    refuse_incomparable(sets.fake, sets.reference)
    with world.local_main_first():  # one process of each machine may have to train a classifier
        extractor = get_extractor(features, data, cache)
    extractor = with_cached_features(extractor, sets, world)
    others = (partial(class_rows, sets, extractor), partial(mixture_rows, sets), partial(density_rows, sets))
    return run_measurements([*feature_measurements(sets, extractor), *others], world)


Measurement = Callable[[], Iterable[MetricRow]]


def run_measurements(tasks: Sequence[Measurement], world: World) -> list[MetricRow]:
    """Run the measurements round-robin over the ranks; every rank gets all rows."""
    found = world.map_ranks(len(tasks), lambda number: json.dumps([*tasks[number]()]).encode())
    return [MetricRow(*row) for rows in found for row in json.loads(rows)]


def with_cached_features(extractor: Extractor, sets: SampleSets, world: World) -> Extractor:
    """Extract the features of every set, chunks shared among the ranks; return an extractor that looks them up."""

    def apply_in_chunks(function: Callable[[Array], Tensor], rows: Array) -> Tensor:
        if world.is_single or not extractor.per_sample:
            return function(rows)
        chunks = range(0, len(rows), CHUNK_ROWS)
        part = lambda number: function(rows[chunks[number] : chunks[number] + CHUNK_ROWS]).numpy()  # noqa: E731
        return torch.from_numpy(world.map_rows(len(chunks), part))

    views, classify = (sets.reference, *sets.candidates()), extractor.probabilities
    features = {id(view): apply_in_chunks(extractor.features, view) for view in views}
    if classify is None or sets.data.classes is None:
        return extractor._replace(features=lambda view: features[id(view)])
    classes = {id(view): apply_in_chunks(classify, view) for view in sets.candidates()}
    return extractor._replace(features=lambda view: features[id(view)], probabilities=lambda view: classes[id(view)])


def refuse_too_few_rows(data: Data) -> None:
    """Check that at least `MIN_ROWS` rows are held out.

    Raises:
        UsageError: There are fewer; says how to hold out more.
    """
    held_out, total = len(data.test), len(data.train) + len(data.test)
    if held_out >= MIN_ROWS:
        return
    share = ceil(100 * MIN_ROWS / total) / 100
    enough = total - round(share * total) >= MIN_TRAIN_ROWS
    advice = (
        f"Train anew with more of them held out: --set data.held_out={share:g}"
        if enough
        else f"There are {total} rows in all; with {MIN_ROWS + MIN_TRAIN_ROWS} and more, enough can be held out"
    )
    raise UsageError(f"{data.name}: {held_out} held-out rows are too few, at least {MIN_ROWS} are needed. {advice}")


def refuse_incomparable(fake: Array, reference: Array) -> None:
    """Check that samples have the shape of the data and finite values.

    Raises:
        DataError: They do not.
    """
    if fake.shape[1:] != reference.shape[1:]:
        raise DataError(f"samples are {fake.shape[1:]}, the data is {reference.shape[1:]}: they cannot be compared")
    if not np.isfinite(fake).all():
        bad = (~np.isfinite(fake)).reshape(len(fake), -1).any(1).sum()
        raise DataError(f"{bad} of {len(fake)} samples hold NaN or infinity: the run has diverged")


def get_extractor(name: str | None, data: Data, cache: Path | None = None) -> Extractor:
    """Return a feature extractor by name; without a name, the classifier for images with labels, else pixels.

    Args:
        name: pixels, classifier, inception or "module:callable".
        data: The data set; the classifier is trained on it.
        cache: Folder of trained classifiers and of Inception's weights; the platform's cache folder if absent.

    Raises:
        UsageError: The extractor is unknown, or its file is missing.
        DataError: The data has no labels.
    """
    cache = cache or user_cache_path("zerosum")
    labelled = data.kind == "images" and data.classes is not None and bool((data.train.all_labels() >= 0).any())
    name = name or ("classifier" if labelled else "pixels")
    if name == "classifier":
        if not labelled:
            raise DataError(f"{data.name}: classifier features need images with labels; use --features pixels")
        train, test = ((data.samples(rows), rows.all_labels()) for rows in (data.train, data.test))
        return classifier(train, test, len(data.classes or ()), cache)
    simple = {"pixels": pixels, "inception": lambda: inception(cache)}
    with permission.granted(code=Path.cwd()):  # the name comes from the user, not from a file
        found = lookup(simple, name, "extractor")
    made: Extractor = found() if name in simple else custom(name, found)
    return made


def feature_rows(sets: SampleSets, extractor: Extractor) -> Iterator[MetricRow]:
    """Yield all metrics that compare features with those of the reference; see `feature_measurements`."""
    for measurement in feature_measurements(sets, extractor):
        yield from measurement()


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


def class_distances(data: Data, extractor: Extractor) -> ClassTable:
    """Compute the Frechet distances between the data's classes, and between two halves of each class.

    Raises:
        DataError: The data has no classes, or a class has fewer than four rows.
    """
    rows = data.train.subset_indices(MAX_ROWS)
    x, labels = data.train[rows]
    if labels is None or data.classes is None:
        raise DataError(f"{data.name} has no classes to compare")
    counts = np.bincount(labels[labels >= 0], minlength=len(data.classes))
    if counts.min() < 4:
        raise DataError(f"{data.name}: class '{data.classes[counts.argmin()]}' has {counts.min()} rows; 4 are needed")
    features = extractor.features(data.to_samples(x))
    return class_table(
        features, torch.from_numpy(labels), data.classes, lambda one, other: frechet(Moments.of(one), Moments.of(other))
    )


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


def record(folder: RunFolder, rows: list[MetricRow], at_round: int) -> None:
    """Append the evaluation to metrics.jsonl."""
    record_metrics(folder, {"round": at_round, "metrics": [row_to_json(row) for row in rows]})


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


__all__ = ["Estimate", "MetricRow", "SampleSets", "evaluate", "measure", "record", "row_to_json"]
