"""The same game in everything that a user could take instead, in turn, on this machine.

    python benchmarks/peers [--turns 7] [--rounds 10] [--only NAME ...] [--install]
    python benchmarks/peers --choices                    ours, and ours without each of the choices that make it fast

The CS231n pair on MNIST ($ZEROSUM_DATA), batch 128, latent 96, Adam, non-saturating, Algorithm 1 with fresh noise. Each
loop is a process of its own that lives from the first turn to the last, and waits while another plays; one turn of each
follows another, so that a machine that slows down slows all of them down. Before anything is timed, all must have as
many weights as ours. The ratio of two loops is the median of the ratios within a turn.

`--install` makes the environments of the others, in benchmarks/peers/.venv-*: Keras and TensorFlow in one, Lightning
and torchgan in the other; none of it is ever installed into ours.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve().parent
CONSTRAINTS = HERE.parents[1] / "constraints.txt"
KERAS, TORCH = HERE / ".venv-keras", HERE / ".venv-torch"
NEEDS = {
    KERAS: [["tensorflow-cpu==2.21.0", "keras==3.15.1"]],
    TORCH: [["-c", str(CONSTRAINTS), "torch", "lightning==2.6.6"], ["--no-deps", "torchgan==0.1.0"]],
}


def loops(precision):
    """Name -> command; each reads the images from its first argument."""
    ours, keras, others = sys.executable, str(KERAS / "bin" / "python"), str(TORCH / "bin" / "python")
    return {
        "zerosum": [ours, "with_zerosum.py", *precision],
        "zerosum, float32": [ours, "with_zerosum.py", 'train.precision="float32"'],
        "plain PyTorch": [ours, "plain.py"],
        "Lightning": [others, "with_lightning.py"],
        "torchgan": [others, "with_torchgan.py"],
        "Keras, TensorFlow": [keras, "with_keras.py"],
    }


def install():
    for folder, groups in NEEDS.items():
        whole = folder / "installed"
        if whole.exists():
            continue
        venv.create(folder, with_pip=True)
        for packages in groups:
            subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *packages], check=True)
        whole.touch()


class Loop:
    """A process that plays rounds when it is told to."""

    def __init__(self, command, images, threads):
        python, script, *rest = command
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        command = [python, str(HERE / script), images, *rest]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE
        )

    def play(self, rounds):
        self.process.stdin.write(f"{rounds}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def floor(threads):
    """Best rates of a matrix product seen in this run, in GFLOP/s: float32 and bfloat16."""
    script = (
        "import torch, time; torch.set_num_threads(int(__import__('sys').argv[1]))\n"
        "for kind in (torch.float32, torch.bfloat16):\n"
        "    best = 0\n"
        "    for n in (512, 1024, 2048):\n"
        "        a, b = torch.randn(n, n, dtype=kind), torch.randn(n, n, dtype=kind)\n"
        "        for _ in range(12):\n"
        "            began = time.perf_counter(); a @ b\n"
        "            best = max(best, 2 * n**3 / (time.perf_counter() - began) / 1e9)\n"
        "    print(best)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(threads)], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


CHOICES = ("quick layers", "kept memory", "channels last", "one pass of D", "D left out of G's step", "fused Adam")


def choices():
    """Ours as it is, in float32, and without one thing at a time, in both precisions."""
    ours, single = [sys.executable, "with_zerosum.py"], 'train.precision="float32"'
    commands = {"zerosum": ours}
    commands |= {f"without {choice}": [*ours, "--without", choice] for choice in CHOICES}
    commands["float32"] = [*ours, single]
    return commands | {f"float32, without {choice}": [*ours, single, "--without", choice] for choice in CHOICES}


GFLOP = 23.0
"""Of one round: torch.utils.flop_counter, D left out of the backward pass where G moves."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--set", nargs="*", default=[], help="settings of ours")
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--choices", action="store_true")
    asked = parser.parse_args()
    if asked.install:
        install()
    every = choices() if asked.choices else loops(asked.set)
    commands = {name: command for name, command in every.items() if not asked.only or name in asked.only}

    from zerosum.data.mnist import mnist

    with tempfile.TemporaryDirectory() as folder:
        images = f"{folder}/images.npy"
        np.save(images, mnist().train.x[:, 0])
        playing = {name: Loop(command, images, asked.threads) for name, command in commands.items()}
        told = {name: loop.play(3) for name, loop in playing.items()}  # caches settle, graphs are compiled
        sizes = {name: tuple(line["sizes"]) for name, line in told.items()}
        assert len(set(sizes.values())) == 1, f"not the same networks: {sizes}"
        turns = [{name: loop.play(asked.rounds) for name, loop in playing.items()} for _ in range(asked.turns)]
        for loop in playing.values():
            loop.end()
    single, half = floor(asked.threads)
    print(f"{asked.turns} turns of {asked.rounds} rounds, {asked.threads} threads")
    print(f"floor: {GFLOP / single * 1e3:.0f} ms float32 ({single:.0f} GFLOP/s), ", end="")
    print(f"{GFLOP / half * 1e3:.0f} ms bfloat16 ({half:.0f} GFLOP/s)")
    print("\n| loop | median ms a round | least | most | ours is faster by | least | most | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    first = next(iter(playing))
    for name in playing:
        beside = "float32" if asked.choices and name.startswith("float32") else first
        times = [turn[name]["milliseconds"] for turn in turns]
        ratios = sorted(turn[name]["milliseconds"] / turn[beside]["milliseconds"] for turn in turns)
        cells = [*(f"{t:.0f}" for t in (median(times), min(times), max(times)))]
        cells += [f"{r:.2f}" for r in (median(ratios), ratios[0], ratios[-1])]
        print(f"| {name} | {' | '.join(cells)} | {turns[-1][name]['peak'] / 2**20:.0f} |")


if __name__ == "__main__":
    main()
