import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

import zerosum as zs
from zerosum import build, config, resolved, run
from zerosum.engine import precision
from zerosum.engine.precision import ComputeCopy, matrices
from zerosum.game import game
from zerosum.nets import NETS
from zerosum.resolved import look_up, resolve
from zerosum.run import RunFolder
from zerosum.training import loop

SMALL = ["game.batch=8", "train.threads=1", 'train.device="cpu"']


@pytest.fixture
def net():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


def test_only_the_matrices_are_rounded_and_everything_else_is_shared(net):
    near = ComputeCopy(net).net
    assert [tensor.dtype for tensor in (near[0].weight, near[0].bias, near[3].weight)] == [torch.bfloat16] * 3
    assert near[1].weight is net[1].weight
    assert near[1].running_mean is net[1].running_mean
    assert all(weight.dtype == torch.float32 for weight in net.parameters())


def test_a_rounded_player_takes_and_gives_float32_and_differs_by_its_rounding(net):
    net.eval()
    x = torch.randn(16, 4)
    exact, near = net(x), ComputeCopy(net)(x)
    assert near.dtype == torch.float32
    assert not torch.equal(near, exact)
    assert (near - exact).abs().max() < 2**-7 * 4 * exact.abs().max()  # 8 bits, through a few layers


def test_statistics_of_a_batch_reach_the_player_in_float32(net):
    ComputeCopy(net)(torch.randn(16, 4) + 3)
    assert net[1].num_batches_tracked == 1
    assert net[1].running_mean.dtype == torch.float32
    assert net[1].running_mean.abs().max() > 0


def test_gradients_are_handed_over_in_float32_to_all_that_learns(net):
    net[0].bias.requires_grad_(False)
    compute_copy = ComputeCopy(net)
    for _ in range(2):  # the second time, in the memory of the first
        trainable = [weight for weight in compute_copy.parameters() if weight.requires_grad]
        compute_copy(torch.ones(16, 4) * torch.arange(16)[:, None]).square().sum().backward(inputs=trainable)
        learn = compute_copy.copy_gradients()
        assert [id(weight) for weight in learn] == [id(weight) for weight in net.parameters() if weight.requires_grad]
        assert all(weight.grad.dtype == torch.float32 and weight.grad.any() for weight in (net[3].weight, net[3].bias))
        assert net[0].bias.grad is None
        assert all(weight.grad is None for weight in matrices(compute_copy.net))


def test_a_gradient_that_is_gone_leaves_none_behind(net):
    compute_copy = ComputeCopy(net)
    net[3].weight.grad = torch.ones(1, 8)
    compute_copy.copy_gradients()
    assert net[3].weight.grad is None


def test_steps_below_the_rounding_add_up():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    compute_copy = ComputeCopy(layer)
    for _ in range(64):
        with torch.no_grad():
            layer.weight += 2**-12  # 16 times below what bfloat16 can tell from 1
        compute_copy.update()
    assert compute_copy.net.weight.item() == 1 + 2**-6


def test_a_layer_whose_weight_is_computed_is_not_rounded():
    layer = spectral_norm(nn.Linear(4, 4))
    assert matrices(layer) == []
    assert ComputeCopy(layer)(torch.randn(2, 4)).dtype == torch.float32


@pytest.mark.parametrize("name", sorted(NETS))
def test_every_pair_can_be_rounded(name):
    pair = NETS[name]
    G, D = ComputeCopy(pair.generator((1, 16, 16), 8)), ComputeCopy(pair.discriminator((1, 16, 16)))
    logits = D(G(torch.randn(4, 8)))
    logits.sum().backward()
    assert logits.dtype == torch.float32
    assert all(weight.grad is not None for weight in G.copy_gradients())


def setup_in(kind, *overrides, recipe="digits"):
    return build.assemble(resolve(config.load(recipe, [*SMALL, f"train.precision={kind}", *overrides])))


def gradients(setup):
    game.play(setup.state, setup.game, setup.batches, setup.engine)
    nets = (setup.state.discriminator, setup.state.generator)
    return [torch.cat([weight.grad.flatten() for weight in net.parameters()]) for net in nets]


@pytest.mark.parametrize("order", ["discriminator-first", "generator-first", "simultaneous"])
@pytest.mark.parametrize("penalized", [True, False])
def test_a_round_in_bfloat16_follows_nearly_the_same_gradients(order, penalized):
    overrides = [f'game.order="{order}"', *([] if penalized else ["penalties=[]"])]
    for near, exact in zip(*(gradients(setup_in(kind, *overrides)) for kind in ("bfloat16", "float32")), strict=True):
        assert near.dtype == torch.float32
        assert 0 < (near - exact).norm() < 0.05 * exact.norm()


def test_where_a_penalty_is_due_d_plays_with_its_exact_weights(monkeypatch):
    setup = setup_in("bfloat16", "penalties.0.every=2")
    seen, update = [], setup.engine.update

    def noted(state, player, exact=False):
        found = update(state, player, exact)
        seen.append((player, found.module is state.module(player)))
        return found

    monkeypatch.setattr(setup.engine, "update", noted)
    for _ in range(2):
        game.play(setup.state, setup.game, setup.batches, setup.engine)
    assert seen == [("discriminator", True), ("generator", False), ("discriminator", False), ("generator", False)]


def test_after_each_round_the_copies_are_the_players_rounded():
    setup = setup_in("bfloat16", "game.clip=0.01", "penalties=[]")
    for _ in range(3):
        game.play(setup.state, setup.game, setup.batches, setup.engine)
    for player, copy in setup.engine.copies.items():
        exact, near = matrices(getattr(setup.state, player)), matrices(copy.net)
        assert all(torch.equal(a.bfloat16(), b) for a, b in zip(exact, near, strict=True))
    assert max(weight.abs().max() for weight in setup.state.discriminator.parameters()) <= 0.01


@pytest.mark.parametrize("fast", [True, False])
def test_auto_asks_the_machine_and_the_networks(monkeypatch, fast):
    monkeypatch.setattr(resolved, "has_fast_bfloat16", lambda device: fast)

    def decided(*overrides):
        return resolve(config.load("cs231n-vanilla", [*SMALL, *overrides])).config.train.precision

    assert decided() == ("bfloat16" if fast else "float32")
    assert decided("nets.discriminator.spectral=true") == "float32"
    assert decided("nets.name=mlp") == "float32"
    assert decided("train.precision=float64") == "float64"
    assert decided("train.precision=bfloat16") == "bfloat16"


def test_a_run_keeps_the_precision_that_it_began_with(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    small = [*SMALL, "nets.name=dcgan", "nets.generator={width=4}", "nets.discriminator={width=4}", "train.rounds=2"]
    wanted = look_up(config.load("digits", [*small, "penalties=[]"]))
    for fast in (True, False):  # the second machine would decide otherwise
        monkeypatch.setattr(resolved, "has_fast_bfloat16", lambda device, fast=fast: fast)
        folder = run.choose_folder(wanted.config, None)
        assert folder.path.name == "digits"
        list(loop.fit(wanted, folder))
        assert RunFolder(folder.path).read_config().train.precision == "bfloat16"


def test_this_machines_answer_is_a_plain_yes_or_no():
    assert precision.has_fast_bfloat16(torch.device("cpu")) in (True, False)
    assert not precision.has_fast_bfloat16(torch.device("mps"))


@pytest.mark.parametrize("extra", [["nets.conditions=labels"], ["nets.discriminator.spectral=true"], ["game.k=2"]])
def test_conditions_spectral_normalisation_and_inner_steps_play_in_bfloat16_too(extra):
    setup = setup_in("bfloat16", *extra)
    for _ in range(2):
        readings = game.play(setup.state, setup.game, setup.batches, setup.engine)
    assert all(value.isfinite() for reading in readings for value in reading.costs.values())
    assert all(weight.dtype == torch.float32 for weight in setup.state.average.parameters())


def test_networks_of_ones_own_play_in_bfloat16_when_asked():
    G, D = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 1))
    gan = zs.GAN(G, D, latent=4, set=["train.precision=bfloat16", "game.batch=8"])
    gan.fit(torch.randn(64, 2), rounds=3)
    assert gan.engine.copies
    assert gan.sample(5).array.shape == (5, 2)
