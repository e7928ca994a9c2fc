"""What a run writes into its folder: readings, pictures, checkpoints, verdicts, and on what machine it began.

Of several processes, the leader writes. The others hear from it where the run stands, and see to it before every
checkpoint that all hold the same.
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
from zerosum.errors import named
from zerosum.health import Verdict, probes
from zerosum.run import RunFolder, trust
from zerosum.run.folder import FORMAT, Say, silent
from zerosum.sampling import Sampler, spec_to_json

Report = dict[str, Any]
"""One line of readings.jsonl."""

SHOWN = 64
"""Images on a sheet; points on a plot: thirty times as many."""


@dataclass
class RunRecorder:
    """What a run writes into its folder; of several processes, the leader does."""

    setup: Setup
    folder: RunFolder
    history: list[Report] = field(default_factory=list)
    """The reports of checkups so far."""
    verdicts: list[Verdict] = field(default_factory=list)
    """What the last of them says."""
    named: set[str] = field(default_factory=set)
    """What the diagnosis has named so far."""
    say: Say = silent
    """Told in a sentence what a user should know."""
    identity: str = ""
    """What the run is known by: the same in all of its checkpoints."""

    @property
    def world(self) -> World:
        """The processes that play together."""
        return self.setup.world

    def open(self) -> None:
        """Begin the run, or take it up where its newest whole checkpoint left it."""
        if self.world.is_main:
            self._open()
        checkpoint.spread(self.setup.state, self.world)
        self.setup.engine.refresh()
        self._refuse_differences()

    def _open(self) -> None:
        """The leader's part of it."""
        state, facts = self.setup.state, self._facts
        for note in (*self.setup.data.notes, *company(self.setup)):
            self.say(note)
        known = self.folder.identity(self.say)
        fits = lambda _: checkpoint.layout_of(state)  # noqa: E731
        saved = checkpoint.load(self.folder.checkpoints, self.say, known, fits)
        self.identity = run.new_identity() if saved is None else saved.state["run"]
        if saved is not None:
            checkpoint.refuse_other_data(saved, self.setup.data.name, facts["fingerprint"])
            checkpoint.restore(saved, state)
            self.say(f"resumed from round {state.round} in {self.folder.path}" + self._other_company())
        self.folder.write(self.folder.config, config.dumps(self.setup.config).encode())
        if saved is None:
            began = {"format": FORMAT, "run": self.identity, **environment()}
            self.folder.write(self.folder.environment, json.dumps(began, indent=1).encode())
        self._remember()
        run.cut(self.folder, state.round)
        self.history = list(map(dict, health.checkups(run.read(self.folder, self.say))))
        self._diagnose()
        if saved is not None:  # what a save does last may be what a kill kept it from
            checkpoint.prune(self.folder.checkpoints, state.round, self.setup.config.train.keep)
            health.write_verdicts(self.folder, self.verdicts, state.round)
        if self.setup.data.kind == "images":
            self.folder.write(self.folder.real, real_sheet(self.setup.data))
        if saved is None:
            self._save()

    def _remember(self) -> None:
        """Note that the run is made here, so that other commands may follow its names."""
        try:
            trust.remember(self.folder, permission.current().code or Path.cwd())
        except OSError as error:
            why = f"{named(error.filename)}: {files.reason(error)}"
            self.say(f"it cannot be noted that this run is made here ({why}); other commands will want --trust")

    def _other_company(self) -> str:
        """What to say where a run goes on with more or fewer processes than before."""
        before = self.folder.read_config().train.processes if self.folder.exists() else self.world.size
        if before == self.world.size:
            return ""
        count = "1 process" if before == 1 else f"{before} processes"
        return (
            f", played by {count} so far and by {self.world.size} from here: the same game, but sums in another order, "
            "so the bits are not those of one that never changed"
        )

    def finished(self) -> bool:
        """Whether samples no longer get better; every process hears what the leader thinks."""
        mine = self.world.is_main and health.finished(self.history)
        return bool(self.world.broadcast(b"1" if mine else b""))

    def log(self, report: Report) -> None:
        """Write a report down; if a checkup is in it and finds something new, say so."""
        if not self.world.is_main:
            return
        run.append(self.folder, report)
        if "signs" not in report:
            return
        self.history.append(report)
        for verdict in self._diagnose():
            self.say(f"round {report['round']:,}: {verdict.name}? {verdict.answer} Try {verdict.advice}")

    def _diagnose(self) -> list[Verdict]:
        """Look at the checkups; what is found for the first time."""
        self.verdicts = health.diagnose(self.history, self.setup.config)
        new = [verdict for verdict in self.verdicts if verdict.sick and verdict.name not in self.named]
        self.named |= {verdict.name for verdict in new}
        return new

    def save(self) -> None:
        """Write a checkpoint, once all processes are seen to hold the same, and what the diagnosis says at it.

        Raises:
            Diverged: A weight, an average or an optimizer's memory is not finite; nothing is written.
        """
        checkpoint.refuse_non_finite(self.setup.state)
        self._refuse_differences()
        if self.world.is_main:
            self._save()

    def _refuse_differences(self) -> None:
        if not self.world.is_single:
            self.world.refuse_differences(checkpoint.tensors_of(self.setup.state))

    def _save(self) -> None:
        keep = self.setup.config.train.keep
        facts = {"run": self.identity, **self._facts}
        run.flush(self.folder)
        checkpoint.save(self.folder.checkpoints, self.setup.state, facts, keep)
        health.write_verdicts(self.folder, self.verdicts, self.setup.state.round)

    def picture(self) -> None:
        """Draw samples from the same latents as always."""
        if not self.world.is_main:
            return
        self.folder.write(self.folder.sample(self.setup.state.round), picture(self.setup))

    @cached_property
    def health(self) -> probes.Probe:
        """What every checkup compares with; chosen when the first is due."""
        return probes.prepare(self.setup)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """What every checkpoint says about the data."""
        data = self.setup.data
        return {"fingerprint": data.fingerprint(), "data": spec_to_json(data.form)}


def picture(setup: Setup) -> bytes:
    """The averaged generator's samples as a PNG file, over data where they are points."""
    data, at_round = setup.data, setup.state.round
    sampler = Sampler(setup.state.average, data.form, setup.game.latent)
    if data.kind == "images":
        columns = len(data.form.classes or ()) if sampler.conditional else math.isqrt(SHOWN)
        page = plots.sheet(sampler.draw(columns * max(1, SHOWN // columns)).array, columns)
        return plots.png(plots.captioned(page, f"{data.name}, round {at_round:,}"))
    n = 30 * SHOWN
    real = data.samples(data.test if len(data.test) else data.train, n)
    return plots.png(plots.plot(sampler.draw(n).array, real, f"{data.name}, round {at_round:,}"))


def real_sheet(data: Data) -> bytes:
    """A sheet of real data as a PNG file, to lay beside the samples."""
    rows = data.test if len(data.test) else data.train
    return plots.png(plots.captioned(plots.sheet(data.samples(rows, SHOWN)), f"{data.name}, real"))


def company(setup: Setup) -> Iterator[str]:
    """What a user should know where several processes play."""
    world, game = setup.world, setup.game
    if world.is_single:
        return
    together = setup.engine.largest(game.batch)
    yield f"{world.size} processes play, each {together} of the {game.batch} samples of a batch at a time"
    nets = (setup.state.generator, setup.state.discriminator)
    if any(isinstance(layer, _BatchNorm) for net in nets for layer in net.modules()):
        theirs = "the rows of all processes" if setup.config.train.statistics == "all" else "each process's own rows"
        yield f"batch normalisation is over {theirs} (train.statistics = '{setup.config.train.statistics}')"


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
