"""`zerosum evaluate`: what is printed, and what is JSON."""

import json

import pytest

import zerosum as zs
from zerosum.data import toy


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """A run on the ring, of which fewer points than usual are held out."""
    folder = tmp_path_factory.mktemp("ring") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy, "TEST", 1000)
        yield zs.train("ring", rounds=3, device="cpu", out=folder, report=False, say=lambda _: None).path


def test_json_is_one_line_of_the_promised_shape(zerosum, ring):
    code, out, _ = zerosum("evaluate", str(ring), "-n", "200", "--json")
    assert code == 0
    (line,) = out.splitlines()
    facts = json.loads(line)
    assert facts["round"] == 3
    rows = facts["metrics"]
    assert all(
        list(row) == ["name", "value", "error", "real", "noise", "n", "features", "better", "note"] for row in rows
    )
    assert {"frechet", "kernel", "precision", "coverage", "copying", "modes found"} <= {row["name"] for row in rows}
    assert {row["n"] for row in rows} == {200}


def test_people_see_a_table_with_floor_and_ceiling(zerosum, ring):
    code, out, _ = zerosum("evaluate", str(ring), "-n", "200", "--features", "pixels")
    assert code == 0
    made, heading, *rows, last = out.splitlines()
    assert made == "round 3"
    assert heading.split() == ["metric", "samples", "+-", "real", "data", "noise", "better", "features"]
    assert any(row.startswith("within 3 sigma") for row in rows)
    assert last.startswith("200 samples")


def test_the_classes_of_the_data_are_compared(zerosum, ring):
    code, out, _ = zerosum("evaluate", str(ring), "--classes")
    assert code == 0
    assert "every class is nearer to itself" in out


@pytest.mark.parametrize(("words", "says"), [(["-n", "9"], "at least 50"), (["--features", "hope"], "no extractor")])
def test_a_mistake_is_answered(zerosum, ring, words, says):
    code, out, err = zerosum("evaluate", str(ring), *words)
    assert (code, out) == (2, "")
    assert says in err
