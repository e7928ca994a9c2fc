"""The layers of the CS231n pair, one by one: torch's form, ours, and what their sum says about a round.

    python benchmarks/operators.py [--threads 2]

Forward, and backward by input and weights, at the batch sizes of a round, channels last. The last lines add up what one
round asks for: no loop can be faster on these operators, whatever it does around them.
"""

import argparse
from statistics import median
from time import perf_counter

import torch
from torch import nn

from zerosum import memory
from zerosum.kernels.fast_layers import Conv2d, ConvTranspose2d, Linear

BATCH = 128

LAYERS = {
    "linear 1024 to 6272": (lambda: Linear(1024, 6272), (BATCH, 1024)),
    "transposed 128 to 64": (lambda: ConvTranspose2d(128, 64, 4, 2, 1), (BATCH, 128, 7, 7)),
    "transposed 64 to 1": (lambda: ConvTranspose2d(64, 1, 4, 2, 1), (BATCH, 64, 14, 14)),
    "convolution 1 to 32": (lambda: Conv2d(1, 32, 5), (BATCH, 1, 28, 28)),
    "convolution 1 to 32, both": (lambda: Conv2d(1, 32, 5), (2 * BATCH, 1, 28, 28)),
    "convolution 32 to 64": (lambda: nn.Conv2d(32, 64, 5), (BATCH, 32, 12, 12)),
    "convolution 32 to 64, both": (lambda: nn.Conv2d(32, 64, 5), (2 * BATCH, 32, 12, 12)),
    "linear 1024 to 1024": (lambda: Linear(1024, 1024), (BATCH, 1024)),
    "linear 1024 to 1024, both": (lambda: Linear(1024, 1024), (2 * BATCH, 1024)),
}
"""Name -> layer and shape of its input; "both": real and fake in one pass."""

ROUND = {
    "linear 1024 to 6272": (2, 1, "both"),
    "transposed 128 to 64": (2, 1, "both"),
    "transposed 64 to 1": (2, 1, "both"),
    "convolution 1 to 32": (1, 1, "input"),
    "convolution 1 to 32, both": (1, 1, "weights"),
    "convolution 32 to 64": (1, 1, "input"),
    "convolution 32 to 64, both": (1, 1, "both"),
    "linear 1024 to 1024": (1, 1, "input"),
    "linear 1024 to 1024, both": (1, 1, "both"),
}
"""Name -> how often a round goes forward through it, how often backward, and by what."""


def milliseconds(work, repeats):
    for _ in range(3):
        work()
    told = []
    for _ in range(repeats):
        began = perf_counter()
        work()
        told.append((perf_counter() - began) * 1e3)
    return median(told)


def times(layer, forward, x, by, repeats):
    """(forward, backward) in milliseconds."""
    for weight in layer.parameters():
        weight.requires_grad_(by != "input")
    x = x.detach().requires_grad_(by != "weights")
    inputs = ([] if by == "weights" else [x]) + ([] if by == "input" else list(layer.parameters()))
    y = forward(layer, x)
    slope = torch.randn_like(y)
    ahead = milliseconds(lambda: forward(layer, x), repeats)
    return ahead, milliseconds(lambda: torch.autograd.grad(y, inputs, slope, retain_graph=True), repeats)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    memory.keep_freed()
    print("| layer, n | | torch forward | ours | torch backward | ours |\n|---|---|---|---|---|---|")
    sums = {}
    for name, (make, shape) in LAYERS.items():
        often, back, by = ROUND[name]
        for kind in (torch.float32, torch.bfloat16):
            layer, x = make().to(kind), torch.randn(shape).to(kind)
            if x.ndim == 4:
                layer, x = (value.to(memory_format=torch.channels_last) for value in (layer, x))
            torchs = next(base for base in type(layer).__mro__ if base.__module__.startswith("torch."))
            assert issubclass(torchs, nn.Module)
            theirs = times(layer, torchs.forward, x, by, asked.repeats)
            ours = times(layer, type(layer).forward, x, by, asked.repeats)
            for who, (ahead, behind) in (("torch", theirs), ("ours", ours)):
                sums[kind, who] = sums.get((kind, who), 0) + often * ahead + back * behind
            cells = [f"{value:.1f}" for value in (theirs[0], ours[0], theirs[1], ours[1])]
            backward = {"both": "", "input": ", by the input", "weights": ", by the weights"}[by]
            print(f"| {name}{backward}, {shape[0]} | {str(kind)[6:]} | {' | '.join(cells)} |", flush=True)
    for (kind, who), total in sums.items():
        print(f"a round's sum, {str(kind)[6:]}, {who}: {total:.0f} ms")


if __name__ == "__main__":
    main()
