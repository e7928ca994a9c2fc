"""The diagnosis at the doors: in words, as JSON, and at the end of a training."""

import json

import pytest

import zerosum as zs
from zerosum.errors import SystemFault, UsageError
from zerosum.health import QUESTIONS

SMALL = [
    *("--set", "nets.generator.width=16"),
    *("--set", "nets.discriminator.width=16"),
    *("--set", "train.check_every=2"),
    *("--set", "train.threads=1"),
]


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """A D that hardly moves."""
    path = tmp_path_factory.mktemp("sick") / "run"
    still = ["optimizers.discriminator.lr=1e-7", "train.check_every=10", "train.threads=1"]
    return zs.train("digits", rounds=120, out=path, set=still, report=False, say=lambda _: None)


def test_json_has_the_promised_shape(zerosum, sick):
    code, out, _ = zerosum("diagnose", str(sick.path), "--json")
    assert code == 0
    (line,) = out.splitlines()
    verdicts = json.loads(line)["verdicts"]
    assert [verdict["name"] for verdict in verdicts] == [*(question.name for question in QUESTIONS), "progress"]
    assert all(verdict.keys() >= {"question", "answer", "evidence", "advice"} for verdict in verdicts)
    assert json.loads((sick.path / "verdicts.json").read_text())["verdicts"] == verdicts


def test_what_is_wrong_is_said_first_with_numbers_and_a_setting(zerosum, sick):
    code, out, _ = zerosum("diagnose", str(sick.path))
    assert code == 0
    assert out.splitlines()[0].startswith("D too weak")
    assert "healthy is above" in out
    assert "try: --set optimizers.discriminator.lr=0.002" in out
    assert sick.verdict() == out.splitlines()[0]


def test_a_training_ends_with_a_verdict_and_the_path_of_its_report(zerosum, tmp_path):
    code, out, _ = zerosum("train", "ring", "--rounds", "12", "--out", str(tmp_path / "run"), *SMALL)
    assert code == 0
    assert f"report:   {tmp_path / 'run' / 'report.html'}" in out
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    code, out, _ = zerosum("train", "ring", "--rounds", "12", "--out", str(tmp_path / "run"), *SMALL, "--json")
    facts = json.loads(out)
    assert facts["verdict"]
    assert facts["report"] == str(tmp_path / "run" / "report.html")


def test_training_until_something_else_is_refused_before_the_first_round(zerosum, tmp_path):
    code, _, err = zerosum("train", "ring", "--until", "friday", "--out", str(tmp_path / "run"))
    assert code == 2
    assert "friday" in err
    assert "finished" in err
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="rounds=N"):
        zs.train("ring", until="friday", out=tmp_path / "run")


def test_a_run_without_checkups_is_told_how_to_get_some(zerosum, tmp_path):
    zs.train("ring", rounds=3, out=tmp_path, report=False, say=lambda _: None)
    code, out, _ = zerosum("diagnose", str(tmp_path))
    assert code == 0
    assert "0 checkups" in out
    assert "train.check_every" in out


def test_a_report_that_cannot_be_written_costs_no_training(tmp_path, monkeypatch):
    heard = []

    def full(self):
        raise SystemFault("cannot write report.html: No space left on device")

    monkeypatch.setattr(zs.Run, "report", full)
    run = zs.train("ring", rounds=2, out=tmp_path, say=heard.append)
    assert len(run.sample(3)) == 3
    assert any("no report: cannot write report.html" in sentence and "zerosum report" in sentence for sentence in heard)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "no report: there is not enough memory. Ask for fewer"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "no report: there is not enough memory"),
        (OSError(28, "No space left on device", "/tmp/x"), "no report: No space left on device. `zerosum report"),
    ],
)
def test_whatever_keeps_a_report_from_being_written_is_said_in_words(tmp_path, monkeypatch, error, says):
    heard = []

    def fails(self):
        raise error

    monkeypatch.setattr(zs.Run, "report", fails)
    zs.train("ring", rounds=2, out=tmp_path, say=heard.append)
    assert any(says in sentence for sentence in heard), heard
