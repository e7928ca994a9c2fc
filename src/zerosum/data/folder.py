"""A folder of pictures as a data set: whatever Pillow reads, of any sizes, cut to one.

Subfolders are classes; pictures beside them have none. Each picture is turned as its camera says, laid over white where
it is transparent, scaled until it covers the wanted size and cut to its middle. Files that cannot be read are passed
over, and named. A picture that claims more than `MOST` pixels is refused before it is decoded.

Nothing but regular files is opened. Links to files are followed, wherever they lead, for the user put them there; links
to folders are not, for they can lead in a circle.
"""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from zerosum import files
from zerosum.config.recipes import is_utf8
from zerosum.data.dataset import Data, Rows
from zerosum.data.reasons import DAMAGED, EXHAUSTED, why
from zerosum.errors import DataError, SystemFault, named

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MOST = 100_000_000
"""Pixels; a file of a few bytes can claim more than any memory holds."""

LARGEST = files.GIB
"""Bytes of a file: eight for each of `MOST` pixels (four channels of 16 bits, not compressed), and room for notes."""

NAMED = 25
"""Broken files that are named; the others are counted."""

FIRST = 3
"""Reasons that are given where nothing can be read."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""What undoes an orientation of EXIF; 1 is upright."""

UNREADABLE = (*DAMAGED, Image.DecompressionBombError)

Side = Annotated[int, Field(ge=4, le=4096)]


@dataclass
class Gathered:
    """What the files of a folder came to.

    Args:
        pictures: Those that could be read (h, w, c).
        labels: Their classes; "" stands for "none".
        broken: Files that could not be read, with the reason.
        unturned: Pictures whose EXIF cannot be read.
    """

    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unturned: list[str] = field(default_factory=list)


def from_folder(
    path: str | Path,
    *,
    size: Side | Annotated[tuple[Side, Side], Field(strict=False)] = 32,
    color: Literal["rgb", "gray"] = "rgb",
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1,
) -> Data:
    """The pictures below a folder.

    Args:
        path: The folder.
        size: Side of the images, or (height, width).
        color: Three channels, or one.
        held_out: Share of the pictures that never reaches training.

    Raises:
        DataError: There is no such folder, it is the whole disk, a class's name is no text, or no picture can be read.
    """
    folder = Path(path)
    name = _its_name(folder)
    paths, passed = found(folder)
    _refuse_classes_without_a_name({_label(file, folder) for file in paths})
    shape = (size, size) if isinstance(size, int) else size
    gathered = _gather(paths, folder, shape, color)
    if not gathered.pictures:
        raise DataError(_nothing(folder, gathered.broken, passed))
    x = np.stack(gathered.pictures).transpose(0, 3, 1, 2)
    numbers, classes = _numbered(gathered.labels)
    test = round(len(x) * held_out)
    return Data(
        name=name,
        kind="images",
        train=Rows(x, numbers, 0, len(x) - test),
        test=Rows(x, numbers, len(x) - test, test),
        range=(0.0, 255.0),
        classes=classes,
        notes=notes(gathered, passed),
    )


def _its_name(folder: Path) -> str:
    """What the folder is called, once it is seen to be one, and not the root of everything."""
    try:
        whole = folder.resolve(strict=True)
        root = whole.samefile(whole.anchor)
    except (OSError, ValueError, RuntimeError) as error:  # a link that leads to itself is a RuntimeError in 3.11
        missing = isinstance(error, FileNotFoundError)
        raise DataError(f"{named(folder)}: {'there is no such folder' if missing else why(error)}") from None
    if root:
        raise DataError(f"{named(folder)} is the whole disk: name the folder that holds the pictures")
    if not whole.is_dir():
        raise DataError(f"{named(folder)} is no folder")
    return named(whole.name)


def found(folder: Path) -> tuple[list[Path], list[str]]:
    """Picture files below a folder, in the order of their names, and what is passed over, with the reason.

    Hidden names are left alone.

    Raises:
        DataError: The folder itself is closed.
    """
    pictures: list[Path] = []
    passed: list[str] = []
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    _sort(entry, folder, pictures, waiting, passed)
        except OSError as error:
            _refuse_exhausted(error)
            if here == folder:
                raise DataError(f"{named(folder)}: {why(error)}") from None
            passed.append(_told(here, folder, f"a folder: {why(error)}"))
    return sorted(pictures), sorted(passed)


def _sort(entry: os.DirEntry[str], folder: Path, pictures: list[Path], waiting: list[Path], passed: list[str]) -> None:
    """Put a name where it belongs: pictures, folders to look into, or what is passed over."""
    path = Path(entry.path)
    if entry.name.startswith("."):
        return
    try:
        if entry.is_dir(follow_symlinks=False):
            waiting.append(path)
        elif entry.is_dir():
            passed.append(_told(path, folder, "a link to a folder"))
        elif files.stat_regular(path, follow=True) and path.suffix.lower() in ENDINGS:
            pictures.append(path)
    except OSError as error:
        passed.append(_told(path, folder, f"{'a link: ' if entry.is_symlink() else ''}{why(error)}"))


def _told(path: Path, folder: Path, reason: str) -> str:
    return f"{named(path.relative_to(folder))} ({reason})"


def _label(file: Path, folder: Path) -> str:
    """The class of a picture: the first folder on the way to it."""
    parts = file.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else ""


def _refuse_classes_without_a_name(labels: set[str]) -> None:
    odd = sorted(label for label in labels if not is_utf8(label))
    if odd:
        raise DataError(f"the folder {named(odd[0])} cannot name a class: its name is no UTF-8 text. Rename it")


def _gather(paths: Iterable[Path], folder: Path, shape: tuple[int, int], color: str) -> Gathered:
    out = Gathered()
    for file in paths:
        try:
            picture, turned = read(file, shape, color)
        except UNREADABLE as error:
            _refuse_exhausted(error)
            reason = "no picture" if isinstance(error, UnidentifiedImageError) else why(error)[:80]
            out.broken.append(_told(file, folder, reason))
            continue
        out.pictures.append(picture)
        out.labels.append(_label(file, folder))
        if not turned:
            out.unturned.append(named(file.relative_to(folder)))
    return out


def _refuse_exhausted(error: BaseException) -> None:
    """A picture is not broken because this process has too many files open."""
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        raise SystemFault(f"the pictures cannot be read: {why(error)}. Close some, or raise `ulimit -n`") from None


def _numbered(labels: list[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    """The class number of each picture, -1 where it has none, and the names of the classes."""
    names = sorted(set(labels) - {""})
    if not names:
        return None, None
    place = {name: number for number, name in enumerate(names)} | {"": -1}
    return np.array([place[label] for label in labels]), tuple(names)


def read(file: Path, size: tuple[int, int], color: str) -> tuple[NDArray[np.uint8], bool]:
    """One picture (h, w, c): turned, over white, covering the size, cut to its middle; and whether its EXIF said how.

    Raises:
        ValueError: It claims too many pixels, or gray values that are none.
        UNREADABLE: It cannot be decoded.
    """
    height, width = size
    content = BytesIO(files.read(file, LARGEST, follow=True))
    # what Pillow warns of, a file's metadata or size, is told by us or by nobody
    with warnings.catch_warnings(action="ignore"), Image.open(content, formats=FORMATS) as picture:
        if picture.width * picture.height > MOST:
            raise ValueError(f"claims {picture.width} x {picture.height} pixels, more than {MOST:,}")
        picture.load()
        turn, known = orientation(picture)
        upright = picture if turn is None else picture.transpose(turn)
        whole = flat(upright, "RGB" if color == "rgb" else "L")
        cut = ImageOps.fit(whole, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(cut).reshape(height, width, -1), known


def orientation(picture: Image.Image) -> tuple[Image.Transpose | None, bool]:
    """What turns a picture as its camera says, and whether that can be read.

    ImageOps.exif_transpose also writes the EXIF anew, where odd entries, of no interest here, fail in many ways.
    """
    try:
        return TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1)), True
    except UNREADABLE:
        return None, False


def flat(picture: Image.Image, mode: str) -> Image.Image:
    """A picture of eight bits a channel, over white; sixteen bits are scaled, not cut off.

    Raises:
        ValueError: Its gray values do not say what is black and white.
    """
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return Image.fromarray(_of_sixteen_bits(np.asarray(picture))).convert(mode)
    if picture.mode == "F":
        raise ValueError("floating-point gray values do not say what is white: save it as 8 or 16 bits")
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture.convert("RGBA"))
    return picture.convert(mode)


def _of_sixteen_bits(gray: NDArray[np.generic]) -> NDArray[np.uint8]:
    """0..65535 as 0..255; Pillow gives 32 bits where a file has more than 16, or a sign."""
    values = gray.astype(np.float64)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ValueError(f"gray values from {low:.0f} to {high:.0f} leave 0..65535: save it as 8 or 16 bits")
    return (values / 257).round().astype(np.uint8)


def notes(gathered: Gathered, passed: list[str]) -> tuple[str, ...]:
    """What to tell about names that are no picture in the data, or another than their camera saw."""
    told = (
        ("file(s) could not be read and are left out", gathered.broken),
        ("link(s), folder(s) or other name(s) are passed over", passed),
        ("picture(s) with EXIF that cannot be read are taken as they are stored, not turned", gathered.unturned),
    )
    return tuple(f"{len(which)} {what}: {_listed(which, NAMED)}" for what, which in told if which)


def _listed(which: list[str], most: int) -> str:
    more = f" and {len(which) - most} more" if len(which) > most else ""
    return f"{'; '.join(which[:most])}{more}"


def _nothing(folder: Path, broken: list[str], passed: list[str]) -> str:
    """That there is no picture, and why."""
    said = f"{named(folder)}: no picture can be read ({len(broken)} tried). Looked for {', '.join(sorted(ENDINGS))}"
    reasons = [*broken, *passed]
    return f"{said}. Left out: {_listed(reasons, FIRST)}" if reasons else said
