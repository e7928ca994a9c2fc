"""Safe reading and atomic writing of files.

Read    Only regular files are opened: reading a FIFO may block for ever, a device may have no end, and a link may lead
        anywhere. Type and size are checked before the file is opened, and again on the open file.
Write   To a new file with an unpredictable name (O_EXCL: no link is followed), which is flushed to disk and renamed;
        if anything fails, it is removed.
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
"""Names of temporary files and of temporary checkpoint folders."""

KIB, MIB, GIB = 2**10, 2**20, 2**30

DISK_ERRORS = (errno.ENOSPC, errno.EIO, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else []))
"""errno values of disk failures, against which another file name would not help."""

_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


class Refused(OSError):
    """The path is not a regular file, or the file is too large; it was not read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EINVAL, reason, str(path))


def read(path: Path, max_bytes: int, *, follow: bool = False) -> bytes:
    """Read a regular file.

    Args:
        path: The file.
        max_bytes: Maximum size in bytes.
        follow: Allow a link to a regular file.

    Raises:
        Refused: It is not a regular file, or larger; it was not opened.
        OSError: It is missing, or access is denied.
    """
    return b"".join(read_chunks(path, max_bytes, follow=follow))


def read_chunks(path: Path, max_bytes: int, *, follow: bool = False, size: int = 16 * MIB) -> Iterator[bytes]:
    """As `read`, but yield chunks of `size` bytes.

    Raises:
        Refused: It is not a regular file, or larger.
        OSError: It is missing, or access is denied.
    """
    stat_regular(path, max_bytes, follow=follow)
    total = 0
    with os.fdopen(os.open(path, os.O_RDONLY | _FLAGS | (0 if follow else _NO_FOLLOW)), "rb") as handle:
        _check(path, os.fstat(handle.fileno()), max_bytes)  # it may have been replaced since the check
        while chunk := handle.read(size):
            total += len(chunk)
            if total > max_bytes:  # it grew since the check
                raise _too_large(path, total, max_bytes)
            yield chunk


def stat_regular(path: Path, max_bytes: int | None = None, *, follow: bool = False) -> os.stat_result:
    """Stat a regular file, without opening it.

    Raises:
        Refused: It is not a regular file, or larger than `max_bytes`.
        OSError: It is missing, or access is denied.
    """
    status = path.stat() if follow else path.lstat()
    _check(path, status, max_bytes)
    return status


def is_folder(path: Path) -> bool:
    """Whether the path is a folder, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def is_regular(path: Path) -> bool:
    """Whether the path is a regular file, and no link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _check(path: Path, status: os.stat_result, max_bytes: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Refused(path, f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no regular file')}, not a regular file")
    if max_bytes is not None and status.st_size > max_bytes:
        raise _too_large(path, status.st_size, max_bytes)


def _too_large(path: Path, size: int, max_bytes: int) -> Refused:
    return Refused(path, f"it has {size:,} bytes, at most {max_bytes:,} are read")


def write(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part.

    Raises:
        OSError: Writing failed; the old content is unchanged, and no temporary file is left.
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
    """An unpredictable name that matches `TEMPORARY`."""
    return f".zerosum-{secrets.token_hex(8)}.tmp"


def write_through(path: Path, content: bytes) -> None:
    """Create a new file, write it and flush it to disk (fsync)."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS | _NO_FOLLOW, 0o666)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def append(path: Path, content: bytes) -> None:
    """Append to a regular file, or create it.

    Raises:
        Refused: It is not a regular file.
        OSError: Writing failed.
    """
    with suppress(FileNotFoundError):
        stat_regular(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS | _NO_FOLLOW, 0o666)
    with os.fdopen(descriptor, "ab") as handle:
        _check(path, os.fstat(handle.fileno()), None)
        handle.write(content)


def flush(path: Path) -> None:
    """Flush a regular file to disk (fsync).

    Raises:
        OSError: It is missing, or flushing failed.
    """
    stat_regular(path)
    descriptor = os.open(path, os.O_WRONLY | _FLAGS | _NO_FOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale_temporary(folder: Path) -> None:
    """Remove temporary files older than a day, left by killed processes, from a folder of zerosum's own."""
    with suppress(OSError):
        for path in [path for path in folder.iterdir() if TEMPORARY.fullmatch(path.name) and is_regular(path)]:
            if path.lstat().st_mtime < time.time() - 24 * 3600:
                path.unlink()


def reason(error: OSError, needed: int | None = None, path: Path | None = None) -> str:
    """Describe an OSError; for a full disk, with the space that is needed and free.

    Args:
        error: The error.
        needed: Number of bytes to be written.
        path: The file, if the error does not name it.

    >>> reason(FileNotFoundError(2, "No such file or directory", "x"))
    'No such file or directory'
    """
    message = error.strerror or str(error) or type(error).__name__
    location = error.filename or path
    if error.errno != errno.ENOSPC or needed is None or not location:
        return message
    with suppress(OSError):
        free = shutil.disk_usage(Path(location).parent).free
        message = f"{message}: {needed / 1e6:.2f} MB are needed, {free / 1e6:.2f} MB are free"
    return message
