"""Exceptions that decoders raise on damaged files, and their reason in one line.

A damaged file can make a decoder fail anywhere: when it reads past the end, divides by a number in the file, or looks
up a type that does not exist. These exception types were found by fuzzing (tests/fuzz) and by reading the decoders;
related types are included, since the next version of a decoder may fail elsewhere.
"""

import errno
import struct
import zlib

from zerosum import files
from zerosum.errors import named

DAMAGED = (
    OSError,  # what Pillow, gzip and zipfile raise on purpose
    EOFError,
    ValueError,  # includes UnicodeDecodeError
    SyntaxError,  # Pillow raises it for another format; a header that is not a Python literal
    struct.error,  # truncated numbers
    zlib.error,
    TypeError,  # a value of another type than declared
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    BufferError,
    RuntimeError,  # includes NotImplementedError and RecursionError
    SystemError,  # from decoders in C without a message
    MemoryError,  # a declared size that exceeds the memory
)
"""Exceptions that mean only that the file is damaged."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE)
"""Error numbers of too many open files: not a fault of the file."""

MAX_LENGTH = 200
"""Maximum number of characters of a reason; a decoder may quote the whole file."""


def explain(error: BaseException) -> str:
    r"""The reason of an error in one line, with terminal control characters escaped.

    >>> explain(ValueError("cut at \x1b[2J")), explain(KeyError(274)), explain(EOFError())
    ('cut at \\x1b[2J', 'KeyError: 274', 'EOFError')
    """
    text = files.reason(error) if isinstance(error, OSError) else str(error)
    line = next(iter(text.splitlines()), "")[:MAX_LENGTH]
    kind = type(error).__name__
    if not line:
        return kind
    is_sentence = isinstance(error, OSError | EOFError | ValueError | SyntaxError) or kind.lower() == "error"
    return named(line if is_sentence else f"{kind}: {line}")
