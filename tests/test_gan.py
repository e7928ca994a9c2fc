from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

import zerosum as zs
from zerosum.errors import ConfigError, DataError, Diverged, UsageError
from zerosum.nets import Discriminator, FastGradientDiscriminator


def networks(d=2, latent=4):
    G = nn.Sequential(nn.Linear(latent, 16), nn.ReLU(), nn.Linear(16, d))
    D = nn.Sequential(nn.Linear(d, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
    return G, D


POINTS = np.random.default_rng(0).normal(3.0, 2.0, size=(500, 2))


def test_own_networks_learn_own_points_in_their_own_units():
    G, D = networks()
    rates = [f"optimizers.{player}.lr=5e-3" for player in ("generator", "discriminator")]
    gan = zs.GAN(G, D, loss="hinge", penalties=[("r1", 0.1)], latent=4, set=rates).fit(POINTS, rounds=400)
    samples = gan.sample(2000).array
    assert samples.dtype == np.float32
    assert np.abs(samples.mean(0) - 3.0).max() < 0.6
    assert np.abs(samples.std(0) - 2.0).max() < 0.8
    assert [line["round"] for line in gan.readings][-1] == 400


def test_fit_again_plays_on_and_equals_one_longer_call():
    torch.manual_seed(0)
    twice = zs.GAN(*networks(), latent=4).fit(POINTS, rounds=3).fit(POINTS, rounds=4)
    torch.manual_seed(0)
    once = zs.GAN(*networks(), latent=4).fit(POINTS, rounds=7)
    assert np.array_equal(twice.sample(5).array, once.sample(5).array)


def test_images_of_your_own_come_back_as_uint8():
    x = np.random.default_rng(0).random((100, 6, 5, 3))
    G = nn.Sequential(nn.Linear(4, 90), nn.Tanh(), nn.Unflatten(1, (3, 6, 5)))
    D = nn.Sequential(nn.Flatten(), nn.Linear(90, 1))
    gan = zs.GAN(G, D, latent=4, set=["game.batch=10"]).fit(x, rounds=2, range=(0.0, 1.0))
    assert gan.sample(3).array.shape == (3, 6, 5, 3)
    assert gan.sample(3).array.dtype == np.uint8


def test_a_loss_and_a_penalty_of_your_own_are_objects():
    hinge = zs.LOSSES["hinge"]
    asked = []

    def flatness(meeting):
        asked.append(meeting.real.shape)
        return meeting.real_logits.square()

    gan = zs.GAN(*networks(), loss=zs.Loss(*hinge[:2]), penalties=[flatness], latent=4).fit(POINTS, rounds=2)
    assert asked == [(128, 2)] * 2
    assert "discriminator_flatness" in gan.readings[-1]


class Mine(FastGradientDiscriminator):
    """A D of one's own that says that its input gradients can be computed fast."""


@pytest.mark.parametrize("penalty", ["r1", "wgan-gp"])
@pytest.mark.parametrize(
    ("judge", "per_sample", "kernels", "calls"),
    [(Mine, True, "on", 5), (Mine, True, "off", 0), (Mine, False, "on", 0), (Discriminator, True, "on", 0)],
)
def test_a_d_of_your_own_that_says_so_has_fast_input_gradients_and_learns_the_same(
    penalty, judge, per_sample, kernels, calls
):
    def learn(judge, **given):
        torch.manual_seed(0)
        D = judge(nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2)), 16)
        settings = ["train.precision=float64", f"train.kernels={kernels}"]
        gan = zs.GAN(networks()[0], D, penalties=[penalty], latent=4, set=settings, **given)
        if gan.engine.input_grad_kernel:
            gan.engine.input_grad_kernel = Mock(wraps=gan.engine.input_grad_kernel)
        return gan.fit(POINTS, rounds=5)

    gan = learn(judge, per_sample=per_sample)
    assert (gan.engine.input_grad_kernel.call_count if gan.engine.input_grad_kernel else 0) == calls
    np.testing.assert_allclose(gan.sample(5).array, learn(Discriminator).sample(5).array, rtol=1e-5)


def test_the_layers_of_your_own_networks_stay_what_they_are():
    G, D = (net((1, 8, 8), *size) for net, size in zip(zs.NETS["dcgan"][:2], [(4,), ()], strict=True))
    zs.GAN(G, D, latent=4)
    assert {type(layer).__module__.partition(".")[0] for layer in G.modules()} == {"torch", "zerosum"}
    assert not any("kernels" in type(layer).__module__ for net in (G, D) for layer in net.modules())


def test_networks_with_normalisation_are_trained_and_their_average_is_sampled_in_evaluation():
    G = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    gan = zs.GAN(G, networks()[1], latent=4).fit(POINTS, rounds=5)
    assert np.array_equal(gan.sample(3).array, gan.sample(300).array[:3])


@pytest.mark.parametrize(
    ("G", "D", "said"),
    [
        (networks(d=3)[0], networks()[1], r"generator made \(128, 3\)"),
        (networks()[0], nn.Linear(3, 1), "does not fit"),
        (networks(latent=5)[0], networks()[1], "does not fit"),
        (networks()[0], nn.Sequential(nn.Linear(2, 1), nn.Flatten(0), nn.Unflatten(0, (2, 64))), "expected"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_the_first_round(G, D, said):
    with pytest.raises(UsageError, match=said):
        zs.GAN(G, D, latent=4).fit(POINTS, rounds=1)


def test_what_goes_wrong_is_said():
    with pytest.raises(ConfigError, match="Did you mean 'hinge'"):
        zs.GAN(*networks(), loss="hindge")
    with pytest.raises(ConfigError, match="penalty"):
        zs.GAN(*networks(), penalties=["r3"])
    with pytest.raises(UsageError, match="call fit first"):
        zs.GAN(*networks()).sample(1)
    with pytest.raises(DataError, match="NaN"):
        zs.GAN(*networks(), latent=4).fit(np.full((50, 2), np.nan))
    with pytest.raises(Diverged):
        poisoned = networks()
        poisoned[1][0].weight.data[0, 0] = torch.inf
        zs.GAN(*poisoned, latent=4).fit(POINTS, rounds=3)


@pytest.mark.parametrize(
    "setting",
    ["nets.conditions=labels", "nets.name=dcgan", "data=ring", "train.rounds=5", "train.minutes=1", "train.threads=1",
     "train.processes=2", "train.save_every=5", "name=other", "data.held_out=0.5"],
)  # fmt: skip
def test_settings_without_effect_are_refused(setting):
    with pytest.raises(ConfigError, match=setting.split("=")[0].replace(".", r"\.") + r".* has no effect on zs\.GAN"):
        zs.GAN(nn.Linear(3, 2), nn.Linear(2, 1), latent=3, set=[setting])


def test_settings_are_given_as_values_or_as_text():
    games = [
        zs.GAN(nn.Linear(3, 2), nn.Linear(2, 1), latent=3, set=given).game
        for given in ({"game.k": 3, "optimizers.generator": "sgd"}, ["game.k=3", "optimizers.generator=sgd"])
    ]
    assert games[0].k == games[1].k == 3
