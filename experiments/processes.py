"""How far two processes end from one, over every game: writes docs/processes.md, in twelve minutes on two cores."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAIR = ROOT / "tests" / "engine" / "pair.py"


def main():
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(PAIR), "equal", "gradients"]
    found = json.loads(subprocess.run([sys.executable, *command, "--every"], capture_output=True, check=True).stdout)
    rows = defaultdict(lambda: ([], []))
    for name, off in found["equal"].items():
        game, _, reading = name.partition(": ")
        told = game.split(", ")
        kind = f"`{told[0]}`" if told[-1].endswith("passes") and " every " in told[1] else ", ".join(told[:-1])
        rows[kind][bool(reading)].append(off)
    lines = [
        "# Two processes and one", "",
        "After 50 rounds in float64, the largest difference of any weight (both players and the average), and of any",
        "number in a reading (relative where it is above 1). A row of a game is that game without a penalty and with",
        "each, in each order of play, the penalty in every and in each fourth round, in 1, 2 and 3 passes, with SGD",
        "(and D's weights clipped in the Wasserstein game); half of them through shared memory, half through",
        "connections. Made by `python experiments/processes.py`.", "",
        "| game | games played | weights | readings |", "|---|---|---|---|",
    ]  # fmt: skip
    for kind, (weights, readings) in rows.items():
        lines.append(f"| {kind} | {len(weights)} | {max(weights):.1e} | {max(readings):.1e} |")
    lines += [
        "", "From the same weights, one gradient each: the difference over the norm of the gradient.", "",
        "| pair | precision | D | G |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, off in found["gradients"].items():
        pair, precision, player = name.rsplit(", ", 2)
        if player == "discriminator":
            lines.append(
                f"| {pair} | {precision} | {off:.1e} | {found['gradients'][f'{pair}, {precision}, generator']:.1e} |"
            )
    (ROOT / "docs" / "processes.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
