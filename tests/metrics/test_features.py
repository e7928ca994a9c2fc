import hashlib
import os
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from zerosum.data import DATASETS
from zerosum.errors import DataError, UsageError
from zerosum.metrics import features
from zerosum.metrics.features import classifier, custom, inception, pixels


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(features, "TRAINING_ROWS", 15_000)


@pytest.fixture(scope="module")
def digits():
    data = DATASETS["digits"]()
    return tuple((data.samples(rows), rows.all_labels()) for rows in (data.train, data.test))


def test_pixels_are_the_numbers():
    images = np.array([[[[0], [255]], [[51], [102]]]], np.uint8)
    torch.testing.assert_close(pixels().features(images), torch.tensor([[0, 1, 0.2, 0.4]]).double())
    points = np.array([[1.5, -2.0]], np.float32)
    assert torch.equal(pixels().features(points), torch.tensor([[1.5, -2.0]]).double())


def test_the_classifier_is_right_is_kept_and_is_found_again(digits, tmp_path, monkeypatch):
    first = classifier(*digits, 10, tmp_path)
    assert float(first.about.split("about ")[1].split("%")[0]) > 92
    assert first.features(digits[1][0][:7]).shape == (7, 128)
    assert first.probabilities(digits[1][0][:7]).sum(1) == pytest.approx(1)
    monkeypatch.setattr(features, "_train", lambda *_: pytest.fail("taught again"))
    again = classifier(*digits, 10, tmp_path)
    assert again.label == first.label
    assert torch.equal(again.features(digits[1][0][:7]), first.features(digits[1][0][:7]))


def test_other_content_has_another_name(digits, monkeypatch):
    monkeypatch.setattr(features, "_train", lambda *_: None)
    (images, labels), test = digits
    other = images.copy()
    other[0, 0, 0, 0] ^= 1
    names = {classifier((x, labels), test, 10, None).hash for x in (images, other)}
    assert len(names) == 2


def test_without_labels_or_images_there_is_no_classifier(digits):
    (images, labels), test = digits
    with pytest.raises(DataError, match="labels"):
        classifier((images, np.full_like(labels, -1)), test, 10, None)
    with pytest.raises(DataError, match="images"):
        classifier((np.zeros((20, 2)), np.zeros(20, int)), test, 2, None)


def test_inception_is_never_fetched(tmp_path):
    with pytest.raises(UsageError, match="inception-2015"):
        inception(tmp_path)


def test_a_function_of_the_users_must_give_rows():
    assert custom("lab:f", lambda x: x.reshape(len(x), -1)).features(np.ones((3, 2, 2, 1))).shape == (3, 4)
    with pytest.raises(UsageError, match=r"\(n, d\) is expected"):
        custom("lab:f", lambda x: x).features(np.ones((3, 2, 2, 1)))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda x: None, "NoneType, no array of numbers"),
        (lambda x: "features", "str, no array of numbers"),
        (lambda x: [[1.0], [1.0, 2.0], [0.0]], "list, no array of numbers"),
        (lambda x: np.array([["a"]] * 3), "ndarray, no array of numbers"),
        (lambda x: torch.ones(2, 4), r"\(2, 4\) of float32 for 3 samples"),
        (lambda x: torch.ones(3), r"\(3,\) of float32"),
        (lambda x: torch.ones(3, 0), r"\(3, 0\) of float32"),
        (lambda x: torch.ones(3, 1, dtype=torch.complex64), r"\(3, 1\) of complex64"),
        (lambda x: torch.tensor([[1.0], [torch.nan], [torch.inf]]), "NaN or infinity for 2 of 3 samples"),
    ],
)
def test_what_a_function_of_the_users_gives_is_looked_at(given, says):
    with pytest.raises(UsageError, match=says):
        custom("lab:f", given).features(np.ones((3, 2, 2, 1)))


@pytest.mark.parametrize("given", [lambda x: [[1], [2], [3]], lambda x: torch.arange(3.0)[:, None].requires_grad_()])
def test_lists_and_tensors_of_a_graph_are_numbers_too(given):
    found = custom("lab:f", given).features(np.ones((3, 2, 2, 1)))
    assert found.dtype == torch.float64
    assert not found.requires_grad


def test_features_that_are_no_function_are_refused_before_they_are_asked():
    with pytest.raises(UsageError, match="lab:f is float; a function"):
        custom("lab:f", 3.5)


def few(n=20, shape=(8, 8, 1), classes=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n) % classes


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (9, 1, 1), (2, 3, 1), (3, 3, 4)])
@pytest.mark.parametrize("classes", [1, 3])
def test_small_images_and_one_class_have_a_classifier(shape, classes, monkeypatch):
    monkeypatch.setattr(features, "TRAINING_ROWS", 200)
    images, labels = few(16, shape, classes)
    look = classifier((images, labels), (images[:0], labels[:0]), classes, None)
    assert look.features(images).shape == (16, 128)
    assert look.features(images[:0]).shape == (0, 128)
    assert look.probabilities(images).shape == (16, classes)
    assert look.about == "its accuracy is not known: no held-out row has a label"


def spoilt(content):
    return {
        "another byte": content[:-1] + bytes([content[-1] ^ 1]),
        "cut off": content[: len(content) // 2],
        "empty": b"",
        "longer": content + b"\0",
        "no safetensors": b"\xff" * len(content),
    }


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """(images and labels, the classifier that learned them, the file in which it is kept)."""
    monkeypatch.setattr(features, "TRAINING_ROWS", 100)
    found = classifier(few(), few(), 2, tmp_path)
    (file,) = tmp_path.iterdir()
    return few(), found, file


@pytest.mark.parametrize("what", ["another byte", "cut off", "empty", "longer", "no safetensors"])
def test_a_kept_classifier_that_is_not_what_was_written_is_taught_anew(kept, what):
    (images, _), first, file = kept
    content = file.read_bytes()
    file.write_bytes(spoilt(content)[what])
    second = classifier(few(), few(), 2, file.parent)
    assert torch.equal(second.features(images), first.features(images))
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == content


def sealed(folder, tensors, name):
    """A file whose hash is right, whatever is in it."""
    content = save(tensors) if isinstance(tensors, dict) else tensors
    path = folder / f"classifier-{name}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    path.write_bytes(content)
    return path


def test_other_networks_and_odd_types_under_the_right_hash_are_taught_anew(kept):
    (images, _), first, file = kept
    name, whole = file.name.split("-")[1], load_file(file)
    file.unlink()
    half, fewer = {key: x.half() for key, x in whole.items()}, dict(list(whole.items())[1:])
    more, wide = {**whole, "more": torch.ones(1)}, {key: x[None] for key, x in whole.items()}
    contents = (half, fewer, more, wide, {}, b"", b"\x08" + 7 * b"\0" + b"{}")
    odd = [sealed(file.parent, content, name) for content in contents]
    second = classifier(few(), few(), 2, file.parent)
    assert torch.equal(second.features(images), first.features(images))
    assert not any(path.exists() for path in odd)
    assert file.exists()


@pytest.mark.parametrize("what", ["folder", "fifo", "link to the file", "device"])
def test_what_is_no_regular_file_is_never_opened(kept, what, tmp_path):
    (images, _), first, file = kept
    moved = file.rename(tmp_path / "elsewhere")
    {
        "folder": file.mkdir,
        "fifo": lambda: os.mkfifo(file),
        "link to the file": lambda: file.symlink_to(moved),
        "device": lambda: file.symlink_to("/dev/zero"),
    }[what]()
    second = classifier(few(), few(), 2, file.parent)
    assert torch.equal(second.features(images), first.features(images))
    assert moved.read_bytes()


def test_a_cache_that_cannot_be_written_keeps_nothing_and_stops_nothing(kept, tmp_path, monkeypatch):
    (images, _), first, _ = kept
    in_the_way = tmp_path / "file"
    in_the_way.write_text("mine")
    for place in (in_the_way, in_the_way / "below"):
        found = classifier(few(), few(), 2, place)
        assert torch.equal(found.features(images), first.features(images))
    assert in_the_way.read_text() == "mine"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zerosum.files.write_through", full)
    found = classifier(few(), few(), 2, tmp_path / "full")
    assert torch.equal(found.features(images), first.features(images))
    assert not any((tmp_path / "full").iterdir())


def test_of_two_that_were_taught_at_once_every_process_uses_the_older(kept, monkeypatch):
    """Another number of threads adds up in another order: another file, under the same content."""
    (images, _), first, file = kept
    other = {key: x + 1 for key, x in load_file(file).items()}
    later = sealed(file.parent, other, file.name.split("-")[1])
    os.utime(file, ns=(1, 1))
    assert torch.equal(classifier(few(), few(), 2, file.parent).features(images), first.features(images))
    os.utime(later, ns=(0, 0))
    found = classifier(few(), few(), 2, file.parent)
    assert not torch.equal(found.features(images), first.features(images))
    file.unlink()
    look, looks = features._load_cached, []

    def too_early(*given):
        looks.append(given)
        return len(looks) > 1 and look(*given)  # at first, the other one had not yet written

    monkeypatch.setattr(features, "_load_cached", too_early)
    taught = classifier(few(), few(), 2, file.parent)
    assert torch.equal(taught.features(images), found.features(images))


class Pool(torch.nn.Module):
    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return x.mean((2, 3))


@pytest.fixture
def scripted(tmp_path):
    """(network) -> the folder in which it lies in Inception's place."""

    def make(net):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.script(net).save(str(tmp_path / features.INCEPTION))
        return tmp_path

    return make


def test_inception_is_asked_for_its_features(scripted):
    look = inception(scripted(Pool()))
    gray = np.full((3, 9, 9, 1), 51, np.uint8)
    assert look.features(gray).tolist() == [[51.0] * 3] * 3
    assert look.features(gray[:0]).shape == (0, 3)
    for odd in (np.ones((3, 2)), np.zeros((3, 9, 9, 2), np.uint8)):
        with pytest.raises(UsageError, match="gray or RGB"):
            look.features(odd)


def test_another_network_in_inceptions_place_is_named(scripted):
    look = inception(scripted(torch.nn.Linear(2, 2)))
    with pytest.raises(UsageError, match="is another network"):
        look.features(np.zeros((3, 9, 9, 1), np.uint8))


def test_only_a_regular_file_of_bounded_size_is_inception(tmp_path, monkeypatch):
    file = tmp_path / features.INCEPTION
    file.write_bytes(b"no network")
    with pytest.raises(UsageError, match="is no TorchScript network"):
        inception(tmp_path)
    monkeypatch.setattr(features, "MAX_INCEPTION", 5)
    with pytest.raises(UsageError, match="cannot be read: it has 10 bytes, at most 5 are read"):
        inception(tmp_path)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UsageError, match="cannot be read: it is a FIFO"):
        inception(tmp_path)
