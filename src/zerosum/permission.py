"""Permissions of the running command to import code, open paths and download data that settings name; default: none.

A run folder may come from somebody else. Its settings name losses, networks and data sets; a name with a colon is code
to import, and the name of a data set may be any path on this machine. `train`, runs made here and `--trust` give
permissions with `granted`. Each is checked with `current` in one place: `registry.lookup` before it imports,
`resolved.open_data` before it opens a path, `data.downloads` before it downloads.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Permission:
    """Permissions of the running command.

    Args:
        code: Folder from which the user's modules may be imported; None: no import.
        paths: Whether data may be opened at paths that settings name.
        downloads: Whether a missing data set may be downloaded.
    """

    code: Path | None = None
    paths: bool = False
    downloads: bool = False


NOTHING = Permission()

_CURRENT: ContextVar[Permission] = ContextVar("zerosum_permission", default=NOTHING)


def current() -> Permission:
    """The current permissions."""
    return _CURRENT.get()


@contextmanager
def granted(*, code: Path | None = None, paths: bool = False, downloads: bool = False) -> Iterator[None]:
    """Add permissions while the block runs.

    Do not `yield` from a generator inside the block: the caller's code would get the permissions, too.
    """
    before = current()
    after = Permission(code or before.code, paths or before.paths, downloads or before.downloads)
    token = _CURRENT.set(after)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def to_train() -> AbstractContextManager[None]:
    """Give all permissions while the block runs, as training needs them."""
    return granted(code=Path.cwd(), paths=True, downloads=True)
