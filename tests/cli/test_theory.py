"""`zerosum theory`: what is printed, what is JSON, and the exit code."""

import json
from dataclasses import replace

import pytest

from zerosum.cli.theory_text import format_table
from zerosum.lab import claims


def test_json_is_one_line_of_the_promised_shape(zerosum):
    code, out, _ = zerosum("theory", "jensen", "kl-support", "9", "--json")
    assert code == 0
    (line,) = out.splitlines()
    rows = json.loads(line)["claims"]
    assert {"jensen", "kl-support", "squares-pearson"} <= {row["name"] for row in rows}
    assert all(
        list(row) == ["group", "name", "source", "expected", "measured", "error", "tolerance", "holds"] for row in rows
    )
    infinite = next(row for row in rows if row["name"] == "kl-support")
    assert infinite["expected"] == infinite["measured"] == "inf"


def test_an_unknown_claim_is_a_usage_error(zerosum):
    code, out, err = zerosum("theory", "jenson")
    assert (code, out) == (2, "")
    assert "Did you mean 'jensen'" in err


def test_a_claim_that_fails_is_named_and_ends_in_exit_code_1(monkeypatch, zerosum):
    wrong = replace(claims.CLAIMS["jensen"], check=lambda: claims.equal(0.5, 0.25))
    monkeypatch.setitem(claims.CLAIMS, "jensen", wrong)
    code, out, _ = zerosum("theory", "jensen", "kl-floor")
    assert code == 1
    assert "1 of 2 claims hold" in out
    assert "jensen does not hold" in out


@pytest.fixture(scope="module")
def verdicts():
    return [claim.run() for claim in claims.choose(["4", "10"])]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_table_keeps_to_the_width(verdicts, width):
    lines = format_table(verdicts, width).splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.strip().startswith(("kl-support", "bound-neyman")) for line in lines) == 2
    assert all(claim.name in "\n".join(lines) for claim in claims.choose(["4", "10"]))


def test_figures_are_drawn(tmp_path, monkeypatch):
    from PIL import Image

    from zerosum.lab import figures

    quick = ("framework", "one-gaussian", "generator-costs", "strong-discriminator", "xy-game")
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in quick})
    drawn = figures.draw_all(tmp_path / "new" / "figures")
    assert [path.stem for path in drawn] == list(quick)
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.width > 500
