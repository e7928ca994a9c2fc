"""Lightning with manual optimisation, which it asks of everyone who has two optimizers."""

import logging
import warnings

import lightning
import torch
from gate import Gate
from networks import BATCH, BETAS, RATE, discriminator, forever, generator, images, noise, size, started
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, IterableDataset, TensorDataset


class GAN(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.G, self.D = started(generator()), started(discriminator())

    def configure_optimizers(self):
        return [torch.optim.Adam(net.parameters(), lr=RATE, betas=BETAS) for net in (self.G, self.D)]

    def training_step(self, batch, _):
        (real,) = batch
        optimizer_G, optimizer_D = self.optimizers()
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)

        self.toggle_optimizer(optimizer_D)
        fake = self.G(noise(len(real))).detach()
        cost = binary_cross_entropy_with_logits(self.D(real), ones)
        cost = cost + binary_cross_entropy_with_logits(self.D(fake), zeros)
        optimizer_D.zero_grad()
        self.manual_backward(cost)
        optimizer_D.step()
        self.untoggle_optimizer(optimizer_D)

        self.toggle_optimizer(optimizer_G)
        cost = binary_cross_entropy_with_logits(self.D(self.G(noise(len(real)))), ones)
        optimizer_G.zero_grad()
        self.manual_backward(cost)
        optimizer_G.step()
        self.untoggle_optimizer(optimizer_G)


class Endless(IterableDataset):
    """One epoch without an end, so that the trainer's work between epochs is not counted."""

    def __init__(self, gate):
        self.loader = DataLoader(TensorDataset(images()), BATCH, shuffle=True, drop_last=True)
        self.gate = gate

    def __iter__(self):
        return forever(self.loader, self.gate)


warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
gan = GAN()
lightning.Trainer(
    accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False,
).fit(gan, DataLoader(Endless(Gate([size(gan.G), size(gan.D)])), batch_size=None))  # fmt: skip
