import gzip
import hashlib
import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from zerosum import permission
from zerosum.data import mnist as opened
from zerosum.data.mnist import SHA256, VARIABLE, content, data_root, mnist, parse_idx, verify
from zerosum.errors import DataError, SystemFault

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
    [
        b"",
        b"\0\0\x08",
        b"\0\0\x08\x05",
        b"\0\0\x08\x04" + b"\x80\0\0\0" * 4,
        idx(np.zeros((2, 2), np.uint8))[:-1],
        b"\0\0\x0d\x01" + b"\0" * 8,
        b"<html>not here</html>",
    ],
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
    assert verify(pack(known), "small", "here") == known


@pytest.mark.parametrize(
    "data", [b"five", gzip.compress(b"five", mtime=0), gzip.compress(b"four", mtime=0)[:-3], b"\x1f\x8bnonsense"]
)
def test_other_content_is_refused_with_the_place(known, data):
    with pytest.raises(DataError, match="over there"):
        verify(data, "small", "over there")


@pytest.fixture
def sources(monkeypatch):
    """(answers) -> the addresses that were asked; each source answers with bytes, or raises."""

    def answer(*answers):
        asked = []

        def fetch(url, most, seconds, label):
            asked.append(url)
            said = answers[[url.startswith(source) for source in MODULE.SOURCES].index(True)]
            assert (most, seconds, label) == (64 * 2**20, 900.0, "small.gz")
            if isinstance(said, DataError):
                raise said
            return said

        monkeypatch.setattr(MODULE, "fetch", fetch)
        return asked

    return answer


@pytest.fixture
def allowed():
    with permission.granted(downloads=True):
        yield


FIRST, SECOND = (f"{source}small.gz" for source in MODULE.SOURCES)


def refusal(*given):
    with pytest.raises(DataError) as caught:
        content(*given)
    return str(caught.value)


def test_a_missing_file_is_downloaded_once(known, tmp_path, sources, allowed):
    packed = gzip.compress(known)
    asked = sources(packed, DataError("never asked"))
    assert content(tmp_path / "a" / "mnist", "small") == known
    assert content(tmp_path / "a" / "mnist", "small") == known
    assert asked == [FIRST]
    assert [path.name for path in (tmp_path / "a" / "mnist").iterdir()] == ["small.gz"]
    assert (tmp_path / "a" / "mnist" / "small.gz").read_bytes() == packed


@pytest.mark.parametrize(
    "wrong", [b"five", b"", b"\x1f\x8bnonsense", gzip.compress(b"five", mtime=0), DataError("no network")]
)
def test_the_second_source_is_asked_where_the_first_has_nothing_or_something_else(
    known, tmp_path, sources, allowed, wrong
):
    asked = sources(wrong, gzip.compress(known))
    assert content(tmp_path, "small") == known
    assert asked == [FIRST, SECOND]


def test_a_wrong_download_is_not_kept(known, tmp_path, sources, allowed):
    sources(b"five", gzip.compress(b"four")[:-2])
    said = refusal(tmp_path, "small")
    assert f"(the download of {FIRST} is not MNIST's small: its sha256 differs. It is not kept; " in said
    assert f"the download of {SECOND} cannot be unpacked: " in said
    assert not list(tmp_path.iterdir())


def test_nothing_is_fetched_where_that_is_not_allowed(known, tmp_path, sources):
    asked = sources(known, known)
    said = refusal(tmp_path / "mnist", "small")
    assert said.startswith(f"MNIST is not in {tmp_path}/mnist. `zerosum train` fetches it. Put these four files there")
    assert "--data-root" in said
    assert asked == []
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_the_system_s_fault(known, tmp_path, sources, allowed):
    sources(known, known)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"file/small.gz cannot be read: Not a directory"):
        content(tmp_path / "file", "small")
    (tmp_path / "away").symlink_to("nowhere/at/all")
    with pytest.raises(SystemFault) as caught:
        content(tmp_path / "away", "small")
    assert str(caught.value).startswith(f"{tmp_path}/away/small.gz cannot be written: File exists. Name another folder")


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (b"five", "is not MNIST's small: its sha256 differs. Remove it, and fetch it again"),
        (b"", "is not MNIST's small: its sha256 differs. Remove it, and fetch it again"),
        (gzip.compress(b"four", mtime=0)[:-9], "cannot be unpacked: Compressed file ended before the end-of-stream"),
        (gzip.compress(b"four", mtime=0)[:-4] + b"nope", "cannot be unpacked: Incorrect length of data produced"),
        (gzip.compress(b"four", mtime=0)[:10] + b"\xff" * 9, "cannot be unpacked: Error -3 while decompressing data"),
        (gzip.compress(bytes(2**26 + 1), mtime=0), "cannot be unpacked: it unpacks to more than 67,108,864 bytes"),
        (gzip.compress(bytes(2**20), mtime=0) * 65, "cannot be unpacked: it unpacks to more than 67,108,864 bytes"),
    ],
    ids=["another", "empty", "cut", "another length", "no code", "a bomb", "a bomb in pieces"],
)
def test_a_damaged_file_is_named_and_stays(known, tmp_path, sources, allowed, stored, said):
    asked = sources(known, known)
    (tmp_path / "small.gz").write_bytes(stored)
    assert refusal(tmp_path, "small").startswith(f"{tmp_path}/small.gz {said}")
    assert (tmp_path / "small.gz").read_bytes() == stored
    assert asked == []


def test_too_large_a_file_is_not_read(known, tmp_path):
    with (tmp_path / "small.gz").open("wb") as file:
        file.truncate(2**40)
    said = "small.gz cannot be read: it has 1,099,511,627,776 bytes, at most 67,108,864 are read"
    assert refusal(tmp_path, "small") == f"{tmp_path}/{said}"


@pytest.mark.parametrize(
    ("made", "kind"),
    [(os.mkfifo, "FIFO"), (Path.mkdir, "folder"), (lambda path: path.symlink_to("/dev/zero"), "device")],
)
@pytest.mark.parametrize("name", ["small.gz", "small"])
def test_what_is_no_file_is_refused_unopened(known, tmp_path, allowed, made, kind, name):
    made(tmp_path / name)
    assert refusal(tmp_path, "small") == f"{tmp_path}/{name} cannot be read: it is a {kind}, not a regular file"


def test_a_link_to_a_file_is_followed(known, tmp_path):
    (tmp_path / "real").write_bytes(known)
    (tmp_path / "small").symlink_to("real")
    assert content(tmp_path, "small") == known


def test_without_network_one_sentence_says_where_to_put_which_files(tmp_path, monkeypatch, allowed):
    def offline(url, *_):
        raise DataError(f"{url}: no network")

    monkeypatch.setattr(MODULE, "fetch", offline)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(DataError) as caught:
        opened()
    said = str(caught.value)
    assert said.startswith(f"MNIST is not in {tmp_path / 'mnist'} and cannot be downloaded (https://")
    assert said.count("no network") == len(MODULE.SOURCES)
    assert "--data-root" in said
    assert all(name in said for name in list(SHA256)[:4])


def test_the_root_is_the_variable_or_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv(VARIABLE)
    assert data_root().name == "zerosum"
    assert data_root() != Path("zerosum")
