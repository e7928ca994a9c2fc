"""torchgan 0.1.0 with its own trainer and its own minimax losses (the non-saturating ones)."""

import os
import sys
import tempfile
from types import ModuleType

os.environ |= {"TENSORBOARD_LOGGING": "0", "VISDOM_LOGGING": "0", "CONSOLE_LOGGING": "0"}
sys.modules["torchvision"] = ModuleType("torchvision")  # it saves pictures with it, after an epoch

import torch
from gate import Gate
from networks import BATCH, BETAS, LATENT, RATE, discriminator, forever, generator, images, noise, size, started
from torch.utils.data import DataLoader, TensorDataset
from torchgan.losses import MinimaxDiscriminatorLoss, MinimaxGeneratorLoss
from torchgan.models import Discriminator, Generator
from torchgan.trainer import Trainer


class G(Generator):
    def __init__(self):
        super().__init__(LATENT)
        self.net = started(generator())

    def forward(self, z):
        return self.net(z)

    def sampler(self, n, device):
        return [noise(n)]


class D(Discriminator):
    def __init__(self):
        super().__init__(1)
        self.net = started(discriminator())

    def forward(self, x):
        return self.net(x)


class Endless:
    """One epoch without an end, so that the trainer's work between epochs is not counted."""

    batch_size = BATCH

    def __init__(self, gate):
        self.loader = DataLoader(TensorDataset(images()), BATCH, shuffle=True, drop_last=True)
        self.gate = gate

    def __iter__(self):
        return ([real, torch.zeros(len(real))] for (real,) in forever(self.loader, self.gate))


adam = {"name": torch.optim.Adam, "args": {"lr": RATE, "betas": BETAS}}
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    trainer = Trainer(
        {"generator": {"name": G, "optimizer": adam}, "discriminator": {"name": D, "optimizer": adam}},
        [MinimaxDiscriminatorLoss(), MinimaxGeneratorLoss()],
        device=torch.device("cpu"),
        epochs=1,
    )
    trainer(Endless(Gate([size(trainer.generator), size(trainer.discriminator)])))
