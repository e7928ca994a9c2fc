"""Input gradients of a finished discriminator: which kernel computes them, by D's type.

    D(x) = w . f(x) + b            w is one row for all samples or, in a conditional D, w + v_c: a row for each sample

A D of another type has no kernel; `game` then differentiates it twice by autograd.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zerosum.kernels.input_grad import value_and_input_grad
from zerosum.kernels.input_grad_mlp import mlp_value_and_input_grad
from zerosum.nets.conditional import FastGradientDiscriminator, Logits, ProjectionDiscriminator, Samples
from zerosum.nets.mlp import MlpDiscriminator

Head = Float[Tensor, "n f"] | None
"""w of each sample; None: the same w for all."""

InputGradKernel = Callable[[nn.Module, Samples, Any], tuple[Logits, Samples]]
"""(D, x, c) -> logits and input gradients; both can be differentiated once, by D's parameters and x."""


def input_grad_kernel(net: nn.Module) -> InputGradKernel | None:
    """Find the kernel of a discriminator by its type; None: there is none."""
    if isinstance(net, ProjectionDiscriminator):
        inner = input_grad_kernel(net.net)
        return inner and partial(of_projection, inner)
    return next((kernel for kind, kernel in KERNELS.items() if isinstance(net, kind)), None)


def of_projection(
    kernel: InputGradKernel, net: ProjectionDiscriminator, x: Samples, c: Tensor
) -> tuple[Logits, Samples]:
    """Logits and input gradients of a conditional D, by the kernel of the D inside it."""
    return kernel(net.net, x, net.net.head.weight + net.labels(c))


def of_mlp(net: MlpDiscriminator, x: Samples, head: Head = None) -> tuple[Logits, Samples]:
    """Logits and input gradients in closed form."""
    hidden: Any = tuple(net.features)[1]
    layers = [layer for layer in hidden if isinstance(layer, nn.Linear)]
    weights = [*(layer.weight for layer in layers), net.head.weight if head is None else head]
    biases = [*(layer.bias for layer in layers), net.head.bias]
    logits, input_grad = mlp_value_and_input_grad(x.flatten(1), weights, biases)
    return logits, input_grad.view_as(x)


def of_affine_layers(net: FastGradientDiscriminator, x: Samples, head: Head = None) -> tuple[Logits, Samples]:
    """Logits and input gradients of any D all of whose parameters are in linear layers and convolutions."""
    if head is None:
        return value_and_input_grad(net, x, list(net.parameters()))
    parameters = [head, *net.features.parameters()]
    logits, input_grad = value_and_input_grad(lambda x: torch.linalg.vecdot(net.features(x), head), x, parameters)
    return logits + net.head.bias, input_grad


KERNELS: dict[type[nn.Module], Callable[..., tuple[Logits, Samples]]] = {
    MlpDiscriminator: of_mlp,
    FastGradientDiscriminator: of_affine_layers,
}
"""Type of D -> (D, x, w of each sample or None) -> logits and input gradients."""
