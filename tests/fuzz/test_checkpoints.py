"""Checkpoints that are damaged, and checkpoints that were made by hand so that their manifest agrees.

Damaged    Sampling and resuming use the checkpoint before, and say so; the bits are those of the one or of the other.
Sealed     Tensors are taken only if they have the names, shapes and types of the run's own; what else state.json says
           is a checkpoint or is none.

A case follows from its number alone.
"""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from zerosum import build, checkpoint, config
from zerosum.errors import CheckpointError, printable
from zerosum.resolved import look_up, resolve
from zerosum.run import RunFolder
from zerosum.sampling import Sampler
from zerosum.training.loop import fit

SMALL = ["nets.generator.width=8", "nets.discriminator.width=8", "latent.size=4", "game.batch=8", "train.threads=1"]
OFTEN = ["train.device=cpu", "train.rounds=2", "train.save_every=1", "train.check_every=9", "train.sample_every=9"]
NAMES = ("players.safetensors", "average.safetensors", "optimizers.safetensors", "state.json", "manifest.json")
STEMS = {name: name.removesuffix(".safetensors") for name in NAMES[:3]}
TYPES = (
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int8,
    torch.bool,
    torch.uint8,
    torch.complex64,
)
ODD = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2.5,
    10**30,
    2**63,
    float("nan"),
    float("inf"),
    "",
    "2",
    "x" * 300,
    "\x1b[2J",
    [],
    {},
)
ODD += ([1], [[]], {"a": 1}, [None] * 99, "\ud800", "../x", 1e-320, [1e308], "0" * 32, "images", "points", [1, 8, 8])


def pick(rng, among):
    return among[rng.integers(len(among))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with checkpoints of the rounds 0, 1 and 2."""
    folder = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    list(fit(resolve(config.load("digits", [*SMALL, *OFTEN])), folder))
    return folder


@pytest.fixture(scope="module")
def state(whole):
    """What a training builds before it looks for a checkpoint."""
    return build.assemble(look_up(whole.read_config())).state


@pytest.fixture(scope="module")
def layout(state):
    """What the tensors of a checkpoint are like, to resume from."""
    return checkpoint.layout_of(state)


@pytest.fixture(scope="module")
def originals(whole):
    """Round -> file -> tensors."""
    return {
        step: {stem: load((whole.checkpoints / f"{step:06d}" / name).read_bytes()) for name, stem in STEMS.items()}
        for step in (0, 1, 2)
    }


@pytest.fixture
def copied(whole, tmp_path):
    """(*rounds) -> a copy of the run with the checkpoints of these rounds, whole."""
    place = RunFolder(tmp_path / "run")
    shutil.copytree(whole.path, place.path, ignore=shutil.ignore_patterns("samples", "tensorboard"))
    contents = {f"{step:06d}": files_of(whole.checkpoints / f"{step:06d}") for step in (0, 1, 2)}

    def copy(*rounds):
        for folder in place.checkpoints.iterdir():
            for path in folder.iterdir() if folder.is_dir() else ():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            folder.rmdir() if folder.is_dir() else folder.unlink()
        for step in rounds:
            folder = place.checkpoints / f"{step:06d}"
            folder.mkdir()
            for name, content in contents[folder.name].items():
                (folder / name).write_bytes(content)
        return place

    return copy


def files_of(folder):
    return {name: (folder / name).read_bytes() for name in NAMES}


def seal(path):
    """Make the manifest agree with what lies there."""
    contents = {name: (path / name).read_bytes() for name in NAMES[:4]}
    line = json.dumps({name: [len(one), hashlib.sha256(one).hexdigest()] for name, one in contents.items()}).encode()
    (path / "manifest.json").write_bytes(line + b"\n" + hashlib.sha256(line).hexdigest().encode())


def flip(path, rng):
    content = bytearray(path.read_bytes())
    for at in rng.integers(0, len(content) if rng.random() < 0.7 else min(len(content), 200), rng.integers(1, 4)):
        content[at] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def overwrite(path, rng):
    content = bytearray(path.read_bytes())
    at = rng.integers(len(content))
    content[at : at + 9] = rng.bytes(rng.integers(20))
    path.write_bytes(content)


def cut(path, rng):
    os.truncate(path, rng.integers(path.stat().st_size))


def more(path, rng):
    with path.open("ab") as file:
        file.write(pick(rng, (b"\0", b"\n", b"x", b" " * 4096)))


def take(path, _):
    path.unlink()


def a_folder(path, rng):
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / "x").touch()


def a_link(path, rng):
    kept = path.with_name("kept") if rng.random() < 0.5 else path.parent.parent / "kept"
    path.rename(kept)
    path.symlink_to(pick(rng, (kept, kept.name, "/dev/zero", path.name, "nowhere")))


def a_fifo(path, _):
    path.unlink()
    os.mkfifo(path)


def of_another_round(path, rng):
    others = [one for one in path.parent.parent.glob(f"*/{path.name}") if one != path and one.is_file()]
    path.write_bytes(pick(rng, others).read_bytes() if others else b"")


def of_another_file(path, rng):
    others = [one for one in path.parent.iterdir() if one.is_file()]
    path.write_bytes(pick(rng, others).read_bytes())


WAYS = (flip, flip, flip, overwrite, cut, cut, more, take, a_folder, a_link, a_fifo, of_another_round, of_another_file)


def damage(path, rng):
    """Damage some files of a checkpoint, each in some way."""
    for _ in range(rng.integers(1, 3)):
        file = path / pick(rng, NAMES)
        if file.is_file() and not file.is_symlink():
            pick(rng, WAYS)(file, rng)


def equal(found, wanted):
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in found)


def sampled(folder, say):
    """The round and the weights that samples are drawn with; None where there are none."""
    try:
        sampler = Sampler.load(folder.path, say=say)
    except CheckpointError as error:
        assert printable(str(error)) == str(error)
        return None
    assert len(sampler.draw(3)) == 3
    return sampler.round, sampler.generator.state_dict()


def resumed(folder, state, layout):
    """The checkpoint that a training goes on from, once it is put back; None where there is none."""
    try:
        saved = checkpoint.load(folder.checkpoints, run=folder.run_id(), expected_layout=lambda _: layout)
    except CheckpointError as error:
        assert printable(str(error)) == str(error)
        return None
    checkpoint.restore(saved, state)
    return saved


def play_damaged(numbers, copied, state, layout, originals, unchanged):
    """How often the newest was whole, an older one was used, and none."""
    ends = {2: 0, 1: 0, 0: 0, None: 0}
    for number in numbers:
        rng = np.random.default_rng([3, number])
        folder, said = copied(0, 1, 2), []
        for step in (2, 1, 0)[: 1 if rng.random() < 0.8 else 3]:
            damage(folder.checkpoints / f"{step:06d}", rng)
        with unchanged(folder.path):
            drawn, saved = sampled(folder, said.append), resumed(folder, state, layout)
        step = saved.round if saved else None
        ends[step] += 1
        assert (drawn[0] if drawn else None) == step, number
        if saved:
            assert equal(drawn[1], originals[step]["average"]), number
            assert all(equal(saved.tensors[stem], originals[step][stem]) for stem in STEMS.values()), number
            assert len(said) == 2 - step, number
            assert all(f"using {step:06d} instead" in sentence for sentence in said)
    return ends


def odd_tensors(tensors, rng):
    """Tensors of which some are not what they were."""
    for _ in range(rng.integers(1, 4)):
        if not tensors:
            return
        name = pick(rng, sorted(tensors))
        tensor = tensors[name]
        ways = (
            lambda: tensors.pop(name),
            lambda: tensors.update({pick(rng, ("x", "", "0.exp_avg", f"{name}.more", name.upper())): tensor}),
            lambda: tensors.update({name: tensor.to(pick(rng, TYPES))}),
            lambda: tensors.update({name: tensor[..., :-1] if tensor.ndim else tensor[None]}),
            lambda: tensors.update({name: tensor[None]}),
            lambda: tensors.update({name: torch.zeros(tuple(rng.integers(0, 40, rng.integers(0, 4))))}),
            lambda: tensors.update({name: tensor.reshape(-1)}),
            lambda: tensors.update({name: torch.full_like(tensor, pick(rng, (0, 1, 7)))}),
            lambda: tensors.update({name: tensor * pick(rng, (float("nan"), float("inf"), -1e30, 0))}),
            lambda: tensors.update({name: tensors[pick(rng, sorted(tensors))]}),
            lambda: tensors.update({name: tensor + 1}),
        )
        pick(rng, ways)()


def odd_json(value, rng):
    """The same tree with something odd in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = pick(rng, sorted(value))
        end = rng.random()
        if end < 0.1:
            return {other: one for other, one in value.items() if other != key}
        if end < 0.2:
            return value | {str(pick(rng, ODD)): pick(rng, ODD)}
        return value | {key: odd_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.5:
        at = rng.integers(len(value))
        return [*value[:at], odd_json(value[at], rng), *value[at + 1 :]]
    return pick(rng, ODD)


def tamper(path, rng):
    """Change one file of a checkpoint into another valid one, or nearly so, and seal it."""
    name = pick(rng, NAMES[:4])
    if name == "state.json":
        facts = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps(odd_json(facts, rng)))
    elif rng.random() < 0.7:
        tensors = load((path / name).read_bytes())
        odd_tensors(tensors, rng)
        (path / name).write_bytes(save({key: one.clone().contiguous() for key, one in tensors.items()}))
    else:
        pick(rng, (flip, overwrite, cut, more))(path / name, rng)
    seal(path)
    return name


def likeness(tensors):
    return {name: (tuple(one.shape), one.dtype) for name, one in tensors.items()}


def play_sealed(numbers, copied, state, layout, originals, unchanged):
    """How often a checkpoint that somebody made was taken, and how often not."""
    ends = {True: 0, False: 0}
    for number in numbers:
        rng = np.random.default_rng([4, number])
        folder = copied(2)
        name = tamper(folder.checkpoints / "000002", rng)
        with unchanged(folder.path):
            drawn, saved = sampled(folder, lambda _: None), resumed(folder, state, layout)
        ends[saved is not None] += 1
        if drawn:
            assert likeness(drawn[1]) == likeness(originals[2]["average"]), number
            assert all(torch.isfinite(one).all() for one in drawn[1].values())
            assert name == "average.safetensors" or equal(drawn[1], originals[2]["average"])
        if saved:
            for stem in ("players", "average"):
                assert likeness(saved.tensors[stem]) == likeness(originals[2][stem]), number
            assert likeness(saved.tensors["optimizers"]).items() <= likeness(originals[2]["optimizers"]).items()
            assert saved.round == 2
    return ends


def test_a_damaged_checkpoint_is_never_taken_for_a_whole_one(copied, state, layout, originals, unchanged):
    ends = play_damaged(range(70), copied, state, layout, originals, unchanged)
    assert ends[1] > 40
    assert ends[2] < 15  # a link to the file itself, or a file written over by what it held
    assert ends[None] + ends[0] > 3


def test_a_sealed_checkpoint_is_taken_for_what_it_can_be(copied, state, layout, originals, unchanged):
    ends = play_sealed(range(70), copied, state, layout, originals, unchanged)
    assert min(ends.values()) > 3  # both ends are met


@pytest.mark.slow
@pytest.mark.parametrize("stretch", range(5))
def test_a_thousand_damaged_checkpoints(copied, state, layout, originals, unchanged, bounded, stretch):
    with bounded(300):
        play_damaged(range(10_000 + 200 * stretch, 10_200 + 200 * stretch), copied, state, layout, originals, unchanged)


@pytest.mark.slow
@pytest.mark.parametrize("stretch", range(5))
def test_a_thousand_sealed_checkpoints(copied, state, layout, originals, unchanged, bounded, stretch):
    with bounded(300):
        play_sealed(range(10_000 + 200 * stretch, 10_200 + 200 * stretch), copied, state, layout, originals, unchanged)


def play_on(numbers, copied, originals, change):
    """Go on with the training of each run, as `train` does."""
    for number in numbers:
        rng = np.random.default_rng([5, number])
        folder = copied(0, 1, 2)
        change(folder.checkpoints / "000002", rng)
        settings = config.with_train(folder.read_config(), rounds=3)
        try:
            steps = [moment.round for moment in fit(look_up(settings), folder)]
        except CheckpointError as error:
            assert "lie there; move them away" in str(error)
            continue
        assert steps in ([3], [2, 3])
        read = checkpoint.read(folder.checkpoints / "000003", folder.run_id())
        assert likeness(read.tensors["players"]) == likeness(originals[2]["players"])


def test_a_training_goes_on(copied, originals):
    play_on(range(4), copied, originals, damage)


@pytest.mark.slow
def test_many_trainings_go_on(copied, originals):
    play_on(range(1000, 1100), copied, originals, damage)
    play_on(range(2000, 2100), copied, originals, tamper)
