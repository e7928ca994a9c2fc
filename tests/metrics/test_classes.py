from math import isnan, log

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
    assert table.separates_classes
    assert torch.equal(table.distance, table.distance.T)


def test_few_samples_are_scored_in_as_many_parts():
    assert classifier_score(torch.eye(2)).value == 1.0  # of one sample each
    assert classifier_score(torch.eye(2)).error == 0.0
    one, none = classifier_score(torch.eye(2)[:1]), classifier_score(torch.eye(2)[:0])
    assert one.value == 1.0
    assert isnan(one.error)
    assert isnan(none.value)
    assert isnan(none.error)


def test_one_class_is_seen_in_full_and_no_samples_reach_none():
    assert class_balance(torch.zeros(5, dtype=torch.long), torch.ones(1))[:4] == (1, 1.0, 0.0, ())
    none = class_balance(torch.zeros(0, dtype=torch.long), torch.ones(2) / 2)
    assert (none.found, none.missed, none.kl) == (0, (0, 1), torch.inf)


def test_samples_of_a_class_that_the_data_does_not_have_are_infinitely_far():
    assert class_balance(torch.tensor([0, 1, 1]), torch.tensor([1.0, 0.0])).kl == torch.inf


@pytest.mark.parametrize("sizes", [(0, 4), (1, 4), (4, 4)])
def test_a_class_with_too_few_rows_is_not_known_and_the_others_are(sizes):
    labels = torch.arange(2).repeat_interleave(torch.tensor(sizes))
    features = torch.randn(sum(sizes), 2) + 9.0 * labels[:, None]
    table = class_table(features, labels, ("a", "b"), lambda x, y: frechet(Moments.of(x), Moments.of(y)))
    few = sizes[0] < 4
    assert isnan(table.distance[0, 0].item()) == few
    assert not isnan(table.distance[1, 1].item())
    assert table.separates_classes != few
