"""Pictures that are damaged in any way: read, or left out and named. Nothing else is raised, and nothing is written.

Formats and modes of `SEEDS` x the ways of `WAYS`; a case follows from its number alone.
"""

import struct
import warnings
import zlib
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from zerosum.data import folder as room
from zerosum.data.folder import from_folder
from zerosum.errors import DataError, printable

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
TAGS = (0x0100, 0x0101, 0x0102, 0x0103, 0x0111, 0x0112, 0x0117, 0x011A, 0x0132, 0x014A, 0x0201, 0x0202, 0x8769, 0x8825)
TAGS += (0x8298, 0x829A, 0x9000, 0x9003, 0x927C, 0x9286, 0xA005, 0xA300, 0xC4A5, 0xC61B, 0xFFFF)


def noise(side=24):
    return np.random.default_rng(5).integers(0, 256, (side, side, 3), np.uint8)


def saved(picture, kind, **options):
    out = BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


@cache
def seeds():
    """(ending, content) of whole pictures."""
    rgb = Image.fromarray(noise())
    gray, bits, palette = rgb.convert("L"), rgb.convert("1"), rgb.convert("P")
    deep = Image.fromarray((np.arange(24 * 24).reshape(24, 24) * 100).astype(np.uint16))
    wide = Image.fromarray((np.arange(24 * 24).reshape(24, 24) * 100).astype(np.int32))
    real = Image.fromarray(np.linspace(0, 1, 576, dtype=np.float32).reshape(24, 24))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    frames = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    return [
        *((".png", saved(picture, "PNG")) for picture in (rgb, gray, bits, palette, deep)),
        (".png", saved(rgb.convert("RGBA"), "PNG", exif=exif)),
        (".png", saved(palette, "PNG", transparency=3)),
        (".png", saved(rgb, "PNG", **frames)),
        *((".jpg", saved(picture, "JPEG")) for picture in (rgb, gray, rgb.convert("CMYK"))),
        (".jpg", saved(rgb, "JPEG", progressive=True, exif=exif)),
        (".webp", saved(rgb, "WEBP", exif=exif)),
        (".webp", saved(rgb.convert("RGBA"), "WEBP", lossless=True)),
        (".webp", saved(rgb, "WEBP", **frames)),
        *((".bmp", saved(picture, "BMP")) for picture in (rgb, gray, bits, palette)),
        (".gif", saved(palette, "GIF")),
        (".gif", saved(palette, "GIF", **frames)),
        *((".tif", saved(picture, "TIFF", exif=exif)) for picture in (rgb, gray, bits, deep, wide, real)),
        *((".tif", saved(rgb, "TIFF", compression=how)) for how in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
        (".tif", saved(bits, "TIFF", compression="group4")),
        (".tiff", saved(rgb, "TIFF", **frames)),
        *((".ppm", saved(picture, "PPM")) for picture in (rgb, bits)),
        *((".pgm", saved(picture, "PPM")) for picture in (gray, deep)),
        (".pgm", b"P2 # by hand\n4 4 15\n" + b"1 2 3 15 " * 4),
    ]


def flip(data, rng):
    out = bytearray(data)
    for at in rng.integers(0, len(out), rng.integers(1, 12)):
        out[at] ^= 1 << rng.integers(8)
    return bytes(out)


def overwrite(data, rng):
    out = bytearray(data)
    for at in rng.integers(0, len(out), rng.integers(1, 6)):
        out[at] = rng.integers(256)
    return bytes(out)


def header(data, rng):
    return overwrite(data[:64], rng) + data[64:]


def cut(data, rng):
    return data[: rng.integers(len(data))]


def remove(data, rng):
    first, last = sorted(rng.integers(0, len(data), 2))
    return data[:first] + data[last:]


def repeat(data, rng):
    first, last = sorted(rng.integers(0, len(data), 2))
    return data[:last] + data[first:]


def blank(data, rng):
    first = rng.integers(len(data))
    count = min(len(data) - first, rng.integers(1, 64))
    return data[:first] + bytes([rng.choice([0, 255])]) * count + data[first + count :]


def extreme(data, rng):
    """A number of two or four bytes, at any place, becomes the smallest or the largest."""
    order, width = rng.choice(["<", ">"]), rng.choice(["H", "I"])
    number = int(rng.choice(EXTREMES)) & (0xFFFF if width == "H" else 0xFFFFFFFF)
    at = rng.integers(min(len(data), 200))
    new = struct.pack(order + width, number)
    return data[:at] + new + data[at + len(new) :]


def splice(data, rng):
    _, other = seeds()[rng.integers(len(seeds()))]
    return data[: rng.integers(len(data))] + other[rng.integers(len(other)) :]


def odd_exif(data, rng):
    """A whole picture with metadata in which anything may stand, and mostly an orientation."""
    kind = str(rng.choice(["JPEG", "PNG", "WEBP", "TIFF"]))
    content = entries(rng)
    picture = Image.fromarray(noise())
    if kind == "TIFF":
        return content[6:] + noise().tobytes()
    return saved(picture, kind, exif=content)


def entries(rng):
    """EXIF: a table of (tag, type, count, value or place)."""
    order = str(rng.choice(["<", ">"]))
    rows = [(0x0112, 3, 1, struct.pack(order + "HH", rng.integers(0, 10), 0))] if rng.random() < 0.8 else []
    for _ in range(rng.integers(0, 8)):
        tag = int(rng.choice(TAGS)) if rng.random() < 0.8 else int(rng.integers(2**16))
        count = (
            int(rng.choice([0, 1, 2, 4, 5, 2**16, 2**31, 2**32 - 1])) if rng.random() < 0.7 else int(rng.integers(9))
        )
        value = struct.pack(order + "I", int(rng.choice([0, 1, 8, 20, 60, 2**31, 2**32 - 1])))
        rows.append((tag, int(rng.integers(0, 20)), count, value if rng.random() < 0.7 else rng.bytes(4)))
    rng.shuffle(rows)
    table = b"".join(struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in rows)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    after = struct.pack(order + "I", int(rng.choice([0, 8, 2**31])))
    return b"Exif\0\0" + head + struct.pack(order + "H", len(rows)) + table + after + rng.bytes(rng.integers(0, 80))


WAYS = (flip, overwrite, header, cut, remove, repeat, blank, extreme, splice, odd_exif, odd_exif)


def sealed(data):
    """A PNG whose checksums are right again, so that what stands in its chunks is believed."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunk = data[at + 4 : at + 8 + length]
        out += struct.pack(">I", length) + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + length
    return bytes(out)


def case(seed):
    """(ending, content) of a picture."""
    rng = np.random.default_rng([1, seed])
    ending, data = seeds()[rng.integers(len(seeds()))]
    for _ in range(rng.integers(1, 3)):
        with warnings.catch_warnings(action="ignore"):  # of Pillow, on what it is told to write
            data = WAYS[rng.integers(len(WAYS))](data or b"\0", rng)
    if data[:4] == b"\x89PNG" and rng.random() < 0.6:
        data = sealed(data)
    return ending, data


def outcome(folder, ending, data, color):
    """How many pictures were read (0 or 1), once all that must hold is seen to hold."""
    file = folder / f"one{ending}"
    file.write_bytes(data)
    try:
        made = from_folder(folder, size=8, color=color, held_out=0.0)
    except DataError as error:
        assert f"one{ending} (" in str(error)
        assert "Type-check" not in str(error)
        assert printable(str(error)) == str(error)
        return 0
    assert made.train.x.shape == (1, 3 if color == "rgb" else 1, 8, 8)
    assert made.train.x.dtype == np.uint8
    return 1


def play(folder, numbers, unchanged):
    read = 0
    for seed in numbers:
        ending, data = case(seed)
        folder.joinpath(f"one{ending}").write_bytes(data)
        with unchanged(folder):
            read += outcome(folder, ending, data, "rgb" if seed % 2 else "gray")
        folder.joinpath(f"one{ending}").unlink()
    return read


@pytest.fixture
def small(monkeypatch):
    """Pictures that claim more than a million pixels are refused: the same way as those of a hundred, in less time."""
    monkeypatch.setattr(room, "MAX_PIXELS", 10**6)


@pytest.mark.parametrize("stretch", range(5))
def test_a_damaged_picture_is_read_or_named(tmp_path, unchanged, bounded, small, stretch):
    with bounded(200):
        read = play(tmp_path, range(100 * stretch, 100 * stretch + 100), unchanged)
    assert 20 <= read <= 90  # both ends are met


@pytest.mark.slow
@pytest.mark.parametrize("stretch", range(34))
def test_many_damaged_pictures_are_read_or_named(tmp_path, unchanged, bounded, small, stretch):
    with bounded(400):
        read = play(tmp_path, range(10_000 + 500 * stretch, 10_500 + 500 * stretch), unchanged)
    assert 100 <= read <= 450
