import gzip
import hashlib
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from zerosum.data import mnist as opened
from zerosum.data.mnist import SHA256, VARIABLE, content, data_root, mnist, parse_idx, verified
from zerosum.errors import DataError

MODULE = sys.modules[content.__module__]  # its name is also the function's
HERE = (data_root() / "mnist" / "train-images-idx3-ubyte.gz").is_file()
needs_mnist = pytest.mark.skipif(not HERE, reason=f"MNIST is not under ${VARIABLE} or the cache folder")


@needs_mnist
def test_it_is_mnist():
    data = mnist()
    assert (len(data.train), len(data.test), data.shape) == (60_000, 10_000, (1, 28, 28))
    assert np.bincount(data.train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.train.x.mean() == pytest.approx(33.318, abs=0.001)


@needs_mnist
def test_all_of_it_lives_in_60_megabytes():
    tracemalloc.start()
    data = mnist()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data.train) == 60_000
    assert held <= 60e6


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def test_the_format_is_read_back():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(parse_idx(idx(array), "x"), array)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\x08", idx(np.zeros((2, 2), np.uint8))[:-1], b"\0\0\x0d\x01" + b"\0" * 8, b"<html>not here</html>"],
)
def test_anything_else_is_refused(data):
    with pytest.raises(DataError, match="not an IDX file"):
        parse_idx(data, "x")


@pytest.fixture
def known(monkeypatch):
    """A file of four bytes whose sha256 is the right one."""
    whole = b"four"
    monkeypatch.setitem(SHA256, "small", hashlib.sha256(whole).hexdigest())
    return whole


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, lambda data: gzip.compress(data, 1, mtime=0)])
def test_only_the_decompressed_content_counts(known, pack):
    assert verified(pack(known), "small", "here") == known


@pytest.mark.parametrize(
    "data", [b"five", gzip.compress(b"five", mtime=0), gzip.compress(b"four", mtime=0)[:-3], b"\x1f\x8bnonsense"]
)
def test_other_content_is_refused_with_the_place(known, data):
    with pytest.raises(DataError, match="over there"):
        verified(data, "small", "over there")


def test_a_missing_file_is_downloaded_once(known, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(MODULE, "fetch", lambda url, file: asked.append(url) or gzip.compress(known))
    assert content(tmp_path / "mnist", "small") == known
    assert content(tmp_path / "mnist", "small") == known
    assert len(asked) == 1


def test_a_wrong_download_is_not_kept(known, tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "fetch", lambda url, file: b"five")
    with pytest.raises(DataError, match="the download"):
        content(tmp_path, "small")
    assert not list(tmp_path.iterdir())


def test_without_network_one_sentence_says_where_to_put_which_files(tmp_path, monkeypatch):
    def offline(url, file):
        raise OSError("no network")

    monkeypatch.setattr(MODULE, "fetch", offline)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DataError) as caught:
        opened()
    said = str(caught.value)
    assert str(tmp_path / "mnist") in said
    assert "--data-root" in said
    assert all(name in said for name in list(SHA256)[:4])


def test_the_root_is_the_variable_or_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv(VARIABLE)
    assert data_root().name == "zerosum"
    assert data_root() != Path("zerosum")
