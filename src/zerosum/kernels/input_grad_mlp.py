"""Logits of the pair `mlp`'s D and their input gradients, in closed form.

`input_grad.value_and_input_grad` computes the same for any network; here it is written out for layers so small that
autograd's bookkeeping takes as long as they do. The logit, with h_0 = W_0 x + b_0 and f(h) = max(0, h),

    h_i = h_{i-1} + W_i f(h_{i-1}) + b_i,      a = w . f(h_L) + b,

has, with m_i = f'(h_i), all of it 0 or 1, the gradients s_i = da/dh_i and the input gradient g = da/dx

    s_L = m_L w,      s_{i-1} = s_i + m_{i-1} W_i' s_i,      g = W_0' s_0.

The upstream gradients c = dcost/da and v = dcost/dg are propagated forward through the same layers,

    t_0 = W_0 v,      t_i = t_{i-1} + W_i m_{i-1} t_{i-1},

and the gradients are   W_i:  s_i (c f(h_{i-1}) + m_{i-1} t_{i-1})'    b_i:  c s_i    x:  c g.   For W_0, x takes the
place of f and v that of m t; for w, s is 1. In a conditional D, each sample has a w of its own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vecdot

from zerosum.kernels.input_grad import refuse_second_derivative

Rows = Float[Tensor, "n d"]


def mlp_value_and_input_grad(
    x: Rows, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[Float[Tensor, " n"], Rows]:
    """Compute D's logits and their input gradients; both can be differentiated once.

    Args:
        x: Samples.
        weights: W_0, W_1, ... W_L, each (outputs, inputs), then w: one row, or a row for each sample.
        biases: b_0 to b_L, and b.

    Returns:
        a (n,), and g in the shape of x.

    Raises:
        RuntimeError: A second derivative of the result is taken.
    """
    logits, input_grad = MlpValueAndInputGrad.apply(x, *weights, *biases)
    return logits, input_grad


def relu_backward(grad: Rows, f: Rows) -> Rows:
    """The product m grad, from f(h): zero where h is not positive."""
    out: Tensor = torch.ops.aten.threshold_backward(grad, f, 0)
    return out


class MlpValueAndInputGrad(torch.autograd.Function):
    """x, W_0 ... W_L, w, b_0 ... b_L, b -> a, g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *layers: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        (first, *inner, head), (first_bias, *biases, b) = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        h = torch.addmm(first_bias, x, first.T)
        acts = [x]  # the input of each layer
        for weight, bias in zip(inner, biases, strict=True):
            acts.append(h.relu())
            h = torch.addmm(bias, acts[-1], weight.T).add_(h)
        acts.append(h.relu())
        logits = torch.addmm(b, acts[-1], head.T).squeeze(1) if len(head) == 1 else vecdot(acts[-1], head) + b
        grads = [relu_backward(head.expand_as(h), acts[-1])]  # s_L, then down to s_0
        for weight, f in zip(reversed(inner), reversed(acts[1:-1]), strict=True):
            grads.append(relu_backward(grads[-1] @ weight, f).add_(grads[-1]))
        input_grad = grads[-1] @ first
        ctx.set_materialize_grads(False)
        ctx.rows = len(head)
        ctx.save_for_backward(input_grad, *acts, *reversed(grads), first, *inner)
        return logits, input_grad

    @staticmethod
    def backward(ctx: Any, c: Tensor | None, v: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        refuse_second_derivative()
        input_grad, x, *rest = ctx.saved_tensors
        depth = len(rest) // 3  # L + 1
        hidden, grads, (first, *inner) = rest[:depth], rest[depth : 2 * depth], rest[2 * depth :]
        c = torch.zeros_like(x[:, :1]) if c is None else c[:, None]
        if v is None:
            right = [c * f for f in (x, *hidden)]  # c f(h_{i-1}) + m_{i-1} t_{i-1} of each layer
        else:
            right, t = [torch.addcmul(v, x, c)], v @ first.T
            for f, weight in zip(hidden, inner, strict=False):
                masked = relu_backward(t, f)
                t = t.addmm_(masked, weight.T)
                right.append(masked.addcmul_(f, c))
            right.append(relu_backward(t, hidden[-1]).addcmul_(hidden[-1], c))
        grad_weights = [s.T @ r for s, r in zip(grads, right[:-1], strict=True)]
        grad_biases = [(s.T @ c).squeeze(1) for s in grads]
        grad_head = right[-1].sum(0, keepdim=True) if ctx.rows == 1 else right[-1]
        return c * input_grad, *grad_weights, grad_head, *grad_biases, c.sum(0)
