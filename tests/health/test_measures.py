"""Measures of readings that hold anything: what is no number is not known, and nothing is raised."""

import math
from statistics import median

import pytest

from zerosum.health.measures import MEASURES, checkups, measure, number, recent_median, turnover

ODD = [None, True, "0.5", "", [], [[0.5]], {}, {"a": 1}, 10**400, -(10**400), math.inf, -math.inf, math.nan, object()]
SIGNS = ("logit_size", "distance", "told", "told_real", "covered", "unreached", "slope")


def history(n=14, **signs):
    well = dict.fromkeys(SIGNS, 0.5) | {"cells": [0.25] * 4, "edges": 1.0}
    return [{"round": i, "signs": well | signs} for i in range(n)]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_what_is_no_number_is_not_known(odd):
    readings = history(**dict.fromkeys((*SIGNS, "cells"), odd))
    assert {name: measure(name, readings) for name in (*MEASURES, *SIGNS)} == dict.fromkeys((*MEASURES, *SIGNS))


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_one_that_is_odd_leaves_the_others(odd):
    readings = history()
    readings[-2]["signs"]["told"] = odd
    assert recent_median("told", readings) == 0.5


def test_whole_numbers_are_numbers():
    assert recent_median("told", history(told=1)) == 1.0
    assert isinstance(recent_median("told", history(told=1)), float)
    assert number(10**300) == 1e300


def cells(*lists):
    return turnover([{"signs": {"cells": one}} for one in lists])


def test_parts_of_another_number_or_of_no_numbers_are_passed_over():
    here, there = [1.0, 0.0], [0.0, 1.0]
    assert cells(here, there) == 1.0
    assert cells(here, [1.0], there) is None
    assert cells(here, there, [0.5, None], here, there) == median([1.0, 1.0])
    for odd in ([1.0, "0"], [1.0, True], "ab", {0: 1}, None, [], [[1.0], [0.0]], [10**400, 0]):
        assert cells(here, odd, there) is None


def test_no_checkups_measure_nothing():
    assert {measure(name, []) for name in (*MEASURES, "told")} == {None}


def test_only_readings_with_signs_are_checkups():
    good = {"round": 3, "signs": {"told": 0.5}}
    assert checkups([good, {"round": 1}, {"signs": None}, {"signs": [1]}, {"signs": "told"}]) == [good]


def test_what_grows_beyond_all_numbers_is_not_known():
    assert measure("growth", history(7, logit_size=5e-324) + history(7, logit_size=1e308)) is None
    assert recent_median("told", history(told=1.7e308)) is None  # the mean of two of them is none
