"""Which run folder a command means: the one that is given, one that holds the same run, or the first free one.

A run is its settings. `train` with the settings of an earlier run goes on with that run, in its folder; with others it
takes a free folder, or refuses the one that was named. Settings that were left open are those that were chosen for the
machine when the run started (see `automatic_choices`).
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from zerosum import config as settings
from zerosum.config.settings import Config
from zerosum.errors import RunError, named
from zerosum.run.folder import OtherFormat, RunFolder


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
            if not folder.exists():
                return folder
            kept = settings.with_train(config, **automatic_choices(config, folder))
            if not settings.differences(kept, folder.read_config()):
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


def automatic_choices(config: Config, folder: RunFolder) -> dict[str, Any]:
    """The choices of `train` that were made for the machine when the run started, where they are now left open.

    Without `threads`, if the number of processes has changed.
    """
    if not folder.holds_run():
        return {}
    old = folder.read_config().train
    kept = {key: getattr(old, key) for key in settings.AUTOMATIC if getattr(config.train, key) in (None, "auto")}
    if old.processes != config.train.processes:
        kept.pop("threads", None)
    return kept


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
