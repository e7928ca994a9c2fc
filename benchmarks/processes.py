"""Two processes against one, and against what one would write with torch's DistributedDataParallel.

    python benchmarks/processes.py                the CS231n pair, DCGAN at 64 x 64, the residual pair: ms a round
           [--processes 2] [--rounds 6] [--turns 7] [--only cs231n] [--threads 1] [--connections]
    python benchmarks/processes.py --bytes        what every recipe sends in a round, no MNIST needed

One process plays the whole batch while the others wait; then its part of the batch, as if the others were there; then
all play it together; then all play it in a loop by hand around DistributedDataParallel: in turn, in one run, one thread
each. Before anything is timed, one and all are checked to end in the same weights in float64 (networks with batch
statistics: with statistics over all rows). "Expected": part and sums one after the other, nothing overlapped.
"""

import argparse
import os
import subprocess
import sys
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch.nn.functional import softplus
from torch.nn.parallel import DistributedDataParallel

from zerosum import build, config, memory
from zerosum.data import from_array, validate
from zerosum.engine import SINGLE, Gradients, World, join_world
from zerosum.game.engine import Shard
from zerosum.game.game import play
from zerosum.resolved import resolve

SIDE64 = ["nets.name=dcgan", "nets.generator.width=64", "nets.discriminator.width=64", "game.batch=64"]
CASES = {
    "cs231n": ("cs231n-vanilla", (28, 28, 1), []),
    "dcgan64": ("dcgan-mnist", (64, 64, 3), SIDE64),
    "residual": ("residual-mnist", (32, 32, 3), []),
}
NAMES = {
    "cs231n": "CS231n pair, 28 x 28, batch 128",
    "dcgan64": "DCGAN, width 64, 64 x 64 x 3, batch 64",
    "residual": "residual pair, R1 + R2, 32 x 32 x 3",
}


def images(shape, n=2048):
    """Speed does not depend on what is in them."""
    return validate(from_array(np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8), held_out=0.1))


def setup_of(case, world, *overrides):
    recipe, shape, changes = CASES[case]
    asked = [*changes, "train.device=cpu", "train.precision=float32", *overrides]
    return build.assemble(resolve(config.load(recipe, asked)), images(shape), world)


def ours(setup):
    play(setup.state, setup.game, setup.batches, setup.engine)


class ByHand:
    """One round as tutorials write it: each player in DistributedDataParallel, Adam, no average, no penalty."""

    def __init__(self, setup, world):
        self.setup, self.world = setup, world
        self.G = DistributedDataParallel(setup.state.generator, process_group=world.gradients)
        self.D = DistributedDataParallel(setup.state.discriminator, process_group=world.gradients)
        rate = {"lr": 1e-3, "betas": (0.5, 0.999)}
        self.move_G, self.move_D = (torch.optim.Adam(net.parameters(), **rate) for net in (self.G, self.D))

    def __call__(self, _):  # noqa: D102
        G, D, game, step = self.G, self.D, self.setup.game, self.setup.state.round
        mine = lambda n, i: game.latent(n * self.world.size, 0, step, i)[self.world.rank * n :][:n]  # noqa: E731
        x, _ = self.setup.batches(step)
        with torch.no_grad():
            fake = G(mine(len(x), 0))
        cost = softplus(-D(x)).mean() + softplus(D(fake)).mean()
        self.move_D.zero_grad()
        cost.backward()
        self.move_D.step()
        cost = softplus(-D(G(mine(len(x), 1)))).mean()
        self.move_G.zero_grad()
        cost.backward()
        self.move_G.step()
        self.setup.state.round += 1


def check_same_work(case, world):
    exact = ["train.precision=float64", "train.statistics=all", "game.batch=8"]
    two, one = setup_of(case, world, *exact), setup_of(case, SINGLE, *exact)
    for _ in range(3):
        ours(two), ours(one)
    for mine, other in zip(two.state.generator.parameters(), one.state.generator.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-9)


def seconds(loop, setup, rounds):
    began = perf_counter()
    for _ in range(rounds):
        loop(setup)
    return (perf_counter() - began) / rounds


def timed(case, asked, world):
    check_same_work(case, world)
    part = batch_of(case) // world.size
    alone, little, shared, by_hand = (
        setup_of(case, who, *more)
        for who, more in ((SINGLE, ()), (SINGLE, (f"game.batch={part}",)), (world, ()), (world, ()))
    )
    by_hand.engine.gradients.clear()
    loops = [(ours, alone, False), (ours, little, False), (ours, shared, True)]
    if not alone.game.penalties:
        loops.append((ByHand(by_hand, world), by_hand, True))
    rows = []
    for turn in range(asked.turns + 1):
        row = []
        for loop, setup, together in loops:
            world.barrier()
            row.append(seconds(loop, setup, asked.rounds) if together or world.is_main else 0.0)
        if turn:  # in the first, caches settle
            rows.append(row)
    return rows, sent(shared)


def batch_of(case):
    recipe, _, changes = CASES[case]
    return config.load(recipe, changes).game.batch


def show(case, rows, size, rate):
    one, little, many, *hand = (median(column) * 1e3 for column in zip(*rows, strict=True))
    expected = little + size / rate * 1e3 if rate else little
    cells = [
        NAMES[case], f"{one:.0f}", f"{many:.0f}", spread(row[0] / row[2] for row in rows), f"{little:.0f}",
        f"{size / 1e6:.1f}", f"{one / expected:.2f}",
        f"{hand[0]:.0f} ms: {spread(row[3] / row[2] for row in rows)} times ours" if hand else "",
    ]  # fmt: skip
    print(f"| {' | '.join(cells)} |", flush=True)


def spread(ratios):
    """Median, least and most."""
    ratios = sorted(ratios)
    return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def sent(setup):
    """Bytes of gradients, costs and statistics that are added up in one round."""
    table = {player: sum(b.memory.nbytes for b in one.buckets) for player, one in setup.engine.gradients.items()}
    return setup.game.k * table["discriminator"] + table["generator"]


def rate_of(world, megabytes, times=9):
    """Bytes per second of a sum over connections; none where memory is shared."""
    if world.one_machine:
        return None
    x, rates = torch.zeros(megabytes * 2**18), []
    for _ in range(times):
        world.barrier()
        began = perf_counter()
        world.all_reduce(x, world.gradients).wait()
        rates.append(x.nbytes / (perf_counter() - began))
    return median(rates)


def in_team(asked):
    torch.set_num_threads(asked.threads)
    memory.keep_freed()
    with join_world(300, "cpu") as world:
        world.one_machine = not asked.connections
        rate = rate_of(world, 25)
        if world.is_main:
            how = f"sums travel, alone at {rate / 1e6:.0f} MB/s" if rate else "sums lie in shared memory"
            print(f"{world.size} processes, a thread each; {how}\n")
            print("| pair | one, ms a round | all | faster by | one, its part alone | MB | expected | DDP by hand |")
            print("|---|---|---|---|---|---|---|---|")
        for case in [asked.only] if asked.only else CASES:
            rows, size = timed(case, asked, world)
            if world.is_main:
                show(case, rows, size, rate)


def count_bytes():
    print("| recipe | D, MB | G, MB | k | a round, MB | each of 2 sends | each of 8 sends |")
    print("|---|---|---|---|---|---|---|")
    for recipe in config.shipped():
        resolved = resolve(config.load(recipe))
        settings, pair = resolved.config, resolved.networks
        shape = {"digits": (8, 8, 1), "mnist": (28, 28, 1)}.get(settings.data.name)
        data = images(shape) if shape else resolved.open_data()
        form = data.spec if settings.nets.conditions == "none" else labelled(data.spec)
        nets = build.new_discriminator(settings, pair, form), build.new_generator(settings, pair, form)
        parts = (Shard(slice(0, 1), 0.5),)
        D, G = (sum(b.memory.nbytes for b in Gradients(net, None, parts, World(0, 2)).buckets) / 1e6 for net in nets)
        k = settings.game.k
        total = k * D + G
        print(f"| `{recipe}` | {D:.2f} | {G:.2f} | {k} | {total:.2f} | {total:.2f} | {total * 2 * 7 / 8:.2f} |")


def labelled(form):
    return type(form)(**{**vars(form), "classes": tuple("0123456789")})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--connections", action="store_true", help="as between machines: no shared memory")
    parser.add_argument("--bytes", action="store_true")
    asked = parser.parse_args()
    if asked.bytes:
        count_bytes()
    elif "RANK" in os.environ:
        in_team(asked)
    else:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={asked.processes}"]
        command = [sys.executable, *launcher, __file__, *sys.argv[1:]]
        sys.exit(
            subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": str(asked.threads)}, check=False).returncode
        )


if __name__ == "__main__":
    main()
