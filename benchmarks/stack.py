"""Which stack for the pair `mlp`: plain or residual, ReLU or LeakyReLU; on digits and on the grid, three seeds each.

The same width, depth, game, rounds and seeds for all. Digits: coverage of the held-out digits and the ratio of median
distances that `make demo` prints. Grid: modes found, and the share of samples within 3 deviations of one.
"""

from statistics import mean

import torch
from torch import nn

from zerosum import build, config
from zerosum.metrics.density import mode_coverage
from zerosum.metrics.neighbors import nearest_distance
from zerosum.metrics.prdc import prdc
from zerosum.sampling import Sampler
from zerosum.training.loop import rounds

SEEDS, ROUNDS = range(3), {"digits": 1500, "grid": 4000}
ACTIVATIONS = {"relu": nn.ReLU(), "leaky relu 0.2": nn.LeakyReLU(0.2)}


class Residual(nn.Linear):
    """h + W f(h) + b."""

    def __init__(self, width, f):
        super().__init__(width, width)
        self.f = f

    def forward(self, h):  # noqa: D102
        return h + super().forward(self.f(h))


def stack(kind, f, inputs, width=128, depth=3):
    """`depth` hidden layers of `width`."""
    if kind == "residual":
        hidden = [Residual(width, f) for _ in range(depth - 1)] + [f]
    else:
        hidden = [f] + [part for _ in range(depth - 1) for part in (nn.Linear(width, width), f)]
    return nn.Sequential(nn.Linear(inputs, width), *hidden)


def played(recipe, seed, kind, f):
    """A setup of the recipe with other stacks in the same players, played to the end."""
    end = [f"schedule.end={ROUNDS[recipe]}"] if recipe == "grid" else []
    resolved = resolve(config.load(recipe, [f"train.seed={seed}", *end]))
    torch.manual_seed(seed)
    setup = build.assemble(resolved)
    G, D = setup.state.generator, setup.state.discriminator
    G[0], D.features[1] = stack(kind, f, G[0][0].in_features), stack(kind, f, D.features[1][0].in_features)
    setup.state.__dict__.update(vars(build.state_of(resolved, G, D)))
    for _ in rounds(setup.state, setup.game, setup.batches, ROUNDS[recipe]):
        pass
    return Sampler(setup.state.average, setup.data.spec, setup.game.latent), setup.data


def flat(images):
    return torch.from_numpy(images.reshape(len(images), -1)).double()


def digits(seed, kind, f):
    sampler, data = played("digits", seed, kind, f)
    train, test, samples = flat(data.samples(data.train)), flat(data.samples(data.test)), flat(sampler.draw(2000).array)
    of_samples, of_train = (nearest_distance(one, test).median() for one in (samples, train))
    return prdc(test, samples).coverage, (of_samples / of_train).item()


def grid(seed, kind, f):
    sampler, data = played("grid", seed, kind, f)
    means, sigmas = torch.from_numpy(data.mixture.means), torch.from_numpy(data.mixture.sigmas)
    return mode_coverage(torch.from_numpy(sampler.draw(2500).array), means, sigmas)[:2]


def main():
    torch.set_num_threads(1)
    for task, names in ((digits, ("coverage", "distance ratio")), (grid, ("modes", "within 3 sigma"))):
        for kind in ("plain", "residual"):
            for called, f in ACTIVATIONS.items():
                columns = zip(*(task(seed, kind, f) for seed in SEEDS), strict=True)
                told = [
                    f"{name} {mean(column):.3f} ({min(column):.3f} to {max(column):.3f})"
                    for name, column in zip(names, columns, strict=True)
                ]
                print(f"{task.__name__:<7} {kind:<9} {called:<15} {', '.join(told)}", flush=True)


if __name__ == "__main__":
    main()
