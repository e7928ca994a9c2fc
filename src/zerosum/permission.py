"""What the command that is running may do with the names in a run's settings: by default, nothing.

A run folder is what people send each other. Its settings name losses, networks and data sets; a name with a colon is
code to import, and the name of a data set may be any path of this machine. The doors that a user opens on purpose
(`train`, a run that was made here, `--trust`) say so with `granted`; whatever reads settings asks `current`, in one
place each: `lookup.lookup` before it imports, `build.open_data` before it opens a path, `data.downloads` before it
fetches.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Permission:
    """What may be done.

    Args:
        code: The folder in which modules of the user's own are looked for; None: none is imported.
        paths: Whether data may be opened where the settings say it lies.
        downloads: Whether a data set that is not there may be fetched.
    """

    code: Path | None = None
    paths: bool = False
    downloads: bool = False


NOTHING = Permission()

_CURRENT: ContextVar[Permission] = ContextVar("zerosum_permission", default=NOTHING)


def current() -> Permission:
    """What may be done now."""
    return _CURRENT.get()


@contextmanager
def granted(*, code: Path | None = None, paths: bool = False, downloads: bool = False) -> Iterator[None]:
    """Allow more than is allowed already, while the block runs.

    Do not hold it over the `yield` of a generator: what comes between would be allowed, too.
    """
    before = current()
    after = Permission(code or before.code, paths or before.paths, downloads or before.downloads)
    token = _CURRENT.set(after)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def to_train() -> AbstractContextManager[None]:
    """Whatever settings name may be used while the block runs: whoever trains asks for it."""
    return granted(code=Path.cwd(), paths=True, downloads=True)
