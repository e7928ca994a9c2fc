"""Files of MNIST that are damaged, packed by somebody who meant harm, or no files at all: right, or refused.

What is right has the sha256 of the original, so that a case can only end in the very same bytes or in a sentence.
"""

import gzip
import hashlib
import importlib
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from zerosum.data.mnist import content, parse_idx
from zerosum.errors import DataError, printable

ROOM = importlib.import_module("zerosum.data.mnist")  # in zerosum.data, its name is the function's
MOST = 2**18
CONTENT = bytes([0, 0, 8, 1, 0, 0, 2, 0]) + np.random.default_rng(0).integers(0, 9, 512, np.uint8).tobytes()


def pick(rng, among):
    return among[rng.integers(len(among))]


def flip(data, rng):
    out = bytearray(data)
    for at in rng.integers(0, len(out) if rng.random() < 0.5 else min(len(out), 12), rng.integers(1, 5)):
        out[at] ^= 1 << rng.integers(8)
    return bytes(out)


def cut(data, rng):
    return data[: rng.integers(len(data))]


def remove(data, rng):
    first, last = sorted(rng.integers(0, len(data), 2))
    return data[:first] + data[last:]


def more(data, rng):
    return data + pick(rng, (b"\0" * 9, b"x", data, gzip.compress(b"", mtime=0), b"\x1f\x8b"))


def ends_wrong(data, rng):
    """The checksum or the length at the end is another."""
    return data[:-8] + rng.bytes(8)


def bomb(_, rng):
    """Much more, in few bytes; once, or in many members."""
    count = int(pick(rng, (MOST - 1, MOST + 1, 16 * MOST)))
    return (
        gzip.compress(b"\0" * count, mtime=0)
        if rng.random() < 0.5
        else gzip.compress(b"\0" * (count // 64 + 1), mtime=0) * 64
    )


def header(data, rng):
    """Flags that announce a name, a comment, a checksum or more fields, which follow or do not."""
    flags = int(rng.integers(256))
    return data[:3] + bytes([flags]) + data[4:10] + rng.bytes(rng.integers(0, 40)) + data[10:]


def other(data, rng):
    return pick(rng, (b"", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08", b"<html>", zlib.compress(CONTENT), CONTENT, data))


WAYS = (flip, flip, cut, remove, more, ends_wrong, bomb, header, other)


def case(seed):
    """The content of a file."""
    rng = np.random.default_rng([3, seed])
    data = gzip.compress(CONTENT, int(rng.integers(10)), mtime=0)
    for _ in range(rng.integers(1, 3)):
        data = pick(rng, WAYS)(data or b"\0", rng)
    return data


def outcome(folder):
    """Whether the content was right."""
    try:
        found = content(folder, "one")
    except DataError as error:
        assert str(folder / "one.gz") in str(error)
        assert "Type-check" not in str(error)
        assert printable(str(error)) == str(error)
        return 0
    assert found == CONTENT
    assert len(parse_idx(found, "one")) == 512
    return 1


@pytest.fixture
def play(tmp_path, monkeypatch, unchanged, bounded):
    """(numbers of cases) -> how many contents were right."""
    monkeypatch.setitem(ROOM.SHA256, "one", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(ROOM, "MOST", MOST)

    def run(numbers):
        right = 0
        for seed in numbers:
            (tmp_path / "one.gz").write_bytes(case(seed))
            with unchanged(tmp_path):
                right += outcome(tmp_path)
        return right

    with bounded(60):
        yield run


def test_a_damaged_file_is_right_or_refused(play):
    assert 2 <= play(range(60)) <= 50


@pytest.mark.slow
def test_many_damaged_files_are_right_or_refused(play):
    assert 20 <= play(range(1000, 1600)) <= 500


def test_what_is_no_idx_file_is_refused():
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = pick(rng, (flip, cut, remove, more))(CONTENT, rng)
        try:
            assert parse_idx(data, "one").dtype == np.uint8
        except DataError as error:
            assert str(error) == "one: not an IDX file of bytes"


@pytest.mark.parametrize("made", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_refused_unopened(tmp_path, made):
    made(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match=r"not a regular file"):
        content(tmp_path, "train-images-idx3-ubyte")
