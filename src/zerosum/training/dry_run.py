"""A dry run: two real rounds in memory without writing files, and an estimate of time and memory."""

import sys
from typing import Any

from zerosum import build, config
from zerosum.build import Setup
from zerosum.data import Data
from zerosum.data.loader import RESIDENT
from zerosum.resolved import Resolved, on_this_machine
from zerosum.run.folder import Say, silent
from zerosum.training import loop

ROUNDS = 2


def perform_dry_run(resolved: Resolved, data: Data | None = None, say: Say = silent) -> dict[str, Any]:
    """Build everything, play two rounds, and estimate the whole training.

    Args:
        resolved: The settings of the run.
        data: The data set, if it is open already.
        say: Called with each note about the data, e.g. files that were left out.

    Returns:
        The resolved settings as TOML, a summary of the data, the parameter counts of both players, memory in MiB (of
        the players with their gradients and optimizer state, of the resident data, and the peak of this process),
        seconds per round (of the second round) and minutes in all.
    """
    resolved = on_this_machine(resolved)
    settings = resolved.config
    loop.set_threads_and_allocator(settings)
    setup = build.assemble(resolved, data)
    for note in setup.data.notes:
        say(note)
    finite_check = loop.FiniteCheck()
    for record in loop.rounds(setup.state, setup.game, setup.batches, ROUNDS, setup.engine):
        finite_check.add(record)
    finite_check.check()
    seconds = record.seconds
    return {
        "config": config.dumps(settings),
        "data": setup.data.describe(),
        "generator": f"{parameter_count(setup, 'generator'):,} parameters",
        "discriminator": f"{parameter_count(setup, 'discriminator'):,} parameters",
        "players_MiB": round(player_bytes(setup) / 2**20, 1),
        "data_MiB": round(min(RESIDENT, setup.data.train.nbytes) / 2**20, 1),
        "peak_MiB": peak_MiB(),
        "seconds_per_round": round(seconds, 5),
        "minutes_in_all": round(seconds * settings.train.rounds / 60, 2),
    }


def parameter_count(setup: Setup, player: str) -> int:
    """Count the parameters of a player."""
    return sum(weight.numel() for weight in getattr(setup.state, player).parameters())


def player_bytes(setup: Setup) -> int:
    """Count the bytes of weights, gradients, averaged weights and optimizer state."""
    state = setup.state
    nets = [*state.generator.parameters(), *state.discriminator.parameters(), *state.average.parameters()]
    states = [value for opt in state.optimizers.values() for one in opt.state.values() for value in one.values()]
    gradients = [weight.grad for weight in nets if weight.grad is not None]
    tensors = [*nets, *gradients, *(value for value in states if hasattr(value, "element_size"))]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def peak_MiB() -> int | None:  # noqa: N802  the unit's own spelling
    """Return the peak memory of this process in MiB; None if the system does not report it (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2 ** (20 if sys.platform == "darwin" else 10))
