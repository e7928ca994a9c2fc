"""Downloads: over https alone, of a size and within a time that are set beforehand.

The answer is read in a thread of its own, and the clock is kept here: looking up a name, shaking hands and reading a
header have no time limit that a server could not stretch, one byte after the other. A thread that waits for such a
server is left to itself; it keeps no command from ending.
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

from zerosum.data.reasons import why
from zerosum.errors import DataError, named

SCHEMES = {"https"}
"""What is fetched, and where a server may send us on to."""

SILENCE = 30.0
"""Seconds without a byte after which a connection is given up."""

BLOCK = 2**16
"""Bytes read at a time, at most."""

FAILURES = (OSError, HTTPException, ValueError)
"""URLError, refused connections, certificates; answers that are no HTTP; addresses that are none."""

Chunks = SimpleQueue[bytes | int | Exception]
"""The announced size; then what came, nothing at its end; or what went wrong."""


def fetch(url: str, most: int, seconds: float, label: str = "") -> bytes:
    """The content of a URL, with a bar on a terminal.

    Args:
        url: Where it lies.
        most: Bytes it may have.
        seconds: Time it may take in all.
        label: What stands before the bar.

    Raises:
        DataError: It cannot be had, is larger, or takes longer.
    """
    chunks: Chunks = SimpleQueue()
    stop = Event()
    Thread(target=_pump, args=(url, chunks, stop), daemon=True).start()
    try:
        with _bar(label) as advance:
            return _collected(chunks, most, monotonic() + seconds, advance)
    except Empty:
        raise DataError(f"{named(url)}: it was not here after {seconds:g} seconds") from None
    except FAILURES as error:
        cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
        raise DataError(f"{named(url)}: {why(cause)}") from None
    finally:
        stop.set()


def _collected(chunks: Chunks, most: int, deadline: float, advance: Any) -> bytes:
    """What the thread reads, as long as it is not too much and not too late."""
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


def _pump(url: str, chunks: Chunks, stop: Event) -> None:
    """Read the answer into a queue until it ends or nobody wants it any more."""
    try:
        _refuse_scheme(url)
        with urllib.request.build_opener(_Redirects).open(url, timeout=SILENCE) as answer:
            chunks.put(_announced(answer))
            while not stop.is_set() and (block := answer.read1(BLOCK)):
                chunks.put(block)
        chunks.put(b"")
    except FAILURES as error:
        if isinstance(error, HTTPError):
            error.close()
        chunks.put(error)


def _announced(answer: HTTPResponse) -> int:
    """The size that a server announces; 0 where it says none, or nonsense."""
    said = answer.headers.get("Content-Length", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 20 else 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow a server to another address, but not to one of another kind."""

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
    """(bytes so far, bytes in all or 0) -> None, which shows them where somebody is looking."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda size, announced: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None)
        yield lambda size, announced: progress.update(task, completed=size, total=announced or None)
