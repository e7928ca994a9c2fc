"""What is saved, saved whole, and verified before it is believed.

    checkpoints/000500/players.safetensors      weights and buffers of G and D
                       average.safetensors      the moving average of G
                       optimizers.safetensors   what the optimisers remember
                       state.json               round, seconds, data fingerprint, whatever else is in State.extra
                       manifest.json            size and sha256 of each file, and of itself

A checkpoint is written as 000500.tmp-PID, flushed to the disk, and renamed into place; only then are old ones removed.
So at every instant one complete checkpoint exists. No random state is saved: there is none (see `draws`). Nothing is
ever unpickled. A file with a single flipped bit is named, and the checkpoint before it is used.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from zerosum.errors import CheckpointError, DataError
from zerosum.parallel import Team
from zerosum.rules import State

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A complete, verified checkpoint, read into memory."""

    step: int
    path: Path
    tensors: dict[str, dict[str, Tensor]]
    """File ("players", "average", "optimizers") -> name -> tensor."""
    state: dict[str, Any]
    """What state.json holds."""


def save(folder: Path, state: State, facts: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint of the state, then remove all but the newest `keep`.

    Args:
        folder: The run's checkpoints.
        state: What to save.
        facts: Further numbers and texts for state.json.
        keep: How many complete checkpoints stay.

    Raises:
        CheckpointError: The disk refused; the checkpoints before it are untouched.
    """
    target = folder / f"{state.step:06d}"
    temporary = folder / f"{target.name}.tmp-{os.getpid()}"
    try:
        _write(temporary, _contents(state, facts))
        if target.exists():
            shutil.rmtree(target)  # the same round, played again after it was found damaged
        temporary.rename(target)
        _flush_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"cannot save {target}: {error.strerror or error}. Older checkpoints are intact"
        ) from None
    for path in steps(folder)[keep:]:
        shutil.rmtree(path, ignore_errors=True)
    return target


def load(folder: Path, say: Callable[[str], None] = lambda _: None) -> Checkpoint | None:
    """The newest checkpoint that verifies; None where there is none at all.

    Args:
        folder: The run's checkpoints.
        say: Told about each damaged one that is passed over.

    Raises:
        CheckpointError: There are checkpoints, and every one is damaged.
    """
    faults = []
    for path in steps(folder):
        try:
            checkpoint = read(path)
        except CheckpointError as error:
            faults.append(str(error))
            continue
        for fault in faults:
            say(f"{fault}; using {path.name} instead")
        return checkpoint
    if faults:
        raise CheckpointError("no checkpoint is whole:\n  " + "\n  ".join(faults) + "\n--fresh starts the run over")
    return None


def read(path: Path) -> Checkpoint:
    """One checkpoint, once every byte of it has been compared with the manifest.

    Raises:
        CheckpointError: A file is missing, of another size or has other content; it is named.
    """
    return _opened(path, {name: _verified(path, name, *facts) for name, facts in _manifest(path).items()})


def _opened(path: Path, contents: dict[str, bytes]) -> Checkpoint:
    tensors = {Path(name).stem: from_bytes(data) for name, data in contents.items() if name.endswith(".safetensors")}
    state = json.loads(contents["state.json"])
    return Checkpoint(state["step"], path, tensors, state)


def restore(checkpoint: Checkpoint, state: State) -> None:
    """Put a checkpoint back into freshly built players and optimisers.

    Raises:
        CheckpointError: The networks are not those that were saved.
    """
    players, averages = checkpoint.tensors["players"], checkpoint.tensors["average"]
    _fill(state.generator, players, "generator.", checkpoint.path)
    _fill(state.discriminator, players, "discriminator.", checkpoint.path)
    _fill(state.average, averages, "", checkpoint.path)
    for player, optimiser in state.optimisers.items():
        _remember(optimiser, checkpoint.tensors["optimizers"], f"{player}.")
    for copy in state.rounded.values():
        copy.follow()
    state.step = checkpoint.step
    state.extra = dict(checkpoint.state["extra"])


def spread(state: State, team: Team) -> None:
    """Let every process have the leader's state."""
    if team.alone:
        return
    contents = _contents(state, {}) if team.leads else {}
    names = json.loads(team.from_leader(json.dumps(list(contents)).encode()))
    received = {name: team.from_leader(contents.get(name, b"")) for name in names}
    if not team.leads:
        restore(_opened(Path("the state of process 0"), received), state)


def tensors_of(state: State) -> dict[str, Tensor]:
    """Everything that has to be the same in every process, by name."""
    nets = {"generator": state.generator, "discriminator": state.discriminator, "average": state.average}
    named = {f"{net}.{name}": tensor for net in nets for name, tensor in nets[net].state_dict().items()}
    for player, optimiser in state.optimisers.items():
        named |= _memory(optimiser, f"the memory of {player}.")
    return named


def restore_average(checkpoint: Checkpoint, net: nn.Module) -> None:
    """Put the averaged weights into a freshly built generator."""
    _fill(net, checkpoint.tensors["average"], "", checkpoint.path)


def refuse_other_data(checkpoint: Checkpoint, name: str, fingerprint: str) -> None:
    """Stop where a checkpoint's run was trained on other data than that of a fingerprint.

    Raises:
        DataError: It was.
    """
    if checkpoint.state["fingerprint"] != fingerprint:
        raise DataError(
            f"{name}: the data is not what this run began with (fingerprint {checkpoint.state['fingerprint']} then, "
            f"{fingerprint} now). `train --fresh` starts over"
        )


def steps(folder: Path) -> list[Path]:
    """The complete checkpoints, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if re.fullmatch(r"\d{6,}", path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def sweep(folder: Path) -> None:
    """Remove what an earlier process left half-written; call it only while holding the run's lock."""
    for path in folder.glob("*.tmp-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.parent.rglob(".tmp-*"):
        path.unlink(missing_ok=True)


def _contents(state: State, facts: dict[str, Any]) -> dict[str, bytes]:
    """File name -> bytes."""
    players = _named(state.generator, "generator.") | _named(state.discriminator, "discriminator.")
    memory: dict[str, Tensor] = {}
    for player, optimiser in state.optimisers.items():
        memory |= _memory(optimiser, f"{player}.")
    numbers = {"step": state.step, "extra": state.extra, **facts}
    return {
        "players.safetensors": to_bytes(players),
        "average.safetensors": to_bytes(_named(state.average, "")),
        "optimizers.safetensors": to_bytes(memory),
        "state.json": json.dumps(numbers, indent=1).encode(),
    }


def _named(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}


def _memory(optimiser: Optimizer, prefix: str) -> dict[str, Tensor]:
    """What an optimiser remembers, as "0.exp_avg" -> tensor; its settings come from the recipe."""
    remembered = optimiser.state_dict()["state"]
    return {
        f"{prefix}{index}.{key}": value.detach().cpu().contiguous()
        for index, memory in remembered.items()
        for key, value in memory.items()
        if isinstance(value, Tensor)
    }


def _remember(optimiser: Optimizer, tensors: dict[str, Tensor], prefix: str) -> None:
    memory: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".", 1)
            memory.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": memory, "param_groups": optimiser.state_dict()["param_groups"]})
    for parameter, kept in optimiser.state.items():  # fused steps walk through memory: both must lie there alike
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _fill(net: nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path) -> None:
    mine = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        net.load_state_dict(mine)
    except RuntimeError as error:
        raise CheckpointError(f"{path} holds other networks: {error}") from None


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, data in contents.items():
        _write_through(folder / name, data)
    table = {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in contents.items()}
    _write_through(folder / MANIFEST, _sealed(table))
    _flush_folder(folder)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _flush_folder(path: Path) -> None:
    """Make the names in a folder durable; Windows does so by itself and cannot open one."""
    if os.name != "nt":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sealed(table: dict[str, list[Any]]) -> bytes:
    """The manifest's bytes: one line of JSON, then the sha256 of that line."""
    line = json.dumps(table).encode()
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode()


def _manifest(path: Path) -> dict[str, tuple[int, str]]:
    try:
        content = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.name} is damaged: {MANIFEST}: {error.strerror}") from None
    line, _, seal = content.partition(b"\n")
    if hashlib.sha256(line).hexdigest().encode() != seal:
        raise CheckpointError(f"checkpoint {path.name} is damaged: {MANIFEST} does not match its own sha256")
    return {name: (size, digest) for name, (size, digest) in json.loads(line).items()}


def _verified(path: Path, name: str, size: int, digest: str) -> bytes:
    try:
        data = (path / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path.name} is damaged: {name}: {error.strerror}") from None
    if len(data) != size:
        raise CheckpointError(f"checkpoint {path.name} is damaged: {name} has {len(data)} bytes, expected {size}")
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(f"checkpoint {path.name} is damaged: {name} does not match its sha256")
    return data
