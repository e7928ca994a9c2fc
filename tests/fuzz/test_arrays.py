"""Files of numbers that are damaged, or written by somebody who meant harm: read, or refused in a sentence.

Tables and arrays are made by hand (headers that lie, types that there are not, archives that contradict themselves) or
are whole ones, damaged; a case follows from its number alone.
"""

import struct
import warnings
import zipfile
from io import BytesIO

import numpy as np
import pytest

from zerosum.data import from_file, validate
from zerosum.errors import DataError, printable

MAGIC = b"\x93NUMPY"
TYPES = ("<f4", "<f8", ">f8", "<f2", "<f16", "|u1", "<i4", ">i2", "<u8", "|b1", "<c8", "|O", "<U4", ">U2", "|S3", "<U0")
TYPES += ("<M8[s]", "<m8[D]", "|V8", "<m8", "[('a', '<f4')]", "('<f4', (3,))", "<f3", "zz", "", "<U99999999999", "O8")
LENGTHS = (40, 40, 40, 2, 2, 1, 0, -1, True, False, 2.0, "40", None, 10**9, 2**31, 2**62, 2**64, 10**30, ())
TEXTS = ("1", "2", "-3.5", "nan", "inf", "1e400", "1e300", "1e-300", "", " ", "x", "cat", '"', '"a', 'b"', '"a,b"')
TEXTS += ("\0", "\u202e", "ä", "0x10", "1_0", "9" * 30, "1" * 5000, "#", "--", "1,5", "\x1b[2J", "+", "e", "\u0663")
MARKS = (",", ";", "\t", "|", ",,")
ENDS = ("\n", "\n", "\n", "\r\n", "\r", "\n\n", "")
KEYS = ("x", "y", "labels", "images", "../x", "/x", "a/b", "", "x.npy", "__MACOSX/x", "\x1b[2Jx", "x" * 300, "ä")


def pick(rng, among):
    return among[rng.integers(len(among))]


def whole(rng):
    """Numbers that can be trained on."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.normal(size=(40, 3))
    if kind == 1:
        return rng.integers(0, 256, (40, 5, 4), np.uint8)
    if kind == 2:
        return rng.normal(size=40).astype(">f4")
    return np.asfortranarray(rng.integers(-9, 9, (40, 2)))


def labels(rng):
    n = 40 if rng.random() < 0.9 else 39
    choices = (
        lambda: rng.integers(-1, 4, n),
        lambda: rng.integers(0, 3, n).astype(float) + rng.choice([0, 0.5, np.nan, np.inf, 1e300]),
        lambda: rng.choice(["cat", "dog", "", "\x1b[2J", "\ud800"], n),
        lambda: rng.choice([b"cat", b"\xff", b""], n),
        lambda: rng.integers(0, 2**32, n, np.uint32).view("<U1"),
        lambda: rng.integers(0, 3, (n, 1)),
        lambda: rng.integers(0, 3, n).astype("m8[s]"),
        lambda: rng.normal(size=n) * 1j,
        lambda: np.zeros(n, [("a", "f4")]),
        lambda: rng.random(n) < 0.5,
    )
    return pick(rng, choices)()


def npy(array):
    out = BytesIO()
    np.save(out, array)
    return out.getvalue()


def by_hand(rng):
    """A .npy file in whose header some things are not as they should be."""
    odd = lambda: rng.random() < 0.25
    kind, axes = pick(rng, TYPES) if odd() else "<f4", (40, 2)
    if odd():
        axes = tuple(pick(rng, LENGTHS) for _ in range(rng.integers(0, 5)))
    fields = [
        ("'descr'", kind if kind[:1] in ("[", "(") else repr(kind)),
        ("'fortran_order'", str(pick(rng, (0, None, True)) if odd() else False)),
        ("'shape'", repr(axes)),
    ]
    if rng.random() < 0.1:
        fields.append(pick(rng, (("(True, 60)", "1"), ("'more'", "2"), ("7", "8"), ("[]", "0"))))
    texts = (
        "{{{}, }}",
        "{{{}",
        "[{{{}}}]",
        "{{{}}}\0",
        "(" * 300 + "{{{}}}",
        "-" * 3000 + "{{{}}}",
        "{{{}}}" + " " * 10**5,
    )
    text = (pick(rng, texts) if odd() else "{{{}}}").format(", ".join(f"{name}: {value}" for name, value in fields))
    head = text.encode() + b"\n"
    major = int(pick(rng, (1, 1, 1, 1, 2, 2, 3, 3, 0, 9)))
    length = int(pick(rng, (0, 1, 2**16 - 1))) if odd() else min(len(head), 2**16 - 1)
    size = struct.pack("<H" if major == 1 else "<I", length)
    numbers = rng.normal(size=int(pick(rng, (0, 1, 79, 81, 160)) if odd() else 80)).astype(np.float32)
    return MAGIC + bytes([major, 0]) + size + head + numbers.tobytes()


def damaged(data, rng):
    """Some bytes changed, cut, doubled or taken out, mostly near the beginning or the end."""
    out = bytearray(data)
    for _ in range(pick(rng, (1, 1, 2, 5))):
        near = pick(rng, (min(len(out), 130), len(out)))
        at = int(rng.integers(near)) if rng.random() < 0.7 else len(out) - 1 - int(rng.integers(min(len(out), 90)))
        letter = int(pick(rng, b',;"\n 1-ex'))
        out[at] = pick(rng, (letter, letter, out[at] ^ 1 << rng.integers(8), 0, 255, int(rng.integers(256))))
    if rng.random() < 0.15:
        del out[rng.integers(len(out)) :]
    elif rng.random() < 0.15:
        first, last = sorted(rng.integers(0, len(out), 2))
        out = out[:last] + out[first:]
    return bytes(out or b"\0")


def archive(rng):
    """A .npz file of any members, whose directory may lie."""
    out = BytesIO()
    packing = (0, 0, 0, 8, 8, 8, 8, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    # zipfile warns of names that are there already
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(out, "w", pick(rng, packing)) as file:
        names = ["x", "y"] if rng.random() < 0.6 else [pick(rng, KEYS) for _ in range(rng.integers(0, 4))]
        for name in names:
            content = npy(labels(rng) if name in ("y", "labels") else whole(rng))
            content = pick(rng, (lambda c: c, lambda c: c, lambda c: damaged(c, rng), lambda _: by_hand(rng)))(content)
            ending = pick(rng, (".npy", ".npy", ".npy", "", "/")) if name else ".npy"
            file.writestr(name + ending, content)
    return lying(out.getvalue(), rng) if rng.random() < 0.4 else out.getvalue()


def lying(data, rng):
    """One field of a member's entry in the directory holds something else: flags, method, checksum, sizes, place."""
    place = data.rfind(b"PK\x01\x02")
    at, width = pick(rng, ((8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (28, "H"), (42, "I")))
    new = struct.pack("<" + width, int(pick(rng, (0, 1, 9, 14, 95, 2**15, 2**16 - 1))))
    return data if place < 0 else data[: place + at] + new + data[place + at + len(new) :]


def table(rng):
    """A .csv file: mostly numbers, with what people and programs put between them."""
    mark, end, columns = pick(rng, MARKS), pick(rng, ENDS), rng.integers(1, 5)
    odd = pick(rng, (0.0, 0.0, 0.02, 0.5))
    cell = lambda: pick(rng, TEXTS) if rng.random() < odd else f"{rng.normal():.4g}"
    width = lambda: columns + (rng.random() < odd / 5)
    lines = [mark.join(cell() for _ in range(width())) for _ in range(pick(rng, (0, 9, 40, 60, 60)))]
    if rng.random() < 0.5:
        lines.insert(0, mark.join(pick(rng, ("a", "kind", "kind", "x", "a b", '"q', "1")) for _ in range(columns)))
    text = pick(rng, ("", "", "\ufeff", "\n\n")) + end.join(lines) + end
    encoding = pick(rng, ("utf-8",) * 8 + ("utf-16", "latin-1"))
    return text.encode(encoding, "replace") + pick(rng, (b"",) * 9 + (b"\xff", b"\0", b"x" * 200_000))


def case(seed):
    """(ending, content, options) of a file."""
    rng = np.random.default_rng([2, seed])
    kind = seed % 6
    if kind == 0:
        return ".npy", by_hand(rng), {}
    if kind == 1:
        return ".npy", damaged(npy(whole(rng)), rng), {}
    if kind in (2, 3):
        data = archive(rng)
        return ".npz", data if kind == 2 else damaged(data, rng), pick(rng, ({}, {}, {"key": "x"}, {"labels": "y"}))
    data = table(rng)
    return (
        ".csv",
        data if kind == 4 else damaged(data or b"\0", rng),
        pick(rng, ({}, {}, {"labels": "kind"}, {"labels": "0"})),
    )


def outcome(file, options):
    """Whether the file was read, once all that must hold is seen to hold."""
    try:
        made = validate(from_file(file, held_out=0.0, **options))
    except DataError as error:
        assert str(error).startswith((str(file), file.name))
        assert "Type-check" not in str(error)
        assert printable(str(error)) == str(error)
        return 0
    shown = made.samples(made.train)
    assert np.isfinite(shown).all()
    assert np.ptp(shown.reshape(len(shown), -1).astype(np.float64), axis=0).max() > 0
    assert len(made.fingerprint()) == 16
    known = made.train.all_labels()
    assert known.min() >= -1
    assert known.max() < len(made.classes or ())
    assert all(name.encode() for name in made.classes or ())
    return 1


def play(folder, numbers, unchanged):
    read = 0
    for seed in numbers:
        ending, data, options = case(seed)
        file = folder / f"one{ending}"
        file.write_bytes(data)
        with unchanged(folder):
            read += outcome(file, options)
        file.unlink()
    return read


@pytest.mark.parametrize("stretch", range(2))
def test_a_file_of_numbers_is_read_or_refused(tmp_path, unchanged, bounded, stretch):
    with bounded(200):
        read = play(tmp_path, range(152 * stretch, 152 * stretch + 152), unchanged)
    assert 5 <= read <= 60  # both ends are met


@pytest.mark.slow
@pytest.mark.parametrize("stretch", range(10))
def test_many_files_of_numbers_are_read_or_refused(tmp_path, unchanged, bounded, stretch):
    with bounded(400):
        read = play(tmp_path, range(10_000 + 300 * stretch, 10_300 + 300 * stretch), unchanged)
    assert 20 <= read <= 150
