import json
import re

import pytest

from zerosum import config, health
from zerosum.health import QUESTIONS, diagnose, diagnosis, finished, headline
from zerosum.health.measures import MEASURES, measure
from zerosum.resolved import resolve
from zerosum.run import RunFolder

WELL = {
    "distance": 0.001, "distance_real": 0.0, "spread": 0.98, "missing": 0.02, "covered": 0.95, "covered_real": 0.97,
    "near": 0.95, "told": 0.6, "told_real": 0.5, "nearer": 0.5, "edges": 0.98, "detail": 1.0, "unreached": 0.0,
    "auc": 0.65, "auc_seen": 0.66, "overfit": 0.51, "push": 0.5, "slope": 2.0, "steer": 1.0, "logit_size": 0.2,
    "gap": 0.1, "data_span": 1.0, "data_centre": 1.0, "data_deviation": 0.8, "cells": [0.5, 0.5],
}  # fmt: skip
SICK = {
    "range mismatch": [
        {"data_span": 0.1}, {"data_deviation": 20.0}, {"data_centre": 30.0}, {"unreached": 0.5},
    ],
    "diverging": [{"spread": 6.0}, {"distance": 9.0}],
    "D too weak": [{"slope": 0.1, "told": 0.99}, {"auc_seen": 0.1, "told": 0.99}],
    "D too strong": [{"auc_seen": 0.99, "told": 0.99}],
    "D over-fits": [{"overfit": 0.8}],
    "memorising": [{"nearer": 0.9}],
    "mode collapse": [{"spread": 0.1}, {"covered": 0.5}],
    "blurry": [{"detail": 0.3, "edges": 0.7}],
}  # fmt: skip
SETTINGS = config.load("digits")


def history(n=12, change=lambda i: {}, **signs):
    return [
        {"round": 100 * i, "score": "probability", "signs": {**WELL, **signs, **change(i)}} for i in range(1, n + 1)
    ]


def named(readings, settings=SETTINGS):
    return {verdict.name for verdict in diagnose(readings, settings) if verdict.sick}


def test_a_healthy_run_is_healthy():
    verdicts = diagnose(history(), SETTINGS)
    assert [verdict.sick for verdict in verdicts] == [False] * len(verdicts)
    assert headline(verdicts).startswith("healthy")


@pytest.mark.parametrize(("name", "signs"), [(name, signs) for name, cases in SICK.items() for signs in cases])
def test_each_fault_is_named_with_its_evidence_and_advice(name, signs):
    readings = history(**signs)
    assert name in named(readings)
    (verdict,) = (one for one in diagnose(readings, SETTINGS) if one.name == name)
    assert {one.name for one in verdict.evidence} >= (signs.keys() - {"told"}) - {"covered_real"}
    assert all(one.sick and one.source for one in verdict.evidence)
    assert verdict.advice
    assert headline(diagnose(readings, SETTINGS)).split(":")[0].split(" (")[0] in named(readings)


def test_samples_that_move_about_and_stay_unlike_oscillate():
    swing = lambda i: {"cells": [1.0, 0.0] if i % 2 else [0.0, 1.0]}  # noqa: E731
    assert "oscillating" in named(history(change=swing, told=0.99))
    assert "oscillating" not in named(history(change=swing))  # they are like the data: moving harms nothing


def test_values_that_grow_without_bound_diverge():
    assert "diverging" in named(history(change=lambda i: {"logit_size": 2.0**i}))
    assert "diverging" not in named(history(logit_size=60.0))  # large, and at rest


def test_a_critic_has_no_scale_by_which_its_slope_could_be_small():
    flat = [{**reading, "score": "critic value"} for reading in history(slope=0.001, told=0.99)]
    assert "D too weak" not in named(flat)


def test_one_checkup_out_of_line_decides_nothing():
    for name, cases in SICK.items():
        for signs in cases:
            assert name not in named(history(change=lambda i, signs=signs: signs if i == 12 else {})), (name, signs)


def test_coverage_that_still_grows_is_no_collapse():
    assert "mode collapse" not in named(history(change=lambda i: {"covered": 0.05 * i}))


def test_too_few_checkups_say_nothing_and_advise_more():
    verdicts = diagnose(history(3), SETTINGS)
    assert {verdict.sick for verdict in verdicts} == {None}
    assert "3 checkups" in headline(verdicts)
    assert {verdict.advice for verdict in verdicts} == {"waiting for round 800"}
    short = config.load("digits", ["train.rounds=100"])
    assert {verdict.advice for verdict in diagnose([], short)} == {"--set train.check_every=6"}


def test_signs_that_are_null_or_missing_make_a_question_unanswerable_and_not_false():
    for gone in ({"overfit": None}, {}):
        readings = history(**gone)
        for reading in readings:
            if not gone:
                del reading["signs"]["overfit"]
        (verdict,) = (one for one in diagnose(readings, SETTINGS) if one.name == "D over-fits")
        assert verdict.sick is None
        assert "Cannot be told" in verdict.answer


def test_a_run_of_which_nothing_could_be_measured_is_still_answered_in_json():
    """Samples at infinity leave null in every sign."""
    readings = [{"round": i, "signs": dict.fromkeys(WELL) | {"cells": [0.5, 0.5]}} for i in range(1, 15)]
    facts = [verdict.facts() for verdict in diagnose(readings, SETTINGS)]
    assert json.loads(json.dumps(facts, allow_nan=False)) == json.loads(json.dumps(facts))
    partly = history(change=lambda i: {"spread": None, "unreached": None})
    assert "unknown" in " ".join(verdict.answer for verdict in diagnose(partly, SETTINGS))


def test_every_limit_is_a_measure_and_every_sentence_can_be_said():
    readings = history()
    for question in QUESTIONS:
        for finding in question.findings:
            for limit in finding.limits:
                assert limit.measure in MEASURES or limit.measure in WELL
            assert diagnosis.fill_in(finding.answer, diagnosis.MeasureCache(readings))


def test_an_unknown_measure_is_none():
    assert measure("no such sign", history()) is None


def valid(advice, recipe="digits", *overrides):
    """Whether the options in a piece of advice are settings that train takes."""
    options = re.findall(r"--set (?:'([^']+)'|([^\s,;]+))", advice)
    assert options or "--" not in advice.replace("--rounds", "").replace("--until", "")
    given = [quoted or plain for quoted, plain in options if "[black" not in quoted]
    given = [option for option in given if not option.startswith("data.standardize")]  # an option of points
    resolve(config.load(recipe, [*overrides, *given]))
    return True


RUNS = [
    ("digits", []),
    ("digits", ["penalties=[]"]),
    ("digits", ["penalties=[]", "loss=minimax"]),
    ("digits", ["penalties=[]", "loss=wasserstein"]),
    ("digits", ["game.k=5", "loss=wasserstein"]),
    ("digits", ["game.flip=0.4"]),
    ("digits", ["optimizers.discriminator.lr=1e-5"]),
    ("digits", ["ema.half_life=1000000.0"]),
    ("wgan-clip-mnist", []),
    ("conditional-mnist", []),
    ("ring", []),
]


@pytest.mark.parametrize(("recipe", "overrides"), RUNS)
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_advice_is_a_setting_that_train_takes(question, recipe, overrides):
    assert valid(question.advice(config.load(recipe, overrides)), recipe, *overrides)


def test_a_run_is_finished_when_nothing_got_better_in_its_last_third():
    falling = lambda i: {"distance": 1.0 / i, "told": 0.95 - 0.02 * i}  # noqa: E731
    flat = lambda i: falling(min(i, 8))  # noqa: E731
    assert not finished(history(16, falling))
    assert finished(history(24, flat))
    assert not finished(history(6, flat))  # too early to tell
    assert diagnose(history(16, falling), SETTINGS)[-1].answer.startswith("Yes")
    assert "still getting better" in headline(diagnose(history(16, falling), SETTINGS))
    assert "finished" in headline(diagnose(history(24, flat), SETTINGS))


def test_noise_around_a_level_is_no_improvement():
    noise = [0.01, -0.01, 0.005, -0.008, 0.0, 0.012, -0.004]
    wobble = lambda i: {"told": 0.7 + noise[i % 7], "covered": 0.9 + noise[i % 5] / 2}  # noqa: E731
    assert finished(history(30, wobble))


def test_verdicts_are_written_as_json(tmp_path):
    (tmp_path / "config.toml").write_text(config.dumps(resolve(SETTINGS).config))
    (tmp_path / "readings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history(overfit=0.9)))
    folder = RunFolder(tmp_path)
    verdicts = health.compute_verdicts(folder)
    health.write_verdicts(folder, verdicts, 1200)
    facts = json.loads(folder.verdicts.read_text())
    assert facts["round"] == 1200
    (sick,) = (verdict for verdict in facts["verdicts"] if verdict["sick"])
    assert sick["name"] == "D over-fits"
    assert sick["evidence"][0] == {
        "name": "overfit", "value": 0.9, "threshold": 0.6, "healthy": "below", "source": health.verdict.ZOO,
    }  # fmt: skip


def test_where_no_distance_is_known_nobody_says_that_it_gets_better():
    unknown = [{**reading, "signs": {**reading["signs"], "distance": None}} for reading in history()]
    verdict = diagnose(unknown, SETTINGS)[-1]
    assert (verdict.name, verdict.sick) == ("progress", None)
    assert "cannot be told" in headline(diagnose(unknown, SETTINGS))
