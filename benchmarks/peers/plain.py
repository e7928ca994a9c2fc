"""The loop that a tutorial would write."""

import torch
from gate import Gate
from networks import BATCH, BETAS, RATE, discriminator, forever, generator, images, noise, size, started
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset

G, D = started(generator()), started(discriminator())
optimizer_G = torch.optim.Adam(G.parameters(), lr=RATE, betas=BETAS)
optimizer_D = torch.optim.Adam(D.parameters(), lr=RATE, betas=BETAS)
loader = DataLoader(TensorDataset(images()), BATCH, shuffle=True, drop_last=True)
ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

for (real,) in forever(loader, Gate([size(G), size(D)])):
    optimizer_D.zero_grad()
    fake = G(noise(BATCH)).detach()
    cost = binary_cross_entropy_with_logits(D(real), ones) + binary_cross_entropy_with_logits(D(fake), zeros)
    cost.backward()
    optimizer_D.step()
    optimizer_G.zero_grad()
    cost = binary_cross_entropy_with_logits(D(G(noise(BATCH))), ones)
    cost.backward()
    optimizer_G.step()
