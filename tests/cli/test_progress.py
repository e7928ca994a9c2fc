import sys

import pytest

from zerosum.cli.progress import with_progress, with_tensorboard
from zerosum.run import RunFolder
from zerosum.training.loop import fit


@pytest.fixture
def records(settings, tmp_path):
    return fit(settings("train.rounds=6", "train.log_every=2"), RunFolder(tmp_path / "run"))


def test_a_terminal_shows_rounds_time_left_speed_and_both_costs(records, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    assert len(list(with_progress(records, 6, quiet=False))) == 6
    shown = capsys.readouterr().err
    assert "6/6" in shown
    assert "rounds/s, D pays" in shown
    assert "G pays" in shown


@pytest.mark.parametrize(("terminal", "quiet"), [(False, False), (True, True)])
def test_without_a_terminal_or_with_json_nothing_is_shown(records, monkeypatch, capsys, terminal, quiet):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    assert len(list(with_progress(records, 6, quiet=quiet))) == 6
    assert capsys.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_every_number_of_every_reading(records, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert len(list(with_tensorboard(records, tmp_path / "events"))) == 6
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [event.step for event in events.Scalars("discriminator_cost")] == [2, 4, 6]
    assert {"generator_cost", "value", "real_score", "fake_score"} <= set(events.Tags()["scalars"])


def test_without_tensorboard_nothing_is_written(records, tmp_path, monkeypatch):
    monkeypatch.setattr("zerosum.cli.progress.find_spec", lambda _: None)
    assert len(list(with_tensorboard(records, tmp_path / "events"))) == 6
    assert not (tmp_path / "events").exists()
