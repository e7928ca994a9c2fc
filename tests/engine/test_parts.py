"""A batch in parts, in one process: passes add up to the whole; what is drawn, sent and compared."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed import HashStore

import zerosum as zs
from zerosum import build, config
from zerosum.engine import SINGLE, Gradients, SharedDropout, World
from zerosum.engine.heartbeat import Beat, Heartbeat
from zerosum.engine.reduce import make_buckets
from zerosum.engine.world import checksum
from zerosum.errors import ConfigError
from zerosum.game.engine import FULL_BATCH, Eager, Shard
from zerosum.game.game import play
from zerosum.resolved import resolve


@pytest.mark.parametrize(("batch", "size", "passes"), [(12, 2, 3), (13, 3, 2), (7, 7, 1), (1000, 3, 1)])
def test_parts_are_the_batch_without_gap_or_overlap(batch, size, passes):
    shards = [shard for rank in range(size) for shard in World(rank, size).shards(batch, passes)]
    rows = [row for shard in shards for row in range(batch)[shard.rows]]
    assert rows == list(range(batch))
    assert sum(shard.share for shard in shards) == pytest.approx(1)
    assert [shard.share * batch for shard in shards] == pytest.approx([shard.size for shard in shards])
    assert max(shard.size for shard in shards) - min(shard.size for shard in shards) <= 1


def test_fewer_rows_than_parts_are_refused():
    with pytest.raises(ConfigError, match="3 rows are too few for 2 processes and 2 passes"):
        World(0, 2).shards(3, 2)


def play_in(settings, passes, *overrides):
    exact = ["train.precision=float64", *overrides, f"game.batch={24 // passes}", f"game.accumulate={passes}"]
    setup = build.assemble(settings(*exact))
    for _ in range(4):
        readings = play(setup.state, setup.game, setup.batches, setup.engine)
    return setup, readings


@pytest.mark.parametrize("order", ["discriminator-first", "generator-first", "simultaneous"])
@pytest.mark.parametrize("passes", [2, 3])
def test_accumulation_is_the_larger_batch(settings, order, passes):
    rules = [f"game.order={order}", 'penalties=[{name="wgan-gp", every=2}, {name="r1"}]', "game.flip=0.1"]
    many, told = play_in(settings, passes, *rules)
    one, alone = play_in(settings, 1, *rules)
    for net in ("generator", "discriminator", "average"):
        for local, other in zip(*(getattr(made.state, net).parameters() for made in (many, one)), strict=True):
            torch.testing.assert_close(local, other, rtol=0, atol=1e-12)
    for local, other in zip(told, alone, strict=True):
        assert local.costs.keys() == other.costs.keys()
        for term in local.costs:
            torch.testing.assert_close(local.costs[term], other.costs[term], rtol=0, atol=1e-12)
    torch.testing.assert_close(told[0].logits if order != "generator-first" else told[1].logits,
                               alone[0].logits if order != "generator-first" else alone[1].logits)  # fmt: skip


def test_accumulation_holds_fewer_samples_at_a_time(settings):
    seen = []
    setup = build.assemble(settings("game.batch=4", "game.accumulate=3", "game.k=2", "penalties=[]"))
    for net in (setup.state.generator, setup.state.discriminator):
        net.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    play(setup.state, setup.game, setup.batches, setup.engine)
    assert set(seen) == {4, 8}  # D sees real and fake in one pass
    assert setup.game.batch == 12


def test_accumulation_with_networks_of_ones_own():
    G, D = (
        nn.Sequential(nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1), nn.Flatten(0)),
    )
    weights = {name: value.clone() for name, value in D.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(60, 2))
    found = []
    for batch, passes in ((12, 1), (4, 3)):
        D.load_state_dict(weights)
        rules = [f"game.batch={batch}", f"game.accumulate={passes}", "train.precision=float64"]
        gan = zs.GAN(nn.Sequential(nn.Linear(4, 2)), D.double(), latent=4, set=rules)
        gan.state.generator.load_state_dict(G.state_dict())
        gan.fit(x, rounds=5)
        found.append([weight.detach().clone() for weight in D.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_batch_statistics_are_the_mean_over_passes(settings):
    """A pass starts from what the step began with, so that the running mean moves once."""
    rules = ['data="digits"', "game.batch=6", "game.accumulate=2", "train.precision=float64"]
    small = ["nets.generator.width=4", "nets.discriminator.width=4", "latent.size=4"]
    setup = build.assemble(resolve(config.load("dcgan-mnist", [*rules, *small, "train.threads=1"])))
    norm = next(layer for layer in setup.state.generator.modules() if isinstance(layer, nn.BatchNorm2d))
    means = []
    norm.register_forward_pre_hook(
        lambda layer, given: means.append(given[0].mean((0, 2, 3)).detach()) if torch.is_grad_enabled() else None
    )
    play(setup.state, setup.game, setup.batches, setup.engine)
    torch.testing.assert_close(norm.running_mean, 0.1 * torch.stack(means).mean(0), rtol=0, atol=1e-12)
    assert len(means) == 2


def test_a_parameter_that_no_pass_reaches_has_no_gradient():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    gradients = Gradients(net, None, (Shard(slice(0, 1), 0.5), Shard(slice(1, 2), 0.5)), SINGLE)
    for _ in range(2):
        gradients.zero()
        for x in (1.0, 3.0):
            (0.5 * net[1](torch.tensor([[x, 0.0]])).sum()).backward()
            gradients.end_microbatch({"cost": torch.tensor(x)})
        assert gradients.finish() == {"cost": torch.tensor(2.0)}
        assert net[0].weight.grad is None
        assert net[1].weight.grad.tolist() == [[2.0, 0.0]]
        assert net[1].bias.grad.tolist() == [1.0]


def test_buckets_hold_every_parameter_once_in_its_own_layout_and_type():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(2000, 1000), nn.Linear(4, 4).double())
    net = net.to(memory_format=torch.channels_last)
    buckets = make_buckets(list(net.parameters()), 5, SINGLE)
    assert [len(bucket.parameters) for bucket in buckets] == [2, 2, 2]
    for bucket in buckets:
        for parameter, place in zip(bucket.parameters, bucket.local, strict=True):
            assert (place.shape, place.stride(), place.dtype) == (parameter.shape, parameter.stride(), parameter.dtype)
            place.fill_(1)
        spare = 5 if bucket is buckets[-1] else 0
        assert bucket.memory.sum() == len(bucket.memory) - spare


def test_a_mask_of_a_part_is_the_rows_of_the_mask_of_the_whole():
    layer, x = SharedDropout(0.4, batch=6), torch.ones(6, 50)
    torch.manual_seed(1)
    whole = nn.Dropout(0.4)(torch.cat([x, x]))
    for rows in (slice(0, 2), slice(2, 6)):
        layer.shard = Shard(rows, 0.5)
        torch.manual_seed(1)
        shard = layer(torch.cat([x[rows], x[rows]]))
        assert torch.equal(shard, torch.cat([whole[:6][rows], whole[6:][rows]]))
    layer.eval()
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8])
def test_a_checksum_sees_every_bit_and_every_exchange_of_two(dtype):
    x = torch.arange(1, 8).to(dtype)
    other, swapped = x.clone(), x.flip(0)
    other[3] = other[3] + 1
    assert not torch.equal(checksum(x), checksum(other))
    assert not torch.equal(checksum(x), checksum(swapped))
    assert torch.equal(checksum(x), checksum(x.clone()))
    if dtype.is_floating_point:
        assert not torch.equal(checksum(torch.zeros(2, dtype=dtype)), checksum(-torch.zeros(2, dtype=dtype)))


def test_whoever_is_behind_or_silent_or_spoke_last_is_to_blame():
    heartbeat = Heartbeat(HashStore(), rank=0, size=3)
    heartbeat.round, heartbeat.collectives = 9, 40
    beats = {0: Beat(1, 40, 9), 1: Beat(5, 40, 9), 2: Beat(5, 39, 8)}
    later = {0: Beat(9, 40, 9), 1: Beat(9, 40, 9), 2: Beat(9, 39, 8)}
    silent = dict.fromkeys(range(3), "")
    assert heartbeat._finding(beats, later, silent) == "process 2 of 3 hangs in round 10: it lives, and says nothing"
    assert "process 1 of 3 died" in heartbeat._finding(beats, {**later, 1: beats[1]}, silent)
    assert heartbeat._finding(beats, later, {**silent, 1: "no disk"}) == "process 1 ended after round 9: no disk"
    assert heartbeat._finding(beats, {**later, 2: Beat(9, 40, 9)}, silent) is None


def test_alone_nothing_is_sent_and_everything_is_ones_own(settings):
    assert SINGLE.shards(5, 1) == (FULL_BATCH,)
    assert SINGLE.sum_over_ranks([1.0]) == [1.0]
    assert SINGLE.vote(15) == 15
    assert SINGLE.broadcast(b"x") == b"x"
    assert SINGLE.all_gather(b"x") == [b"x"]
    assert SINGLE.map_ranks(2, lambda number: bytes([number])) == [b"\0", b"\1"]
    setup = build.assemble(settings())
    assert isinstance(setup.engine, Eager)
