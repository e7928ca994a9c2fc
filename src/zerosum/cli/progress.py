"""What a person sees while training: a bar on a terminal, nothing elsewhere; TensorBoard's files if it is installed."""

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


def with_bar(moments: Iterable[RoundRecord], total: int, quiet: bool) -> Iterator[RoundRecord]:
    """The same moments, with a bar on standard error: time left, rounds per second, both costs."""
    if quiet or not sys.stderr.isatty():
        yield from moments
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("round"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[told]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total, told="")
        for moment in moments:
            progress.update(task, completed=moment.round)
            if moment.report:
                progress.update(task, told=_told(moment.report, progress.tasks[0].speed))
            yield moment


def _told(report: dict[str, Any], speed: float | None) -> str:
    costs = f"D pays {report['discriminator_cost']:.3f}, G pays {report['generator_cost']:.3f}"
    return f"{speed:.0f} rounds/s, {costs}" if speed else costs


def with_events(moments: Iterable[RoundRecord], folder: Path, say: Say = silent) -> Iterator[RoundRecord]:
    """The same moments, with every logged number in TensorBoard's event files, if that extra is installed."""
    if find_spec("tensorboard") is None:
        yield from moments
        return
    events, before = Events(folder, say), threading.excepthook
    threading.excepthook = lambda came: None if _writes_events(came.thread) else before(came)
    try:
        for moment in moments:
            if moment.report:
                events.note(moment.round, moment.report)
            yield moment
    finally:
        events.close()
        threading.excepthook = before


def _writes_events(thread: threading.Thread | None) -> bool:
    """Whether it is TensorBoard's: what stops it is raised again at the next number, and said there."""
    return type(thread).__module__.startswith("tensorboard.")


class Events:
    """TensorBoard's event files; where they cannot be written, that is said once and the training goes on."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder, self.say = folder, say
        self.writer: Any = None
        self.ended = False

    def note(self, at_round: int, report: dict[str, Any]) -> None:
        """Write the numbers of a round."""
        if self.ended:
            return
        from torch.utils.tensorboard import SummaryWriter

        try:
            self.writer = self.writer or SummaryWriter(str(self.folder), purge_step=at_round)
            for name, value in report.items():
                if isinstance(value, float):
                    self.writer.add_scalar(name, value, at_round)
        except OSError as error:
            self.say(f"TensorBoard's files in {named(self.folder)} are not written any more: {files.reason(error)}")
            self.close()

    def close(self) -> None:
        """Write what is left, if that can be done."""
        self.ended = True
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()
