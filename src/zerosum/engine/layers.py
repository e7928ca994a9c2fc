"""Layers that look beyond their own part of the batch.

Normalisation over the batch: mean and variance of the whole batch are sums over processes,

    mean = sum of x / n        var = sum of (x - mean)^2 / n        y = (x - mean) / sqrt(var + eps) * scale + shift

and what is sent can be differentiated, twice where a penalty asks for it. torch's own SyncBatchNorm knows only GPUs,
and one derivative. Dropout: every process draws the mask of the whole batch, from the same random state, and takes its
rows of it.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.modules.batchnorm import _BatchNorm

from zerosum.engine.world import World
from zerosum.game.engine import Shard

L = TypeVar("L", bound=nn.Module)


class Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, world: World) -> Tensor:  # noqa: D102
        ctx.world = world  # type: ignore[attr-defined]
        summed = x.contiguous().clone()
        world.all_reduce(summed, world.gradients).wait()
        return summed

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, slope: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        return Sum.apply(slope, ctx.world), None  # type: ignore[attr-defined]


class GlobalBatchNorm(_BatchNorm):
    """Batch normalisation over the rows of all processes, in place of one of torch's.

    Args:
        norm: Whose weights and statistics are taken over.
        world: Who has the other rows.
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
        axes = [axis for axis in range(x.ndim) if axis != 1]
        like = (1, -1, *(1,) * (x.ndim - 2))
        h = x if x.dtype == torch.float64 else x.float()
        count = x.new_tensor([x.numel() / x.shape[1]], dtype=h.dtype)
        sums = self._over_all(torch.cat([h.sum(axes), count]))
        n, mean = sums[-1].detach(), sums[:-1] / sums[-1]
        away = h - mean.view(like)
        var = self._over_all(away.square().sum(axes)) / n
        self._remember(mean.detach(), var.detach(), n)
        y = away * torch.rsqrt(var + self.eps).view(like)
        y = y * self.weight.view(like) + self.bias.view(like) if self.affine else y
        return y.to(x.dtype)

    def _over_all(self, x: Tensor) -> Tensor:
        summed: Tensor = Sum.apply(x, self.world)
        return summed

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor, n: Tensor) -> None:
        """Let the running statistics follow, the variance without bias, as torch's do."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        rate = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, float(rate))
        self.running_var.lerp_(var * n / (n - 1), float(rate))


class SharedDropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch, of which a part takes its rows.

    Args:
        p: Share that is dropped.
        batch: Rows of the whole batch.
    """

    def __init__(self, p: float, batch: int) -> None:
        super().__init__(p)
        self.batch = batch
        self.part: Shard | None = None
        """Which rows come; None: some that belong to no batch."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if not self.training or self.part is None or len(x) % self.part.size:
            return super().forward(x)
        times = len(x) // self.part.size  # a D that sees real and fake in one pass has its rows twice
        mask = dropout(torch.ones(times * self.batch, *x.shape[1:], dtype=x.dtype, device=x.device), self.p)
        return x * mask.unflatten(0, (times, self.batch))[:, self.part.rows].flatten(0, 1)


def synchronized(net: nn.Module, world: World) -> nn.Module:
    """The same network, its batch statistics taken over all processes."""
    return _replaced(net, _BatchNorm, lambda norm: GlobalBatchNorm(norm, world))


def with_shared_masks(net: nn.Module, batch: int) -> nn.Module:
    """The same network, its dropout masks drawn for the whole batch."""
    return _replaced(net, nn.Dropout, lambda layer: SharedDropout(layer.p, batch))


def masks_of(nets: Iterable[nn.Module]) -> list[SharedDropout]:
    """The layers whose masks are shared."""
    return [layer for net in nets for layer in net.modules() if isinstance(layer, SharedDropout)]


def _replaced(net: nn.Module, kind: type[L], other: Callable[[L], nn.Module]) -> nn.Module:
    """The network with every layer of a kind put by another, under the same name."""
    if isinstance(net, kind):
        return other(net)
    for name, layer in net.named_children():
        setattr(net, name, _replaced(layer, kind, other))
    return net
