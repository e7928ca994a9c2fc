"""Loading a checkpoint: found, verified byte by byte and tensor by tensor, and only then put into the players.

If a single bit is wrong, the file is named and the previous checkpoint is used. Nothing is ever unpickled.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from zerosum.checkpoint.saving import file_contents
from zerosum.checkpoint.tensors import ExpectedLayout, TensorSpec, non_finite, refuse_wrong_tensors, specs_of
from zerosum.engine import World
from zerosum.errors import CheckpointError, DataError
from zerosum.files import GIB, KIB
from zerosum.game.state import State
from zerosum.run.folder import STATE, TENSORS, Say, silent
from zerosum.run.manifest import damaged, newest_first, read_state, read_verified, verify

HEADER_BYTES = 64 * KIB
"""Largest size in bytes of a safetensors header, without 256 bytes per tensor."""

UNUSED_FILE_RATIO = 100
"""Largest size of a file that is verified but not used, relative to the average's; at least 1 GiB is allowed."""

LISTING_ATTEMPTS = 20
"""How often the checkpoints are listed, every 0.05 s, while a training writes and removes them."""


@dataclass(frozen=True)
class Checkpoint:
    """A complete, verified checkpoint, read into memory."""

    round: int
    path: Path
    tensors: dict[str, dict[str, Tensor]]
    """File ("players", "average", "optimizers") -> name -> tensor."""
    state: dict[str, Any]
    """Content of state.json."""


def load(
    folder: Path, say: Say = silent, run: str | None = None, expected_layout: ExpectedLayout | None = None
) -> Checkpoint | None:
    """Load the newest valid checkpoint; None if there is no checkpoint.

    A concurrent training may write and remove checkpoints: if none of the listed ones is valid and the list has
    changed, it is read again.

    Args:
        folder: The folder of the run's checkpoints.
        say: Called with one sentence for each damaged checkpoint that was skipped.
        run: The run id; None accepts any run.
        expected_layout: Returns the expected tensors; if None, all tensors are kept, unchecked.

    Raises:
        CheckpointError: There are checkpoints, but none is valid.
    """
    faults: list[str] = []
    for _ in range(LISTING_ATTEMPTS):
        listed, faults = newest_first(folder), []
        for path in listed:
            try:
                checkpoint = read(path, run, expected_layout)
            except CheckpointError as error:
                faults += [str(error)] if path.exists() else []
                continue
            for fault in faults:
                say(f"{fault}; using {path.name} instead")
            return checkpoint
        if newest_first(folder) == listed:
            break
        time.sleep(0.05)
    if faults:
        raise CheckpointError("no checkpoint is whole:\n  " + "\n  ".join(faults))
    return None


def read(path: Path, run: str | None = None, expected_layout: ExpectedLayout | None = None) -> Checkpoint:
    """Read one checkpoint and verify every byte of it against the manifest.

    Args:
        path: The folder of the checkpoint.
        run: The run id; None accepts any run.
        expected_layout: Returns the expected tensors; if None, all tensors are kept, unchecked.

    Raises:
        CheckpointError: A file is missing, is not a regular file or differs in size or content, or a tensor is not as
            expected; names the file or tensor.
    """
    table, state = read_state(path, run)
    layout = expected_layout(state) if expected_layout else None
    average = sum(one.nbytes for one in (layout or {}).get("average", {}).values())
    tensors = {}
    for name in TENSORS:
        stem = name.removesuffix(".safetensors")
        if layout is not None and stem not in layout:
            verify(path, name, table[name], max(UNUSED_FILE_RATIO * average, GIB))
            continue
        max_bytes = GIB * KIB if layout is None else _max_bytes(layout[stem])
        tensors[stem] = _parse_tensors(path, name, read_verified(path, name, table[name], max_bytes))
        if layout is not None:
            refuse_wrong_tensors(tensors[stem], layout[stem], f"checkpoint {path.name} does not fit: {name}", stem)
            if odd := non_finite(tensors[stem]):
                raise damaged(path, f"{name}: {odd} holds NaN or infinity, which is never saved")
    return Checkpoint(state["round"], path, tensors, state)


def _max_bytes(wanted: dict[str, TensorSpec]) -> int:
    """Return the largest valid size in bytes of a file of these tensors."""
    return HEADER_BYTES + sum(one.nbytes + 256 + 2 * len(name) for name, one in wanted.items())


def _parse_tensors(path: Path, name: str, content: bytes) -> dict[str, Tensor]:
    try:
        return from_bytes(content)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise damaged(path, f"{name}: {str(error)[:200]}") from None


def refuse_other_data(checkpoint: Checkpoint, name: str, fingerprint: str) -> None:
    """Check that the checkpoint's run was trained on the data with this fingerprint.

    Raises:
        DataError: It was trained on other data.
    """
    if checkpoint.state["fingerprint"] != fingerprint:
        raise DataError(
            f"{name}: the data is not what this run began with (fingerprint {checkpoint.state['fingerprint']} then, "
            f"{fingerprint} now)"
        )


def restore(checkpoint: Checkpoint, state: State) -> None:
    """Load a checkpoint into newly built players and optimizers.

    Raises:
        CheckpointError: The networks are not the ones that were saved.
    """
    players, averages = checkpoint.tensors["players"], checkpoint.tensors["average"]
    _load_network(state.generator, players, "generator.", checkpoint.path)
    _load_network(state.discriminator, players, "discriminator.", checkpoint.path)
    _load_network(state.average, averages, "", checkpoint.path)
    for player, optimizer in state.optimizers.items():
        _load_optimizer(optimizer, checkpoint.tensors["optimizers"], f"{player}.")
    state.round = checkpoint.round
    state.extra = dict(checkpoint.state["extra"])


def restore_average(checkpoint: Checkpoint, net: nn.Module) -> None:
    """Load the averaged weights into a newly built generator."""
    _load_network(net, checkpoint.tensors["average"], "", checkpoint.path)


def broadcast_state(state: State, world: World) -> None:
    """Broadcast the state of rank 0 to all ranks."""
    if world.is_single:
        return
    contents = file_contents(state, {}) if world.is_main else {}
    names = json.loads(world.broadcast(json.dumps(list(contents)).encode()))
    received = {name: world.broadcast(contents.get(name, b"")) for name in names}
    if not world.is_main:
        path = Path("the state of process 0")
        tensors = {name.removesuffix(".safetensors"): _parse_tensors(path, name, received[name]) for name in TENSORS}
        saved = json.loads(received[STATE])
        restore(Checkpoint(saved["round"], path, tensors, saved), state)


def _load_network(net: nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path) -> None:
    network = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    refuse_wrong_tensors(network, specs_of(net), f"{path} holds other networks", "players")
    net.load_state_dict(network)


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], prefix: str) -> None:
    memory: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".", 1)
            memory.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, kept in optimizer.state.items():  # fused steps need the parameter's memory layout
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
