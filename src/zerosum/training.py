"""A run: rounds of the game, and what is written down about them.

`rounds` yields after every round of the game and knows nothing of files. `fit` is its standard consumer: it resumes,
logs, saves, draws pictures, stops for numbers that are no longer finite and for signals, and yields on, so that a
progress bar, a test or a web page can be the next consumer.
"""

import json
import math
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zerosum import build, checkpoint, checkup, config, diagnostics, memory, pictures, run
from zerosum.build import Setup
from zerosum.data import Data
from zerosum.diagnostics import Verdict
from zerosum.errors import Diverged, Stopped
from zerosum.game import Batches, Game, Player, Readings, State, play
from zerosum.run import RunFolder
from zerosum.sampling import Sampler, form_to
from zerosum.schema import Config

Report = dict[str, Any]
"""One line of readings.jsonl."""

WARM = 10
"""Rounds that are not counted in the speed: caches and allocators settle."""

SHOWN = 64
"""Images on a sheet; points on a plot: thirty times as many."""


class Moment(NamedTuple):
    """The end of a round."""

    step: int
    readings: Readings
    state: State
    seconds: float
    """Wall-clock time of the round, its data included."""
    report: Report | None = None
    """The line that was logged: every `log_every` rounds, and with each checkpoint."""


def rounds(state: State, game: Game, batches: Batches, steps: int) -> Iterator[Moment]:
    """Play until `steps` rounds are played in all; yield after each."""
    while state.step < steps:
        began = perf_counter()
        readings = play(state, game, batches)
        yield Moment(state.step, readings, state, perf_counter() - began)


def fit(
    settings: Config,
    folder: RunFolder,
    *,
    data: Data | None = None,
    fresh: bool = False,
    until_finished: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Moment]:
    """Play a run in its folder, from its newest checkpoint if there is one.

    Args:
        settings: What a machine decides may be open in them: a run that goes on keeps what it began with.
        folder: The run's; other processes are kept out of it.
        data: The data set, if it is open already.
        fresh: Erase what is there and start over.
        until_finished: Stop when samples no longer get better (`diagnostics.finished`), at the latest after all rounds.
        say: Told in a sentence what a user should know.

    Yields:
        Every round.

    Raises:
        ConfigError: A setting is wrong.
        RunError: The folder is busy, holds another run or cannot be written to.
        DataError: The data cannot be trained on, or is not what the run began with.
        CheckpointError: No checkpoint could be read or written.
        Diverged: A cost or gradient is not finite; the last checkpoint is from before.
        Stopped: A signal came; the round is finished and saved.
    """
    settings = build.resolve(settings if fresh else run.adopt(settings, folder))
    settle(settings)
    setup = build.assemble(settings, data)
    run.make(folder)
    with run.lock(folder):
        if fresh:
            run.erase(folder)
        run.refuse_changes(settings, folder)
        checkpoint.sweep(folder.checkpoints)
        for note in setup.data.notes:
            say(note)
        diary = Diary(setup, folder)
        diary.open(say)
        try:
            if not (until_finished and diagnostics.finished(diary.history)):
                yield from _guarded(setup, diary, until_finished, say)
        except Diverged as error:
            good = checkpoint.steps(folder.checkpoints)[0]
            error.add_note(f"The last good checkpoint is {good}. The same settings end here again: try a smaller rate")
            raise


def settle(settings: Config) -> None:
    """Make this process ready to play: its threads, and the memory it keeps."""
    torch.set_num_threads(settings.train.threads or torch.get_num_threads())
    memory.keep_freed()


def _guarded(setup: Setup, diary: "Diary", until_finished: bool, say: Callable[[str], None]) -> Iterator[Moment]:
    """The rounds of a run, each written down, until the end, a limit or a signal."""
    state, train = setup.state, setup.config.train
    clock = Clock(state.extra.get("seconds", 0.0))
    watch = Watch()
    with asked_to_stop() as signals:
        for moment in rounds(state, setup.game, setup.batches, train.steps):
            clock.tick(moment.seconds)
            watch.note(moment)
            asked = list(signals)  # a signal that comes later than this lets one more round be played
            late = train.minutes is not None and clock.seconds > 60 * train.minutes
            checks = moment.step % train.check_every == 0
            done = until_finished and checks and diagnostics.finished(diary.history)
            last = moment.step >= train.steps or late or done or bool(asked)
            saves = last or moment.step % train.save_every == 0
            if saves or checks or moment.step % train.log_every == 0:
                watch.look()
                report = describe(moment, setup.game) | clock.reading(setup.game.batch)
                if checks:
                    report["signs"] = diary.health.look(state)
                state.extra["seconds"] = report["seconds"]
                diary.log(report, say)
                moment = moment._replace(report=report)  # noqa: PLW2901  the same moment, now described
            if last or moment.step % train.sample_every == 0:
                diary.picture()
            if saves:
                diary.save()
            yield moment
            if asked:
                raise Stopped(
                    asked[0], f"stopped after round {moment.step}; everything is saved in {diary.folder.path}"
                )
            if late or done:
                return


@dataclass
class Diary:
    """What a run writes into its folder."""

    setup: Setup
    folder: RunFolder
    history: list[Report] = field(default_factory=list)
    """The reports of checkups so far."""
    verdicts: list[Verdict] = field(default_factory=list)
    """What the last of them says."""
    named: set[str] = field(default_factory=set)
    """What the diagnosis has named so far."""

    def open(self, say: Callable[[str], None]) -> None:
        """Begin the run, or take it up where its newest whole checkpoint left it."""
        state, facts = self.setup.state, self._facts
        saved = checkpoint.load(self.folder.checkpoints, say)
        if saved is not None:
            checkpoint.refuse_other_data(saved, self.setup.data.name, facts["fingerprint"])
            checkpoint.restore(saved, state)
            say(f"resumed from round {state.step} in {self.folder.path}")
        run.write(self.folder.config, config.dumps(self.setup.config).encode())
        run.cut(self.folder, state.step)
        self.history = list(map(dict, diagnostics.checkups(run.read(self.folder))))
        self._diagnose()
        if self.setup.data.kind == "images":
            run.write(self.folder.real, real_sheet(self.setup.data))
        if saved is None:
            run.write(self.folder.environment, json.dumps(environment(), indent=1).encode())
            self.save()

    def log(self, report: Report, say: Callable[[str], None]) -> None:
        """Write a report down; if a checkup is in it and finds something new, say so."""
        run.append(self.folder, report)
        if "signs" not in report:
            return
        self.history.append(report)
        for verdict in self._diagnose():
            say(f"round {report['step']:,}: {verdict.name}? {verdict.answer} Try {verdict.advice}")

    def _diagnose(self) -> list[Verdict]:
        """Look at the checkups; what is found for the first time."""
        self.verdicts = diagnostics.diagnose(self.history, self.setup.config)
        new = [verdict for verdict in self.verdicts if verdict.sick and verdict.name not in self.named]
        self.named |= {verdict.name for verdict in new}
        return new

    def save(self) -> None:
        """Write a checkpoint, and what the diagnosis says at it."""
        keep = self.setup.config.train.keep
        checkpoint.save(self.folder.checkpoints, self.setup.state, self._facts, keep)
        diagnostics.record(self.folder, self.verdicts, self.setup.state.step)

    def picture(self) -> None:
        """Draw samples from the same latents as always."""
        run.write(self.folder.sample(self.setup.state.step), picture(self.setup))

    @cached_property
    def health(self) -> checkup.Checkup:
        """What every checkup compares with; chosen when the first is due."""
        return checkup.prepare(self.setup)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """What every checkpoint says about the data."""
        data = self.setup.data
        return {"fingerprint": data.fingerprint(), "data": form_to(data.form)}


def picture(setup: Setup) -> bytes:
    """The averaged generator's samples as a PNG file, over data where they are points."""
    data, step = setup.data, setup.state.step
    sampler = Sampler(setup.state.average, data.form, setup.game.latent)
    if data.kind == "images":
        columns = len(data.form.classes or ()) if sampler.conditional else math.isqrt(SHOWN)
        page = pictures.sheet(sampler.draw(columns * max(1, SHOWN // columns)).array, columns)
        return pictures.png(pictures.captioned(page, f"{data.name}, round {step:,}"))
    n = 30 * SHOWN
    real = data.samples(data.test if len(data.test) else data.train, n)
    return pictures.png(pictures.plot(sampler.draw(n).array, real, f"{data.name}, round {step:,}"))


def real_sheet(data: Data) -> bytes:
    """A sheet of real data as a PNG file, to lay beside the samples."""
    rows = data.test if len(data.test) else data.train
    return pictures.png(pictures.captioned(pictures.sheet(data.samples(rows, SHOWN)), f"{data.name}, real"))


@dataclass
class Clock:
    """How long the run has played, over all its resumes, and how fast it plays now."""

    seconds: float = 0.0
    laps: list[float] = field(default_factory=list)

    def tick(self, seconds: float) -> None:
        """A round has been played."""
        self.seconds += seconds
        self.laps.append(seconds)

    def reading(self, batch: int) -> Report:
        """Seconds played, and real samples of one batch per median round."""
        laps = self.laps[WARM:] or self.laps
        return {"seconds": round(self.seconds, 3), "samples_per_second": round(batch / median(laps), 1)}


class Watch:
    """Finds the first number that is not finite, without waiting for the device every round."""

    def __init__(self) -> None:
        self.names: list[tuple[int, Player, str]] = []
        self.values: list[Tensor] = []

    def note(self, moment: Moment) -> None:
        """Remember the numbers of a round."""
        for reading in moment.readings:
            self.names += [(moment.step, reading.player, term) for term in reading.terms]
            self.values.append(torch.stack(list(reading.terms.values())))

    def look(self) -> None:
        """Look at what was remembered, and forget it.

        Raises:
            Diverged: With the first round, player and term that is not finite.
        """
        values = torch.cat(self.values).tolist()
        names, self.names, self.values = self.names, [], []
        for name, value in zip(names, values, strict=True):
            if not math.isfinite(value):
                raise Diverged(*name, value)


def describe(moment: Moment, game: Game) -> Report:
    """A round's numbers as a line of readings.jsonl; waits for the device.

    Costs and V are in nats where the game is logistic. Of k steps of D, the last is told.
    """
    reading = {reading.player: reading for reading in moment.readings}  # the last of each player
    report: Report = {"step": moment.step, "order": game.order, "terms": "halved" if game.halved else "summed"}
    for player in ("discriminator", "generator"):
        for term, value in reading[player].terms.items():
            report[f"{player}_{term.replace(' ', '_')}"] = value.item()
    logits = reading["discriminator"].logits
    assert logits is not None, "D's readings carry its logits"
    real, fake = logits
    report["value"] = -(game.value or game.loss.discriminator)(real, fake).mean().item()
    report["score"] = game.loss.reads
    report["real_score"] = game.loss.score(real).mean().item()
    report["fake_score"] = game.loss.score(fake).mean().item()
    return report


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """A list that is empty until SIGINT or SIGTERM comes; a second signal ends the process at once."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # signals reach only the main thread
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def take(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, take)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def environment() -> dict[str, Any]:
    """What this run began on."""
    return {
        "zerosum": version("zerosum"),
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "system": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _commit() -> str | None:
    """The commit of zerosum's own checkout, where it runs from one."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
