"""Where a round's time goes on a device, and how it grows with the batch, the image and the networks.

    python benchmarks/growth.py [--device cuda] [--threads 2]          three pairs: achieved against what is possible
    python benchmarks/growth.py --grow [--device cuda]                 DCGAN as batch, side and width grow

The data is random bytes, since only their number counts. Arithmetic is counted by torch's own counter over one round;
"possible" is the best rate of a product of two square matrices, seen in the same run. On a GPU this is the smoke test,
too: it ends with an error if a round there does not give finite numbers.
"""

import argparse
import gc
import resource
from math import isfinite
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from zerosum import build, config, memory
from zerosum.data import from_array
from zerosum.engine.device import best_device
from zerosum.game.game import play
from zerosum.resolved import resolve

PAIRS = {
    "CS231n, 28 x 28": ("cs231n-vanilla", (28, 28, 1), []),
    "DCGAN, 64 x 64 x 3": ("dcgan-mnist", (64, 64, 3), []),
    "residual, 32 x 32 x 3, R1 + R2": ("residual-mnist", (32, 32, 3), []),
}
PRECISIONS = ("float32", "bfloat16")


def setup_of(recipe, shape, device, threads, precision, overrides):
    images = np.random.default_rng(0).integers(0, 256, (2048, *shape), dtype=np.uint8)
    chosen = [f'train.device="{device}"', f"train.threads={threads}", f"train.precision={precision}", *overrides]
    return build.assemble(resolve(config.load(recipe, chosen)), from_array(images, layout="nhwc"))


def wait(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def milliseconds(setup, device, rounds):
    wait(device)
    began = perf_counter()
    for _ in range(rounds):
        readings = play(setup.state, setup.game, setup.batches, setup.engine)
    wait(device)
    cost = readings[-1].costs["cost"].item()
    assert isfinite(cost), f"G's cost is {cost}"
    return (perf_counter() - began) / rounds * 1e3


def of_convolution_back(slope, x, weight, _bias, _stride, _padding, _dilation, transposed, *rest, out_val=None):
    """As many as forward, by the input and by the weights; torch's formula forgets groups in the latter."""
    return 2 * (x if transposed else slope).numel() * weight[0].numel() * sum(rest[-1][:2])


of_convolution_back._get_raw = True  # as tensors, not shapes
COUNTED = {torch.ops.aten.convolution_backward: of_convolution_back}


def gflop(recipe, shape, overrides):
    """In float64, where every layer is torch's own, so that its counter knows it."""
    setup = setup_of(recipe, shape, "cpu", 2, "float64", overrides)
    with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
        play(setup.state, setup.game, setup.batches, setup.engine)
    return counter.get_total_flops() / 1e9


def possible(device, precision):
    """The best rate of a matrix product, in GFLOP/s."""
    best = 0.0
    for n in (1024, 2048) if device == "cpu" else (4096, 8192):
        a, b = (torch.randn(n, n, device=device, dtype=getattr(torch, precision)) for _ in range(2))
        for _ in range(10):
            wait(device)
            began = perf_counter()
            a @ b
            wait(device)
            best = max(best, 2 * n**3 / (perf_counter() - began) / 1e9)
    return best


def rows(asked, cases):
    """Each case in both precisions, in turn: A B A B."""
    for name, (recipe, shape, overrides) in cases.items():
        pair = [setup_of(recipe, shape, asked.device, asked.threads, kind, overrides) for kind in PRECISIONS]
        work = gflop(recipe, shape, overrides)
        times = [[], []]
        for _ in range(asked.turns):
            for told, setup in zip(times, pair, strict=True):
                milliseconds(setup, asked.device, 1)
                told.append(milliseconds(setup, asked.device, asked.rounds))
        yield name, work, times
        del pair
        gc.collect()


def three_pairs(asked):
    rates = [possible(asked.device, kind) for kind in PRECISIONS]
    print(f"possible: {rates[0]:,.0f} GFLOP/s in float32, {rates[1]:,.0f} in bfloat16; {asked.threads} threads\n")
    print("| pair | precision | ms a round | GFLOP | achieved GFLOP/s | of what is possible |")
    print("|---|---|---|---|---|---|")
    for name, work, times in rows(asked, PAIRS):
        for kind, rate, told in zip(PRECISIONS, rates, times, strict=True):
            achieved = work / median(told) * 1e3
            span = f"{median(told):.1f} ({min(told):.1f} to {max(told):.1f})"
            print(f"| {name} | {kind} | {span} | {work:.1f} | {achieved:,.0f} | {achieved / rate:.0%} |", flush=True)


def growth(asked):
    cases = {}
    for batch in (32, 64, 128, 256):
        cases[f"batch {batch}"] = ("dcgan-mnist", (32, 32, 3), [f"game.batch={batch}"])
    for side in (16, 32, 64):
        cases[f"side {side}"] = ("dcgan-mnist", (side, side, 3), ["game.batch=64"])
    for width in (32, 64, 128):
        wide = [f"nets.generator.width={width}", f"nets.discriminator.width={width}"]
        cases[f"width {width}"] = ("dcgan-mnist", (32, 32, 3), ["game.batch=64", *wide])
    print("DCGAN; but for what is named: batch 64, 32 x 32 x 3, the recipe's width\n")
    print("| | float32, ms a round | bfloat16, ms a round | GFLOP | peak MiB so far |\n|---|---|---|---|---|")
    for name, work, times in rows(asked, cases):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cells = [f"{median(told):.0f} ({min(told):.0f} to {max(told):.0f})" for told in times]
        print(f"| {name} | {' | '.join(cells)} | {work:.1f} | {peak:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default=best_device())
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--grow", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    memory.keep_freed()
    (growth if asked.grow else three_pairs)(asked)


if __name__ == "__main__":
    main()
