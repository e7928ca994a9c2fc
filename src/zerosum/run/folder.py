"""Where everything of a run lies, how it is read and written, and what of it may be removed.

Only names that zerosum itself writes are ever removed or overwritten; what others put beside them stays.
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
"""Told in a sentence what a user should know."""

TENSORS = ("players.safetensors", "average.safetensors", "optimizers.safetensors")
STATE, MANIFEST = "state.json", "manifest.json"
CHECKPOINT_FILES = (*TENSORS, STATE, MANIFEST)
"""What a checkpoint's folder holds, and all that is removed with it."""

OWN = (
    "config.toml", "environment.json", "readings.jsonl", "metrics.jsonl", "verdicts.json", "report.html", "lock",
    "samples", "checkpoints", "tensorboard",
)  # fmt: skip
"""What a run folder holds."""

SHEET = re.compile(r"[0-9]{6,18}\.png")
STEP = re.compile(r"[0-9]{6,18}")
EVENTS = re.compile(r"events\.out\.tfevents\.[\w.-]+")
IDENTITY = re.compile(r"[0-9a-f]{32}")


FORMAT = 2
"""Of run folders: 1 is that of zerosum 0.1.0, whose settings had other names."""


class OtherFormat(RunError):
    """A run of another version's format."""


def silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class RunFolder:
    """The typed paths of one run.

    >>> RunFolder(Path("runs/digits")).sample(500).as_posix()
    'runs/digits/samples/000500.png'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The whole resolved recipe."""
        return self.path / "config.toml"

    @property
    def environment(self) -> Path:
        """Versions, device and commit, and what the run is known by."""
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
        """What the diagnosis found."""
        return self.path / "verdicts.json"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def samples(self) -> Path:
        """A picture of samples for some rounds."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """A folder for each checkpoint."""
        return self.path / "checkpoints"

    @property
    def events(self) -> Path:
        """TensorBoard's event files, where that extra is installed."""
        return self.path / "tensorboard"

    @property
    def real(self) -> Path:
        """A sheet of real data, for images."""
        return self.samples / "real.png"

    def sample(self, at_round: int) -> Path:
        """The picture of samples after that round."""
        return self.samples / f"{at_round:06d}.png"

    def sheets(self, say: Say = silent) -> list[Path]:
        """The pictures of samples that are there, from the first round to the last.

        Args:
            say: Told of a picture that has another name, as a file manager gives a copy: it is passed over.
        """
        if not files.is_folder(self.samples):
            return []
        try:
            pictures = [path for path in self.samples.iterdir() if path.suffix.lower() == ".png" and path != self.real]
        except OSError as error:
            say(f"{self._shown(self.samples)} cannot be read ({files.reason(error)}); it is passed over")
            return []
        ours = [path for path in pictures if SHEET.fullmatch(path.name) and files.is_regular(path)]
        for path in sorted(set(pictures) - set(ours)):
            say(f"{self._shown(path)} is no picture that a training wrote; it is passed over")
        return sorted(ours, key=lambda path: int(path.stem))

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return files.is_regular(self.config)

    def holds_run(self) -> bool:
        """Whether a run was begun here whose settings can be read."""
        try:
            self.read_config()
        except RunError:
            return False
        return True

    def read_config(self) -> Config:
        """The settings of the run.

        Raises:
            RunError: There is no run here, it is of another format, or its settings cannot be read.
        """
        if not self.exists():
            raise RunError(f"there is no run in {named(self.path)}: {self._missing()}. `zerosum list runs` shows them")
        began = self.read_environment()
        if "zerosum" in began and began.get("format", 1) != FORMAT:
            raise OtherFormat(
                f"{named(self.path)} is a run of format {named(began.get('format', 1))}, of zerosum "
                f"{named(began['zerosum'])}; this version reads format {FORMAT}, in which settings and files have "
                "other names. Play it anew, in another folder"
            )
        try:
            return settings.load(str(self.config))
        except ConfigError as error:
            raise RunError(f"the settings of the run cannot be read: {error}") from None

    def read_environment(self, say: Say = silent) -> dict[str, Any]:
        """What environment.json holds; empty where it cannot be read, which is said."""
        found = self.read_json(self.environment, say)
        if found is None or isinstance(found, dict):
            return found or {}
        say(f"{self._shown(self.environment)} holds no environment; it is passed over")
        return {}

    def identity(self, say: Say = silent) -> str | None:
        """What this run is known by: the 32 hex digits in each of its checkpoints; None where they are not known."""
        known = self.read_environment(say).get("run")
        return known if isinstance(known, str) and IDENTITY.fullmatch(known) else None

    def read_json(self, path: Path, say: Say = silent) -> Any:
        """What a file of JSON holds; None where it is not there, or damaged, which is said."""
        try:
            return json.loads(self.read(path, 16 * MIB))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            why = files.reason(error) if isinstance(error, OSError) else "it is no JSON"
            say(f"{self._shown(path)} cannot be read ({why}); it is passed over")
            return None

    def read(self, path: Path, most: int) -> bytes:
        """The content of one of the run's files.

        Raises:
            OSError: It is not there, no regular file, larger than `most` bytes, or reached through a link.
        """
        self._refuse_links(path)
        return files.read(path, most)

    def write(self, path: Path, content: bytes) -> None:
        """Write one of the run's files whole or not at all.

        Raises:
            SystemFault: The disk refused, or the folder is gone or a link.
        """
        with self.writing(path, len(content)):
            self._refuse_links(path)
            files.write(path, content)

    @contextmanager
    def writing(self, path: Path, needed: int | None = None) -> Iterator[None]:
        """Say which file could not be written, and why."""
        try:
            yield
        except OSError as error:
            if not os.path.isdir(self.path):  # noqa: PTH112
                raise SystemFault(f"cannot write {named(path)}: the run folder is no longer there") from None
            why = files.reason(error, needed, path)
            raise SystemFault(f"cannot write {named(path)}: {why}. What was saved before is intact") from None

    def _refuse_links(self, path: Path) -> None:
        """Refuse to go through a link below the run folder, which may lead anywhere."""
        for folder in path.relative_to(self.path).parents:
            place = self.path / folder
            if place != self.path and place.is_symlink():
                raise files.Refused(place, "it is a link, and links in a run folder are not followed")

    def _missing(self) -> str:
        """Why no run is there."""
        try:
            files.regular(self.config)
        except files.Refused as error:
            return f"config.toml is none of a run ({error.strerror})"
        except PermissionError as error:
            return f"it cannot be looked into ({error.strerror})"
        except (OSError, ValueError):
            pass
        return "it has no config.toml"

    def _shown(self, path: Path) -> str:
        return named(path.relative_to(self.path))


def new_identity() -> str:
    """What a new run is to be known by."""
    return secrets.token_hex(16)


def open_folder(path: str | Path) -> RunFolder:
    """The folder of a run that was begun; a bare name is also looked for under runs/.

    Raises:
        RunError: There is no run of that name.
    """
    folder = RunFolder(Path(path))
    under_runs = RunFolder(Path("runs") / path)
    if not folder.exists() and under_runs.exists():
        return under_runs
    folder.read_config()
    return folder


def choose_folder(config: Config, out: str | Path | None) -> RunFolder:
    """The folder in which these settings are to be played.

    With `out`, that folder. Without, the first of runs/NAME, runs/NAME-2 ... that is free or holds the same run.
    """
    if out is not None:
        return RunFolder(refuse_name(out, "--out"))
    number = 1
    while True:
        folder = RunFolder(Path("runs") / (config.name if number == 1 else f"{config.name}-{number}"))
        with suppress(OtherFormat):
            if not folder.exists() or not settings.differences(adopt(config, folder), folder.read_config()):
                return folder
        number += 1


def refuse_name(given: str | Path, option: str) -> Path:
    """A path that the user gave for something to be written.

    Raises:
        RunError: It is empty, or holds bytes that are no text.
    """
    text = str(given)
    if not text:
        raise RunError(f"{option} is empty: name a file or folder, or leave it out")
    if not settings.is_text(text) or "\0" in text:
        raise RunError(f"{option} {named(text)}: the name holds bytes that are no UTF-8 text; choose another")
    return Path(given)


def adopt(config: Config, folder: RunFolder) -> Config:
    """The settings, with what a machine decided when the run began and the user leaves open now.

    Not the threads of each process, where there are more or fewer processes now.
    """
    if not folder.exists():
        return config
    old = folder.read_config().train
    kept = {key: getattr(old, key) for key in settings.AUTOMATIC if getattr(config.train, key) in (None, "auto")}
    if old.processes != config.train.processes:
        kept.pop("threads", None)
    return settings.with_train(config, **kept)


def refuse_changes(config: Config, folder: RunFolder) -> None:
    """Make sure that the run in the folder is the one the settings describe.

    Raises:
        RunError: A setting that touches what was played so far has changed; every difference is named.
    """
    if not folder.exists():
        return
    changed = settings.differences(config, folder.read_config())
    if changed:
        raise RunError(
            f"{named(folder.path)} holds a run with other settings (old -> new):\n  "
            + "\n  ".join(changed)
            + "\nGive another --out, or --fresh to erase that run and start over"
        )


def refuse_strangers(folder: RunFolder, force: bool) -> None:
    """Make sure that the folder is a run's, or empty.

    Args:
        folder: In which a run is to be played.
        force: Whether it may be any folder; what others put there stays.

    Raises:
        RunError: It holds other things, and no run that can be read; or it, or a folder in it, is not a folder.
    """
    for place in (folder.samples, folder.checkpoints, folder.events):
        if os.path.lexists(place) and not files.is_folder(place):
            raise RunError(f"{named(place)} is no folder, or a link to one; a run writes only into its own. Move it")
    if force or folder.holds_run():
        return
    try:
        others = strangers(folder)
    except OSError as error:
        where = named(error.filename or folder.path)
        raise RunError(f"cannot look into {where}: {files.reason(error)}. Give another --out") from None
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        raise RunError(
            f"{named(folder.path)} is not empty and holds no run that can be read "
            f"({', '.join(map(named, others[:3]))}{more}). Give another --out; with --force a run is played there, "
            "and only files of the names that a run has are overwritten"
        )


def strangers(folder: RunFolder) -> list[str]:
    """What lies in the folder and was not left there by a training that was stopped before its first line."""
    if not os.path.isdir(folder.path):  # noqa: PTH112  False, too, where the name is too long
        return []
    return sorted(path.name for path in folder.path.iterdir() if not _is_beginning(path))


def _is_beginning(path: Path) -> bool:
    if path.name == "lock":
        return files.is_regular(path) and path.stat().st_size == 0
    if path.name in ("samples", "checkpoints"):
        return files.is_folder(path) and all(TEMPORARY.fullmatch(one.name) for one in path.iterdir())
    return bool(TEMPORARY.fullmatch(path.name))


def erase(folder: RunFolder) -> None:
    """Remove what zerosum wrote into a run folder, and nothing else.

    The settings go last: whatever is left by a process that was killed meanwhile is still a run, to be erased again.
    """
    found = (folder.metrics, folder.verdicts, folder.report, folder.real)
    _remove(*folder.sheets(), *_inside(folder.events, EVENTS), *found)
    for path in _inside(folder.checkpoints, STEP):
        remove_checkpoint(path)
    _remove(folder.readings, folder.environment, folder.config)


def sweep(folder: RunFolder) -> None:
    """Remove what an earlier process left half-written; call it only while holding the run's lock."""
    for place in (folder.path, folder.samples, folder.checkpoints, folder.events):
        _remove(*filter(files.is_regular, _inside(place, TEMPORARY)))
    for path in _inside(folder.checkpoints, TEMPORARY):
        remove_checkpoint(path)


def _remove(*paths: Path) -> None:
    for path in paths:
        if not files.is_folder(path):
            path.unlink(missing_ok=True)


def remove_checkpoint(path: Path) -> bool:
    """Remove a checkpoint's files and its folder; whether it is gone: what others put into it stays, and so does it."""
    if not files.is_folder(path):
        return not os.path.lexists(path)
    with suppress(OSError):
        for name in CHECKPOINT_FILES:
            (path / name).unlink(missing_ok=True)
        path.rmdir()
    return not path.exists()


def _inside(folder: Path, name: re.Pattern[str]) -> list[Path]:
    """What lies in a folder under such a name; nothing where the folder is a link."""
    if not files.is_folder(folder):
        return []
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name))


def owned(path: Path) -> bool:
    """Whether a path names something that belongs to a run: overwriting it would damage the run."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100  the last name is not followed: it is replaced if it is a link
    place = whole.parent.resolve() / whole.name
    return any(
        _is_run(RunFolder(above)) and (above == place or place.relative_to(above).parts[0] in OWN)
        for above in (place, *place.parents)
    )


def _is_run(folder: RunFolder) -> bool:
    """Whether a run was begun there, even if its settings can no longer be read."""
    return folder.exists() and files.is_folder(folder.checkpoints)


def make(folder: RunFolder) -> None:
    """Create the folder, and see that it and its folders can be written to.

    Raises:
        RunError: They cannot.
    """
    place = folder.path
    try:
        for place in (folder.path, folder.samples, folder.checkpoints, folder.events):
            if place == folder.events and not place.exists():
                continue
            place.mkdir(parents=True, exist_ok=True)
            trial = place / files.temporary_name()
            files.write_through(trial, b"")
            trial.unlink()
        place = folder.path / "lock"
        files.append(place, b"")
    except OSError as error:
        reason = files.reason(error)
        raise RunError(f"cannot write to {named(place)}: {reason}. Give another --out") from None


@contextmanager
def lock(folder: RunFolder) -> Iterator[None]:
    """Hold the folder for this process; the operating system lets go when the process dies.

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
