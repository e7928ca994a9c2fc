"""All errors that zerosum raises for users, with the exit codes of commands.

ZerosumError
├── UsageError            2    the request is invalid
│   ├── ConfigError            a setting, a recipe or a name is wrong
│   └── RunError               a run folder is busy, missing or holds another run
├── DataError             3    the data cannot be used for training
├── CheckpointError       3    no checkpoint could be written or read
├── Untrusted             3    an untrusted run names code or data, which was not loaded
├── SystemFault           3    the system failed: disk full, permission denied, out of memory
├── Diverged              4    a cost, a gradient or a weight is not finite
└── WorkerLost            5    one of several processes died, hangs or has different weights

Stopped             128 + n    signal n ended the run; everything is saved

`Stopped` is a BaseException, like KeyboardInterrupt, so that a sweep that catches errors of single runs ends with it.

A message says what was given, what was expected and what to do next.
"""

import shlex
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


class ZerosumError(Exception):
    """Base of all errors that a command reports in a sentence, without a traceback."""

    exit_code = 3


class UsageError(ZerosumError):
    """The request is invalid."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting, a recipe or a name is wrong."""


class RunError(UsageError):
    """A run folder is busy, holds another run, or holds none."""


class DataError(ZerosumError):
    """The data cannot be used for training."""

    exit_code = 3


class CheckpointError(ZerosumError):
    """No checkpoint could be written, or none could be read."""

    exit_code = 3


class Untrusted(ZerosumError):
    """An untrusted run names code to import or data to open; nothing was loaded."""


class SystemFault(ZerosumError):
    """The system failed: disk full, permission denied, out of memory."""


class Diverged(ZerosumError):
    """A cost, a gradient or a weight is not finite.

    Args:
        at_round: Round in which it was detected, from 1.
        player: "discriminator" or "generator".
        term: "cost", the name of a penalty, "gradient norm", or the name of a tensor.
        value: Its value, NaN or infinite.
    """

    exit_code = 4

    def __init__(self, at_round: int, player: str, term: str, value: float) -> None:
        super().__init__(f"round {at_round}: the {player}'s {term} is {value}")
        self.round, self.player, self.term, self.value = at_round, player, term, value


class WorkerLost(ZerosumError):
    """One of several processes died, hangs, or has different weights or data."""

    exit_code = 5


class Stopped(BaseException):
    """A signal ended the run, after the current round was finished and saved.

    Not an `Exception`, like KeyboardInterrupt: code that continues after errors must not continue after this.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


USER_CODE_NOTE = "raised by "
"""Prefix of an exception note that names the user's code that raised the exception."""


class UserCode:
    """Context manager that adds a note to exceptions in its block: they were raised by the user's code `name`.

    >>> with UserCode("my_lab:features"):
    ...     {}["width"]
    Traceback (most recent call last):
    KeyError: 'width'
    raised by my_lab:features
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            error.add_note(f"{USER_CODE_NOTE}{self.name}")


BIDI_CONTROLS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Bidirectional control characters, which can make a name look like another one."""


def printable(text: str) -> str:
    r"""Escape control and bidirectional characters, so that a text cannot manipulate a terminal.

    Line breaks stay; for names, `named` escapes them, too.

    >>> printable("runs/a\x1b[2Jb")
    'runs/a\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(_escape(character) if _is_control(character) else character for character in text)


def named(name: object) -> str:
    r"""Make a name of a file, a class or a run printable in one line.

    >>> named("two\nlines")
    'two\\nlines'
    """
    return printable(str(name)).replace("\n", "\\n").replace("\t", "\\t")


def typed(path: object) -> str:
    """Format a path as an argument of a shell command, for commands that a message suggests.

    >>> typed("runs/a & b")
    "'runs/a & b'"
    """
    return named(shlex.quote(str(path)))


def _is_control(character: str) -> bool:
    """Whether a character may control a terminal, or is a surrogate (an undecodable byte)."""
    controls = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return character not in "\n\t" and (controls or unicodedata.bidirectional(character) in BIDI_CONTROLS)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def unknown(kind: str, name: str, known: Iterable[str], where: str | None = None) -> str:
    """Compose the message for an unknown name: the closest known one, and all names or the command that lists them.

    >>> unknown("loss", "hindge", ["hinge", "wasserstein"])
    "there is no loss 'hindge'. Did you mean 'hinge'? Known: hinge, wasserstein"
    """
    known = sorted(known)
    close = get_close_matches(name, known, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    suffix = f"{where} says what there is" if where else f"Known: {', '.join(known) or 'none'}"
    return f"there is no {kind} '{name}'.{hint} {suffix}"
