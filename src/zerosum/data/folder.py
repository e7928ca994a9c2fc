"""A folder of pictures as a data set: whatever Pillow reads, of any sizes, cut to one.

Subfolders are classes; pictures beside them have none. Each picture is turned as its camera says, laid over white where
it is transparent, scaled until it covers the wanted size and cut to its middle. Files that cannot be read are passed
over, and named. A picture that claims more than `MOST` pixels is refused before it is decoded.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from zerosum.data.record import Data, Rows
from zerosum.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MOST = 100_000_000
"""Pixels; a file of a few bytes can claim more than any memory holds."""

NAMED = 25
"""Broken files that are named; the others are counted."""

Side = Annotated[int, Field(ge=4, le=4096)]


def from_folder(
    path: str | Path,
    *,
    size: Side | Annotated[tuple[Side, Side], Field(strict=False)] = 32,
    colour: Literal["rgb", "grey"] = "rgb",
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1,
) -> Data:
    """The pictures below a folder.

    Args:
        path: The folder.
        size: Side of the images, or (height, width).
        colour: Three channels, or one.
        held_out: Share of the pictures that never reaches training.

    Raises:
        DataError: No picture can be read.
    """
    folder = Path(path)
    shape = (size, size) if isinstance(size, int) else size
    pictures, labels, broken = [], [], []
    for file in files(folder):
        try:
            pictures.append(read(file, shape, colour))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, MemoryError) as error:
            reason = "no picture" if isinstance(error, UnidentifiedImageError) else str(error).splitlines()[0][:80]
            broken.append(f"{file.relative_to(folder)} ({reason})")
            continue
        parts = file.relative_to(folder).parts
        labels.append(parts[0] if len(parts) > 1 else "")
    if not pictures:
        raise DataError(
            f"{folder}: no picture can be read ({len(broken)} tried). Looked for {', '.join(sorted(ENDINGS))}"
        )
    x = np.stack(pictures).transpose(0, 3, 1, 2)
    names = sorted(set(labels) - {""})
    numbers = np.array([names.index(label) if label else -1 for label in labels]) if names else None
    test = round(len(x) * held_out)
    return Data(
        name=folder.resolve().name,
        kind="images",
        train=Rows(x, numbers, 0, len(x) - test),
        test=Rows(x, numbers, len(x) - test, test),
        range=(0.0, 255.0),
        classes=tuple(names) or None,
        notes=notes(broken),
    )


def files(folder: Path) -> Iterator[Path]:
    """Picture files below a folder, in the order of their names; links and hidden files are left alone."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in ENDINGS and not hidden and path.is_file() and not path.is_symlink():
            yield path


def read(file: Path, size: tuple[int, int], colour: str) -> NDArray[np.uint8]:
    """One picture (h, w, c): turned, over white, covering the size, cut to its middle.

    Raises:
        ValueError: It claims too many pixels.
        OSError: It cannot be decoded.
    """
    height, width = size
    # what Pillow warns of, a file's metadata or size, is told by us or by nobody
    with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as picture:
        if picture.width * picture.height > MOST:
            raise ValueError(f"claims {picture.width} x {picture.height} pixels, more than {MOST:,}")
        whole = flat(ImageOps.exif_transpose(picture), "RGB" if colour == "rgb" else "L")
        cut = ImageOps.fit(whole, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(cut).reshape(height, width, -1)


def flat(picture: Image.Image, mode: str) -> Image.Image:
    """A picture of eight bits a channel, over white; sixteen bits are scaled, not cut off."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        scaled = np.asarray(picture).astype(np.float64) / 257
        return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8)).convert(mode)
    if picture.mode == "F":
        raise ValueError("floating-point grey values do not say what is white: save it as 8 or 16 bits")
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture.convert("RGBA"))
    return picture.convert(mode)


def notes(broken: list[str]) -> tuple[str, ...]:
    """What to tell about files that could not be read."""
    if not broken:
        return ()
    more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    return (f"{len(broken)} file(s) could not be read and are left out: {'; '.join(broken[:NAMED])}{more}",)
