"""What a data set declares: shape, range, splits, classes, modes, source and licence.

Rows are random-access: `rows[indices]` gives (x, c), x as it is stored (uint8 or float32), c the labels or None. The
networks see *encoded* data: images in [-1, 1], points shifted and scaled to mean 0 and deviation 1 where the record
says so. `Form.decode` goes back: images to uint8 0..255, points to the data's own units.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from zerosum.data.permutation import permute
from zerosum.errors import DataError

Kind = Literal["images", "points"]

FEWEST = 16
"""Fewer training rows than this are no distribution to learn."""

CHUNK = 64 * 2**20
"""Bytes read at a time where a whole array is looked at, so that memory-mapped data stays on the disk."""

SPLIT = 20140610
"""Key of the shuffle that parts a user's rows into training and test (the day of arXiv:1406.2661)."""

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that samples, which are float32, can hold."""

SMALLEST = float(np.finfo(np.float32).tiny)
"""Below this, float32 loses digits until nothing is left."""

MOST = 2**18
"""Rows from which shift and scale are estimated: the error of a mean is then 0.2 % of a deviation."""


@dataclass(frozen=True)
class Rows:
    """One split: samples and, where there are any, their labels.

    Two splits may share one array: each is then a stretch of one fixed, keyed shuffle of its rows, which costs no
    memory and leaves memory-mapped data on the disk.

    Args:
        x: (n, c, h, w) for images, (n, d) for points, of any real type; may be memory-mapped.
        labels: (n,) class numbers, or None; -1 stands for "not known".
        first: Where the stretch begins.
        count: How long it is; None: the rows are all of x, in their own order.
    """

    x: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    first: int = 0
    count: int | None = None

    def __len__(self) -> int:
        return len(self.x) if self.count is None else self.count

    def __getitem__(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        places = self._places(indices)
        return self.x[places], None if self.labels is None else self.labels[places]

    def _places(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where rows of the split lie in x."""
        return indices if self.count is None else permute(indices + self.first, len(self.x), SPLIT, 0)

    @property
    def nbytes(self) -> int:
        """Bytes that all rows take as they are stored."""
        return int(self.x[:1].nbytes) * len(self)

    def everything(self) -> NDArray[Any]:
        """All samples: the array itself, or a copy where the split is a stretch of a shuffled one."""
        return self.x if self.count is None else self[np.arange(len(self))][0]

    def every_label(self) -> NDArray[np.int64]:
        """The class of each row, -1 where it is not known."""
        if self.labels is None:
            return np.full(len(self), -1)
        return self.labels[self._places(np.arange(len(self)))]

    def spread(self, most: int) -> NDArray[Any]:
        """At most so many samples, evenly spread over the split."""
        return self[self.evenly(most)][0]

    def evenly(self, most: int) -> NDArray[np.int64]:
        """The numbers of those rows."""
        return np.arange(0, len(self), max(1, -(-len(self) // most)))


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians, with their exact density.

    Args:
        means: (k, d) centres.
        sigmas: (k,) standard deviations.
        weights: (k,) shares, adding up to 1.
    """

    means: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    weights: NDArray[np.float64]

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Log-density in nats, in float64.

        log sum_k w_k N(x; m_k, s_k^2 I)

        >>> one = Mixture(np.zeros((1, 1)), np.ones(1), np.ones(1))
        >>> one.log_prob(torch.zeros(1, 1))
        tensor([-0.9189], dtype=torch.float64)
        """
        means, sigmas, weights = (torch.as_tensor(part) for part in (self.means, self.sigmas, self.weights))
        distance = (x.double()[:, None] - means).square().sum(2) / sigmas.square()
        d = means.shape[1]
        log_normal = -0.5 * distance - d * sigmas.log() - 0.5 * d * np.log(2 * np.pi)
        return torch.logsumexp(weights.log() + log_normal, dim=1)

    def sample(self, n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draw n points (n, d) and the component (n,) each came from."""
        rng = np.random.default_rng(seed)
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        with np.errstate(over="ignore"):  # what becomes infinite is refused with its row
            return (self.means[component] + self.sigmas[component, None] * noise).astype(np.float32), component


@dataclass(frozen=True)
class SampleSpec:
    """What one sample looks like, and how the networks see it: (x - shift) / scale.

    Args:
        kind: "images" or "points".
        shape: (channels, height, width) of an image, (d,) of a point.
        shift: One number for images, d for points.
        scale: Likewise; images of any range lie in [-1, 1] once encoded.
        classes: Names of the labels, or None.
    """

    kind: Kind
    shape: tuple[int, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    classes: tuple[str, ...] | None = None

    def encode(self, x: Tensor) -> Tensor:
        """Stored values (n, *shape) to what the networks see, in the type of x; whole numbers become float32."""
        x = x if x.is_floating_point() else x.float()
        return (x - self._like(x, self.shift)) / self._like(x, self.scale)

    def decode(self, x: Tensor) -> NDArray[Any]:
        """What G made (n, *shape) to samples: images uint8 (n, h, w, c), points float32 (n, d) in data units."""
        x = x.detach().cpu().double()
        if self.kind == "images":
            gray = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            return gray.permute(0, 2, 3, 1).numpy()
        return (x * self._like(x, self.scale) + self._like(x, self.shift)).numpy().astype(np.float32)

    def _like(self, x: Tensor, numbers: tuple[float, ...]) -> Tensor | float:
        return numbers[0] if len(numbers) == 1 else torch.tensor(numbers, dtype=x.dtype, device=x.device)


@dataclass(frozen=True)
class Data:
    """A data set and everything it declares about itself.

    Args:
        name: What it is called.
        kind: "images" or "points".
        train: The rows that are trained on.
        test: The rows held out; they never reach training.
        range: Lowest and highest possible value as stored: black and white. Images must declare it.
        standardize: Points: the networks see mean 0 and deviation 1.
        classes: Names of the labels, or None.
        mixture: The exact law the rows come from, where it is known.
        source: Where the data comes from.
        licence: Under what terms.
        notes: What a user should be told about it.
    """

    name: str
    kind: Kind
    train: Rows
    test: Rows
    range: tuple[float, float] | None = None
    standardize: bool = True
    classes: tuple[str, ...] | None = None
    mixture: Mixture | None = None
    source: str = "your own"
    licence: str = "your own"
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image, (d,) of a point."""
        return tuple(self.train.x.shape[1:])

    @property
    def modes(self) -> int | None:
        """How many modes the data has, where that is known."""
        return len(self.mixture.means) if self.mixture else None

    @cached_property
    def form(self) -> SampleSpec:
        """What one sample looks like; the statistics of points are those of the training rows."""
        if self.range is not None:
            low, high = self.range
            return SampleSpec(self.kind, self.shape, ((low + high) / 2,), ((high - low) / 2,), self.classes)
        if not self.standardize:
            return SampleSpec(self.kind, self.shape, (0.0,), (1.0,), self.classes)
        mean, deviation, varies = self.moments
        scale = np.where(varies & (deviation > 0), deviation, 1.0)  # a mean that is rounded makes constants deviate
        return SampleSpec(self.kind, self.shape, tuple(mean.tolist()), tuple(scale.tolist()), self.classes)

    @cached_property
    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Of each column of points, in the training rows: mean, deviation, and whether its values differ."""
        sample = self.train.spread(MOST).astype(np.float64)
        return sample.mean(0), sample.std(0), (sample != sample[0]).any(0)

    def mean(self) -> Tensor:
        """Mean of the encoded training data (*shape)."""
        return self.form.encode(torch.from_numpy(self.train.spread(MOST).astype(np.float64))).mean(0).float()

    def samples(self, rows: Rows, n: int | None = None) -> NDArray[Any]:
        """The first n rows in the form that generated samples have."""
        x, _ = rows[np.arange(len(rows) if n is None else min(n, len(rows)))]
        return self.shown(x)

    def shown(self, x: NDArray[Any]) -> NDArray[Any]:
        """Stored rows in the form that generated samples have."""
        return self.form.decode(self.form.encode(torch.from_numpy(x.astype(np.float64))))

    def fingerprint(self) -> str:
        """Sixteen hex digits that follow from shape, type and content of the training rows, and from the labels.

        At most 64 MiB of rows are read, evenly spread, so that a memory-mapped file of any size starts at once.
        """
        sample = self.train.spread(max(1, CHUNK // max(1, self.train.x[:1].nbytes)))
        digest = hashlib.sha256(f"{len(self.train)}{self.train.x.shape}{self.train.x.dtype}".encode())
        digest.update(np.ascontiguousarray(sample).tobytes())
        if self.train.labels is not None:
            digest.update(self.train.labels.tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """The data set in a sentence."""
        what = "images of {1} x {2}, {0} channel(s)" if self.kind == "images" else "points in {0} dimension(s)"
        parts = [f"{self.name}: {len(self.train):,} {what.format(*self.shape)}", f"{len(self.test):,} held out"]
        if self.classes:
            parts.append(f"{len(self.classes)} classes")
        if self.modes:
            parts.append(f"{self.modes} modes")
        return ", ".join(parts)


Opener = Callable[..., Data]
"""A row of DATASETS: keyword-only options in, a record out."""


def checked(data: Data) -> Data:
    """The same record, once its rows have been looked at.

    Raises:
        DataError: Too few rows, values that are no numbers or too large, values outside the declared range, or no
            variation that samples could show.
    """
    if len(data.train) < FEWEST:
        raise DataError(f"{data.name}: {len(data.train)} training rows are too few, at least {FEWEST} are needed")
    low, high = _span(data)
    if data.range is not None:
        _refuse_wrong_range(data.name, data.range, low, high)
    _refuse_sameness(data)
    if data.kind == "points":
        _refuse_lost_digits(data)
    elif data.range is not None:
        _refuse_one_shade(data, low, high)
    return data


def _span(data: Data) -> tuple[float, float]:
    """The lowest and the highest value, once each value is seen to be a number."""
    arrays = {id(rows.x): rows.x for rows in (data.train, data.test) if len(rows)}.values()
    if data.range == (0.0, 255.0) and all(x.dtype == np.uint8 for x in arrays):
        return data.range  # bytes cannot leave it: gigabytes of them need not be read
    low, high = np.inf, -np.inf
    for x in arrays:
        for first in range(0, len(x), step := max(1, CHUNK // max(1, x[:1].nbytes))):
            part = x[first : first + step]
            _refuse_non_numbers(data.name, part, first)
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    return low, high


def _refuse_non_numbers(name: str, part: NDArray[Any], first: int) -> None:
    if not np.issubdtype(part.dtype, np.floating):
        return
    if not (finite := np.isfinite(part)).all():
        bad, count = _first_row(~finite, first)
        raise DataError(f"{name}: row {bad} holds NaN or infinity ({count} such values near it). Remove or fill them")
    if part.itemsize > 4 and max(part.max(), -part.min()) > LARGEST:
        large = np.abs(part) > LARGEST
        bad, count = _first_row(large, first)
        value = float(part[large].flat[0])
        raise DataError(
            f"{name}: row {bad} holds {value:g} ({count} such values near it), samples can hold {LARGEST:.3g} at most. "
            "Divide the column by a constant"
        )


def _first_row(bad: NDArray[np.bool_], first: int) -> tuple[int, int]:
    """The number of the first bad row, and how many bad values there are."""
    return first + int(np.argmax(bad.reshape(len(bad), -1).any(1))), int(bad.sum())


def _refuse_wrong_range(name: str, declared: tuple[float, float], low: float, high: float) -> None:
    advice = f"Declare the true one: --set data.range=[{low:g},{high:g}]"
    if low < declared[0] or high > declared[1]:
        raise DataError(f"{name}: values from {low:g} to {high:g} leave the declared range {list(declared)}. {advice}")
    if not isfinite(declared[1] - declared[0]):
        raise DataError(f"{name}: the declared range {list(declared)} has no end. {advice}")


def _refuse_sameness(data: Data) -> None:
    """Rows that are all the same are no distribution; two are refused as test rows of their own, too."""
    if _all_the_same(data.train):
        row = data.train[np.arange(1)][0]
        same = (
            f"all {len(data.train):,} rows are the same" if row.min() < row.max() else f"every value is {row.min():g}"
        )
        raise DataError(f"{data.name}: {same}; there is nothing to learn")
    if data.test.x is not data.train.x and len(data.test) > 1 and _all_the_same(data.test):
        raise DataError(f"{data.name}: all {len(data.test):,} test rows are the same; they can measure nothing")


def _all_the_same(rows: Rows) -> bool:
    """Whether no row differs from the first: in stretches that grow, since most data tells at once."""
    first, _ = rows[np.arange(1)]
    begin, most = 0, max(1, CHUNK // max(1, first.nbytes))
    while begin < len(rows):
        end = min(len(rows), begin + min(most, begin + FEWEST))
        if (rows[np.arange(begin, end)][0] != first).any():
            return False
        begin = end
    return True


def _refuse_one_shade(data: Data, low: float, high: float) -> None:
    """Samples of images have 256 shades from black to white; data that differs by less than one shows none of it."""
    shades = data.form.decode(data.form.encode(torch.tensor([low, high], dtype=torch.float64)).reshape(1, 1, 1, 2))
    if shades.min() == shades.max():
        raise DataError(
            f"{data.name}: values from {low:g} to {high:g} are one shade of gray in {list(data.range or ())}. "
            f"Declare the true range: --set data.range=[{low:g},{high:g}]"
        )


def _refuse_lost_digits(data: Data) -> None:
    """Samples are float32: what varies by less than the distance of two of its numbers would not vary there."""
    if np.can_cast(data.train.x.dtype, np.float32):
        return
    mean, deviation, varies = data.moments
    apart = np.maximum(np.spacing(np.abs(mean).astype(np.float32)).astype(np.float64), SMALLEST)
    lost = np.flatnonzero(varies & (deviation < apart))
    if lost.size:
        column = int(lost[0])
        raise DataError(
            f"{data.name}: column {column} (of {len(mean)}, counted from 0) has mean {mean[column]:g} and deviation "
            f"{deviation[column]:g}; samples are float32, whose numbers are {apart[column]:.2g} apart there. "
            "Subtract an offset from it, or multiply it by a constant"
        )
