"""Arrays of .npy and .npz files, read only once what they say of themselves is seen to be possible.

    .npy    magic, version, length of the header, header {descr, fortran_order, shape}, the numbers
    .npz    a zip archive of such files

A header is believed where the numbers behind it are as many as it says, and are plain numbers or texts: nothing is ever
unpickled. A few bytes of an archive can unpack to more than any memory holds, so that the size is looked at first, and
no more than that is unpacked. Source of the format: numpy.lib.format.
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
LENGTHS = {1: 2, 2: 4, 3: 4}
"""Bytes of the header's length, in each version of the format."""

HEADER = 10_000
"""Bytes of a header; numpy's own bound."""

KINDS = "biufUS"
"""Yes and no, whole numbers, real numbers, texts."""

QUOTED = 100
"""Bytes of a header that are shown."""

FREELY = files.GIB
"""Bytes that an archive may unpack to, however small it is: as much as is kept on a device (feed.RESIDENT)."""

RATIO = 200
"""How many times its own size a larger archive may unpack to.

Deflate reaches 1032. Black pictures with one lit pixel in a hundred take 1/48 of their size as bytes and 1/141 as
float32 (measured); above a gigabyte, what says even less is taken for a bomb.
"""

SHARE = 0.75
"""Of the machine's memory that an archive may fill."""

BLOCK = files.MIB
"""Bytes unpacked at a time."""

Read = Callable[[int], bytes]
"""So many bytes of a file, or fewer at its end."""

ENCRYPTED = 1
"""The flag of a zip archive's member."""


@dataclass(frozen=True)
class Header:
    """What a .npy file says of itself.

    Args:
        shape: Of the array; at least one row of at least one number.
        fortran: Whether its first axis runs fastest.
        dtype: Plain numbers or texts.
        offset: Where the numbers begin.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers; Python's whole numbers do not overflow."""
        return prod(self.shape) * self.dtype.itemsize


def mapped(path: Path) -> NDArray[Any]:
    """The array of a .npy file, which stays on the disk.

    Raises:
        ValueError: The file is not what its header says.
        reasons.DAMAGED: Its header is none.
    """
    with path.open("rb") as file:
        header = _header(file.read, os.fstat(file.fileno()).st_size)
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    return np.memmap(path, header.dtype, "r", offset=header.offset, shape=header.shape, order=order)


def _header(read: Read, size: int) -> Header:
    """The header of a .npy file of so many bytes, once it is seen to be possible."""
    magic = read(8)
    if magic[:6] != MAGIC or len(magic) < 8:
        raise ValueError("the magic string of .npy files is missing at its beginning")
    if magic[6] not in LENGTHS:
        raise ValueError(f"it is of version {magic[6]}.{magic[7]} of the .npy format, which is not known")
    length = int.from_bytes(read(LENGTHS[magic[6]]), "little")
    if length > HEADER:
        raise ValueError(f"its header has {length:,} bytes, at most {HEADER:,} are read")
    text = read(length)
    if len(text) < length:
        raise ValueError("it ends within its header")
    header = Header(*_described(text), 8 + LENGTHS[magic[6]] + length)
    _refuse_impossible(header, size - header.offset)
    return header


def _described(text: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type, as a header says them.

    One version's header reads as another's: only the names of fields, which are refused, are encoded in other ways.
    """
    try:
        return np.lib.format.read_array_header_2_0(BytesIO(len(text).to_bytes(4, "little") + text))
    except (*DAMAGED, TokenError):
        raise ValueError(f"its header does not describe an array: {text[:QUOTED]!r}") from None


def _refuse_impossible(header: Header, there: int) -> None:
    if header.dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded: they hold Python objects, which could be code")
    if header.dtype.kind not in KINDS or not header.dtype.itemsize:
        raise ValueError(f"it holds {header.dtype}, expected real numbers")
    if not all(type(length) is int and length > 0 for length in header.shape):  # True is an int, too
        raise ValueError(f"it is said to have shape {header.shape}, expected at least one row")
    if header.nbytes != there:
        raise ValueError(
            f"an array of {header.dtype} with shape {header.shape} has {header.nbytes:,} bytes, it holds {there:,}"
        )


@dataclass(frozen=True)
class Archive:
    """An open .npz file.

    Args:
        zip: The archive.
        packed: Its bytes.
        members: Name of each array -> where it lies.
    """

    zip: ZipFile
    packed: int
    members: dict[str, ZipInfo]

    @property
    def names(self) -> list[str]:
        """What its arrays are called."""
        return list(self.members)

    def read(self, *names: str) -> list[NDArray[Any]]:
        """The arrays of those names.

        Raises:
            ValueError: They unpack to too much, are packed in another way than numpy does, or are damaged.
            reasons.DAMAGED, zipfile.BadZipFile: They are damaged.
        """
        _refuse_too_much(sum(self.members[name].file_size for name in names), self.packed)
        return [self._array(name) for name in names]

    def _array(self, name: str) -> NDArray[Any]:
        member = self.members[name]
        _refuse_other_packing(name, member)
        with self.zip.open(member) as file:  # ends where the directory says, whatever there is to unpack
            header = _header(file.read, member.file_size)
            numbers = _numbers(file.read, header.nbytes).view(header.dtype)
        return numbers.reshape(header.shape, order="F" if header.fortran else "C")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """An archive of arrays, while the block runs.

    Raises:
        ValueError: It is none, or two of its arrays share a name.
        reasons.DAMAGED, zipfile.BadZipFile: It is damaged.
    """
    if not is_zipfile(path):
        raise ValueError("it is no archive of arrays")
    with ZipFile(path) as archive:
        yield Archive(archive, path.stat().st_size, _members(archive.infolist()))


def _members(infos: list[ZipInfo]) -> dict[str, ZipInfo]:
    """Name of each array -> where it lies."""
    found: dict[str, ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"it holds two arrays that are called {name!r}")
        if not info.is_dir():
            found[name] = info
    return found


def _refuse_too_much(unpacked: int, packed: int) -> None:
    most = max(FREELY, RATIO * packed)
    if unpacked > most:
        raise ValueError(
            f"its {packed:,} bytes unpack to {unpacked:,}, more than {RATIO} times as many: numbers that say so little "
            "are nothing to learn from. If they are right, save them with np.save as .npy, which is not unpacked"
        )
    if unpacked > SHARE * memory():
        raise ValueError(
            f"it unpacks to {unpacked:,} bytes, this machine has {memory():,} bytes of memory. "
            "Save it with np.save as .npy, which stays on the disk"
        )


def memory() -> int:
    """Bytes of the machine's memory, or of any, where the system does not say."""
    there = total()
    return sys.maxsize if there is None else there


def _refuse_other_packing(name: str, member: ZipInfo) -> None:
    if member.flag_bits & ENCRYPTED:
        raise ValueError(f"its array {name!r} is encrypted")
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError(  # zipfile unpacks bzip2 and LZMA without a bound: 45 bytes of bzip2 can be 45 megabytes
            f"its array {name!r} is packed by method {member.compress_type} of zip; save it with np.savez_compressed"
        )


def _numbers(read: Read, count: int) -> NDArray[np.uint8]:
    """So many bytes of a member, and not one more; at its end zipfile compares the checksum."""
    out = np.empty(count, np.uint8)
    at = 0
    while at < count:
        block = read(min(BLOCK, count - at))
        if not block:
            raise ValueError(f"it ends after {at:,} of {count:,} bytes")
        out[at : at + len(block)] = np.frombuffer(block, np.uint8)
        at += len(block)
    return out
