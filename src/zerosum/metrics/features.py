"""Features: what a distance between samples looks at.

    pixels       the numbers themselves, images in [0, 1], points in the data's own units
    classifier   the last hidden layer of a small network that was trained to tell the data's classes
    inception    pool features of an Inception network, from a TorchScript file that the user has
    module:name  any function from samples to (n, d)

A number is worth what its features see: an extractor carries its name and a hash of what it is, which travel with every
number, and numbers of different extractors are never compared. Only with Inception is a Frechet distance a FID.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.optim import Adam

from zerosum import draws
from zerosum.errors import DataError, UsageError
from zerosum.metrics.manifold import Features

Array = NDArray[Any]
"""Samples in their form: uint8 (n, h, w, c), or points (n, d)."""

BATCH = 250
SEEN = 60_000
"""Rows that the classifier is shown in all: MNIST once, smaller sets several times; about a minute on two cores."""


class Extractor(NamedTuple):
    """A way to look at samples."""

    name: str
    hash: str
    """Twelve hex digits that follow from what it computes."""
    about: str
    """What a reader should know: sizes, accuracy on held-out rows."""
    features: Callable[[Array], Features]
    probabilities: Callable[[Array], Tensor] | None = None
    """(n, classes), where it is a classifier."""
    by_row: bool = True
    """Whether it looks at each sample by itself, so that several processes may share them."""

    @property
    def label(self) -> str:
        """Name and hash: what is written beside every number."""
        return f"{self.name}-{self.hash}"


def pixels() -> Extractor:
    """The numbers of a sample, as they are."""
    return Extractor("pixels", "0" * 12, "images in [0, 1], points in the data's units", _flat)


def _flat(samples: Array) -> Features:
    x = torch.from_numpy(np.ascontiguousarray(samples)).flatten(1).double()
    return x / 255 if samples.dtype == np.uint8 else x


class Classifier(nn.Module):
    """Two convolutions, pooling, one hidden layer of 128 and the classes.

    Source: the check of mode coverage in Lin et al. 2018 (PacGAN), arXiv:1712.04086; there with Adadelta and 12 epochs.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        height, width, channels = shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
            nn.Linear(64 * (height // 2) * (width // 2), 128), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(128, classes))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.head(self.body(x))
        return out


def classifier(train: tuple[Array, Array], test: tuple[Array, Array], classes: int, cache: Path | None) -> Extractor:
    """A network that learned to tell the classes of the data, or the one that learned it before.

    Args:
        train: Images uint8 (n, h, w, c) and their classes (n,), -1 where not known.
        test: The same for rows held out, on which its accuracy is measured.
        classes: How many there are.
        cache: Folder in which trained networks are kept, by the content that they were trained on; None: keep none.

    Raises:
        DataError: These are no images with labels.
    """
    images, labels = train
    if images.ndim != 4 or not (labels >= 0).any():
        raise DataError("classifier features need images with labels; use features=pixels")
    name = _content(images, labels, classes)
    net = Classifier(images.shape[1:], classes)
    file = cache / f"classifier-{name}.safetensors" if cache else None
    if file and file.exists():
        net.load_state_dict(load_file(file))
    else:
        _teach(net, images[labels >= 0], labels[labels >= 0])
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(net.state_dict(), file)
    net.eval()
    known = test[1] >= 0
    right = (_through(net, test[0][known]).argmax(1).numpy() == test[1][known]).mean() if known.any() else np.nan
    return Extractor(
        "classifier",
        name,
        f"right about {right:.1%} of {known.sum():,} held-out rows",
        lambda samples: _through(net.body, samples).double(),
        lambda samples: _through(net, samples).double().softmax(1),
    )


def _content(images: Array, labels: Array, classes: int) -> str:
    digest = hashlib.sha256(f"classifier 1 {images.shape} {classes}".encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()[:12]


def _teach(net: Classifier, images: Array, labels: Array) -> None:
    """Adam at 1e-3, falling to 0 along a line; batches of 100 in a seeded order."""
    draws.set_global(0, "classifier")
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    x, y, batch = images, torch.from_numpy(labels).long(), min(100, len(images))
    steps = SEEN // batch
    move = Adam(net.parameters(), lr=1e-3)
    rows = torch.empty(0, dtype=torch.long)
    net.train()
    for step in range(steps):
        if len(rows) < batch:
            rows = torch.randperm(len(x), generator=draws.generator(0, "classifier", step))
        now, rows = rows[:batch], rows[batch:]
        move.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        cost = cross_entropy(net(_as_input(x[now.numpy()])), y[now])
        move.zero_grad()
        cost.backward()
        move.step()


def _as_input(images: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def _through(net: nn.Module, images: Array) -> Tensor:
    return torch.cat([net(_as_input(images[first : first + BATCH])) for first in range(0, len(images), BATCH)])


INCEPTION = "inception-2015-12-05.pt"
"""The TorchScript file of the network of 2015 that published FIDs use."""


def inception(folder: Path) -> Extractor:
    """Pool features (n, 2048) of the Inception network that published FIDs use, from a file that the user has.

    Args:
        folder: Where the file lies.

    Raises:
        UsageError: It is not there; it is never fetched.
    """
    file = folder / INCEPTION
    if not file.exists():
        raise UsageError(f"inception features need the TorchScript file {INCEPTION}; put it into {folder}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    net = torch.jit.load(str(file)).eval()

    @torch.no_grad()
    def features(samples: Array) -> Features:
        parts = []
        for first in range(0, len(samples), 50):
            x = _as_input(samples[first : first + 50]) * 255
            x = interpolate(x, (299, 299), mode="bilinear", align_corners=False)
            parts.append(net(x.expand(-1, 3, -1, -1), return_features=True))
        return torch.cat(parts).double()

    return Extractor("inception", digest, "bilinear to 299 x 299 without antialiasing", features)


def own(name: str, function: Callable[[Array], Any]) -> Extractor:
    """A function of the user's, from samples to (n, d)."""

    def features(samples: Array) -> Features:
        found = torch.as_tensor(function(samples)).double()
        if found.ndim != 2 or len(found) != len(samples):
            raise UsageError(f"{name} gave {tuple(found.shape)} for {len(samples)} samples; (n, d) is expected")
        return found

    return Extractor(name, hashlib.sha256(name.encode()).hexdigest()[:12], "the user's own", features, by_row=False)
