"""readings.jsonl and metrics.jsonl: lines of JSON, of which any may be damaged.

A process that was killed may leave a last line that is cut short: it is dropped. Any other line that is no reading was
changed by somebody or something else: it is named, passed over, and kept where the file is written anew.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from sys import maxsize
from typing import Any, NamedTuple

from zerosum import files
from zerosum.files import GIB, MIB
from zerosum.run.folder import RunFolder, Say, silent

Reading = dict[str, Any]

MOST_READINGS, MOST_METRICS = GIB, 64 * MIB
MOST_LINES, LONGEST = 2**21, MIB
"""Lines of a file, and bytes of one: a short line takes a hundred times as much memory as it has bytes."""

NAMED = 3
"""Damaged lines that are named; the others are counted."""

TEXTS = ("order", "reduction", "score")
"""What of a reading is a word; everything else is a number."""

LARGEST = 2**63 - 1


class Line(NamedTuple):
    """A line of a file, as it stands there and as it is understood."""

    raw: bytes
    value: dict[str, Any] | None
    fault: str = ""
    """Why it is not understood."""


def append(folder: RunFolder, reading: Reading) -> None:
    """Add one reading.

    Raises:
        SystemFault: The disk refused.
    """
    line = json.dumps(reading).encode() + b"\n"
    with folder.writing(folder.readings, len(line)):
        files.append(folder.readings, line)


def flush(folder: RunFolder) -> None:
    """See the readings onto the disk: no checkpoint is to be there without those before it.

    Raises:
        SystemFault: The disk refused.
    """
    with folder.writing(folder.readings), suppress(FileNotFoundError):
        files.flush(folder.readings)


def read(folder: RunFolder, say: Say = silent) -> list[Reading]:
    """Every reading, oldest first; a last line that a crash cut short is left out.

    Args:
        folder: The run.
        say: Told of lines that are damaged otherwise, and passed over.
    """
    lines = _lines(folder, folder.readings, MOST_READINGS, reading_fault, say)
    return [line.value for line in lines if line.value is not None]


def cut(folder: RunFolder, at_round: int) -> None:
    """Drop the readings past a round: the run goes on from there and will write them again.

    Raises:
        SystemFault: The disk refused, or the file cannot be read: nothing is dropped then.
    """
    with folder.writing(folder.readings):
        lines = _split(_content(folder, folder.readings, MOST_READINGS, maxsize), reading_fault)
        kept = b"".join(line.raw + b"\n" for line in lines if line.value is None or line.value["round"] <= at_round)
    folder.write(folder.readings, kept)


def read_metrics(folder: RunFolder, say: Say = silent) -> list[dict[str, Any]]:
    """Every evaluation, oldest first: {"round": ..., "metrics": [...]}; damaged lines are named and passed over."""
    lines = _lines(folder, folder.metrics, MOST_METRICS, metrics_fault, say)
    return [line.value for line in lines if line.value is not None]


def record_metrics(folder: RunFolder, evaluation: dict[str, Any]) -> None:
    """Add an evaluation.

    Raises:
        SystemFault: The disk refused; the numbers before it are untouched.
    """
    with folder.writing(folder.metrics):
        lines = [*_split(_content(folder, folder.metrics, MOST_METRICS, MOST_LINES), metrics_fault)]
    new = json.dumps(evaluation).encode()
    folder.write(folder.metrics, b"".join(raw + b"\n" for raw in [*(line.raw for line in lines), new]))


def _lines(folder: RunFolder, path: Path, most: int, fault: Callable[[Any], str], say: Say) -> list[Line]:
    try:
        lines = [*_split(_content(folder, path, most, MOST_LINES), fault)]
    except OSError as error:
        say(f"{path.name} cannot be read ({files.reason(error)}); it is passed over")
        return []
    odd = [f"line {number} ({line.fault})" for number, line in enumerate(lines, 1) if line.value is None]
    if odd:
        more = f" and {len(odd) - NAMED} more" if len(odd) > NAMED else ""
        say(f"{path.name} is damaged: {', '.join(odd[:NAMED])}{more}; what is damaged is passed over and kept")
    return lines


def _content(folder: RunFolder, path: Path, most: int, most_lines: int) -> bytes:
    try:
        content = folder.read(path, most)
    except FileNotFoundError:
        return b""
    lines = content.count(b"\n")
    if lines > most_lines:
        raise files.Refused(path, f"it has {lines:,} lines, at most {most_lines:,} are read")
    return content


def _split(content: bytes, fault: Callable[[Any], str]) -> Iterator[Line]:
    """The lines of a file, less empty ones and a last one that was cut short; one at a time, for memory's sake."""
    begin = 0
    while (end := content.find(b"\n", begin)) >= 0:
        raw, begin = content[begin:end], end + 1
        if raw.strip():
            yield _understood(raw, fault)
    last = _understood(content[begin:], fault)
    if last.value is not None:
        yield last


def _understood(raw: bytes, fault: Callable[[Any], str]) -> Line:
    if len(raw) > LONGEST:
        return Line(raw, None, "too long")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return Line(raw, None, "no JSON")
    wrong = fault(value)
    return Line(raw, None, wrong) if wrong else Line(raw, value)


def reading_fault(value: Any) -> str:
    """Why a value is no reading; empty where it is one.

    >>> reading_fault({"round": 5, "discriminator_cost": 1.2}), reading_fault({"round": True})
    ('', 'no round')
    """
    if not isinstance(value, dict):
        return "no reading"
    if not is_count(value.get("round")):
        return "no round"
    odd = [key for key, one in value.items() if key not in (*TEXTS, "signs") and not is_number(one)]
    odd += [key for key in TEXTS if key in value and not isinstance(value[key], str)]
    if "signs" in value and not _are_signs(value["signs"]):
        odd.append("signs")
    return f"{ascii(odd[0])[:40]} is not what it should be" if odd else ""


def metrics_fault(value: Any) -> str:
    """Why a value is no evaluation; empty where it is one."""
    if not isinstance(value, dict) or not is_count(value.get("round")) or not isinstance(value.get("metrics"), list):
        return "no evaluation"
    return "" if all(map(_is_row, value["metrics"])) else "a metric is not what it should be"


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not is_count(row.get("n", 0)):
        return False
    numbers = (row.get(key) for key in ("value", "error", "real", "noise"))
    texts = (row.get(key, "") for key in ("features", "better", "note"))
    return all(is_number(one) or isinstance(one, str) for one in numbers) and all(isinstance(one, str) for one in texts)


def _are_signs(signs: Any) -> bool:
    return isinstance(signs, Mapping) and all(
        is_number(one) or isinstance(one, bool) or (isinstance(one, list) and all(map(is_number, one)))
        for one in signs.values()
    )


def is_number(value: Any) -> bool:
    """Whether a value is a number that a double holds, or null: not known."""
    if value is None or isinstance(value, float):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_count(value: Any) -> bool:
    """Whether a value is a whole number, 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST
