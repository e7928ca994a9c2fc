"""Paired times of a round: whether one checkout of zerosum plays as fast as another, on one machine.

    python experiments/pairs.py OLD NEW [RECIPE] [SETTING ...] [--pairs 200] [--rounds 25]

Each checkout plays in a process of its own, one thread each; the two are timed in turn, A B A B, so that both meet the
same machine. Printed are the median of the ratios new / old and its 95 % interval (order statistics of the median).
"""

import argparse
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

PLAYED = """
import sys
from time import perf_counter
from zerosum import build, config
checkout, recipe, *settings = sys.argv[1:]
import zerosum
from zerosum.resolved import resolve
assert zerosum.__file__.startswith(checkout), zerosum.__file__
import torch
torch.set_num_threads(1)
setup = build.assemble(resolve(config.load(recipe, ["train.threads=1", "train.device=cpu", *settings])))
try:
    from zerosum.game.game import play
    given = setup.state, setup.game, setup.batches, setup.engine
except ImportError:  # the engine was part of the game
    from zerosum.game import play
    given = setup.state, setup.game, setup.batches
for line in sys.stdin:
    began = perf_counter()
    for _ in range(int(line)):
        play(*given)
    print(perf_counter() - began, flush=True)
"""


def started(checkout: Path, recipe: str, settings: list[str]) -> subprocess.Popen[str]:
    """A process that plays so many rounds as a line says, and answers with the seconds."""
    words = [sys.executable, "-c", PLAYED, str(checkout), recipe, *settings]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def seconds(process: subprocess.Popen[str], rounds: int) -> float:
    """How long the process takes for so many rounds."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{rounds}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def interval(ratios: list[float]) -> tuple[float, float]:
    """The 95 % interval of the median: the order statistics n/2 -+ 0.98 sqrt(n)."""
    ratios, n = sorted(ratios), len(ratios)
    reach = 0.98 * math.sqrt(n)
    return ratios[max(0, math.floor(n / 2 - reach))], ratios[min(n - 1, math.ceil(n / 2 + reach))]


def main() -> None:
    """Time both in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=lambda path: Path(path).resolve())
    parser.add_argument("new", type=lambda path: Path(path).resolve())
    parser.add_argument("recipe", nargs="?", default="digits")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args()
    both = [started(checkout, given.recipe, given.settings) for checkout in (given.old, given.new)]
    for process in both:
        seconds(process, given.rounds)  # caches settle
    ratios, times = [], []
    for pair in range(given.pairs):
        order = both if pair % 2 else both[::-1]
        took = {id(process): seconds(process, given.rounds) for process in order}
        old, new = (took[id(process)] for process in both)
        ratios.append(new / old)
        times.append((old, new))
    for process in both:
        process.kill()
    low, high = interval(ratios)
    old, new = (median(column) / given.rounds * 1e3 for column in zip(*times, strict=True))
    print(
        f"{' '.join([given.recipe, *given.settings])}: {old:.3f} ms a round before, {new:.3f} now; "
        f"new / old {median(ratios):.3f} ({low:.3f} to {high:.3f}), {given.pairs} pairs of {given.rounds} rounds"
    )


main()
