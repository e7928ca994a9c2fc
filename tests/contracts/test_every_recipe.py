"""Every recipe that comes with zerosum is built, played two rounds, saved and resumed, bit by bit."""

import pytest
import torch

from zerosum import build, checkpoint, config
from zerosum.config.settings import Config
from zerosum.data.mnist import data_root
from zerosum.game.game import play
from zerosum.resolved import resolve
from zerosum.sampling import Sampler
from zerosum.saved_generator import spec_to_json


def setup_of(name):
    settings = config.load(name, ["train.threads=1"])
    if settings.data.name == "mnist" and not (data_root() / "mnist" / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("MNIST is not under $ZEROSUM_DATA or the cache folder")
    return build.assemble(resolve(settings))


@pytest.mark.parametrize("name", config.shipped())
def test_a_recipe_says_what_it_is_where_it_comes_from_and_what_it_got(name):
    settings = config.load(name)
    assert settings.name == name
    assert settings.about
    assert settings.source
    assert settings.result


@pytest.mark.parametrize("name", config.shipped())
def test_a_recipe_states_only_what_differs_from_the_defaults(name):
    stated = config.flat(config.parse(config.recipe_text(name)))
    default = config.flat(Config().model_dump())
    needless = [key for key, value in stated.items() if default.get(key, object()) == value and key != "data.name"]
    assert needless == []


@pytest.mark.parametrize("name", config.shipped())
def test_a_recipe_is_played_saved_and_resumed(name, tmp_path):
    whole, second = setup_of(name), setup_of(name)
    play(whole.state, whole.game, whole.batches, whole.engine)
    checkpoint.save(
        tmp_path, whole.state, {"data": spec_to_json(whole.data.spec), "run": "0" * 32, "fingerprint": "x"}, keep=1
    )
    checkpoint.restore(checkpoint.load(tmp_path), second.state)
    second.engine.refresh()
    for setup in (whole, second):
        play(setup.state, setup.game, setup.batches, setup.engine)
    for net in ("generator", "discriminator", "average"):
        ours, theirs = getattr(second.state, net).state_dict(), getattr(whole.state, net).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    samples = Sampler(second.state.average, second.data.spec, second.game.latent).draw(3)
    assert samples.array.shape[1:] == second.data.samples(second.data.test, 3).shape[1:]
