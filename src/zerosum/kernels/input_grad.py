"""Logits of a discriminator and their input gradients, so that a gradient penalty needs four passes through D, not six.

The gradient of a penalty on g(x) = da/dx needs a second derivative. Autograd passes through D forward for the logit a,
backward for g, forward again with the tangent v = dcost/dg, and backward again with c = dcost/da; each of the last two
passes adds to the gradients of the weights. For a layer y = W x + b, let s = da/dy be the gradient that arrives at y
while g is computed, and let t be v propagated forward to x. Then, with one c and one v for each sample,

    grad W:  (c s) x' + s t' = s (c x + t)'        grad b:  c s        grad of D's input:  c g

so the second backward pass is not needed, and the two gradients of W are one product. This holds where each logit
depends on its own sample alone. With smooth activations g depends on x through them, and autograd adds that term. With
piecewise linear layers (ReLU, pooling) g does not depend on x locally, and that term is zero: it is left out.

Inside `value_and_input_grad`, each layer is an `Affine`. Its backward pass is a function of its own, `AffineBackward`,
whose backward pass in turn propagates t forward. Each piecewise linear layer is a `PiecewiseLinear`.

Source of the forward pass with v: Pearlmutter 1994, Neural Computation 6 (1), "Fast exact multiplication by the
Hessian". The observation that the backward pass for a is a multiple of the one for g is specific to discriminators.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vecdot
from torch.nn.functional import conv2d, leaky_relu, linear, max_pool2d, relu
from torch.overrides import TorchFunctionMode

from zerosum.kernels.fast_layers import conv_grad, fast_conv_input_grad, fast_linear, torch_layers_only
from zerosum.nets.conditional import Samples

NO_GRADS = (None,) * 6


def value_and_input_grad(
    net: Callable[[Samples], Float[Tensor, " n"]], x: Samples, parameters: Sequence[Tensor]
) -> tuple[Float[Tensor, " n"], Samples]:
    """Compute D's logits and their input gradients; both can be differentiated once.

    Args:
        net: D; each logit depends on its own sample alone.
        x: Samples.
        parameters: All other tensors to differentiate by: weights and biases of linear layers and 2-d convolutions, and
            rows (n, d) by which `vecdot` multiplies features.

    Returns:
        The logits a (n,), and g = da/dx in the shape of x.

    Raises:
        RuntimeError: Another kind of layer has parameters, or a second derivative of the result is taken.
    """
    logits, input_grad = ValueAndInputGrad.apply(net, x, *parameters)
    return logits, input_grad


class ValueAndInputGrad(torch.autograd.Function):
    """D, x, parameters -> a, g."""

    @staticmethod
    def forward(ctx: Any, net: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        capture = CaptureMode()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            with capture, torch_layers_only():
                # x.view_as(x) is not a leaf: hooks on module inputs, such as torch's FLOP counter's, need that
                logits = net(x.view_as(x))
            (input_grad,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        if set(map(id, parameters)) != capture.parameter_ids:
            raise RuntimeError("`value_and_input_grad` needs all parameters of D in linear layers and convolutions")
        ctx.set_materialize_grads(False)
        ctx.graph = capture, x, input_grad, parameters
        return logits.detach(), input_grad.detach()

    @staticmethod
    def backward(ctx: Any, c: Tensor | None, v: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        refuse_second_derivative()
        capture, x, input_grad, parameters = ctx.graph
        capture.c = c
        trainable = [parameter for parameter in parameters if parameter.requires_grad]
        v = torch.zeros_like(x) if v is None else v
        grad_x, *grads = torch.autograd.grad(input_grad, [x, *trainable], v, retain_graph=True, allow_unused=True)
        grad_of = dict(zip(map(id, trainable), grads, strict=True))
        if c is not None:
            first_order = unsqueeze_like(c, x) * input_grad.detach()
            grad_x = first_order if grad_x is None else grad_x + first_order  # not None with smooth activations
        return None, grad_x, *(grad_of.get(id(parameter)) for parameter in parameters)


def refuse_second_derivative() -> None:
    """Refuse a backward pass that builds a graph (`create_graph=True`).

    Raises:
        RuntimeError: It does.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("logits with input gradients can be differentiated once; call D itself to do so twice")


def unsqueeze_like(c: Float[Tensor, " n"], x: Samples) -> Tensor:
    """Reshape c (n,) to (n, 1, ...), with as many dimensions as x."""
    return c.view(-1, *[1] * (x.ndim - 1))


class CaptureMode(TorchFunctionMode):
    """While active, replaces layers and activations by the versions that `value_and_input_grad` can differentiate."""

    def __init__(self) -> None:
        super().__init__()
        self.parameter_ids: set[int] = set()
        """id() of every weight and bias that a captured layer uses."""
        self.c: Float[Tensor, " n"] | None = None
        """Upstream gradient of the logits, dcost/da; set before the forward pass with v."""

    def __torch_function__(
        self, call: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        op = AFFINE_OPS.get(call)
        if op and args[0].ndim == op.ndim:
            x, weight, *rest = args
            bias, *options = rest or [None]
            self.parameter_ids |= {id(weight)} if bias is None else {id(weight), id(bias)}
            return Affine.apply(x, weight, bias, op, options, self)
        return PIECEWISE_LINEAR_CALLS.get(call, call)(*args, **(kwargs or {}))


class AffineOp(NamedTuple):
    """The products of a layer y = W x + b."""

    ndim: int
    """Number of dimensions of x."""
    forward: Callable[..., Tensor]
    """(x, W, b, options) -> y."""
    grad_input: Callable[..., Tensor]
    """(s, x, W, options) -> W' s, in the shape of x."""
    grad_weight: Callable[..., Tensor]
    """(s, x, W, options) -> s x', summed over samples."""


AFFINE_OPS: dict[Callable[..., Any], AffineOp] = {
    linear: AffineOp(
        2,
        lambda x, weight, bias, _: fast_linear(x, weight, bias),
        lambda s, x, weight, _: fast_linear(s, weight.T, None),
        lambda s, x, weight, _: fast_linear(s.T, x.T, None),
    ),
    vecdot: AffineOp(
        2,
        lambda x, rows, bias, _: vecdot(x, rows),
        lambda s, x, rows, _: s[:, None] * rows,
        lambda s, x, rows, _: s[:, None] * x,
    ),
    conv2d: AffineOp(
        4,
        lambda x, weight, bias, options: conv2d(x, weight, bias, *options),
        lambda s, x, weight, options: fast_conv_input_grad(s, x, weight, *options),
        lambda s, x, weight, options: conv_grad(s, x, weight, options, 1),
    ),
}
"""torch's function -> its products."""


class Affine(torch.autograd.Function):
    """x, W, b -> y = W x + b."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, x: Tensor, weight: Tensor, bias: Any, op: AffineOp, options: Any, capture: CaptureMode
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias)
        ctx.rest = op, options, capture
        return op.forward(x, weight, bias, options)

    @staticmethod
    def backward(ctx: Any, s: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        if s is None:
            return NO_GRADS
        (x, weight, bias), (op, options, _) = ctx.saved_tensors, ctx.rest
        if torch.is_grad_enabled():  # while g is computed
            return AffineBackward.apply(s, x, weight, bias, *ctx.rest), *NO_GRADS[1:]
        # the term of smooth activations, through which g depends on x
        grad_bias = None if bias is None else sum_positions(s).sum(0)
        return op.grad_input(s, x, weight, options), op.grad_weight(s, x, weight, options), grad_bias, *NO_GRADS[3:]


class AffineBackward(torch.autograd.Function):
    """s -> W' s; its backward pass propagates t forward, and computes the gradients of W and b."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, s: Tensor, x: Tensor, weight: Tensor, bias: Any, op: AffineOp, options: Any, capture: CaptureMode
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(s, x, weight)
        ctx.rest = op, options, capture, bias is not None
        return op.grad_input(s, x, weight, options)

    @staticmethod
    def backward(ctx: Any, t: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        (s, x, weight), (op, options, capture, has_bias) = ctx.saved_tensors, ctx.rest
        t = torch.zeros_like(x) if t is None else t
        right, grad_bias = t, None  # c x + t
        if capture.c is not None:
            right = torch.addcmul(t, x, unsqueeze_like(capture.c, x))
            grad_bias = (capture.c[:, None] * sum_positions(s)).sum(0) if has_bias else None
        grad_weight = op.grad_weight(s, right, weight, options)
        return op.forward(t, weight, None, options), None, grad_weight, grad_bias, None, None, None


def sum_positions(s: Float[Tensor, "n c *places"]) -> Float[Tensor, "n c"]:
    """Sum over all positions of an image; rows of features are returned unchanged."""
    return s.flatten(2).sum(2) if s.ndim > 2 else s


class MaskOp(NamedTuple):
    """The products of a piecewise linear layer y = M h; M is locally constant in h (ReLU's mask, pooling's maxima)."""

    forward: Callable[..., tuple[Tensor, Tensor | None]]
    """(h, options) -> y, mask: what is needed of M beside h."""
    transposed: Callable[..., Tensor]
    """(s, h, mask, options) -> M' s."""
    apply: Callable[..., Tensor]
    """(t, h, mask, options) -> M t."""


class PiecewiseLinear(torch.autograd.Function):
    """h -> y = M h; the backward pass multiplies by M' and treats M as constant."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, op: MaskOp, options: Any) -> Tensor:  # noqa: D102
        y, mask = op.forward(h, options)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, mask)
        ctx.rest = op, options
        return y

    @staticmethod
    def backward(ctx: Any, s: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        return None if s is None else PiecewiseLinearBackward.apply(s, *ctx.saved_tensors, *ctx.rest), None, None


class PiecewiseLinearBackward(torch.autograd.Function):
    """s -> M' s; the backward pass computes M t."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, h: Tensor, mask: Tensor | None, op: MaskOp, options: Any) -> Tensor:  # noqa: D102
        ctx.save_for_backward(h, mask)
        ctx.rest = op, options
        return op.transposed(s, h, mask, options)

    @staticmethod
    def backward(ctx: Any, t: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        op, options = ctx.rest
        return op.apply(t, *ctx.saved_tensors, options), None, None, None, None


LEAKY = MaskOp(
    lambda h, negative_slope: (leaky_relu(h, negative_slope), None),
    lambda s, h, _, negative_slope: torch.ops.aten.leaky_relu_backward(s, h, negative_slope, False),
    lambda t, h, _, negative_slope: torch.ops.aten.leaky_relu_backward(t, h, negative_slope, False),
)
MAX_POOL = MaskOp(
    lambda h, options: torch.ops.aten.max_pool2d_with_indices(h, *options),
    lambda s, h, indices, options: torch.ops.aten.max_pool2d_with_indices_backward(s, h, *options, indices),
    lambda t, h, indices, options: gather_positions(t, indices),
)


def gather_positions(t: Float[Tensor, "n c h w"], indices: Int[Tensor, "n c h2 w2"]) -> Float[Tensor, "n c h2 w2"]:
    """Values of t at flat indices over h and w; the result is channels-last, as convolutions want it."""
    flat_t, flat_indices = (maps.permute(0, 2, 3, 1).flatten(1, 2) for maps in (t, indices))
    return flat_t.gather(1, flat_indices).unflatten(1, indices.shape[2:]).permute(0, 3, 1, 2)


def piecewise_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Max pooling with the arguments of torch's `max_pool2d`, as a `PiecewiseLinear` unless indices are wanted."""
    options = kernel_size, kernel_size if stride is None else stride, padding, dilation, ceil_mode
    if return_indices:
        return max_pool2d(input, *options, return_indices=True)
    return PiecewiseLinear.apply(input, MAX_POOL, options)


PIECEWISE_LINEAR_CALLS: dict[Callable[..., Any], Callable[..., Any]] = {
    leaky_relu: lambda input, negative_slope=0.01, inplace=False: PiecewiseLinear.apply(input, LEAKY, negative_slope),
    relu: lambda input, inplace=False: PiecewiseLinear.apply(input, LEAKY, 0.0),
    max_pool2d: piecewise_max_pool2d,
}
"""torch's function -> the same as a `PiecewiseLinear`."""
