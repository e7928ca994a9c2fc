"""Safe reader of .npy and .npz files, which checks the header before it reads the data.

    .npy    magic, version, length of the header, header {descr, fortran_order, shape}, the values
    .npz    a zip archive of such files

A header is accepted if its size agrees with the file, and its type is a number or a string: nothing is ever unpickled.
A small archive can decompress to more than the memory (a zip bomb), so the size is checked first, and never more than
that is decompressed. Source of the format: numpy.lib.format.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo, is_zipfile

import numpy as np
from numpy.typing import NDArray

from zerosum import files
from zerosum.data.reasons import DAMAGED
from zerosum.memory import total

MAGIC = b"\x93NUMPY"
LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
"""Version of the format -> bytes of the field that contains the length of the header."""

MAX_HEADER = 10_000
"""Maximum length of a header in bytes, the same as numpy's."""

KINDS = "biufUS"
"""Accepted kinds of dtype: booleans, integers, floats, strings."""

QUOTED = 100
"""Maximum number of bytes of a header in a message."""

FREE_BYTES = files.GIB
"""Decompressed size up to which the compression ratio is not limited; the same as loader.RESIDENT."""

MAX_RATIO = 200
"""Maximum compression ratio of larger archives.

Deflate reaches 1032. Black images with one white pixel in a hundred were measured to have a ratio of 48 as bytes and
141 as float32. Above a gigabyte, an archive with a higher ratio is taken for a zip bomb.
"""

MEMORY_SHARE = 0.75
"""Maximum share of the machine's memory that a decompressed archive may fill."""

BLOCK = files.MIB
"""Bytes decompressed at a time."""

Read = Callable[[int], bytes]
"""Reads up to this number of bytes from a file."""

ENCRYPTED = 1
"""Flag bit of an encrypted member of a zip archive."""


@dataclass(frozen=True)
class Header:
    """Header of a .npy file.

    Args:
        shape: Shape of the array; all lengths are at least 1.
        fortran: Whether the array is in Fortran order (first index fastest).
        dtype: A number or string type.
        offset: Position of the first value in the file.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes; Python integers do not overflow."""
        return prod(self.shape) * self.dtype.itemsize


def memory_map(path: Path) -> NDArray[Any]:
    """Memory-map the array of a .npy file.

    Raises:
        ValueError: The header does not agree with the file.
        reasons.DAMAGED: The header cannot be parsed.
    """
    with path.open("rb") as file:
        header = _header(file.read, os.fstat(file.fileno()).st_size)
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    return np.memmap(path, header.dtype, "r", offset=header.offset, shape=header.shape, order=order)


def _header(read: Read, size: int) -> Header:
    """Read and check the header of a .npy file of `size` bytes."""
    magic = read(8)
    if magic[:6] != MAGIC or len(magic) < 8:
        raise ValueError("the magic string of .npy files is missing at its beginning")
    if magic[6] not in LENGTH_BYTES:
        raise ValueError(f"it is of version {magic[6]}.{magic[7]} of the .npy format, which is not known")
    length = int.from_bytes(read(LENGTH_BYTES[magic[6]]), "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header has {length:,} bytes, at most {MAX_HEADER:,} are read")
    text = read(length)
    if len(text) < length:
        raise ValueError("it ends within its header")
    header = Header(*_parse_header(text), 8 + LENGTH_BYTES[magic[6]] + length)
    _refuse_impossible(header, size - header.offset)
    return header


def _parse_header(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Parse shape, order and dtype.

    All versions are parsed as version 2: they differ only in the encoding of field names, and structs are refused.
    """
    try:
        return np.lib.format.read_array_header_2_0(BytesIO(len(text).to_bytes(4, "little") + text))
    except (*DAMAGED, TokenError):
        raise ValueError(f"its header does not describe an array: {text[:QUOTED]!r}") from None


def _refuse_impossible(header: Header, size: int) -> None:
    if header.dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded: they hold Python objects, which could be code")
    if header.dtype.kind not in KINDS or not header.dtype.itemsize:
        raise ValueError(f"it holds {header.dtype}, expected real numbers")
    if not all(type(length) is int and length > 0 for length in header.shape):  # bool is a subclass of int
        raise ValueError(f"it is said to have shape {header.shape}, expected at least one row")
    if header.nbytes != size:
        raise ValueError(
            f"an array of {header.dtype} with shape {header.shape} has {header.nbytes:,} bytes, it holds {size:,}"
        )


@dataclass(frozen=True)
class Archive:
    """An open .npz file.

    Args:
        zip: The open archive.
        compressed: Size of the file in bytes.
        members: Name of each array -> its entry in the archive.
    """

    zip: ZipFile
    compressed: int
    members: dict[str, ZipInfo]

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self.members)

    def read(self, *names: str) -> list[NDArray[Any]]:
        """Read the arrays with these names.

        Raises:
            ValueError: They are too large, compressed by a method that numpy does not use, or damaged.
            reasons.DAMAGED, zipfile.BadZipFile: They are damaged.
        """
        _refuse_bomb(sum(self.members[name].file_size for name in names), self.compressed)
        return [self._array(name) for name in names]

    def _array(self, name: str) -> NDArray[Any]:
        member = self.members[name]
        _refuse_other_methods(name, member)
        with self.zip.open(member) as file:  # zipfile stops at the size in the directory, even if there is more data
            header = _header(file.read, member.file_size)
            values = _read_exactly(file.read, header.nbytes).view(header.dtype)
        return values.reshape(header.shape, order="F" if header.fortran else "C")


@contextmanager
def open_npz(path: Path) -> Iterator[Archive]:
    """Open an .npz file; it is closed at the end of the block.

    Raises:
        ValueError: It is not a zip archive, or two of its arrays have the same name.
        reasons.DAMAGED, zipfile.BadZipFile: It is damaged.
    """
    if not is_zipfile(path):
        raise ValueError("it is no archive of arrays")
    with ZipFile(path) as archive:
        yield Archive(archive, path.stat().st_size, _members(archive.infolist()))


def _members(infos: list[ZipInfo]) -> dict[str, ZipInfo]:
    """Map the name of each array to its entry in the archive."""
    found: dict[str, ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"it holds two arrays that are called {name!r}")
        if not info.is_dir():
            found[name] = info
    return found


def _refuse_bomb(size: int, compressed: int) -> None:
    limit = max(FREE_BYTES, MAX_RATIO * compressed)
    if size > limit:
        raise ValueError(
            f"its {compressed:,} bytes unpack to {size:,}, more than {MAX_RATIO} times as many: numbers that say so "
            "little are nothing to learn from. If they are right, save them with np.save as .npy, which is not unpacked"
        )
    if size > MEMORY_SHARE * machine_memory():
        raise ValueError(
            f"it unpacks to {size:,} bytes, this machine has {machine_memory():,} bytes of memory. "
            "Save it with np.save as .npy, which stays on the disk"
        )


def machine_memory() -> int:
    """Memory of the machine in bytes, sys.maxsize if unknown."""
    size = total()
    return sys.maxsize if size is None else size


def _refuse_other_methods(name: str, member: ZipInfo) -> None:
    if member.flag_bits & ENCRYPTED:
        raise ValueError(f"its array {name!r} is encrypted")
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError(  # zipfile decompresses bzip2 and LZMA without a limit: 45 bytes can become 45 MB
            f"its array {name!r} is packed by method {member.compress_type} of zip; save it with np.savez_compressed"
        )


def _read_exactly(read: Read, count: int) -> NDArray[np.uint8]:
    """Read exactly `count` bytes of a member; at its end zipfile verifies the checksum."""
    out = np.empty(count, np.uint8)
    at = 0
    while at < count:
        block = read(min(BLOCK, count - at))
        if not block:
            raise ValueError(f"it ends after {at:,} of {count:,} bytes")
        out[at : at + len(block)] = np.frombuffer(block, np.uint8)
        at += len(block)
    return out
