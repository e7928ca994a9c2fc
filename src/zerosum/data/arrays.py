"""Whatever the user has: arrays, tensors, .npy, .npz and .csv files.

    (n,), (n, d)                  points in 1 or d dimensions, any real numbers
    (n, h, w)                     grey images
    (n, h, w, c), (n, c, h, w)    images with channels; `layout` says which, where c <= 4 does not show it

uint8 images span 0..255 and uint16 images 0..65535; floating-point images declare their range, since a picture whose
white is 1 and one whose white is 255 look the same to a computer. A share of the rows is held out for honest numbers.
"""

import csv
import warnings
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any, Literal
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from zerosum.data.record import Data, Rows
from zerosum.errors import DataError

Layout = Literal["nhwc", "nchw"]
Span = Annotated[tuple[float, float], Field(strict=False)]
HoldOut = Annotated[float, Field(ge=0, lt=1)]
RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0), "bool": (0.0, 1.0)}
SAMPLE_KEYS = ("x", "samples", "images", "data", "x_train", "arr_0")
LABEL_KEYS = ("y", "labels", "targets", "y_train")
UNREADABLE = (ValueError, OSError, EOFError, csv.Error, TokenError, BadZipFile, zlib.error, RuntimeError, MemoryError)
"""What numpy, zipfile and csv raise on files that are damaged or not what their ending says."""


def from_file(
    path: str | Path,
    *,
    range: Span | None = None,
    layout: Layout | None = None,
    labels: str | None = None,
    key: str | None = None,
    held_out: HoldOut = 0.1,
    standardise: bool = True,
) -> Data:
    """A .npy, .npz or .csv file as a data set; .npy files are memory-mapped.

    Args:
        path: The file.
        range: (black, white) of floating-point images.
        layout: Where the channels of images are, if their number does not show it.
        labels: The column of a .csv, or the array of an .npz, that holds classes.
        key: The array of an .npz that holds the samples.
        held_out: Share of the rows that never reaches training.
        standardise: Points: shift and scale to mean 0 and deviation 1 for the networks.

    Raises:
        DataError: The file is missing, of another kind, or does not hold what it should.
    """
    path = Path(path)
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: files that can be trained on end in {', '.join(readers)}")
    try:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
        x, y = readers[path.suffix.lower()](path, key, labels)
    except UNREADABLE as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return from_array(x, y, name=path.name, range=range, layout=layout, held_out=held_out, standardise=standardise)


def from_array(
    x: Any,
    labels: Any = None,
    *,
    name: str = "array",
    range: Span | None = None,
    layout: Layout | None = None,
    held_out: HoldOut = 0.1,
    standardise: bool = True,
) -> Data:
    """An array or tensor as a data set.

    Args:
        x: Points (n,) or (n, d), images (n, h, w), (n, h, w, c) or (n, c, h, w).
        labels: (n,) classes: numbers or texts; negative numbers and empty texts stand for "not known".
        name: What the data set is called.
        range: (black, white) of floating-point images.
        layout: Where the channels of images are, if their number does not show it.
        held_out: Share of the rows that never reaches training.
        standardise: Points: shift and scale to mean 0 and deviation 1 for the networks.

    Raises:
        DataError: The shape, type or range cannot be a data set's.
    """
    x = _numeric(x, name)
    if x.ndim <= 2:
        x, span = x.reshape(len(x), -1), None
    else:
        x, span = _channels_first(x, layout, name), range or _range_of(x, name)
    numbers, classes = _classes(labels, len(x), name)
    test = round(len(x) * held_out)
    return Data(
        name=name,
        kind="points" if span is None else "images",
        train=Rows(x, numbers, 0, len(x) - test),
        test=Rows(x, numbers, len(x) - test, test),
        range=span,
        standardise=standardise,
        classes=classes,
    )


def _numeric(given: Any, name: str) -> NDArray[Any]:
    x = _array(given, name)
    if not (np.issubdtype(x.dtype, np.floating) or np.issubdtype(x.dtype, np.integer) or x.dtype == bool):
        raise DataError(f"{name}: holds {x.dtype}, expected real numbers")
    if not 1 <= x.ndim <= 4 or 0 in x.shape:
        raise DataError(f"{name}: has shape {x.shape}, expected points (n, d) or images (n, h, w[, c])")
    return x if x.itemsize <= 8 else x.astype(np.float64)  # what a long double leaves unused is not always the same


def _array(given: Any, name: str) -> NDArray[Any]:
    """An array, of which a memory-mapped one stays one."""
    try:
        if isinstance(given, torch.Tensor):
            given = given.detach().cpu()
            given = (given.float() if given.dtype == torch.bfloat16 else given).numpy()
        return given if isinstance(given, np.ndarray) else np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{name}: is no array: {error}") from None


def _channels_first(x: NDArray[Any], layout: Layout | None, name: str) -> NDArray[Any]:
    """Images as (n, c, h, w), without a copy."""
    if x.ndim == 3:
        return x[:, None]
    if layout is None:
        last, first = x.shape[3] <= 4, x.shape[1] <= 4
        if last == first:
            raise DataError(
                f"{name}: shape {x.shape} does not show which axis holds the channels. "
                'Say so: --set data.layout="nhwc" (last) or "nchw" (second)'
            )
        layout = "nhwc" if last else "nchw"
    return x.transpose(0, 3, 1, 2) if layout == "nhwc" else x


def _range_of(x: NDArray[Any], name: str) -> tuple[float, float]:
    """Black and white, where the type declares them."""
    if x.dtype.name in RANGES:
        return RANGES[x.dtype.name]
    look = x[: max(1, 2**22 // max(1, x[:1].nbytes))]
    raise DataError(
        f"{name}: images of type {x.dtype} do not say which values are black and white (the first rows span "
        f"{look.min():g} to {look.max():g}). Declare them: --set data.range=[0,1]"
    )


def _classes(labels: Any, n: int, name: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    """Class numbers and class names."""
    if labels is None:
        return None, None
    given = _array(labels, f"{name}: labels")
    if given.shape != (n,):
        raise DataError(f"{name}: labels have shape {given.shape}, expected ({n},): one for each row")
    whole = np.issubdtype(given.dtype, np.floating) and bool((np.isfinite(given) & (np.floor(given) == given)).all())
    given = given.astype(np.int64) if whole else given
    known = given >= 0 if np.issubdtype(given.dtype, np.integer) else given.astype(str) != ""
    names, numbers = np.unique(given[known], return_inverse=True)
    out = np.full(n, -1, dtype=np.int64)
    out[known] = numbers
    return out, tuple(str(value) for value in names)


def _read_npy(path: Path, key: str | None, labels: str | None) -> tuple[NDArray[Any], Any]:
    if key or labels:
        raise DataError(f"{path}: a .npy file holds one array without a name; key and labels belong to .npz and .csv")
    return np.lib.format.open_memmap(path, mode="r"), None


def _read_npz(path: Path, key: str | None, labels: str | None) -> tuple[NDArray[Any], Any]:
    if not is_zipfile(path):
        raise ValueError("it is no archive of arrays")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = list(archive.files)
        if not names:
            raise ValueError("it holds no array")
        key = key or next((name for name in SAMPLE_KEYS if name in names), names[0] if len(names) == 1 else None)
        if key not in names:
            raise DataError(f'{path}: holds {names}. Say which are the samples: --set data.key="{names[0]}"')
        labels = labels or next((name for name in LABEL_KEYS if name in names and name != key), None)
        if labels is not None and labels not in names:
            raise DataError(f"{path}: there is no array '{labels}' among {names}")
        return archive[key], archive[labels] if labels else None


def _read_csv(path: Path, key: str | None, labels: str | None) -> tuple[NDArray[Any], Any]:
    """Numbers in columns; a first line with words in it names them."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        number, line = next(((number, line) for number, line in enumerate(file, 1) if line.strip()), (0, ""))
    delimiter = max(",;\t", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter), [])
    header = any(name.strip() and not _is_number(name) for name in names)
    columns = [name.strip() for name in names] if header else [str(number) for number in range(len(names))]
    if labels is not None and labels not in columns:
        raise DataError(f"{path}: there is no column '{labels}' among {columns}")
    column, codes = columns.index(labels) if labels else None, dict[str, int]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an empty file, which is refused below
        table = np.loadtxt(
            path,
            delimiter=delimiter,
            skiprows=number if header else 0,
            ndmin=2,
            quotechar='"',
            comments=None,
            encoding="utf-8-sig",
            converters=None if column is None else {column: lambda text: codes.setdefault(text.strip(), len(codes))},
        )
    if not len(table):
        raise DataError(f"{path}: there are no rows of numbers in it")
    if table.shape[1] != len(columns):
        raise DataError(f"{path}: the first line has {len(columns)} columns, the others have {table.shape[1]}")
    if column is None:
        return table, None
    return np.delete(table, column, 1), _numbers_if_possible(list(codes))[table[:, column].astype(int)]


def _numbers_if_possible(texts: list[str]) -> NDArray[Any]:
    return np.array([float(text) for text in texts] if all(map(_is_number, texts)) else texts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
