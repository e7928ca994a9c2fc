"""A judge's logits together with their slopes, so that a penalty on the slope takes four walks and not six.

A penalty on g(x) = da/dx is learned from by differentiating g again. Autograd walks through D forward for the logit a,
back for g, forward again with what the cost wants of g, and back again with what it wants of a; each of the last two
leaves a gradient by the weights behind. Of any layer y = W x + b, let s = da/dy be what arrives at y on the way to g,
and of any cost of a and g, c = dcost/da and v = dcost/dg, one for each sample. If t is v carried forward to x,

    by W:  (c s) x' + s t' = s (c x + t)'        by b:  c s        by D's input:  c g

so the second walk back is not needed, and the two gradients by W are one product. This holds where each logit depends
on its own sample. Where activations are bent, g depends on x through them, and autograd adds that. Where they choose,
as ReLU and pooling do, g does not; there, what autograd would carry back is zeros.

Inside `steep`, each layer is an `Affine`, whose walk back is a function of its own, `Back`; to differentiate `Back` is
to carry t forward. Each layer that chooses is a `Gate`.

Source of the walk that carries v: Pearlmutter 1994, Neural Computation 6 (1), "Fast exact multiplication by the
Hessian". That the walk back for a is a multiple of the one for g is what a discriminator adds.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.linalg import vecdot
from torch.nn.functional import conv2d, leaky_relu, linear, max_pool2d, relu
from torch.overrides import TorchFunctionMode

from zerosum.kernels.fast_layers import plain, quick_linear, quick_slope, torchs_gradient

Samples = Float[Tensor, "n *shape"]
NONE = (None,) * 6


def steep(
    net: Callable[[Samples], Float[Tensor, " n"]], x: Samples, learned: Sequence[Tensor]
) -> tuple[Float[Tensor, " n"], Samples]:
    """D's logits and their slopes, to be differentiated once.

    Args:
        net: D.
        x: Samples.
        learned: What else D's answer is differentiated by: weights and biases of linear layers and of convolutions of
            images, and rows (n, d) that `vecdot` multiplies features by.

    Returns:
        a, and g in the shape of x.

    Raises:
        RuntimeError: Another kind of layer has parameters, or a backward pass is to be differentiated again.
    """
    logits, slope = Steep.apply(net, x, *learned)
    return logits, slope


class Steep(torch.autograd.Function):
    """D, x, what is learned -> a, g."""

    @staticmethod
    def forward(ctx: Any, net: Callable[[Tensor], Tensor], x: Tensor, *learned: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        walk = Walk()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            with walk, plain():
                logits = net(x.view_as(x))  # no leaf: hooks on what D is given, as torch's counters set, want none
            (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        if set(map(id, learned)) != walk.met:
            raise RuntimeError("`steep` wants all parameters of D in linear layers and convolutions")
        ctx.set_materialize_grads(False)
        ctx.inside = walk, x, slope, learned
        return logits.detach(), slope.detach()

    @staticmethod
    def backward(ctx: Any, c: Tensor | None, v: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        once()
        walk, x, slope, learned = ctx.inside
        walk.c = c
        wanted = [one for one in learned if one.requires_grad]
        v = torch.zeros_like(x) if v is None else v
        by_x, *found = torch.autograd.grad(slope, [x, *wanted], v, retain_graph=True, allow_unused=True)
        by_learned = dict(zip(map(id, wanted), found, strict=True))
        if c is not None:
            straight = over(c, x) * slope.detach()
            by_x = straight if by_x is None else by_x + straight  # there is one already where activations are bent
        return None, by_x, *(by_learned.get(id(one)) for one in learned)


def once() -> None:
    """Refuse a backward pass that is to be differentiated again.

    Raises:
        RuntimeError: It is.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("logits that came with their slopes can be differentiated once; those of D itself, again")


def over(c: Float[Tensor, " n"], x: Samples) -> Tensor:
    """One number for each sample, in as many dimensions as the samples have."""
    return c.view(-1, *[1] * (x.ndim - 1))


class Walk(TorchFunctionMode):
    """So long as it is entered, layers and activations are those that `steep` can differentiate."""

    def __init__(self) -> None:
        super().__init__()
        self.met: set[int] = set()
        """What layers learn."""
        self.c: Float[Tensor, " n"] | None = None
        """What the cost wants of each logit, if anything; known when the walk forward with v begins."""

    def __torch_function__(
        self, call: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kind = KINDS.get(call)
        if kind and args[0].ndim == kind.axes:
            x, weight, *rest = args
            bias, *options = rest or [None]
            self.met |= {id(weight)} if bias is None else {id(weight), id(bias)}
            return Affine.apply(x, weight, bias, kind, options, self)
        return GATES.get(call, call)(*args, **(kwargs or {}))


class Kind(NamedTuple):
    """A kind of layer y = W x + b, and its two other products."""

    axes: int
    """Of x."""
    forward: Callable[..., Tensor]
    """(x, W, b, options) -> y."""
    back: Callable[..., Tensor]
    """(s, x, W, options) -> W' s, in the shape of x."""
    by_weight: Callable[..., Tensor]
    """(s, x, W, options) -> s x', over all samples."""


KINDS: dict[Callable[..., Any], Kind] = {
    linear: Kind(
        2,
        lambda x, weight, bias, _: quick_linear(x, weight, bias),
        lambda s, x, weight, _: quick_linear(s, weight.T, None),
        lambda s, x, weight, _: quick_linear(s.T, x.T, None),
    ),
    vecdot: Kind(
        2,
        lambda x, rows, bias, _: vecdot(x, rows),
        lambda s, x, rows, _: s[:, None] * rows,
        lambda s, x, rows, _: s[:, None] * x,
    ),
    conv2d: Kind(
        4,
        lambda x, weight, bias, options: conv2d(x, weight, bias, *options),
        lambda s, x, weight, options: quick_slope(s, x, weight, *options),
        lambda s, x, weight, options: torchs_gradient(s, x, weight, options, 1),
    ),
}
"""torch's call -> how it is differentiated."""


class Affine(torch.autograd.Function):
    """x, W, b -> y = W x + b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Any, kind: Kind, options: Any, walk: Walk) -> Tensor:  # noqa: D102
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias)
        ctx.rest = kind, options, walk
        return kind.forward(x, weight, bias, options)

    @staticmethod
    def backward(ctx: Any, s: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        if s is None:
            return NONE
        (x, weight, bias), (kind, options, _) = ctx.saved_tensors, ctx.rest
        if torch.is_grad_enabled():  # on the way to g
            return Back.apply(s, x, weight, bias, *ctx.rest), *NONE[1:]
        # what bent activations add
        shift = None if bias is None else per_sample(s).sum(0)
        return kind.back(s, x, weight, options), kind.by_weight(s, x, weight, options), shift, *NONE[3:]


class Back(torch.autograd.Function):
    """s -> W' s; differentiated by t, it carries t forward, and finds what the cost wants of W and b."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any, s: Tensor, x: Tensor, weight: Tensor, bias: Any, kind: Kind, options: Any, walk: Walk
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(s, x, weight)
        ctx.rest = kind, options, walk, bias is not None
        return kind.back(s, x, weight, options)

    @staticmethod
    def backward(ctx: Any, t: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        (s, x, weight), (kind, options, walk, shifted) = ctx.saved_tensors, ctx.rest
        t = torch.zeros_like(x) if t is None else t
        met, by_bias = t, None
        if walk.c is not None:
            met = torch.addcmul(t, x, over(walk.c, x))
            by_bias = (walk.c[:, None] * per_sample(s)).sum(0) if shifted else None
        by_weight = kind.by_weight(s, met, weight, options)
        return kind.forward(t, weight, None, options), None, by_weight, by_bias, None, None, None


def per_sample(s: Float[Tensor, "n c *places"]) -> Float[Tensor, "n c"]:
    """The sum over places."""
    return s.flatten(2).sum(2) if s.ndim > 2 else s


class Choice(NamedTuple):
    """A kind of layer y = M h, whose M, of zeros, ones and shares, is chosen by h and kept with it."""

    forward: Callable[..., tuple[Tensor, Tensor | None]]
    """(h, options) -> y, chosen."""
    back: Callable[..., Tensor]
    """(s, h, chosen, options) -> M' s."""
    along: Callable[..., Tensor]
    """(t, h, chosen, options) -> M t."""


class Gate(torch.autograd.Function):
    """A layer that chooses: what comes back passes M', which is no function of h that could be differentiated."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, choice: Choice, options: Any) -> Tensor:  # noqa: D102
        y, chosen = choice.forward(h, options)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, chosen)
        ctx.rest = choice, options
        return y

    @staticmethod
    def backward(ctx: Any, s: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        return None if s is None else Passed.apply(s, *ctx.saved_tensors, *ctx.rest), None, None


class Passed(torch.autograd.Function):
    """s -> M' s."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, h: Tensor, chosen: Tensor | None, choice: Choice, options: Any) -> Tensor:  # noqa: D102
        ctx.save_for_backward(h, chosen)
        ctx.rest = choice, options
        return choice.back(s, h, chosen, options)

    @staticmethod
    def backward(ctx: Any, t: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        choice, options = ctx.rest
        return choice.along(t, *ctx.saved_tensors, options), None, None, None, None


LEAKY = Choice(
    lambda h, share: (leaky_relu(h, share), None),
    lambda s, h, _, share: torch.ops.aten.leaky_relu_backward(s, h, share, False),
    lambda t, h, _, share: torch.ops.aten.leaky_relu_backward(t, h, share, False),
)
LARGEST = Choice(
    lambda h, options: torch.ops.aten.max_pool2d_with_indices(h, *options),
    lambda s, h, at, options: torch.ops.aten.max_pool2d_with_indices_backward(s, h, *options, at),
    lambda t, h, at, options: at_places(t, at),
)


def at_places(t: Float[Tensor, "n c h w"], at: Int[Tensor, "n c h2 w2"]) -> Float[Tensor, "n c h2 w2"]:
    """What t has at places numbered over h and w; channels come last, as for convolutions."""
    of_t, of_at = (maps.permute(0, 2, 3, 1).flatten(1, 2) for maps in (t, at))
    return of_t.gather(1, of_at).unflatten(1, at.shape[2:]).permute(0, 3, 1, 2)


def largest(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Pooling, with the arguments of torch's `max_pool2d`."""
    options = kernel_size, kernel_size if stride is None else stride, padding, dilation, ceil_mode
    if return_indices:
        return max_pool2d(input, *options, return_indices=True)
    return Gate.apply(input, LARGEST, options)


GATES: dict[Callable[..., Any], Callable[..., Any]] = {
    leaky_relu: lambda input, negative_slope=0.01, inplace=False: Gate.apply(input, LEAKY, negative_slope),
    relu: lambda input, inplace=False: Gate.apply(input, LEAKY, 0.0),
    max_pool2d: largest,
}
"""torch's call -> the same, by a `Gate`."""
