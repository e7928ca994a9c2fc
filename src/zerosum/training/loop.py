"""The training loop.

`rounds` plays the game and yields a `RoundRecord` after every round; it touches no files. `fit` consumes it: it resumes
the run, records it with a `RunRecorder`, stops at non-finite numbers and at signals, and yields every record on to the
next consumer, e.g. a progress bar.
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

from zerosum import build, config, memory, permission, run
from zerosum.build import Setup
from zerosum.config.settings import Config
from zerosum.data import Data
from zerosum.engine import SINGLE, World, was_restarted
from zerosum.errors import ConfigError, DataError, Diverged, Stopped, SystemFault, named
from zerosum.game.engine import EAGER, Engine
from zerosum.game.game import play
from zerosum.game.state import Batches, Game, Player, Readings, State
from zerosum.resolved import Resolved, on_this_machine
from zerosum.run import RunFolder, manifest
from zerosum.run.folder import Say, silent
from zerosum.training.recorder import LogLine, RunRecorder

WARMUP_ROUNDS = 10
"""First rounds that are left out of the speed: caches and allocators warm up."""

TIME_LIMIT = 1
"""Stop code of --minutes. A signal votes TIME_LIMIT + its number, so that it wins the max-vote over the time limit."""


class RoundRecord(NamedTuple):
    """The result of one round."""

    round: int
    readings: Readings
    state: State
    seconds: float
    """Wall-clock time of the round, loading of data included."""
    log_line: LogLine | None = None
    """The line of readings.jsonl, if one was logged: every `log_every` rounds, at each checkup and each checkpoint."""


def rounds(state: State, game: Game, batches: Batches, count: int, engine: Engine = EAGER) -> Iterator[RoundRecord]:
    """Play until the state has played `count` rounds in all; yield a record after each."""
    while state.round < count:
        began = perf_counter()
        readings = play(state, game, batches, engine)
        yield RoundRecord(state.round, readings, state, perf_counter() - began)


def fit(
    resolved: Resolved,
    folder: RunFolder,
    *,
    data: Data | None = None,
    fresh: bool = False,
    force: bool = False,
    until_finished: bool = False,
    say: Say = silent,
    world: World = SINGLE,
) -> Iterator[RoundRecord]:
    """Train a run in its folder, starting from its newest checkpoint if there is one.

    Of several processes, only rank 0 reads and writes the folder; it broadcasts the state to the others.

    Args:
        resolved: The settings; those that depend on the machine may be open: a resumed run keeps its own.
        folder: The run folder; it is locked against other trainings.
        data: The data set, if it is open already.
        fresh: Erase an existing run in the folder and start over.
        force: Also train in a folder that holds other files but no run; they are kept.
        until_finished: Stop when samples no longer get better (`health.finished`), at the latest after all rounds.
        say: Called with one sentence for each message to the user.
        world: The processes that train together.

    Yields:
        The record of every round.

    Raises:
        ConfigError: A setting is wrong.
        RunError: The folder is locked, holds another run or is not writable.
        DataError: The data cannot be trained on, or is not the data that the run started with.
        CheckpointError: No checkpoint could be read or written.
        Diverged: A cost, a gradient or a weight is not finite; the last checkpoint is from an earlier round.
        WorkerLost: Another process died, hangs or holds different numbers.
        SystemFault: The disk is full, the folder is unreadable or gone, or memory ran out.
        Stopped: A signal arrived; the round is finished and saved.
    """
    fresh = fresh and not was_restarted()  # a restart after a lost process resumes instead
    if world.is_main:
        run.refuse_foreign_files(folder, force)
        if folder.exists() and not (fresh or folder.holds_run()):
            say(f"{named(folder.config)} holds no settings of a run that can be read; it is replaced")
    resolved = resolved.with_train(processes=world.size)
    if not fresh:
        resolved = resolved.with_train(**run.automatic_choices(resolved.config, folder))
    with permission.to_train():
        resolved = broadcast_settings(resolved, world)
        until_finished = world.broadcast(bytes([until_finished])) == b"\1"
        set_threads_and_allocator(resolved.config)
        with world.local_main_first():  # one process of each machine may have to download
            data = data or resolved.open_data()
        setup = build.assemble(resolved, data, world)
    refuse_different_data(setup)
    with locked_folder(setup, folder, fresh):
        recorder = RunRecorder(setup, folder, say=say)
        recorder.open()
        try:
            if not (until_finished and recorder.finished()):
                yield from _recorded_rounds(setup, recorder, until_finished)
        except (MemoryError, RuntimeError) as error:
            raise out_of_memory_error(setup, error) or error from None
        except Diverged as error:
            saved = manifest.newest_first(folder.checkpoints)[:1]
            if saved:
                error.add_note(
                    f"The last good checkpoint is {saved[0]}. The same settings end here again: try a smaller rate"
                )
            raise


def out_of_memory_error(setup: Setup, error: Exception) -> SystemFault | None:
    """Return the error to raise if a round ran out of memory; None if it failed for another reason."""
    if not memory.is_out_of_memory(error):
        return None
    game = setup.config.game
    return SystemFault(
        f"round {setup.state.round + 1}: there is not enough memory. Make game.batch smaller (it is {game.batch}; "
        f"--accumulate {2 * game.accumulate} with half of it plays the same game), or the networks. "
        "What was saved before is intact"
    )


def broadcast_settings(resolved: Resolved, world: World) -> Resolved:
    """Return rank 0's settings, with the choices of its machine, on every rank.

    Raises:
        ConfigError: A process was started with other settings, or its machine cannot do what rank 0's chose.
    """
    mine = on_this_machine(resolved) if world.is_main else resolved
    if world.is_single:
        return mine
    theirs = config.check(config.parse(world.broadcast(config.dumps(mine.config).encode()).decode()))
    automatic = {f"train.{name}" for name in config.AUTOMATIC}
    diff = [line for line in config.differences(mine.config, theirs) if line.partition(":")[0] not in automatic]
    if diff:
        raise ConfigError(
            f"process {world.rank} was given other settings than process 0 (there -> here):\n  " + "\n  ".join(diff)
        )
    return on_this_machine(mine.with_train(**{name: getattr(theirs.train, name) for name in config.AUTOMATIC}))


def refuse_different_data(setup: Setup) -> None:
    """Raise DataError unless all processes have opened the same data, by its fingerprint."""
    if setup.world.is_single:
        return
    fingerprints = setup.world.all_gather(setup.data.fingerprint().encode())
    diff = [str(rank) for rank, found in enumerate(fingerprints) if found != fingerprints[0]]
    if diff:
        raise DataError(f"{setup.data.name}: the data of process {', '.join(diff)} is not that of process 0")


@contextmanager
def locked_folder(setup: Setup, folder: RunFolder, fresh: bool) -> Iterator[None]:
    """Create, lock and clean the run folder, and check its settings; only rank 0 does so."""
    if not setup.world.is_main:
        yield
        return
    run.make(folder)
    with run.lock(folder):
        if fresh:
            run.erase(folder)
        run.refuse_changes(setup.config, folder)
        run.remove_temporary(folder)
        yield


def set_threads_and_allocator(settings: Config) -> None:
    """Set the number of torch threads, and let the allocator keep freed memory."""
    torch.set_num_threads(settings.train.threads or torch.get_num_threads())
    memory.keep_freed()


def _recorded_rounds(setup: Setup, recorder: RunRecorder, until_finished: bool) -> Iterator[RoundRecord]:
    """Play and record the rounds of a run until the last round, the time limit or a signal."""
    state, train, world = setup.state, setup.config.train, setup.world
    timer = Timer(state.extra.get("seconds", 0.0))
    finite_check = FiniteCheck()
    with stop_signals() as signals:
        for record in rounds(state, setup.game, setup.batches, train.rounds, setup.engine):
            timer.tick(record.seconds)
            finite_check.add(record)
            world.report_round(record.round)
            expired = train.minutes is not None and timer.seconds > 60 * train.minutes
            # a signal after this vote takes effect one round later
            stop = world.vote(max([TIME_LIMIT] * expired + [TIME_LIMIT + number for number in signals], default=0))
            checkup_due = record.round % train.check_every == 0
            done = until_finished and checkup_due and recorder.finished()
            last = record.round >= train.rounds or done or bool(stop)
            save_due = last or record.round % train.save_every == 0
            if save_due or checkup_due or record.round % train.log_every == 0:
                finite_check.check()
                log_line = make_log_line(record, setup.game, setup.engine, world) | timer.reading(setup.game.batch)
                if checkup_due:
                    log_line["signs"] = recorder.health.measure(state)
                state.extra["seconds"] = log_line["seconds"]
                recorder.log(log_line)
                record = record._replace(log_line=log_line)  # noqa: PLW2901  the same record with its line
            if last or record.round % train.sample_every == 0:
                recorder.save_samples()
            if save_due:
                recorder.save()
            yield record
            if stop > TIME_LIMIT:
                message = f"stopped after round {record.round}; everything is saved in {recorder.folder.path}"
                raise Stopped(stop - TIME_LIMIT, message)
            if stop or done:
                return


@dataclass
class Timer:
    """Total training time of the run, over all its resumes, and current speed."""

    seconds: float = 0.0
    laps: list[float] = field(default_factory=list)

    def tick(self, seconds: float) -> None:
        """Add the time of one round."""
        self.seconds += seconds
        self.laps.append(seconds)

    def reading(self, batch: int) -> LogLine:
        """Return the seconds played, and samples per second: the batch size over the median time of a round."""
        laps = self.laps[WARMUP_ROUNDS:] or self.laps
        return {"seconds": round(self.seconds, 3), "samples_per_second": round(batch / median(laps), 1)}


class FiniteCheck:
    """Finds the first cost that is not finite; collects costs on the device, so that not every round synchronizes."""

    def __init__(self) -> None:
        self.names: list[tuple[int, Player, str]] = []
        self.values: list[Tensor] = []

    def add(self, record: RoundRecord) -> None:
        """Collect the costs of a round."""
        for reading in record.readings:
            self.names += [(record.round, reading.player, term) for term in reading.costs]
            self.values.append(torch.stack(list(reading.costs.values())))

    def check(self) -> None:
        """Check the collected costs, and drop them.

        Raises:
            Diverged: A cost is not finite; names the first round, player and term.
        """
        values = torch.cat(self.values).tolist()
        names, self.names, self.values = self.names, [], []
        for name, value in zip(names, values, strict=True):
            if not math.isfinite(value):
                raise Diverged(*name, value)


def make_log_line(record: RoundRecord, game: Game, engine: Engine = EAGER, world: World = SINGLE) -> LogLine:
    """Make the line of readings.jsonl for a round, averaged over all processes; synchronizes with the device.

    Costs and V are in nats if the loss is logistic. Of k steps of D, the line holds the last.
    """
    reading = {reading.player: reading for reading in record.readings}  # the last of each player
    log_line: LogLine = {"round": record.round, "order": game.order, "reduction": game.reduction}
    for player in ("discriminator", "generator"):
        for term, value in reading[player].costs.items():
            log_line[f"{player}_{term.replace(' ', '_')}"] = value.item()
    logits = reading["discriminator"].logits
    assert logits is not None, "D's readings carry its logits"
    real, fake = logits
    value = -(game.unsmoothed_cost or game.loss.discriminator)(real, fake)
    means = [mean.mean().item() * engine.share for mean in (value, game.loss.score(real), game.loss.score(fake))]
    log_line["value"], log_line["real_score"], log_line["fake_score"] = world.sum_over_ranks(means)
    log_line["score"] = game.loss.output
    return log_line


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in the list that is yielded; a second signal ends the process at once.

    Signals that the process already ignores, e.g. under `nohup` or in a background shell, stay ignored.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # Python handles signals only in the main thread
        return
    numbers = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, handle)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
