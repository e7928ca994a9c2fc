"""The report: a run folder as one HTML file that needs nothing else.

    verdicts   what the diagnosis says              measured   metrics between noise and held-out data
    curves     readings, with the theory's marks    images     samples over time, walks, nearest neighbours
    marks      a game at rest                       facts      what the run was
    charts     curves as shapes                     page.*     how it all looks

Nothing is loaded from anywhere: pictures are data, charts are SVG, and the page forbids itself any request. Without
JavaScript, and in print, the slider is a strip of pictures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from zerosum import build, checkpoint, run
from zerosum.app.report import charts, curves, images
from zerosum.app.report.facts import facts, repeat
from zerosum.app.report.measured import measures
from zerosum.app.report.verdicts import verdicts
from zerosum.data import Data
from zerosum.errors import CheckpointError, DataError, RunError, UsageError
from zerosum.run import RunFolder
from zerosum.sampling import Sampler
from zerosum.schema import Config

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
        missing: Why it is not.
    """

    folder: RunFolder
    config: Config
    sampler: Sampler
    data: Data | None
    missing: str = ""


def write(folder: RunFolder) -> Path:
    """Write a run's report.html.

    Args:
        folder: The run.

    Returns:
        The file.

    Raises:
        RunError: There is no run, or its folder cannot be written to.
        CheckpointError: There is no whole checkpoint to make samples from.
    """
    page = render(open_run(folder))
    try:
        run.write(folder.report, page.encode())
    except OSError as error:
        raise RunError(f"cannot write {folder.report}: {error.strerror or error}. Make the folder writable") from None
    return folder.report


def open_run(folder: RunFolder) -> Material:
    """Everything that the sections of the page look at."""
    config = folder.read_config()
    saved = checkpoint.load(folder.checkpoints)
    if saved is None:
        raise CheckpointError(
            f"{folder.path} has no whole checkpoint, so there is no generator to report on. "
            f"Play the run first: zerosum train {folder.config} --out {folder.path}"
        )
    sampler = Sampler.of(config, saved)
    try:
        data = build.open_data(config)
        checkpoint.refuse_other_data(saved, data.name, data.fingerprint())
    except (DataError, UsageError) as error:
        return Material(folder, config, sampler, None, str(error))
    return Material(folder, config, sampler, data)


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
    readings = run.read(folder)
    told = facts(folder, config, readings, run_.data)
    drawn = curves.charts(readings, config)
    return {
        "name": config.name,
        "facts": told,
        "diagnosis": verdicts(folder),
        "path": str(folder.path),
        "step": max((line["step"] for line in readings), default=0),
        "frames": images.frames(folder),
        "real": images.real(folder),
        "charts": drawn,
        "smoothed": any(line.trend for chart in drawn for line in chart.lines),
        "marks": curves.note(config),
        "size": charts,
        "walks": images.walks(sampler, run_.data),
        "sampler": sampler,
        "classes": images.classes(sampler),
        "settings": folder.config.read_text(encoding="utf-8"),
        "repeat": repeat(folder),
        **compared(run_),
    }


def compared(run_: Material) -> Page:
    """What only the data can tell: metrics and neighbours, or why there are none."""
    page: Page = {"measures": [], "measured_how": "", "likeness": None, "missing": run_.missing}
    if run_.data is None:
        return page
    page["likeness"] = images.likeness(run_.sampler, run_.data)
    try:
        page["measures"], page["measured_how"] = measures(run_.folder, run_.sampler, run_.data)
    except (DataError, UsageError) as error:
        page["missing"] = str(error)
    return page
