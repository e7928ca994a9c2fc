"""A run: rounds of the game, and what is written down about them.

`rounds` yields after every round of the game and knows nothing of files. `fit` is its standard consumer: it resumes,
has a `Diary` written, stops for numbers that are no longer finite and for signals, and yields on, so that a progress
bar, a test or a web page can be the next consumer.
"""

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zerosum import build, checkpoint, config, memory, permission, run
from zerosum.build import Setup
from zerosum.config.settings import Config
from zerosum.data import Data
from zerosum.engine import SINGLE, World, was_restarted
from zerosum.errors import ConfigError, DataError, Diverged, Stopped, SystemFault
from zerosum.game.engine import EAGER, Engine
from zerosum.game.game import play
from zerosum.game.state import Batches, Game, Player, Readings, State
from zerosum.run import RunFolder
from zerosum.run.folder import Say, silent
from zerosum.training.recorder import Report, RunRecorder

WARM = 10
"""Rounds that are not counted in the speed: caches and allocators settle."""

TIME_LIMIT = 1
"""The vote for an end because time is up; a signal's is its number beyond this: that of SIGHUP is 1."""


class RoundRecord(NamedTuple):
    """The end of a round."""

    round: int
    readings: Readings
    state: State
    seconds: float
    """Wall-clock time of the round, its data included."""
    report: Report | None = None
    """The line that was logged: every `log_every` rounds, and with each checkpoint."""


def rounds(state: State, game: Game, batches: Batches, count: int, engine: Engine = EAGER) -> Iterator[RoundRecord]:
    """Play until `count` rounds are played in all; yield after each."""
    while state.round < count:
        began = perf_counter()
        readings = play(state, game, batches, engine)
        yield RoundRecord(state.round, readings, state, perf_counter() - began)


def fit(
    settings: Config,
    folder: RunFolder,
    *,
    data: Data | None = None,
    fresh: bool = False,
    force: bool = False,
    until_finished: bool = False,
    say: Say = silent,
    world: World = SINGLE,
) -> Iterator[RoundRecord]:
    """Play a run in its folder, from its newest checkpoint if there is one.

    Of several processes, the leader alone reads and writes the folder; the others have what it has from it.

    Args:
        settings: What a machine decides may be open in them: a run that goes on keeps what it began with.
        folder: The run's; other processes are kept out of it.
        data: The data set, if it is open already.
        fresh: Erase what is there and start over.
        force: Play in a folder that holds other things and no run, too; they stay.
        until_finished: Stop when samples no longer get better (`diagnostics.finished`), at the latest after all rounds.
        say: Told in a sentence what a user should know.
        world: The processes that play together.

    Yields:
        Every round.

    Raises:
        ConfigError: A setting is wrong.
        RunError: The folder is busy, holds another run or cannot be written to.
        DataError: The data cannot be trained on, or is not what the run began with.
        CheckpointError: No checkpoint could be read or written.
        Diverged: A cost, a gradient or a weight is not finite; the last checkpoint is from before.
        Lost: Another process died, hangs or holds other numbers.
        SystemFault: The disk is full, the folder closed or gone, or memory is short.
        Stopped: A signal came; the round is finished and saved.
    """
    fresh = fresh and not was_restarted()  # started anew after a loss, it goes on
    if world.is_main:
        run.refuse_strangers(folder, force)
    settings = config.with_train(settings, processes=world.size)
    with permission.to_train():
        settings = agreed(settings if fresh else run.adopt(settings, folder), world)
        until_finished = world.broadcast(bytes([until_finished])) == b"\1"
        settle(settings)
        with world.local_main_first():  # the first of each machine may have to download
            data = data or build.open_data(settings)
        setup = build.assemble(settings, data, world)
    refuse_other_data(setup)
    with open_for(setup, folder, fresh):
        diary = RunRecorder(setup, folder, say=say)
        diary.open()
        try:
            if not (until_finished and diary.finished()):
                yield from _guarded(setup, diary, until_finished)
        except (MemoryError, RuntimeError) as error:
            raise short_of_memory(setup, error) or error from None
        except Diverged as error:
            good = checkpoint.newest_first(folder.checkpoints)[:1]
            if good:
                error.add_note(
                    f"The last good checkpoint is {good[0]}. The same settings end here again: try a smaller rate"
                )
            raise


def short_of_memory(setup: Setup, error: Exception) -> SystemFault | None:
    """What to say where a round asked for more memory than there is; None where it failed for another reason."""
    if not memory.ran_out(error):
        return None
    game = setup.config.game
    return SystemFault(
        f"round {setup.state.round + 1}: there is not enough memory. Make game.batch smaller (it is {game.batch}; "
        f"--accumulate {2 * game.accumulate} with half of it plays the same game), or the networks. "
        "What was saved before is intact"
    )


def agreed(settings: Config, world: World) -> Config:
    """The leader's settings, with what its machine decides, in every process.

    Raises:
        ConfigError: A process was given others.
    """
    mine = build.resolve(settings) if world.is_main else build.filled(settings)
    if world.is_single:
        return mine
    theirs = config.check(config.parse(world.broadcast(config.dumps(mine).encode()).decode()))
    automatic = {f"train.{name}" for name in config.AUTOMATIC}
    other = [line for line in config.differences(mine, theirs) if line.partition(":")[0] not in automatic]
    if other:
        raise ConfigError(
            f"process {world.rank} was given other settings than process 0 (there -> here):\n  " + "\n  ".join(other)
        )
    return theirs


def refuse_other_data(setup: Setup) -> None:
    """Make sure that every process has opened the same data.

    Raises:
        DataError: One has not.
    """
    if setup.world.is_single:
        return
    prints = setup.world.all_gather(setup.data.fingerprint().encode())
    other = [str(rank) for rank, found in enumerate(prints) if found != prints[0]]
    if other:
        raise DataError(f"{setup.data.name}: the data of process {', '.join(other)} is not that of process 0")


@contextmanager
def open_for(setup: Setup, folder: RunFolder, fresh: bool) -> Iterator[None]:
    """The run folder, kept for these settings while they are played; only the leader touches it."""
    if not setup.world.is_main:
        yield
        return
    run.make(folder)
    with run.lock(folder):
        if fresh:
            run.erase(folder)
        run.refuse_changes(setup.config, folder)
        run.sweep(folder)
        yield


def settle(settings: Config) -> None:
    """Make this process ready to play: its threads, and the memory it keeps."""
    torch.set_num_threads(settings.train.threads or torch.get_num_threads())
    memory.keep_freed()


def _guarded(setup: Setup, diary: RunRecorder, until_finished: bool) -> Iterator[RoundRecord]:
    """The rounds of a run, each written down, until the end, a limit or a signal."""
    state, train, world = setup.state, setup.config.train, setup.world
    clock = Timer(state.extra.get("seconds", 0.0))
    watch = FiniteCheck()
    with asked_to_stop() as signals:
        for moment in rounds(state, setup.game, setup.batches, train.rounds, setup.engine):
            clock.tick(moment.seconds)
            watch.note(moment)
            world.report_round(moment.round)
            late = train.minutes is not None and clock.seconds > 60 * train.minutes
            # a signal that comes later than this lets one more round be played
            asked = world.vote(max([TIME_LIMIT] * late + [TIME_LIMIT + number for number in signals], default=0))
            checks = moment.round % train.check_every == 0
            done = until_finished and checks and diary.finished()
            last = moment.round >= train.rounds or done or bool(asked)
            saves = last or moment.round % train.save_every == 0
            if saves or checks or moment.round % train.log_every == 0:
                watch.look()
                report = describe(moment, setup.game, setup.engine, world) | clock.reading(setup.game.batch)
                if checks:
                    report["signs"] = diary.health.measure(state)
                state.extra["seconds"] = report["seconds"]
                diary.log(report)
                moment = moment._replace(report=report)  # noqa: PLW2901  the same moment, now described
            if last or moment.round % train.sample_every == 0:
                diary.picture()
            if saves:
                diary.save()
            yield moment
            if asked > TIME_LIMIT:
                says = f"stopped after round {moment.round}; everything is saved in {diary.folder.path}"
                raise Stopped(asked - TIME_LIMIT, says)
            if asked or done:
                return


@dataclass
class Timer:
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


class FiniteCheck:
    """Finds the first number that is not finite, without waiting for the device every round."""

    def __init__(self) -> None:
        self.names: list[tuple[int, Player, str]] = []
        self.values: list[Tensor] = []

    def note(self, moment: RoundRecord) -> None:
        """Remember the numbers of a round."""
        for reading in moment.readings:
            self.names += [(moment.round, reading.player, term) for term in reading.costs]
            self.values.append(torch.stack(list(reading.costs.values())))

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


def describe(moment: RoundRecord, game: Game, engine: Engine = EAGER, world: World = SINGLE) -> Report:
    """A round's numbers as a line of readings.jsonl, over the rows of all processes; waits for the device.

    Costs and V are in nats where the game is logistic. Of k steps of D, the last is told.
    """
    reading = {reading.player: reading for reading in moment.readings}  # the last of each player
    report: Report = {"round": moment.round, "order": game.order, "reduction": game.reduction}
    for player in ("discriminator", "generator"):
        for term, value in reading[player].costs.items():
            report[f"{player}_{term.replace(' ', '_')}"] = value.item()
    logits = reading["discriminator"].logits
    assert logits is not None, "D's readings carry its logits"
    real, fake = logits
    value = -(game.unsmoothed_cost or game.loss.discriminator)(real, fake)
    means = [mean.mean().item() * engine.share for mean in (value, game.loss.score(real), game.loss.score(fake))]
    report["value"], report["real_score"], report["fake_score"] = world.sum_over_ranks(means)
    report["score"] = game.loss.output
    return report


@contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """A list that is empty until SIGINT, SIGTERM or SIGHUP comes; a second signal ends the process at once.

    What the process was told to ignore, it still ignores: `nohup` does that, and a shell in the background.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # signals reach only the main thread
        return
    asking = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before: dict[int, Any] = {number: signal.getsignal(number) for number in asking}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

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
