"""A data set with its shape, range, splits, classes, modes, source and license.

Splits are random-access: `split[indices]` returns (x, c), x as it is stored, c the labels or None. The networks see
*encoded* data: images in [-1, 1], points in the data's units or standardized (mean 0, standard deviation 1).
`SampleSpec.decode` inverts the encoding: images to uint8 0..255, points to the data's own units.
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

from zerosum.data.permutation import Indices, permutation
from zerosum.errors import DataError

Kind = Literal["images", "points"]

MIN_ROWS = 16
"""Minimum number of training rows."""

CHUNK = 64 * 2**20
"""Bytes read at a time when a whole array is scanned, so that memory-mapped data stays on disk."""

SPLIT_SEED = 20140610
"""Seed of the permutation that divides a user's rows into training and test (the day of arXiv:1406.2661)."""

MAX_F32 = float(np.finfo(np.float32).max)
"""The largest number that samples, which are float32, can hold."""

MIN_NORMAL = float(np.finfo(np.float32).tiny)
"""The smallest float32 number with full precision."""

STATISTICS_ROWS = 2**18
"""Maximum number of rows for estimating mean and standard deviation (s): the error of the mean is then 0.002 s."""


@dataclass(frozen=True)
class Split:
    """The training or the test rows: samples and, if there are any, their labels.

    Two splits may share one array; each then has its own rows of it. This needs no copy and keeps memory-mapped data on
    disk.

    Args:
        x: (n, c, h, w) for images, (n, d) for points, of any real type; may be memory-mapped.
        labels: (n,) class numbers, or None; -1 means unknown.
        rows: Row numbers of x; None: all rows in their own order.
    """

    x: NDArray[Any]
    labels: NDArray[np.int64] | None = None
    rows: Indices | None = None

    def __len__(self) -> int:
        return len(self.x if self.rows is None else self.rows)

    def __getitem__(self, indices: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64] | None]:
        rows = indices if self.rows is None else self.rows[indices]
        return self.x[rows], None if self.labels is None else self.labels[rows]

    @property
    def nbytes(self) -> int:
        """Size of all rows in bytes, as they are stored."""
        return int(self.x[:1].nbytes) * len(self)

    def all_samples(self) -> NDArray[Any]:
        """All samples: x itself, or a copy if the split has its own rows of it."""
        return self.x if self.rows is None else self.x[self.rows]

    def all_labels(self) -> NDArray[np.int64]:
        """Class number of each row, -1 if unknown."""
        if self.labels is None:
            return np.full(len(self), -1)
        return self.labels if self.rows is None else self.labels[self.rows]

    def subset(self, limit: int) -> NDArray[Any]:
        """At most `limit` samples, evenly spaced over the split."""
        return self[self.subset_indices(limit)][0]

    def subset_indices(self, limit: int) -> NDArray[np.int64]:
        """Row numbers of `subset(limit)`."""
        return np.arange(0, len(self), max(1, -(-len(self) // limit)))


def divide(x: NDArray[Any], labels: NDArray[np.int64] | None, held_out: float) -> tuple[Split, Split]:
    """Divide rows at random, but always in the same way, into training and test rows.

    Args:
        x: (n, ...) samples.
        labels: (n,) class numbers, or None.
        held_out: Share of the test rows, in [0, 1).
    """
    rows, test = permutation(len(x), SPLIT_SEED, "split"), round(len(x) * held_out)
    return Split(x, labels, rows[: len(x) - test]), Split(x, labels, rows[len(x) - test :])


@dataclass(frozen=True)
class Mixture:
    """Mixture of isotropic Gaussians with an exact density.

    Args:
        means: (k, d).
        sigmas: (k,) standard deviations.
        weights: (k,), their sum is 1.
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
        """Draw n points (n, d); return them and the component (n,) of each."""
        rng = np.random.default_rng(seed)
        component = rng.choice(len(self.weights), size=n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        with np.errstate(over="ignore"):  # `validate` refuses infinite values and names their row
            return (self.means[component] + self.sigmas[component, None] * noise).astype(np.float32), component


@dataclass(frozen=True)
class SampleSpec:
    """Kind and shape of a sample, and its encoding for the networks: (x - shift) / scale.

    Args:
        kind: "images" or "points".
        shape: (channels, height, width) of an image, (d,) of a point.
        shift: One number for images, d (or one) for points.
        scale: Likewise; encoded images lie in [-1, 1] whatever their stored range.
        classes: Names of the classes, or None.
    """

    kind: Kind
    shape: tuple[int, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]
    classes: tuple[str, ...] | None = None

    def encode(self, x: Tensor) -> Tensor:
        """Encode stored values (n, *shape) for the networks, in the dtype of x; integers become float32."""
        x = x if x.is_floating_point() else x.float()
        return (x - self._as_tensor(x, self.shift)) / self._as_tensor(x, self.scale)

    def decode(self, x: Tensor) -> NDArray[Any]:
        """Decode the generator's output (n, *shape): images to uint8 (n, h, w, c), points to float32 (n, d)."""
        x = x.detach().cpu().double()
        if self.kind == "images":
            gray = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            return gray.permute(0, 2, 3, 1).numpy()
        return (x * self._as_tensor(x, self.scale) + self._as_tensor(x, self.shift)).numpy().astype(np.float32)

    def _as_tensor(self, x: Tensor, numbers: tuple[float, ...]) -> Tensor | float:
        return numbers[0] if len(numbers) == 1 else torch.tensor(numbers, dtype=x.dtype, device=x.device)


@dataclass(frozen=True)
class Data:
    """A data set with its metadata.

    Args:
        name: Name of the data set.
        kind: "images" or "points".
        train: Training rows.
        test: Held-out rows, never used in training.
        range: Lowest and highest possible stored value (black and white); required for images.
        standardize: Points: encode to mean 0 and standard deviation 1.
        classes: Names of the classes, or None.
        mixture: The exact distribution of the rows, if it is known.
        source: Origin of the data.
        license: License of the data.
        notes: Messages for the user.
    """

    name: str
    kind: Kind
    train: Split
    test: Split
    range: tuple[float, float] | None = None
    standardize: bool = True
    classes: tuple[str, ...] | None = None
    mixture: Mixture | None = None
    source: str = "your own"
    license: str = "your own"
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image, (d,) of a point."""
        return tuple(self.train.x.shape[1:])

    @property
    def modes(self) -> int | None:
        """Number of modes, if the exact distribution is known."""
        return len(self.mixture.means) if self.mixture else None

    @cached_property
    def spec(self) -> SampleSpec:
        """Shape and encoding of a sample; points are standardized by the statistics of the training rows."""
        if self.range is not None:
            low, high = self.range
            return SampleSpec(self.kind, self.shape, ((low + high) / 2,), ((high - low) / 2,), self.classes)
        if not self.standardize:
            return SampleSpec(self.kind, self.shape, (0.0,), (1.0,), self.classes)
        mean, std, varies = self.moments
        scale = np.where(varies & (std > 0), std, 1.0)  # std of a constant may be above 0, by rounding of the mean
        return SampleSpec(self.kind, self.shape, tuple(mean.tolist()), tuple(scale.tolist()), self.classes)

    @cached_property
    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Mean, standard deviation, and whether the values differ, of each column of points in the training rows."""
        sample = self.train.subset(STATISTICS_ROWS).astype(np.float64)
        return sample.mean(0), sample.std(0), (sample != sample[0]).any(0)

    def mean(self) -> Tensor:
        """Mean of the encoded training data (*shape)."""
        return self.spec.encode(torch.from_numpy(self.train.subset(STATISTICS_ROWS).astype(np.float64))).mean(0).float()

    def samples(self, rows: Split, n: int | None = None) -> NDArray[Any]:
        """The first n rows (all by default) in the format of generated samples."""
        x, _ = rows[np.arange(len(rows) if n is None else min(n, len(rows)))]
        return self.to_samples(x)

    def to_samples(self, x: NDArray[Any]) -> NDArray[Any]:
        """Convert stored rows to the format of generated samples."""
        return self.spec.decode(self.spec.encode(torch.from_numpy(x.astype(np.float64))))

    def fingerprint(self) -> str:
        """Hash of the shape, type and content of the training rows and of the labels: sixteen hex digits.

        It reads at most 64 MiB of evenly spaced rows, so it is fast for a memory-mapped file of any size.
        """
        sample = self.train.subset(max(1, CHUNK // max(1, self.train.x[:1].nbytes)))
        digest = hashlib.sha256(f"{len(self.train)}{self.train.x.shape}{self.train.x.dtype}".encode())
        digest.update(np.ascontiguousarray(sample).tobytes())
        if self.train.labels is not None:
            digest.update(self.train.labels.tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """Describe the data set in one sentence."""
        what = "images of {1} x {2}, {0} channel(s)" if self.kind == "images" else "points in {0} dimension(s)"
        parts = [f"{self.name}: {len(self.train):,} {what.format(*self.shape)}", f"{len(self.test):,} held out"]
        if self.classes:
            parts.append(f"{len(self.classes)} classes")
        if self.modes:
            parts.append(f"{self.modes} modes")
        return ", ".join(parts)


Factory = Callable[..., Data]
"""Type of a value of DATASETS: a function of keyword-only options."""


def validate(data: Data) -> Data:
    """Check that a data set can be learned from, and return it.

    Raises:
        DataError: Too few rows, values that are not finite or too large, values outside the declared range, or no
            variation that samples could show.
    """
    if len(data.train) < MIN_ROWS:
        raise DataError(f"{data.name}: {len(data.train)} training rows are too few, at least {MIN_ROWS} are needed")
    low, high = _value_range(data)
    if data.range is not None:
        _refuse_wrong_range(data.name, data.range, low, high)
    _refuse_equal_rows(data)
    if data.kind == "points":
        _refuse_lost_precision(data)
    elif data.range is not None:
        _refuse_one_shade(data, low, high)
    return data


def _value_range(data: Data) -> tuple[float, float]:
    """Lowest and highest value of all rows; raise DataError if a value is not a number that samples can hold."""
    arrays = {id(rows.x): rows.x for rows in (data.train, data.test) if len(rows)}.values()
    if data.range == (0.0, 255.0) and all(x.dtype == np.uint8 for x in arrays):
        return data.range  # uint8 values cannot leave this range, so the rows need not be read
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
    if part.itemsize > 4 and max(part.max(), -part.min()) > MAX_F32:
        large = np.abs(part) > MAX_F32
        bad, count = _first_row(large, first)
        value = float(part[large].flat[0])
        raise DataError(
            f"{name}: row {bad} holds {value:g} ({count} such values near it), samples can hold {MAX_F32:.3g} at most. "
            "Divide the column by a constant"
        )


def _first_row(bad: NDArray[np.bool_], first: int) -> tuple[int, int]:
    """Row number of the first bad value, and the number of bad values."""
    return first + int(np.argmax(bad.reshape(len(bad), -1).any(1))), int(bad.sum())


def _refuse_wrong_range(name: str, declared: tuple[float, float], low: float, high: float) -> None:
    advice = f"Declare the true one: --set data.range=[{low:g},{high:g}]"
    if low < declared[0] or high > declared[1]:
        raise DataError(f"{name}: values from {low:g} to {high:g} leave the declared range {list(declared)}. {advice}")
    if not isfinite(declared[1] - declared[0]):
        raise DataError(f"{name}: the declared range {list(declared)} has no end. {advice}")


def _refuse_equal_rows(data: Data) -> None:
    """Raise DataError if all training rows are equal, or all rows of a separate test set of two or more."""
    if _all_equal(data.train):
        row = data.train[np.arange(1)][0]
        same = (
            f"all {len(data.train):,} rows are the same" if row.min() < row.max() else f"every value is {row.min():g}"
        )
        raise DataError(f"{data.name}: {same}; there is nothing to learn")
    if data.test.x is not data.train.x and len(data.test) > 1 and _all_equal(data.test):
        raise DataError(f"{data.name}: all {len(data.test):,} test rows are the same; they can measure nothing")


def _all_equal(rows: Split) -> bool:
    """Whether all rows equal the first; compared in growing blocks, since the first rows usually differ."""
    first, _ = rows[np.arange(1)]
    begin, limit = 0, max(1, CHUNK // max(1, first.nbytes))
    while begin < len(rows):
        end = min(len(rows), begin + min(limit, begin + MIN_ROWS))
        if (rows[np.arange(begin, end)][0] != first).any():
            return False
        begin = end
    return True


def _refuse_one_shade(data: Data, low: float, high: float) -> None:
    """Raise DataError if all values become the same of the 256 gray levels that samples have."""
    shades = data.spec.decode(data.spec.encode(torch.tensor([low, high], dtype=torch.float64)).reshape(1, 1, 1, 2))
    if shades.min() == shades.max():
        raise DataError(
            f"{data.name}: values from {low:g} to {high:g} are one shade of gray in {list(data.range or ())}. "
            f"Declare the true range: --set data.range=[{low:g},{high:g}]"
        )


def _refuse_lost_precision(data: Data) -> None:
    """Raise DataError if a column varies by less than the spacing of float32 numbers, which samples have."""
    if np.can_cast(data.train.x.dtype, np.float32):
        return
    mean, std, varies = data.moments
    spacing = np.maximum(np.spacing(np.abs(mean).astype(np.float32)).astype(np.float64), MIN_NORMAL)
    lost = np.flatnonzero(varies & (std < spacing))
    if lost.size:
        column = int(lost[0])
        raise DataError(
            f"{data.name}: column {column} (of {len(mean)}, counted from 0) has mean {mean[column]:g} and deviation "
            f"{std[column]:g}; samples are float32, whose numbers are {spacing[column]:.2g} apart there. "
            "Subtract an offset from it, or multiply it by a constant"
        )
