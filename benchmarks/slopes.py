"""A round with a penalty where D tells its slopes with its logits, against one where autograd walks twice more.

    python benchmarks/slopes.py [RECIPE ...] [--rounds 100] [--turns 11]      MNIST under $ZEROSUM_DATA

Both play the same game from the same weights, checked in float64 to have the same gradients, then timed in turn.
Recipes without a penalty play with R1 + R2 here, DCGAN with a D without batch normalisation.
"""

import argparse
from copy import deepcopy
from dataclasses import replace
from functools import partial
from statistics import median

import torch
from round import milliseconds as timed

from zerosum import build, config, memory
from zerosum.game.engine import EAGER, FULL_BATCH, total
from zerosum.game.forward import run_discriminator
from zerosum.game.game import discriminator_costs, draw, generate, latents, play
from zerosum.game.penalties import Penalty
from zerosum.resolved import resolve

CORES = torch.get_num_threads()
R1_R2 = 'penalties=[{name="r1+r2"}]'
PENALISED = {"cs231n-vanilla": (R1_R2,), "dcgan-mnist": (R1_R2, "nets.discriminator.normalize=false")}
"""What makes of a recipe a game with penalties."""
RECIPES = ["digits", "ring", "conditional-mnist", "residual-mnist", "cs231n-wgan-gp", *PENALISED]


def by_autograd(game):
    walked = (replace(term, penalty=Penalty(term.penalty.function, "anything")) for term in game.penalties)
    return replace(game, penalties=tuple(walked))


def assembled(recipe, precision, overrides=()):
    torch.set_num_threads(CORES)
    settings = resolve(config.load(recipe, [f"train.precision={precision}", *overrides]))
    torch.set_num_threads(settings.config.train.threads)
    return build.assemble(settings)


def gradients(setup, game):
    x, c = setup.batches(0)
    state, due = setup.state, list(game.penalties)
    fake = generate(state, game, EAGER, latents(state, game, EAGER, x, 0), c, 0)
    uniform = partial(draw, state, game, FULL_BATCH, 0)
    seen = run_discriminator(state.discriminator, x, fake, c, due, game, setup.engine, uniform)
    return torch.autograd.grad(total(discriminator_costs(game, seen, due)), list(state.discriminator.parameters()))


def check_same_work(recipe, overrides):
    setup = assembled(recipe, "float64", overrides)
    assert all(term.penalty.needs != "anything" for term in setup.game.penalties)
    for mine, other in zip(gradients(setup, setup.game), gradients(setup, by_autograd(setup.game)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-12)


def milliseconds(setup, game, rounds):
    return timed(lambda state, _, batches: play(state, game, batches, setup.engine), setup, rounds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--turns", type=int, default=11)
    asked = parser.parse_args()
    memory.keep_freed()
    print("| recipe, ms a round | told with the logits | by autograd | ratio |\n|---|---|---|---|")
    for recipe in asked.recipes:
        overrides = PENALISED.get(recipe, ())
        check_same_work(recipe, overrides)
        ours = assembled(recipe, "float32", overrides)
        theirs, walked = deepcopy(ours), by_autograd(ours.game)
        rounds = asked.rounds if milliseconds(ours, ours.game, 2) < 50 else max(1, asked.rounds // 20)
        milliseconds(theirs, walked, 2)
        turns = [
            (milliseconds(ours, ours.game, rounds), milliseconds(theirs, walked, rounds)) for _ in range(asked.turns)
        ]
        ratios = sorted(other / mine for mine, other in turns)
        times = [f"{median(of):.1f} ({min(of):.1f} to {max(of):.1f})" for of in zip(*turns, strict=True)]
        print(f"| {recipe} | {' | '.join(times)} | {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")


if __name__ == "__main__":
    main()
