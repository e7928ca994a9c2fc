"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28 x 28, gray, in their four original files.

The files are read from the folder mnist/ of the data root, compressed or not. Missing files are downloaded once, by
commands that are allowed to (see `permission`). The sha256 of the *decompressed* content is verified, so a recompressed
file is accepted. An error names a damaged file, which is not changed.
"""

import gzip
import hashlib
import os
from io import BytesIO
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from zerosum import files, permission
from zerosum.data.dataset import Data, Split
from zerosum.data.downloads import fetch
from zerosum.data.reasons import DAMAGED, explain
from zerosum.errors import DataError, SystemFault, named

VARIABLE = "ZEROSUM_DATA"
"""Environment variable with the path of the data root; `--data-root` sets it for one command."""

SOURCES = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Hash of the decompressed content of each file."""

MOST = 64 * files.MIB
"""Maximum size of a file in bytes, compressed or not; the largest has 47,040,016."""

TIMEOUT = 900.0
"""Seconds to download one file; the largest has 9.9 MB, which takes this time at 11 kB/s."""


def mnist() -> Data:
    """Handwritten digits, 28 x 28, gray: 60,000 training and 10,000 test images.

    Raises:
        DataError: The files are missing and cannot be downloaded; the message says where to put which files.
    """
    folder = data_root() / "mnist"
    parts = {name: parse_idx(content(folder, name), name) for name in SHA256}
    rows = {
        split: Split(parts[f"{split}-images-idx3-ubyte"][:, None], parts[f"{split}-labels-idx1-ubyte"].astype(np.int64))
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
        license="CC BY-SA 3.0",
    )


def data_root() -> Path:
    """Folder of downloaded data sets: $ZEROSUM_DATA, by default the platform's cache folder."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else user_cache_path("zerosum")


def content(folder: Path, name: str) -> bytes:
    """Return the decompressed and verified content of a file; download it first if it is missing and this is allowed.

    Raises:
        DataError: The file cannot be read or downloaded, or its hash differs.
        SystemFault: The downloaded file cannot be written.
    """
    for path in (folder / f"{name}.gz", folder / name):
        if (stored := _read_if_present(path)) is not None:
            return verify(stored, name, named(path), "Remove it, and fetch it again")
    if not permission.current().downloads:
        raise DataError(f"MNIST is not in {named(folder)}. `zerosum train` fetches it. {_advice()}")
    compressed, data = download(name, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_stale_temporary(folder)
        files.write(folder / f"{name}.gz", compressed)
    except OSError as error:
        raise SystemFault(
            f"{named(folder / name)}.gz cannot be written: {files.reason(error, len(compressed), folder / name)}. "
            f"Name another folder with --data-root or ${VARIABLE}"
        ) from None
    return data


def _read_if_present(path: Path) -> bytes | None:
    """Read a regular file; None if it does not exist."""
    try:
        return files.read(path, MOST, follow=True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{named(path)} cannot be read: {explain(error)}") from None


def verify(data: bytes, name: str, where: str, advice: str = "It is not kept") -> bytes:
    """Decompress data if it is compressed; raise DataError if the sha256 of the content differs."""
    try:
        data = _decompress(data) if data[:2] == b"\x1f\x8b" else data
    except DAMAGED as error:
        raise DataError(f"{where} cannot be unpacked: {explain(error)}. {advice}") from None
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise DataError(f"{where} is not MNIST's {name}: its sha256 differs. {advice}")
    return data


def _decompress(data: bytes) -> bytes:
    """Decompress gzip data of at most `MOST` bytes."""
    with gzip.open(BytesIO(data)) as file:
        out = file.read(MOST + 1)
    if len(out) > MOST:
        raise ValueError(f"it unpacks to more than {MOST:,} bytes")
    return out


def download(name: str, folder: Path) -> tuple[bytes, bytes]:
    """Download a file from the first source whose file is valid; return it compressed, and decompressed."""
    reasons = []
    for source in SOURCES:
        url = f"{source}{name}.gz"
        try:
            compressed = fetch(url, MOST, TIMEOUT, f"{name}.gz")
            return compressed, verify(compressed, name, f"the download of {url}")
        except DataError as error:
            reasons.append(str(error))
    raise DataError(f"MNIST is not in {named(folder)} and cannot be downloaded ({'; '.join(reasons)}). {_advice()}")


def _advice() -> str:
    return (
        "Put these four files there, or name the folder above it with --data-root or "
        f"${VARIABLE}: {', '.join(f'{name}.gz' for name in SHA256)}"
    )


def parse_idx(data: bytes, name: str) -> NDArray[np.uint8]:
    """Parse an array in IDX format: two zero bytes, the type, the number of axes, their lengths, the values.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6]), "two numbers")
    array([5, 6], dtype=uint8)
    """
    axes = data[3] if len(data) > 3 else 0
    shape = np.frombuffer(data, ">u4", axes, 4).tolist() if len(data) >= 4 + 4 * axes else []
    if data[:3] != b"\0\0\x08" or len(shape) != axes or len(data) != 4 + 4 * axes + prod(shape):
        raise DataError(f"{name}: not an IDX file of bytes")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()  # writable, as torch wants it
