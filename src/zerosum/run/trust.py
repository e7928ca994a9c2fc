"""Trust: a run made on this machine may import the code and open the paths that its settings name.

`train` records each run in the user's state folder: its path, run id, the sha256 of its config.toml, and the folder in
which it was started. A run is trusted while the record matches. A run folder from elsewhere, one that was moved or
whose settings were edited is not; `--trust` or `trust=True` trusts it for one command.
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
def permitted(folder: RunFolder, config: Config, trusted: bool = False) -> Iterator[None]:
    """In the block, allow imports and paths that a run's settings name, if the run is trusted.

    Args:
        folder: The run.
        config: Its settings.
        trusted: The user trusts it (`--trust`).

    Raises:
        Untrusted: It is not trusted, and its settings name code.
    """
    code = code_folder(folder, trusted)
    if code is None:
        refuse_code(folder, config)
        yield
        return
    with permission.granted(code=code, paths=True):
        yield


def code_folder(folder: RunFolder, trusted: bool = False) -> Path | None:
    """The folder from which a trusted run imports the user's modules; None if the run is not trusted.

    Args:
        folder: The run.
        trusted: The user trusts it; modules are then imported from the working folder.
    """
    if trusted:
        return Path.cwd()
    try:
        found = json.loads(files.read(_record_path(folder), MIB))
    except (OSError, ValueError, RecursionError):
        return None
    known = _fingerprint(folder)
    if known is None or not isinstance(found, dict) or any(found.get(key) != value for key, value in known.items()):
        return None
    return Path(str(found.get("code", "")))


def record(folder: RunFolder, code: Path) -> None:
    """Record that a run was made here.

    Args:
        folder: The run, already created.
        code: The folder from which the user's modules are imported.

    Raises:
        OSError: The record cannot be written; other commands will need --trust.
    """
    fingerprint = _fingerprint(folder)
    if fingerprint is None:
        return
    path = _record_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.remove_stale_temporary(path.parent)
    files.write(path, json.dumps({**fingerprint, "code": str(code.resolve())}).encode())


def refuse_code(folder: RunFolder, config: Config) -> None:
    """Refuse settings of an untrusted run that name code.

    Raises:
        Untrusted: They do; the message lists what would be imported.
    """
    names = settings.code_settings(config)
    if names:
        raise Untrusted(
            f"{named(folder.path)} was not made here, or was moved or changed since, and its settings name code, which "
            "was not imported: "
            + ", ".join(f"{setting} = {named(name)}" for setting, name in names)
            + ". If you know what that code does, say --trust (in Python: trust=True)"
        )


def _fingerprint(folder: RunFolder) -> dict[str, str] | None:
    """What identifies a run: path, run id and hash of config.toml; None if they cannot be read."""
    run_id = folder.run_id()
    try:
        content = folder.read(folder.config, MIB)
        place = folder.path.resolve()
    except (OSError, RuntimeError):
        return None
    return None if run_id is None else {
        "path": str(place), "run": run_id, "config": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip


def _record_path(folder: RunFolder) -> Path:
    """Path of the record of a run."""
    name = hashlib.sha256(str(folder.path.resolve()).encode(errors="surrogateescape")).hexdigest()[:32]
    return user_state_path("zerosum") / "runs" / f"{name}.json"
