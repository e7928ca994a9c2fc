"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28, grey, in their four original files.

The files are looked for under the data root, in mnist/, compressed or not. If they are not there they are downloaded
once. What counts is the sha256 of the *decompressed* content: a file that was packed anew is as good as the original.
"""

import gzip
import hashlib
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from zerosum.data.record import Data, Rows
from zerosum.errors import DataError
from zerosum.run import write

VARIABLE = "ZEROSUM_DATA"
"""The environment variable that names the data root; `--data-root` sets it for one command."""

SOURCES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of the decompressed content."""


def mnist() -> Data:
    """Handwritten digits of 28 x 28, grey: 60,000 to train on, 10,000 held out.

    Raises:
        DataError: The files are neither here nor to be had; the message says where to put which.
    """
    folder = data_root() / "mnist"
    parts = {name: parse_idx(content(folder, name), name) for name in SHA256}
    rows = {
        split: Rows(parts[f"{split}-images-idx3-ubyte"][:, None], parts[f"{split}-labels-idx1-ubyte"].astype(np.int64))
        for split in ("train", "t10k")
    }
    return Data(
        name="mnist",
        kind="images",
        train=rows["train"],
        test=rows["t10k"],
        range=(0.0, 255.0),
        classes=tuple("0123456789"),
        source="Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits, 1998",
        licence="CC BY-SA 3.0",
    )


def data_root() -> Path:
    """Where data sets lie: $ZEROSUM_DATA, else the platform's cache folder."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_cache_path("zerosum")


def content(folder: Path, name: str) -> bytes:
    """A file's decompressed content, verified; downloaded first where it is not there.

    Raises:
        DataError: It cannot be had, or is not what it should be.
    """
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return verified(path.read_bytes(), name, str(path))
    packed = download(f"{name}.gz", folder)
    data = verified(packed, name, "the download")
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / f"{name}.gz", packed)
    return data


def verified(data: bytes, name: str, where: str) -> bytes:
    """The decompressed content, if its sha256 is the right one."""
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{where} cannot be unpacked: {error}. Remove it, and fetch it again") from None
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise DataError(f"{where} is not MNIST's {name}: its sha256 differs. Remove it, and fetch it again")
    return data


def download(file: str, folder: Path) -> bytes:
    """A packed file from the first source that answers, with a bar on a terminal."""
    reasons = []
    for source in SOURCES:
        try:
            return fetch(source + file, file)
        except (urllib.error.URLError, OSError) as error:
            reasons.append(str(getattr(error, "reason", error)))
    raise DataError(
        f"MNIST is not in {folder} and cannot be downloaded ({reasons[0]}). Put these four files there, or name the "
        f"folder above it with --data-root or ${VARIABLE}: {', '.join(f'{name}.gz' for name in SHA256)}"
    )


def fetch(url: str, file: str) -> bytes:
    """The content of a URL."""
    from rich.console import Console
    from rich.progress import wrap_file

    with urllib.request.urlopen(url, timeout=30) as answer:
        size = int(answer.headers.get("Content-Length", 0))
        quiet = Console(stderr=True, quiet=not sys.stderr.isatty())
        with wrap_file(answer, total=size, description=file, console=quiet) as reader:
            return reader.read()


def parse_idx(data: bytes, name: str) -> NDArray[np.uint8]:
    """An array from the IDX format: two zeros, the type, the number of axes, their lengths, the numbers.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6]), "two numbers")
    array([5, 6], dtype=uint8)
    """
    axes = data[3] if len(data) > 3 else 0
    shape = np.frombuffer(data, ">u4", axes, 4).astype(int) if len(data) >= 4 + 4 * axes else np.zeros(0, int)
    if data[:3] != b"\0\0\x08" or len(data) != 4 + 4 * axes + shape.prod():
        raise DataError(f"{name}: not an IDX file of bytes")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()  # writable, as torch wants it
