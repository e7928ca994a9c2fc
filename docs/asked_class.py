"""See whether a conditional generator makes what it is asked for (`python docs/asked_class.py runs/conditional-mnist`).

A small network is trained on the real rows of the run's data, checked on the rows held out, and asked which class it
sees in samples of each class. Prints the share in which it sees the asked one.
"""

import sys
from itertools import islice

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam

import zerosum as zs
from zerosum import build
from zerosum.draws import generator, set_global

EPOCHS, BATCH, EACH = 3, 128, 1000


def as_input(images):
    return torch.from_numpy(images).float().permute(0, 3, 1, 2) / 255


def trained_on(data):
    """A network of two convolutions and two layers, as in the published checks of mode coverage."""
    channels, height, width = data.shape
    set_global(0, "asked class")
    net = nn.Sequential(
        nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, len(data.classes)),
    )  # fmt: skip
    x, labels = data.samples(data.train), torch.from_numpy(data.train.every_label())
    move = Adam(net.parameters(), lr=1e-3)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=generator(0, "asked class", epoch)).split(BATCH):
            cost = cross_entropy(net(as_input(x[rows.numpy()])), labels[rows])
            move.zero_grad()
            cost.backward()
            move.step()
    return net.eval()


@torch.no_grad()
def seen(net, images):
    return np.concatenate([net(as_input(part)).argmax(1).numpy() for part in np.array_split(images, 20)])


def main(folder):
    run = zs.load(folder)
    data = build.open_data(run.config)
    net = trained_on(data)
    real = seen(net, data.samples(data.test)) == data.test.every_label()
    print(f"real rows held out: the right class is seen in {real.mean():.2%} of {len(real):,}")
    shares = []
    for number, name in enumerate(islice(data.classes, 100)):
        shares.append((seen(net, run.sample(EACH, seed=1, label=name).array) == number).mean())
        print(f"asked for {name}: seen in {shares[-1]:.1%} of {EACH:,} samples")
    print(f"over all: {np.mean(shares):.2%}, the least {min(shares):.1%}")


if __name__ == "__main__":
    main(sys.argv[1])
