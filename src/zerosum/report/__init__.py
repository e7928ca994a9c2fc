"""The report: a run folder as one self-contained HTML file.

    verdicts   the diagnosis                        measured   metrics beside those of noise and held-out data
    curves     charts of the readings               images     samples over time, latent walks, nearest neighbors
    marks      equilibrium values of a game         facts      recipe, data, machine, versions
    charts     layout of a line chart               page.*     HTML template, style and script

The page loads nothing: pictures are data URIs, charts are SVG, and its content security policy forbids any request.
Without JavaScript, and in print, all pictures are shown in a row instead of a slider.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from zerosum import checkpoint, files, run
from zerosum import config as settings
from zerosum.config.settings import Config
from zerosum.data import Data
from zerosum.errors import DataError, SystemFault, Untrusted, UsageError, named
from zerosum.report import charts, curves, images
from zerosum.report.facts import facts, repeat
from zerosum.report.measured import measures
from zerosum.report.verdicts import verdicts
from zerosum.resolved import open_data
from zerosum.run import RunFolder, trust
from zerosum.run.folder import Say, silent
from zerosum.sampling import Sampler
from zerosum.saved_generator import open_generator

Page = dict[str, Any]
"""The variables of page.html.j2."""


@dataclass(frozen=True)
class OpenRun:
    """An opened run.

    Args:
        folder: The run folder.
        config: Its settings.
        sampler: Its averaged generator.
        data: The data set of the training, if available.
        say: Called with a sentence for each damaged file that is skipped.
        damaged: These sentences so far.
        missing: Why the data is not available.
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
        trusted: Whether to use code and data that the settings name even if the run was not made here.
        say: Called with a sentence for each damaged file that is skipped; the page lists them, too.

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


def open_run(folder: RunFolder, say: Say = silent) -> OpenRun:
    """Open a run: settings, newest checkpoint and, if allowed and available, the data set."""
    config = folder.read_config()
    damaged: list[str] = []

    def note(sentence: str) -> None:
        damaged.append(sentence)
        say(sentence)

    saved = open_generator(folder, config, note)
    sampler = Sampler.of(config, saved)
    try:
        data = open_data(config.data)
        checkpoint.refuse_other_data(saved.checkpoint, data.name, data.fingerprint())
    except (DataError, UsageError, Untrusted) as error:
        return OpenRun(folder, config, sampler, None, note, damaged, str(error))
    return OpenRun(folder, config, sampler, data, note, damaged)


def render(run_: OpenRun) -> str:
    """Render the page to HTML; all text of the user is escaped."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["prose"] = prose
    return templates.get_template("page.html.j2").render(page_values(run_))


def prose(text: object) -> Markup:
    """Convert text to HTML; `text in backticks` becomes <code>.

    >>> prose("use `--set a=<b>`")
    Markup('use <code>--set a=&lt;b&gt;</code>')
    """
    parts = str(text).split("`")
    whole = len(parts) % 2 == 1  # an unpaired backtick is kept as it is
    marked = [Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)]
    return Markup().join(marked) if whole else escape(str(text))


def page_values(run_: OpenRun) -> Page:
    """Compute the variables of page.html.j2."""
    folder, config, sampler = run_.folder, run_.config, run_.sampler
    readings = run.read(folder, run_.say)
    known = facts(folder, config, readings, run_.data, run_.say)
    drawn = curves.charts(readings, config)
    page = {
        "name": config.name,
        "facts": known,
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
        **comparison(run_),
    }
    return {**page, "damaged": run_.damaged}


def config_text(folder: RunFolder) -> str:
    """Return the text of config.toml."""
    return folder.read(folder.config, settings.MAX_BYTES).decode("utf-8-sig")


def comparison(run_: OpenRun) -> Page:
    """Compute the variables that need the data: metrics and nearest neighbors, or why they are missing."""
    page: Page = {"measures": [], "measured_how": "", "memorization": None, "missing": run_.missing}
    if run_.data is None:
        return page
    page["memorization"] = images.memorization(run_.sampler, run_.data)
    try:
        page["measures"], page["measured_how"] = measures(run_.folder, run_.sampler, run_.data, run_.say)
    except (DataError, UsageError) as error:
        page["missing"] = str(error)
    return page
