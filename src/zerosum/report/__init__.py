"""The report: a run folder as one HTML file that needs nothing else.

    verdicts   what the diagnosis says              measured   metrics between noise and held-out data
    curves     readings, with the theory's marks    images     samples over time, walks, nearest neighbours
    marks      a game at rest                       facts      what the run was
    charts     curves as shapes                     page.*     how it all looks

Nothing is loaded from anywhere: pictures are data, charts are SVG, and the page forbids itself any request. Without
JavaScript, and in print, the slider is a strip of pictures.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from zerosum import build, checkpoint, files, run
from zerosum import config as settings
from zerosum.config.settings import Config
from zerosum.data import Data
from zerosum.errors import DataError, SystemFault, Untrusted, UsageError, named
from zerosum.report import charts, curves, images
from zerosum.report.facts import facts, repeat
from zerosum.report.measured import measures
from zerosum.report.verdicts import verdicts
from zerosum.run import RunFolder, trust
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler, newest_checkpoint

Page = dict[str, Any]
"""What page.html.j2 is told."""


@dataclass(frozen=True)
class Material:
    """A run, opened.

    Args:
        folder: Where it lies.
        config: Its settings.
        sampler: Its averaged generator.
        data: The data set it was trained on, where that is at hand.
        say: Told of what is damaged and passed over.
        damaged: What was, so far.
        missing: Why the data is not at hand.
    """

    folder: RunFolder
    config: Config
    sampler: Sampler
    data: Data | None
    say: Say = silent
    damaged: list[str] = field(default_factory=list)
    missing: str = ""


def write(folder: RunFolder, out: Path | None = None, trusted: bool = False, say: Say = silent) -> Path:
    """Write a run's report.html.

    Args:
        folder: The run.
        out: Another file to write instead.
        trusted: Whether code and data that the settings name are used though the run was not made here.
        say: Told of whatever is damaged and was passed over; it stands on the page, too.

    Returns:
        The file.

    Raises:
        RunError: There is no run.
        UsageError: There is a folder in the file's place.
        SystemFault: The file cannot be written.
        CheckpointError: There is no whole checkpoint to make samples from.
        Untrusted: The run was not made here, and its settings name code.
    """
    if out is not None and os.path.isdir(out):  # noqa: PTH112  False, too, where the name is too long
        raise UsageError(f"{named(out)} is a folder. Give a file for the page")
    with trust.permitted(folder, folder.read_config(), trusted):
        page = render(open_run(folder, say)).encode(errors="backslashreplace")
    if out is None:
        folder.write(folder.report, page)
        return folder.report
    try:
        files.write(out, page)
    except OSError as error:
        raise SystemFault(f"cannot write {named(out)}: {files.reason(error, len(page), out)}") from None
    return out


def open_run(folder: RunFolder, say: Say = silent) -> Material:
    """Everything that the sections of the page look at; of the data, what the command may open."""
    config = folder.read_config()
    damaged: list[str] = []

    def note(sentence: str) -> None:
        damaged.append(sentence)
        say(sentence)

    saved = newest_checkpoint(folder, config, note)
    sampler = Sampler.from_checkpoint(config, saved)
    try:
        data = build.open_data(config)
        checkpoint.refuse_other_data(saved, data.name, data.fingerprint())
    except (DataError, UsageError, Untrusted) as error:
        return Material(folder, config, sampler, None, note, damaged, str(error))
    return Material(folder, config, sampler, data, note, damaged)


def render(run_: Material) -> str:
    """The page as text; whatever came from a user is escaped."""
    room = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters["prose"] = prose
    return room.get_template("page.html.j2").render(contents(run_))


def prose(text: object) -> Markup:
    """A sentence in which `what stands so` is code.

    >>> prose("use `--set a=<b>`")
    Markup('use <code>--set a=&lt;b&gt;</code>')
    """
    parts = str(text).split("`")
    whole = len(parts) % 2 == 1  # a backtick without its fellow is a letter like any other
    marked = [Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)]
    return Markup().join(marked) if whole else escape(str(text))


def contents(run_: Material) -> Page:
    """What the page is told."""
    folder, config, sampler = run_.folder, run_.config, run_.sampler
    readings = run.read(folder, run_.say)
    told = facts(folder, config, readings, run_.data, run_.say)
    drawn = curves.charts(readings, config)
    page = {
        "name": config.name,
        "facts": told,
        "diagnosis": verdicts(folder, run_.say),
        "path": str(folder.path),
        "round": max((line["round"] for line in readings), default=0),
        "sampled": sampler.round,
        "frames": images.frames(folder, say=run_.say),
        "real": images.real(folder, run_.say),
        "charts": drawn,
        "smoothed": any(line.trend for chart in drawn for line in chart.lines),
        "marks": curves.note(config),
        "size": charts,
        "walks": images.walks(sampler, run_.data),
        "sampler": sampler,
        "classes": images.classes(sampler),
        "settings": config_text(folder),
        "repeat": repeat(folder),
        **compared(run_),
    }
    return {**page, "damaged": run_.damaged}


def config_text(folder: RunFolder) -> str:
    """The settings as they stand in their file."""
    return folder.read(folder.config, settings.MAX_BYTES).decode("utf-8-sig")


def compared(run_: Material) -> Page:
    """What only the data can tell: metrics and neighbours, or why there are none."""
    page: Page = {"measures": [], "measured_how": "", "likeness": None, "missing": run_.missing}
    if run_.data is None:
        return page
    page["likeness"] = images.likeness(run_.sampler, run_.data)
    try:
        page["measures"], page["measured_how"] = measures(run_.folder, run_.sampler, run_.data, run_.say)
    except (DataError, UsageError) as error:
        page["missing"] = str(error)
    return page
