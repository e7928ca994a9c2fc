"""Output, errors and exit codes of a command.

A command prints its result on standard output, as one line of JSON or as text, and messages on standard error. Every
error ends in a sentence and an exit code (see `errors`); with --json also in a line of JSON. All text passes through
`printable`, so that control characters in a name or a file never reach the terminal.
"""

import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from zerosum import environment, files, memory
from zerosum.errors import (
    USER_CODE_NOTE,
    ConfigError,
    Stopped,
    SystemFault,
    UsageError,
    WorkerLost,
    ZerosumError,
    named,
    printable,
)

TRACEBACK = "ZEROSUM_TRACEBACK"
"""Environment variable: if set, a bug in zerosum itself prints its traceback."""


class Interrupted(BaseException):
    """Ctrl-C. Typer would turn a KeyboardInterrupt into an exit code without a message (see `main.CommandGroup`)."""


def open_standard_streams() -> None:
    """Open standard input, output or error on os.devnull if the process was started without it.

    Otherwise the next opened file would get the descriptor of a closed stream, and messages would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  until the end
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def print_result(facts: Any, as_json: bool, show: Callable[[Any], str]) -> None:
    """Print the result as one line of JSON, or as the text that `show` makes of it; only rank 0 prints."""
    if not is_secondary():
        print_line(json.dumps(facts, allow_nan=False, default=str) if as_json else show(facts))


def print_line(text: str) -> None:
    """Print a text on standard output; a closed pipe (`| head -1`) is no error.

    Raises:
        SystemFault: Writing failed for another reason, e.g. a full disk.
    """
    encoding = sys.stdout.encoding or "utf-8"  # a console may not be able to encode every character
    try:
        sys.stdout.write(printable(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output(sys.stdout)
    except OSError as error:
        _discard_output(sys.stdout)
        raise SystemFault(f"the answer cannot be written to standard output: {files.reason(error)}") from None


def notify(sentence: str) -> None:
    """Print a message on standard error; if standard error is closed, later messages are discarded."""
    try:
        sys.stderr.write(printable(sentence).encode("utf-8", "backslashreplace").decode() + "\n")
        sys.stderr.flush()
    except UnicodeError:
        sys.stderr.write(ascii(sentence) + "\n")
    except OSError:
        _discard_output(sys.stderr)


def without_repeats(say: Callable[[str], None]) -> Callable[[str], None]:
    """Wrap `say` so that it drops repeated messages, e.g. about a damaged file that is read twice."""
    seen: set[str] = set()

    def forward(sentence: str) -> None:
        if sentence not in seen:
            seen.add(sentence)
            say(sentence)

    return forward


def _discard_output(stream: Any) -> None:
    """Redirect a stream to os.devnull, so that flushing its buffer at exit cannot fail."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def run_command(command: Callable[[], Any], argv: list[str]) -> int:  # noqa: PLR0911  one return for each kind of error
    """Run a command; turn every exception into a message and an exit code.

    Args:
        command: Returns an exit code, or None for 0.
        argv: The command line.

    Returns:
        The exit code.
    """
    try:
        environment.size()
        code = _run_tolerating_closed_pipe(command)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, Interrupted):
        return _end("stopped", 128 + 2, "Stopped", argv)
    except Stopped as error:
        return _end(f"{error}\ngo on with: {resume_command(argv)}", error.exit_code, "Stopped", argv, shared=True)
    except WorkerLost as error:
        return _end(f"error: {error}", error.exit_code, "Lost", argv)
    except ZerosumError as error:
        message = "\n".join([f"error: {error}", *getattr(error, "__notes__", [])])
        return _end(message, error.exit_code, type(error).__name__, argv)
    except OSError as error:
        return _end(f"error: {describe_os_error(error)}", SystemFault.exit_code, "SystemFault", argv)
    except Exception as error:  # the one broad except, at the top level: no user sees a traceback
        return _handle_unexpected(error, argv)


def _run_tolerating_closed_pipe(command: Callable[[], Any]) -> Any:
    """Return the command's result, or 0 if a pipe was closed while click printed help (click itself exits with 1).

    Raises:
        ConfigError: The user's own code raised SystemExit.
    """
    try:
        return command()
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise ConfigError("code of your own ended the program (SystemExit)") from ended
        _discard_output(sys.stdout)
        return 0


def describe_os_error(error: OSError) -> str:
    """Describe an OSError in one sentence."""
    where = f"{named(error.filename)}: " if error.filename else ""
    hint = ". `ulimit -n` says how many may be open, and raises it" if error.errno in (23, 24) else ""
    return f"{where}{files.reason(error)}{hint}"


def _handle_unexpected(error: Exception, argv: list[str]) -> int:
    if hasattr(error, "format_message") and hasattr(error, "show"):  # click's error: a wrong option or argument
        return _handle_usage_error(error, argv)
    if type(error).__name__ == "Abort":
        return _end("stopped", 128 + 2, "Stopped", argv)
    if memory.is_out_of_memory(error):
        return _end(f"error: {memory.OUT_OF_MEMORY}", SystemFault.exit_code, "SystemFault", argv)
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    text = f"{type(error).__name__}: {str(error)[:500]}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = _user_code_location(error)
    if place:
        return _end(f"error: code of your own failed: {text} ({place})", ConfigError.exit_code, "ConfigError", argv)
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    full = f"error: {text} ({where}). This is a fault of zerosum, not yours; {TRACEBACK}=1 shows where it comes from"
    return _end(full, ZerosumError.exit_code, "Fault", argv)


def _user_code_location(error: Exception) -> str:
    """Return file and line of the innermost frame in the user's own code; empty if there is none."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(USER_CODE_NOTE)]
    library = (str(Path(__file__).parents[1]), sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), "<")  # noqa: PTH120
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(library)]
    frames = [frame for frame in frames if not {"site-packages", "dist-packages"} & {*Path(frame.filename).parts}]
    if frames and Path(frames[-1].filename).name != "zerosum":
        return f"{named(frames[-1].filename)}, line {frames[-1].lineno}"
    return named(notes[0].removeprefix(USER_CODE_NOTE)) if notes else ""


def _handle_usage_error(error: Any, argv: list[str]) -> int:
    """Print click's message about a wrong command line; return the exit code."""
    with suppress(OSError):
        error.show()
    if "--json" in argv:
        _print_json_error(error.format_message(), error.exit_code, UsageError.__name__)
    return int(error.exit_code)


def _end(message: str, code: int, kind: str, argv: list[str], shared: bool = False) -> int:
    """Print the last message and return the exit code; a message `shared` by all processes is printed by rank 0."""
    if not (shared and is_secondary()):
        notify(process_prefix() + message if not shared else message)
    if "--json" in argv and not is_secondary():
        _print_json_error(message.removeprefix("error: "), code, kind)
    return code


def _print_json_error(message: str, code: int, kind: str) -> None:
    with suppress(SystemFault):
        print_line(json.dumps({"error": message, "kind": kind, "exit_code": code}))


def is_distributed() -> bool:
    """Whether torchrun started several processes; unlike `engine.under_torchrun`, this does not import torch."""
    with suppress(ConfigError):
        return environment.size() > 1
    return False


def process_prefix() -> str:
    """Return "process RANK: " if there are several processes, else an empty string."""
    return f"process {os.environ['RANK']}: " if is_distributed() else ""


def is_secondary() -> bool:
    """Whether this is one of several processes and not rank 0, which alone writes and prints."""
    return is_distributed() and os.environ["RANK"] != "0"


def resume_command(argv: list[str]) -> str:
    """Return the command that resumes: the same one without --fresh."""
    words = [Path(argv[0]).name.replace("__main__.py", "zerosum"), *(word for word in argv[1:] if word != "--fresh")]
    launched = is_distributed() and "--processes" not in words
    return f"torchrun ... -m {shlex.join(words)}" if launched else shlex.join(words)
