"""train.kernels = "off": the same training, by torch's own layers and autograd's second backward pass."""

import pytest
import torch

from zerosum import build, config, resolved
from zerosum.game.game import play
from zerosum.kernels import swap
from zerosum.nets import NETS

DIGITS = 'data="digits"'
SMALL = ["nets.generator.width=8", "nets.discriminator.width=8"]
R1_R2 = 'penalties=[{name="r1+r2"}]'

GAMES = {
    "perceptrons": ("digits", []),
    "wgan-gp": ("digits", ['penalties=[{name="wgan-gp", weight=10.0}]', "game.k=2"]),
    "r1 and r2 at times": ("digits", ['penalties=[{name="r1", every=2}, {name="r2"}]', 'game.order="generator-first"']),
    "classes": ("digits", ["nets.conditions=labels"]),
    "two passes": ("digits", ["game.accumulate=2"]),
    "spectral perceptrons": ("digits", ["nets.discriminator.spectral=true"]),
    "cs231n": ("cs231n-wgan-gp", [DIGITS]),
    "cs231n, classes": ("cs231n-wgan-gp", [DIGITS, "nets.conditions=labels", R1_R2, 'game.order="simultaneous"']),
    "dcgan": ("dcgan-mnist", [DIGITS, *SMALL, R1_R2, "nets.discriminator.normalize=false"]),
    "residual": ("residual-mnist", [DIGITS, *SMALL]),
    "residual, classes": ("residual-mnist", [DIGITS, *SMALL, "nets.conditions=labels", 'penalties=["wgan-gp"]']),
}
"""Games with penalties, for all of which D has a kernel."""


def setup_with(kernels, recipe, *overrides):
    fixed = ["game.batch=8", "train.threads=1", 'train.device="cpu"', f"train.kernels={kernels}"]
    return build.assemble(resolved.resolve(config.load(recipe, [*overrides, *fixed])))


def played(kernels, *given, rounds=3):
    setup = setup_with(kernels, *given)
    for _ in range(rounds):
        play(setup.state, setup.game, setup.batches, setup.engine)
    return setup


def tensors(setup):
    nets = setup.state.generator, setup.state.discriminator, setup.state.average
    return [tensor for net in nets for tensor in net.state_dict().values()]


def is_fast(net):
    return any(isinstance(layer, tuple(swap.FAST.values())) for layer in net.modules())


@pytest.mark.parametrize("game", GAMES)
def test_with_kernels_or_without_penalties_teach_the_same_in_float64(game):
    recipe, overrides = GAMES[game]
    on, off = (played(kernels, recipe, *overrides, "train.precision=float64") for kernels in ("on", "off"))
    assert on.engine.input_grad_kernel is not None
    assert off.engine.input_grad_kernel is None
    for mine, other in zip(tensors(on), tensors(off), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("recipe", ["cs231n-vanilla", "dcgan-mnist"])
def test_so_do_spectral_discriminators(recipe):
    spectral = DIGITS, "nets.discriminator.spectral=true", "train.precision=float64"
    on, off = (played(kernels, recipe, *spectral, *SMALL * (recipe == "dcgan-mnist")) for kernels in ("on", "off"))
    assert is_fast(on.state.discriminator)
    for mine, other in zip(tensors(on), tensors(off), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("recipe", "widths"), [("cs231n-vanilla", []), ("dcgan-mnist", SMALL)])
def test_layers_are_torchs_own_without_kernels_and_a_round_is_the_same_but_for_rounding(recipe, widths, precision):
    sgd = [f'optimizers.{player}={{name="sgd", lr=0.1}}' for player in ("generator", "discriminator")]
    given = recipe, DIGITS, *widths, *sgd, f"train.precision={precision}"
    on, off = (played(kernels, *given, rounds=1) for kernels in ("on", "off"))
    assert is_fast(on.state.generator)
    assert is_fast(on.state.discriminator)
    assert not is_fast(off.state.generator)
    assert not is_fast(off.state.discriminator)
    before = setup_with("off", *given)
    moved = [end - start for end, start in zip(tensors(off), tensors(before), strict=True)]
    close = 1e-3 if precision == "float32" else 0.1
    for mine, other, change in zip(tensors(on), tensors(off), moved, strict=True):
        assert (mine - other).abs().max() <= close * change.abs().max() + 1e-6


def test_a_changed_switch_is_refused_on_resume():
    on, off = (config.load("digits", [f"train.kernels={kernels}"]) for kernels in ("on", "off"))
    assert config.differences(off, on) == ["train.kernels: on -> off"]


def test_networks_of_ones_own_keep_their_layers(monkeypatch):
    monkeypatch.setattr(
        resolved, "lookup", lambda table, name, kind: NETS["dcgan"] if kind.startswith("pair") else table[name]
    )
    setup = setup_with("on", "dcgan-mnist", DIGITS, *SMALL, "nets.name=mine:dcgan")
    assert not is_fast(setup.state.generator)
