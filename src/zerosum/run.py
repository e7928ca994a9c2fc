"""The run folder: the contract between training, which writes it, and every other command, which only reads it.

    config.toml        the whole resolved recipe        readings.jsonl     one line per logged round
    environment.json   versions, device, commit         samples/000500.png the same latents every time
    metrics.jsonl      one line per evaluation          verdicts.json      what the diagnosis found
    report.html        the page to look at
    checkpoints/000500/                                 lock               held while a process trains here

Whatever is written here is written whole or not at all: to a temporary name first, then renamed.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosum import config as settings
from zerosum.errors import ConfigError, RunError
from zerosum.schema import Config

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt


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
        """Versions, device and commit."""
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
        return self.path / "samples" / "real.png"

    def sample(self, step: int) -> Path:
        """The picture of samples after that round."""
        return self.path / "samples" / f"{step:06d}.png"

    def sheets(self) -> list[Path]:
        """The pictures of samples that are there, from the first round to the last."""
        return sorted((self.path / "samples").glob("[0-9]*.png"), key=lambda path: int(path.stem))

    def exists(self) -> bool:
        """Whether a run was begun here."""
        try:
            return self.config.is_file()
        except OSError:  # a name too long, a folder that is closed to us
            return False

    def read_config(self) -> Config:
        """The settings of the run.

        Raises:
            RunError: There is no run here, or its settings cannot be read.
        """
        if not self.exists():
            raise RunError(f"there is no run in {self.path}: it has no config.toml. `zerosum list runs` shows them")
        try:
            return settings.load(str(self.config))
        except ConfigError as error:
            raise RunError(f"the settings of the run cannot be read: {error}") from None


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
    if out is not None and not str(out):
        raise RunError("--out is empty: name a folder, or leave it out")
    if out is not None:
        return RunFolder(Path(out))
    number = 1
    while True:
        folder = RunFolder(Path("runs") / (config.name if number == 1 else f"{config.name}-{number}"))
        if not folder.exists() or not settings.differences(adopt(config, folder), folder.read_config()):
            return folder
        number += 1


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
            f"{folder.path} holds a run with other settings (old -> new):\n  "
            + "\n  ".join(changed)
            + "\nGive another --out, or --fresh to erase that run and start over"
        )


def erase(folder: RunFolder) -> None:
    """Remove what zerosum wrote into a run folder, and nothing else."""
    for path in folder.checkpoints.glob("[0-9]*"):
        shutil.rmtree(path, ignore_errors=True)
    events = folder.events.glob("events.out.tfevents.*")
    began = (folder.config, folder.environment, folder.readings)
    found = (folder.metrics, folder.verdicts, folder.report)
    for path in (*folder.sheets(), *events, *began, *found):
        path.unlink(missing_ok=True)


def make(folder: RunFolder) -> None:
    """Create the folder, and see that it can be written to.

    Raises:
        RunError: It cannot.
    """
    try:
        (folder.path / "samples").mkdir(parents=True, exist_ok=True)
        folder.checkpoints.mkdir(exist_ok=True)
        (folder.path / "lock").open("ab").close()
    except OSError as error:
        raise RunError(f"cannot write to {folder.path}: {error.strerror or error}. Give another --out") from None


@contextmanager
def lock(folder: RunFolder) -> Iterator[None]:
    """Hold the folder for this process; the operating system lets go when the process dies.

    Raises:
        RunError: Another process is training here.
    """
    with (folder.path / "lock").open("a+b") as handle:
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            raise RunError(
                f"another process is training in {folder.path}. Wait for it, or give another --out"
            ) from None
        yield


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def append(folder: RunFolder, reading: dict[str, Any]) -> None:
    """Add one reading."""
    with folder.readings.open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(reading) + "\n")


def read(folder: RunFolder) -> list[dict[str, Any]]:
    """Every reading, oldest first; a last line that a crash cut short is left out."""
    if not folder.readings.exists():
        return []
    whole = []
    for line in folder.readings.read_text(encoding="utf-8").splitlines():
        try:
            whole.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return whole


def cut(folder: RunFolder, step: int) -> None:
    """Drop the readings past a round: the run goes on from there and will write them again."""
    kept = [reading for reading in read(folder) if reading["step"] <= step]
    write(folder.readings, "".join(json.dumps(reading) + "\n" for reading in kept).encode())
