"""Data sets from arrays, tensors, .npy, .npz and .csv files.

    (n,), (n, d)                  points in 1 or d dimensions, any real numbers
    (n, h, w)                     gray images
    (n, h, w, c), (n, c, h, w)    images with channels; `layout` is required if the shape is ambiguous

The range of uint8 images is 0..255, of uint16 images 0..65535. The range of floating-point images must be given, since
the values alone do not show whether white is 1 or 255. A share of the rows is held out for evaluation.
"""

import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from zerosum import files
from zerosum.data import binary
from zerosum.data.dataset import Data, divide
from zerosum.data.reasons import DAMAGED, explain
from zerosum.errors import DataError, named

Layout = Literal["nhwc", "nchw"]
ValueRange = Annotated[tuple[float, float], Field(strict=False)]
HeldOut = Annotated[float, Field(ge=0, lt=1)]
RANGES = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0), "bool": (0.0, 1.0)}
SAMPLE_KEYS = ("x", "samples", "images", "data", "x_train", "arr_0")
LABEL_KEYS = ("y", "labels", "targets", "y_train")

MAX_EXACT = 2.0**53
"""Below this, float64 represents all integers exactly."""

MAX_LISTED = 20
"""Maximum number of names of arrays or columns in a message."""

Reader = Callable[[Path, str | None, str | None], tuple[NDArray[Any], Any]]
"""(path, key, labels) -> samples, labels."""

UNREADABLE = (*DAMAGED, csv.Error, TokenError, BadZipFile)


def from_file(
    path: str | Path,
    *,
    range: ValueRange | None = None,
    layout: Layout | None = None,
    labels: str | None = None,
    key: str | None = None,
    held_out: HeldOut = 0.1,
    standardize: bool = True,
) -> Data:
    """Make a data set from a .npy, .npz or .csv file; .npy files are memory-mapped.

    Args:
        path: The file.
        range: (black, white) of floating-point images.
        layout: Position of the channel axis of images; required if both positions are possible.
        labels: Column of a .csv file, or array of an .npz file, that contains the classes.
        key: Array of an .npz file that contains the samples.
        held_out: Share of the rows that is not used in training, in [0, 1).
        standardize: Points: encode to mean 0 and standard deviation 1 for the networks.

    Raises:
        DataError: The file is missing, of an unknown format, or its content is not valid.
    """
    path = Path(path)
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise DataError(f"{named(path)}: files that can be trained on end in {', '.join(readers)}")
    x, y = _read(path, readers[path.suffix.lower()], key, labels)
    name = named(path.name)
    return from_array(x, y, name=name, range=range, layout=layout, held_out=held_out, standardize=standardize)


def _read(path: Path, reader: Reader, key: str | None, labels: str | None) -> tuple[NDArray[Any], Any]:
    """Call a reader on a regular file (pipes and devices are never opened); turn its errors into DataError."""
    try:
        files.stat_regular(path, follow=True)
        with warnings.catch_warnings(action="ignore"):  # invalid content raises an error
            return reader(path, key, labels)
    except FileNotFoundError:
        raise DataError(f"{named(path)}: there is no such file") from None
    except UNREADABLE as error:
        raise DataError(f"{named(path)} cannot be read: {explain(error)}") from None


def from_array(
    x: Any,
    labels: Any = None,
    *,
    name: str = "array",
    range: ValueRange | None = None,
    layout: Layout | None = None,
    held_out: HeldOut = 0.1,
    standardize: bool = True,
) -> Data:
    """Make a data set from an array or tensor.

    Args:
        x: Points (n,) or (n, d), images (n, h, w), (n, h, w, c) or (n, c, h, w).
        labels: (n,) classes: numbers or strings; negative numbers and empty strings mean unknown.
        name: Name of the data set.
        range: (black, white) of floating-point images.
        layout: Position of the channel axis of images; required if both positions are possible.
        held_out: Share of the rows that is not used in training, in [0, 1).
        standardize: Points: encode to mean 0 and standard deviation 1 for the networks.

    Raises:
        DataError: The shape or type of x or of the labels is not valid, or the range of images is unknown.
    """
    x = _numeric(x, name)
    if x.ndim <= 2:
        x, span = x.reshape(len(x), -1), None
    else:
        x, span = _channels_first(x, layout, name), range or _range_of(x, name)
    numbers, classes = _classes(labels, len(x), name)
    train, test = divide(x, numbers, held_out)
    return Data(
        name=name,
        kind="points" if span is None else "images",
        train=train,
        test=test,
        range=span,
        standardize=standardize,
        classes=classes,
    )


def _numeric(given: Any, name: str) -> NDArray[Any]:
    x = _array(given, name)
    if x.dtype.kind not in "biuf":
        raise DataError(f"{name}: holds {x.dtype}, expected real numbers")
    if not 1 <= x.ndim <= 4 or 0 in x.shape:
        raise DataError(f"{name}: has shape {x.shape}, expected points (n, d) or images (n, h, w[, c])")
    if x.itemsize <= 8:
        return x
    with np.errstate(over="ignore"):  # `validate` refuses infinite values and names their row
        return x.astype(np.float64)  # the padding bytes of a long double are not always the same


def _array(given: Any, name: str) -> NDArray[Any]:
    """Convert to a numpy array; a memory-mapped array is returned as it is."""
    try:
        if isinstance(given, torch.Tensor):
            given = given.detach().cpu()
            given = (given.float() if given.dtype == torch.bfloat16 else given).numpy()
        return given if isinstance(given, np.ndarray) else np.asarray(given)
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise DataError(f"{name}: is no array: {explain(error)}") from None


def _channels_first(x: NDArray[Any], layout: Layout | None, name: str) -> NDArray[Any]:
    """Return a view of the images as (n, c, h, w)."""
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
    """(black, white) of an integer or boolean type; raise DataError for floats."""
    if x.dtype.name in RANGES:
        return RANGES[x.dtype.name]
    look = x[: max(1, 2**22 // max(1, x[:1].nbytes))].astype(np.float64)
    raise DataError(
        f"{name}: images of type {x.dtype} do not say which values are black and white (the first rows span "
        f"{look.min():g} to {look.max():g}). Declare them: --set data.range=[0,1]"
    )


def _classes(labels: Any, n: int, name: str) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    """Convert labels to class numbers (n,), -1 for unknown, and class names."""
    if labels is None:
        return None, None
    given = _array(labels, f"{name}: labels")
    if given.shape != (n,):
        raise DataError(f"{name}: labels have shape {given.shape}, expected ({n},): one for each row")
    given = _simple_labels(given, name)
    known = given != given.dtype.type() if given.dtype.kind in "US" else given >= 0
    values, numbers = np.unique(given[known], return_inverse=True)
    out = np.full(n, -1, dtype=np.int64)
    out[known] = numbers
    return out, _class_names(values, name)


def _simple_labels(given: NDArray[Any], name: str) -> NDArray[Any]:
    """Convert labels to an array of integers, floats, booleans, strings or bytes."""
    if given.dtype.kind in "OT":
        given = _strings(given, name)
    if given.dtype.kind not in "biufUS":
        raise DataError(f"{name}: labels hold {given.dtype}, expected numbers or texts")
    return _integers_if_possible(given, name) if given.dtype.kind == "f" else given


def _strings(given: NDArray[Any], name: str) -> NDArray[Any]:
    """Convert an array of Python objects to a string array; raise DataError if one is not a string."""
    values = given.tolist()
    odd = next((row for row, value in enumerate(values) if not isinstance(value, str)), None)
    if odd is not None:
        kind = type(values[odd]).__name__
        raise DataError(f"{name}: the label of row {odd} is of type {kind}, expected numbers or texts alone")
    return np.array(values, dtype=np.str_)


def _integers_if_possible(given: NDArray[Any], name: str) -> NDArray[Any]:
    finite = np.isfinite(given)
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(f"{name}: the label of row {row} is {given[row]}. Write -1 where a class is not known")
    whole = bool(((np.floor(given) == given) & (np.abs(given) < MAX_EXACT)).all())
    return given.astype(np.int64) if whole else given


def _class_names(values: NDArray[Any], name: str) -> tuple[str, ...]:
    """Convert class values to names; raise DataError if they cannot be encoded in UTF-8."""
    try:
        names = tuple(value.decode() if isinstance(value, bytes) else str(value) for value in values)
        "".join(names).encode()
    except (ValueError, SystemError) as error:  # invalid code points, lone surrogates, bytes in another encoding
        raise DataError(f"{name}: labels hold what is no UTF-8 text: {explain(error)}") from None
    return names


def _read_npy(path: Path, key: str | None, labels: str | None) -> tuple[NDArray[Any], Any]:
    if key or labels:
        raise DataError(
            f"{named(path)}: a .npy file holds one array without a name; key and labels belong to .npz and .csv"
        )
    return binary.memory_map(path), None


def _read_npz(path: Path, key: str | None, labels: str | None) -> tuple[NDArray[Any], Any]:
    with binary.open_npz(path) as archive:
        names = archive.names
        if not names:
            raise ValueError("it holds no array")
        key = key or next((name for name in SAMPLE_KEYS if name in names), names[0] if len(names) == 1 else None)
        if key not in names:
            raise DataError(
                f'{named(path)}: holds {_listed(names)}. Say which are the samples: --set data.key="{named(names[0])}"'
            )
        labels = labels or next((name for name in LABEL_KEYS if name in names and name != key), None)
        if labels is not None and labels not in names:
            raise DataError(f"{named(path)}: there is no array '{named(labels)}' among {_listed(names)}")
        arrays = archive.read(key) if labels is None else archive.read(key, labels)
        return arrays[0], arrays[1] if labels else None


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"{names[:MAX_LISTED]}{more}"  # the repr of a list escapes control characters


def _read_csv(path: Path, key: str | None, labels: str | None) -> tuple[NDArray[Any], Any]:
    """Read columns of numbers; the first line contains column names if a value in it is not a number."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        number, line = next(((number, line) for number, line in enumerate(file, 1) if line.strip()), (0, ""))
    delimiter = max(",;\t", key=line.count)
    names = next(csv.reader([line], delimiter=delimiter), [])
    header = any(name.strip() and not _is_number(name) for name in names)
    columns = [name.strip() for name in names] if header else [str(number) for number in range(len(names))]
    if labels is not None and labels not in columns:
        raise DataError(f"{named(path)}: there is no column '{named(labels)}' among {_listed(columns)}")
    column, codes = columns.index(labels) if labels else None, dict[str, int]()
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
        raise DataError(f"{named(path)}: there are no rows of numbers in it")
    if table.shape[1] != len(columns):
        raise DataError(f"{named(path)}: the first line has {len(columns)} columns, the others have {table.shape[1]}")
    if column is None:
        return table, None
    return np.delete(table, column, 1), _numbers_if_possible(list(codes))[table[:, column].astype(int)]


def _numbers_if_possible(texts: list[str]) -> NDArray[Any]:
    """Convert labels to numbers if all are numbers; integers beyond int64 stay strings, as floats could coincide."""
    if all(_is_number(text, int) for text in texts):
        integers = [int(text) for text in texts]
        return np.array(integers if all(abs(number) < 2**63 for number in integers) else texts)
    return np.array([float(text) for text in texts] if all(map(_is_number, texts)) else texts)


def _is_number(text: str, kind: Callable[[str], float] = float) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
