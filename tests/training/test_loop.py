import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from zerosum import build, checkpoint, run
from zerosum.errors import DataError, Diverged, RunError, Stopped
from zerosum.game.losses import LOSSES
from zerosum.run import RunFolder, manifest
from zerosum.training import loop
from zerosum.training.loop import FiniteCheck, Timer, fit, make_log_line, rounds


def finish(settings, folder, **how):
    return deque(fit(settings, RunFolder(folder), **how), maxlen=0)


def digests(folder, step):
    table = (folder / "checkpoints" / f"{step:06d}" / "manifest.json").read_text().splitlines()[0]
    return {name: facts[1] for name, facts in json.loads(table).items() if name.endswith(".safetensors")}


QUICK = ("train.log_every=2", "train.save_every=3", "train.sample_every=4")


def test_a_run_writes_what_its_folder_promises(settings, tmp_path):
    finish(settings(*QUICK, "train.rounds=7", "train.keep=2"), tmp_path)
    folder = RunFolder(tmp_path)
    assert [line["round"] for line in run.read(folder)] == [2, 3, 4, 6, 7]
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["000004.png", "000007.png", "real.png"]
    assert [path.name for path in manifest.newest_first(folder.checkpoints)] == ["000007", "000006"]
    assert folder.read_config().train.rounds == 7
    assert json.loads(folder.environment.read_text())["torch"] == torch.__version__


def test_a_reading_holds_the_numbers_the_design_names(settings, tmp_path):
    finish(settings(*QUICK, "train.rounds=2"), tmp_path)
    (line,) = run.read(RunFolder(tmp_path))
    numbers = {
        "discriminator_cost", "discriminator_r1+r2", "discriminator_gradient_norm", "generator_cost",
        "generator_gradient_norm", "value", "real_score", "fake_score", "seconds", "samples_per_second",
    }  # fmt: skip
    words = {"order": "discriminator-first", "reduction": "sum", "score": "probability"}
    assert line.keys() == numbers | words.keys() | {"round"}
    assert {key: line[key] for key in words} == words
    assert all(math.isfinite(line[key]) for key in numbers)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_every_reading_says_how_the_two_terms_were_added_and_v_does_not_depend_on_it(settings, reduction):
    setup = build.assemble(settings(f"game.reduction={reduction}", "loss.smoothing=0.1"))
    (record,) = rounds(setup.state, setup.game, setup.batches, 1)
    line = make_log_line(record, setup.game)
    real, fake = record.readings[0].logits
    value = -LOSSES["minimax"].discriminator(real, fake).mean().item()
    cost = LOSSES["minimax"].discriminator(real, fake).mean() + 0.1 * real.mean()
    assert line["reduction"] == reduction
    assert line["value"] == pytest.approx(value)
    assert line["discriminator_cost"] == pytest.approx(cost.item() / (2 if reduction == "mean" else 1))


@pytest.mark.parametrize(("loss", "kind"), [("least-squares", "score"), ("wasserstein", "critic value")])
def test_scores_are_raw_where_the_game_is_not_logistic(settings, loss, kind):
    setup = build.assemble(settings(f"loss.name={loss}"))
    (record,) = rounds(setup.state, setup.game, setup.batches, 1)
    line = make_log_line(record, setup.game)
    assert line["score"] == kind
    assert line["real_score"] == pytest.approx(record.readings[0].logits[0].mean().item())


def test_the_same_command_again_says_finished_and_plays_nothing(settings, tmp_path):
    finish(settings(*QUICK, "train.rounds=3"), tmp_path)
    before = digests(tmp_path, 3)
    assert list(fit(settings(*QUICK, "train.rounds=3"), RunFolder(tmp_path))) == []
    assert digests(tmp_path, 3) == before


def test_a_run_extended_later_equals_one_that_was_long_from_the_start(settings, tmp_path):
    rules = [*QUICK, "schedule.warmup=3", "schedule.decay=linear", "schedule.end=8", "game.k=2", "penalties.0.every=3"]
    finish(settings(*rules, "train.rounds=4"), tmp_path / "short")
    finish(settings(*rules, "train.rounds=9"), tmp_path / "short")
    finish(settings(*rules, "train.rounds=9"), tmp_path / "long")
    assert digests(tmp_path / "short", 9) == digests(tmp_path / "long", 9)
    told = [
        [{key: value for key, value in line.items() if "second" not in key} for line in run.read(RunFolder(folder))]
        for folder in (tmp_path / "short", tmp_path / "long")
    ]
    assert told[0] == told[1]


def test_a_changed_setting_is_refused_with_the_difference(settings, tmp_path):
    finish(settings(*QUICK, "train.rounds=3"), tmp_path)
    with pytest.raises(RunError, match=r"game.k: 1 -> 2"):
        finish(settings(*QUICK, "train.rounds=3", "game.k=2"), tmp_path)


def test_fresh_starts_over(settings, tmp_path):
    finish(settings(*QUICK, "train.rounds=6"), tmp_path)
    finish(settings(*QUICK, "train.rounds=3", "game.k=2"), tmp_path, fresh=True)
    assert [line["round"] for line in run.read(RunFolder(tmp_path))] == [2, 3]
    assert [path.name for path in manifest.newest_first(tmp_path / "checkpoints")] == ["000003", "000000"]


def test_other_data_under_the_same_name_is_refused_on_resume(settings, tmp_path):
    points, file = np.random.default_rng(0).normal(size=(50, 2)), tmp_path / "points.npy"
    np.save(file, points)
    chosen = settings(f'data="{file.as_posix()}"', "train.rounds=3")
    finish(chosen, tmp_path / "run")
    np.save(file, points + 1)
    with pytest.raises(DataError, match="not what this run began with"):
        finish(chosen, tmp_path / "run")


def test_readings_past_the_checkpoint_are_cut_off_on_resume(settings, tmp_path):
    chosen = settings(*QUICK, "train.rounds=20")
    for record in fit(chosen, RunFolder(tmp_path)):
        if record.round == 8:
            break  # the newest checkpoint is of round 6
    assert [line["round"] for line in run.read(RunFolder(tmp_path))][-1] == 8
    said = []
    resumed = fit(chosen, RunFolder(tmp_path), say=said.append)
    assert next(resumed).round == 7
    assert "resumed from round 6" in said[0]
    assert [line["round"] for line in run.read(RunFolder(tmp_path))] == [2, 3, 4, 6]


def test_minutes_are_a_total_over_resumes(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(
        loop.Timer, "tick", lambda self, _: setattr(self, "seconds", self.seconds + 30) or self.laps.append(1.0)
    )
    chosen = settings(*QUICK, "train.rounds=100", "train.minutes=2")
    for record in fit(chosen, RunFolder(tmp_path)):
        if record.round == 3:
            break
    records = list(fit(chosen, RunFolder(tmp_path)))
    assert records[-1].round == 5  # 5 rounds of 30 s are the first beyond 2 minutes
    assert checkpoint.load(tmp_path / "checkpoints").round == 5


class Poison:
    """From a round on, the batch holds a NaN."""

    def __init__(self, setup, number):
        self.batches, self.number = setup.batches, number

    def __call__(self, number):
        x, c = self.batches(number)
        return (x * torch.nan if number >= self.number else x), c


def test_nan_stops_with_step_player_and_term_and_keeps_the_good_checkpoint(settings, tmp_path, monkeypatch):
    assemble = build.assemble
    monkeypatch.setattr(build, "assemble", lambda *given: replace(made := assemble(*given), batches=Poison(made, 4)))
    with pytest.raises(Diverged) as caught:
        finish(settings(*QUICK, "train.rounds=50", "train.log_every=50"), tmp_path)
    assert (caught.value.round, caught.value.player, caught.value.term) == (5, "discriminator", "cost")
    assert "000003" in caught.value.__notes__[0]
    kept = checkpoint.load(tmp_path / "checkpoints")
    assert kept.round == 3
    assert all(torch.isfinite(value).all() for value in kept.tensors["players"].values())


def test_an_infinite_gradient_of_a_finite_cost_is_found_and_named(settings):
    """The likelihood cost at a = 80 is finite in float32; its gradient's square is not."""
    setup = build.assemble(settings("loss.name=likelihood"))
    with torch.no_grad():
        last = setup.state.discriminator.head
        last.weight.zero_()[0, 0] = 1e-3
        last.bias.fill_(80.0)
        setup.state.optimizers["discriminator"].defaults["lr"] = 0.0
    (record,) = rounds(setup.state, setup.game, setup.batches, 1)
    terms = record.readings[-1].costs
    assert torch.isfinite(terms["cost"])
    finite_check = FiniteCheck()
    finite_check.add(record)
    if not torch.isfinite(terms["gradient norm"]):
        with pytest.raises(Diverged, match="generator's gradient norm is inf"):
            finite_check.check()
    else:  # what was not named has stayed finite
        assert all(torch.isfinite(weight).all() for weight in setup.state.generator.parameters())


def test_the_clock_gives_real_samples_of_one_batch_over_the_median_round_without_the_first_ten():
    timer = Timer()
    for seconds in [9.0] * loop.WARMUP_ROUNDS + [0.5, 0.25, 100.0]:
        timer.tick(seconds)
    assert timer.reading(128)["samples_per_second"] == 256.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_round_saves_and_puts_the_handlers_back(settings, tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught:
        for record in fit(settings(*QUICK, "train.rounds=1000"), RunFolder(tmp_path)):
            if record.round == 4:
                os.kill(os.getpid(), number)
    assert caught.value.exit_code == 128 + number
    assert checkpoint.load(tmp_path / "checkpoints").round == 5
    assert signal.getsignal(number) is before


def test_training_works_outside_the_main_thread(settings, tmp_path):
    thread = threading.Thread(target=finish, args=(settings(*QUICK, "train.rounds=3"), tmp_path))
    thread.start()
    thread.join()
    assert checkpoint.load(tmp_path / "checkpoints").round == 3


def test_a_second_process_is_kept_out(settings, tmp_path):
    records = fit(settings(*QUICK, "train.rounds=50"), RunFolder(tmp_path))
    next(records)
    code = (
        f"import pathlib; from zerosum import run; run.lock(run.RunFolder(pathlib.Path({str(tmp_path)!r}))).__enter__()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process is training" in done.stderr
    records.close()
    with run.lock(RunFolder(tmp_path)):
        pass


def test_samples_of_every_picture_come_from_the_same_latents(settings, tmp_path):
    frozen = settings(*QUICK, "train.rounds=8", "optimizers.generator.lr=1e-30", "ema.half_life=0")
    finish(frozen, tmp_path)
    first, last = (np.asarray(Image.open(RunFolder(tmp_path).sample(step))) for step in (4, 8))
    caption = slice(-24, None)
    assert np.array_equal(np.delete(first, caption, axis=0), np.delete(last, caption, axis=0))
    assert not np.array_equal(first[caption], last[caption])


@pytest.mark.parametrize("recipe", ["ring", "mixture-1d"])
def test_points_are_plotted(settings, tmp_path, recipe):
    finish(settings(f'data="{recipe}"', "train.rounds=2", "train.sample_every=2"), tmp_path)
    assert RunFolder(tmp_path).sample(2).read_bytes().startswith(b"\x89PNG")


def test_a_run_writes_its_verdicts_and_says_a_finding_once(settings, tmp_path):
    heard = []
    recipe = settings(
        "train.rounds=12", "train.check_every=1", "train.save_every=6", 'data="digits"', "ema.half_life=0"
    )
    finish(recipe, tmp_path, say=heard.append)
    facts = json.loads((tmp_path / "verdicts.json").read_text())
    assert facts["round"] == 12
    assert {verdict["name"] for verdict in facts["verdicts"]} >= {"mode collapse", "D too weak", "progress"}
    sick = [verdict["name"] for verdict in facts["verdicts"] if verdict["sick"]]
    assert sick  # twelve rounds make no digits
    for name in sick:
        assert sum(f": {name}? " in sentence and "Try " in sentence for sentence in heard) == 1


def test_a_resumed_run_does_not_repeat_what_it_has_said(settings, tmp_path):
    options = ("train.check_every=1", "train.save_every=6", "ema.half_life=0")
    finish(settings("train.rounds=12", *options), tmp_path)
    heard = []
    finish(settings("train.rounds=13", *options), tmp_path, say=heard.append)
    named = {v["name"] for v in json.loads((tmp_path / "verdicts.json").read_text())["verdicts"] if v["sick"]}
    assert named
    assert not any("mode collapse?" in sentence for sentence in heard)


def test_until_finished_stops_where_nothing_gets_better_and_says_so_again(settings, tmp_path):
    """With hardly a step of either player, nothing can get better; the twelfth checkup is the first that can tell."""
    still = [f"optimizers.{player}.lr=1e-9" for player in ("generator", "discriminator")]
    recipe = settings("train.rounds=60", "train.check_every=2", *still)
    finish(recipe, tmp_path, until_finished=True)
    stopped = run.read(RunFolder(tmp_path))[-1]["round"]
    assert 24 <= stopped <= 28
    assert (tmp_path / "checkpoints" / f"{stopped:06d}").exists()
    assert not list(fit(recipe, RunFolder(tmp_path), until_finished=True))
    assert next(iter(fit(recipe, RunFolder(tmp_path)))).round == stopped + 1  # asked for all rounds, it goes on
