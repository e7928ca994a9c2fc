"""What every data set declares is true of its rows."""

import numpy as np
import pytest
import torch

from zerosum.data import DATASETS, validate
from zerosum.data.mnist import data_root


@pytest.fixture(params=DATASETS)
def data(request):
    if request.param == "mnist" and not (data_root() / "mnist" / "train-images-idx3-ubyte.gz").is_file():
        pytest.skip("MNIST is not under $ZEROSUM_DATA or the cache folder")
    return validate(DATASETS[request.param]())


def test_it_says_where_it_comes_from(data):
    assert data.source
    assert data.license


def test_both_splits_have_rows_of_the_declared_shape_and_range(data):
    for rows in (data.train, data.test):
        x, labels = rows[np.arange(10)]
        assert x.shape == (10, *data.shape)
        assert labels.shape == (10,)
        assert data.range is None or (data.range[0] <= x.min() and x.max() <= data.range[1])
        assert set(labels.tolist()) <= set(range(len(data.classes)))


def test_no_test_row_is_a_training_row(data):
    train, test = (rows[np.arange(len(rows))][0].reshape(len(rows), -1) for rows in (data.train, data.test))
    shared = {row.tobytes() for row in train} & {row.tobytes() for row in test}
    own = {row.tobytes() for row in test}
    assert len(shared) <= 0.01 * len(own)  # two people may write the same 64 gray values


def test_it_is_the_same_each_time(data):
    again = DATASETS[data.name]()
    assert again.fingerprint() == data.fingerprint()
    assert again.spec == data.spec


def test_encoding_and_decoding_are_inverse(data):
    x, _ = data.train[np.arange(50)]
    shown = data.samples(data.train, 50)
    if data.kind == "images":
        assert np.array_equal(shown, x.transpose(0, 2, 3, 1))
    else:
        np.testing.assert_allclose(shown, x, rtol=1e-6, atol=1e-6)


def test_encoded_data_has_the_scale_that_networks_expect(data):
    encoded = data.spec.encode(torch.from_numpy(data.train[np.arange(1000)][0]))
    assert encoded.dtype == torch.float32
    if data.kind == "images":
        assert encoded.abs().max() <= 1
    else:
        assert encoded.mean().abs() < 0.1
        assert (encoded.std(0) - 1).abs().max() < 0.1


def test_the_number_of_modes_is_that_of_its_density(data):
    if data.mixture is None:
        assert data.modes is None
    else:
        assert data.modes == len(data.mixture.means) == len(data.classes)
