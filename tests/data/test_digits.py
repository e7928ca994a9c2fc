import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from zerosum.data.digits import digits


def everything(data):
    return [rows[np.arange(len(rows))] for rows in (data.train, data.test)]


def rows_as_a_set(x, y):
    return {(row.tobytes(), int(label)) for row, label in zip(x, y, strict=True)}


def gray(images):
    """scikit-learn's 0..16 as 0..255."""
    return np.round(images.reshape(-1, 1, 8, 8) * 255 / 16).astype(np.uint8)


def test_the_digits_are_those_of_scikit_learn():
    ours = np.concatenate([x for x, _ in everything(digits())])
    theirs = gray(load_digits().images)
    assert ours.dtype == np.uint8
    assert sorted(row.tobytes() for row in ours) == sorted(row.tobytes() for row in theirs)
    assert (ours.min(), ours.max()) == (0, 255)


def test_the_split_is_the_one_that_is_documented():
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(gray(x), y, test_size=0.3, random_state=0, stratify=y)
    train, test = everything(digits())
    assert (len(train[0]), len(test[0])) == (1257, 540)
    assert rows_as_a_set(*train) == rows_as_a_set(x_train, y_train)
    assert rows_as_a_set(*test) == rows_as_a_set(x_test, y_test)
