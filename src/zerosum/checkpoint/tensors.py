"""The tensors of a state: their names, shapes, dtypes, and whether they are finite.

    players      generator.NAME, discriminator.NAME        weights and buffers, as in state_dict()
    average      NAME                                      of the moving average of G
    optimizers   generator.INDEX.KEY                       for example generator.0.exp_avg

The layout of a checkpoint, file -> name -> shape and dtype, follows from the networks and the optimizers alone. So what
a checkpoint holds can be compared with what it should hold before any of it is used.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from zerosum.errors import CheckpointError, Diverged
from zerosum.game.state import Player, State

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


def network_tensors(net: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Copy the weights and buffers of a network to the CPU, as prefix + name -> tensor."""
    return {prefix + name: tensor.detach().cpu().contiguous().clone() for name, tensor in net.state_dict().items()}


def optimizer_tensors(state: State) -> dict[str, Tensor]:
    """Return the optimizer state as "generator.0.exp_avg" -> tensor; the optimizers' settings come from the recipe."""
    return {
        f"{player}.{index}.{key}": value.detach().cpu().contiguous()
        for player, optimizer in state.optimizers.items()
        for index, memory in optimizer.state_dict()["state"].items()
        for key, value in memory.items()
        if isinstance(value, Tensor)
    }


def all_tensors(state: State) -> dict[str, Tensor]:
    """Return all tensors that must be equal on all ranks, by name: weights, buffers and optimizer state."""
    nets = {"generator": state.generator, "discriminator": state.discriminator, "average": state.average}
    tensors = {f"{net}.{name}": tensor for net in nets for name, tensor in nets[net].state_dict().items()}
    return tensors | {f"the memory of {name}": tensor for name, tensor in optimizer_tensors(state).items()}


def specs_of(net: nn.Module) -> dict[str, TensorSpec]:
    """Return shapes and dtypes of a network's tensors, by name."""
    return TensorSpec.of(net.state_dict())


def layout_of(state: State) -> Layout:
    """Return the layout of a checkpoint of this state.

    Each optimizer makes one step with zero gradients to create its state; the caller must `restore` afterwards.
    """
    players = {f"{player}.{name}": one for player in PLAYERS for name, one in specs_of(getattr(state, player)).items()}
    for optimizer in state.optimizers.values():
        _step_with_zero_gradients(optimizer)
    return {
        "players": players,
        "average": specs_of(state.average),
        "optimizers": TensorSpec.of(optimizer_tensors(state)),
    }


def _step_with_zero_gradients(optimizer: Optimizer) -> None:
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    before = [weight.grad for weight in weights]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for weight, gradient in zip(weights, before, strict=True):
        weight.grad = gradient


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
