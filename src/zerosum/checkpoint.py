"""What is saved, saved whole, and verified before it is believed.

    checkpoints/000500/players.safetensors      weights and buffers of G and D
                       average.safetensors      the moving average of G
                       optimizers.safetensors   what the optimizers remember
                       state.json               round, run, data fingerprint, whatever else is in State.extra
                       manifest.json            size and sha256 of each file, and of itself

A checkpoint is written under a temporary name, flushed to the disk, and renamed into place; only then are old ones
removed. So at every instant one complete checkpoint exists. No random state is saved: there is none (see `draws`).

Nothing is ever unpickled. A checkpoint is believed once its five files are regular ones of the right size and sha256,
it lies under its own round, belongs to this run, and holds just the tensors, of shape and type, that the networks and
their optimizers have. A file with a single flipped bit is named, and the checkpoint before it is used.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
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
from zerosum.config.settings import MAX_SECONDS
from zerosum.engine import World
from zerosum.errors import CheckpointError, DataError, Diverged, named
from zerosum.files import GIB, KIB, MIB
from zerosum.game.state import Player, State
from zerosum.memory import is_out_of_memory
from zerosum.run.folder import CHECKPOINT_NAME, MANIFEST, STATE, TENSORS, Say, remove_checkpoint, silent

CONTENTS = (*TENSORS, STATE)
"""What the manifest lists."""

HEADER = 64 * KIB
"""Bytes of a file of tensors beside their own numbers and 256 for each name."""

UNREAD = 100
"""A file that is only verified, not used, may be so many times as large as the average, or a GiB."""

COPIES = 3
"""Times that tensors lie in memory, beside themselves, while safetensors makes a file of them; newer ones need 2."""

LOOKS = 20
"""How often checkpoints are looked for anew while a training writes and removes them, a twentieth of a second apart."""

PLAYERS: tuple[Player, ...] = ("generator", "discriminator")


class Likeness(NamedTuple):
    """What a tensor has to be like."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "dict[str, Likeness]":
        """What tensors are like, by name."""
        return {name: cls(tuple(one.shape), one.dtype) for name, one in tensors.items()}

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {list(self.shape)}"


Layout = dict[str, dict[str, Likeness]]
"""File ("players", "average", "optimizers") -> name of a tensor -> what it is like."""

Fits = Callable[[dict[str, Any]], Layout]
"""What state.json holds -> the layout of those files that are wanted; the others are verified and not kept.

May raise CheckpointError, where state.json does not hold what it should.
"""


@dataclass(frozen=True)
class Checkpoint:
    """A complete, verified checkpoint, read into memory."""

    round: int
    path: Path
    tensors: dict[str, dict[str, Tensor]]
    """File ("players", "average", "optimizers") -> name -> tensor."""
    state: dict[str, Any]
    """What state.json holds."""


def save(folder: Path, state: State, facts: dict[str, Any], keep: int) -> Path:
    """Write a checkpoint of the state, then remove all older ones but the newest `keep`.

    Args:
        folder: The run's checkpoints.
        state: What to save.
        facts: Further numbers and texts for state.json; "run" is what the run is known by.
        keep: How many complete checkpoints stay.

    Raises:
        CheckpointError: The disk refused; the checkpoints before it are untouched.
    """
    target = folder / f"{state.round:06d}"
    temporary = folder / files.temporary_name()
    contents: dict[str, bytes] = {}
    try:
        contents = _contents(state, facts)
        _write(temporary, contents)
        if not remove_checkpoint(target):  # the same round, played again after it was found damaged
            raise OSError(None, "files that are none of a checkpoint lie there; move them away")
        temporary.rename(target)
        _flush_folder(folder)
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
    """Remove the checkpoints up to a round, but for the newest `keep` of them.

    A process that was killed while it did so leaves one of them half-removed: whoever resumes does it once more.
    """
    for path in [path for path in newest_first(folder) if int(path.name) <= at_round][keep:]:
        remove_checkpoint(path)


def refuse_non_finite(state: State) -> None:
    """Stop where a weight, an average or what an optimizer remembers is no longer finite: it must never be saved.

    Raises:
        Diverged: With the name of the first such tensor.
    """
    tensors = tensors_of(state)
    if name := non_finite(tensors):
        of_d = name.startswith(("discriminator.", "the memory of discriminator."))
        player: Player = "discriminator" if of_d else "generator"
        bad = tensors[name][~torch.isfinite(tensors[name])][0].item()
        raise Diverged(state.round, player, f"tensor {name}", bad)


def load(folder: Path, say: Say = silent, run: str | None = None, fits: Fits | None = None) -> Checkpoint | None:
    """The newest checkpoint that verifies; None where there is none at all.

    A training beside may write and remove checkpoints meanwhile: where none of those that were listed is whole and the
    list has changed, it is looked at anew.

    Args:
        folder: The run's checkpoints.
        say: Told about each damaged one that is passed over, once it is known which is used instead.
        run: What the run is known by; None: not known, any run's will do.
        fits: What the tensors have to be like; None: all are kept, unchecked.

    Raises:
        CheckpointError: There are checkpoints, and every one is damaged.
    """
    faults: list[str] = []
    for _ in range(LOOKS):
        listed, faults = newest_first(folder), []
        for path in listed:
            try:
                checkpoint = read(path, run, fits)
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
        raise CheckpointError("no checkpoint is whole:\n  " + "\n  ".join(faults) + "\n--fresh starts the run over")
    return None


def read(path: Path, run: str | None = None, fits: Fits | None = None) -> Checkpoint:
    """One checkpoint, once every byte of it has been compared with the manifest.

    Args:
        path: Its folder.
        run: What its run is known by; None: any run's will do.
        fits: What its tensors have to be like; None: all are kept, unchecked.

    Raises:
        CheckpointError: A file is missing, no regular one, of another size or has other content, or a tensor is not
            what it should be; it is named.
    """
    if not files.is_folder(path):
        raise _damaged(path, "it is no folder")
    table = _manifest(path)
    state = _state(path, _verified(path, STATE, table[STATE], 64 * MIB), run)
    layout = fits(state) if fits else None
    average = sum(one.nbytes for one in (layout or {}).get("average", {}).values())
    tensors = {}
    for name in TENSORS:
        stem = name.removesuffix(".safetensors")
        if layout is not None and stem not in layout:
            _verify(path, name, table[name], max(UNREAD * average, GIB))
            continue
        most = GIB * KIB if layout is None else _most(layout[stem])
        tensors[stem] = _parsed(path, name, _verified(path, name, table[name], most))
        if layout is not None:
            refuse_others(tensors[stem], layout[stem], f"checkpoint {path.name} does not fit: {name}", stem)
            if odd := non_finite(tensors[stem]):
                raise _damaged(path, f"{name}: {odd} holds NaN or infinity, which is never saved")
    return Checkpoint(state["round"], path, tensors, state)


def refuse_others(found: dict[str, Tensor], wanted: dict[str, Likeness], where: str, stem: str) -> None:
    """Make sure that tensors are those that are wanted, by name, shape and type.

    What an optimizer remembers of a weight may be missing as a whole: it has not moved yet.

    Raises:
        CheckpointError: One is missing, not wanted, or of another shape or type.
    """
    likes = Likeness.of(found)
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            raise CheckpointError(f"{where}: it holds {ascii(name)[:80]}, which is no tensor of this run")
        if name not in found:
            weight = name.rpartition(".")[0] + "."
            if stem == "optimizers" and not any(other.startswith(weight) for other in found):
                continue
            raise CheckpointError(f"{where}: {name} is missing")
        if likes[name] != wanted[name]:
            raise CheckpointError(f"{where}: {name} is {likes[name]}, expected {wanted[name]}")


def non_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The first tensor, by its name, that holds NaN or infinity; None where none does."""
    floats = ((name, one) for name, one in tensors.items() if one.is_floating_point())
    return next((name for name, one in floats if not torch.isfinite(one).all()), None)


def layout_of(state: State) -> Layout:
    """What a checkpoint of this state holds, to resume from.

    Each optimizer makes one step without a gradient, to show what it remembers: whoever asks must `restore` afterwards.
    """
    players = {f"{player}.{name}": one for player in PLAYERS for name, one in likeness(getattr(state, player)).items()}
    for optimizer in state.optimizers.values():
        _move_nowhere(optimizer)
    return {"players": players, "average": likeness(state.average), "optimizers": Likeness.of(_memories(state))}


def likeness(net: nn.Module) -> dict[str, Likeness]:
    """What the tensors of a network are like, by name."""
    return Likeness.of(net.state_dict())


def _move_nowhere(optimizer: Optimizer) -> None:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    before = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight, gradient in zip(weights, before, strict=True):
        weight.grad = gradient


def restore(checkpoint: Checkpoint, state: State) -> None:
    """Put a checkpoint back into freshly built players and optimizers.

    Raises:
        CheckpointError: The networks are not those that were saved.
    """
    players, averages = checkpoint.tensors["players"], checkpoint.tensors["average"]
    _fill(state.generator, players, "generator.", checkpoint.path)
    _fill(state.discriminator, players, "discriminator.", checkpoint.path)
    _fill(state.average, averages, "", checkpoint.path)
    for player, optimizer in state.optimizers.items():
        _remember(optimizer, checkpoint.tensors["optimizers"], f"{player}.")
    state.round = checkpoint.round
    state.extra = dict(checkpoint.state["extra"])


def spread(state: State, world: World) -> None:
    """Let every process have the leader's state."""
    if world.is_single:
        return
    contents = _contents(state, {}) if world.is_main else {}
    names = json.loads(world.broadcast(json.dumps(list(contents)).encode()))
    received = {name: world.broadcast(contents.get(name, b"")) for name in names}
    if not world.is_main:
        path = Path("the state of process 0")
        tensors = {name.removesuffix(".safetensors"): _parsed(path, name, received[name]) for name in TENSORS}
        told = json.loads(received[STATE])
        restore(Checkpoint(told["round"], path, tensors, told), state)


def tensors_of(state: State) -> dict[str, Tensor]:
    """Everything that has to be the same in every process, by name."""
    nets = {"generator": state.generator, "discriminator": state.discriminator, "average": state.average}
    named = {f"{net}.{name}": tensor for net in nets for name, tensor in nets[net].state_dict().items()}
    return named | {f"the memory of {name}": tensor for name, tensor in _memories(state).items()}


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


def newest_first(folder: Path) -> list[Path]:
    """The checkpoints, newest first.

    Raises:
        CheckpointError: The folder is closed to us.
    """
    if not files.is_folder(folder):
        return []
    try:
        found = [path for path in folder.iterdir() if CHECKPOINT_NAME.fullmatch(path.name)]
    except OSError as error:
        raise CheckpointError(f"cannot read {named(folder)}: {files.reason(error)}") from None
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def _contents(state: State, facts: dict[str, Any]) -> dict[str, bytes]:
    """File name -> bytes."""
    players = _named(state.generator, "generator.") | _named(state.discriminator, "discriminator.")
    numbers = {"round": state.round, "extra": state.extra, **facts}
    return {
        "players.safetensors": _file_of(players),
        "average.safetensors": _file_of(_named(state.average, "")),
        "optimizers.safetensors": _file_of(_memories(state)),
        "state.json": json.dumps(numbers, indent=1).encode(),
    }


def _file_of(tensors: dict[str, Tensor]) -> bytes:
    """Tensors as a file holds them; where memory is short, an error."""
    needed = COPIES * sum(one.nbytes for one in tensors.values())
    torch.empty(needed, dtype=torch.uint8)  # refused in an orderly way: safetensors ends the process there and then
    return to_bytes(tensors)


def _named(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}


def _memories(state: State) -> dict[str, Tensor]:
    """What the optimizers remember, as "generator.0.exp_avg" -> tensor; their settings come from the recipe."""
    return {
        f"{player}.{index}.{key}": value.detach().cpu().contiguous()
        for player, optimizer in state.optimizers.items()
        for index, memory in optimizer.state_dict()["state"].items()
        for key, value in memory.items()
        if isinstance(value, Tensor)
    }


def _remember(optimizer: Optimizer, tensors: dict[str, Tensor], prefix: str) -> None:
    memory: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix):
            index, key = name.removeprefix(prefix).split(".", 1)
            memory.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": memory, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, kept in optimizer.state.items():  # fused steps walk through memory: both must lie there alike
        for key, value in kept.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                kept[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _fill(net: nn.Module, tensors: dict[str, Tensor], prefix: str, path: Path) -> None:
    mine = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    refuse_others(mine, likeness(net), f"{path} holds other networks", "players")
    net.load_state_dict(mine)


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir()
    for name, data in contents.items():
        files.write_through(folder / name, data)
    table = {name: [len(data), hashlib.sha256(data).hexdigest()] for name, data in contents.items()}
    files.write_through(folder / MANIFEST, _sealed(table))
    _flush_folder(folder)


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


class Facts(NamedTuple):
    """What the manifest says of a file."""

    size: int
    digest: str


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"checkpoint {path.name} is damaged: {why}")


def _manifest(path: Path) -> dict[str, Facts]:
    try:
        content = files.read(path / MANIFEST, 64 * KIB)
    except OSError as error:
        raise _damaged(path, f"{MANIFEST}: {files.reason(error)}") from None
    line, _, seal = content.partition(b"\n")
    if hashlib.sha256(line).hexdigest().encode() != seal:
        raise _damaged(path, f"{MANIFEST} does not match its own sha256")
    try:
        table = {name: Facts(*facts) for name, facts in json.loads(line).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise _damaged(path, f"{MANIFEST} is no table of files") from None
    if sorted(table) != sorted(CONTENTS):
        raise _damaged(path, f"{MANIFEST} lists other files than {', '.join(CONTENTS)}")
    if not all(type(size) is int and isinstance(digest, str) for size, digest in table.values()):
        raise _damaged(path, f"{MANIFEST} is no table of files")
    return table


def _state(path: Path, content: bytes, run: str | None) -> dict[str, Any]:
    """What state.json holds, once it is seen to be that of this round of this run."""
    try:
        state = json.loads(content)
    except (ValueError, RecursionError):
        raise _damaged(path, f"{STATE} is no JSON") from None
    kinds: dict[str, type] = {"round": int, "run": str, "fingerprint": str, "extra": dict, "data": dict}
    odd = [key for key, kind in kinds.items() if not isinstance(state, dict) or type(state.get(key)) is not kind]
    if not odd and not _is_extra(state["extra"]):
        odd = ["extra"]
    if odd:
        raise _damaged(path, f"{STATE} does not say what it should: {', '.join(odd)}")
    if state["round"] != int(path.name):
        raise _damaged(path, f"it is the one of round {state['round']}, renamed")
    if run is not None and state["run"] != run:
        raise CheckpointError(f"checkpoint {path.name} belongs to another run")
    found: dict[str, Any] = state
    return found


def _is_extra(extra: dict[str, Any]) -> bool:
    """Whether it is one level of numbers and words, and the seconds played are a number of seconds."""
    seconds = extra.get("seconds", 0.0)
    flat = all(value is None or isinstance(value, str | int | float) for value in extra.values())
    return flat and isinstance(seconds, int | float) and 0 <= seconds < MAX_SECONDS


def _most(wanted: dict[str, Likeness]) -> int:
    """Bytes that a file of these tensors may have."""
    return HEADER + sum(one.nbytes + 256 + 2 * len(name) for name, one in wanted.items())


def _parsed(path: Path, name: str, content: bytes) -> dict[str, Tensor]:
    try:
        return from_bytes(content)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OverflowError) as error:
        raise _damaged(path, f"{name}: {str(error)[:200]}") from None


def _verified(path: Path, name: str, facts: Facts, most: int) -> bytes:
    """A file's content, once it is what the manifest says."""
    return b"".join(_pieces(path, name, facts, most))


def _verify(path: Path, name: str, facts: Facts, most: int) -> None:
    """The same without keeping it."""
    for _ in _pieces(path, name, facts, most):
        pass


def _pieces(path: Path, name: str, facts: Facts, most: int) -> Iterator[bytes]:
    try:
        size = files.stat_regular(path / name, most).st_size
        if size != facts.size:
            raise _damaged(path, f"{name} has {size} bytes, expected {facts.size}")
        digest = hashlib.sha256()
        for piece in files.read_chunks(path / name, most):
            digest.update(piece)
            yield piece
    except OSError as error:
        raise _damaged(path, f"{name}: {files.reason(error)}") from None
    if digest.hexdigest() != facts.digest:
        raise _damaged(path, f"{name} does not match its sha256")
