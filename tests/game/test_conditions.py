"""Class conditions, from the labels of the data to `sample --label`."""

from collections import deque

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

import zerosum as zs
from zerosum import build, permission
from zerosum.errors import ConfigError, DataError, UsageError
from zerosum.run import RunFolder
from zerosum.sampling import Sampler, slerp
from zerosum.training.loop import fit


@pytest.fixture
def told(settings, tmp_path):
    def train(*overrides, rounds=3):
        chosen = settings("nets.conditions=labels", f"train.rounds={rounds}", "train.save_every=3", *overrides)
        deque(fit(chosen, RunFolder(tmp_path)), maxlen=0)
        return zs.load(tmp_path)

    return train


def test_batches_carry_the_labels_of_their_rows(settings):
    setup = build.assemble(settings("nets.conditions=labels"))
    data = setup.data
    known = {x.tobytes(): label for x, label in zip(data.train.x, data.train.labels, strict=True)}
    x, c = setup.batches(5)
    stored = ((x + 1) * 127.5).round().to(torch.uint8).numpy()
    assert [known[row.tobytes()] for row in stored] == c.tolist()


def test_samples_say_which_class_was_asked_for(told):
    run = told()
    assert run.sample(12).labels.tolist() == [*range(10), 0, 1]
    assert run.sample(3, label="7").labels.tolist() == [7, 7, 7]
    with pytest.raises(UsageError, match="no class '11'"):
        run.sample(1, label="11")


def test_a_generator_without_conditions_refuses_a_label(settings, tmp_path):
    deque(fit(settings("train.rounds=2"), RunFolder(tmp_path)), maxlen=0)
    with pytest.raises(UsageError, match="trained without conditions"):
        zs.load(tmp_path).sample(1, label="7")


def test_data_without_classes_is_refused(settings, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(50, 2)))
    with pytest.raises(ConfigError, match="needs data with classes"), permission.granted(paths=True):
        build.assemble(settings("nets.conditions=labels", f'data="{(tmp_path / "x.npy").as_posix()}"'))


def test_a_resumed_run_with_conditions_goes_on_bit_by_bit(settings, tmp_path):
    for rounds, folder in ((3, "a"), (6, "a"), (6, "b")):
        chosen = settings("nets.conditions=labels", f"train.rounds={rounds}", "train.save_every=3")
        deque(fit(chosen, RunFolder(tmp_path / folder)), maxlen=0)
    assert np.array_equal(zs.load(tmp_path / "a").sample(20).array, zs.load(tmp_path / "b").sample(20).array)


def test_other_labels_under_the_same_samples_are_refused_on_resume(settings, tmp_path):
    file, x = tmp_path / "told.npz", np.random.default_rng(0).normal(size=(60, 2))
    chosen = settings("nets.conditions=labels", f'data="{file.as_posix()}"', "train.rounds=2")
    np.savez(file, x=x, y=np.arange(60) % 3)
    deque(fit(chosen, RunFolder(tmp_path / "run")), maxlen=0)
    np.savez(file, x=x, y=np.arange(60)[::-1] % 3)
    with pytest.raises(DataError, match="not what this run began with"):
        deque(fit(chosen, RunFolder(tmp_path / "run")), maxlen=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_classifier_sees_the_class_that_was_asked_for(tmp_path):
    data = zs.DATASETS["digits"]()
    judge = SVC(C=10).fit(data.train.x.reshape(len(data.train), -1), data.train.labels)
    real = judge.score(data.test.x.reshape(len(data.test), -1), data.test.labels)
    run = zs.train("digits", set=["nets.conditions=labels"], rounds=3000, out=tmp_path)
    samples = run.sample(2000)
    seen = judge.score(samples.array.transpose(0, 3, 1, 2).reshape(2000, -1), samples.labels)
    print(f"\nasked class seen in {seen:.3f} of samples; in {real:.3f} of held-out digits")
    assert seen >= 0.97


def walker(law="normal"):
    linear = torch.nn.Linear(3, 2, bias=False)
    form = zs.DATASETS["ring"]().spec
    return Sampler(linear, form, lambda n, seed, *key: torch.randn(n, 3), law == "normal")


def test_a_walk_is_closed_and_passes_every_station():
    torch.manual_seed(0)
    z = torch.randn(4, 3)
    torch.manual_seed(0)
    sampler = walker()
    torch.manual_seed(0)
    path = sampler.walk(4, steps=5)
    assert len(path) == 20
    stations = sampler.spec.decode(sampler.generator(z).detach())
    np.testing.assert_allclose(path.array[::5], stations, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="at least 2 waypoints"):
        sampler.walk(1)


def test_a_great_circle_keeps_the_length_and_the_rate():
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    points = torch.stack([slerp(a, b, torch.tensor(t / 6)) for t in range(7)])
    torch.testing.assert_close(points.norm(dim=1), torch.full((7,), 3.0))
    angles = torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close(angles.diff(), torch.full((6,), torch.pi / 12))
    torch.testing.assert_close(slerp(a, a, torch.tensor(0.3)), a)
