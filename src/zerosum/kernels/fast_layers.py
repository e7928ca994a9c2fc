"""Linear layers and convolutions in the forms in which a processor is fast: the same sums of the same products.

A transposed convolution of stride s adds, for each place i of x and each tap t of the kernel, a product to its output:

    y[s i + t] += x[i] W[t],      t = 0 ... k - 1

Where y has few channels, libraries sum this up tap by tap, at a tenth of a processor's rate. Written for b = s r
neighbours of y at a time, it is an ordinary convolution of stride r with b^2 outputs for each channel,

    y[b j + u] = sum_d x[r j + d] W[u - s d],      u = 0 ... b - 1,      W = 0 beyond its taps

whose outputs are then laid side by side: the same products, and some with zero. The last layer of G computes it, and
so does the first layer of D as its gradient by the image. Where y has many channels, what is slow is the gradient; by
x and by W, it is a matrix product with the k x k patches of y's gradient.

A large linear layer in float32 goes through oneDNN, like the convolutions: MKL takes up to twice as long on processors
that it was not written for. In float64 and on a GPU, all layers are torch's own. benchmarks/README.md has the
measurements.

Source: Shi et al. 2016, arXiv:1609.07009, for the two forms of one layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear, pad, pixel_shuffle

FEW = 4
"""Channels up to which a layer is one between an image and many channels."""

Maps = Float[Tensor, "n i h w"]
Kernel = Float[Tensor, "i o k k"]
"""From i channels to o, square, as `ConvTranspose2d` stores it; `Conv2d` goes from o channels to i with the same."""
Pair = tuple[int, int]


LARGE = 2**18
"""Weights from which a linear layer is large."""


class Linear(nn.Linear):
    """torch's linear layer; in float32 and where it is large, through oneDNN."""

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:  # noqa: D102
        if _kind(x, self) != torch.float32 or not _large(self.weight):
            return super().forward(x)
        y: Tensor = Product.apply(x, self.weight, self.bias)
        return y


class Conv2d(nn.Conv2d):
    """torch's convolution, square; from an image, its gradient by the image is `spread`."""

    def forward(self, x: Maps) -> Float[Tensor, "n o h2 w2"]:  # noqa: D102
        kind = _kind(x, self)
        if kind is None or self.in_channels > FEW:
            return super().forward(x)
        bias = None if self.bias is None else self.bias.to(kind)
        y: Tensor = FromImage.apply(x.to(kind), self.weight.to(kind), bias, self.stride[0], self.padding[0])
        return y


class ConvTranspose2d(nn.ConvTranspose2d):
    """torch's transposed convolution, square; to an image, it is `spread`, else its gradient is that of patches."""

    def forward(self, x: Maps, output_size: list[int] | None = None) -> Float[Tensor, "n o h2 w2"]:  # noqa: D102
        kind = _kind(x, self)
        few = self.out_channels <= FEW
        if kind is None or output_size is not None or not (few or kind == torch.bfloat16):
            return super().forward(x, output_size)
        form: Any = ToImage if few else Enlarged
        bias = None if self.bias is None else self.bias.to(kind)
        y: Tensor = form.apply(x.to(kind), self.weight.to(kind), bias, self.stride[0], self.padding[0])
        return y


_PLAIN = ContextVar("plain", default=False)


@contextmanager
def plain() -> Iterator[None]:
    """So long as it is entered, all layers are torch's own."""
    before = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(before)


def _kind(x: Tensor, layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> torch.dtype | None:
    """The type that a layer computes in; None where torch's own form is the one to take."""
    if x.device.type != "cpu" or _PLAIN.get():
        return None
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else layer.weight.dtype
    return None if kind == torch.float64 else kind


PRODUCT = "_linear_pointwise"
"""oneDNN's product in torch.ops.mkldnn: (x, W, b, ...) -> x W^T + b; not in every build of torch."""


def product(x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"], bias: Tensor | None) -> Float[Tensor, "n o"]:
    """The linear layer x W^T + b."""
    y: Tensor = getattr(torch.ops.mkldnn, PRODUCT)(x, weight, bias, "none", [], "")
    return y


def _large(weight: Tensor) -> bool:
    return weight.numel() >= LARGE and hasattr(torch.ops.mkldnn, PRODUCT)


class Product(torch.autograd.Function):
    """A linear layer; all three products by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: D102
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (x, weight), (by_x, by_weight, by_bias) = ctx.saved_tensors, ctx.needs_input_grad
        return (
            Product.apply(slope, weight.T, None) if by_x else None,
            Product.apply(slope.T, x.T, None) if by_weight else None,
            slope.sum(0) if by_bias else None,
        )


def spread(
    x: Maps, kernel: Kernel, bias: Tensor | None, stride: int, padding: int, size: tuple[int, int]
) -> Float[Tensor, "n o h2 w2"]:
    """A transposed convolution to few channels, block by block.

    Args:
        x: What is spread.
        kernel: Its weights.
        bias: One number (o,) for each channel, or None.
        stride: s.
        padding: Rows and columns of the output that are cut off on each side.
        size: Of the output; what no product reaches is zero.

    >>> x, kernel = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    >>> spread(x, kernel, None, stride=2, padding=0, size=(4, 4)).sum().item()
    16.0
    """
    step = max(1, (4 if kernel.shape[1] == 1 else 2) // stride)  # about sixteen outputs fill the lanes of a vector
    block, before = stride * step, (kernel.shape[2] - 1) // stride
    after = [step * -(-(padding + side) // block) - given for side, given in zip(size, x.shape[2:], strict=True)]
    even = after == [before, before]  # then the convolution pads by itself, without a copy
    x = x if even else pad(x, (before, after[1], before, after[0]))
    shift = None if bias is None else bias.repeat_interleave(block**2)
    blocks = conv2d(x, blocked(kernel, stride, step), shift, step, before if even else 0)
    return pixel_shuffle(blocks, block)[:, :, padding : padding + size[0], padding : padding + size[1]]


def blocked(kernel: Kernel, stride: int, step: int) -> Float[Tensor, "obb i d d"]:
    """W[u - s d] for every place u of a block, for every neighbour d: the kernel of the ordinary convolution."""
    taps = _taps(kernel.shape[2], stride, step).to(kernel)
    reach = taps.shape[1]
    rows = torch.einsum("udt,iotw->iodwu", taps, kernel)
    both = torch.einsum("vew,iodwu->ouvide", taps, rows)
    return both.reshape(-1, len(kernel), reach, reach).contiguous(memory_format=torch.channels_last)


@cache
def _taps(k: int, stride: int, step: int) -> Float[Tensor, "b d k"]:
    """1 where place u of a block meets its neighbour d through tap t = u - s d, else 0."""
    before = (k - 1) // stride
    u, d, t = torch.arange(stride * step), torch.arange(-before, step), torch.arange(k)
    return (t == u[:, None, None] - stride * d[:, None]).float()


def size_of(x: Maps, kernel: Kernel, stride: int, padding: int) -> tuple[int, int]:
    """(h, w) of a transposed convolution's output."""
    h, w = (stride * (side - 1) + kernel.shape[2] - 2 * padding for side in x.shape[2:])
    return h, w


def gradients(
    ctx: Any, slope: Tensor, transposed: bool, wanted: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Those of a convolution by its input, its kernel and its bias, as torch computes them.

    But for the one by the bias: inside torch's, that sum takes a quarter as long as all the others together.
    """
    (x, kernel), more = ctx.saved_tensors, [0, 0]
    if transposed:  # rows and columns beyond those that the usual size has
        usual = size_of(x, kernel, ctx.stride, ctx.padding)
        more = [given - side for given, side in zip(slope.shape[2:], usual, strict=True)]
    pair = [ctx.stride] * 2, [ctx.padding] * 2
    by_x, by_kernel, _ = torch.ops.aten.convolution_backward(
        slope, x, kernel, None, *pair, [1, 1], transposed, more, 1, [*wanted[:2], False]
    )
    return by_x, by_kernel, slope.sum((0, 2, 3)) if wanted[2] else None


def quick_linear(x: Float[Tensor, "n i"], weight: Float[Tensor, "o i"], bias: Tensor | None) -> Float[Tensor, "n o"]:
    """A linear layer in its quickest form, for whoever does without autograd."""
    ours = x.device.type == "cpu" and x.dtype == torch.float32 and _large(weight)
    return product(x, weight, bias) if ours else linear(x, weight, bias)


def quick_slope(
    slope: Tensor, x: Maps, kernel: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Maps:
    """A convolution's gradient by its input in its quickest form, likewise."""
    square = len({*stride}) == len({*padding}) == len({*kernel.shape[2:]}) == 1
    few = kernel.shape[1] <= FEW and groups == 1 and dilation == (1, 1)
    if x.device.type == "cpu" and x.dtype != torch.float64 and square and few:
        return spread(slope, kernel, None, stride[0], padding[0], (x.shape[2], x.shape[3]))
    return torchs_gradient(slope, x, kernel, (stride, padding, dilation, groups), 0)


def torchs_gradient(slope: Tensor, x: Maps, kernel: Tensor, options: Sequence[Any], by: int) -> Tensor:
    """Torch's own, of a convolution by its input (0) or its kernel (1)."""
    stride, padding, dilation, groups = options
    fixed = None, stride, padding, dilation, False, [0, 0], groups
    found: Tensor = torch.ops.aten.convolution_backward(slope, x, kernel, *fixed, [by == 0, by == 1, False])[by]
    return found


class ToImage(torch.autograd.Function):
    """A transposed convolution to few channels: `spread`, with torch's gradients."""

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
        return spread(x, kernel, bias, stride, padding, size or size_of(x, kernel, stride, padding))

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        return *gradients(ctx, slope, True, ctx.needs_input_grad), None, None, None


class FromImage(torch.autograd.Function):
    """A convolution of few channels: torch's, with `spread` as its gradient by them."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, x: Float[Tensor, "n o h w"], kernel: Kernel, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(x, kernel, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        (x, kernel), by_x = ctx.saved_tensors, None
        if ctx.needs_input_grad[0]:
            by_x = ToImage.apply(slope, kernel, None, ctx.stride, ctx.padding, tuple(x.shape[2:]))
        _, by_kernel, by_bias = gradients(ctx, slope, False, (False, *ctx.needs_input_grad[1:3]))
        return by_x, by_kernel, by_bias, None, None


class Enlarged(torch.autograd.Function):
    """A transposed convolution to many channels: torch's, with two matrix products as its gradient.

    With P the patches of y's gradient, one row for each place of x:  by x: P W^T,  by W: P^T x.
    """

    @staticmethod
    def forward(ctx: Any, x: Maps, kernel: Kernel, bias: Tensor | None, stride: int, padding: int) -> Tensor:  # noqa: D102
        ctx.save_for_backward(x, kernel)
        ctx.stride, ctx.padding = stride, padding
        return conv_transpose2d(x, kernel, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        if torch.is_grad_enabled():  # to be differentiated again
            return *gradients(ctx, slope, True, ctx.needs_input_grad), None, None
        (x, kernel), p = ctx.saved_tensors, ctx.padding
        (n, i, h, w), (_, o, k, _) = x.shape, kernel.shape
        rows = pad(slope.permute(0, 2, 3, 1), (0, 0, p, p, p, p)).contiguous()
        one, row, place, _ = rows.stride()
        steps = (one, ctx.stride * row, ctx.stride * place, row, 1)
        patches = rows.as_strided((n, h, w, k, k * o), steps).reshape(n * h * w, k * k * o)
        by_x = (patches @ kernel.permute(0, 2, 3, 1).reshape(i, -1).T).view(n, h, w, i).permute(0, 3, 1, 2)
        by_kernel = (patches.T @ x.permute(0, 2, 3, 1).reshape(-1, i)).view(k, k, o, i).permute(3, 2, 0, 1)
        return by_x, by_kernel, slope.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None, None
