"""A data set with its shape, range, splits, classes, modes, source and license.

Splits are random-access: `split[indices]` returns (x, c), x as it is stored, c the labels or None.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zerosum.data.mixture import Mixture
from zerosum.data.permutation import Indices, permutation
from zerosum.spec import Kind, SampleSpec

CHUNK = 64 * 2**20
"""Bytes read at a time when a whole array is scanned, so that memory-mapped data stays on disk."""

SPLIT_SEED = 20140610
"""Seed of the permutation that divides a user's rows into training and test (the day of arXiv:1406.2661)."""

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
