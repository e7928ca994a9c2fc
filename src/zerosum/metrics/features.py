"""Feature extractors: functions from samples to features, between which distances are computed.

    pixels       the values themselves, images in [0, 1], points in the data's own units
    classifier   the last hidden layer of a small network trained to classify the data
    inception    pool features of an Inception network, from a TorchScript file that the user provides
    module:name  any function from samples to (n, d)

A metric depends on its features: each extractor has a name and a hash, which are stored with every metric, and metrics
of different extractors are never compared. Only with Inception features is a Frechet distance a FID.

Trained classifiers are cached. The file name contains a hash of the file's content; a file that does not match its hash
is deleted, and the classifier is trained again.
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
from zerosum.metrics.neighbors import Features

Array = NDArray[Any]
"""Samples: images uint8 (n, h, w, c), or points (n, d)."""

BATCH = 250
TRAINING_ROWS = 60_000
"""Rows on which the classifier is trained in all epochs together (MNIST: one epoch); about a minute on two cores."""


class Extractor(NamedTuple):
    """A feature extractor."""

    name: str
    hash: str
    """Twelve hex digits that identify the function it computes."""
    about: str
    """Notes for the user: sizes, accuracy on held-out rows."""
    features: Callable[[Array], Features]
    probabilities: Callable[[Array], Tensor] | None = None
    """Samples -> (n, classes) probabilities, if the extractor is a classifier."""
    per_sample: bool = True
    """Whether the features of a sample do not depend on the other samples, so that processes may divide them."""

    @property
    def label(self) -> str:
        """Name and hash, stored with every metric."""
        return f"{self.name}-{self.hash}"


def pixels() -> Extractor:
    """The values of a sample, flattened."""
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
    """Train a classifier on the data, or load it from the cache, and return its extractor.

    Args:
        train: Images uint8 (n, h, w, c) and their classes (n,), -1 for unknown.
        test: Held-out images and classes, on which the accuracy is measured.
        classes: Number of classes.
        cache: Folder of cached classifiers, found by a hash of the training data; None: no cache.

    Raises:
        DataError: The data are not images, or no row has a label.
    """
    images, labels = train
    if images.ndim != 4 or not (labels >= 0).any():
        raise DataError("classifier features need images with labels; use features=pixels")
    digest = _hash_of_data(images, labels, classes)
    net = Classifier(images.shape[1:], classes)
    if not _load_cached(net, cache, digest):
        _train(net, images[labels >= 0], labels[labels >= 0])
        _save_to_cache(net, cache, digest)
        _load_cached(net, cache, digest)  # if several processes trained one each, all use the first
    net.eval()
    return Extractor(
        "classifier",
        digest,
        _accuracy(net, *test),
        lambda samples: _in_batches(net.body, samples).double(),
        lambda samples: _in_batches(net, samples).double().softmax(1),
    )


def _accuracy(net: Classifier, images: Array, labels: Array) -> str:
    known = labels >= 0
    if not known.any():
        return "its accuracy is not known: no held-out row has a label"
    accuracy = (_in_batches(net, images[known]).argmax(1).numpy() == labels[known]).mean()
    return f"right about {accuracy:.1%} of {known.sum():,} held-out rows"


def _load_cached(net: Classifier, cache: Path | None, digest: str) -> bool:
    """Load the weights of the oldest valid cached classifier for this data; return whether there is one."""
    for file in _cached_files(cache, digest):
        weights = _read_weights(file, net)
        if weights is not None:
            net.load_state_dict(weights)
            return True
        with suppress(OSError):
            file.unlink()  # damaged: the name is one of ours, the content is not what we wrote
    return False


def _cached_files(cache: Path | None, digest: str) -> Iterator[Path]:
    """Yield the cached files for this data, oldest first."""
    with suppress(OSError):
        found = [] if cache is None else [*cache.glob(f"classifier-{digest}-*.safetensors")]
        yield from sorted(found, key=lambda file: (file.lstat().st_mtime_ns, file.name))


def _read_weights(file: Path, net: Classifier) -> dict[str, Tensor] | None:
    """Read weights from a file; None if the content does not match the hash in its name or the network's shapes."""
    expected = net.state_dict()
    limit = sum(tensor.nbytes for tensor in expected.values()) + files.MIB
    try:
        content = files.read(file, limit)
        weights = load(content) if file.name == _file_name(file.name.split("-")[1], content) else {}
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    layout = {key: (tensor.shape, tensor.dtype) for key, tensor in weights.items()}
    return weights if layout == {key: (tensor.shape, tensor.dtype) for key, tensor in expected.items()} else None


def _save_to_cache(net: Classifier, cache: Path | None, digest: str) -> None:
    """Save the network in the cache folder, if there is one and it can be written."""
    if cache is None:
        return
    content = save(net.state_dict())
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        files.remove_stale_temporary(cache)
        files.write(cache / _file_name(digest, content), content)


def _file_name(digest: str, content: bytes) -> str:
    """Name of a cached file: hash of the training data and hash of the file's content."""
    return f"classifier-{digest}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"


def _hash_of_data(images: Array, labels: Array, classes: int) -> str:
    digest = hashlib.sha256(f"classifier 1 {images.shape} {classes}".encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()[:12]


def _train(net: Classifier, images: Array, labels: Array) -> None:
    """Train with Adam, learning rate 1e-3 decaying linearly to 0, batches of 100 in a seeded order."""
    rng.set_global(0, "classifier")
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    x, y, batch = images, torch.from_numpy(labels).long(), min(100, len(images))
    steps = TRAINING_ROWS // batch
    optimizer = Adam(net.parameters(), lr=1e-3)
    rows = torch.empty(0, dtype=torch.long)
    net.train()
    for step in range(steps):
        if len(rows) < batch:
            rows = torch.randperm(len(x), generator=rng.generator(0, "classifier", step))
        chosen, rows = rows[:batch], rows[batch:]
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        loss = cross_entropy(net(_as_input(x[chosen.numpy()])), y[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _as_input(images: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def _in_batches(net: nn.Module, images: Array) -> Tensor:
    starts = range(0, max(1, len(images)), BATCH)  # no images give one empty batch, so the result has the right shape
    return torch.cat([net(_as_input(images[first : first + BATCH])) for first in starts])


INCEPTION = "inception-2015-12-05.pt"
"""TorchScript file of the network of 2015 that published FIDs use."""

MAX_INCEPTION = files.GIB
"""Maximum size of that file in bytes; it has 95 million."""


def inception(folder: Path) -> Extractor:
    """Pool features (n, 2048) of the Inception network that published FIDs use, from a file that the user provides.

    Args:
        folder: Folder that contains the file `INCEPTION`.

    Raises:
        UsageError: The file is missing (it is never downloaded), or it is not this network.
    """
    file = folder / INCEPTION
    try:
        content = files.read(file, MAX_INCEPTION, follow=True)
    except FileNotFoundError:
        raise UsageError(f"inception features need the TorchScript file {INCEPTION}; put it into {folder}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {files.reason(error)}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, the format of the file
            net = torch.jit.load(BytesIO(content)).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise UsageError(f"{file} is no TorchScript network: {str(error).splitlines()[0]}") from None

    @torch.no_grad()
    def extract(samples: Array) -> Tensor:
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
    return Extractor("inception", digest, about, lambda samples: as_features(INCEPTION, extract(samples), len(samples)))


def custom(name: str, function: Any) -> Extractor:
    """Extractor for a user's function from samples to (n, d) features.

    Raises:
        UsageError: It is not callable; when it is called, if it does not return a row of numbers for each sample.
    """
    if not callable(function):
        raise UsageError(f"{name} is {type(function).__name__}; a function from samples to (n, d) is expected")

    def features(samples: Array) -> Features:
        with UserCode(name):
            given = function(samples)
        return as_features(name, given, len(samples))

    return Extractor(name, hashlib.sha256(name.encode()).hexdigest()[:12], "the user's own", features, per_sample=False)


def as_features(name: str, given: Any, n: int) -> Features:
    """Convert what a function returned to features (n, d) in float64.

    Raises:
        UsageError: It is not a row of finite real numbers for each of the n samples.
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
