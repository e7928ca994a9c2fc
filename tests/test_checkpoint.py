import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from zerosum import build, checkpoint, files
from zerosum.errors import CheckpointError, Diverged
from zerosum.game.game import play
from zerosum.run import RunFolder, manifest, remove_temporary

FACTS = {"fingerprint": "x", "data": {}, "run": "0" * 32}


@pytest.fixture
def setup(settings):
    return build.assemble(settings("game.k=2", "penalties.0.every=2", "schedule.decay=cosine", "schedule.end=50"))


def advance(setup, rounds):
    for _ in range(rounds):
        play(setup.state, setup.game, setup.batches, setup.engine)


def tensors(state):
    nets = {"G": state.generator, "D": state.discriminator, "A": state.average}
    found = {f"{key}.{name}": value for key, net in nets.items() for name, value in net.state_dict().items()}
    for player, move in state.optimizers.items():
        for index, memory in move.state_dict()["state"].items():
            found |= {f"{player}.{index}.{name}": value for name, value in memory.items()}
    return found


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize("precision", ["bfloat16", "float32", "float64"])
def test_a_restored_run_goes_on_bit_by_bit(settings, tmp_path, optimizer, precision):
    overrides = [f"train.precision={precision}", "game.k=2", "penalties.0.every=2"]
    overrides += [f'optimizers.{player}={{name="{optimizer}"}}' for player in ("generator", "discriminator")]
    overrides += ["optimizers.generator.momentum=0.5"] if optimizer == "sgd" else []
    undisturbed, first, second = (build.assemble(settings(*overrides)) for _ in range(3))
    advance(undisturbed, 7)
    advance(first, 4)
    first.state.extra["strength"] = 0.25
    checkpoint.save(tmp_path, first.state, FACTS, keep=3)
    checkpoint.restore(checkpoint.load(tmp_path), second.state)
    second.engine.refresh()
    assert second.state.extra == {"strength": 0.25}
    advance(second, 3)
    assert_equal(tensors(second.state), tensors(undisturbed.state))


def test_the_newest_is_kept_and_older_ones_are_pruned(setup, tmp_path):
    for _ in range(5):
        advance(setup, 1)
        checkpoint.save(tmp_path, setup.state, FACTS, keep=2)
    assert [path.name for path in manifest.newest_first(tmp_path)] == ["000005", "000004"]
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
        assert checkpoint.load(two, said.append).round == 1
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
    assert checkpoint.load(two, said.append).round == 1
    assert name in said[0]


def test_with_every_checkpoint_damaged_the_run_is_not_silently_started_over(two):
    for path in manifest.newest_first(two):
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
    assert checkpoint.load(two).round == 2
    assert not list(two.glob(".zerosum-*"))


def test_rubbish_of_a_dead_process_is_no_checkpoint_and_is_swept(two):
    run = RunFolder(two.parent / "run")
    run.path.mkdir()
    two.rename(run.checkpoints)
    left = run.checkpoints / files.temporary_name()
    left.mkdir()
    (left / "players.safetensors").write_bytes(b"half")
    assert checkpoint.load(run.checkpoints).round == 2
    remove_temporary(run)
    assert not left.exists()
    assert checkpoint.load(run.checkpoints).round == 2


def test_a_pickle_among_the_files_is_never_opened(two):
    (two / "000002" / "players.safetensors").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    said = []
    checkpoint.load(two, said.append)
    assert "players.safetensors" in said[0]
    assert not Path("canary").exists()


def test_no_random_state_is_saved(two):
    state = json.loads((two / "000002" / "state.json").read_text())
    assert state.keys() == {"round", "extra", "fingerprint", "data", "run"}


def sealed(path, name, content):
    """Put other content into a file of a checkpoint and make the manifest agree, as whoever means it would."""
    (path / name).write_bytes(content)
    table = {
        one: [len(data := (path / one).read_bytes()), hashlib.sha256(data).hexdigest()] for one in manifest.CONTENTS
    }
    (path / "manifest.json").write_bytes(manifest._manifest_bytes(table))


@pytest.fixture
def other(settings):
    """A freshly built state of the same game, to be resumed."""
    return build.assemble(settings("game.k=2", "penalties.0.every=2", "schedule.decay=cosine", "schedule.end=50")).state


def changed_tensors(path, name, change):
    found = load_tensors((path / name).read_bytes())
    change(found)
    sealed(path, name, save_tensors(found))


SMALLER = lambda found: found.update({key: torch.zeros(3) for key in found if "exp_avg" in key})  # noqa: E731
CHANGES = {
    "moments that are too small": ("optimizers.safetensors", SMALLER),
    "a moment that is missing": ("optimizers.safetensors", lambda found: found.pop("generator.0.exp_avg")),
    "a step of two numbers": (
        "optimizers.safetensors", lambda found: found.update({"generator.0.step": torch.zeros(2)})),
    "a memory of no weight": (
        "optimizers.safetensors", lambda found: found.update({"generator.99.step": torch.zeros(())})),
    "a weight of another type": (
        "players.safetensors", lambda found: found.update({key: value.double() for key, value in found.items()})),
    "a weight too many": ("players.safetensors", lambda found: found.update({"generator.more": torch.zeros(1)})),
    "a weight that is missing": ("average.safetensors", lambda found: found.pop(min(found))),
    "a weight of another shape": (
        "average.safetensors", lambda found: found.update({key: value[None] for key, value in found.items()})),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_a_tensor_that_is_not_the_runs_is_refused_before_anything_is_restored(two, other, kind):
    name, change = CHANGES[kind]
    changed_tensors(two / "000002", name, change)
    said = []
    found = checkpoint.load(two, said.append, expected_layout=lambda _: checkpoint.layout_of(other))
    assert found.round == 1
    assert f"checkpoint 000002 does not fit: {name}" in said[0]
    checkpoint.restore(found, other)


def test_what_an_optimiser_remembers_before_its_first_step_fits(setup, other, tmp_path):
    checkpoint.save(tmp_path, setup.state, FACTS, keep=3)
    found = checkpoint.load(tmp_path, expected_layout=lambda _: checkpoint.layout_of(other))
    checkpoint.restore(found, other)
    assert_equal(tensors(other), tensors(setup.state))
    assert not any(move.state for move in other.optimizers.values())


def test_a_checkpoint_of_another_run_is_passed_over(setup, two):
    advance(setup, 1)
    checkpoint.save(two, setup.state, FACTS | {"run": "1" * 32}, keep=9)
    said = []
    assert checkpoint.load(two, said.append, run="0" * 32).round == 2
    assert said == ["checkpoint 000003 belongs to another run; using 000002 instead"]
    with pytest.raises(CheckpointError, match="belongs to another run"):
        checkpoint.load(two, run="2" * 32)


def test_a_checkpoint_under_the_name_of_another_round_is_passed_over(two):
    (two / "000002").rename(two / "000009")
    said = []
    assert checkpoint.load(two, said.append).round == 1
    assert "it is the one of round 2, renamed" in said[0]


STATES = [b"", b"5", b"[]", b"{}", b"\xff", b"[" * 10**5, b'{"round": 2}', b'{"round": true, "run": "", "extra": {}}']


@pytest.mark.parametrize("content", STATES, ids=range(len(STATES)))
def test_an_odd_state_is_named(two, content):
    sealed(two / "000002", "state.json", content)
    said = []
    assert checkpoint.load(two, said.append).round == 1
    assert "state.json" in said[0]


TABLES = [b"5", b"{}", b'{"../secret": [5, "x"]}', b'{"/dev/zero": [5, "x"]}', b'{"state.json": 5}', b"[" * 10**5]


@pytest.mark.parametrize("table", TABLES, ids=range(len(TABLES)))
def test_a_manifest_that_lists_anything_else_is_refused(two, table):
    seal = hashlib.sha256(table).hexdigest().encode()
    (two / "000002" / "manifest.json").write_bytes(table + b"\n" + seal)
    said = []
    assert checkpoint.load(two, said.append).round == 1
    assert "manifest.json" in said[0]


@pytest.mark.parametrize("name", FILES)
def test_a_link_or_a_fifo_in_the_place_of_a_file_is_never_opened(two, name):
    path = two / "000002" / name
    for take in (lambda: path.symlink_to("/dev/zero"), lambda: os.mkfifo(path), path.mkdir):
        path.unlink()
        take()
        said = []
        assert checkpoint.load(two, said.append).round == 1
        assert "not a regular file" in said[0]
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
            path.touch()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", ["generator", "discriminator", "average", "memory"])
def test_numbers_that_are_not_finite_are_never_saved(setup, part, bad):
    advance(setup, 1)
    state = setup.state
    checkpoint.refuse_non_finite(state)
    memory = state.optimizers["discriminator"].state.values()
    tensor = next(iter(memory))["exp_avg"] if part == "memory" else next(getattr(state, part).parameters())
    tensor.detach().view(-1)[-1] = bad
    with pytest.raises(Diverged) as caught:
        checkpoint.refuse_non_finite(state)
    assert caught.value.player == ("discriminator" if part in ("discriminator", "memory") else "generator")
    assert caught.value.round == 1
    assert part in caught.value.term


def test_damaged_checkpoints_of_later_rounds_push_no_whole_one_out(setup, two):
    """Resumed from an older round, the newest by name is the damaged one: it must not count among those kept."""
    (two / "000002").rename(two / "000009")
    advance(setup, 1)
    checkpoint.save(two, setup.state, FACTS, keep=1)
    assert [path.name for path in manifest.newest_first(two)] == ["000009", "000003"]
    assert checkpoint.load(two).round == 3


def test_what_others_put_into_a_checkpoint_stays(setup, two):
    (two / "000001" / "notes").write_text("mine")
    advance(setup, 1)
    checkpoint.save(two, setup.state, FACTS, keep=1)
    assert [path.name for path in (two / "000001").iterdir()] == ["notes"]
    assert not (two / "000002").exists()


def test_beside_a_training_that_removes_checkpoints_the_list_is_looked_at_anew(setup, two, monkeypatch):
    """All that were listed are removed before they are read; a newer one has come meanwhile."""
    listed = manifest.newest_first
    times = []

    def race(folder):
        found = listed(folder)
        times.append(1)
        if len(times) == 1:
            advance(setup, 1)
            checkpoint.save(two, setup.state, FACTS, keep=1)
        return found

    monkeypatch.setattr(checkpoint.loading, "newest_first", race)
    said = []
    assert checkpoint.load(two, said.append).round == 3
    assert said == []


@pytest.fixture
def saved(setup, tmp_path):
    """The folder of a run with the checkpoints of two rounds."""
    (tmp_path / "checkpoints").mkdir()
    for _ in range(2):
        advance(setup, 1)
        checkpoint.save(tmp_path / "checkpoints", setup.state, FACTS, keep=3)
    return RunFolder(tmp_path)


def said(folder):
    heard = []
    manifest.say_faults(folder, heard.append)
    return heard


def test_what_is_too_large_to_be_hashed_without_need_is_not_called_damaged(saved, monkeypatch):
    assert said(saved) == []
    monkeypatch.setattr(manifest, "MAX_HASHED", 10)
    assert said(saved) == []
    with (saved.checkpoints / "000002" / "optimizers.safetensors").open("ab") as file:
        file.write(b"x")
    (sentence,) = said(saved)
    assert "000002 is damaged: optimizers.safetensors has" in sentence
    assert sentence.endswith("the newest whole one is 000001")


def test_a_list_reads_no_tensors(saved, monkeypatch):
    read = []
    chunks = files.read_chunks
    monkeypatch.setattr(
        files, "read_chunks", lambda path, *more, **how: read.append(path.name) or chunks(path, *more, **how)
    )
    assert manifest.remark(saved) == ""
    assert not [name for name in read if name.endswith(".safetensors")]


def test_a_checkpoint_that_a_training_removes_meanwhile_is_not_damaged(saved, monkeypatch):
    listed = manifest.newest_first(saved.checkpoints)
    monkeypatch.setattr(manifest, "newest_first", lambda _: listed)
    shutil.rmtree(listed[0])
    assert said(saved) == []
