"""The pictures of the page, embedded as data URIs."""

import warnings
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from zerosum import files, plots
from zerosum.data import Data
from zerosum.data.folder import UNREADABLE
from zerosum.errors import named
from zerosum.metrics.features import Array, pixels
from zerosum.metrics.neighbors import Neighbors, nearest_neighbors, rounding_error
from zerosum.run import RunFolder
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler

FRAMES, MAX_READ = 24, 2**25
"""Largest number of pictures over time, and of bytes in their files, which take seconds to decode."""

MAX_PIXELS, MAX_TOTAL_PIXELS = 2**26, 2**28
"""Largest number of pixels of one picture, and of all over time: small files can decode to huge images."""

MAX_BYTES, MAX_WIDTH = 100_000, 800
"""A picture of more bytes is reduced to this width and saved as JPEG."""

WALKS, STEPS = 6, 9
"""Rows of a sheet of latent walks, and steps from the first image of a row to its last."""

MOST_CLASSES = 12
"""Largest number of classes with a latent walk."""

PICTURED, NEIGHBORS = 12, 3
"""Number of samples shown with their nearest training rows, and of these per sample."""

QUERIES, CANDIDATES = 400, 10_000
"""Number of samples whose nearest neighbors are searched, and of training rows that are searched."""

MAX_VALUES = 2**24
"""Largest number of values in either, so that large images fit into memory."""


class Frame(NamedTuple):
    """A picture of the samples after a round; source is a data URI."""

    round: int
    source: str
    width: int
    height: int


class Picture(NamedTuple):
    """A picture; source is a data URI."""

    source: str
    width: int
    height: int


class Memorization(NamedTuple):
    """Distances of samples to the training rows, relative to those of held-out rows."""

    ratio: float
    """Median distance of samples to the nearest training row, over that of held-out rows; NaN without held-out rows, or
    if they are copies of training rows."""
    train_rows: int
    samples: int
    picture: Picture | None

    @property
    def meaning(self) -> str:
        """Interpretation of the ratio, in a sentence."""
        if not self.ratio < 1e6:
            return ""
        if self.ratio < 0.6:
            return "That is suspiciously near: G may have memorized training rows."
        if self.ratio <= 1.4:
            return "That is about as it should be: samples that are no copies lie as far away as held-out rows."
        return "That is farther than new data would lie: these samples are no copies, and not yet like the data."


def frames(folder: RunFolder, most: int = FRAMES, say: Say = silent) -> list[Frame]:
    """Load pictures of the samples, evenly spaced in time and including the first and the last.

    Args:
        folder: The run.
        most: Largest number of pictures.
        say: Called with a sentence for each damaged file that is skipped.
    """
    found = folder.sheets(say)
    heaviest = max((path.stat().st_size for path in found), default=1)
    chosen = evenly_spaced(found, max(2, min(most, MAX_READ // max(1, heaviest))))
    largest = max((pixel_count(folder, path) for path in chosen), default=1)
    chosen = evenly_spaced(chosen, max(2, MAX_TOTAL_PIXELS // max(1, largest)))
    shown = [(int(path.stem), read(folder, path, say)) for path in chosen]
    return [Frame(at_round, *picture) for at_round, picture in shown if picture]


def evenly_spaced(paths: Sequence[Path], most: int) -> list[Path]:
    """Choose at most `most` evenly spaced paths, including the first and the last."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))
    return [paths[place] for place in places]


def pixel_count(folder: RunFolder, path: Path) -> int:
    """Return the number of pixels of a picture, from its header; 0 if it is damaged or above `MAX_PIXELS`."""
    try:
        area = prod(_opened(folder.read(path, MAX_READ)).size)
    except UNREADABLE:
        return 0
    return area if area <= MAX_PIXELS else 0


def real(folder: RunFolder, say: Say = silent) -> Picture | None:
    """Load the sheet of real data, if there is one."""
    return read(folder, folder.real, say)


def read(folder: RunFolder, path: Path, say: Say) -> Picture | None:
    """Load a picture of the run folder; None if it is missing, or if it is damaged, which `say` reports."""
    try:
        return embedded(folder.read(path, MAX_READ))
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        why = files.reason(error) if isinstance(error, OSError) else str(error)[:80]
        say(f"{named(path.relative_to(folder.path))} is no picture that can be shown ({why}); it is passed over")
        return None


def embedded(content: bytes) -> Picture:
    """Convert a PNG file to a data URI; one above `MAX_BYTES` is reduced and converted to JPEG.

    Raises:
        OSError, ValueError: It is no PNG, damaged, or larger than `MAX_PIXELS`.
    """
    picture = _opened(content)
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"it claims {picture.width} x {picture.height} pixels")
    picture.load()
    kind = "png"
    if len(content) > MAX_BYTES:
        picture = picture.convert("L" if picture.mode in ("L", "1") else "RGB")
        picture.thumbnail((MAX_WIDTH, 2 * MAX_WIDTH))
        content, kind = _jpeg(picture), "jpeg"
    return Picture(f"data:image/{kind};base64,{b64encode(content).decode()}", *picture.size)


def _opened(content: bytes) -> Image.Image:
    """Open a PNG file; reads only its header."""
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):  # MAX_PIXELS checks it
        return Image.open(BytesIO(content), formats=["PNG"])


def _jpeg(picture: Image.Image) -> bytes:
    for quality in (85, 70, 50):
        buffer = BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MAX_BYTES:
            break
    return buffer.getvalue()


def as_picture(picture: Image.Image) -> Picture:
    """Embed an image that is in memory."""
    return embedded(plots.png(picture))


def walks(sampler: Sampler, data: Data | None) -> Picture | None:
    """Draw samples along walks between latents: a row of images per walk or class, or a path of points.

    Args:
        sampler: The generator.
        data: Data to draw below the path of points, if available.
    """
    if sampler.spec.kind == "points":
        path = sampler.walk(WALKS, steps=100).array
        below = data.samples(data.test if len(data.test) else data.train, 2000) if data else None
        return as_picture(plots.path(path, below)) if np.isfinite(path).all() else None
    if sampler.conditional:
        rows = [sampler.walk(2, steps=STEPS, label=label).array for label in classes(sampler)]
    else:
        whole = sampler.walk(WALKS + 1, steps=STEPS).array
        rows = [whole[first * STEPS :] for first in range(WALKS)]
    return as_picture(plots.sheet(np.concatenate([row[: STEPS + 1] for row in rows]), STEPS + 1, side=800))


def classes(sampler: Sampler) -> Sequence[str]:
    """Return the classes with a latent walk."""
    return (sampler.spec.classes or ())[:MOST_CLASSES]


def memorization(sampler: Sampler, data: Data) -> Memorization | None:
    """Compare the distances of samples and of held-out rows to their nearest training rows.

    Returns:
        The comparison, with a picture of samples beside their nearest rows; None if samples are not finite.
    """
    most = max(PICTURED, MAX_VALUES // prod(data.shape))
    samples = sampler.draw(min(QUERIES, most)).array
    if not np.isfinite(samples).all():
        return None
    train = data.train.subset(min(CANDIDATES, len(data.train), most))
    rows = data.to_samples(train)
    features = pixels().features
    found = nearest_neighbors(features(samples), features(rows), min(NEIGHBORS, len(rows)))
    picture = as_picture(neighbor_picture(samples, rows, found)) if data.kind == "images" else None
    return Memorization(_ratio(found, data, rows), len(rows), len(samples), picture)


def _ratio(found: Neighbors, data: Data, rows: Array) -> float:
    if not len(data.test):
        return float("nan")
    features = pixels().features
    held_out = features(data.to_samples(data.test.subset(len(found.row))))
    away = nearest_neighbors(held_out, features(rows), 1).distance
    ours, theirs = (torch.median(distance[:, 0]).item() for distance in (found.distance, away))
    return ours / theirs if theirs > rounding_error(held_out).median().item() else float("nan")


def neighbor_picture(samples: Array, rows: Array, found: Neighbors) -> Image.Image:
    """Draw the first samples, each beside its nearest training rows."""
    return plots.with_neighbors(samples[:PICTURED], rows[found.row[:PICTURED].numpy()])
