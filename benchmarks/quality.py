"""Whether bfloat16 costs quality: the same recipe in both precisions, seed by seed.

    python benchmarks/quality.py [--seeds 5] [--rounds 2000] [--folder runs/quality] [--only 0/2]
    python benchmarks/quality.py --table

Each run is trained and evaluated as a user would do it, with one thread, and resumes; `--only 0/2` takes every second
run, for two processes side by side. float32 is the mathematics of the hand-written loop: round.py checks that both
end in the same weights.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

import zerosum as zs

SHOWN = ("frechet", "kernel", "precision", "recall", "coverage", "modes found")


def runs(asked):
    return [
        (seed, precision, Path(asked.folder) / f"{asked.recipe}-{precision}-{seed}")
        for seed in range(asked.seeds)
        for precision in ("float32", "bfloat16")
    ]


def play(asked):
    first, step = map(int, asked.only.split("/"))
    for seed, precision, folder in runs(asked)[first::step]:
        run = zs.train(
            asked.recipe, seed=seed, precision=precision, rounds=asked.rounds, out=folder, report=False,
            set=["train.threads=1"],
        )  # fmt: skip
        if not (folder / "metrics.jsonl").exists():
            run.evaluate()


def table(asked):
    print(f"{asked.recipe}, {asked.rounds} rounds, {asked.seeds} seeds: mean, deviation, least and most")
    print("\n| | float32 | bfloat16 |\n|---|---|---|")
    found = {}
    for _, precision, folder in runs(asked):
        for row in json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["metrics"]:
            found.setdefault(row["name"], {}).setdefault(precision, []).append(row["value"])
    for name, values in found.items():
        if name in SHOWN:
            cells = [
                f"{mean(v):.4g}, {stdev(v):.2g} ({min(v):.4g} to {max(v):.4g})"
                for v in (values["float32"], values["bfloat16"])
            ]
            print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--recipe", default="cs231n-vanilla")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--folder", default="runs/quality")
    parser.add_argument("--only", default="0/1")
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    if not asked.table:
        play(asked)
    table(asked)


if __name__ == "__main__":
    main()
