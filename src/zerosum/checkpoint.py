"""Checkpoints: written atomically, verified before they are used.

    checkpoints/000500/players.safetensors      weights and buffers of G and D
                       average.safetensors      the moving average of G
                       optimizers.safetensors   optimizer state
                       state.json               round, run id, data fingerprint, State.extra
                       manifest.json            size and sha256 of each file, and its own sha256

A checkpoint is written under a temporary name, flushed to disk, and renamed into place; only then are old ones removed.
So at every instant one complete checkpoint exists. No random state is saved: there is none (see `rng`).

Nothing is ever unpickled. A checkpoint is valid if its five files are regular files of the right size and sha256, its
folder is named by its round, it belongs to this run, and its tensors have exactly the names, shapes and dtypes of the
networks and their optimizers. If a single bit is wrong, the file is named and the previous checkpoint is used.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from zerosum import files
from zerosum.engine import World
from zerosum.errors import CheckpointError, DataError, Diverged, named
from zerosum.files import GIB, KIB
from zerosum.game.state import Player, State
from zerosum.memory import is_out_of_memory
from zerosum.run.folder import STATE, TENSORS, Say, remove_checkpoint, silent
from zerosum.run.manifest import (
    damaged,
    flush_folder,
    newest_first,
    read_state,
    read_verified,
    verify,
    write_sealed,
)

HEADER_BYTES = 64 * KIB
"""Largest size in bytes of a safetensors header, without 256 bytes per tensor."""

UNUSED_FILE_RATIO = 100
"""Largest size of a file that is verified but not used, relative to the average's; at least 1 GiB is allowed."""

SERIALIZATION_COPIES = 3
"""Copies of the tensors in memory while safetensors serializes them; newer versions need 2."""

LISTING_ATTEMPTS = 20
"""How often the checkpoints are listed, every 0.05 s, while a training writes and removes them."""

PLAYERS: tuple[Player, ...] = ("generator", "discriminator")


class TensorSpec(NamedTuple):
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "dict[str, TensorSpec]":
        """Return shapes and dtypes of tensors, by name."""
        return {name: cls(tuple(one.shape), one.dtype) for name, one in tensors.items()}

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {list(self.shape)}"


Layout = dict[str, dict[str, TensorSpec]]
"""File ("players", "average", "optimizers") -> name of a tensor -> its shape and dtype."""

ExpectedLayout = Callable[[dict[str, Any]], Layout]
"""Content of state.json -> layout of the files to read; other files are verified but not kept.

May raise CheckpointError if the content is not valid.
"""


@dataclass(frozen=True)
class Checkpoint:
    """A complete, verified checkpoint, read into memory."""

    round: int
    path: Path
    tensors: dict[str, dict[str, Tensor]]
    """File ("players", "average", "optimizers") -> name -> tensor."""
    state: dict[str, Any]
    """Content of state.json."""


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
        contents = _file_contents(state, metadata)
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


def refuse_non_finite(state: State) -> None:
    """Check that all weights, averaged weights and optimizer state are finite, so that no other state is saved.

    Raises:
        Diverged: They are not; names the first such tensor.
    """
    tensors = all_tensors(state)
    if name := non_finite(tensors):
        of_d = name.startswith(("discriminator.", "the memory of discriminator."))
        player: Player = "discriminator" if of_d else "generator"
        bad = tensors[name][~torch.isfinite(tensors[name])][0].item()
        raise Diverged(state.round, player, f"tensor {name}", bad)


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


def refuse_wrong_tensors(found: dict[str, Tensor], wanted: dict[str, TensorSpec], where: str, stem: str) -> None:
    """Check names, shapes and dtypes of tensors.

    The optimizer state of a weight may be missing as a whole: then the weight has not been updated yet.

    Raises:
        CheckpointError: A tensor is missing, unexpected, or of another shape or dtype.
    """
    specs = TensorSpec.of(found)
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            raise CheckpointError(f"{where}: it holds {ascii(name)[:80]}, which is no tensor of this run")
        if name not in found:
            weight = name.rpartition(".")[0] + "."
            if stem == "optimizers" and not any(other.startswith(weight) for other in found):
                continue
            raise CheckpointError(f"{where}: {name} is missing")
        if specs[name] != wanted[name]:
            raise CheckpointError(f"{where}: {name} is {specs[name]}, expected {wanted[name]}")


def non_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity; None if all are finite."""
    floats = ((name, one) for name, one in tensors.items() if one.is_floating_point())
    return next((name for name, one in floats if not torch.isfinite(one).all()), None)


def layout_of(state: State) -> Layout:
    """Return the layout of a checkpoint of this state.

    Each optimizer makes one step with zero gradients to create its state; the caller must `restore` afterwards.
    """
    players = {f"{player}.{name}": one for player in PLAYERS for name, one in specs_of(getattr(state, player)).items()}
    for optimizer in state.optimizers.values():
        _step_with_zero_gradients(optimizer)
    return {"players": players, "average": specs_of(state.average), "optimizers": TensorSpec.of(_opt_state(state))}


def specs_of(net: nn.Module) -> dict[str, TensorSpec]:
    """Return shapes and dtypes of a network's tensors, by name."""
    return TensorSpec.of(net.state_dict())


def _step_with_zero_gradients(optimizer: Optimizer) -> None:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    before = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight, gradient in zip(weights, before, strict=True):
        weight.grad = gradient


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


def broadcast_state(state: State, world: World) -> None:
    """Broadcast the state of rank 0 to all ranks."""
    if world.is_single:
        return
    contents = _file_contents(state, {}) if world.is_main else {}
    names = json.loads(world.broadcast(json.dumps(list(contents)).encode()))
    received = {name: world.broadcast(contents.get(name, b"")) for name in names}
    if not world.is_main:
        path = Path("the state of process 0")
        tensors = {name.removesuffix(".safetensors"): _parse_tensors(path, name, received[name]) for name in TENSORS}
        saved = json.loads(received[STATE])
        restore(Checkpoint(saved["round"], path, tensors, saved), state)


def all_tensors(state: State) -> dict[str, Tensor]:
    """Return all tensors that must be equal on all ranks, by name: weights, buffers and optimizer state."""
    nets = {"generator": state.generator, "discriminator": state.discriminator, "average": state.average}
    tensors = {f"{net}.{name}": tensor for net in nets for name, tensor in nets[net].state_dict().items()}
    return tensors | {f"the memory of {name}": tensor for name, tensor in _opt_state(state).items()}


def restore_average(checkpoint: Checkpoint, net: nn.Module) -> None:
    """Load the averaged weights into a newly built generator."""
    _load_network(net, checkpoint.tensors["average"], "", checkpoint.path)


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


def _file_contents(state: State, metadata: dict[str, Any]) -> dict[str, bytes]:
    """Serialize the state: file name -> bytes."""
    players = _network_tensors(state.generator, "generator.") | _network_tensors(state.discriminator, "discriminator.")
    numbers = {"round": state.round, "extra": state.extra, **metadata}
    return {
        "players.safetensors": _serialize(players),
        "average.safetensors": _serialize(_network_tensors(state.average, "")),
        "optimizers.safetensors": _serialize(_opt_state(state)),
        "state.json": json.dumps(numbers, indent=1).encode(),
    }


def _serialize(tensors: dict[str, Tensor]) -> bytes:
    """Serialize tensors in the safetensors format; raise an error if memory is short."""
    needed = SERIALIZATION_COPIES * sum(one.nbytes for one in tensors.values())
    torch.empty(needed, dtype=torch.uint8)  # raises an error; out of memory, safetensors would abort the process
    return to_bytes(tensors)


def _network_tensors(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}


def _opt_state(state: State) -> dict[str, Tensor]:
    """Return the optimizer state as "generator.0.exp_avg" -> tensor; the optimizers' settings come from the recipe."""
    return {
        f"{player}.{index}.{key}": value.detach().cpu().contiguous()
        for player, optimizer in state.optimizers.items()
        for index, memory in optimizer.state_dict()["state"].items()
        for key, value in memory.items()
        if isinstance(value, Tensor)
    }


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


def _load_network(net: nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path) -> None:
    network = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    refuse_wrong_tensors(network, specs_of(net), f"{path} holds other networks", "players")
    net.load_state_dict(network)


def _max_bytes(wanted: dict[str, TensorSpec]) -> int:
    """Return the largest valid size in bytes of a file of these tensors."""
    return HEADER_BYTES + sum(one.nbytes + 256 + 2 * len(name) for name, one in wanted.items())


def _parse_tensors(path: Path, name: str, content: bytes) -> dict[str, Tensor]:
    try:
        return from_bytes(content)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise damaged(path, f"{name}: {str(error)[:200]}") from None
