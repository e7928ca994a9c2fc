"""What a batch of MNIST costs, from the stored bytes to what the networks see (`python benchmarks/data.py`)."""

from statistics import median
from time import perf_counter

import torch

from zerosum.data import DATASETS
from zerosum.data.feed import feed

BATCH, BATCHES, REPEATS = 128, 500, 9


def main():
    torch.set_num_threads(1)
    data = DATASETS["mnist"]()
    batches = feed(data, BATCH, 0, torch.device("cpu"), torch.float32, labelled=False)
    times = []
    for repeat in range(REPEATS):
        began = perf_counter()
        for number in range(repeat * BATCHES, (repeat + 1) * BATCHES):
            batches(number)
        times.append(1000 * (perf_counter() - began) / BATCHES)
    print(
        f"{median(times):.3f} ms a batch of {BATCH} ({min(times):.3f} to {max(times):.3f} over {REPEATS} x {BATCHES})"
    )
    print(f"held in memory: {(data.train.nbytes + data.test.nbytes) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
