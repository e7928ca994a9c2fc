"""Layers whose output depends on the whole batch: batch normalization and dropout over several ranks.

Batch normalization: mean and variance of the whole batch are sums over all ranks,

    mean = sum of x / n        var = sum of (x - mean)^2 / n        y = (x - mean) / sqrt(var + eps) * scale + shift

and the all-reduce can be differentiated, twice for gradient penalties. torch's SyncBatchNorm works on GPUs only and can
be differentiated once. Dropout: every rank draws the mask of the whole batch from the same random state, and uses the
rows of its shard.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.modules.batchnorm import _BatchNorm

from zerosum.engine.world import World
from zerosum.game.engine import Shard

Layer = TypeVar("Layer", bound=nn.Module)


class AllReduceSum(torch.autograd.Function):
    """Sum over all ranks; the gradient is the sum of the gradients of all ranks."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, world: World) -> Tensor:  # noqa: D102
        ctx.world = world  # type: ignore[attr-defined]
        summed = x.contiguous().clone()
        world.all_reduce(summed, world.gradients).wait()
        return summed

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        return AllReduceSum.apply(grad, ctx.world), None  # type: ignore[attr-defined]


class GlobalBatchNorm(_BatchNorm):
    """Batch normalization over the rows of all ranks, in place of one of torch's layers.

    Args:
        norm: The layer to replace; its parameters and buffers are shared.
        world: All ranks.
    """

    def __init__(self, norm: _BatchNorm, world: World) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self.weight, self.bias = norm.weight, norm.bias
        self._buffers.update(norm._buffers)
        self.world = world

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not self.training:
            return super().forward(x)
        dims = [axis for axis in range(x.ndim) if axis != 1]
        shape = (1, -1, *(1,) * (x.ndim - 2))
        h = x if x.dtype == torch.float64 else x.float()
        count = x.new_tensor([x.numel() / x.shape[1]], dtype=h.dtype)
        sums = self._sum_over_ranks(torch.cat([h.sum(dims), count]))
        n, mean = sums[-1].detach(), sums[:-1] / sums[-1]
        centered = h - mean.view(shape)
        var = self._sum_over_ranks(centered.square().sum(dims)) / n
        self._update_running_statistics(mean.detach(), var.detach(), n)
        y = centered * torch.rsqrt(var + self.eps).view(shape)
        y = y * self.weight.view(shape) + self.bias.view(shape) if self.affine else y
        return y.to(x.dtype)

    def _sum_over_ranks(self, x: Tensor) -> Tensor:
        summed: Tensor = AllReduceSum.apply(x, self.world)
        return summed

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, var: Tensor, n: Tensor) -> None:
        """Update the running mean and the running, unbiased variance, as torch does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, float(momentum))
        self.running_var.lerp_(var * n / (n - 1), float(momentum))


class SharedDropout(nn.Dropout):
    """Dropout that draws the mask of the whole batch and applies the rows of the current shard.

    Args:
        p: Probability to drop.
        batch: Rows of the whole batch.
    """

    def __init__(self, p: float, batch: int) -> None:
        super().__init__(p)
        self.batch = batch
        self.shard: Shard | None = None
        """Rows of the whole batch in the next call; None outside of training batches."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not self.training or self.shard is None or len(x) % self.shard.size:
            return super().forward(x)
        copies = len(x) // self.shard.size  # 2 if D gets real and fake rows in one pass
        mask = dropout(torch.ones(copies * self.batch, *x.shape[1:], dtype=x.dtype, device=x.device), self.p)
        return x * mask.unflatten(0, (copies, self.batch))[:, self.shard.rows].flatten(0, 1)


def with_global_batch_norm(net: nn.Module, world: World) -> nn.Module:
    """Replace every batch normalization by a `GlobalBatchNorm`; return the network."""
    return _replace(net, _BatchNorm, lambda norm: GlobalBatchNorm(norm, world))


def with_shared_dropout(net: nn.Module, batch: int) -> nn.Module:
    """Replace every dropout by a `SharedDropout`; return the network."""
    return _replace(net, nn.Dropout, lambda layer: SharedDropout(layer.p, batch))


def shared_dropout_layers(nets: Iterable[nn.Module]) -> list[SharedDropout]:
    """All `SharedDropout` layers of some networks."""
    return [layer for net in nets for layer in net.modules() if isinstance(layer, SharedDropout)]


def _replace(net: nn.Module, kind: type[Layer], make: Callable[[Layer], nn.Module]) -> nn.Module:
    """Replace every layer of a type by make(layer), under the same name; return the network."""
    if isinstance(net, kind):
        return make(net)
    for name, layer in net.named_children():
        setattr(net, name, _replace(layer, kind, make))
    return net
