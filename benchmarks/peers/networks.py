"""The CS231n pair on MNIST as one would write it down in PyTorch, and the data for it."""

import os
import sys
from math import prod

import numpy as np
import torch
from torch import nn

BATCH, LATENT, RATE, BETAS = 128, 96, 1e-3, (0.5, 0.999)

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def generator():
    return nn.Sequential(
        nn.Linear(LATENT, 1024), nn.ReLU(), nn.BatchNorm1d(1024),
        nn.Linear(1024, 7 * 7 * 128), nn.ReLU(), nn.BatchNorm1d(7 * 7 * 128),
        nn.Unflatten(1, (128, 7, 7)),
        nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(64),
        nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def discriminator():
    return nn.Sequential(
        nn.Conv2d(1, 32, 5), nn.LeakyReLU(0.01), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5), nn.LeakyReLU(0.01), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(1024, 1024), nn.LeakyReLU(0.01), nn.Linear(1024, 1),
    )  # fmt: skip


def started(net):
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return net


def noise(n):
    return 2 * torch.rand(n, LATENT) - 1


def images():
    """All training images, (60000, 1, 28, 28) in [-1, 1]."""
    return torch.from_numpy(np.load(sys.argv[1])[:, None]).float() / 127.5 - 1


def size(net):
    return sum(prod(parameter.shape) for parameter in net.parameters())


def forever(loader, gate):
    """The batches of epoch after epoch, one turn each."""
    while True:
        for batch in loader:
            gate.begin()
            yield batch
