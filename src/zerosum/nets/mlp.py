"""Perceptrons: a pair for points in any dimension and for small images, and the pair of the 2014 paper.

Both players of `mlp` are the same stack of `depth` hidden layers of `width` numbers h, without normalisation, so that D
judges each sample by itself and penalties on its slope mean what they say. The first layer reads the input, the others
add to what is there,

    h <- W x + b,      h <- h + W f(h) + b   (depth - 1 times),      out = W f(h) + b,      f(h) = max(0, h)

benchmarks/README.md has the measurement against the plain stack and against a leaky f.
"""

from math import prod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from zerosum.config.settings import Layers, Size
from zerosum.kernels.input_grad import Samples
from zerosum.kernels.input_grad_mlp import steep_perceptron
from zerosum.nets.conditional import Discriminator, Logits, Rows, spectrally_normed


class Residual(nn.Linear):
    """A layer that adds to its input: h + W f(h) + b."""

    def forward(self, h: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:  # noqa: D102
        return h + super().forward(relu(h))


def stack(inputs: int, width: int, depth: int) -> nn.Sequential:
    """`depth` hidden layers of `width`."""
    hidden = [Residual(width, width) for _ in range(depth - 1)]
    return nn.Sequential(nn.Linear(inputs, width), *hidden, nn.ReLU())


def generator(shape: tuple[int, ...], latent: int, *, width: Size = 128, depth: Layers = 3) -> nn.Module:
    """G of the pair `mlp`; images end in a tanh, points are unbounded.

    Args:
        shape: Of one sample.
        latent: Numbers in one z.
        width: Numbers in a hidden layer.
        depth: Hidden layers.
    """
    bound = [nn.Tanh()] if len(shape) == 3 else []
    return nn.Sequential(stack(latent, width, depth), nn.Linear(width, prod(shape)), nn.Unflatten(1, shape), *bound)


def discriminator(shape: tuple[int, ...], *, width: Size = 128, depth: Layers = 3, spectral: bool = False) -> nn.Module:
    """D of the pair `mlp`.

    Args:
        shape: Of one sample.
        width: Numbers in a hidden layer.
        depth: Hidden layers.
        spectral: Divide each matrix by its largest singular value.
    """
    net = Perceptron(nn.Sequential(nn.Flatten(), stack(prod(shape), width, depth)), width)
    return spectrally_normed(net) if spectral else net


class Perceptron(Discriminator):
    """A judge whose features are `stack`."""

    def value_and_input_grad(self, x: Samples, head: Rows | None = None) -> tuple[Logits, Samples]:
        """As that of `SteepJudge`."""
        layers = [layer for layer in self.features.modules() if isinstance(layer, nn.Linear)]
        weights = [*(layer.weight for layer in layers), self.head.weight if head is None else head]
        biases = [*(layer.bias for layer in layers), self.head.bias]
        logits, slope = steep_perceptron(x.flatten(1), weights, biases)
        return logits, slope.view_as(x)


class Maxout(nn.Module):
    """The largest of `pieces` linear functions, for each of `width` outputs.

    Source: Goodfellow et al. 2013, arXiv:1302.4389, section 3.
    """

    def __init__(self, inputs: int, width: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width * pieces)
        self.pieces = pieces

    def forward(self, h: Float[Tensor, "n inputs"]) -> Float[Tensor, "n width"]:  # noqa: D102
        out: Tensor = self.linear(h).unflatten(1, (-1, self.pieces)).amax(2)
        return out


class Gray(nn.Module):
    """Between [-1, 1], in which images are encoded, and [0, 1], in which the 2014 networks work."""

    def forward(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:  # noqa: D102
        return (x + 1) / 2


def goodfellow2014_generator(
    shape: tuple[int, ...], latent: int, mean: Tensor | None = None, *, width: Size = 1200
) -> nn.Module:
    """G of the 2014 paper on MNIST: two layers of ReLU, sigmoid gray values.

    Weights start uniform in [-0.05, 0.05], biases at zero, but the last at the logit of the data's mean pixels, so that
    the first samples have the mean image. The sigmoid of a in [0, 1] is tanh(a/2) in our [-1, 1].

    Args:
        shape: Of one image.
        latent: Numbers in one z (100 there, uniform within the square root of 3).
        mean: Mean of the encoded training data (*shape), handed in by `build`; absent: zero biases.
        width: Numbers in a hidden layer.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 5, and its published code, mnist.yaml.
    """
    last = nn.Linear(width, prod(shape))
    net = nn.Sequential(
        nn.Linear(latent, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        last,
        HalfTanh(),
        nn.Unflatten(1, shape),
    )
    uniform_start(net, 0.05)
    if mean is not None:
        gray = (mean.flatten() + 1) / 2
        last.bias.data.copy_(torch.logit(gray.clamp(1e-3, 1 - 1e-3)))
    return net


class HalfTanh(nn.Module):
    """tanh(a/2) = 2 sigmoid(a) - 1."""

    def forward(self, a: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:  # noqa: D102
        return torch.tanh(a / 2)


def goodfellow2014_discriminator(
    shape: tuple[int, ...], *, width: Size = 240, pieces: Size = 5, dropout: bool = True
) -> nn.Module:
    """D of the 2014 paper on MNIST: two maxout layers, with dropout of a fifth of the input and half of each layer.

    Args:
        shape: Of one image.
        width: Maxout units in a layer.
        pieces: Linear functions in a unit.
        dropout: Whether to drop; the same masks meet the fakes in both players' costs where the game is `simultaneous`.

    Source: Goodfellow et al. 2014, arXiv:1406.2661, section 5, and its published code, mnist.yaml.
    """
    drop = [nn.Dropout(share) if dropout else nn.Identity() for share in (0.2, 0.5, 0.5)]
    first, second = Maxout(prod(shape), width, pieces), Maxout(width, width, pieces)
    net = Discriminator(nn.Sequential(nn.Flatten(), Gray(), drop[0], first, drop[1], second, drop[2]), width)
    uniform_start(net, 0.005)
    return net


def uniform_start(net: nn.Module, bound: float) -> None:
    """Weights uniform in [-bound, bound], biases zero."""
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)
