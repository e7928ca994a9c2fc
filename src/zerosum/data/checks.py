"""Whether a data set can be learned from, and samples can show it."""

from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zerosum.data.dataset import CHUNK, Data, Split
from zerosum.errors import DataError

MIN_ROWS = 16
"""Minimum number of training rows."""

MAX_F32 = float(np.finfo(np.float32).max)
"""The largest number that samples, which are float32, can hold."""

MIN_NORMAL = float(np.finfo(np.float32).tiny)
"""The smallest float32 number with full precision."""


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
