"""Every error a user can meet, and the exit code with which it ends a command.

ZerosumError
├── UsageError            2    what was asked for cannot be done
│   ├── ConfigError            a setting, a recipe or a name
│   └── RunError               a run folder: busy, changed or missing
├── DataError             3    the data cannot be trained on
├── CheckpointError       3    no checkpoint could be written or read
├── Diverged              4    a cost or a gradient is no longer a finite number
├── Lost                  5    one of several processes died, hangs or holds other numbers
└── Stopped         128 + n    signal n asked for the end; everything is saved

A message says what was given, what was expected and what to do next.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class ZerosumError(Exception):
    """Anything that is said to the user in a sentence, without a traceback."""

    exit_code = 1


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


class Diverged(ZerosumError):
    """A cost or a gradient is no longer a finite number.

    Args:
        step: The round in which it happened, counted from 1.
        player: "discriminator" or "generator".
        term: Which of the player's numbers: "cost", the name of a penalty, or "gradient norm".
        value: What it had become.
    """

    exit_code = 4

    def __init__(self, step: int, player: str, term: str, value: float) -> None:
        super().__init__(f"round {step}: the {player}'s {term} is {value}")
        self.step, self.player, self.term, self.value = step, player, term, value


class Lost(ZerosumError):
    """One of several processes died, hangs, or holds other numbers than the rest."""

    exit_code = 5


class Stopped(ZerosumError):
    """A signal asked for the end; the round was finished and saved."""

    def __init__(self, signal: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal


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
