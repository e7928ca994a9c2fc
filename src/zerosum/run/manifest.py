"""The files of a checkpoint: listed, sealed by a manifest, verified against it, removed; no tensor is looked into here.

manifest.json    {"players.safetensors": [size, sha256], ...}, then the sha256 of that line
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from zerosum import files
from zerosum.config.settings import MAX_SECONDS
from zerosum.errors import CheckpointError, named
from zerosum.files import GIB, KIB, MIB
from zerosum.run.folder import CHECKPOINT_FILES, CHECKPOINT_NAME, MANIFEST, STATE, TENSORS, RunFolder, Say

CONTENTS = (*TENSORS, STATE)
"""The files that the manifest lists."""

MAX_HASHED = GIB
"""Largest size in bytes of a file that is hashed where no network says how large it may be."""


def newest_first(folder: Path) -> list[Path]:
    """List the checkpoints, newest first.

    Raises:
        CheckpointError: The folder cannot be read.
    """
    if not files.is_folder(folder):
        return []
    try:
        found = [path for path in folder.iterdir() if CHECKPOINT_NAME.fullmatch(path.name)]
    except OSError as error:
        raise CheckpointError(f"cannot read {named(folder)}: {files.reason(error)}") from None
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def write_sealed(folder: Path, contents: dict[str, bytes]) -> None:
    """Write the files of a checkpoint into a new folder, the manifest last, and flush all of it to disk.

    Raises:
        OSError: The disk refused.
    """
    folder.mkdir()
    for name, data in contents.items():
        files.write_through(folder / name, data)
    table = {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in contents.items()}
    files.write_through(folder / MANIFEST, _manifest_bytes(table))
    flush_folder(folder)


def remove_checkpoint(path: Path) -> bool:
    """Remove a checkpoint; return whether it is gone: its folder stays if it contains other files."""
    if not files.is_folder(path):
        return not os.path.lexists(path)
    with suppress(OSError):
        for name in CHECKPOINT_FILES:
            (path / name).unlink(missing_ok=True)
        path.rmdir()
    return not path.exists()


def flush_folder(path: Path) -> None:
    """Flush a folder's entries to disk; Windows does so itself and cannot open a folder."""
    if os.name != "nt":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _manifest_bytes(table: dict[str, list[Any]]) -> bytes:
    """Serialize the manifest: one line of JSON, then the sha256 of that line."""
    line = json.dumps(table).encode()
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode()


class ManifestEntry(NamedTuple):
    """Size and sha256 of a file in the manifest."""

    size: int
    digest: str


def damaged(path: Path, why: str) -> CheckpointError:
    """The error that names a damaged checkpoint."""
    return CheckpointError(f"checkpoint {path.name} is damaged: {why}")


def read_manifest(path: Path) -> dict[str, ManifestEntry]:
    """Read the manifest of a checkpoint: name -> size and sha256 of each file.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    try:
        content = files.read(path / MANIFEST, 64 * KIB)
    except OSError as error:
        raise damaged(path, f"{MANIFEST}: {files.reason(error)}") from None
    line, _, seal = content.partition(b"\n")
    if hashlib.sha256(line).hexdigest().encode() != seal:
        raise damaged(path, f"{MANIFEST} does not match its own sha256")
    try:
        table = {name: ManifestEntry(*entry) for name, entry in json.loads(line).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise damaged(path, f"{MANIFEST} is no table of files") from None
    if sorted(table) != sorted(CONTENTS):
        raise damaged(path, f"{MANIFEST} lists other files than {', '.join(CONTENTS)}")
    if not all(type(size) is int and isinstance(digest, str) for size, digest in table.values()):
        raise damaged(path, f"{MANIFEST} is no table of files")
    return table


def parse_state(path: Path, content: bytes, run: str | None) -> dict[str, Any]:
    """Parse state.json and check its types, round and run id."""
    try:
        state = json.loads(content)
    except (ValueError, RecursionError):
        raise damaged(path, f"{STATE} is no JSON") from None
    kinds: dict[str, type] = {"round": int, "run": str, "fingerprint": str, "extra": dict, "data": dict}
    odd = [key for key, kind in kinds.items() if not isinstance(state, dict) or type(state.get(key)) is not kind]
    if not odd and not _is_extra(state["extra"]):
        odd = ["extra"]
    if odd:
        raise damaged(path, f"{STATE} does not say what it should: {', '.join(odd)}")
    if state["round"] != int(path.name):
        raise damaged(path, f"it is the one of round {state['round']}, renamed")
    if run is not None and state["run"] != run:
        raise CheckpointError(f"checkpoint {path.name} belongs to another run")
    found: dict[str, Any] = state
    return found


def _is_extra(extra: dict[str, Any]) -> bool:
    """Whether `extra` is a flat table of numbers and strings, and its "seconds" are a valid duration."""
    seconds = extra.get("seconds", 0.0)
    flat = all(value is None or isinstance(value, str | int | float) for value in extra.values())
    return flat and isinstance(seconds, int | float) and 0 <= seconds < MAX_SECONDS


def read_state(path: Path, run: str | None) -> tuple[dict[str, ManifestEntry], dict[str, Any]]:
    """Read the manifest and state.json of a checkpoint, and verify them.

    Raises:
        CheckpointError: It is no folder, one of them is missing or damaged, or it belongs to another run.
    """
    if not files.is_folder(path):
        raise damaged(path, "it is no folder")
    table = read_manifest(path)
    return table, parse_state(path, read_verified(path, STATE, table[STATE], 64 * MIB), run)


def read_verified(path: Path, name: str, entry: ManifestEntry, max_bytes: int) -> bytes:
    """Read a file and verify it against its manifest entry."""
    return b"".join(verified_chunks(path, name, entry, max_bytes))


def verify(path: Path, name: str, entry: ManifestEntry, max_bytes: int) -> None:
    """Verify a file without keeping its content."""
    for _ in verified_chunks(path, name, entry, max_bytes):
        pass


def check_size(path: Path, name: str, entry: ManifestEntry, max_bytes: int | None = None) -> None:
    """Compare the size of a file with its manifest entry, without opening the file."""
    try:
        size = files.stat_regular(path / name, max_bytes).st_size
    except OSError as error:
        raise damaged(path, f"{name}: {files.reason(error)}") from None
    if size != entry.size:
        raise damaged(path, f"{name} has {size} bytes, expected {entry.size}")


def verified_chunks(path: Path, name: str, entry: ManifestEntry, max_bytes: int) -> Iterator[bytes]:
    """Yield the content of a file chunk by chunk; raise CheckpointError if it is not what the manifest says."""
    check_size(path, name, entry, max_bytes)
    try:
        digest = hashlib.sha256()
        for chunk in files.read_chunks(path / name, max_bytes):
            digest.update(chunk)
            yield chunk
    except OSError as error:
        raise damaged(path, f"{name}: {files.reason(error)}") from None
    if digest.hexdigest() != entry.digest:
        raise damaged(path, f"{name} does not match its sha256")


def fault(path: Path, run: str | None = None, *, sizes_only: bool = False) -> str | None:
    """Say what is damaged in a checkpoint's files; None if they are what the manifest says.

    Args:
        path: The folder of the checkpoint.
        run: The run id; None accepts any run.
        sizes_only: Whether the content of the tensors' files is left unread, as it is of those above `MAX_HASHED`.
    """
    try:
        table, _ = read_state(path, run)
        for name in TENSORS:
            check_size(path, name, table[name])
            if not sizes_only and table[name].size <= MAX_HASHED:
                verify(path, name, table[name], MAX_HASHED)
    except CheckpointError as error:
        return str(error)
    return None


def say_faults(folder: RunFolder, say: Say) -> None:
    """Name each damaged checkpoint that is newer than the newest whole one: as whoever loads one would.

    Args:
        folder: The run.
        say: Called with one sentence for each.
    """
    faults: list[str] = []
    run = folder.run_id()
    for path in newest_first(folder.checkpoints):
        if (found := fault(path, run)) is None:
            for one in faults:
                say(f"{one}; the newest whole one is {path.name}")
            return
        faults += [found] if path.exists() else []  # a training beside may have removed it meanwhile
    if faults:
        say("no checkpoint is whole:\n  " + "\n  ".join(faults))


def remark(folder: RunFolder) -> str:
    """What a list of runs adds about a run's checkpoints, from names and sizes alone; nothing where all is well."""
    try:
        newest = newest_first(folder.checkpoints)[:1]
    except CheckpointError:
        return "; its checkpoints cannot be read"
    if not newest:
        return "; no checkpoint"
    return "; its newest checkpoint is damaged" if fault(newest[0], folder.run_id(), sizes_only=True) else ""
