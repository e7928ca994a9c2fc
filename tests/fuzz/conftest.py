"""What every fuzzer needs: inputs stay as they are, nothing appears beside them, and memory has a bound."""

import hashlib
import resource
import sys
from contextlib import contextmanager

import pytest


def contents(folder):
    """Each name below a folder -> the hash of its content, or None where it is no file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def unchanged():
    """(folder) -> a block in which no file below it may change, vanish or appear."""

    @contextmanager
    def watch(folder):
        before = contents(folder)
        yield
        assert contents(folder) == before

    return watch


@pytest.fixture
def bounded():
    """(mb) -> a block in which the process may not grow by more than that beyond its largest size so far."""
    unit = 1 if sys.platform == "darwin" else 1024

    @contextmanager
    def watch(mb):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        yield
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / 1e6
        assert grown <= mb, f"grown by {grown:.0f} MB"

    return watch
