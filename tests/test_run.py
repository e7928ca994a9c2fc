import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import zerosum as zs
from zerosum import config, files, run
from zerosum.errors import RunError, SystemFault
from zerosum.run import RunFolder, journal
from zerosum.run.folder import FORMAT


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def begun():
    """(path, *overrides) -> the folder of a run of the digits that was begun there."""

    def begin(path, *overrides):
        folder = RunFolder(Path(path))
        run.make(folder)
        folder.write(folder.config, config.dumps(config.load("digits", overrides)).encode())
        return folder

    return begin


@pytest.mark.parametrize("path", ["missing", "", ".", "file", "empty", "a" * 300, "file/below", "a\0b"])
def test_a_folder_without_a_run_is_refused(path):
    Path("file").touch()
    Path("empty").mkdir()
    with pytest.raises(RunError, match="there is no run in"):
        run.open_folder(path)


@pytest.mark.parametrize("text", ["[[[", "nonsense = 1", "train.rounds = 0"])
def test_a_run_whose_settings_cannot_be_read_is_refused_with_the_reason(text):
    Path("broken").mkdir()
    Path("broken/config.toml").write_text(text)
    with pytest.raises(RunError, match=r"cannot be read: broken/config\.toml"):
        run.open_folder("broken")


def test_a_run_is_found_by_its_path_and_by_its_name(begun):
    here, named = begun("elsewhere"), begun("runs/mine")
    assert run.open_folder("elsewhere") == here
    assert run.open_folder("mine") == named
    assert run.open_folder("runs/mine") == named
    begun("mine")
    assert run.open_folder("mine") == RunFolder(Path("mine"))


def test_a_folder_that_is_named_is_taken(begun):
    begun("there")
    assert run.choose_folder(config.load("digits", ["train.seed=5"]), "there") == RunFolder(Path("there"))


def test_without_a_name_the_first_free_or_equal_folder_is_taken(begun):
    settings = config.load("digits")
    assert run.choose_folder(settings, None).path == Path("runs/digits")
    begun("runs/digits", "train.seed=1")
    assert run.choose_folder(settings, None).path == Path("runs/digits-2")
    begun("runs/digits-2", "train.seed=2")
    assert run.choose_folder(settings, None).path == Path("runs/digits-3")
    begun("runs/digits-3", "train.rounds=9")
    assert run.choose_folder(settings, None).path == Path("runs/digits-3")
    assert run.choose_folder(config.load("digits", ["train.seed=2"]), None).path == Path("runs/digits-2")


def test_what_the_machine_decided_stays_with_the_run_unless_it_is_set(begun):
    folder = begun("run", "train.threads=3", "train.device=cpu")
    asked = config.load("digits", ["train.threads=2"])
    assert "threads" not in run.automatic_choices(asked, folder)
    assert run.automatic_choices(asked, folder)["device"] == "cpu"
    assert run.automatic_choices(asked, RunFolder(Path("new"))) == {}


def test_a_changed_setting_is_refused_with_both_values_and_free_ones_are_not(begun):
    folder = begun("run")
    run.refuse_changes(config.load("digits", ["train.rounds=9", "train.keep=1", "about=x"]), folder)
    run.refuse_changes(config.load("digits", ["train.seed=5"]), RunFolder(Path("new")))
    with pytest.raises(RunError) as caught:
        run.refuse_changes(config.load("digits", ["train.seed=5", "game.k=2"]), folder)
    assert "\n  game.k: 1 -> 2\n  train.seed: 0 -> 5\n" in str(caught.value)
    assert "--fresh" in str(caught.value)


@pytest.mark.parametrize("path", ["file", "file/below", "closed"])
def test_a_folder_that_cannot_be_written_to_is_refused(path):
    Path("file").touch()
    Path("closed/lock").mkdir(parents=True)
    with pytest.raises(RunError, match=f"cannot write to {path}"):
        run.make(RunFolder(Path(path)))


def test_two_holders_of_a_lock_are_one_too_many(begun):
    folder = begun("run")
    with run.lock(folder), pytest.raises(RunError, match="another process is training"), run.lock(folder):
        pass
    with run.lock(folder):
        pass


HOLD = """
import sys, time
from pathlib import Path
from zerosum.run import RunFolder, lock
with lock(RunFolder(Path("run"))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_other_processes_out_and_dies_with_its_own(begun):
    folder = begun("run")
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RunError, match="another process"), run.lock(folder):
                pass
        finally:
            holder.kill()
    with run.lock(folder):
        pass


def test_what_is_written_replaces_what_was_there_and_leaves_nothing_else():
    path = Path("file")
    files.write(path, b"old")
    files.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(Path().iterdir()) == [path]


@pytest.mark.parametrize("fault", ["replace", "open", "fsync"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(monkeypatch, fault):
    path = Path("file")
    files.write(path, b"old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, fault, fail)
        with pytest.raises(OSError, match="No space"):
            files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(Path().iterdir()) == [path]


def test_readings_are_read_back_in_order(begun):
    folder = begun("run")
    assert run.read(folder) == []
    readings = [{"round": step, "cost": step / 3} for step in (1, 2, 3)]
    for reading in readings:
        run.append(folder, reading)
    assert run.read(folder) == readings


@pytest.mark.parametrize("torn", ['{"round": 3, "co', "{", "\0\0\0", '{"round": 3\0'])
def test_a_torn_last_line_is_left_out_and_written_over(begun, torn):
    folder = begun("run")
    run.append(folder, {"round": 1})
    run.append(folder, {"round": 2})
    with folder.readings.open("a") as file:
        file.write(torn)
    assert run.read(folder) == [{"round": 1}, {"round": 2}]
    run.truncate(folder, 9)
    run.append(folder, {"round": 3})
    assert run.read(folder) == [{"round": 1}, {"round": 2}, {"round": 3}]


def test_readings_past_a_round_are_cut(begun):
    folder = begun("run")
    for step in (10, 20, 30):
        run.append(folder, {"round": step})
    run.truncate(folder, 20)
    assert run.read(folder) == [{"round": 10}, {"round": 20}]


def test_erasing_a_run_leaves_what_others_put_there(begun):
    folder = begun("run")
    folder.events.mkdir()
    events = folder.events / "events.out.tfevents.1"
    ours = [folder.readings, folder.environment, folder.sample(5), events, folder.checkpoints / "000005"]
    theirs = [folder.path / "notes.txt", folder.path / "samples" / "mine.png", folder.checkpoints / "mine"]
    for path in (*ours[:4], *theirs[:2]):
        path.touch()
    for path in (ours[4], theirs[2]):
        path.mkdir()
    run.erase(folder)
    assert not any(path.exists() for path in [*ours, folder.config])
    assert all(path.exists() for path in theirs)
    run.erase(folder)


DAMAGED = [b"5", b"[]", b"{}", b'{"round": true}', b'{"round": -1}', b'{"round": 1e3}', b'{"round": "7"}', b"\xff",
           b'{"round": 2, "generator_cost": "x"}', b'{"round": 2, "signs": 3}',
           b'{"round": 2, "signs": {"cells": ["a"]}}',
           b'{"round": 2, "seconds": [1]}', b'{"round": 2, "score": 5}', b'{"round": 2' + b"0" * 400 + b"}",
           b"[" * 10**5]  # fmt: skip


@pytest.mark.parametrize("damaged", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_is_named_passed_over_and_kept(begun, damaged):
    folder, said = begun("run"), []
    lines = [b'{"round": 10}', damaged, b'{"round": 20}', b'{"round": 30}']
    folder.readings.write_bytes(b"\n".join(lines) + b"\n")
    assert run.read(folder, said.append) == [{"round": 10}, {"round": 20}, {"round": 30}]
    (sentence,) = said
    assert sentence.startswith("readings.jsonl is damaged: line 2 (")
    run.truncate(folder, 20)
    assert folder.readings.read_bytes() == b"\n".join(lines[:3]) + b"\n"


def test_many_damaged_lines_are_counted(begun):
    folder, said = begun("run"), []
    folder.readings.write_bytes(b"x\n" * 10 + b'{"round": 1}\n')
    assert run.read(folder, said.append) == [{"round": 1}]
    assert "line 3 (no JSON) and 7 more" in said[0]


def test_readings_that_cannot_be_read_stop_a_resume_and_are_not_touched(begun, tmp_path):
    folder = begun("run")
    secret = tmp_path / "secret"
    secret.write_bytes(b"theirs")
    folder.readings.symlink_to(secret)
    said = []
    assert run.read(folder, said.append) == []
    assert "it is a link" in said[0]
    with pytest.raises(SystemFault, match="cannot write run/readings"):
        run.truncate(folder, 5)
    with pytest.raises(SystemFault, match="cannot write run/readings"):
        run.append(folder, {"round": 1})
    assert secret.read_bytes() == b"theirs"


def test_evaluations_are_added_to_those_before_and_a_damaged_one_stays(begun):
    folder, said = begun("run"), []
    line = {"round": 5, "metrics": [{"name": "frechet", "value": 1.0, "n": 60}]}
    folder.metrics.write_bytes(b'5\n{"round": 5, "metr')
    run.record_metrics(folder, line)
    assert run.read_metrics(folder, said.append) == [line]
    assert said == ["metrics.jsonl is damaged: line 1 (no evaluation); what is damaged is passed over and kept"]
    assert folder.metrics.read_bytes().startswith(b"5\n{")


@pytest.mark.parametrize("content", ["[]", "5", "{", "null", '"x"', "[" * 10**5])
def test_an_odd_environment_is_named_and_passed_over(begun, content):
    folder, said = begun("run"), []
    folder.environment.write_text(content)
    assert folder.read_environment(said.append) == {}
    assert folder.run_id() is None
    assert content == "null" or "environment.json" in said[0]


def test_a_copy_of_a_sheet_is_named_and_passed_over(begun):
    folder, said = begun("run"), []
    for name in ("000060.png", "000060 (copy).png", "notes.png", "\x1b[2J.png", "real.png", "000005.png", "٣.png"):
        (folder.samples / name).touch()
    assert [path.name for path in folder.sheets(said.append)] == ["000005.png", "000060.png"]
    assert len(said) == 4
    assert not any("\x1b" in sentence for sentence in said)


FOREIGN = {
    "notes": lambda place: (place / "notes.txt").write_text("mine"),
    "another config": lambda place: (place / "config.toml").write_text("[tool.poetry]"),
    "no text": lambda place: (place / "config.toml").write_bytes(b"\xff"),
    "pictures": lambda place: (place / "samples").mkdir() or (place / "samples" / "1.png").touch(),
    "an old checkpoint": lambda place: (place / "checkpoints" / "2024-backup").mkdir(parents=True),
    "hidden": lambda place: (place / ".tmp-notes").touch(),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_of_other_things_is_no_run_folder_unless_that_is_asked_for(kind):
    place = Path("place")
    place.mkdir()
    FOREIGN[kind](place)
    with pytest.raises(RunError, match=r"place is not empty and holds no run that can be read.*--force"):
        run.refuse_foreign_files(RunFolder(place), force=False)
    run.refuse_foreign_files(RunFolder(place), force=True)


def test_an_empty_folder_and_what_a_stopped_start_leaves_are_taken():
    place = Path("place")
    run.refuse_foreign_files(RunFolder(place), force=False)
    run.make(RunFolder(place))
    for folder in (place, place / "samples", place / "checkpoints"):
        (folder / files.temporary_name()).mkdir()
    run.refuse_foreign_files(RunFolder(place), force=False)


@pytest.mark.parametrize("name", ["samples", "checkpoints", "tensorboard"])
@pytest.mark.parametrize("force", [False, True])
def test_a_link_or_file_in_the_place_of_a_runs_folder_is_refused(begun, name, force, tmp_path):
    folder = begun("run")
    place = folder.path / name
    if place.exists():
        place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(RunError, match=f"run/{name} is no folder, or a link to one"):
        run.refuse_foreign_files(folder, force)
    place.unlink()
    place.touch()
    with pytest.raises(RunError, match="is no folder"):
        run.refuse_foreign_files(folder, force)


def test_sweeping_and_erasing_touch_only_names_of_a_run(begun):
    folder = begun("run")
    theirs = [".tmp-notes", "sub/.tmp-mine", "checkpoints/old.tmp-1/w", "checkpoints/2024-backup/w",
              "checkpoints/000005/mine", "samples/1.png", "samples/.zerosum-x.tmp"]  # fmt: skip
    ours = [files.temporary_name(), f"samples/{files.temporary_name()}",
            f"checkpoints/{files.temporary_name()}/state.json", "checkpoints/000005/state.json"]  # fmt: skip
    for name in (*theirs, *ours):
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    run.remove_temporary(folder)
    assert [(folder.path / name).exists() for name in ours] == [False, False, False, True]
    run.erase(folder)
    assert not (folder.path / ours[3]).exists()
    assert all((folder.path / name).exists() for name in theirs)


@pytest.mark.parametrize(
    ("path", "belongs"),
    [
        ("run", True), ("run/config.toml", True), ("run/samples", True), ("run/samples/x.png", True),
        ("run/checkpoints/000005/state.json", True), ("other/../run/report.html", True), ("link/lock", True),
        ("samples-of-run/x.png", True), ("run/samples.png", False), ("run/mine/x.png", False), ("x.png", False),
        ("other/samples/x.png", False), ("runs", False),
    ],
)  # fmt: skip
def test_what_belongs_to_a_run_is_known(begun, path, belongs):
    begun("run")
    Path("other/samples").mkdir(parents=True)
    Path("other/config.toml").touch()
    Path("link").symlink_to("run")
    Path("samples-of-run").symlink_to("run/samples")
    assert run.belongs_to_run(Path(path)) is belongs


@pytest.mark.parametrize("name", ["", "\udcff", "a\0b"])
def test_a_name_that_cannot_be_written_is_refused(name):
    with pytest.raises(RunError, match="--out"):
        run.choose_folder(config.load("digits"), name)


def test_a_run_with_more_readings_than_are_read_goes_on(begun, monkeypatch):
    folder = begun("run")
    monkeypatch.setattr(journal, "MAX_LINES", 5)
    for step in range(1, 10):
        run.append(folder, {"round": step})
    run.truncate(folder, 7)
    assert [json.loads(line)["round"] for line in folder.readings.read_text().splitlines()] == [*range(1, 8)]
    said = []
    assert run.read(folder, said.append) == []
    assert said == ["readings.jsonl cannot be read (it has 7 lines, at most 5 are read); it is passed over"]


def test_no_checkpoint_is_on_the_disk_without_the_readings_before_it(tmp_path, monkeypatch):
    """A machine that loses its power keeps what was flushed, in any order else."""
    flushed = []
    fsync, rename = os.fsync, Path.rename

    def noted(descriptor):
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def renamed(self, target):
        flushed.append(f"checkpoint {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "rename", renamed)
    zs.train("ring", rounds=2, set=["train.log_every=1"], out=tmp_path / "run", report=False, say=lambda _: None)
    last = flushed.index("checkpoint 000002")
    assert "readings.jsonl" in flushed[flushed.index("checkpoint 000000") : last]


@pytest.mark.parametrize(
    ("began", "known_as"),
    [({"zerosum": "0.1.0"}, 1), ({"zerosum": "0.2.0", "format": 2}, 2), ({"zerosum": "9.0", "format": 7}, 7)],
)
def test_a_run_of_another_format_is_refused_in_a_sentence_and_left_alone(begun, began, known_as):
    folder = begun("runs/digits")
    folder.environment.write_text(json.dumps(began))
    with pytest.raises(
        RunError, match=rf"runs/digits is a run of format {known_as}, of zerosum {began['zerosum']}; this"
    ):
        run.open_folder("digits").read_config()
    assert run.choose_folder(config.load("digits"), None) == RunFolder(Path("runs/digits-2"))


@pytest.mark.parametrize("force", [False, True])
def test_a_run_of_another_format_never_goes_on_but_can_be_erased(tmp_path, force):
    ring = {"out": tmp_path / "run", "report": False, "say": lambda _: None}
    folder = zs.train("ring", rounds=1, **ring).folder
    folder.environment.write_text(folder.environment.read_text().replace(f'"format": {FORMAT}', '"format": 2'))
    with pytest.raises(RunError, match="is a run of format 2, of zerosum"):
        zs.train("ring", rounds=2, force=force, **ring)
    assert not (folder.checkpoints / "000002").exists()
    zs.train("ring", rounds=2, force=True, fresh=True, **ring)
    assert folder.read_environment()["format"] == FORMAT


def test_a_new_run_says_its_format(tmp_path):
    folder = zs.train("ring", rounds=1, out=tmp_path / "run", report=False, say=lambda _: None).folder
    assert folder.read_environment()["format"] == FORMAT
