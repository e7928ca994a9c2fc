"""A run is trusted where it was made, as it was made, and by nobody else's word."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import zerosum as zs
from zerosum.errors import Untrusted
from zerosum.run import RunFolder, trust
from zerosum.training import recorder

LAB = """
from pathlib import Path
from zerosum.nets import NETS
with Path(__file__).with_name("IMPORTED").open("a") as log:
    log.write("x")
my_pair = NETS["mlp"]
"""
EVIL = "raise SystemExit('the module of another folder was imported')"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder with a module of the user's own, and a run that was trained there with it, by the console command."""
    lab = tmp_path_factory.mktemp("lab")
    (lab / "my_lab.py").write_text(LAB)
    small = [f"--set=nets.{player}.width=8" for player in ("generator", "discriminator")]
    words = [
        "train",
        "digits",
        "--rounds=2",
        "--out=mine",
        "--set=nets.name=my_lab:my_pair",
        "--set=train.threads=1",
        *small,
    ]
    done = zerosum(lab, words)
    assert done.returncode == 0, done.stderr
    return lab


def zerosum(folder, *commands):
    """The console command: unlike `python -m`, it has no working folder on its path (-P)."""
    script = """
import json, sys
from zerosum.cli.main import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["zerosum", *words]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, end.code
"""
    words = [sys.executable, "-P", "-c", script, json.dumps(commands)]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def mine(lab, tmp_path, monkeypatch):
    """That run again, trusted: its path, another working folder with another my_lab.py."""
    (lab / "IMPORTED").unlink(missing_ok=True)
    (tmp_path / "my_lab.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    return lab / "mine"


def trusted(path):
    return trust.code_folder(RunFolder(Path(path))) is not None


def test_a_run_of_ones_own_is_read_from_anywhere_with_the_module_it_was_trained_with(mine, lab, tmp_path):
    done = zerosum(tmp_path, ["report", str(mine)], ["evaluate", str(mine), "-n", "50", "--features=pixels"])
    assert done.returncode == 0, done.stderr
    assert (lab / "IMPORTED").exists()
    assert trusted(mine)


@pytest.fixture
def copied(mine, tmp_path):
    shutil.copytree(mine, tmp_path / "copy")
    return tmp_path / "copy"


def refused(path):
    with pytest.raises(Untrusted, match="nets.name = my_lab:my_pair"):
        zs.load(path).sample(2)
    return not trusted(path)


def test_copied_elsewhere_it_is_not_trusted(copied):
    assert refused(copied)


def test_moved_elsewhere_it_is_not_trusted(copied, mine):
    moved = mine.rename(mine.with_name("moved"))
    try:
        assert refused(moved)
        shutil.copytree(copied, mine)
        assert trusted(mine)  # the same run, the same settings, the same place
        shutil.rmtree(mine)
    finally:
        moved.rename(mine)


def test_another_run_at_its_place_is_not_trusted(mine):
    environment = mine / "environment.json"
    before = environment.read_bytes()
    try:
        environment.write_text(json.dumps({**json.loads(before), "run": "0" * 32}))
        assert refused(mine)
        environment.unlink()
        assert refused(mine)
        environment.write_text("[]")
        assert refused(mine)
    finally:
        environment.write_bytes(before)
    assert trusted(mine)


@pytest.mark.parametrize("change", [b"\n", b"# a note\n", b" "], ids=repr)
def test_with_other_settings_it_is_not_trusted(mine, change):
    config = mine / "config.toml"
    before = config.read_bytes()
    try:
        config.write_bytes(before + change)
        assert refused(mine)
    finally:
        config.write_bytes(before)
    assert trusted(mine)


def test_through_a_link_it_is_the_same_run(mine, tmp_path):
    (tmp_path / "link").symlink_to(mine)
    assert trusted(tmp_path / "link")


def test_a_link_in_its_place_to_another_run_is_not_trusted(mine, copied):
    away = mine.rename(mine.with_name("away"))
    try:
        mine.symlink_to(copied)
        assert refused(mine)
        mine.unlink()
    finally:
        away.rename(mine)


NOTES = {
    "a link to itself": lambda note, right: link(note, right),
    "a FIFO": lambda note, _: os.mkfifo(note),
    "a folder": lambda note, _: note.mkdir(),
    "a link to a device": lambda note, _: note.symlink_to("/dev/zero"),
    "a file of a TB": lambda note, _: (note.touch(), os.truncate(note, 2**40)),
    "empty": lambda note, _: note.touch(),
    "a list": lambda note, _: note.write_text("[]"),
    "a number": lambda note, _: note.write_text("5"),
    "nested": lambda note, _: note.write_text("[" * 10**5),
    "no text": lambda note, _: note.write_bytes(b"\xff"),
    "of another path": lambda note, right: note.write_text(json.dumps(right | {"path": "/"})),
    "of another run": lambda note, right: note.write_text(json.dumps(right | {"run": "0" * 32})),
    "of other settings": lambda note, right: note.write_text(json.dumps(right | {"config": "0" * 64})),
    "without settings": lambda note, right: note.write_text(json.dumps({"path": right["path"], "run": right["run"]})),
    "with settings that are none": lambda note, right: note.write_text(json.dumps(right | {"config": None})),
}


def link(note, right):
    """What the note says, reached through a link."""
    other = note.with_name("other")
    other.write_text(json.dumps(right))
    note.symlink_to(other)


@pytest.mark.parametrize("what", NOTES)
def test_a_note_that_is_none_lends_no_trust(mine, what):
    note = trust._record_path(RunFolder(mine))
    before = note.read_bytes()
    note.unlink()
    try:
        NOTES[what](note, json.loads(before))
        assert refused(mine)
    finally:
        shutil.rmtree(note) if note.is_dir() and not note.is_symlink() else note.unlink()
        note.write_bytes(before)
    assert trusted(mine)


@pytest.mark.parametrize("word", ["--trust", None])
def test_trust_is_for_one_command(command, place, word):
    place.edit(lambda tree: tree.update(nets={"name": "payload:pair"}))
    ended = command(place, "sample", "evil", "--out", "made/x.png", "--json", *([word] if word else []), judged=False)
    assert ended.code != 0
    assert place.canary.exists() == (word is not None)
    place.canary.unlink(missing_ok=True)
    again = command(place, "sample", "evil", "--out", "made/x.png", "--json")
    assert (again.code, again.kind) == (3, "Untrusted")


def test_a_training_of_a_strangers_recipe_elsewhere_does_not_trust_the_strangers_run(command, place, monkeypatch):
    monkeypatch.setattr(recorder, "_commit", lambda: None)  # else git is asked for zerosum's own
    (place.made / "x.toml").write_bytes((place.run / "config.toml").read_bytes())
    ended = command(place, "train", "made/x.toml", "--rounds=2", "--out", "made/run", "--json")
    assert ended.code == 0
    assert trusted(place.made / "run")
    assert not trusted(place.run)


def test_a_note_is_for_nobody_else_to_read(mine):
    assert trust._record_path(RunFolder(mine)).parent.stat().st_mode & 0o777 == 0o700
