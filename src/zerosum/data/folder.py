"""A data set from a folder of pictures of any size in formats that Pillow reads.

Subfolders are classes; pictures outside subfolders have no class. Each picture is rotated by its EXIF orientation,
composited on white if it is transparent, scaled to cover the requested size and cropped to its center. Unreadable files
are skipped and listed in the notes. A picture of more than `MAX_PIXELS` pixels is skipped before it is decoded.

Only regular files are opened. Symbolic links to files are followed, since the user put them there; links to folders are
not followed, since they may be cyclic.
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
from zerosum.data.dataset import Data, divide
from zerosum.data.reasons import DAMAGED, EXHAUSTED, explain
from zerosum.errors import DataError, SystemFault, named

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
ENDINGS = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAX_PIXELS = 100_000_000
"""Maximum number of pixels of a picture; a small file can declare more than the memory can hold."""

MAX_FILE = files.GIB
"""Maximum size of a file in bytes: eight per pixel (four channels of 16 bits, not compressed), and metadata."""

MAX_LISTED = 25
"""Maximum number of files listed in a note; the others are counted."""

MAX_REASONS = 3
"""Maximum number of reasons listed if no picture can be read."""

TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""EXIF orientation -> transposition that makes the picture upright; 1 is upright."""

UNREADABLE = (*DAMAGED, Image.DecompressionBombError)

Side = Annotated[int, Field(ge=4, le=4096)]


@dataclass
class FolderContent:
    """Pictures of a folder, and its unreadable files.

    Args:
        pictures: The pictures (h, w, c).
        labels: Their class names; "" means no class.
        broken: Names of unreadable files, with the reason.
        unrotated: Names of pictures whose EXIF data cannot be read.
    """

    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unrotated: list[str] = field(default_factory=list)


def from_folder(
    path: str | Path,
    *,
    size: Side | Annotated[tuple[Side, Side], Field(strict=False)] = 32,
    color: Literal["rgb", "gray"] = "rgb",
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.1,
) -> Data:
    """Make a data set from the pictures in a folder and its subfolders.

    Args:
        path: The folder.
        size: Side of the images in pixels, or (height, width).
        color: "rgb" for three channels, "gray" for one.
        held_out: Share of the pictures that is not used in training, in [0, 1).

    Raises:
        DataError: The folder is missing or the root folder, a class name is not UTF-8, or no picture can be read.
    """
    folder = Path(path)
    name = _folder_name(folder)
    paths, skipped = find_pictures(folder)
    _refuse_classes_without_a_name({_label(file, folder) for file in paths})
    shape = (size, size) if isinstance(size, int) else size
    content = _gather(paths, folder, shape, color)
    if not content.pictures:
        raise DataError(_no_pictures(folder, content.broken, skipped))
    x = np.stack(content.pictures).transpose(0, 3, 1, 2)
    numbers, classes = _class_numbers(content.labels)
    train, test = divide(x, numbers, held_out)
    return Data(
        name=name,
        kind="images",
        train=train,
        test=test,
        range=(0.0, 255.0),
        classes=classes,
        notes=notes(content, skipped),
    )


def _folder_name(folder: Path) -> str:
    """Name of the folder; raise DataError if it is not a folder, or the root folder."""
    try:
        whole = folder.resolve(strict=True)
        root = whole.samefile(whole.anchor)
    except (OSError, ValueError, RuntimeError) as error:  # Python 3.11 raises RuntimeError for a link to itself
        missing = isinstance(error, FileNotFoundError)
        raise DataError(f"{named(folder)}: {'there is no such folder' if missing else explain(error)}") from None
    if root:
        raise DataError(f"{named(folder)} is the whole disk: name the folder that holds the pictures")
    if not whole.is_dir():
        raise DataError(f"{named(folder)} is no folder")
    return named(whole.name)


def find_pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """Find pictures in a folder and its subfolders: their paths, and the names of skipped entries with the reason.

    Both lists are sorted. Hidden names are ignored.

    Raises:
        DataError: The folder itself cannot be read.
    """
    pictures: list[Path] = []
    skipped: list[str] = []
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    _sort(entry, folder, pictures, waiting, skipped)
        except OSError as error:
            _refuse_exhausted(error)
            if here == folder:
                raise DataError(f"{named(folder)}: {explain(error)}") from None
            skipped.append(_with_reason(here, folder, f"a folder: {explain(error)}"))
    return sorted(pictures), sorted(skipped)


def _sort(entry: os.DirEntry[str], folder: Path, pictures: list[Path], waiting: list[Path], skipped: list[str]) -> None:
    """Append an entry to the pictures, to the folders to scan, or to the skipped names."""
    path = Path(entry.path)
    if entry.name.startswith("."):
        return
    try:
        if entry.is_dir(follow_symlinks=False):
            waiting.append(path)
        elif entry.is_dir():
            skipped.append(_with_reason(path, folder, "a link to a folder"))
        elif files.stat_regular(path, follow=True) and path.suffix.lower() in ENDINGS:
            pictures.append(path)
    except OSError as error:
        skipped.append(_with_reason(path, folder, f"{'a link: ' if entry.is_symlink() else ''}{explain(error)}"))


def _with_reason(path: Path, folder: Path, reason: str) -> str:
    return f"{named(path.relative_to(folder))} ({reason})"


def _label(file: Path, folder: Path) -> str:
    """Class name of a picture: the first subfolder of its path, or ""."""
    parts = file.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else ""


def _refuse_classes_without_a_name(labels: set[str]) -> None:
    odd = sorted(label for label in labels if not is_utf8(label))
    if odd:
        raise DataError(f"the folder {named(odd[0])} cannot name a class: its name is no UTF-8 text. Rename it")


def _gather(paths: Iterable[Path], folder: Path, shape: tuple[int, int], color: str) -> FolderContent:
    out = FolderContent()
    for file in paths:
        try:
            picture, turned = read_picture(file, shape, color)
        except UNREADABLE as error:
            _refuse_exhausted(error)
            reason = "no picture" if isinstance(error, UnidentifiedImageError) else explain(error)[:80]
            out.broken.append(_with_reason(file, folder, reason))
            continue
        out.pictures.append(picture)
        out.labels.append(_label(file, folder))
        if not turned:
            out.unrotated.append(named(file.relative_to(folder)))
    return out


def _refuse_exhausted(error: BaseException) -> None:
    """Raise SystemFault if the process has too many open files, since then the picture is not broken."""
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        raise SystemFault(f"the pictures cannot be read: {explain(error)}. Close some, or raise `ulimit -n`") from None


def _class_numbers(labels: list[str]) -> tuple[NDArray[np.int64] | None, tuple[str, ...] | None]:
    """Class number of each picture (-1: no class), and the names of the classes."""
    names = sorted(set(labels) - {""})
    if not names:
        return None, None
    place = {name: number for number, name in enumerate(names)} | {"": -1}
    return np.array([place[label] for label in labels]), tuple(names)


def read_picture(file: Path, size: tuple[int, int], color: str) -> tuple[NDArray[np.uint8], bool]:
    """Read a picture (h, w, c), upright, on white, scaled and cropped to `size`; and whether its EXIF is readable.

    Raises:
        ValueError: It has too many pixels, or floating-point gray values.
        UNREADABLE: It cannot be decoded.
    """
    height, width = size
    content = BytesIO(files.read(file, MAX_FILE, follow=True))
    # Pillow warns of metadata and size, which are handled here
    with warnings.catch_warnings(action="ignore"), Image.open(content, formats=FORMATS) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"claims {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:,}")
        picture.load()
        transpose, known = orientation(picture)
        upright = picture if transpose is None else picture.transpose(transpose)
        opaque = to_8_bits(upright, "RGB" if color == "rgb" else "L")
        cropped = ImageOps.fit(opaque, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(cropped).reshape(height, width, -1), known


def orientation(picture: Image.Image) -> tuple[Image.Transpose | None, bool]:
    """Transposition that makes a picture upright (None: none needed), and whether its EXIF data can be read.

    ImageOps.exif_transpose is not used: it also rewrites the EXIF data, which fails for many invalid entries.
    """
    try:
        return TRANSPOSES.get(picture.getexif().get(ExifTags.Base.Orientation, 1)), True
    except UNREADABLE:
        return None, False


def to_8_bits(picture: Image.Image, mode: str) -> Image.Image:
    """Convert a picture to 8 bits per channel, composited on white; 16-bit values are scaled.

    Raises:
        ValueError: It has floating-point gray values, or values outside 0..65535.
    """
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return Image.fromarray(_from_16_bits(np.asarray(picture))).convert(mode)
    if picture.mode == "F":
        raise ValueError("floating-point gray values do not say what is white: save it as 8 or 16 bits")
    if picture.has_transparency_data:
        background = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(background, picture.convert("RGBA"))
    return picture.convert(mode)


def _from_16_bits(gray: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale 0..65535 to 0..255; Pillow returns 32 bits for files with more than 16 bits or signed values."""
    values = gray.astype(np.float64)
    low, high = values.min(), values.max()
    if low < 0 or high > 65535:
        raise ValueError(f"gray values from {low:.0f} to {high:.0f} leave 0..65535: save it as 8 or 16 bits")
    return (values / 257).round().astype(np.uint8)


def notes(content: FolderContent, skipped: list[str]) -> tuple[str, ...]:
    """Messages about files that are not in the data, and pictures that could not be rotated."""
    groups = (
        ("file(s) could not be read and are left out", content.broken),
        ("link(s), folder(s) or other name(s) are passed over", skipped),
        ("picture(s) with EXIF that cannot be read are taken as they are stored, not turned", content.unrotated),
    )
    return tuple(f"{len(names)} {text}: {_listed(names, MAX_LISTED)}" for text, names in groups if names)


def _listed(names: list[str], limit: int) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{'; '.join(names[:limit])}{more}"


def _no_pictures(folder: Path, broken: list[str], skipped: list[str]) -> str:
    """Error message: no picture can be read, with reasons."""
    message = f"{named(folder)}: no picture can be read ({len(broken)} tried). Looked for {', '.join(sorted(ENDINGS))}"
    reasons = [*broken, *skipped]
    return f"{message}. Left out: {_listed(reasons, MAX_REASONS)}" if reasons else message
