"""How long a user waits: for the first round, and for samples.

    python benchmarks/start.py RUN       RUN: a folder that `zerosum train cs231n-vanilla` wrote

The first: from torch being imported to the end of the first round of `digits`, in five fresh processes.
The second: `zerosum sample RUN -n 10000 --out samples.npz`, and into a folder of PNG files, each in a fresh process.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

FIRST = """
import sys, tempfile, torch
from time import perf_counter
from pathlib import Path
began = perf_counter()
from zerosum import build, config
from zerosum.resolved import resolve
from zerosum.training import loop
from zerosum.run import RunFolder
with tempfile.TemporaryDirectory() as folder:
    for moment in loop.fit(resolve(config.load("digits")), RunFolder(Path(folder) / "run")):
        print(perf_counter() - began)
        break
"""


def first_round():
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[0])


def sampling(run, out):
    """Seconds and MiB of the command."""
    command = [sys.executable, "-m", "zerosum", "sample", run, "-n", "10000", "--out", out]
    began = perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    return perf_counter() - began, used.ru_maxrss / 1024


def main():
    times = [first_round() for _ in range(5)]
    print(f"first round of digits after torch: {median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
    with tempfile.TemporaryDirectory() as folder:
        for out in ("samples.npz", "samples.png", "samples"):
            seconds, peak = sampling(str(Path(sys.argv[1]).resolve()), f"{folder}/{out}")
            print(f"10,000 samples into {out}: {seconds:.1f} s, {peak:.0f} MiB at most")


if __name__ == "__main__":
    main()
