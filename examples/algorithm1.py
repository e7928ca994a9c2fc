"""Algorithm 1 of Goodfellow et al. 2014, arXiv:1406.2661, in plain torch: two networks find two Gaussians on a line.

Run it with `python examples/algorithm1.py`; it takes a few seconds. `zerosum` plays the same game, tested to 1e-12:
what it adds is everything else (resume, checkpoints, diagnosis, metrics, your own data).
"""

import torch
from torch import nn
from torch.nn.functional import logsigmoid


def algorithm_1(G, D, step_G, step_D, data, noise, rounds, k=1):
    """Train G and D in turn; D returns logits a(x), and D(x) = sigmoid(a(x)).

    data(i) gives the i-th batch of m samples x, noise(r, i) the m latents z of step i of round r.
    """
    for r in range(rounds):
        for i in range(k):
            x, z = data(r * k + i), noise(r, i)
            V = logsigmoid(D(x)).mean() + logsigmoid(-D(G(z).detach())).mean()  # E log D(x) + E log(1 - D(G(z)))
            step_D.zero_grad()
            (-V).backward()  # D ascends V
            step_D.step()
        cost = -logsigmoid(D(G(noise(r, k)))).mean()  # G: -log D(G(z)), the cost of section 3
        step_G.zero_grad()
        cost.backward()
        step_G.step()


def network(inputs):
    """A perceptron with one hidden layer that gives one number."""
    return nn.Sequential(nn.Linear(inputs, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))


def main(rounds=2000, m=256):
    """Play, and say where the samples lie."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small networks gain nothing by more
    G, D = network(4), network(1)
    step_G, step_D = (torch.optim.Adam(net.parameters(), lr=2e-3, betas=(0.5, 0.99)) for net in (G, D))
    data = lambda i: torch.randn(m, 1) / 2 + 4 * torch.randint(2, (m, 1)) - 2  # noqa: E731  means -2 and 2
    algorithm_1(G, D, step_G, step_D, data, lambda r, i: torch.randn(m, 4), rounds)
    samples = G(torch.randn(10_000, 4)).detach()
    for name, side in (("left", samples[samples < 0]), ("right", samples[samples > 0])):
        share = len(side) / len(samples)
        print(f"{name}: {share:.0%} of the samples, mean {side.mean():.2f}, standard deviation {side.std():.2f}")
    print("of the data: 50% each, means -2 and 2, standard deviation 0.5")


if __name__ == "__main__":
    main()
