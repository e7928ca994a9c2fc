"""Which claim catches which mistake: turn one sign at a time and see what no longer holds.

    python experiments/mutations.py [PAGE]

Every cost, every penalty, every update of a game and every step of our own trainer gets a wrong sign in its turn; the
claims that use it are measured again. Writes docs/mutations.md, or the file that is named; ends with exit code 1 if a
mistake goes unseen.
"""

import sys
from collections.abc import Callable
from contextlib import contextmanager
from functools import wraps
from pathlib import Path

from zerosum.game import engine, game, losses, penalties
from zerosum.game.losses import Loss
from zerosum.game.penalties import Penalty
from zerosum.lab.claims import CLAIMS, choose
from zerosum.lab.theory import bilinear, dirac, hopping, tables

DISCRIMINATORS = [
    losses.logistic_discriminator, losses.least_squares_discriminator, losses.wasserstein_discriminator,
    losses.hinge_discriminator, losses.relativistic_discriminator,
]  # fmt: skip
GENERATORS = [
    losses.minimax_generator, losses.non_saturating_generator, losses.likelihood_generator,
    losses.least_squares_generator, losses.wasserstein_generator, losses.relativistic_generator,
]  # fmt: skip
PENALTIES = [penalties.r1, penalties.r2, penalties.r1_r2, penalties.wgan_gp]
UPDATES = [
    bilinear.simultaneous, bilinear.alternating, bilinear.extragradient, bilinear.optimistic, bilinear.proximal,
    bilinear.consensus, bilinear.heavy_ball,
]  # fmt: skip


def places(function):
    """Every (container, key) under zerosum that holds a function: modules, tables, rows of LOSSES."""
    found = []
    for module in [module for name, module in sys.modules.items() if name.startswith("zerosum")]:
        for name, value in list(vars(module).items()):
            if value is function:
                found.append((module, name, function))
            if isinstance(value, dict) and not name.startswith("__"):
                for key, row in value.items():
                    if row is function:
                        found.append((value, key, row))
                    if isinstance(row, Loss | Penalty) and function in row:
                        found.append((value, key, row))
    return found


def put(holder, key, value):
    if isinstance(holder, dict):
        holder[key] = value
    else:
        setattr(holder, key, value)


@contextmanager
def replaced(function: Callable, other: Callable):
    """A function replaced wherever it is held."""
    held = places(function)
    assert held, function
    for holder, key, value in held:
        new = other
        if isinstance(value, Loss | Penalty):
            new = type(value)(*(other if part is function else part for part in value))
        put(holder, key, new)
    try:
        yield
    finally:
        for holder, key, value in held:
            put(holder, key, value)


def negated(function):
    return lambda *args, **kwargs: -function(*args, **kwargs)


def real_turned(function):
    return lambda real, fake, **kwargs: function(-real, fake, **kwargs)


def fake_turned(function):
    return lambda real, fake, **kwargs: function(real, -fake, **kwargs)


def backwards(function):
    """The same update with h of the other sign."""
    return lambda z, h, *args, **kwargs: function(z, -h, *args, **kwargs)


def half_backwards(function):
    """The same update, but y moves the wrong way."""

    def update(z, h, *args, **kwargs):
        flip = z.new_tensor([1.0, -1.0] * (len(z) // 2)).reshape(-1, *[1] * (z.ndim - 1))
        return z + (function(z, h, *args, **kwargs) - z) * flip

    return update


def climbing(player):
    """Steps of which those of one player go up the gradient of its cost."""

    def wrong(state, who):
        update = UPDATE(state, who)
        backward = update.backward
        if who == player:
            update.backward = lambda costs, *more, **how: backward(
                {name: -cost for name, cost in costs.items()}, *more, **how
            )
        return update

    return wrong


UPDATE = engine.EagerUpdate
FIELD = dirac.field


def field_turned(place):
    """dirac.field with one player's sign turned."""

    def wrong(*args, **kwargs):
        v = FIELD(*args, **kwargs)

        def turned(at):
            out = v(at)
            return out * out.new_tensor([-1.0, 1.0] if place == 0 else [1.0, -1.0])

        return turned

    return wrong


def with_step(function, name="h"):
    """A function whose step size has the other sign."""
    import inspect

    def wrong(*args, **kwargs):
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.arguments[name] = -bound.arguments[name]
        return function(*bound.args, **bound.kwargs)

    return wrong


MUTATIONS = [
    *((f"{f.__name__}: sign", f, negated(f)) for f in [*DISCRIMINATORS, *GENERATORS]),
    *((f"{f.__name__}: sign of the real logit", f, real_turned(f)) for f in DISCRIMINATORS),
    *((f"{f.__name__}: sign of the fake logit", f, fake_turned(f)) for f in [*DISCRIMINATORS, *GENERATORS[:-1]]),
    *((f"penalty {f.__name__}: sign", f, negated(f)) for f in PENALTIES),
    *((f"bilinear.{f.__name__}: both signs", f, backwards(f)) for f in UPDATES),
    *((f"bilinear.{f.__name__}: sign of y", f, half_backwards(f)) for f in UPDATES),
    ("bilinear.flow: sign of the time", bilinear.flow, with_step(bilinear.flow, "time")),
    ("tables.gradient_descent: sign of G's step", tables.gradient_descent, with_step(tables.gradient_descent)),
    ("tables.play: sign of both steps", tables.play, with_step(tables.play)),
    ("dirac.trajectory: sign of the step", dirac.trajectory, with_step(dirac.trajectory)),
    ("dirac.field: sign of G", dirac.field, field_turned(0)),
    ("dirac.field: sign of D", dirac.field, field_turned(1)),
    ("hopping.gradient_steps: sign of G's step", hopping.gradient_steps, with_step(hopping.gradient_steps)),
    ("game: D climbs", engine.EagerUpdate, climbing("discriminator")),
    ("game: G climbs", engine.EagerUpdate, climbing("generator")),
    ("game: simultaneous played as D first", game.simultaneous, game.discriminator_first),
    ("game: D first played as simultaneous", game.discriminator_first, game.simultaneous),
    ("game: G first played as D first", game.generator_first, game.discriminator_first),
]


def users(functions) -> dict[Callable, set[str]]:
    """Which claims call which of the functions."""
    used: dict[Callable, set[str]] = {function: set() for function in functions}
    now = []

    def noting(function):
        @wraps(function)
        def noted(*args, **kwargs):
            used[function].add(now[-1])
            return function(*args, **kwargs)

        return noted

    from contextlib import ExitStack

    with ExitStack() as stack:
        for function in used:
            stack.enter_context(replaced(function, noting(function)))
        for claim in choose():
            now.append(claim.name)
            claim.run()
    return used


def caught(function, other, names) -> list[str]:
    """The claims that no longer hold, or cannot be measured, with another function in its place."""
    found = []
    with replaced(function, other):
        for name in names:
            try:
                if CLAIMS[name].run().holds:
                    continue
            except Exception:  # whatever a wrong sign leads to is a claim that does not hold
                pass
            found.append(name)
    return found


def main(page) -> int:
    used = users({function for _, function, _ in MUTATIONS})
    lines = [
        "# Which claim catches which mistake", "",
        "One sign is turned at a time; listed are the claims that then fail. "
        "Made by `python experiments/mutations.py`.", "",
        "| mistake | claims that use it | of these fail | which |", "|---|---|---|---|",
    ]  # fmt: skip
    unseen = 0
    for name, function, other in MUTATIONS:
        names = [claim for claim in CLAIMS if claim in used[function]]
        found = caught(function, other, names)
        unseen += not found
        print(f"{name}: {len(found)} of {len(names)}", flush=True)
        lines.append(f"| {name} | {len(names)} | {len(found)} | {', '.join(found) or '**none**'} |")
    lines += ["", f"{len(MUTATIONS) - unseen} of {len(MUTATIONS)} mistakes are caught."]
    Path(page).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if sys.argv[1:] else Path(__file__).parents[1] / "docs" / "mutations.md"))
