import socket
import threading
from contextlib import contextmanager, suppress
from time import monotonic, sleep

import pytest

from zerosum.data import downloads
from zerosum.data.downloads import fetch
from zerosum.errors import DataError

MOST = 10_000
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def server(*answers):
    """The address of a server that gives its visitors these answers in turn; a number is a pause in seconds."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=serve, args=(door, answers), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}/x"
        with suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def serve(door, answers):
    for answer in answers:
        try:
            visitor, _ = door.accept()
        except OSError:
            return
        with visitor:
            try:
                visitor.recv(2**16)
                for part in answer if isinstance(answer, list) else [answer]:
                    visitor.sendall(part) if isinstance(part, bytes) else sleep(part)
            except OSError:
                pass  # the visitor is gone


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    """The tests' servers have no certificates, and no proxy stands between."""
    monkeypatch.setattr(downloads, "SCHEMES", {"http"})
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def refusal(*answers, most=MOST, seconds=20.0):
    with server(*answers) as url, pytest.raises(DataError) as caught:
        fetch(url, most, seconds)
    return str(caught.value).removeprefix(f"{url}: ")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\n",
        b"",
        b"Content-Length: -1\r\n",
        b"Content-Length: four\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: \xb2\r\n",
        b"Content-Length: 4.0\r\n",
        b"X: " + b"x" * 1000 + b"\r\n",
    ],
)
def test_the_content_comes_back_whatever_size_is_announced(head):
    with server(HEAD + head + b"\r\nfour") as url:
        assert fetch(url, 4, 20.0) == b"four"


def test_content_in_pieces_is_put_together():
    pieces = [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nfo\r\n", 0.05, b"2\r\nur\r\n0\r\n\r\n"]
    with server(pieces) as url:
        assert fetch(url, 4, 20.0) == b"four"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HEAD + b"Content-Length: 10001\r\n\r\n", "it has 10,001 bytes or more, at most 10,000 are fetched"),
        (HEAD + b"Content-Length: 9\r\n\r\nfour", "it ended after 4 of 9 bytes"),
        (HEAD + b"Content-Length: 9999999999999999999\r\n\r\nfour", "it has 9,999,999,999,999,999,999 bytes or more"),
        (HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nfour", ""),
        (b"HTTP/1.1 404 Not \x1b[2JFound\r\nContent-Length: 0\r\n\r\n", r"HTTP Error 404: Not \x1b[2JFound"),
        (b"HTTP/1.1 500 Broken\r\n\r\n<html>", "HTTP Error 500: Broken"),
        (b"", "Remote end closed connection without response"),
        (b"\r\n", "BadStatusLine"),
        (b"SSH-2.0-OpenSSH\r\n", "BadStatusLine: SSH-2.0-OpenSSH"),
        (b"HTTP/1.1 99999 no\r\n\r\n", "BadStatusLine"),
        (HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n", "LineTooLong"),
        (HEAD + b"X: y\r\n" * 200 + b"\r\n", "HTTPException: got more than 100 headers"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nfour", "IncompleteRead"),
        (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n", "is not allowed"),
        (b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\nContent-Length: 0\r\n\r\n", "only http is fetched"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://x.invalid/\r\nContent-Length: 0\r\n\r\n", "only http is fetched"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "HTTP Error 302: Found"),
    ],
)
def test_what_is_no_answer_is_refused_with_the_reason(answer, said):
    if not said:
        with server(answer) as url:
            assert fetch(url, MOST, 20.0) == b"four"
        return
    assert said in refusal(answer)


def test_no_more_is_read_than_is_wanted():
    began = monotonic()
    endless = [HEAD + b"\r\n", *[bytes(1000), 0.001] * 100_000]
    assert "at most 10,000 are fetched" in refusal(endless)
    assert monotonic() - began < 10


@pytest.mark.parametrize(
    "drips",
    [
        [5.0],
        [b"H", 0.02] * 1000,
        [HEAD, *[b"X: ", *[b"x", 0.02] * 1000]],
        [HEAD + b"\r\n", *[b"x", 0.02] * 1000],
        [HEAD + b"Content-Length: 1000\r\n\r\n", 5.0],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n", 0.02] * 1000],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"0", 0.02] * 1000],
    ],
    ids=["nothing", "a status", "a header", "a body", "half of it", "pieces", "the size of a piece"],
)
def test_a_server_that_drips_is_left_in_time(drips):
    began = monotonic()
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=serve, args=(door, [drips]), daemon=True).start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}/x"
        with pytest.raises(DataError) as caught:
            fetch(url, MOST, 0.3)
    assert str(caught.value) == f"{url}: it was not here after 0.3 seconds"
    assert monotonic() - began < 3


def test_a_redirection_is_followed():
    with server(b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", HEAD + b"\r\nfour") as url:
        assert fetch(url, MOST, 20.0) == b"four"


def test_a_redirection_in_a_circle_ends():
    assert "infinite loop" in refusal(*[b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"] * 20)


def test_a_refused_connection_is_told():
    with socket.create_server(("127.0.0.1", 0)) as door:
        url = f"http://127.0.0.1:{door.getsockname()[1]}/x"
    with pytest.raises(DataError) as caught:
        fetch(url, MOST, 20.0)
    assert str(caught.value) == f"{url}: Connection refused"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "/etc/passwd", "", "x", "HTTPX:y"],
)
def test_only_https_is_fetched(url, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(socket, "create_connection", None)
    with pytest.raises(DataError, match=r"only https is fetched, not "):
        fetch(url, MOST, 20.0)


@pytest.mark.parametrize(
    "url", ["http://[::1/x", "http://127.0.0.1:port/x", "http:///x", "http://a b/", "http://\x1b/x"]
)
def test_an_address_that_is_none_is_told(url):
    with pytest.raises(DataError) as caught:
        fetch(url, MOST, 20.0)
    assert "\x1b" not in str(caught.value)


def test_a_bar_is_shown_on_a_terminal_alone(monkeypatch, capsys):
    for stream in (None, Terminal()):
        monkeypatch.setattr("sys.stderr", stream)
        with server(HEAD + b"Content-Length: 4\r\n\r\nfour") as url:
            assert fetch(url, MOST, 20.0, label="the file") == b"four"
    assert "the file" in stream.shown


class Terminal:
    encoding, shown = "utf-8", ""

    def isatty(self):
        return True

    def write(self, text):
        self.shown += text
        return len(text)

    def flush(self):
        pass

    def fileno(self):
        return 2
