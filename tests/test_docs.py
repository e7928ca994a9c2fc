"""The README says what the code says."""

import importlib.util
import re
from pathlib import Path

import pytest

from zerosum import config
from zerosum.claims import CLAIMS
from zerosum.schema import Config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
THEORY = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")


def test_the_generated_tables_are_up_to_date():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for page in tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.written(text) == text, "run `make docs`"


@pytest.mark.parametrize("claim", re.findall(r"`([a-z0-9-]+)`", THEORY.partition("## Where the common")[2]))
def test_every_claim_that_the_theory_page_points_to_is_one(claim):
    assert claim in CLAIMS


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", THEORY))
def test_every_link_of_the_theory_page_leads_somewhere(target):
    assert (ROOT / "docs" / target).exists()


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_every_link_leads_somewhere(target):
    assert (ROOT / target).exists()


def test_the_first_python_of_the_readme_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n([\s\S]*?)```", README).group(1)
    monkeypatch.chdir(tmp_path)
    exec(code.replace('zs.train("digits")', 'zs.train("digits", steps=5)'), {})
    assert (tmp_path / "digits.png").exists()


def test_every_command_of_the_readme_is_one(capsys):
    from typer.main import get_command

    from zerosum.app.cli import app

    commands = get_command(app).commands
    said = set(re.findall(r"^zerosum (\w+)", README, flags=re.MULTILINE))
    assert said == set(commands)


def test_every_setting_the_readme_names_exists():
    known = config.flat(Config().model_dump()) | {
        "optimisers.discriminator.rate": 0,
        "data.labels": 0,
        "data.layout": 0,
        "data.range": 0,
    }
    for setting in re.findall(r"--set ([\w.]+)=", README):
        assert any(key == setting or key.startswith(f"{setting}.") for key in known), setting
