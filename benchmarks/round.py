"""The round of zerosum against the loop one would write by hand, on the default game: digits, R1 + R2, batch 64.

Both play the same rounds: same networks from the same weights, same rows, same noise, checked to end in the same
weights in float64 before anything is timed. Then they are timed in turn, A B A B, in float32.
"""

from copy import deepcopy
from statistics import median
from time import perf_counter

import torch
from torch.nn.functional import softplus

from zerosum import build, config
from zerosum.game import follow, play

ROUNDS, PAIRS = 200, 9


def hand_written(state, game, batches):
    """One round of Algorithm 1 with R1 + R2, as tutorials write it: two passes through D, Adam, an average."""
    G, D = state.generator, state.discriminator
    weight = game.penalties[0].weight
    x, _ = batches(state.step)
    real = x.requires_grad_()
    fake = G(game.latent(game.batch, game.seed, state.step, 0, "latent").to(x)).detach().requires_grad_()
    real_logits, fake_logits = D(real), D(fake)
    cost = softplus(-real_logits).mean() + softplus(fake_logits).mean()
    for logits, samples in ((real_logits, real), (fake_logits, fake)):
        (slope,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
        cost = cost + weight * 0.5 * slope.square().flatten(1).sum(1).mean()
    state.optimisers["discriminator"].zero_grad()
    cost.backward()
    state.optimisers["discriminator"].step()
    cost = softplus(-D(G(game.latent(game.batch, game.seed, state.step, 1, "latent").to(x)))).mean()
    state.optimisers["generator"].zero_grad()
    cost.backward()
    state.optimisers["generator"].step()
    state.step += 1
    follow(state, game)


def by_hand(setup):
    """A setup for the other loop: the same weights, plain Adam."""
    other = deepcopy(setup)
    for player, net in (("generator", other.state.generator), ("discriminator", other.state.discriminator)):
        choice = setup.config.optimisers.generator.options
        other.state.optimisers[player] = torch.optim.Adam(net.parameters(), choice["rate"], tuple(choice["betas"]))
    return other


def setups(precision):
    settings = build.resolve(config.load("digits", [f"train.precision={precision}"]))
    torch.set_num_threads(settings.train.threads)
    ours = build.assemble(settings)
    return ours, by_hand(ours)


def check_same_work():
    ours, theirs = setups("float64")
    for _ in range(20):
        play(ours.state, ours.game, ours.batches)
        hand_written(theirs.state, theirs.game, theirs.batches)
    for mine, other in zip(ours.state.generator.parameters(), theirs.state.generator.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)


def milliseconds(loop, setup):
    began = perf_counter()
    for _ in range(ROUNDS):
        loop(setup.state, setup.game, setup.batches)
    return (perf_counter() - began) / ROUNDS * 1e3


def main():
    check_same_work()
    ours, theirs = setups("float32")
    rows = [(milliseconds(play, ours), milliseconds(hand_written, theirs)) for _ in range(PAIRS)]
    for name, times in zip(("zerosum", "by hand"), zip(*rows, strict=True), strict=True):
        print(f"{name}: {median(times):.2f} ms a round (best {min(times):.2f}, worst {max(times):.2f})")
    ratios = [hand / mine for mine, hand in rows]
    print(f"by hand / zerosum: {median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f} over {PAIRS} pairs)")


if __name__ == "__main__":
    main()
