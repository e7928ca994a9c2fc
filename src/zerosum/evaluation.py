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
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from zerosum import checkpoint, permission
from zerosum.config.recipes import is_path
from zerosum.config.registry import lookup
from zerosum.config.settings import Choice, Config
from zerosum.data import Data
from zerosum.data.checks import MIN_ROWS as MIN_TRAIN_ROWS
from zerosum.engine import SINGLE, World
from zerosum.errors import DataError, UsageError
from zerosum.metric_rows import (
    MAX_ROWS,
    Measurement,
    MetricRow,
    SampleSets,
    class_rows,
    density_rows,
    feature_measurements,
    mixture_rows,
    row_to_json,
)
from zerosum.metrics.classes import ClassTable, class_table
from zerosum.metrics.distances import Moments, frechet
from zerosum.metrics.features import Array, Extractor, classifier, custom, inception, pixels
from zerosum.resolved import open_data
from zerosum.run import RunFolder, record_metrics, trust
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler
from zerosum.saved_generator import open_generator
from zerosum.spec import SampleSpec

MIN_ROWS = 50
"""Fewest held-out rows and samples for which a metric is computed."""

CHUNK_ROWS = 1_000
"""Rows in the chunks of feature extraction that are distributed over the processes."""


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
        saved = open_generator(folder, config, say)
        refuse_other_size(config, saved.spec)
        with world.local_main_first():
            opened = open_own_data(config) if data is None else open_data_at(config, data)
    checkpoint.refuse_other_data(saved.checkpoint, opened.name, opened.fingerprint())
    sampler = Sampler.of(config, saved)
    return saved.checkpoint.round, measure(sampler, opened, n, features, seed, cache, world=world)


def open_own_data(config: Config) -> Data:
    """Open the data set where the settings say it is; an error says what to do if it was moved."""
    try:
        return open_data(config.data)
    except DataError as error:
        if is_path(config.data.name):
            error.add_note("If it was moved, --data PATH says where it is now")
        raise


def refuse_other_size(config: Config, spec: SampleSpec) -> None:
    """Raise DataError if the settings would read images in another size than the samples, before any is read."""
    size = config.data.options.get("size")
    wanted = [size, size] if isinstance(size, int) else size
    if spec.kind == "images" and isinstance(wanted, list | tuple) and list(wanted) != list(spec.shape[1:]):
        raise DataError(
            f"the settings say data.size = {size}, the checkpoint's samples are {spec.shape[1]} x {spec.shape[2]}: "
            "one of them was changed"
        )


def open_data_at(config: Config, name: str | Path) -> Data:
    """Open the data at a path that the user gave, with the data options of the settings."""
    choice = Choice(name=Path(name).as_posix() if str(name) else "", **config.data.options)
    with permission.granted(code=Path.cwd(), paths=True):
        return open_data(choice)


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


def record(folder: RunFolder, rows: list[MetricRow], at_round: int) -> None:
    """Append the evaluation to metrics.jsonl."""
    record_metrics(folder, {"round": at_round, "metrics": [row_to_json(row) for row in rows]})
