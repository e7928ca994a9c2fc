"""Every error a user can meet, and the exit code with which it ends a command.

ZerosumError
├── UsageError            2    what was asked for cannot be done
│   ├── ConfigError            a setting, a recipe or a name
│   └── RunError               a run folder: busy, changed or missing
├── DataError             3    the data cannot be trained on
├── CheckpointError       3    no checkpoint could be written or read
├── Untrusted             3    a run that was not made here names code or data, which was not touched
├── SystemFault           3    the system refused: a full disk, a closed folder, no memory
├── Diverged              4    a cost, a gradient or a weight is no longer a finite number
└── Lost                  5    one of several processes died, hangs or holds other numbers

Stopped             128 + n    signal n asked for the end; everything is saved

`Stopped` stands outside of the tree, beside KeyboardInterrupt: a sweep that passes over failed runs ends with it.

A message says what was given, what was expected and what to do next.
"""

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches


class ZerosumError(Exception):
    """Anything that is said to the user in a sentence, without a traceback."""

    exit_code = 3


class UsageError(ZerosumError):
    """What was asked for cannot be done."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting, a recipe or a name is wrong."""


class RunError(UsageError):
    """A run folder is busy, holds another run, or holds none."""


class DataError(ZerosumError):
    """The data cannot be trained on."""

    exit_code = 3


class CheckpointError(ZerosumError):
    """No checkpoint could be written, or none could be read."""

    exit_code = 3


class Untrusted(ZerosumError):
    """A run that was not made here names code to import or data to open; nothing of it was touched."""


class SystemFault(ZerosumError):
    """The system refused: a full disk, a closed folder, no memory."""


class Diverged(ZerosumError):
    """A cost, a gradient or a weight is no longer a finite number.

    Args:
        at_round: The round in which it was seen, counted from 1.
        player: "discriminator" or "generator".
        term: Which of the player's numbers: "cost", the name of a penalty, "gradient norm", or a tensor's name.
        value: What it had become.
    """

    exit_code = 4

    def __init__(self, at_round: int, player: str, term: str, value: float) -> None:
        super().__init__(f"round {at_round}: the {player}'s {term} is {value}")
        self.round, self.player, self.term, self.value = at_round, player, term, value


class WorkerLost(ZerosumError):
    """One of several processes died, hangs, or holds other numbers than the rest."""

    exit_code = 5


class Stopped(BaseException):
    """A signal asked for the end; the round was finished and saved.

    No `Exception`, as KeyboardInterrupt is none: whoever goes on after errors must not go on after this.
    """

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


YOURS = "raised by "
"""How a note begins that names the code of the user's own in which an error was raised."""


class Yours:
    """Marks what is raised in its block as raised by code of the user's own, which has this name.

    >>> with Yours("my_lab:features"):
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
            error.add_note(f"{YOURS}{self.name}")


TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Marks that turn the direction of what follows, so that a name reads as another."""


def printable(text: str) -> str:
    r"""A text that can do nothing to a terminal: control characters and marks of direction become their escapes.

    Line breaks stay. For a name, which should have none, see `named`.

    >>> printable("runs/a\x1b[2Jb")
    'runs/a\\x1b[2Jb'
    """
    return "".join(_escaped(letter) if _commands(letter) else letter for letter in text)


def named(name: object) -> str:
    r"""A name of a file, a class or a run, in one line.

    >>> named("two\nlines")
    'two\\nlines'
    """
    return printable(str(name)).replace("\n", "\\n").replace("\t", "\\t")


def _commands(letter: str) -> bool:
    """Whether a terminal may obey it instead of showing it; surrogates stand for bytes that are no text."""
    controls = unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
    return letter not in "\n\t" and (controls or unicodedata.bidirectional(letter) in TURNS)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def unknown(kind: str, name: str, known: Iterable[str], where: str | None = None) -> str:
    """Say that a name is not known, with the nearest one that is, and all of them or where they are listed.

    >>> unknown("loss", "hindge", ["hinge", "wasserstein"])
    "there is no loss 'hindge'. Did you mean 'hinge'? Known: hinge, wasserstein"
    """
    known = sorted(known)
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = f"{where} says what there is" if where else f"Known: {', '.join(known) or 'none'}"
    return f"there is no {kind} '{name}'.{hint} {listed}"
