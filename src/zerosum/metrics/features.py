"""Features: what a distance between samples looks at.

    pixels       the numbers themselves, images in [0, 1], points in the data's own units
    classifier   the last hidden layer of a small network that was trained to tell the data's classes
    inception    pool features of an Inception network, from a TorchScript file that the user has
    module:name  any function from samples to (n, d)

A number is worth what its features see: an extractor carries its name and a hash of what it is, which travel with every
number, and numbers of different extractors are never compared. Only with Inception is a Frechet distance a FID.

A classifier is kept in a file that carries the hash of its own content in its name: what is not what was written is
taught anew.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.optim import Adam

from zerosum import files, rng
from zerosum.errors import DataError, UsageError, UserCode
from zerosum.metrics.prdc import Features

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
    """Two convolutions, pooling (not along a side of one pixel), one hidden layer of 128 and the classes.

    Source: the check of mode coverage in Lin et al. 2018 (PacGAN), arXiv:1712.04086; there with Adadelta and 12 epochs.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        height, width, channels = shape
        down, across = min(2, height), min(2, width)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d((down, across)), nn.Dropout(0.25), nn.Flatten(),
            nn.Linear(64 * (height // down) * (width // across), 128), nn.ReLU(),
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
    if not _kept(net, cache, name):
        _teach(net, images[labels >= 0], labels[labels >= 0])
        _keep(net, cache, name)
        _kept(net, cache, name)  # of several processes that taught one each, all use the first
    net.eval()
    return Extractor(
        "classifier",
        name,
        _accuracy(net, *test),
        lambda samples: _through(net.body, samples).double(),
        lambda samples: _through(net, samples).double().softmax(1),
    )


def _accuracy(net: Classifier, images: Array, labels: Array) -> str:
    known = labels >= 0
    if not known.any():
        return "its accuracy is not known: no held-out row has a label"
    right = (_through(net, images[known]).argmax(1).numpy() == labels[known]).mean()
    return f"right about {right:.1%} of {known.sum():,} held-out rows"


def _kept(net: Classifier, cache: Path | None, name: str) -> bool:
    """Let the network be the oldest one that is kept of this content, if there is one that is what was written."""
    for file in _files(cache, name):
        weights = _written(file, net)
        if weights is not None:
            net.load_state_dict(weights)
            return True
        with suppress(OSError):
            file.unlink()  # a name of ours, and not what we wrote
    return False


def _files(cache: Path | None, name: str) -> Iterator[Path]:
    """Files of that content, oldest first."""
    with suppress(OSError):
        found = [] if cache is None else [*cache.glob(f"classifier-{name}-*.safetensors")]
        yield from sorted(found, key=lambda file: (file.lstat().st_mtime_ns, file.name))


def _written(file: Path, net: Classifier) -> dict[str, Tensor] | None:
    """The weights in a file, if its content has the hash in its name and they are those of such a network."""
    mine = net.state_dict()
    most = sum(tensor.nbytes for tensor in mine.values()) + files.MIB
    try:
        content = files.read(file, most)
        weights = load(content) if file.name == _name(file.name.split("-")[1], content) else {}
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    form = {key: (tensor.shape, tensor.dtype) for key, tensor in weights.items()}
    return weights if form == {key: (tensor.shape, tensor.dtype) for key, tensor in mine.items()} else None


def _keep(net: Classifier, cache: Path | None, name: str) -> None:
    """Write the network down, where there is a place for it."""
    if cache is None:
        return
    content = save(net.state_dict())
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        files.remove_stale_temporary(cache)
        files.write(cache / _name(name, content), content)


def _name(content: str, file: bytes) -> str:
    """The name of the file of a classifier: what it was taught on, and what is in it."""
    return f"classifier-{content}-{hashlib.sha256(file).hexdigest()[:16]}.safetensors"


def _content(images: Array, labels: Array, classes: int) -> str:
    digest = hashlib.sha256(f"classifier 1 {images.shape} {classes}".encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()[:12]


def _teach(net: Classifier, images: Array, labels: Array) -> None:
    """Adam at 1e-3, falling to 0 along a line; batches of 100 in a seeded order."""
    rng.set_global(0, "classifier")
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
            rows = torch.randperm(len(x), generator=rng.generator(0, "classifier", step))
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
    starts = range(0, max(1, len(images)), BATCH)  # of no images, nothing in the right shape
    return torch.cat([net(_as_input(images[first : first + BATCH])) for first in starts])


INCEPTION = "inception-2015-12-05.pt"
"""The TorchScript file of the network of 2015 that published FIDs use."""

LARGEST = files.GIB
"""Bytes that it may have; it has 95 million."""


def inception(folder: Path) -> Extractor:
    """Pool features (n, 2048) of the Inception network that published FIDs use, from a file that the user has.

    Args:
        folder: Where the file lies.

    Raises:
        UsageError: It is not there (it is never fetched), or it is no such network.
    """
    file = folder / INCEPTION
    try:
        content = files.read(file, LARGEST, follow=True)
    except FileNotFoundError:
        raise UsageError(f"inception features need the TorchScript file {INCEPTION}; put it into {folder}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {files.reason(error)}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript is going, the file that all have is one
            net = torch.jit.load(BytesIO(content)).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"{file} is no TorchScript network: {str(error).splitlines()[0]}") from None

    @torch.no_grad()
    def look(samples: Array) -> Tensor:
        if samples.ndim != 4 or samples.shape[3] not in (1, 3):
            raise UsageError(f"inception features are of gray or RGB images, these samples are {samples.shape[1:]}")
        parts = []
        for first in range(0, max(1, len(samples)), 50):
            x = _as_input(samples[first : first + 50]) * 255
            x = interpolate(x, (299, 299), mode="bilinear", align_corners=False)
            try:
                parts.append(net(x.expand(-1, 3, -1, -1), return_features=True))
            except (RuntimeError, TypeError) as error:
                raise UsageError(f"{file} is another network: {str(error).splitlines()[0]}") from None
        return torch.cat(parts)

    digest = hashlib.sha256(content).hexdigest()[:12]
    about = "bilinear to 299 x 299 without antialiasing"
    return Extractor("inception", digest, about, lambda samples: rows_of(INCEPTION, look(samples), len(samples)))


def own(name: str, function: Any) -> Extractor:
    """A function of the user's, from samples to (n, d).

    Raises:
        UsageError: It is no function; and where it is used, if it gives anything but a row of numbers for each sample.
    """
    if not callable(function):
        raise UsageError(f"{name} is {type(function).__name__}; a function from samples to (n, d) is expected")

    def features(samples: Array) -> Features:
        with UserCode(name):
            given = function(samples)
        return rows_of(name, given, len(samples))

    return Extractor(name, hashlib.sha256(name.encode()).hexdigest()[:12], "the user's own", features, by_row=False)


def rows_of(name: str, given: Any, n: int) -> Features:
    """What a function gave, once it is seen to be a row of finite numbers for each sample.

    Raises:
        UsageError: It is anything else.
    """
    try:
        found = torch.as_tensor(given).detach().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise UsageError(f"{name} gave {type(given).__name__}, no array of numbers: {error}") from None
    if found.ndim != 2 or len(found) != n or not found.shape[1] or found.is_complex():
        kind = f"{tuple(found.shape)} {found.dtype}".replace("torch.", "of ")
        raise UsageError(f"{name} gave {kind} for {n} samples; (n, d) is expected, of real numbers")
    bad = (~found.isfinite()).any(1).sum().item()
    if bad:
        raise UsageError(f"{name} gave NaN or infinity for {bad} of {n} samples")
    return found.double()
