"""readings.jsonl and metrics.jsonl: JSON lines, any of which may be damaged.

A process that was killed may leave an incomplete last line: it is dropped. Any other invalid line was damaged from
outside: it is reported, skipped, and kept when the file is rewritten.
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

MAX_READINGS_BYTES, MAX_METRICS_BYTES = GIB, 64 * MIB
MAX_LINES, MAX_LINE_BYTES = 2**21, MIB
"""Maximum lines per file, and bytes per line: a parsed short line takes a hundred times its size in memory."""

SHOWN = 3
"""Number of damaged lines that a message describes; it counts the rest."""

TEXT_KEYS = ("order", "reduction", "score")
"""Keys of a reading whose value is a string; all other values are numbers."""

MAX_INT = 2**63 - 1


class Line(NamedTuple):
    """A line of a file: its bytes and its parsed value."""

    raw: bytes
    value: dict[str, Any] | None
    fault: str = ""
    """Why `value` is None."""


def append(folder: RunFolder, reading: Reading) -> None:
    """Append one reading.

    Raises:
        SystemFault: Writing failed.
    """
    line = json.dumps(reading).encode() + b"\n"
    with folder.explain_write_errors(folder.readings, len(line)):
        files.append(folder.readings, line)


def flush(folder: RunFolder) -> None:
    """Flush the readings to disk (fsync), so that no checkpoint exists without the readings before it.

    Raises:
        SystemFault: Writing failed.
    """
    with folder.explain_write_errors(folder.readings), suppress(FileNotFoundError):
        files.flush(folder.readings)


def read(folder: RunFolder, say: Say = silent) -> list[Reading]:
    """Read all readings, oldest first, without an incomplete last line.

    Args:
        folder: The run.
        say: Receives a message on other damaged lines, which are skipped.
    """
    lines = _lines(folder, folder.readings, MAX_READINGS_BYTES, reading_fault, say)
    return [line.value for line in lines if line.value is not None]


def truncate(folder: RunFolder, at_round: int) -> None:
    """Drop the readings after a round, from which the run resumes and writes them again.

    Raises:
        SystemFault: The file cannot be read or written; it is unchanged.
    """
    with folder.explain_write_errors(folder.readings):
        lines = _split(_content(folder, folder.readings, MAX_READINGS_BYTES, maxsize), reading_fault)
        kept = b"".join(line.raw + b"\n" for line in lines if line.value is None or line.value["round"] <= at_round)
    folder.write(folder.readings, kept)


def read_metrics(folder: RunFolder, say: Say = silent) -> list[dict[str, Any]]:
    """Read all evaluations, oldest first: {"round": ..., "metrics": [...]}; damaged lines are reported and skipped."""
    lines = _lines(folder, folder.metrics, MAX_METRICS_BYTES, metrics_fault, say)
    return [line.value for line in lines if line.value is not None]


def record_metrics(folder: RunFolder, evaluation: dict[str, Any]) -> None:
    """Append an evaluation.

    Raises:
        SystemFault: Writing failed; the file is unchanged.
    """
    with folder.explain_write_errors(folder.metrics):
        lines = [*_split(_content(folder, folder.metrics, MAX_METRICS_BYTES, MAX_LINES), metrics_fault)]
    new = json.dumps(evaluation).encode()
    folder.write(folder.metrics, b"".join(raw + b"\n" for raw in [*(line.raw for line in lines), new]))


def _lines(folder: RunFolder, path: Path, max_bytes: int, fault: Callable[[Any], str], say: Say) -> list[Line]:
    try:
        lines = [*_split(_content(folder, path, max_bytes, MAX_LINES), fault)]
    except OSError as error:
        say(f"{path.name} cannot be read ({files.reason(error)}); it is passed over")
        return []
    damaged = [f"line {number} ({line.fault})" for number, line in enumerate(lines, 1) if line.value is None]
    if damaged:
        more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
        say(f"{path.name} is damaged: {', '.join(damaged[:SHOWN])}{more}; what is damaged is passed over and kept")
    return lines


def _content(folder: RunFolder, path: Path, max_bytes: int, max_lines: int) -> bytes:
    try:
        content = folder.read(path, max_bytes)
    except FileNotFoundError:
        return b""
    lines = content.count(b"\n")
    if lines > max_lines:
        raise files.Refused(path, f"it has {lines:,} lines, at most {max_lines:,} are read")
    return content


def _split(content: bytes, fault: Callable[[Any], str]) -> Iterator[Line]:
    """Yield the lines of a file, without empty ones and an incomplete last one; one at a time, to save memory."""
    start = 0
    while (end := content.find(b"\n", start)) >= 0:
        raw, start = content[start:end], end + 1
        if raw.strip():
            yield _parse(raw, fault)
    last = _parse(content[start:], fault)
    if last.value is not None:
        yield last


def _parse(raw: bytes, fault: Callable[[Any], str]) -> Line:
    if len(raw) > MAX_LINE_BYTES:
        return Line(raw, None, "too long")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return Line(raw, None, "no JSON")
    wrong = fault(value)
    return Line(raw, None, wrong) if wrong else Line(raw, value)


def reading_fault(value: Any) -> str:
    """Say why a value is no valid reading; "" if it is one.

    >>> reading_fault({"round": 5, "discriminator_cost": 1.2}), reading_fault({"round": True})
    ('', 'no round')
    """
    if not isinstance(value, dict):
        return "no reading"
    if not is_count(value.get("round")):
        return "no round"
    others = [key for key, one in value.items() if not isinstance(one, float) and key not in (*TEXT_KEYS, "signs")]
    damaged = [key for key in others if not is_number(value[key])]
    damaged += [key for key in TEXT_KEYS if key in value and not isinstance(value[key], str)]
    if "signs" in value and not _is_signs(value["signs"]):
        damaged.append("signs")
    return f"{ascii(damaged[0])[:40]} is not what it should be" if damaged else ""


def metrics_fault(value: Any) -> str:
    """Say why a value is no valid evaluation; "" if it is one."""
    if not isinstance(value, dict) or not is_count(value.get("round")) or not isinstance(value.get("metrics"), list):
        return "no evaluation"
    return "" if all(map(_is_row, value["metrics"])) else "a metric is not what it should be"


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str) or not is_count(row.get("n", 0)):
        return False
    numbers = (row.get(key) for key in ("value", "error", "real", "noise"))
    texts = (row.get(key, "") for key in ("features", "better", "note"))
    return all(is_number(one) or isinstance(one, str) for one in numbers) and all(isinstance(one, str) for one in texts)


def _is_signs(signs: Any) -> bool:
    return isinstance(signs, Mapping) and all(
        isinstance(one, float | bool) or is_number(one) or (isinstance(one, list) and all(map(is_number, one)))
        for one in signs.values()
    )


def is_number(value: Any) -> bool:
    """Whether a value is a number that fits into 64 bits, or None (unknown)."""
    if value is None or isinstance(value, float):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INT


def is_count(value: Any) -> bool:
    """Whether a value is an integer >= 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INT
