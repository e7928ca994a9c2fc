import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import zerosum as zs
from zerosum import build, checkpoint, config, rng
from zerosum.data import from_file
from zerosum.errors import CheckpointError, RunError, UsageError
from zerosum.nets import NETS
from zerosum.resolved import bind_networks
from zerosum.run import RunFolder, make
from zerosum.samples import Samples
from zerosum.sampling import BLOCK, Sampler
from zerosum.saved_generator import average_layout, spec_from_json, spec_to_json
from zerosum.spec import SampleSpec

POINTS = SampleSpec("points", (2,), (10.0, -1.0), (2.0, 0.5))
IMAGES = SampleSpec("images", (3, 4, 5), (127.5,), (127.5,))
SMALL = ["nets.generator.width=8", "nets.discriminator.width=8", "game.batch=8", "train.threads=1", "train.device=cpu"]


@pytest.fixture
def sampler():
    return Sampler(nn.Linear(3, 2), POINTS, lambda n, seed, *key: rng.normal((n, 3), seed, *key))


def images(n=5, channels=3):
    return Samples(np.random.default_rng(0).integers(0, 256, (n, 4, 6, channels)).astype(np.uint8))


def points(n=5, d=2):
    return Samples(np.random.default_rng(0).normal(size=(n, d)).astype(np.float32))


@pytest.mark.parametrize("n", [1, 10, BLOCK, BLOCK + 1])
def test_fewer_samples_are_the_first_of_more(sampler, n):
    more = sampler.draw(2 * BLOCK + 10, seed=3)
    fewer = sampler.draw(n, seed=3)
    assert len(fewer) == n
    assert np.array_equal(fewer.array, more.array[:n])


def test_every_sample_is_another_one(sampler):
    assert len(np.unique(sampler.draw(3 * BLOCK).array, axis=0)) == 3 * BLOCK


def test_a_seed_gives_its_own_samples_each_time(sampler):
    torch.manual_seed(1)
    first = sampler.draw(4, seed=1).array
    torch.manual_seed(2)
    assert np.array_equal(first, sampler.draw(4, seed=1).array)
    assert not np.isin(first, sampler.draw(4, seed=2).array).any()


def test_samples_are_in_the_units_of_the_data(sampler):
    z = rng.normal((BLOCK, 3), 0, 0, "sample")
    with torch.no_grad():
        expected = sampler.generator(z)[:7].double() * torch.tensor([2.0, 0.5]) + torch.tensor([10.0, -1.0])
    drawn = sampler.draw(7).array
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


def test_images_are_whole_grey_values_with_channels_last():
    generator = nn.Sequential(nn.Linear(3, 60), nn.Unflatten(1, (3, 4, 5)))
    with torch.no_grad():
        generator[0].weight.mul_(50)
    drawn = Sampler(generator, IMAGES, lambda n, seed, *key: rng.normal((n, 3), seed, *key)).draw(9).array
    assert (drawn.dtype, drawn.shape) == (np.uint8, (9, 4, 5, 3))
    assert (drawn.min(), drawn.max()) == (0, 255)  # beyond the ends it is clipped, never wrapped


@pytest.mark.parametrize("n", [0, -1])
def test_no_samples_are_refused(sampler, n):
    with pytest.raises(UsageError, match=f"cannot make {n} samples"):
        sampler.draw(n)


def test_a_negative_seed_is_refused(sampler):
    with pytest.raises(UsageError, match="seed = -1"):
        sampler.draw(1, seed=-1)


@pytest.mark.parametrize("form", [POINTS, IMAGES, SampleSpec("points", (1,), (0.0,), (1.0,), ("a", "b"))])
def test_a_form_survives_the_way_through_json(form):
    assert spec_from_json(json.loads(json.dumps(spec_to_json(form)))) == form


@pytest.mark.parametrize("samples", [images(), images(channels=1), images(1), points(), points(d=1), points(d=3)])
def test_a_png_is_a_picture(tmp_path, samples):
    path = samples.save(tmp_path / "new" / "x.png")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 20
        assert len(set(picture.convert("L").tobytes())) > 2


@pytest.mark.parametrize("samples", [images(), points()])
@pytest.mark.parametrize("name", ["x.npz", "x.NPZ"])
@pytest.mark.parametrize("labels", [None, np.arange(5)])
def test_an_npz_holds_samples_and_labels(tmp_path, samples, name, labels):
    path = Samples(samples.array, labels).save(str(tmp_path / name))
    assert [path] == list(tmp_path.iterdir())
    with np.load(path) as archive:
        assert set(archive.files) == ({"samples"} if labels is None else {"samples", "labels"})
        assert archive["samples"].dtype == samples.array.dtype
        assert np.array_equal(archive["samples"], samples.array)
        assert labels is None or np.array_equal(archive["labels"], labels)


@pytest.mark.parametrize("d", [1, 3])
def test_a_csv_holds_every_digit_and_can_be_trained_on(tmp_path, d):
    samples = points(20, d)
    path = samples.save(tmp_path / "x.csv")
    assert path.read_text().splitlines()[0] == ",".join(f"x{number}" for number in range(1, d + 1))
    assert np.array_equal(np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).astype(np.float32), samples.array)
    assert from_file(path).shape == (d,)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_folder_holds_one_exact_picture_for_each_image(tmp_path, channels):
    samples = images(3, channels)
    path = samples.save(tmp_path / "folder")
    assert sorted(file.name for file in path.iterdir()) == ["000000.png", "000001.png", "000002.png"]
    for number, image in enumerate(samples.array):
        with Image.open(path / f"{number:06d}.png") as picture:
            assert np.array_equal(np.asarray(picture).reshape(image.shape), image)


@pytest.mark.parametrize(
    ("samples", "name"),
    [(images(), "x.csv"), (images(), "x.jpg"), (points(), "folder"), (points(), "x.txt"), (points(), "x.npy")],
)
def test_another_ending_is_refused_with_those_that_suit(tmp_path, samples, name):
    with pytest.raises(UsageError, match=r"give \.png, (\.gif, )?\.npz or"):
        samples.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/x.png", "file/x.npz", "file", "closed.png", "closed.npz"])
def test_a_place_that_cannot_be_written_to_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "closed.png").mkdir()
    (tmp_path / "closed.npz").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        images().save(tmp_path / name)


def test_a_run_can_be_sampled_when_its_data_is_gone(tmp_path):
    data = tmp_path / "mine.csv"
    np.savetxt(data, np.random.default_rng(0).normal([100, -5], [3, 0.1], (60, 2)), delimiter=",", fmt="%.6f")
    zs.train("digits", data=data, rounds=3, out=tmp_path / "run", set=SMALL, say=lambda _: None)
    data.unlink()
    drawn = Sampler.load(tmp_path / "run").draw(200).array
    assert drawn.shape == (200, 2)
    assert np.abs(drawn.mean(0) - [100, -5]).max() < 15
    assert np.array_equal(zs.load(tmp_path / "run").sample(200).array, drawn)


def test_what_is_sampled_is_the_average_of_the_newest_checkpoint(tmp_path):
    zs.train("digits", rounds=3, out=tmp_path / "run", set=SMALL, say=lambda _: None)
    saved = checkpoint.load(tmp_path / "run" / "checkpoints").tensors["average"]
    loaded = Sampler.load(tmp_path / "run").generator.state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


def test_what_holds_no_generator_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no run"):
        Sampler.load(tmp_path)
    (tmp_path / "config.toml").touch()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        Sampler.load(tmp_path)


def test_a_folder_holds_one_draw(tmp_path):
    place = tmp_path / "draw"
    images(3).save(place)
    with pytest.raises(UsageError, match="is not empty, and a folder holds one draw"):
        Samples(images(3).array[:1]).save(place)
    assert len(list(place.iterdir())) == 3
    (place / "notes.txt").write_text("mine")
    Samples(images(3).array[:1]).save(place, force=True)
    assert sorted(path.name for path in place.iterdir()) == ["000000.png", "notes.txt"]


@pytest.mark.parametrize("name", ["samples/000500.png", "samples", "report.png", "checkpoints/x.png"])
def test_what_belongs_to_a_run_is_never_overwritten(tmp_path, name):
    run = RunFolder(tmp_path / "run")
    make(run)
    run.config.touch()
    if name == "report.png":  # not the run's own
        images(3).save(run.path / name)
        return
    with pytest.raises(UsageError, match="belongs to a run"):
        images(3).save(run.path / name, force=True)


@pytest.mark.parametrize("name", ["x.png", "x.npz", "x.gif", "folder"])
def test_what_is_no_file_or_no_folder_is_not_written_to(tmp_path, name):
    place = tmp_path / name
    os.mkfifo(place)
    with pytest.raises(UsageError, match="what is there is no"):
        images(3).save(place, force=True)


def test_more_samples_than_memory_holds_are_refused_before_the_first(sampler):
    with pytest.raises(UsageError, match=r"GB of memory, this machine has"):
        sampler.draw(10**15)
    with pytest.raises(UsageError, match=r"GB of memory"):
        sampler.walk(10**15)


ODD_FORMS = [
    {}, {"kind": "sounds"}, {"shape": []}, {"shape": [1, 8]}, {"shape": [1, 0, 8]}, {"shape": [1, 10**9, 10**9]},
    {"shape": [1, True, 8.5]}, {"shift": []}, {"scale": [0.0]}, {"scale": [float("nan")]}, {"scale": [1.0, 1.0]},
    {"classes": 5}, {"classes": [1]}, {"more": 1}, {"shape": None},
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_FORMS, ids=map(str, ODD_FORMS))
def test_a_form_that_describes_no_sample_is_refused(odd):
    facts = {"kind": "images", "shape": [1, 8, 8], "shift": [127.5], "scale": [127.5], "classes": None}
    assert spec_from_json(facts).shape == (1, 8, 8)
    with pytest.raises(CheckpointError, match=r"in state\.json is not what a data set looks like"):
        spec_from_json(facts | odd if odd else {})


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("conditions", ["none", "labels"])
def test_what_a_generator_is_like_is_told_without_its_memory(name, conditions):
    settings = config.load("digits", [f'nets={{name="{name}", conditions="{conditions}"}}', "train.precision=float64"])
    _, networks = bind_networks(settings.nets)
    shape = (1, 28, 28)
    form = SampleSpec("images", shape, (0.0,), (1.0,), tuple("0123456789"))
    told = average_layout(settings, networks, {"data": spec_to_json(form), "round": 1})["average"]
    net = build.new_generator(settings, networks, form).double()
    assert told == checkpoint.specs_of(net)
