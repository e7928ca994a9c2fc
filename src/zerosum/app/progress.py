"""What a person sees while training: a bar on a terminal, nothing elsewhere; TensorBoard's files if it is installed."""

import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zerosum.training import Moment


def with_bar(moments: Iterable[Moment], total: int, quiet: bool) -> Iterator[Moment]:
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
            progress.update(task, completed=moment.step)
            if moment.report:
                progress.update(task, told=_told(moment.report, progress.tasks[0].speed))
            yield moment


def _told(report: dict[str, Any], speed: float | None) -> str:
    costs = f"D pays {report['discriminator_cost']:.3f}, G pays {report['generator_cost']:.3f}"
    return f"{speed:.0f} rounds/s, {costs}" if speed else costs


def with_events(moments: Iterable[Moment], folder: Path) -> Iterator[Moment]:
    """The same moments, with every logged number in TensorBoard's event files, if that extra is installed."""
    if find_spec("tensorboard") is None:
        yield from moments
        return
    from torch.utils.tensorboard import SummaryWriter

    writer = None
    try:
        for moment in moments:
            if moment.report:
                writer = writer or SummaryWriter(str(folder), purge_step=moment.step)
                for name, value in moment.report.items():
                    if isinstance(value, float):
                        writer.add_scalar(name, value, moment.step)
            yield moment
    finally:
        if writer is not None:
            writer.close()
