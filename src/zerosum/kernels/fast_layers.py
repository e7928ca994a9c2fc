"""Linear layers and convolutions in forms that are fast on a CPU: the same sums of the same products.

A transposed convolution of stride s adds, for each place i of x and each tap t of the kernel, a product to its output:

    y[s i + t] += x[i] W[t],      t = 0 ... k - 1

Where y has few channels, libraries sum this up tap by tap, at a tenth of the CPU's peak rate. Written for blocks of
b = s r adjacent y, it is an ordinary convolution of stride r with b^2 outputs for each channel,

    y[b j + u] = sum_d x[r j + d] W[u - s d],      u = 0 ... b - 1,      W = 0 beyond its taps

whose outputs a pixel shuffle puts in place: the same products, and some with zero. The last layer of G computes its
forward pass this way, the first layer of D its input gradient. Where y has many channels, the backward pass is slow
instead: here the gradients of x and W are matrix products with the k x k patches of y's gradient.

A large linear layer in float32 goes through oneDNN, like the convolutions: MKL takes up to twice as long on CPUs
for which it is not tuned. In float64 and on a GPU, all layers are torch's own. Measurements: benchmarks/README.md.

These layers have the parameters of torch's; `swap` puts them into finished networks.

Source: Shi et al. 2016, arXiv:1609.07009, for the two forms of one layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear, pad, pixel_shuffle

IMAGE_CHANNELS = 4
"""A layer with at most this many channels on one side is treated as one from or to an image."""

Maps = Float[Tensor, "n i h w"]
Kernel = Float[Tensor, "i o k k"]
"""Square kernel from i channels to o, as `ConvTranspose2d` stores it; a `Conv2d` from o to i stores the same."""
Pair = tuple[int, int]


LARGE_WEIGHT = 2**18
"""Number of weights from which a linear layer goes through oneDNN."""


class Linear(nn.Linear):
    """torch's linear layer; in float32 it goes through oneDNN."""

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:  # noqa: D102
        if _compute_dtype(x) != torch.float32:
            return super().forward(x)
        y: Tensor = OneDnnLinear.apply(x, self.weight, self.bias)
        return y


class Conv2d(nn.Conv2d):
    """torch's convolution from an image, with a square kernel; its input gradient is a `block_conv_transpose2d`."""

    def forward(self, x: Maps) -> Float[Tensor, "n o h2 w2"]:  # noqa: D102
        dtype = _compute_dtype(x)
        if dtype is None:
            return super().forward(x)
        bias = None if self.bias is None else self.bias.to(dtype)
        y: Tensor = FromImage.apply(x.to(dtype), self.weight.to(dtype), bias, self.stride[0], self.padding[0])
        return y


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's transposed convolution with a square kernel: `ToImage` or, in bfloat16, `ToMaps`."""

    def forward(self, x: Maps, output_size: list[int] | None = None) -> Float[Tensor, "n o h2 w2"]:  # noqa: D102
        dtype = _compute_dtype(x)
        to_image = self.out_channels <= IMAGE_CHANNELS
        if dtype is None or output_size is not None or not (to_image or dtype == torch.bfloat16):
            return super().forward(x, output_size)
        function: Any = ToImage if to_image else ToMaps
        bias = None if self.bias is None else self.bias.to(dtype)
        y: Tensor = function.apply(x.to(dtype), self.weight.to(dtype), bias, self.stride[0], self.padding[0])
        return y


_TORCH_ONLY = ContextVar("plain", default=False)


@contextmanager
def torch_layers_only() -> Iterator[None]:
    """While active, all layers are torch's own."""
    before = _TORCH_ONLY.set(True)
    try:
        yield
    finally:
        _TORCH_ONLY.reset(before)


def _compute_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype in which our form of a layer of x computes; None if the layer is to be torch's own.

    The layer's weight is not looked at: under spectral normalization, each look is a power iteration.
    """
    if x.device.type != "cpu" or _TORCH_ONLY.get():
        return None
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return None if dtype == torch.float64 else dtype


ONEDNN_LINEAR = "_linear_pointwise"
"""oneDNN's linear layer in torch.ops.mkldnn: (x, W, b, ...) -> x W^T + b; not in every build of torch."""


def onednn_linear(x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"], bias: Tensor | None) -> Float[Tensor, "n o"]:
    """The linear layer x W^T + b by oneDNN."""
    y: Tensor = getattr(torch.ops.mkldnn, ONEDNN_LINEAR)(x, weight, bias, "none", [], "")
    return y


def is_large(weights: int) -> bool:
    """Whether a linear layer of so many weights goes through oneDNN."""
    return weights >= LARGE_WEIGHT and hasattr(torch.ops.mkldnn, ONEDNN_LINEAR)


class OneDnnLinear(torch.autograd.Function):
    """A linear layer whose three matrix products (y, grad x, grad W) are computed by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: D102
        ctx.save_for_backward(x, weight)
        return onednn_linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (x, weight), (grad_x, grad_weight, grad_bias) = ctx.saved_tensors, ctx.needs_input_grad
        return (
            OneDnnLinear.apply(grad, weight.T, None) if grad_x else None,
            OneDnnLinear.apply(grad.T, x.T, None) if grad_weight else None,
            grad.sum(0) if grad_bias else None,
        )


def block_conv_transpose2d(
    x: Maps, kernel: Kernel, bias: Tensor | None, stride: int, padding: int, size: tuple[int, int]
) -> Float[Tensor, "n o h2 w2"]:
    """Transposed convolution to few channels, computed in blocks of adjacent outputs (see the module).

    Args:
        x: Input maps.
        kernel: Weights.
        bias: Bias (o,), or None.
        stride: s, at least 1.
        padding: Rows and columns cut off the output on each side.
        size: (h2, w2) of the output; places that no product reaches are zero.

    >>> x, kernel = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    >>> block_conv_transpose2d(x, kernel, None, stride=2, padding=0, size=(4, 4)).sum().item()
    16.0
    """
    step = max(1, (4 if kernel.shape[1] == 1 else 2) // stride)  # about sixteen outputs fill a vector register
    block, before = stride * step, (kernel.shape[2] - 1) // stride
    after = [step * -(-(padding + side) // block) - given for side, given in zip(size, x.shape[2:], strict=True)]
    symmetric = after == [before, before]  # then conv2d pads, which saves a copy
    x = x if symmetric else pad(x, (before, after[1], before, after[0]))
    block_bias = None if bias is None else bias.repeat_interleave(block**2)
    blocks = conv2d(x, block_kernel(kernel, stride, step), block_bias, step, before if symmetric else 0)
    return pixel_shuffle(blocks, block)[:, :, padding : padding + size[0], padding : padding + size[1]]


def block_kernel(kernel: Kernel, stride: int, step: int) -> Float[Tensor, "obb i d d"]:
    """W[u - s d] for every place u of a block and every neighbour d: the kernel of the ordinary convolution."""
    taps = torch.from_numpy(_taps(kernel.shape[2], stride, step)).to(kernel)
    reach = taps.shape[1]
    rows = torch.einsum("udt,iotw->iodwu", taps, kernel)
    both = torch.einsum("vew,iodwu->ouvide", taps, rows)
    return both.reshape(-1, len(kernel), reach, reach).contiguous(memory_format=torch.channels_last)


@cache
def _taps(k: int, stride: int, step: int) -> NDArray[np.float32]:
    """1 where place u of a block receives from neighbour d through tap t = u - s d, else 0: (b, d, k).

    No tensor: one that torch.export had made would stay in the cache.
    """
    before = (k - 1) // stride
    u, d, t = np.arange(stride * step), np.arange(-before, step), np.arange(k)
    return (t == u[:, None, None] - stride * d[:, None]).astype(np.float32)


def output_size(x: Maps, kernel: Kernel, stride: int, padding: int) -> tuple[int, int]:
    """(h, w) of a transposed convolution's output, without output padding."""
    h, w = (stride * (side - 1) + kernel.shape[2] - 2 * padding for side in x.shape[2:])
    return h, w


def conv_gradients(
    ctx: Any, grad: Tensor, transposed: bool, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a convolution's input, kernel and bias, as torch computes them; None where not `needed`.

    The bias gradient is summed here: inside torch's function it takes a quarter as long as the two others together.
    """
    (x, kernel), output_padding = ctx.saved_tensors, [0, 0]
    if transposed:  # rows and columns beyond the usual output size
        usual = output_size(x, kernel, ctx.stride, ctx.padding)
        output_padding = [given - side for given, side in zip(grad.shape[2:], usual, strict=True)]
    pair = [ctx.stride] * 2, [ctx.padding] * 2
    grad_x, grad_kernel, _ = torch.ops.aten.convolution_backward(
        grad, x, kernel, None, *pair, [1, 1], transposed, output_padding, 1, [*needed[:2], False]
    )
    return grad_x, grad_kernel, grad.sum((0, 2, 3)) if needed[2] else None


def fast_linear(x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"], bias: Tensor | None) -> Float[Tensor, "n o"]:
    """Linear layer by the fastest kernel; call it only outside autograd."""
    ours = x.device.type == "cpu" and x.dtype == torch.float32 and is_large(weight.numel())
    return onednn_linear(x, weight, bias) if ours else linear(x, weight, bias)


def fast_conv_input_grad(
    grad: Tensor, x: Maps, kernel: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Maps:
    """Input gradient of a convolution by the fastest kernel; call it only outside autograd."""
    square = len({*stride}) == len({*padding}) == len({*kernel.shape[2:]}) == 1
    to_image = kernel.shape[1] <= IMAGE_CHANNELS and groups == 1 and dilation == (1, 1)
    if x.device.type == "cpu" and x.dtype != torch.float64 and square and to_image:
        return block_conv_transpose2d(grad, kernel, None, stride[0], padding[0], (x.shape[2], x.shape[3]))
    return conv_grad(grad, x, kernel, (stride, padding, dilation, groups), 0)


def conv_grad(grad: Tensor, x: Maps, kernel: Tensor, options: Sequence[Any], index: int) -> Tensor:
    """Gradient of a convolution's input (index = 0) or kernel (1), by torch's function."""
    stride, padding, dilation, groups = options
    fixed = None, stride, padding, dilation, False, [0, 0], groups
    found: Tensor = torch.ops.aten.convolution_backward(grad, x, kernel, *fixed, [index == 0, index == 1, False])[index]
    return found


class ToImage(torch.autograd.Function):
    """Transposed convolution to few channels: forward `block_conv_transpose2d`, backward torch's."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,
        x: Maps,
        kernel: Kernel,
        bias: Tensor | None,
        stride: int,
        padding: int,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return block_conv_transpose2d(x, kernel, bias, stride, padding, size or output_size(x, kernel, stride, padding))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        return *conv_gradients(ctx, grad, True, ctx.needs_input_grad), None, None, None


class FromImage(torch.autograd.Function):
    """Convolution of few channels: forward torch's, input gradient `block_conv_transpose2d`."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, x: Float[Tensor, "n o h w"], kernel: Kernel, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(x, kernel, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (x, kernel), grad_x = ctx.saved_tensors, None
        if ctx.needs_input_grad[0]:
            grad_x = ToImage.apply(grad, kernel, None, ctx.stride, ctx.padding, tuple(x.shape[2:]))
        _, grad_kernel, grad_bias = conv_gradients(ctx, grad, False, (False, *ctx.needs_input_grad[1:3]))
        return grad_x, grad_kernel, grad_bias, None, None


class ToMaps(torch.autograd.Function):
    """Transposed convolution to many channels: forward torch's, backward two matrix products.

    With P the patches of y's gradient, one row for each place of x:  grad x = P W^T,  grad W = P^T x.
    """

    @staticmethod
    def forward(ctx: Any, x: Maps, kernel: Kernel, bias: Tensor | None, stride: int, padding: int) -> Tensor:  # noqa: D102
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return conv_transpose2d(x, kernel, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        if torch.is_grad_enabled():  # create_graph=True: the result must be differentiable again
            return *conv_gradients(ctx, grad, True, ctx.needs_input_grad), None, None
        (x, kernel), p = ctx.saved_tensors, ctx.padding
        (n, i, h, w), (_, o, k, _) = x.shape, kernel.shape
        rows = pad(grad.permute(0, 2, 3, 1), (0, 0, p, p, p, p)).contiguous()
        one, row, place, _ = rows.stride()
        steps = (one, ctx.stride * row, ctx.stride * place, row, 1)
        patches = rows.as_strided((n, h, w, k, k * o), steps).reshape(n * h * w, k * k * o)
        grad_x = (patches @ kernel.permute(0, 2, 3, 1).reshape(i, -1).T).view(n, h, w, i).permute(0, 3, 1, 2)
        grad_kernel = (patches.T @ x.permute(0, 2, 3, 1).reshape(-1, i)).view(k, k, o, i).permute(3, 2, 0, 1)
        return grad_x, grad_kernel, grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None, None
