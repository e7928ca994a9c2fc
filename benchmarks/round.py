"""The round of zerosum against the loop one would write by hand.

    python benchmarks/round.py                       the default game: digits, R1 + R2, batch 64
    python benchmarks/round.py cs231n-wgan-gp        any recipe with Adam; non-saturating with at most R1 + R2, or
                                                     Wasserstein with WGAN-GP; MNIST under $ZEROSUM_DATA
           [--threads 2] [--rounds 200] [--pairs 9]

Both play the same rounds: same networks from the same weights, same rows, same noise, checked to end in the same
weights in float64 before anything is timed. Then they are timed in turn, A B A B, in float32; bfloat16 is for
benchmarks/peers.
"""

import argparse
from copy import deepcopy
from statistics import median
from time import perf_counter

import torch
from torch.nn.functional import softplus

from zerosum import build, config, rng
from zerosum.game.game import play, update_average
from zerosum.resolved import resolve


def hand_written(state, game, batches):
    """One round of Algorithm 1 as tutorials write it: D twice, plain Adam."""
    G, D, wasserstein = state.generator, state.discriminator, any(term.name == "wgan-gp" for term in game.penalties)
    for optimizer in state.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * game.schedule(state.round)
    real, _ = batches(state.round)
    fake = G(game.latent(game.batch, game.seed, state.round, 0, "latent").to(real)).detach()
    cost = critic_cost(state, game, D, real, fake) if wasserstein else judge_cost(game, D, real, fake)
    state.optimizers["discriminator"].zero_grad()
    cost.backward()
    state.optimizers["discriminator"].step()
    logits = D(G(game.latent(game.batch, game.seed, state.round, 1, "latent").to(real)))
    cost = -logits.mean() if wasserstein else softplus(-logits).mean()
    state.optimizers["generator"].zero_grad()
    cost.backward()
    state.optimizers["generator"].step()
    state.round += 1
    update_average(state, game)


def judge_cost(game, D, real, fake):
    """-log D(x) - log(1 - D(G(z))), with R1 + R2 if there is a penalty."""
    real.requires_grad_(bool(game.penalties))
    fake.requires_grad_(bool(game.penalties))
    real_logits, fake_logits = D(real), D(fake)
    cost = softplus(-real_logits).mean() + softplus(fake_logits).mean()
    for logits, samples in ((real_logits, real), (fake_logits, fake)) if game.penalties else ():
        (slope,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
        cost = cost + game.penalties[0].weight * 0.5 * slope.square().flatten(1).sum(1).mean()
    return cost


def critic_cost(state, game, D, real, fake):
    """D(G(z)) - D(x), with the penalty between them."""
    share = rng.uniform((len(real), 1, 1, 1), game.seed, state.round, 0, "wgan-gp").to(real)
    between = (share * fake + (1 - share) * real).requires_grad_()
    (slope,) = torch.autograd.grad(D(between).sum(), between, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return D(fake).mean() - D(real).mean() + game.penalties[0].weight * penalty


def by_hand(setup):
    """A setup for the other loop: the same weights, plain Adam."""
    other = deepcopy(setup)
    for player, net in (("generator", other.state.generator), ("discriminator", other.state.discriminator)):
        choice = setup.config.optimizers.generator.options
        other.state.optimizers[player] = torch.optim.Adam(net.parameters(), choice["lr"], tuple(choice["betas"]))
    return other


def setups(recipe, threads, *overrides):
    chosen = ["train.precision=float32", *([f"train.threads={threads}"] if threads else []), *overrides]
    settings = resolve(config.load(recipe, chosen))
    torch.set_num_threads(settings.config.train.threads)
    ours = build.assemble(settings)
    return ours, by_hand(ours)


def check_same_work(recipe, rounds):
    ours, theirs = setups(recipe, None, "train.precision=float64")
    for _ in range(rounds):
        play(ours.state, ours.game, ours.batches, ours.engine)
        hand_written(theirs.state, theirs.game, theirs.batches)
    for mine, other in zip(ours.state.generator.parameters(), theirs.state.generator.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)


def milliseconds(loop, setup, rounds):
    began = perf_counter()
    for _ in range(rounds):
        loop(setup.state, setup.game, setup.batches)
    return (perf_counter() - began) / rounds * 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", default="digits")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=9)
    asked = parser.parse_args()
    check_same_work(asked.recipe, min(20, asked.rounds))
    ours, theirs = setups(asked.recipe, asked.threads)
    milliseconds(play, ours, 2), milliseconds(hand_written, theirs, 2)  # caches settle
    rows = [
        (milliseconds(play, ours, asked.rounds), milliseconds(hand_written, theirs, asked.rounds))
        for _ in range(asked.pairs)
    ]
    for name, times in zip(("zerosum", "by hand"), zip(*rows, strict=True), strict=True):
        print(f"{name}: {median(times):.2f} ms a round (best {min(times):.2f}, worst {max(times):.2f})")
    ratios = sorted(hand / mine for mine, hand in rows)
    print(f"by hand / zerosum: {median(ratios):.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f} over {len(rows)} pairs)")


if __name__ == "__main__":
    main()
