"""What decoders raise on files that are damaged, and how it is said in one line.

A file that somebody else wrote can make a decoder fail anywhere: where it reads past the end, where it divides by a
number of the file, where it looks up a type that there is not. Which kinds occur was found by fuzzing (tests/fuzz) and
by reading; their neighbours are here, too, since the next version of a decoder fails in other places.
"""

import errno
import struct
import zlib

from zerosum import files
from zerosum.errors import named

DAMAGED = (
    OSError,  # what Pillow, gzip and zipfile raise on purpose
    EOFError,
    ValueError,  # with what is no text in its encoding
    SyntaxError,  # Pillow's word for "another format"; a header that is no Python literal
    struct.error,  # cut numbers
    zlib.error,
    TypeError,  # a value of another type than its tag says
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    BufferError,
    RuntimeError,  # with what is not implemented, and what is nested too deeply
    SystemError,  # of decoders in C that fail without a word
    MemoryError,  # sizes that no memory holds
)
"""Kinds that say nothing but that a file is not what it should be."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE)
"""Refusals that say nothing of the file: the next one would be refused, too."""

LONGEST = 200
"""Letters of a reason; a decoder may quote the whole file."""


def why(error: BaseException) -> str:
    r"""The reason in one line, without what could command a terminal.

    >>> why(ValueError("cut at \x1b[2J")), why(KeyError(274)), why(EOFError())
    ('cut at \\x1b[2J', 'KeyError: 274', 'EOFError')
    """
    text = files.reason(error) if isinstance(error, OSError) else str(error)
    line = next(iter(text.splitlines()), "")[:LONGEST]
    kind = type(error).__name__
    if not line:
        return kind
    speaks = isinstance(error, OSError | EOFError | ValueError | SyntaxError) or kind.lower() == "error"
    return named(line if speaks else f"{kind}: {line}")
