"""Downloads over https with a limit of size and time.

A separate thread reads the response, and the caller enforces the time limit: name resolution, the TLS handshake and the
headers have no total time limit of their own, so a slow server could extend them without end. A thread that still waits
for such a server is abandoned; as a daemon thread it does not keep the process alive.
"""

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage, HTTPResponse
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from zerosum.data.reasons import explain
from zerosum.errors import DataError, named

SCHEMES = {"https"}
"""Allowed schemes of URLs and redirects."""

READ_TIMEOUT = 30.0
"""Seconds without data after which a connection is closed."""

BLOCK = 2**16
"""Maximum number of bytes per read."""

FAILURES = (OSError, HTTPException, ValueError)
"""URLError, refused connections, invalid certificates; invalid HTTP responses; invalid URLs."""

Chunks = SimpleQueue[bytes | int | Exception]
"""First the content length, then blocks of content, at the end an empty block; or an exception."""


def fetch(url: str, most: int, seconds: float, label: str = "") -> bytes:
    """Download the content of a URL, with a progress bar if stderr is a terminal.

    Args:
        url: The URL.
        most: Maximum size in bytes.
        seconds: Maximum total time in seconds.
        label: Text before the progress bar.

    Raises:
        DataError: The download failed, is too large, or takes too long.
    """
    chunks: Chunks = SimpleQueue()
    stop = Event()
    Thread(target=_read_into, args=(url, chunks, stop), daemon=True).start()
    try:
        with _bar(label) as advance:
            return _collect(chunks, most, monotonic() + seconds, advance)
    except Empty:
        raise DataError(f"{named(url)}: it was not here after {seconds:g} seconds") from None
    except FAILURES as error:
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
        raise DataError(f"{named(url)}: {explain(cause)}") from None
    finally:
        stop.set()


def _collect(chunks: Chunks, most: int, deadline: float, advance: Any) -> bytes:
    """Join the blocks from the queue; raise Empty after the deadline, ValueError above `most` bytes."""
    parts: list[bytes] = []
    size = announced = 0
    while True:
        if monotonic() > deadline:
            raise Empty
        part = chunks.get(timeout=max(0.0, deadline - monotonic()))
        if isinstance(part, Exception):
            raise part
        if isinstance(part, int):
            announced = part
        elif not part:
            break
        else:
            parts.append(part)
            size += len(part)
        if max(size, announced) > most:
            raise ValueError(f"it has {max(size, announced):,} bytes or more, at most {most:,} are fetched")
        advance(size, announced)
    if size < announced:
        raise ValueError(f"it ended after {size:,} of {announced:,} bytes")
    return b"".join(parts)


def _read_into(url: str, chunks: Chunks, stop: Event) -> None:
    """Read the response into the queue until it ends or `stop` is set."""
    try:
        _refuse_scheme(url)
        with urllib.request.build_opener(_Redirects).open(url, timeout=READ_TIMEOUT) as response:
            chunks.put(_content_length(response))
            while not stop.is_set() and (block := response.read1(BLOCK)):
                chunks.put(block)
        chunks.put(b"")
    except FAILURES as error:
        if isinstance(error, HTTPError):
            error.close()
        chunks.put(error)


def _content_length(response: HTTPResponse) -> int:
    """Value of the Content-Length header; 0 if it is missing or invalid."""
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects only to URLs with an allowed scheme."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _refuse_scheme(newurl)
        except ValueError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_scheme(url: str) -> None:
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ValueError(f"only {', '.join(sorted(SCHEMES))} is fetched, not {scheme or 'an address without a scheme'}")


@contextmanager
def _bar(label: str) -> Iterator[Any]:
    """Yield a function (bytes so far, total bytes or 0) -> None that updates a progress bar on a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda size, announced: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)
        yield lambda size, announced: progress.update(task, completed=size, total=announced or None)
