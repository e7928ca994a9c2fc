import errno
import os
import socket
from pathlib import Path

import pytest

from zerosum import files


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fifo(path):
    os.mkfifo(path)


def bound(path):
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


ODD = {
    "a FIFO": fifo,
    "a socket": bound,
    "a folder": Path.mkdir,
    "a link": lambda path: path.symlink_to("there"),
    "a device": lambda path: os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5)),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_is_refused_before_it_is_opened(kind, monkeypatch):
    Path("there").write_bytes(b"secret")
    try:
        ODD[kind](Path("odd"))
    except PermissionError:
        pytest.skip("only root makes devices")
    opened = []
    monkeypatch.setattr(os, "open", lambda *given: opened.append(given))
    with pytest.raises(files.Refused, match=f"it is {kind}, not a regular file"):
        files.read(Path("odd"), 100)
    assert opened == []


def test_a_link_to_a_regular_file_is_followed_only_where_that_is_asked_for():
    Path("there").write_bytes(b"mine")
    Path("link").symlink_to("there")
    assert files.read(Path("link"), 100, follow=True) == b"mine"
    with pytest.raises(files.Refused):
        files.read(Path("link"), 100)


def test_what_takes_the_place_of_a_file_between_look_and_opening_is_not_read(monkeypatch):
    Path("file").write_bytes(b"mine")
    Path("there").write_bytes(b"secret")
    look = files.stat_regular

    def exchanged(path, *given, **how):
        facts = look(path, *given, **how)
        path.unlink()
        path.symlink_to("there")
        return facts

    monkeypatch.setattr(files, "stat_regular", exchanged)
    with pytest.raises(OSError, match="symbolic links") as caught:
        files.read(Path("file"), 100)
    assert caught.value.errno == errno.ELOOP


def test_a_file_that_is_too_large_is_not_read_even_where_it_grows():
    with Path("sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(files.Refused, match=r"1,099,511,627,776 bytes, at most 1,000 are read"):
        files.read(Path("sparse"), 1000)
    pieces = files.read_chunks(Path("grows"), 1000, size=100)
    Path("grows").write_bytes(b"x" * 1000)
    next(pieces)
    with Path("grows").open("ab") as file:
        file.write(b"y" * 1000)
    with pytest.raises(files.Refused, match="at most 1,000"):
        list(pieces)


def test_writing_follows_no_link_and_replaces_it():
    Path("theirs").write_bytes(b"theirs")
    Path("link").symlink_to("theirs")
    files.write(Path("link"), b"ours")
    assert Path("theirs").read_bytes() == b"theirs"
    assert Path("link").read_bytes() == b"ours"
    assert not Path("link").is_symlink()


def test_a_temporary_name_cannot_be_foretold_and_a_file_of_that_name_is_never_opened(monkeypatch):
    names = {files.temporary_name() for _ in range(100)}
    assert len(names) == 100
    assert all(files.TEMPORARY.fullmatch(name) for name in names)
    Path("theirs").write_bytes(b"theirs")
    monkeypatch.setattr(files, "temporary_name", lambda: ".zerosum-0000000000000000.tmp")
    Path(".zerosum-0000000000000000.tmp").symlink_to("theirs")
    with pytest.raises(FileExistsError):
        files.write(Path("mine"), b"ours")
    assert Path("theirs").read_bytes() == b"theirs"


@pytest.mark.parametrize("kind", ODD)
def test_nothing_is_added_to_what_is_no_regular_file(kind):
    Path("there").write_bytes(b"theirs")
    try:
        ODD[kind](Path("odd"))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(OSError):
        files.append(Path("odd"), b"x")
    assert Path("there").read_bytes() == b"theirs"


def test_a_full_disk_is_told_with_what_is_needed_and_what_is_free():
    text = files.reason(OSError(errno.ENOSPC, "No space left on device", str(Path.cwd() / "x")), needed=2_500_000)
    assert text.startswith("No space left on device: 2.50 MB are needed, ")
    assert text.endswith(" MB are free")
