"""Logits of the perceptron `mlp` together with their slopes, in closed form.

This is what `steep` finds for any network, written out for layers so small that autograd's bookkeeping takes as long as
they do. The logit, with h_0 = W_0 x + b_0 and f(h) = max(0, h),

    h_i = h_{i-1} + W_i f(h_{i-1}) + b_i,      a = w . f(h_L) + b,

has, with m_i = f'(h_i), all of it 0 or 1, the slopes s_i by h_i and g by x

    s_L = m_L w,      s_{i-1} = s_i + m_{i-1} W_i' s_i,      g = W_0' s_0.

What a cost wants of them, c of a and v of g, is carried through the same layers,

    t_0 = W_0 v,      t_i = t_{i-1} + W_i m_{i-1} t_{i-1},

and the gradients are   by W_i:  s_i (c f(h_{i-1}) + m_{i-1} t_{i-1})'    by b_i:  c s_i    by x:  c g.   With W_0, x
takes the place of f and v that of m t; with w, s is 1. Where D is told classes, each sample has a w of its own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.linalg import vecdot

from zerosum.kernels.input_grad import once

Rows = Float[Tensor, "n d"]


def steep_perceptron(x: Rows, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> tuple[Float[Tensor, " n"], Rows]:
    """D's logits and their slopes, to be differentiated once.

    Args:
        x: Samples.
        weights: W_0, W_1, ... W_L, each (outputs, inputs), and at last w: one row, or a row for each sample.
        biases: b_0 to b_L, and b.

    Returns:
        a, and g in the shape of x.

    Raises:
        RuntimeError: In a backward pass that is to be differentiated again.
    """
    logits, slope = SteepPerceptron.apply(x, *weights, *biases)
    return logits, slope


def passed(slope: Rows, f: Rows) -> Rows:
    """The product m slope, from f(h): zero where h is not positive."""
    out: Tensor = torch.ops.aten.threshold_backward(slope, f, 0)
    return out


class SteepPerceptron(torch.autograd.Function):
    """x, W_0 ... W_L, w, b_0 ... b_L, b -> a, g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *layers: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        (first, *inner, head), (shift, *shifts, offset) = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        h = torch.addmm(shift, x, first.T)
        read = [x]  # by each layer
        for weight, bias in zip(inner, shifts, strict=True):
            read.append(h.relu())
            h = torch.addmm(bias, read[-1], weight.T).add_(h)
        read.append(h.relu())
        logits = torch.addmm(offset, read[-1], head.T).squeeze(1) if len(head) == 1 else vecdot(read[-1], head) + offset
        told = [passed(head.expand_as(h), read[-1])]  # s_L, and on to s_0
        for weight, f in zip(reversed(inner), reversed(read[1:-1]), strict=True):
            told.append(passed(told[-1] @ weight, f).add_(told[-1]))
        slope = told[-1] @ first
        ctx.set_materialize_grads(False)
        ctx.rows = len(head)
        ctx.save_for_backward(slope, *read, *reversed(told), first, *inner)
        return logits, slope

    @staticmethod
    def backward(ctx: Any, c: Tensor | None, v: Tensor | None) -> tuple[Tensor | None, ...]:  # noqa: D102
        once()
        slope, x, *rest = ctx.saved_tensors
        depth = len(rest) // 3  # L + 1
        read, told, (first, *inner) = rest[:depth], rest[depth : 2 * depth], rest[2 * depth :]
        c = torch.zeros_like(x[:, :1]) if c is None else c[:, None]
        if v is None:
            met = [c * f for f in (x, *read)]
        else:
            met, t = [torch.addcmul(v, x, c)], v @ first.T
            for f, weight in zip(read, inner, strict=False):
                through = passed(t, f)
                t = t.addmm_(through, weight.T)
                met.append(through.addcmul_(f, c))
            met.append(passed(t, read[-1]).addcmul_(read[-1], c))
        by_weights = [s.T @ m for s, m in zip(told, met[:-1], strict=True)]
        by_biases = [(s.T @ c).squeeze(1) for s in told]
        by_head = met[-1].sum(0, keepdim=True) if ctx.rows == 1 else met[-1]
        return c * slope, *by_weights, by_head, *by_biases, c.sum(0)
