"""What a batch of 128 costs, from the stored bytes to what the networks see.

    python benchmarks/data.py                        MNIST, held in memory ($ZEROSUM_DATA)
    python benchmarks/data.py --rows 10000000        memory-mapped images of 28 x 28, from 10,000 rows up to so many

The second writes .npy files of random bytes (7.8 GB for ten million rows) into a temporary folder (--folder), opens
them as a user's own, and times batches whose pages are in the system's cache, and batches after the system was asked to
forget them. What grows is to be seen in the anonymous memory: pages of the file belong to the system, not to us.
"""

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from zerosum.data import DATASETS, from_file, validate
from zerosum.data.loader import RESIDENT, batch_loader

BATCH, BATCHES, REPEATS = 128, 500, 9


def times(batches, first=0, count=BATCHES, repeats=REPEATS, again=False):
    """Milliseconds a batch, one number for each repeat; `again`: the same batches each time."""
    told = []
    for repeat in range(repeats):
        begin = first + (0 if again else repeat * count)
        began = perf_counter()
        for number in range(begin, begin + count):
            batches(number)
        told.append(1000 * (perf_counter() - began) / count)
    return told


def shown(told):
    return f"{median(told):.3f} ({min(told):.3f} to {max(told):.3f})"


def own_memory():
    """MiB that belong to this process alone, and not to a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def write(path, rows):
    """Random bytes; the same megabytes again and again, since only their number counts."""
    stretch = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28), dtype=np.uint8)
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(rows, 28, 28))
    for first in range(0, rows, len(stretch)):
        file[first : first + len(stretch)] = stretch[: rows - first]
    file.flush()


def forget(path):
    """Ask the system to drop a file's pages from its cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def mapped(rows, folder):
    path = Path(folder) / f"{rows}.npy"
    write(path, rows)
    began = perf_counter()
    data = validate(from_file(path))
    opened = perf_counter() - began
    batches = batch_loader(data, BATCH, 0, torch.device("cpu"), torch.float32)
    batches(0)
    before = own_memory()
    times(batches, repeats=1)
    warm = times(batches, again=True)
    grown = own_memory() - before
    held = "file" if data.train.nbytes > RESIDENT else "memory"
    del data, batches  # the pages of a mapped file cannot be dropped
    forget(path)
    cold = times(
        batch_loader(from_file(path), BATCH, 0, torch.device("cpu"), torch.float32), first=10_000, count=50, repeats=1
    )
    print(f"| {rows:,} | {held} | {shown(warm)} | {cold[0]:.2f} | {opened:.1f} s | {grown:.1f} MiB |", flush=True)
    path.unlink()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int)
    parser.add_argument("--folder")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.rows is None:
        data = DATASETS["mnist"]()
        batches = batch_loader(data, BATCH, 0, torch.device("cpu"), torch.float32)
        print(f"MNIST: {shown(times(batches))} ms a batch of {BATCH} ({REPEATS} x {BATCHES})")
        print(f"held in memory: {(data.train.nbytes + data.test.nbytes) / 1e6:.0f} MB")
        return
    print("| rows | batches come from | ms a batch, warm | cold | opened and checked in | memory grown |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for rows in (10**power for power in range(4, 12)):
            if rows <= asked.rows:
                mapped(rows, folder)


if __name__ == "__main__":
    main()
