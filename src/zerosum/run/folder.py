"""A run folder: the paths of its files, and how they are read and written.

A folder holds a run if it has a config.toml; its format has a number, and a folder of another format is refused. No
reader trusts the folder: a path through a link below it is refused, only regular files of limited size are read, and a
file that cannot be read is named and passed over. Files are written atomically.
"""

import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosum import config as settings
from zerosum import files
from zerosum.config.settings import Config
from zerosum.errors import ConfigError, RunError, SystemFault, named
from zerosum.files import MIB

Say = Callable[[str], None]
"""Callback that shows the user a sentence."""

TENSORS = ("players.safetensors", "average.safetensors", "optimizers.safetensors")
STATE, MANIFEST = "state.json", "manifest.json"
CHECKPOINT_FILES = (*TENSORS, STATE, MANIFEST)
"""The files of a checkpoint."""

RUN_ENTRIES = (
    "config.toml", "environment.json", "readings.jsonl", "metrics.jsonl", "verdicts.json", "report.html", "lock",
    "samples", "checkpoints", "tensorboard",
)  # fmt: skip
"""The entries of a run folder."""

SHEET_NAME = re.compile(r"[0-9]{6,18}\.png")
CHECKPOINT_NAME = re.compile(r"[0-9]{6,18}")
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
