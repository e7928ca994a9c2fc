"""What in a folder belongs to a run, and which process may write it.

zerosum overwrites and removes only files with names that it writes itself: `RUN_ENTRIES`, sheets, checkpoints, event
files, and temporary files with its own prefix. A folder with other files is refused for a new run; erasing a run leaves
them. One process at a time trains in a folder: it holds the lock.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zerosum import files
from zerosum.errors import RunError, named
from zerosum.files import TEMPORARY
from zerosum.run.folder import CHECKPOINT_NAME, RUN_ENTRIES, RunFolder
from zerosum.run.manifest import remove_checkpoint

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

EVENT_FILE_NAME = re.compile(r"events\.out\.tfevents\.[\w.-]+")


def refuse_foreign_files(folder: RunFolder, force: bool) -> None:
    """Check that the folder holds a run, or nothing.

    Args:
        folder: Folder for a new run.
        force: Accept a folder with other files, which stay.

    Raises:
        RunError: It holds other files and no readable run, or an entry that should be a folder is none.
    """
    for place in (folder.samples, folder.checkpoints, folder.events):
        if os.path.lexists(place) and not files.is_folder(place):
            raise RunError(f"{named(place)} is no folder, or a link to one; a run writes only into its own. Move it")
    if force or folder.holds_run():
        return
    try:
        foreign = foreign_files(folder)
    except OSError as error:
        where = named(error.filename or folder.path)
        raise RunError(f"cannot look into {where}: {files.reason(error)}. Give another --out") from None
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise RunError(
            f"{named(folder.path)} is not empty and holds no run that can be read "
            f"({', '.join(map(named, foreign[:3]))}{more}). Give another --out; with --force a run is played there, "
            "and only files of the names that a run has are overwritten"
        )


def foreign_files(folder: RunFolder) -> list[str]:
    """Entries of the folder, except those of a training that stopped before its first reading."""
    if not os.path.isdir(folder.path):  # noqa: PTH112  also False for a name that is too long
        return []
    return sorted(path.name for path in folder.path.iterdir() if not _is_left_by_start(path))


def _is_left_by_start(path: Path) -> bool:
    if path.name == "lock":
        return files.is_regular(path) and path.stat().st_size == 0
    if path.name in ("samples", "checkpoints"):
        return files.is_folder(path) and all(TEMPORARY.fullmatch(one.name) for one in path.iterdir())
    return bool(TEMPORARY.fullmatch(path.name))


def erase(folder: RunFolder) -> None:
    """Remove the files that zerosum wrote into a run folder, and no others.

    config.toml is removed last: if the process is killed before that, the folder is still a run that can be erased.
    """
    found = (folder.metrics, folder.verdicts, folder.report, folder.real)
    _remove(*folder.sheets(), *_entries(folder.events, EVENT_FILE_NAME), *found)
    for path in _entries(folder.checkpoints, CHECKPOINT_NAME):
        remove_checkpoint(path)
    _remove(folder.readings, folder.environment, folder.config)


def remove_temporary(folder: RunFolder) -> None:
    """Remove temporary files of earlier processes; call it only while holding the run's lock."""
    for place in (folder.path, folder.samples, folder.checkpoints, folder.events):
        _remove(*filter(files.is_regular, _entries(place, TEMPORARY)))
    for path in _entries(folder.checkpoints, TEMPORARY):
        remove_checkpoint(path)


def _remove(*paths: Path) -> None:
    for path in paths:
        if not files.is_folder(path):
            path.unlink(missing_ok=True)


def _entries(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """Entries of a folder whose names match; none if the folder is a link."""
    if not files.is_folder(folder):
        return []
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name))


def belongs_to_run(path: Path) -> bool:
    """Whether a path belongs to a run, so that overwriting it would damage the run."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  a link at the end is not resolved
    place = absolute.parent.resolve() / absolute.name
    return any(
        _is_run(RunFolder(above)) and (above == place or place.relative_to(above).parts[0] in RUN_ENTRIES)
        for above in (place, *place.parents)
    )


def _is_run(folder: RunFolder) -> bool:
    """Whether the folder holds a run, even if its settings cannot be read."""
    return folder.exists() and files.is_folder(folder.checkpoints)


def make(folder: RunFolder) -> None:
    """Create the run folder, and check that it and its folders are writable.

    Raises:
        RunError: They are not.
    """
    place = folder.path
    try:
        for place in (folder.path, folder.samples, folder.checkpoints, folder.events):
            if place == folder.events and not place.exists():
                continue
            place.mkdir(parents=True, exist_ok=True)
            probe = place / files.temporary_name()
            files.write_through(probe, b"")
            probe.unlink()
        place = folder.path / "lock"
        files.append(place, b"")
    except OSError as error:
        reason = files.reason(error)
        raise RunError(f"cannot write to {named(place)}: {reason}. Give another --out") from None


@contextmanager
def lock(folder: RunFolder) -> Iterator[None]:
    """Lock the folder for this process; the operating system releases the lock when the process ends.

    Raises:
        RunError: Another process is training here.
    """
    files.append(folder.path / "lock", b"")
    with (folder.path / "lock").open("a+b") as handle:
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            raise RunError(
                f"another process is training in {named(folder.path)}. Wait for it, or give another --out"
            ) from None
        yield
