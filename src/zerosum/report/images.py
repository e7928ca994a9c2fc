"""The pictures of the page, as data that stands in the page itself."""

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
from zerosum.metrics.prdc import Neighbors, nearest_neighbors, rounding_error
from zerosum.run import RunFolder
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler

FRAMES, READ = 24, 2**25
"""Pictures over time; fewer where so many bytes of files would not be enough, which take seconds to unpack."""

PIXELS, IN_ALL = 2**26, 2**28
"""Of one picture, at most, and of all over time: a file of a few bytes can claim more than memory holds."""

HEAVY, WIDEST = 100_000, 800
"""Bytes of one picture above which it is packed tighter, and the pixels it may then be wide."""

WALKS, STEPS = 6, 9
"""Rows of a sheet of walks, and steps from the first image of a row to its last."""

MOST_CLASSES = 12
"""Classes of which a walk is shown."""

SHOWN, NEAR = 12, 3
"""Samples that are shown with their neighbours, and how many of them."""

ASKED, SEARCHED = 400, 10_000
"""Samples whose neighbours are looked for, and training rows among which they are looked for."""

NUMBERS = 2**24
"""Numbers in either at most, so that large images fit into memory, too."""


class Frame(NamedTuple):
    """A picture of the samples after a round."""

    round: int
    source: str
    width: int
    height: int


class Picture(NamedTuple):
    """Any other picture."""

    source: str
    width: int
    height: int


class Likeness(NamedTuple):
    """How near samples lie to the training rows."""

    ratio: float
    """Median distance of a sample to its nearest training row, over that of a held-out row; NaN if there is none, or
    if held-out rows are training rows again."""
    searched: int
    asked: int
    picture: Picture | None

    @property
    def meaning(self) -> str:
        """What the ratio says, in a sentence."""
        if not self.ratio < 1e6:
            return ""
        if self.ratio < 0.6:
            return "That is suspiciously near: G may repeat rows it was trained on."
        if self.ratio <= 1.4:
            return "That is about as it should be: samples that are no copies lie as far away as held-out rows."
        return "That is farther than new data would lie: these samples are no copies, and not yet like the data."


def frames(folder: RunFolder, most: int = FRAMES, say: Say = silent) -> list[Frame]:
    """Pictures of the samples over time, evenly chosen; the first and the last are always there.

    Args:
        folder: The run.
        most: How many, at most.
        say: Told of those that are no pictures, and passed over.
    """
    found = folder.sheets(say)
    heaviest = max((path.stat().st_size for path in found), default=1)
    chosen = spread(found, max(2, min(most, READ // max(1, heaviest))))
    largest = max((claimed(folder, path) for path in chosen), default=1)
    chosen = spread(chosen, max(2, IN_ALL // max(1, largest)))
    shown = [(int(path.stem), read(folder, path, say)) for path in chosen]
    return [Frame(step, *picture) for step, picture in shown if picture]


def spread(paths: Sequence[Path], most: int) -> list[Path]:
    """So many of them, evenly chosen, the first and the last among them."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))
    return [paths[place] for place in places]


def claimed(folder: RunFolder, path: Path) -> int:
    """Pixels that a picture has to be unpacked to; 0 where it will not be."""
    try:
        area = prod(_opened(folder.read(path, READ)).size)
    except UNREADABLE:
        return 0
    return area if area <= PIXELS else 0


def real(folder: RunFolder, say: Say = silent) -> Picture | None:
    """The sheet of real data, where there is one."""
    return read(folder, folder.real, say)


def read(folder: RunFolder, path: Path, say: Say) -> Picture | None:
    """A picture of the run's, for the page; None where it is not there, or damaged, which is said."""
    try:
        return embedded(folder.read(path, READ))
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        why = files.reason(error) if isinstance(error, OSError) else str(error)[:80]
        say(f"{named(path.relative_to(folder.path))} is no picture that can be shown ({why}); it is passed over")
        return None


def embedded(content: bytes) -> Picture:
    """A PNG file as a data URI; a heavy one is made smaller and becomes a JPEG.

    Raises:
        OSError, ValueError: It is no PNG, damaged, or of more than `PIXELS`.
    """
    picture = _opened(content)
    if picture.width * picture.height > PIXELS:
        raise ValueError(f"it claims {picture.width} x {picture.height} pixels")
    picture.load()
    kind = "png"
    if len(content) > HEAVY:
        picture = picture.convert("L" if picture.mode in ("L", "1") else "RGB")
        picture.thumbnail((WIDEST, 2 * WIDEST))
        content, kind = _jpeg(picture), "jpeg"
    return Picture(f"data:image/{kind};base64,{b64encode(content).decode()}", *picture.size)


def _opened(content: bytes) -> Image.Image:
    """A PNG file, of which nothing but its header is looked at yet."""
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):  # it is looked at here
        return Image.open(BytesIO(content), formats=["PNG"])


def _jpeg(picture: Image.Image) -> bytes:
    for quality in (85, 70, 50):
        buffer = BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= HEAVY:
            break
    return buffer.getvalue()


def drawn(picture: Image.Image) -> Picture:
    """A picture that was just made."""
    return embedded(plots.png(picture))


def walks(sampler: Sampler, data: Data | None) -> Picture | None:
    """Samples between latents: a row of images for each walk or class; the path of points over the data.

    Args:
        sampler: The generator.
        data: Points to draw below the path, where they are at hand.
    """
    if sampler.spec.kind == "points":
        path = sampler.walk(WALKS, steps=100).array
        below = data.samples(data.test if len(data.test) else data.train, 2000) if data else None
        return drawn(plots.path(path, below)) if np.isfinite(path).all() else None
    if sampler.conditional:
        rows = [sampler.walk(2, steps=STEPS, label=label).array for label in classes(sampler)]
    else:
        whole = sampler.walk(WALKS + 1, steps=STEPS).array
        rows = [whole[first * STEPS :] for first in range(WALKS)]
    return drawn(plots.sheet(np.concatenate([row[: STEPS + 1] for row in rows]), STEPS + 1, side=800))


def classes(sampler: Sampler) -> Sequence[str]:
    """The classes of which a walk is shown."""
    return (sampler.spec.classes or ())[:MOST_CLASSES]


def likeness(sampler: Sampler, data: Data) -> Likeness | None:
    """How near samples lie to training rows, and a picture of some beside their nearest ones.

    Returns:
        None where samples are no numbers.
    """
    most = max(SHOWN, NUMBERS // prod(data.shape))
    samples = sampler.draw(min(ASKED, most)).array
    if not np.isfinite(samples).all():
        return None
    train = data.train.subset(min(SEARCHED, len(data.train), most))
    rows = data.to_samples(train)
    look = pixels().features
    found = nearest_neighbors(look(samples), look(rows), min(NEAR, len(rows)))
    picture = drawn(beside(samples, rows, found)) if data.kind == "images" else None
    return Likeness(_ratio(found, data, rows), len(rows), len(samples), picture)


def _ratio(found: Neighbors, data: Data, rows: Array) -> float:
    if not len(data.test):
        return float("nan")
    look = pixels().features
    held_out = look(data.to_samples(data.test.subset(len(found.row))))
    away = nearest_neighbors(held_out, look(rows), 1).distance
    ours, theirs = (torch.median(distance[:, 0]).item() for distance in (found.distance, away))
    return ours / theirs if theirs > rounding_error(held_out).median().item() else float("nan")


def beside(samples: Array, rows: Array, found: Neighbors) -> Image.Image:
    """The first samples, each beside its nearest rows."""
    return plots.with_neighbors(samples[:SHOWN], rows[found.row[:SHOWN].numpy()])
