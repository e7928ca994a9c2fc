"""How a command speaks and how it ends.

An answer goes to standard output, as one line of JSON or as text; what a user should know meanwhile goes to standard
error. Whatever goes wrong ends in a sentence and an exit code (see `errors`), with --json in a line of JSON, too.
Nothing that stands in a name or a file reaches a terminal as a command.
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
"""The environment variable that asks for the traceback of a fault of zerosum itself."""


class Interrupted(BaseException):
    """Ctrl-C came. Typer would turn a KeyboardInterrupt into an exit code without a word (see `cli.Commands`)."""


def open_streams() -> None:
    """Give this process what it was started without: standard input, output and error.

    Otherwise the next file that is opened would take the number of a closed stream, and what is said would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  until the end
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def answer(facts: Any, as_json: bool, show: Callable[[Any], str]) -> None:
    """One line of JSON, or a text for people, on standard output; of several processes, one speaks."""
    if not follows():
        put(json.dumps(facts, allow_nan=False, default=str) if as_json else show(facts))


def put(text: str) -> None:
    """A text on standard output.

    Whoever reads it may have gone (`| head -1`): that ends nothing. A disk that is full does.

    Raises:
        SystemFault: It cannot be written.
    """
    encoding = sys.stdout.encoding or "utf-8"  # of a console that may not know every letter
    try:
        sys.stdout.write(printable(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _forget(sys.stdout)
    except OSError as error:
        _forget(sys.stdout)
        raise SystemFault(f"the answer cannot be written to standard output: {files.reason(error)}") from None


def tell(sentence: str) -> None:
    """Something a user should know, on standard error; where nobody listens any more, the work goes on."""
    try:
        sys.stderr.write(printable(sentence).encode("utf-8", "backslashreplace").decode() + "\n")
        sys.stderr.flush()
    except UnicodeError:
        sys.stderr.write(ascii(sentence) + "\n")
    except OSError:
        _forget(sys.stderr)


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """The same, for sentences that were not said yet: a file that is read twice is damaged once."""
    said: set[str] = set()

    def new(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            say(sentence)

    return new


def _forget(stream: Any) -> None:
    """Let a stream lead nowhere, so that what is left in it troubles nobody when the process ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def run(command: Callable[[], Any], argv: list[str]) -> int:  # noqa: PLR0911  an ending for each kind of error
    """Run a command to its end, whatever comes.

    Args:
        command: What to do; it returns an exit code, or None for 0.
        argv: The words that were given.

    Returns:
        The exit code.
    """
    try:
        environment.size()
        code = _unless_unread(command)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, Interrupted):
        return _end("stopped", 128 + 2, "Stopped", argv)
    except Stopped as error:
        return _end(f"{error}\ngo on with: {again(argv)}", error.exit_code, "Stopped", argv, of_all=True)
    except WorkerLost as error:
        return _end(f"error: {error}", error.exit_code, "Lost", argv)
    except ZerosumError as error:
        message = "\n".join([f"error: {error}", *getattr(error, "__notes__", [])])
        return _end(message, error.exit_code, type(error).__name__, argv)
    except OSError as error:
        return _end(f"error: {of_system(error)}", SystemFault.exit_code, "SystemFault", argv)
    except Exception as error:  # the one broad net, at the very top: nobody is to read a traceback
        return _unforeseen(error, argv)


def _unless_unread(command: Callable[[], Any]) -> Any:
    """What a command returns; 0 where nobody reads its help any more (`--help | head -1`): click calls that 1.

    Raises:
        ConfigError: Code of the user's own ended the program.
    """
    try:
        return command()
    except SystemExit as ended:
        if not isinstance(ended.__context__, BrokenPipeError):
            raise ConfigError("code of your own ended the program (SystemExit)") from ended
        _forget(sys.stdout)
        return 0


def of_system(error: OSError) -> str:
    """What the system refused, in a sentence."""
    where = f"{named(error.filename)}: " if error.filename else ""
    few = ". `ulimit -n` says how many may be open, and raises it" if error.errno in (23, 24) else ""
    return f"{where}{files.reason(error)}{few}"


def _unforeseen(error: Exception, argv: list[str]) -> int:
    if hasattr(error, "format_message") and hasattr(error, "show"):  # click's: a word that is no option
        return _misused(error, argv)
    if type(error).__name__ == "Abort":
        return _end("stopped", 128 + 2, "Stopped", argv)
    if memory.is_out_of_memory(error):
        return _end(f"error: {memory.OUT_OF_MEMORY}", SystemFault.exit_code, "SystemFault", argv)
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {str(error)[:500]}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    yours = _in_own_code(error)
    if yours:
        return _end(f"error: code of your own failed: {what} ({yours})", ConfigError.exit_code, "ConfigError", argv)
    where = f"{Path(frame.filename).name}, line {frame.lineno}"
    says = f"error: {what} ({where}). This is a fault of zerosum, not yours; {TRACEBACK}=1 shows where it comes from"
    return _end(says, ZerosumError.exit_code, "Fault", argv)


def _in_own_code(error: Exception) -> str:
    """Where in the user's own code it happened; empty where none of that was running."""
    marked = [note for note in getattr(error, "__notes__", ()) if note.startswith(USER_CODE_NOTE)]
    ours = (str(Path(__file__).parents[1]), sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), "<")  # noqa: PTH120
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    frames = [frame for frame in frames if not {"site-packages", "dist-packages"} & {*Path(frame.filename).parts}]
    if frames and Path(frames[-1].filename).name != "zerosum":
        return f"{named(frames[-1].filename)}, line {frames[-1].lineno}"
    return named(marked[0].removeprefix(USER_CODE_NOTE)) if marked else ""


def _misused(error: Any, argv: list[str]) -> int:
    """A command line that means nothing."""
    with suppress(OSError):
        error.show()
    if "--json" in argv:
        _as_json(error.format_message(), error.exit_code, UsageError.__name__)
    return int(error.exit_code)


def _end(message: str, code: int, kind: str, argv: list[str], of_all: bool = False) -> int:
    """Say how it ended; of several processes, each for itself, unless all have the same to say."""
    if not (of_all and follows()):
        tell(of_process() + message if not of_all else message)
    if "--json" in argv and not follows():
        _as_json(message.removeprefix("error: "), code, kind)
    return code


def _as_json(message: str, code: int, kind: str) -> None:
    with suppress(SystemFault):
        put(json.dumps({"error": message, "kind": kind, "exit_code": code}))


def among_others() -> bool:
    """Whether torchrun has started several processes; `parallel` knows it too, and imports torch."""
    with suppress(ConfigError):
        return environment.size() > 1
    return False


def of_process() -> str:
    """Which of several processes speaks."""
    return f"process {os.environ['RANK']}: " if among_others() else ""


def follows() -> bool:
    """Whether this is one of several processes, and not the one that writes and speaks."""
    return among_others() and os.environ["RANK"] != "0"


def again(argv: list[str]) -> str:
    """The command that goes on: the same, less --fresh."""
    words = [Path(argv[0]).name.replace("__main__.py", "zerosum"), *(word for word in argv[1:] if word != "--fresh")]
    launched = among_others() and "--processes" not in words
    return f"torchrun ... -m {shlex.join(words)}" if launched else shlex.join(words)
