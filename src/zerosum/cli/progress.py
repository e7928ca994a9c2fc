"""Progress of a training: a bar if standard error is a terminal; TensorBoard event files if it is installed."""

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zerosum import files
from zerosum.errors import named
from zerosum.run.folder import Say, silent
from zerosum.training.loop import RoundRecord


def with_progress(records: Iterable[RoundRecord], total: int, quiet: bool) -> Iterator[RoundRecord]:
    """Yield the records, and show a bar on standard error: time left, rounds per second, both costs."""
    if quiet or not sys.stderr.isatty():
        yield from records
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("round"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[status]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, status="")
        for record in records:
            progress.update(task, completed=record.round)
            if record.log_line:
                progress.update(task, status=_status(record.log_line, progress.tasks[0].speed))
            yield record


def _status(log_line: dict[str, Any], speed: float | None) -> str:
    costs = f"D pays {log_line['discriminator_cost']:.3f}, G pays {log_line['generator_cost']:.3f}"
    return f"{speed:.0f} rounds/s, {costs}" if speed else costs


def with_tensorboard(records: Iterable[RoundRecord], folder: Path, say: Say = silent) -> Iterator[RoundRecord]:
    """Yield the records, and write every logged number to TensorBoard event files if that extra is installed."""
    if find_spec("tensorboard") is None:
        yield from records
        return
    events, previous_hook = TensorBoardWriter(folder, say), threading.excepthook
    threading.excepthook = lambda failure: None if _is_tensorboard_thread(failure.thread) else previous_hook(failure)
    try:
        for record in records:
            if record.log_line:
                events.write(record.round, record.log_line)
            yield record
    finally:
        events.close()
        threading.excepthook = previous_hook


def _is_tensorboard_thread(thread: threading.Thread | None) -> bool:
    """Whether it is a thread of TensorBoard, whose errors are raised again, and handled, at the next `write`."""
    return type(thread).__module__.startswith("tensorboard.")


class TensorBoardWriter:
    """Writes TensorBoard event files; if writing fails, it says so once, stops writing, and training continues."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.say = folder, say
        self.writer: Any = None
        self.closed = False

    def write(self, at_round: int, log_line: dict[str, Any]) -> None:
        """Write the numbers of one log line."""
        if self.closed:
            return
        from torch.utils.tensorboard import SummaryWriter

        try:
            self.writer = self.writer or SummaryWriter(str(self.folder), purge_step=at_round)
            for name, value in log_line.items():
                if isinstance(value, float):
                    self.writer.add_scalar(name, value, at_round)
        except OSError as error:
            self.say(f"TensorBoard's files in {named(self.folder)} are not written any more: {files.reason(error)}")
            self.close()

    def close(self) -> None:
        """Flush and close the files; errors are ignored."""
        self.closed = True
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()
