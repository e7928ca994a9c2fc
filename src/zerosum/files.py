"""Files: read only where they are what they should be, written whole or not at all.

Read      A regular file is opened, nothing else: a FIFO would wait for ever, a device has no end, a link leads away.
          What stands at a path is looked at before it is opened and once more when it is open; so is its size.
Written   To a name nobody can foretell, made anew (O_EXCL: it follows no link), flushed to the disk, renamed into
          place, and removed if anything fails.
"""

import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TEMPORARY = re.compile(r"\.zerosum-[0-9a-f]{16}\.tmp")
"""The name of a file, or of a checkpoint's folder, that is not finished."""

KIB, MIB, GIB = 2**10, 2**20, 2**30

BROKEN = (errno.ENOSPC, errno.EIO, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else []))
"""What no other name of a file would help against."""

_QUICK = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


class Refused(OSError):
    """What stands at a path is no regular file, or too large; it was not read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EINVAL, reason, str(path))


def read(path: Path, most: int, *, follow: bool = False) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        most: Bytes it may have.
        follow: Whether a link to a regular file may stand in its place.

    Raises:
        Refused: It is something else, or larger; it was not opened.
        OSError: It is not there, or closed to us.
    """
    return b"".join(pieces(path, most, follow=follow))


def pieces(path: Path, most: int, *, follow: bool = False, size: int = 16 * MIB) -> Iterator[bytes]:
    """The same, so many bytes at a time.

    Raises:
        Refused: It is something else, or larger.
        OSError: It is not there, or closed to us.
    """
    regular(path, most, follow=follow)
    done = 0
    with os.fdopen(os.open(path, os.O_RDONLY | _QUICK | (0 if follow else _NO_LINK)), "rb") as handle:
        _check(path, os.fstat(handle.fileno()), most)  # another may have taken its place meanwhile
        while piece := handle.read(size):
            done += len(piece)
            if done > most:  # it grew
                raise _too_large(path, done, most)
            yield piece


def regular(path: Path, most: int | None = None, *, follow: bool = False) -> os.stat_result:
    """What the system says of a regular file, without opening it.

    Raises:
        Refused: It is something else, or larger than `most` bytes.
        OSError: It is not there, or closed to us.
    """
    facts = path.stat() if follow else path.lstat()
    _check(path, facts, most)
    return facts


def is_folder(path: Path) -> bool:
    """Whether a folder stands there, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def is_regular(path: Path) -> bool:
    """Whether a regular file stands there, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _check(path: Path, facts: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise Refused(path, f"it is {_KINDS.get(stat.S_IFMT(facts.st_mode), 'no regular file')}, not a regular file")
    if most is not None and facts.st_size > most:
        raise _too_large(path, facts.st_size, most)


def _too_large(path: Path, size: int, most: int) -> Refused:
    return Refused(path, f"it has {size:,} bytes, at most {most:,} are read")


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a reader sees the old content or the new, never a part.

    Raises:
        OSError: The disk refused; the old content is untouched, and nothing else is left.
    """
    temporary = path.with_name(temporary_name())
    try:
        write_through(temporary, content)
        os.replace(temporary, path)  # noqa: PTH105  a test makes it fail
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def temporary_name() -> str:
    """A name that nobody can foretell; see `TEMPORARY`."""
    return f".zerosum-{secrets.token_hex(8)}.tmp"


def write_through(path: Path, content: bytes) -> None:
    """Make a new file, and see it onto the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _QUICK | _NO_LINK, 0o666)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def append(path: Path, content: bytes) -> None:
    """Add to the end of a regular file, or begin one; what is no regular file is refused.

    Raises:
        Refused: It is something else.
        OSError: The disk refused.
    """
    with suppress(FileNotFoundError):
        regular(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _QUICK | _NO_LINK, 0o666)
    with os.fdopen(descriptor, "ab") as handle:
        _check(path, os.fstat(handle.fileno()), None)
        handle.write(content)


def flush(path: Path) -> None:
    """See what was added to a regular file onto the disk.

    Raises:
        OSError: It is not there, or the disk refused.
    """
    regular(path)
    descriptor = os.open(path, os.O_WRONLY | _QUICK | _NO_LINK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed left half-written in a folder of zerosum's own, a day ago or earlier."""
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if TEMPORARY.fullmatch(path.name) and is_regular(path)]:
            if path.lstat().st_mtime < time.time() - 24 * 3600:
                path.unlink()


def reason(error: OSError, needed: int | None = None, path: Path | None = None) -> str:
    """Why the system refused, in words; of a full disk, how much is free of how much that is needed.

    Args:
        error: What it said.
        needed: Bytes that were to be written.
        path: Where, if the error does not say.

    >>> reason(FileNotFoundError(2, "No such file or directory", "x"))
    'No such file or directory'
    """
    text = error.strerror or str(error) or type(error).__name__
    where = error.filename or path
    if error.errno != errno.ENOSPC or needed is None or not where:
        return text
    with suppress(OSError):
        free = shutil.disk_usage(Path(where).parent).free
        text = f"{text}: {needed / 1e6:.2f} MB are needed, {free / 1e6:.2f} MB are free"
    return text
