import numpy as np
import pytest
import torch

from zerosum.data import DATASETS
from zerosum.errors import DataError, UsageError
from zerosum.metrics import features
from zerosum.metrics.features import classifier, inception, own, pixels


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr(features, "SEEN", 15_000)


@pytest.fixture(scope="module")
def digits():
    data = DATASETS["digits"]()
    return tuple((data.samples(rows), rows.every_label()) for rows in (data.train, data.test))


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
    monkeypatch.setattr(features, "_teach", lambda *_: pytest.fail("taught again"))
    again = classifier(*digits, 10, tmp_path)
    assert again.label == first.label
    assert torch.equal(again.features(digits[1][0][:7]), first.features(digits[1][0][:7]))


def test_other_content_has_another_name(digits, monkeypatch):
    monkeypatch.setattr(features, "_teach", lambda *_: None)
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
    assert own("lab:f", lambda x: x.reshape(len(x), -1)).features(np.ones((3, 2, 2, 1))).shape == (3, 4)
    with pytest.raises(UsageError, match=r"\(n, d\) is expected"):
        own("lab:f", lambda x: x).features(np.ones((3, 2, 2, 1)))
