"""How good a run's samples are: every metric, beside what real data and noise score under the same protocol.

    reference   training rows, evenly spread, at most 10,000
    fake        n samples                        compared with the reference: the value
    real        n held-out rows                  compared with the reference: the floor, what a perfect G would get
    noise       n rows of noise                  compared with the reference: the ceiling, what knowing nothing gets

n is the number of held-out rows, at most 10,000, unless it is asked for. Noise is uniform for images; for points it is
Gaussian with the mean and deviation of each of the data's numbers. The extractor's name and hash stand beside each
number.
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
from zerosum.config.registry import lookup
from zerosum.config.settings import Choice, Config
from zerosum.data import Data
from zerosum.data.dataset import MIN_ROWS, SampleSpec
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
from zerosum.sampling import Sampler, newest

MOST = 10_000
FEWEST = 50
"""Rows below which no number is given: the neighbours and parts of a metric would be too few."""

UNKNOWN = "not known: too few of the rows, or too many of them alike"
"""Said beside a number that even so many rows do not give."""

NO_CELL = f"not known: no part of the space holds {MIN_CELL_ROWS} samples and as many held-out rows"
"""The same, of copying."""

MOST_OF_FLOAT32 = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
"""What points are stored in."""

FLOAT32_SQUARES = (1e-15, 1e15)
"""Between these, squares and sums of 10,000 of them stay within float32."""

STRETCH = 1_000
"""Rows that an extractor looks at before the next process's turn."""

VALIDATION = 1_000
"""Training rows by which the Parzen window is chosen, at most half of them."""


class Row(NamedTuple):
    """One number and what it is to be held against."""

    name: str
    value: float
    error: float
    """Standard error; NaN where none is known."""
    real: float
    """What held-out data scores."""
    noise: float
    """What noise scores."""
    n: int
    features: str
    better: Better
    note: str = ""
    """What the number does not say: which classes or modes were missed."""


@dataclass(frozen=True)
class Sides:
    """The rows that are compared, in the form of samples."""

    data: Data
    fake: Array
    n: int
    """Held-out rows to compare with."""
    asked: NDArray[np.int64] | None = None
    """The class that was asked for in each sample, of a generator that is told classes."""
    most: int = MOST
    """Training rows to compare with, at most."""

    @cached_property
    def reference(self) -> Array:
        """Training rows, evenly spread."""
        return self.data.to_samples(self.data.train.subset(min(self.most, len(self.data.train))))

    @cached_property
    def real(self) -> Array:
        """Held-out rows."""
        return self.data.to_samples(self.data.test.subset(self.n))

    @cached_property
    def noise(self) -> Array:
        """Rows of noise: the same every time."""
        rng = np.random.default_rng(0)
        if self.data.kind == "images":
            return rng.integers(0, 256, (self.n, *self.real.shape[1:]), dtype=np.uint8)
        low, high = FLOAT32_SQUARES
        within = low < np.abs(self.reference).max() < high
        rows = self.reference if within else self.reference.astype(np.float64)
        noise = rows.mean(0) + rows.std(0) * rng.standard_normal((self.n, *self.real.shape[1:]))
        return noise.clip(*MOST_OF_FLOAT32).astype(np.float32)

    def candidates(self) -> tuple[Array, Array, Array]:
        """Fake, real, noise: what is compared with the reference."""
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
) -> tuple[int, list[Row]]:
    """Measure a run's samples.

    Args:
        folder: The run; its data set must be there, too.
        n: Samples, at least 50; as many as there are held-out rows if absent.
        features: pixels, classifier, inception or "module:callable"; the classifier where the data is images with
            labels, else pixels.
        seed: Of the samples.
        cache: Where trained classifiers are kept, and where Inception's file is looked for.
        world: Processes that share the work, and have all numbers in the end.
        trusted: Whether code and data that the settings name are used though the run was not made here.
        data: Where the data lies, if not where the settings say.
        say: Told of damaged checkpoints that were passed over.

    Returns:
        The round of the checkpoint that was used, and the numbers.

    Raises:
        UsageError: Too few rows, or an extractor that is not known or not there.
        DataError: The data is gone or changed, or samples are not what the data is.
        Untrusted: The run was not made here, and names code, or data that is not named otherwise.
    """
    config = folder.read_config()
    with trust.permitted(folder, config, trusted):
        saved = newest(folder, config, say)
        sampler = Sampler.of(config, saved)
        refuse_other_size(config, sampler.spec)
        with world.local_main_first():
            opened = build.open_data(config) if data is None else named_data(config, data)
    checkpoint.refuse_other_data(saved, opened.name, opened.fingerprint())
    return saved.round, measure(sampler, opened, n, features, seed, cache, world=world)


def refuse_other_size(config: Config, form: SampleSpec) -> None:
    """Stop where pictures would be read in another size than that of the samples: before they fill the memory.

    Raises:
        DataError: They would.
    """
    size = config.data.options.get("size")
    wanted = [size, size] if isinstance(size, int) else size
    if form.kind == "images" and isinstance(wanted, list | tuple) and list(wanted) != list(form.shape[1:]):
        raise DataError(
            f"the settings say data.size = {size}, the checkpoint's samples are {form.shape[1]} x {form.shape[2]}: "
            "one of them was changed"
        )


def named_data(config: Config, name: str | Path) -> Data:
    """The data at a place that the user has named, read with the options of the settings."""
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
    rows: int = MOST,
    world: World = SINGLE,
) -> list[Row]:
    """The same, of a generator that is loaded and the data that it was trained on.

    Args:
        sampler: The generator.
        data: What it was trained on.
        n: As for `evaluate`, and the same for the others.
        features: What a distance looks at.
        seed: Of the samples.
        cache: Where classifiers and Inception's file lie.
        rows: Training rows to compare with, at most; fewer are quicker, and give other numbers.
        world: Processes that share the work.

    Raises:
        UsageError: Too few rows, or an extractor that is not known or not there.
        DataError: Samples are not what the data is.
    """
    refuse_few(data)
    n = min(MOST, len(data.test)) if n is None else n
    if n < FEWEST:
        raise UsageError(f"n = {n}: at least {FEWEST} samples are needed for a number")
    samples = sampler.draw(n, seed, world=world)
    sides = Sides(data, samples.array, min(n, len(data.test)), samples.labels, rows)
    refuse(sides.fake, sides.reference)
    with world.local_main_first():  # the first of each machine may have to teach a classifier
        look = extractor(features, data, cache)
    look = having_looked(look, sides, world)
    others = (partial(of_classes, sides, look), partial(of_mixture, sides), partial(of_density, sides))
    return measured([*comparisons(sides, look), *others], world)


Measurement = Callable[[], Iterable[Row]]


def measured(tasks: Sequence[Measurement], world: World) -> list[Row]:
    """The rows of every measurement; dealt out, where several processes are there to make them."""
    found = world.map_ranks(len(tasks), lambda number: json.dumps([*tasks[number]()]).encode())
    return [Row(*row) for rows in found for row in json.loads(rows)]


def having_looked(look: Extractor, sides: Sides, world: World) -> Extractor:
    """The same extractor, which has seen every side already: each process looked at a part of the rows."""

    def through(function: Callable[[Array], Tensor], rows: Array) -> Tensor:
        if world.is_single or not look.per_sample:
            return function(rows)
        stretches = range(0, len(rows), STRETCH)
        part = lambda number: function(rows[stretches[number] : stretches[number] + STRETCH]).numpy()  # noqa: E731
        return torch.from_numpy(world.map_rows(len(stretches), part))

    views, see = (sides.reference, *sides.candidates()), look.probabilities
    features = {id(view): through(look.features, view) for view in views}
    if see is None or sides.data.classes is None:
        return look._replace(features=lambda view: features[id(view)])
    classes = {id(view): through(see, view) for view in sides.candidates()}
    return look._replace(features=lambda view: features[id(view)], probabilities=lambda view: classes[id(view)])


def refuse_few(data: Data) -> None:
    """Stop where too few rows were held out to compare with.

    Raises:
        UsageError: With what to do about it.
    """
    held, every = len(data.test), len(data.train) + len(data.test)
    if held >= FEWEST:
        return
    share = ceil(100 * FEWEST / every) / 100
    enough = every - round(share * every) >= MIN_ROWS
    advice = (
        f"Train anew with more of them held out: --set data.held_out={share:g}"
        if enough
        else f"There are {every} rows in all; with {FEWEST + MIN_ROWS} and more, enough can be held out"
    )
    raise UsageError(f"{data.name}: {held} held-out rows are too few, at least {FEWEST} are needed. {advice}")


def refuse(fake: Array, reference: Array) -> None:
    """Stop at samples that no metric means anything for.

    Raises:
        DataError: Another shape than the data's, or values that are no numbers.
    """
    if fake.shape[1:] != reference.shape[1:]:
        raise DataError(f"samples are {fake.shape[1:]}, the data is {reference.shape[1:]}: they cannot be compared")
    if not np.isfinite(fake).all():
        bad = (~np.isfinite(fake)).reshape(len(fake), -1).any(1).sum()
        raise DataError(f"{bad} of {len(fake)} samples hold NaN or infinity: the run has diverged")


def extractor(name: str | None, data: Data, cache: Path | None = None) -> Extractor:
    """The extractor of that name; if none is given, the classifier for images with labels, else pixels.

    Args:
        name: pixels, classifier, inception or "module:callable".
        data: What it will look at.
        cache: Where trained classifiers are kept and Inception's file lies; the platform's cache folder if absent.

    Raises:
        UsageError: It is not known, or its file is not there.
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
    with permission.granted(code=Path.cwd()):  # the user has named it: no file does
        found = lookup(simple, name, "extractor")
    made: Extractor = found() if name in simple else custom(name, found)
    return made


def compared(sides: Sides, look: Extractor) -> Iterator[Row]:
    """The metrics of two clouds of features, and whether the reference is repeated."""
    for comparison in comparisons(sides, look):
        yield from comparison()


def comparisons(sides: Sides, look: Extractor) -> list[Measurement]:
    """The same, one by one."""
    reference = look.features(sides.reference)
    fake, real, noise = (look.features(side) for side in sides.candidates())

    def by(metric: Metric) -> Iterator[Row]:
        found, floor, ceiling = (metric.compute(reference, cloud) for cloud in (fake, real, noise))
        for name, better in metric.better.items():
            others = floor[name].value, ceiling[name].value
            note = unless_known(found[name].value, UNKNOWN)
            yield Row(name, *found[name], *others, len(fake), look.label, better, note)

    def repeated() -> Iterator[Row]:
        one, other = real[::2], real[1::2]
        others = data_copying_test(reference, one, other).z, data_copying_test(reference, real, noise).z
        z = data_copying_test(reference, real, fake).z
        note = unless_known(z, NO_CELL)
        yield Row("copying", z, nan if note else 1.0, *others, len(fake), look.label, "nearest 0", note)

    return [*(partial(by, metric) for metric in METRICS.values()), repeated]


def unless_known(value: float, note: str) -> str:
    """A note for a number that is not known; else none."""
    return note if isnan(value) else ""


def of_classes(sides: Sides, look: Extractor) -> Iterator[Row]:
    """What a classifier sees in the samples."""
    if look.probabilities is None or sides.data.classes is None:
        return
    seen = [look.probabilities(side) for side in sides.candidates()]
    score, n = [classifier_score(p) for p in seen], len(sides.fake)
    yield Row("classifier score", *score[0], score[1].value, score[2].value, n, look.label, "higher")
    labels = sides.data.train.all_labels()
    counts = torch.from_numpy(np.bincount(labels[labels >= 0], minlength=len(sides.data.classes))).double()
    fake, real, noise = (class_balance(p.argmax(1), counts / counts.sum()) for p in seen)
    yield from spread_rows("classes found", "class KL", (fake, real, noise), sides.data.classes, n, look.label)
    if sides.asked is not None:
        held_out = sides.data.test.all_labels()[sides.data.test.subset_indices(sides.n)]
        asked = torch.from_numpy(sides.asked), torch.from_numpy(held_out), torch.from_numpy(sides.asked[: sides.n])
        right, floor, ceiling = (agreement(p, c) for p, c in zip(seen, asked, strict=True))
        yield Row("asked class", right, (right * (1 - right) / n) ** 0.5, floor, ceiling, n, look.label, "higher")


def spread_rows(
    found: str, kl: str, seen: tuple[ModeCoverage, ModeCoverage, ModeCoverage], names: Sequence[str], n: int, look: str
) -> Iterator[Row]:
    """How samples, held-out rows and noise are spread over classes or modes, and which the samples missed."""
    fake, real, noise = seen
    missed = f"missed: {', '.join(names[number] for number in fake.missed)}" if fake.missed else ""
    counts = float(fake.found), fake.found_error, float(real.found), float(noise.found)
    yield Row(found, *counts, n, look, "higher", missed)
    yield Row(kl, fake.kl, fake.kl_error, real.kl, noise.kl, n, look, "lower")


def agreement(p: Float[Tensor, "n classes"], c: Int[Tensor, " n"]) -> float:
    """Share of the rows whose class is known in which the classifier sees it."""
    return (p.argmax(1) == c)[c >= 0].double().mean().item()


def between_classes(data: Data, look: Extractor) -> ClassTable:
    """Frechet distances of the data's classes to each other, and of two halves of each: what a distance must see.

    Raises:
        DataError: The data has no classes, or fewer than four rows of one.
    """
    rows = data.train.subset_indices(MOST)
    x, labels = data.train[rows]
    if labels is None or data.classes is None:
        raise DataError(f"{data.name} has no classes to compare")
    counts = np.bincount(labels[labels >= 0], minlength=len(data.classes))
    if counts.min() < 4:
        raise DataError(f"{data.name}: class '{data.classes[counts.argmin()]}' has {counts.min()} rows; 4 are needed")
    features = look.features(data.to_samples(x))
    return class_table(
        features, torch.from_numpy(labels), data.classes, lambda one, other: frechet(Moments.of(one), Moments.of(other))
    )


def of_mixture(sides: Sides) -> Iterator[Row]:
    """Mode coverage, where the law of the data is known."""
    mixture = sides.data.mixture
    if mixture is None:
        return
    means, sigmas, weights = (torch.from_numpy(part) for part in (mixture.means, mixture.sigmas, mixture.weights))
    fake, real, noise = (mode_coverage(torch.from_numpy(side), means, sigmas, weights) for side in sides.candidates())
    n, look = len(sides.fake), "exact density"
    error = (fake.in_modes * (1 - fake.in_modes) / n) ** 0.5
    names = tuple(f"({', '.join(f'{place:.3g}' for place in mean)})" for mean in mixture.means)
    yield from spread_rows("modes found", "mode KL", (fake, real, noise), names, n, look)
    yield Row("within 3 sigma", fake.in_modes, error, real.in_modes, noise.in_modes, n, look, "higher")


def of_density(sides: Sides) -> Iterator[Row]:
    """The Parzen log-likelihood of held-out images, by samples, by training rows and by noise."""
    if sides.data.kind != "images":
        return
    look, kept = pixels(), min(VALIDATION, len(sides.reference) // 2)
    real, validation = look.features(sides.reference).split([len(sides.reference) - kept, kept])
    test, fake, noise = (look.features(side) for side in (sides.real, sides.fake, sides.noise))
    found, floor, ceiling = (log_likelihood(x, validation, test) for x in (fake, real[: len(fake)], noise))
    seen = f"pixels, sigma {found.sigma:.3g}"
    yield Row("log-likelihood", found.value, found.error, floor.value, ceiling.value, len(fake), seen, "higher")


def record(folder: RunFolder, rows: list[Row], at_round: int) -> None:
    """Add the evaluation to metrics.jsonl."""
    record_metrics(folder, {"round": at_round, "metrics": [facts(row) for row in rows]})


def facts(row: Row) -> dict[str, Any]:
    """A row as JSON can hold it: numbers that it does not know are null where unknown, else strings."""
    return {key: _plain(value) for key, value in row._asdict().items()}


def number(value: float) -> str:
    """Four digits; nothing where it is not known."""
    return "" if isnan(value) else f"{value:.4g}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else str(value)
    return value


__all__ = ["Estimate", "Row", "Sides", "evaluate", "facts", "measure", "record"]
