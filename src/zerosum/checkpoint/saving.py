"""Saving a checkpoint: serialized, written under a temporary name, flushed to disk, renamed; then old ones are removed.

So at every instant one complete checkpoint exists. A write that fails leaves the older checkpoints as they are.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from zerosum import files
from zerosum.checkpoint.tensors import network_tensors, optimizer_tensors
from zerosum.errors import CheckpointError, named
from zerosum.game.state import State
from zerosum.memory import is_out_of_memory
from zerosum.run.manifest import flush_folder, newest_first, remove_checkpoint, write_sealed

SERIALIZATION_COPIES = 3
"""Copies of the tensors in memory while safetensors serializes them; newer versions need 2."""


def save(folder: Path, state: State, metadata: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint of the state, then remove older ones; return its path.

    Args:
        folder: The folder of the run's checkpoints.
        state: The state to save.
        metadata: Further entries of state.json; "run" is the run id.
        keep: Number of newest checkpoints to keep.

    Raises:
        CheckpointError: Writing failed, or memory ran out; older checkpoints are untouched.
    """
    target = folder / f"{state.round:06d}"
    temporary = folder / files.temporary_name()
    contents: dict[str, bytes] = {}
    try:
        contents = file_contents(state, metadata)
        write_sealed(temporary, contents)
        if not remove_checkpoint(target):  # the same round, played again after it was found damaged
            raise OSError(None, "files that are none of a checkpoint lie there; move them away")
        temporary.rename(target)
        flush_folder(folder)
    except (OSError, MemoryError, RuntimeError) as error:
        remove_checkpoint(temporary)
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        if not files.is_folder(folder):
            raise CheckpointError(f"cannot save {named(target)}: the run folder is no longer there") from None
        needed = sum(map(len, contents.values()))
        why = "there is not enough memory to copy the tensors. Make the networks smaller, or close other programs"
        if isinstance(error, OSError):
            why = files.reason(error, needed, target)
        raise CheckpointError(f"cannot save {named(target)}: {why}. Older checkpoints are intact") from None
    prune(folder, state.round, keep)
    return target


def prune(folder: Path, at_round: int, keep: int) -> None:
    """Remove the checkpoints up to a round, except for the newest `keep` of them.

    A process killed in between leaves a checkpoint half removed; so a resumed run prunes once more.
    """
    for path in [path for path in newest_first(folder) if int(path.name) <= at_round][keep:]:
        remove_checkpoint(path)


def file_contents(state: State, metadata: dict[str, Any]) -> dict[str, bytes]:
    """Serialize the state: file name -> bytes."""
    players = network_tensors(state.generator, "generator.") | network_tensors(state.discriminator, "discriminator.")
    numbers = {"round": state.round, "extra": state.extra, **metadata}
    return {
        "players.safetensors": _serialize(players),
        "average.safetensors": _serialize(network_tensors(state.average, "")),
        "optimizers.safetensors": _serialize(optimizer_tensors(state)),
        "state.json": json.dumps(numbers, indent=1).encode(),
    }


def _serialize(tensors: dict[str, Tensor]) -> bytes:
    """Serialize tensors in the safetensors format; raise an error if memory is short."""
    needed = SERIALIZATION_COPIES * sum(one.nbytes for one in tensors.values())
    torch.empty(needed, dtype=torch.uint8)  # raises an error; out of memory, safetensors would abort the process
    return to_bytes(tensors)
