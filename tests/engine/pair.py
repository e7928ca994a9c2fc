"""What two processes play against what one plays; started by the tests, prints one line of JSON.

python -m torch.distributed.run --standalone --nproc-per-node=2 pair.py equal gradients statistics [--every] [--cuda]
"""

import json
import sys
from collections import deque
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from zerosum import build, checkpoint, config
from zerosum.engine import SINGLE, join_world
from zerosum.errors import WorkerLost
from zerosum.game.game import play
from zerosum.game.losses import LOSSES
from zerosum.game.penalties import PENALTIES
from zerosum.resolved import resolve
from zerosum.run import RunFolder
from zerosum.training import loop
from zerosum.training.loop import RoundRecord, make_log_line

ROUNDS, FEW_ROUNDS = 50, 18
"""For every case, and for some; of both, four leaves the same remainder, as intervals of four see it."""

OPEN = {}
DEVICE = "cuda" if "--cuda" in sys.argv else "cpu"
ORDERS = ("discriminator-first", "generator-first", "simultaneous")
SMALL = [  # Adam would blow up the rounding of a gradient that is zero by 1 / epsilon: that of D's last bias, say
    *(f'optimizers.{player}={{name="sgd", lr=0.05, momentum=0.5}}' for player in ("generator", "discriminator")),
    "nets.generator.width=8", "nets.discriminator.width=8", "nets.generator.depth=2", "nets.discriminator.depth=2",
    "latent.size=4",
]  # fmt: skip


def setup_of(world, recipe, overrides, batch=12, accumulate=1):
    asked = [
        *overrides,
        "train.threads=1",
        f"train.device={DEVICE}",
        f"game.batch={batch}",
        f"game.accumulate={accumulate}",
    ]
    settings = resolve(config.load(recipe, asked))
    name = settings.config.data.name
    if name not in OPEN:
        OPEN[name] = settings.open_data()
    return build.assemble(settings, OPEN[name], world)


def penalty(name, every):
    return [f'penalties=[{{name="{name}", weight=0.3, every={every}}}]'] if name else ["penalties=[]"]


def played(setup, rounds):
    for _ in range(rounds):
        readings = play(setup.state, setup.game, setup.batches, setup.engine)
    return readings


def apart(mine, theirs):
    """The largest difference between two states: players and average."""
    nets = ("generator", "discriminator", "average")
    pairs = [
        (value, getattr(theirs, net).state_dict()[name])
        for net in nets
        for name, value in getattr(mine, net).state_dict().items()
    ]
    return max((one.double() - other.double()).abs().max().item() for one, other in pairs)


def every_case(thorough):
    """(name, recipe, overrides, accumulate): all combinations, or some with every loss, penalty and order."""
    passes, intervals = (1, 2, 3), (1, 4)
    adam = ['optimizers.generator="adam"', 'optimizers.discriminator="adam"']
    combinations = product(LOSSES, [None, *PENALTIES], ORDERS)
    for number, (loss, name, order) in enumerate(combinations):
        chosen = list(product(intervals if name else (1,), passes))
        for every, accumulate in chosen if thorough else [chosen[number % len(chosen)]]:
            if thorough or number % 17 == 0:
                rules = [*SMALL, f"loss={loss}", f"game.order={order}", *penalty(name, every)]
                if loss == "wasserstein":  # unbounded, its weights are 1e54 after fifty rounds of SGD
                    rules.append("game.clip=0.1")
                yield f"{loss}, {name} every {every}, {order}, {accumulate} passes", "digits", rules, accumulate
    special = {
        "several steps of D": ["game.k=3", 'loss="relativistic"', *penalty("r1+r2", 2)],
        "several steps of D, G first": ["game.k=2", 'game.order="generator-first"'],
        "flips and smoothing": ["game.flip=0.2", "loss.smoothing=0.1"],
        "clipping": ["game.clip=0.05", 'loss="wasserstein"'],
        "mean": ['game.reduction="mean"'],
        "Adam": adam,
        "told classes": ['nets.conditions="labels"', *penalty("wgan-gp", 1)],
        "spectral normalisation": ["nets.discriminator.spectral=true"],
        "shares of different sizes": ["train.seed=5", *penalty("r1+r2", 1)],
    }
    for number, (name, rules) in enumerate(special.items()):
        for accumulate in (1, 2) if thorough else (1 + number % 2,):
            yield f"{name}, {accumulate} passes", "digits", [*SMALL, *rules], accumulate
    dropout = ['data="digits"', "nets.generator.width=8", "nets.discriminator.width=6", "latent.size=4"]
    for order in ORDERS:
        yield f"dropout, {order}", "goodfellow2014-mnist", [*dropout, f"game.order={order}"], 2


def equal(world, thorough):
    """After some rounds, how far the weights of two processes are from those of one."""
    found, played_rounds = {}, ROUNDS if thorough else FEW_ROUNDS
    for number, (name, recipe, overrides, accumulate) in enumerate(every_case(thorough)):
        world.one_machine = number % 2 == 0  # through shared memory and through connections, in turn
        rows = 7 if "different" in name else 6
        exact = [*overrides, "train.precision=float64"]
        two = setup_of(world, recipe, exact, rows, accumulate)
        one = setup_of(SINGLE, recipe, exact, rows * accumulate)
        told, alone = played(two, played_rounds), played(one, played_rounds)
        found[name] = apart(two.state, one.state)
        mine = make_log_line(RoundRecord(played_rounds, told, two.state, 0.0), two.game, two.engine, world)
        theirs = make_log_line(RoundRecord(played_rounds, alone, one.state, 0.0), one.game)
        assert mine.keys() == theirs.keys()
        for key, value in theirs.items():
            if isinstance(value, float):
                found[f"{name}: {key}"] = abs(mine[key] - value) / max(1.0, abs(value))
    return found


def gradient_of(setup):
    played(setup, 1)
    nets = (setup.state.discriminator, setup.state.generator)
    return [
        torch.cat([weight.grad.flatten() for weight in net.parameters() if weight.grad is not None]) for net in nets
    ]


def gradients(world, _):
    """From the same weights, in float32 and in bfloat16: the difference of the gradients over the gradient."""
    still = [f"optimizers.{player}.lr=1e-30" for player in ("generator", "discriminator")]
    pairs = {
        "mlp": ("digits", []),
        "goodfellow2014": ("goodfellow2014-mnist", ['data="digits"']),
        "residual": ("residual-mnist", ['data="digits"']),
        "residual, spectral": ("residual-mnist", ['data="digits"', "nets.discriminator.spectral=true"]),
        "conditional": ("conditional-mnist", ['data="digits"']),
    }
    found = {}
    for (name, (recipe, rules)), precision in product(pairs.items(), ("float32", "bfloat16")):
        asked = [*rules, *still, f"train.precision={precision}"]
        ours, whole = (
            gradient_of(setup_of(*given)) for given in ((world, recipe, asked, 16, 2), (SINGLE, recipe, asked, 32))
        )
        for player, mine, other in zip(("discriminator", "generator"), ours, whole, strict=True):
            found[f"{name}, {precision}, {player}"] = ((mine - other).norm() / other.norm()).item()
    return found


def statistics(world, _):
    """Batch statistics over all rows: how far the weights are, penalties included; and how far with each one's own."""
    found = {}
    small = ['data="digits"', "nets.generator.width=4", "nets.discriminator.width=4", "latent.size=4"]
    games = {"plain": [], "wgan-gp": ['loss="wasserstein"', *penalty("wgan-gp", 1)], "r1+r2": penalty("r1+r2", 2)}
    for (name, rules), shared in product(games.items(), ("all", "process")):
        asked = [*small, *rules, "train.precision=float64", f"train.statistics={shared}"]
        two, one = setup_of(world, "dcgan-mnist", asked, 7), setup_of(SINGLE, "dcgan-mnist", asked, 7)
        played(two, 8), played(one, 8)
        world.refuse_differences(two.state.generator.state_dict() | two.state.discriminator.state_dict())
        found[f"{name}, {shared}"] = apart(two.state, one.state)
    return found


def differing(world, _):
    """A training in which another weight is in process 1 from round 33 on: what each says, and what was saved."""
    honest = loop.play

    def faulty(state, *more):
        if state.round == 33 and not world.is_main:
            next(iter(state.discriminator.parameters())).data.view(-1)[5] += 1e-6
        return honest(state, *more)

    asked = [*SMALL, "train.threads=1", f"train.device={DEVICE}", "train.rounds=60", "train.save_every=10"]
    with TemporaryDirectory() as own:
        folder = RunFolder(Path(world.broadcast(own.encode()).decode()))
        loop.play = faulty
        try:
            deque(loop.fit(resolve(config.load("digits", asked)), folder, world=world), maxlen=0)
            said = "nothing"
        except WorkerLost as error:
            said = str(error)
        loop.play = honest
        said = [one.decode() for one in world.all_gather(said.encode())]
        return {"said": said, "saved": checkpoint.load(folder.checkpoints).round} if world.is_main else {}


def main():
    torch.set_num_threads(1)
    with join_world(60, DEVICE) as world:
        proofs = [globals()[name] for name in sys.argv[1:] if not name.startswith("-")]
        found = {proof.__name__: proof(world, "--every" in sys.argv) for proof in proofs}
        if world.is_main:
            sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
