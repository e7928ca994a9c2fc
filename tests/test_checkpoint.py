import json
import os
from pathlib import Path

import pytest
import torch

from zerosum import build, checkpoint, files
from zerosum.errors import CheckpointError
from zerosum.game import play
from zerosum.run import RunFolder, sweep

FACTS = {"fingerprint": "x", "data": {}, "run": "0" * 32}


@pytest.fixture
def setup(settings):
    return build.assemble(settings("game.k=2", "penalties.0.every=2", "schedule.decay=cosine", "schedule.end=50"))


def advance(setup, rounds):
    for _ in range(rounds):
        play(setup.state, setup.game, setup.batches)


def tensors(state):
    nets = {"G": state.generator, "D": state.discriminator, "A": state.average}
    found = {f"{key}.{name}": value for key, net in nets.items() for name, value in net.state_dict().items()}
    for player, move in state.optimisers.items():
        for index, memory in move.state_dict()["state"].items():
            found |= {f"{player}.{index}.{name}": value for name, value in memory.items()}
    return found


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32", "float64"])
def test_a_restored_run_goes_on_bit_by_bit(settings, tmp_path, optimiser, precision):
    overrides = [f"train.precision={precision}", "game.k=2", "penalties.0.every=2"]
    overrides += [f'optimisers.{player}={{name="{optimiser}"}}' for player in ("generator", "discriminator")]
    overrides += ["optimisers.generator.momentum=0.5"] if optimiser == "sgd" else []
    undisturbed, first, second = (build.assemble(settings(*overrides)) for _ in range(3))
    advance(undisturbed, 7)
    advance(first, 4)
    first.state.extra["strength"] = 0.25
    checkpoint.save(tmp_path, first.state, FACTS, keep=3)
    checkpoint.restore(checkpoint.load(tmp_path), second.state)
    assert second.state.extra == {"strength": 0.25}
    advance(second, 3)
    assert_equal(tensors(second.state), tensors(undisturbed.state))


def test_the_newest_is_kept_and_older_ones_are_pruned(setup, tmp_path):
    for _ in range(5):
        advance(setup, 1)
        checkpoint.save(tmp_path, setup.state, FACTS, keep=2)
    assert [path.name for path in checkpoint.steps(tmp_path)] == ["000005", "000004"]
    assert not list(tmp_path.glob(".zerosum-*"))


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "nowhere") is None


@pytest.fixture
def two(setup, tmp_path):
    for _ in range(2):
        advance(setup, 1)
        checkpoint.save(tmp_path, setup.state, FACTS, keep=3)
    return tmp_path


FILES = ["players.safetensors", "average.safetensors", "optimizers.safetensors", "state.json", "manifest.json"]


def test_a_checkpoint_holds_just_these_files(two):
    assert sorted(path.name for path in (two / "000002").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_named_and_the_checkpoint_before_is_used(two, name):
    path = two / "000002" / name
    whole = path.read_bytes()
    for offset in [*torch.randint(len(whole), (25,)).tolist(), 0, len(whole) - 1]:
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1 << offset % 8]) + whole[offset + 1 :])
        said = []
        assert checkpoint.load(two, said.append).step == 1
        assert "000002 is damaged" in said[0]
        assert name in said[0]
        assert "using 000001" in said[0]


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [cut_in_half, lambda path: path.write_bytes(b""), Path.unlink])
def test_a_cut_empty_or_missing_file_is_named_too(two, name, damage):
    damage(two / "000002" / name)
    said = []
    assert checkpoint.load(two, said.append).step == 1
    assert name in said[0]


def test_with_every_checkpoint_damaged_the_run_is_not_silently_started_over(two):
    for path in checkpoint.steps(two):
        cut_in_half(path / "players.safetensors")
    with pytest.raises(CheckpointError, match=r"no checkpoint is whole[\s\S]*000002[\s\S]*000001"):
        checkpoint.load(two)


def test_other_networks_are_refused(two, settings):
    other = build.assemble(settings("nets.generator.width=17"))
    with pytest.raises(CheckpointError, match="holds other networks"):
        checkpoint.restore(checkpoint.load(two), other.state)


@pytest.mark.parametrize("broken", ["fsync", "rename"])
def test_a_refusing_disk_leaves_the_older_checkpoint_and_no_rubbish(setup, two, monkeypatch, broken):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if broken == "fsync" else (Path, "rename")), refuse)
    advance(setup, 1)
    with pytest.raises(CheckpointError, match="No space left on device"):
        checkpoint.save(two, setup.state, FACTS, keep=3)
    assert checkpoint.load(two).step == 2
    assert not list(two.glob(".zerosum-*"))


def test_rubbish_of_a_dead_process_is_no_checkpoint_and_is_swept(two):
    run = RunFolder(two.parent / "run")
    run.path.mkdir()
    two.rename(run.checkpoints)
    left = run.checkpoints / files.temporary_name()
    left.mkdir()
    (left / "players.safetensors").write_bytes(b"half")
    assert checkpoint.load(run.checkpoints).step == 2
    sweep(run)
    assert not left.exists()
    assert checkpoint.load(run.checkpoints).step == 2


def test_a_pickle_among_the_files_is_never_opened(two):
    (two / "000002" / "players.safetensors").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    said = []
    checkpoint.load(two, said.append)
    assert "players.safetensors" in said[0]
    assert not Path("canary").exists()


def test_no_random_state_is_saved(two):
    state = json.loads((two / "000002" / "state.json").read_text())
    assert state.keys() == {"step", "extra", "fingerprint", "data", "run"}
