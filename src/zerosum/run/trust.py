"""Whether a run was made here: what its settings name may then be imported and opened.

`train` notes each run that it plays in the user's own state folder: its path, what it is known by, the sha256 of its
config.toml, and the folder that it was started from. A run is trusted where all of that is still so. A folder that came
from elsewhere, was moved, or whose settings were changed by hand is not; `--trust` or `trust=True` says for one command
that its names may be followed.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_state_path

from zerosum import config as settings
from zerosum import files, permission
from zerosum.config.settings import Config
from zerosum.errors import Untrusted, named
from zerosum.files import MIB
from zerosum.run.folder import RunFolder


@contextmanager
def permitted(folder: RunFolder, config: Config, asked: bool = False) -> Iterator[None]:
    """Let the block follow the names in a run's settings, if the run is trusted.

    Args:
        folder: The run.
        config: Its settings.
        asked: Whether the user vouches for it.

    Raises:
        Untrusted: It is not, and they name code.
    """
    found = of(folder, asked)
    if found is None:
        refuse_code(folder, config)
        yield
        return
    with permission.granted(code=found, paths=True):
        yield


def of(folder: RunFolder, asked: bool = False) -> Path | None:
    """The folder from which a run that is trusted imports its own modules; None where it was not made here.

    Args:
        folder: The run.
        asked: Whether the user vouches for it; modules are then looked for in the working folder.
    """
    if asked:
        return Path.cwd()
    try:
        found = json.loads(files.read(_note(folder), MIB))
    except (OSError, ValueError, RecursionError):
        return None
    known = _facts(folder)
    if known is None or not isinstance(found, dict) or any(found.get(key) != value for key, value in known.items()):
        return None
    return Path(str(found.get("code", "")))


def remember(folder: RunFolder, code: Path) -> None:
    """Note that a run is made here.

    Args:
        folder: The run, begun.
        code: The folder in which modules of the user's own were looked for.

    Raises:
        OSError: The note cannot be written: other commands will want to be told that they may trust the run.
    """
    known = _facts(folder)
    if known is None:
        return
    note = _note(folder)
    note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.sweep(note.parent)
    files.write(note, json.dumps({**known, "code": str(code.resolve())}).encode())


def refuse_code(folder: RunFolder, config: Config) -> None:
    """Stop where the settings of a run that is not trusted name code.

    Raises:
        Untrusted: They do; the message says what would be imported.
    """
    names = settings.code_names(config)
    if names:
        raise Untrusted(
            f"{named(folder.path)} was not made here, and its settings name code, which was not imported: "
            + ", ".join(f"{setting} = {named(name)}" for setting, name in names)
            + ". If you know what that code does, say --trust (in Python: trust=True)"
        )


def _facts(folder: RunFolder) -> dict[str, str] | None:
    """What has to be the same as when the run was made; None where it cannot be told."""
    identity = folder.identity()
    try:
        content = folder.read(folder.config, MIB)
        place = folder.path.resolve()
    except (OSError, RuntimeError):
        return None
    return None if identity is None else {
        "path": str(place), "run": identity, "config": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip


def _note(folder: RunFolder) -> Path:
    """Where the note on a run lies."""
    name = hashlib.sha256(str(folder.path.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
    return user_state_path("zerosum") / "runs" / f"{name}.json"
