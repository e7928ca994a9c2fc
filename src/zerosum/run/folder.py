"""Paths of a run folder; how its files are read, written and removed.

zerosum removes or overwrites only files with names that it writes itself; other files stay.
"""

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosum import config as settings
from zerosum import files
from zerosum.config.settings import Config
from zerosum.errors import ConfigError, RunError, SystemFault, named
from zerosum.files import MIB, TEMPORARY

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

Say = Callable[[str], None]
"""Callback that shows the user a sentence."""

TENSORS = ("players.safetensors", "average.safetensors", "optimizers.safetensors")
STATE, MANIFEST = "state.json", "manifest.json"
CHECKPOINT_FILES = (*TENSORS, STATE, MANIFEST)
"""The files of a checkpoint; removing a checkpoint removes these and no others."""

RUN_ENTRIES = (
    "config.toml", "environment.json", "readings.jsonl", "metrics.jsonl", "verdicts.json", "report.html", "lock",
    "samples", "checkpoints", "tensorboard",
)  # fmt: skip
"""The entries of a run folder."""

SHEET_NAME = re.compile(r"[0-9]{6,18}\.png")
CHECKPOINT_NAME = re.compile(r"[0-9]{6,18}")
EVENT_FILE_NAME = re.compile(r"events\.out\.tfevents\.[\w.-]+")
RUN_ID = re.compile(r"[0-9a-f]{32}")


FORMAT = 3
"""Version of the run folder's format.

1: zerosum 0.1.0; 2: settings have other names; 3: training and held-out rows are drawn in another order, so that an
older run could neither go on nor be measured.
"""


class OtherFormat(RunError):
    """The run folder has another format version."""


def silent(_: str) -> None:
    """Ignore a message."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run.

    >>> RunFolder(Path("runs/digits")).sample(500).as_posix()
    'runs/digits/samples/000500.png'
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the run, as a recipe."""
        return self.path / "config.toml"

    @property
    def environment(self) -> Path:
        """Versions, device, commit and run id."""
        return self.path / "environment.json"

    @property
    def readings(self) -> Path:
        """One line of JSON per logged round."""
        return self.path / "readings.jsonl"

    @property
    def metrics(self) -> Path:
        """One line of JSON per evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def verdicts(self) -> Path:
        """The verdicts of the diagnosis."""
        return self.path / "verdicts.json"

    @property
    def report(self) -> Path:
        """The report, an HTML page."""
        return self.path / "report.html"

    @property
    def samples(self) -> Path:
        """Folder of sample sheets."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints, each a folder."""
        return self.path / "checkpoints"

    @property
    def events(self) -> Path:
        """Folder of TensorBoard event files, if that extra is installed."""
        return self.path / "tensorboard"

    @property
    def real(self) -> Path:
        """Sheet of real data, for images."""
        return self.samples / "real.png"

    def sample(self, at_round: int) -> Path:
        """Path of the sample sheet of a round."""
        return self.samples / f"{at_round:06d}.png"

    def sheets(self, say: Say = silent) -> list[Path]:
        """List the sample sheets, sorted by round.

        Args:
            say: Receives a message on each picture with an unknown name (such as a copy), which is skipped.
        """
        if not files.is_folder(self.samples):
            return []
        try:
            pictures = [path for path in self.samples.iterdir() if path.suffix.lower() == ".png" and path != self.real]
        except OSError as error:
            say(f"{self._relative(self.samples)} cannot be read ({files.reason(error)}); it is passed over")
            return []
        sheets = [path for path in pictures if SHEET_NAME.fullmatch(path.name) and files.is_regular(path)]
        for path in sorted(set(pictures) - set(sheets)):
            say(f"{self._relative(path)} is no picture that a training wrote; it is passed over")
        return sorted(sheets, key=lambda path: int(path.stem))

    def exists(self) -> bool:
        """Whether the folder holds a run (has a config.toml)."""
        return files.is_regular(self.config)

    def holds_run(self) -> bool:
        """Whether the folder holds a run with readable settings.

        Raises:
            OtherFormat: It holds a run of another format, which must not go on.
        """
        try:
            self.read_config()
        except OtherFormat:
            raise
        except RunError:
            return False
        return True

    def read_config(self) -> Config:
        """Read the settings of the run.

        Raises:
            RunError: There is no run here, it has another format, or its settings cannot be read.
        """
        if not self.exists():
            raise RunError(f"there is no run in {named(self.path)}: {self._missing()}. `zerosum list runs` shows them")
        started = self.read_environment()
        if "zerosum" in started and started.get("format", 1) != FORMAT:
            raise OtherFormat(
                f"{named(self.path)} is a run of format {named(started.get('format', 1))}, of zerosum "
                f"{named(started['zerosum'])}; this version reads format {FORMAT}, in which the settings have "
                "other names or the rows another order. Play it anew, in another folder"
            )
        try:
            return settings.load(str(self.config))
        except ConfigError as error:
            raise RunError(f"the settings of the run cannot be read: {error}") from None

    def read_environment(self, say: Say = silent) -> dict[str, Any]:
        """Read environment.json; if it cannot be read, say so and return {}."""
        found = self.read_json(self.environment, say)
        if found is None or isinstance(found, dict):
            return found or {}
        say(f"{self._relative(self.environment)} holds no environment; it is passed over")
        return {}

    def run_id(self, say: Say = silent) -> str | None:
        """The run id, 32 hex digits that its checkpoints repeat; None if unknown."""
        known = self.read_environment(say).get("run")
        return known if isinstance(known, str) and RUN_ID.fullmatch(known) else None

    def read_json(self, path: Path, say: Say = silent) -> Any:
        """Read a JSON file; None if it is missing, or damaged, which is said."""
        try:
            return json.loads(self.read(path, 16 * MIB))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            why = files.reason(error) if isinstance(error, OSError) else "it is no JSON"
            say(f"{self._relative(path)} cannot be read ({why}); it is passed over")
            return None

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Read a file of the run.

        Raises:
            OSError: It is missing, not a regular file, larger than `max_bytes`, or reached through a link.
        """
        self._refuse_links(path)
        return files.read(path, max_bytes)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file of the run atomically.

        Raises:
            SystemFault: Writing failed, or the folder was removed or is a link.
        """
        with self.explain_write_errors(path, len(content)):
            self._refuse_links(path)
            files.write(path, content)

    @contextmanager
    def explain_write_errors(self, path: Path, needed: int | None = None) -> Iterator[None]:
        """Turn an OSError in the block into a SystemFault that says which file could not be written, and why."""
        try:
            yield
        except OSError as error:
            if not os.path.isdir(self.path):  # noqa: PTH112
                raise SystemFault(f"cannot write {named(path)}: the run folder is no longer there") from None
            why = files.reason(error, needed, path)
            raise SystemFault(f"cannot write {named(path)}: {why}. What was saved before is intact") from None

    def _refuse_links(self, path: Path) -> None:
        """Refuse a path through a symbolic link below the run folder, which might lead out of it."""
        for folder in path.relative_to(self.path).parents:
            place = self.path / folder
            if place != self.path and place.is_symlink():
                raise files.Refused(place, "it is a link, and links in a run folder are not followed")

    def _missing(self) -> str:
        """Why the folder holds no run."""
        try:
            files.stat_regular(self.config)
        except files.Refused as error:
            return f"config.toml is none of a run ({error.strerror})"
        except PermissionError as error:
            return f"it cannot be looked into ({error.strerror})"
        except (OSError, ValueError):
            pass
        return "it has no config.toml"

    def _relative(self, path: Path) -> str:
        return named(path.relative_to(self.path))


def new_run_id() -> str:
    """Make a random run id."""
    return secrets.token_hex(16)


def open_folder(path: str | Path) -> RunFolder:
    """Find the folder of a run, at `path` or at runs/`path`.

    Raises:
        RunError: There is no such run.
    """
    folder = RunFolder(Path(path))
    under_runs = RunFolder(Path("runs") / path)
    if not folder.exists() and under_runs.exists():
        return under_runs
    folder.read_config()
    return folder


def choose_folder(config: Config, out: str | Path | None) -> RunFolder:
    """Choose the run folder for these settings: `out`, if given.

    Otherwise the first of runs/NAME, runs/NAME-2 ... that is free or holds a run with the same settings.
    """
    if out is not None:
        return RunFolder(refuse_name(out, "--out"))
    number = 1
    while True:
        folder = RunFolder(Path("runs") / (config.name if number == 1 else f"{config.name}-{number}"))
        with suppress(OtherFormat):
            if not folder.exists() or not settings.differences(keep_automatic(config, folder), folder.read_config()):
                return folder
        number += 1


def refuse_name(given: str | Path, option: str) -> Path:
    """Check a path that the user gave for output, and return it.

    Raises:
        RunError: It is empty or not valid text.
    """
    text = str(given)
    if not text:
        raise RunError(f"{option} is empty: name a file or folder, or leave it out")
    if not settings.is_utf8(text) or "\0" in text:
        raise RunError(f"{option} {named(text)}: the name holds bytes that are no UTF-8 text; choose another")
    return Path(given)


def keep_automatic(config: Config, folder: RunFolder) -> Config:
    """Fill settings that are now left open with those that were chosen for the machine when the run started.

    Except `threads`, if the number of processes has changed.
    """
    if not folder.holds_run():
        return config
    old = folder.read_config().train
    kept = {key: getattr(old, key) for key in settings.AUTOMATIC if getattr(config.train, key) in (None, "auto")}
    if old.processes != config.train.processes:
        kept.pop("threads", None)
    return settings.with_train(config, **kept)


def refuse_changes(config: Config, folder: RunFolder) -> None:
    """Check that the run in the folder has these settings.

    Raises:
        RunError: A setting that affects the rounds so far has changed; the message lists all differences.
    """
    if not folder.holds_run():
        return
    changed = settings.differences(config, folder.read_config())
    if changed:
        raise RunError(
            f"{named(folder.path)} holds a run with other settings (old -> new):\n  "
            + "\n  ".join(changed)
            + "\nGive another --out, or --fresh to erase that run and start over"
        )


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


def remove_checkpoint(path: Path) -> bool:
    """Remove a checkpoint; return whether it is gone: its folder stays if it contains other files."""
    if not files.is_folder(path):
        return not os.path.lexists(path)
    with suppress(OSError):
        for name in CHECKPOINT_FILES:
            (path / name).unlink(missing_ok=True)
        path.rmdir()
    return not path.exists()


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
