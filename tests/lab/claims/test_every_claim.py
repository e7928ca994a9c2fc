"""Every row of the table: it holds, and it could fail."""

from dataclasses import replace

import pytest
import torch

from zerosum.errors import UsageError
from zerosum.lab.claims import CLAIMS, GROUPS, Verdict, at_least, at_most, choose, equal

EXACT = [name for name, claim in CLAIMS.items() if not claim.trained]


@pytest.mark.parametrize("name", EXACT)
def test_the_claim_holds(name):
    verdict = CLAIMS[name].run()
    assert verdict.holds, verdict.found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_trained_claims_hold():
    for claim in choose(with_trained=True):
        if claim.trained:
            verdict = claim.run()
            print(claim.name, verdict.found)
            assert verdict.holds, verdict


@pytest.mark.parametrize("name", CLAIMS)
def test_a_row_says_what_is_claimed_and_from_where(name):
    claim = CLAIMS[name]
    assert claim.says.endswith((".", ")")) or ":" in claim.says
    assert claim.formula
    assert claim.source
    assert claim.tolerance >= 0


def test_there_are_fifteen_groups_of_several_claims_each():
    assert list(GROUPS) == list(range(1, 16))
    assert all(sum(claim.group == group for claim in CLAIMS.values()) >= 3 for group in GROUPS)


@pytest.mark.parametrize(
    ("found", "error"),
    [
        (equal(1.0, 1.0), 0.0),
        (equal(torch.tensor([1.0, 30.0]), torch.tensor([1.0, 20.0])), 0.5),
        (equal(0.25, 0.5), 0.25),
        (equal(torch.inf, torch.inf), 0.0),
        (equal(torch.nan, 1.0), torch.inf),
        (equal(1.0, torch.inf), torch.inf),
        (at_most(2.0, 3.0), 0.0),
        (at_most(torch.tensor([2.0, 3.5]), 3.0), 0.5),
        (at_most(torch.nan, 3.0), torch.inf),
        (at_least(2.0, 3.0), 1.0),
        (at_least(torch.tensor([5.0, 4.0]), 3.0), 0.0),
        (at_least(torch.nan, 3.0), torch.inf),
    ],
)
def test_the_error_is_that_of_the_worst_pair(found, error):
    assert found.error == pytest.approx(error)


@pytest.mark.parametrize(("error", "holds"), [(0.1, True), (0.11, False), (torch.nan, False), (torch.inf, False)])
def test_whether_a_claim_holds_follows_from_error_and_tolerance(error, holds):
    claim = replace(CLAIMS["jensen"], tolerance=0.1)
    assert Verdict(claim, equal(1.0, 1.0)._replace(error=error)).holds is holds


def test_claims_are_chosen_by_name_and_group():
    assert [claim.name for claim in choose(["jensen", "best-d-1d"])] == ["best-d-1d", "jensen"]
    assert {claim.group for claim in choose(["9", "14"])} == {9, 14}
    assert not any(claim.trained for claim in choose())
    assert any(claim.trained for claim in choose(with_trained=True))
    assert choose(["d-learned"])[0].trained  # asked for by name


def test_an_unknown_claim_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'jensen'"):
        choose(["jenson"])
