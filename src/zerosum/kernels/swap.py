"""Which layers of a finished network are swapped for fast ones."""

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from zerosum.kernels.fast_layers import IMAGE_CHANNELS, Conv2d, ConvTranspose2d, Linear, is_large

FAST: dict[type | None, type] = {nn.Linear: Linear, nn.Conv2d: Conv2d, nn.ConvTranspose2d: ConvTranspose2d}
"""torch's class -> ours."""


def with_fast_layers(net: nn.Module) -> nn.Module:
    """Swap torch's own layers for those of `fast_layers`, in place, where these are faster; return the network.

    Swapped are, of torch's own classes (parametrized or not) and no subclasses,

    - each transposed convolution with a square kernel;
    - each convolution from at most four channels with a square kernel larger than 1 x 1, in which the block form would
      multiply zeros above all;
    - in a network with convolutions, each linear layer of at least 2^18 weights but the network's first layer, which
      has few inputs: there oneDNN's gradient of W takes up to 2.4 times as long as MKL's (64 inputs, 8,192 outputs, 128
      rows, AMD EPYC), and that of x, which it computes faster, is not asked for. Networks of linear layers alone keep
      torch's: between 240 and 1,200 units, oneDNN takes 0.5 to 1.5 times as long.

    Args:
        net: A finished network; its parameters, buffers, their names and hooks stay what they are.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    convolutional = any(not isinstance(layer, nn.Linear) for layer in layers)
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            faster = convolutional and place > 0 and is_large(layer.in_features * layer.out_features)
        else:
            from_image = layer.in_channels <= IMAGE_CHANNELS and layer.kernel_size[0] > 1
            faster = _is_square(layer) and (layer.transposed or from_image)
        if faster:
            _swap(layer)
    return net


def _is_square(layer: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Whether a convolution has the form that ours compute: the same in both directions, no groups, no dilation."""
    same = all(len({*values}) == 1 for values in (layer.kernel_size, layer.stride, layer.padding))
    plain = layer.groups == 1 and layer.padding_mode == "zeros" and {*layer.output_padding} == {0}
    return same and plain and {*layer.dilation} == {1}


def _swap(layer: nn.Module) -> None:
    """Change the class of a layer; a parametrized one, whose class torch made for it, gets the like with our base."""
    kind = type(layer)
    if kind in FAST:
        layer.__class__ = FAST[kind]
    elif is_parametrized(layer) and kind.__base__ in FAST:
        layer.__class__ = type(kind.__name__, (FAST[kind.__base__],), dict(vars(kind)))
