"""Writes the run folder during training: readings, images, checkpoints, verdicts and the environment.

Of several processes, only rank 0 writes. It broadcasts the state at the start, and before every checkpoint all ranks
check that they hold the same state.
"""

import json
import math
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from zerosum import checkpoint, config, files, health, permission, plots, run
from zerosum.build import Setup
from zerosum.data import Data
from zerosum.engine import World
from zerosum.errors import CheckpointError, DataError, named
from zerosum.health import Verdict, probes
from zerosum.run import RunFolder, trust
from zerosum.run.folder import FORMAT, Say, silent
from zerosum.sampling import Sampler
from zerosum.saved_generator import spec_to_json

LogLine = dict[str, Any]
"""One line of readings.jsonl."""

SHEET_SIZE = 64
"""Images on a sheet; a plot of points shows thirty times as many."""


@dataclass
class RunRecorder:
    """Writes the run folder during training; of several processes, only rank 0 writes."""

    setup: Setup
    folder: RunFolder
    history: list[LogLine] = field(default_factory=list)
    """Log lines of all checkups so far."""
    verdicts: list[Verdict] = field(default_factory=list)
    """Verdicts of the last checkup."""
    announced: set[str] = field(default_factory=set)
    """Names of the problems already announced."""
    say: Say = silent
    """Called with one sentence for each message to the user."""
    identity: str = ""
    """The id of the run, stored in all of its checkpoints."""

    @property
    def world(self) -> World:
        """The processes that train together."""
        return self.setup.world

    def open(self) -> None:
        """Start the run, or resume it from its newest valid checkpoint; broadcast the state to all ranks."""
        if self.world.is_main:
            self._open()
        checkpoint.broadcast_state(self.setup.state, self.world)
        self.setup.engine.refresh()
        self._refuse_differences()

    def _open(self) -> None:
        """Read and write the folder for `open`, on rank 0."""
        state = self.setup.state
        for note in (*self.setup.data.notes, *multi_process_notes(self.setup)):
            self.say(note)
        saved = self._load_newest()
        self.identity = run.new_run_id() if saved is None else saved.state["run"]
        if saved is not None:
            checkpoint.restore(saved, state)
            self.say(f"resumed from round {state.round} in {self.folder.path}" + self._process_count_note())
        self.folder.write(self.folder.config, config.dumps(self.setup.config).encode())
        if saved is None:
            info = {"format": FORMAT, "run": self.identity, **environment()}
            self.folder.write(self.folder.environment, json.dumps(info, indent=1).encode())
        self._record_trust()
        run.truncate(self.folder, state.round)
        self.history = list(map(dict, health.checkups(run.read(self.folder, self.say))))
        self._diagnose()
        if saved is not None:  # a kill may have interrupted the last part of a save
            checkpoint.prune(self.folder.checkpoints, state.round, self.setup.config.train.keep)
            health.write_verdicts(self.folder, self.verdicts, state.round)
        if self.setup.data.kind == "images":
            self.folder.write(self.folder.real, real_sheet(self.setup.data))
        if saved is None:
            self._save()

    def _record_trust(self) -> None:
        """Record that the run is made here, so that other commands trust the code and data that its settings name."""
        try:
            trust.record(self.folder, permission.current().code or Path.cwd())
        except OSError as error:
            why = f"{named(error.filename)}: {files.reason(error)}"
            self.say(f"it cannot be noted that this run is made here ({why}); other commands will want --trust")

    def _load_newest(self) -> checkpoint.Checkpoint | None:
        """Load the newest valid checkpoint of this run, trained on this data; None if there is no checkpoint."""
        state = self.setup.state
        expected_layout = lambda _: checkpoint.layout_of(state)  # noqa: E731
        try:
            saved = checkpoint.load(self.folder.checkpoints, self.say, self.folder.run_id(self.say), expected_layout)
            if saved is not None:
                checkpoint.refuse_other_data(saved, self.setup.data.name, self._metadata["fingerprint"])
        except (CheckpointError, DataError) as error:
            error.add_note("--fresh erases this run and starts over; another --out leaves it as it is")
            raise
        return saved

    def _process_count_note(self) -> str:
        """Return a remark if the run resumes with another number of processes; else an empty string."""
        before = self.folder.read_config().train.processes if self.folder.holds_run() else self.world.size
        if before == self.world.size:
            return ""
        count = "1 process" if before == 1 else f"{before} processes"
        return (
            f", played by {count} so far and by {self.world.size} from here: the same game, but sums in another order, "
            "so the bits are not those of one that never changed"
        )

    def finished(self) -> bool:
        """Whether the samples no longer improve; rank 0 decides and broadcasts."""
        is_finished = self.world.is_main and health.finished(self.history)
        return bool(self.world.broadcast(b"1" if is_finished else b""))

    def log(self, line: LogLine) -> None:
        """Append a line to readings.jsonl; if it holds a checkup with a new problem, say so."""
        if not self.world.is_main:
            return
        run.append(self.folder, line)
        if "signs" not in line:
            return
        self.history.append(line)
        for verdict in self._diagnose():
            self.say(f"round {line['round']:,}: {verdict.name}? {verdict.answer} Try {verdict.advice}")

    def _diagnose(self) -> list[Verdict]:
        """Diagnose all checkups; return the verdicts on problems found for the first time."""
        self.verdicts = health.diagnose(self.history, self.setup.config)
        new = [verdict for verdict in self.verdicts if verdict.sick and verdict.name not in self.announced]
        self.announced |= {verdict.name for verdict in new}
        return new

    def save(self) -> None:
        """Check that all processes hold the same state; write a checkpoint and the verdicts.

        Raises:
            Diverged: A weight, an averaged weight or optimizer state is not finite; nothing is written.
        """
        checkpoint.refuse_non_finite(self.setup.state)
        self._refuse_differences()
        if self.world.is_main:
            self._save()

    def _refuse_differences(self) -> None:
        if not self.world.is_single:
            self.world.refuse_differences(checkpoint.all_tensors(self.setup.state))

    def _save(self) -> None:
        keep = self.setup.config.train.keep
        metadata = {"run": self.identity, **self._metadata}
        run.flush(self.folder)
        checkpoint.save(self.folder.checkpoints, self.setup.state, metadata, keep)
        health.write_verdicts(self.folder, self.verdicts, self.setup.state.round)

    def save_samples(self) -> None:
        """Write an image of samples, from the same latents every time."""
        if not self.world.is_main:
            return
        self.folder.write(self.folder.sample(self.setup.state.round), render_samples(self.setup))

    @cached_property
    def health(self) -> probes.Probe:
        """The probe of all checkups, made at the first one."""
        return probes.prepare(self.setup)

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        """The description of the data that every checkpoint stores."""
        data = self.setup.data
        return {"fingerprint": data.fingerprint(), "data": spec_to_json(data.spec)}


def render_samples(setup: Setup) -> bytes:
    """Render samples of the averaged generator as PNG bytes; points are drawn over real data."""
    data, at_round = setup.data, setup.state.round
    sampler = Sampler(setup.state.average, data.spec, setup.game.latent)
    if data.kind == "images":
        columns = len(data.spec.classes or ()) if sampler.conditional else math.isqrt(SHEET_SIZE)
        page = plots.sheet(sampler.draw(columns * max(1, SHEET_SIZE // columns)).array, columns)
        return plots.png(plots.with_caption(page, f"{data.name}, round {at_round:,}"))
    n = 30 * SHEET_SIZE
    real = data.samples(data.test if len(data.test) else data.train, n)
    return plots.png(plots.plot(sampler.draw(n).array, real, f"{data.name}, round {at_round:,}"))


def real_sheet(data: Data) -> bytes:
    """Render a sheet of real data as PNG bytes, for comparison with the samples."""
    rows = data.test if len(data.test) else data.train
    return plots.png(plots.with_caption(plots.sheet(data.samples(rows, SHEET_SIZE)), f"{data.name}, real"))


def multi_process_notes(setup: Setup) -> Iterator[str]:
    """Yield messages for the user about training with several processes."""
    world, game = setup.world, setup.game
    if world.is_single:
        return
    per_pass = setup.engine.largest(game.batch)
    yield f"{world.size} processes play, each {per_pass} of the {game.batch} samples of a batch at a time"
    nets = (setup.state.generator, setup.state.discriminator)
    if any(isinstance(layer, _BatchNorm) for net in nets for layer in net.modules()):
        rows = "the rows of all processes" if setup.config.train.statistics == "all" else "each process's own rows"
        yield f"batch normalization is over {rows} (train.statistics = '{setup.config.train.statistics}')"


def environment() -> dict[str, Any]:
    """Describe the versions, the machine and the command with which this run started."""
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
    """Return the git commit if zerosum runs from a checkout, else None."""
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
