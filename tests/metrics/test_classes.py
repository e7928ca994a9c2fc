from math import log

import pytest
import torch

from zerosum.metrics.classes import class_balance, class_table, classifier_score
from zerosum.metrics.distances import Moments, frechet


def test_the_score_goes_from_one_to_the_number_of_classes():
    sure = torch.eye(10).repeat(50, 1)
    assert classifier_score(sure).value == pytest.approx(10)
    assert classifier_score(torch.full((500, 10), 0.1)).value == pytest.approx(1)
    assert classifier_score(sure[:1].repeat(500, 1)).value == pytest.approx(1)  # sure, and always of the same


def test_the_score_of_half_sure_answers_by_hand():
    p = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).repeat(100, 1)
    inside = 0.75 * log(1.5) + 0.25 * log(0.5)
    assert classifier_score(p).value == pytest.approx(torch.tensor(inside).exp().item())


def test_the_balance_names_missed_classes():
    seen = torch.tensor([0, 0, 1, 3])
    found = class_balance(seen, torch.full((5,), 0.2))
    assert (found.found, found.missed) == (3, (2, 4))
    assert found.kl == pytest.approx(0.5 * log(2.5) + 0.5 * log(1.25))


def test_the_table_sees_classes_that_are_apart_and_not_those_that_are_one():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(900, 3, generator=rng)
    labels = torch.arange(900) % 3
    apart = features + 4 * labels[:, None]

    def distance(x, y):
        return frechet(Moments.of(x), Moments.of(y))

    table = class_table(apart, labels, ("a", "b", "c"), distance)
    assert table.sees
    assert torch.equal(table.distance, table.distance.T)
