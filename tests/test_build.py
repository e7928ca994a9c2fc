from pathlib import Path

import numpy as np
import pytest
import torch

from zerosum import build, config, memory, permission
from zerosum.config.settings import Choice, Config, Latent
from zerosum.data import from_array, source
from zerosum.data.loader import batch_loader
from zerosum.engine import World
from zerosum.errors import ConfigError, Untrusted
from zerosum.resolved import PLAYERS, bind_game, fill_options, latent, look_up, open_data, resolve


def test_options_of_a_loss_reach_the_player_they_belong_to():
    _, game = bind_game(Config(loss=Choice(name="least-squares", a=-1.0, b=1.0, c=0.0)))
    zero = torch.zeros(1)
    assert game.loss.discriminator(zero, zero).item() == 1.0
    assert game.loss.generator(zero, zero).item() == 0.0


@pytest.mark.parametrize(("loss", "option"), [("hinge", "smoothing"), ("wasserstein", "smoothing"), ("minimax", "a")])
def test_options_are_refused_where_they_mean_nothing(loss, option):
    with pytest.raises(ConfigError, match=rf"loss\.{option} is not a setting"):
        resolve(config.load("digits", [f"loss.name={loss}", f"loss.{option}=0.1"]))


def test_halved_terms_are_refused_where_d_pays_one_term():
    with pytest.raises(ConfigError, match="means nothing for relativistic"):
        resolve(config.load("digits", ["loss=relativistic", "game.reduction=mean"]))


def test_a_loss_of_your_own_goes_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "my_costs.py").write_text(
        "from zerosum import LOSSES\nmy_loss = LOSSES['hinge']._replace(output='mine')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with permission.granted(code=tmp_path):
        settings = resolve(config.load("digits", ['loss="my_costs:my_loss"']))
        assert settings.game.loss.output == "mine"


@pytest.mark.parametrize("name", ["no_such_module:thing", "zerosum:nothing", "zerosum:", ":", "os:getcwd"])
def test_a_path_that_leads_to_no_loss_is_refused(name):
    with pytest.raises(ConfigError), permission.granted(code=Path.cwd()):
        resolve(config.load("digits", [f'loss="{name}"']))


CODE = ['loss="os:getcwd"', 'nets.name="os:getcwd"', 'data="os:getcwd"', 'penalties=["os:getcwd"]',
        'optimizers.generator="os:getcwd"']  # fmt: skip


@pytest.mark.parametrize("setting", CODE)
def test_without_leave_no_code_is_imported(setting):
    settings = config.load("digits", [setting])
    with pytest.raises(Untrusted, match="os:getcwd"):
        resolve(settings)
    with pytest.raises(Untrusted, match="os:getcwd"), permission.granted(paths=True, downloads=True):
        resolve(settings)
    assert config.code_settings(fill_options(settings)) == config.code_settings(settings)
    assert len(config.code_settings(settings)) == 1


def test_without_leave_no_path_is_opened(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 2)))
    data = config.load("digits", [f'data="{tmp_path / "x.npy"}"']).data
    with pytest.raises(Untrusted, match=r"x\.npy"):
        open_data(data)
    with permission.granted(paths=True):
        assert open_data(data).shape == (2,)


def test_resolving_fills_in_every_option_and_is_stable():
    settings = resolve(config.load("digits")).config
    assert settings.optimizers.generator.options["betas"] == (0.0, 0.99)
    assert settings.nets.generator == {"width": 128, "depth": 3}
    assert settings.train.device
    again = resolve(config.check(config.parse(config.dumps(settings)))).config
    assert config.differences(again, settings) == []


def test_players_start_from_their_own_seeds():
    base, wider, other = (
        build.assemble(resolve(config.load("digits", change)))
        for change in ([], ["nets.discriminator.width=64"], ["train.seed=1"])
    )
    first = lambda setup: setup.state.generator[0][0].weight  # noqa: E731
    assert torch.equal(first(base), first(wider))
    assert not torch.equal(first(base), first(other))
    assert torch.equal(base.state.average[0][0].weight, first(base))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.int32, bool])
@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_the_encoded_rows_whatever_the_type_and_wherever_they_lie(settings, monkeypatch, dtype, resident):
    if not resident:
        monkeypatch.setattr("zerosum.data.loader.RESIDENT", 0)
    x = (np.random.default_rng(0).random((40, 3, 2)) * 2).astype(dtype)
    span = None if dtype in (np.uint8, np.uint16, bool) else (0.0, 2.0)
    data = from_array(x, range=span, held_out=0.25)
    batch, c = batch_loader(data, 8, 0, torch.device("cpu"), torch.float32)(0)
    assert c is None
    assert batch.shape == (8, 1, 3, 2)
    assert batch.dtype == torch.float32
    low, high = data.range
    expected = {tuple(np.round(row.ravel(), 5)) for row in (x.astype(float) - low) / (high - low) * 2 - 1}
    assert {tuple(np.round(row.ravel().astype(float), 5)) for row in batch.numpy()} <= expected


def test_test_rows_never_reach_training(settings):
    x = np.arange(100.0)
    data = from_array(x, held_out=0.3, standardize=False)
    batches = batch_loader(data, 8, 0, torch.device("cpu"), torch.float32)
    met = {value for number in range(40) for value in batches(number)[0].flatten().tolist()}
    held = set(data.samples(data.test).flatten().tolist())
    assert len(met) == 70
    assert met | held == set(x.tolist())
    assert not met & held


def test_more_batch_than_rows_is_refused_with_advice(settings):
    data = from_array(np.arange(20.0), held_out=0.0)
    with pytest.raises(ConfigError, match=r"game.batch = 50 is more than the 20 training rows"):
        batch_loader(data, 50, 0, torch.device("cpu"), torch.float32)


def test_the_uniform_law_fills_its_range():
    z = latent(Latent(distribution="uniform", size=3, low=-2.0, high=5.0))(10_000, 0, "z")
    assert z.shape == (10_000, 3)
    assert -2 <= z.min() < -1.99
    assert 4.99 < z.max() < 5


@pytest.mark.parametrize(
    ("changes", "processes"),
    [
        (["game.batch=1"], 1),
        (["game.batch=1", "game.accumulate=3"], 1),
        (["game.batch=3"], 2),
    ],
)
def test_a_player_that_cannot_see_one_row_alone_is_refused_before_the_first_round(changes, processes):
    settings = resolve(config.load("digits", ["nets.name=cs231n", "train.device=cpu", *changes]))
    with pytest.raises(ConfigError, match=r"the generator would see one row at a time.*Make game\.batch larger"):
        build.assemble(settings, world=World(size=processes))
    larger = resolve(config.load("digits", ["nets.name=cs231n", "train.device=cpu", *changes, "game.batch=4"]))
    build.assemble(larger, world=World(size=processes))


def test_players_that_can_see_one_row_alone_do():
    settings = resolve(config.load("digits", ["game.batch=1", "train.device=cpu"]))
    assert build.assemble(settings).game.batch == 1


@pytest.mark.parametrize("player", PLAYERS)
def test_networks_that_no_memory_holds_are_refused_before_they_fill_it(player, monkeypatch):
    monkeypatch.setattr(memory, "total", lambda: 2 * 4 * 64 * 5_000)
    sizes = [f"nets.{other}.width={5000 if other == player else 8}" for other in PLAYERS]
    settings = look_up(config.load("digits", sizes))
    with pytest.raises(ConfigError, match=rf"nets\.{player} cannot be built: .* memory .* Make it narrower"):
        build.assemble(settings)


@pytest.mark.parametrize("numbers", [3, 100, 2**20 + 5])
def test_the_recipe_for_ones_own_data_is_one_that_can_be_played(numbers):
    data = from_array(np.broadcast_to(np.arange(20, dtype=np.float32)[:, None], (20, numbers)))
    recipe, changes, _ = source.suited(data)
    assert config.load(recipe, changes).latent.size == min(2**20, max(8, numbers))
