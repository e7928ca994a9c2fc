"""A dry run: two real rounds in memory, nothing written, and what the whole would take."""

import sys
from typing import Any

from zerosum import build, config
from zerosum.build import Setup
from zerosum.config.settings import Config
from zerosum.data import Data
from zerosum.data.loader import RESIDENT
from zerosum.run.folder import Say, silent
from zerosum.training import loop

ROUNDS = 2


def rehearse(settings: Config, data: Data | None = None, say: Say = silent) -> dict[str, Any]:
    """Build everything, play two rounds, and say what to expect.

    Args:
        settings: Of the run.
        data: The data set, if it is open already.
        say: Told what a user should know about the data: files that were left out.

    Returns:
        The resolved settings as TOML, a summary of the data, parameters of both players, memory in MiB (what the
        players, their gradients and optimizers hold, the resident data, and the peak of this process), seconds per
        round (the second one) and minutes in all.
    """
    settings = build.resolve(settings)
    loop.settle(settings)
    setup = build.assemble(settings, data)
    for note in setup.data.notes:
        say(note)
    watch = loop.FiniteCheck()
    for moment in loop.rounds(setup.state, setup.game, setup.batches, ROUNDS, setup.engine):
        watch.note(moment)
    watch.look()
    seconds = moment.seconds
    return {
        "config": config.dumps(settings),
        "data": setup.data.describe(),
        "generator": f"{parameters(setup, 'generator'):,} parameters",
        "discriminator": f"{parameters(setup, 'discriminator'):,} parameters",
        "players_MiB": round(players_bytes(setup) / 2**20, 1),
        "data_MiB": round(min(RESIDENT, setup.data.train.nbytes) / 2**20, 1),
        "peak_MiB": peak_MiB(),
        "seconds_per_round": round(seconds, 5),
        "minutes_in_all": round(seconds * settings.train.rounds / 60, 2),
    }


def parameters(setup: Setup, player: str) -> int:
    """Numbers that a player learns."""
    return sum(weight.numel() for weight in getattr(setup.state, player).parameters())


def players_bytes(setup: Setup) -> int:
    """Weights, gradients, average and what the optimizers remember."""
    state = setup.state
    nets = [*state.generator.parameters(), *state.discriminator.parameters(), *state.average.parameters()]
    memory = [value for move in state.optimizers.values() for one in move.state.values() for value in one.values()]
    gradients = [weight.grad for weight in nets if weight.grad is not None]
    tensors = [*nets, *gradients, *(value for value in memory if hasattr(value, "element_size"))]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def peak_MiB() -> int | None:  # noqa: N802  the unit's own spelling
    """The most memory this process has held; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2 ** (20 if sys.platform == "darwin" else 10))
