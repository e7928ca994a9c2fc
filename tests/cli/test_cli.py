import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import zerosum as zs
from zerosum import files
from zerosum.cli.listing import list_rows
from zerosum.errors import UsageError

SMALL = [
    f"--set={text}"
    for text in ("nets.generator.width=8", "nets.discriminator.width=8", "game.batch=8", "train.threads=1")
]
LONG = "a" * 300


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a run of three rounds on the digits."""
    small = [text.removeprefix("--set=") for text in SMALL]
    folder = tmp_path_factory.mktemp("trained") / "run"
    return zs.train("digits", rounds=3, device="cpu", out=folder, set=small, say=lambda _: None).path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working folder full of things that are not what they should be."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, content in {
        "file": b"x",
        "list.txt": b"1,2\n",
        "broken.npz": b"no zip",
        "broken.npy": b"no array",
        "empty.csv": b"",
        "words.csv": b"a,b\n1,two\n",
        "few.csv": b"1,2\n3,4\n",
        "broken.toml": b"[[[",
        "bytes.toml": b"\xff",
        "wrong.toml": b"[train]\nroundz = 3",
        "cyclic.py": b"import nothing_of_that_name",
        "unfinished.py": b"def (",
    }.items():
        Path(name).write_bytes(content)
    for name in ("bad", "runs/bad"):
        Path(name).mkdir(parents=True)
        Path(name, "config.toml").write_text("nonsense = 1")
    Path("begun").mkdir()
    Path("begun/config.toml").touch()
    np.save("points.npy", rng.normal(size=(60, 2)))
    np.save("constant.npy", np.zeros((60, 2)))
    np.save("gray.npy", rng.normal(size=(60, 4, 4)))
    np.savez("empty.npz")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def one_line(text):
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    return json.loads(text)


def test_help_answers_without_torch():
    code = (
        "import sys; from zerosum.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit as ended: assert ended.code in (0, None), ended.code\n"
        "print('\\n' + ' '.join(sorted({'torch', 'numpy', 'pydantic', 'sklearn', 'matplotlib'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for verb in ("train", "sample", "theory", "list", "show", "copy", "doctor"):
        assert f" {verb} " in done.stdout
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize("verb", ["train", "sample", "theory", "list", "show", "copy", "doctor"])
def test_every_command_explains_itself_and_answers_in_json(zerosum, verb):
    code, out, _ = zerosum(verb, "--help")
    assert code == 0
    assert "--json" in out


def test_training_answers_with_its_run_and_its_readings(zerosum, place):
    code, out, _ = zerosum("train", "digits", "--rounds=3", "--device=cpu", "--json", *SMALL)
    facts = one_line(out)
    assert code == 0
    assert (facts["run"], facts["rounds"], facts["played"]) == ("runs/digits", 3, 3)
    assert facts["readings"]["round"] == 3
    assert facts["seconds"] > 0
    assert facts["samples_per_second"] > 0
    assert Path(facts["picture"]).is_file()


def test_training_again_says_that_all_is_played(zerosum, place):
    words = ["train", "digits", "--rounds=2", "--device=cpu", *SMALL]
    assert zerosum(*words)[0] == 0
    code, out, _ = zerosum(*words, "--json")
    assert (code, one_line(out)["played"]) == (0, 0)
    code, out, _ = zerosum(*words)
    assert code == 0
    assert "all 2 rounds were played before" in out


def test_training_on_points_says_how_many_modes_were_found(zerosum, place):
    code, out, _ = zerosum("train", "digits", "--data=ring", "--rounds=2", "--device=cpu", "--json", *SMALL)
    modes = one_line(out)["modes"]
    assert code == 0
    assert modes["of"] == 8
    assert 0 <= modes["found"] <= 8


def test_a_dry_run_says_what_to_expect_and_writes_nothing(zerosum, place):
    before = sorted(place.rglob("*"))
    words = ["train", "digits", "--dry-run", "--rounds=100", "--device=cpu", *SMALL]
    code, out, _ = zerosum(*words, "--json")
    facts = one_line(out)
    assert code == 0
    assert "rounds = 100" in facts["config"]
    assert facts["data"].startswith("digits: 1,257 images of 8 x 8")
    assert facts["seconds_per_round"] > 0
    code, out, _ = zerosum(*words)
    assert code == 0
    assert "minutes in all" in out
    assert sorted(place.rglob("*")) == before


def test_your_own_data_needs_no_recipe(zerosum, place):
    code, out, err = zerosum("train", "--data=points.npy", "--dry-run", "--device=cpu", "--json", "--rounds=2", *SMALL)
    assert code == 0, err
    assert 'name = "points"' in one_line(out)["config"]
    assert "recipe " in err


@pytest.mark.parametrize(
    "name", ["a b.csv", "quo\"te'.csv", "back\\slash.csv", "größe.csv", "1e5.csv", "#.csv", "=.csv"]
)
def test_a_file_of_any_name_is_data(zerosum, place, name):
    np.savetxt(name, np.load("points.npy"), delimiter=",")
    code, out, err = zerosum("train", "digits", "--dry-run", "--device=cpu", "--json", "--data", name, *SMALL)
    assert code == 0, err
    assert one_line(out)["data"].startswith(f"{name}: 54 points in 2 dimension(s)")


def test_samples_are_saved_and_described(zerosum, trained, tmp_path):
    out_file = tmp_path / "x.npz"
    code, out, _ = zerosum("sample", str(trained), "-n", "5", "--seed", "2", "--out", str(out_file), "--json")
    assert code == 0
    assert one_line(out) == {"path": str(out_file), "n": 5, "seed": 2, "shape": [5, 8, 8, 1], "round": 3}
    with np.load(out_file) as archive:
        assert (archive["samples"].dtype, archive["samples"].shape) == (np.uint8, (5, 8, 8, 1))
    sheet = tmp_path / "x.png"
    assert zerosum("sample", str(trained), "--out", str(sheet))[1] == f"64 samples in {sheet}\n"
    assert sheet.is_file()


@pytest.mark.parametrize("what", ["recipes", "losses", "penalties", "nets", "datasets", "optimizers"])
def test_every_table_is_listed_with_a_sentence_for_each_row(zerosum, what):
    code, out, _ = zerosum("list", what, "--json")
    rows = one_line(out)
    assert code == 0
    assert rows
    assert all(row["name"] and row["about"] for row in rows)
    for row, line in zip(rows, zerosum("list", what)[1].splitlines(), strict=True):
        assert line.split() == f"{row['name']} {row['about']}".split()


def test_runs_are_listed_and_a_broken_one_hides_no_other(zerosum, place, trained):
    Path("runs/good").symlink_to(trained)
    code, out, _ = zerosum("list", "runs", "--json")
    rows = {row["name"]: row for row in one_line(out)}
    assert code == 0
    assert rows["good"]["about"] == "3 of 3 rounds"
    assert "cannot be read" in rows["bad"]["about"]


def test_where_there_are_no_runs_the_list_is_empty(zerosum, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert one_line(zerosum("list", "runs", "--json")[1]) == []
    assert zerosum("list", "runs")[1] == "none\n"


def test_an_unknown_table_is_refused_with_the_nearest_one():
    with pytest.raises(UsageError, match="Did you mean 'losses'"):
        list_rows("loses")


def test_a_recipe_is_shown_whole(zerosum):
    code, out, _ = zerosum("show", "digits", "--set", "train.seed=7", "--json")
    assert code == 0
    facts = one_line(out)
    assert facts["train"]["seed"] == 7
    assert facts["optimizers"]["generator"]["epsilon"] > 0  # a default of the row, filled in
    assert "seed = 7" in zerosum("show", "digits", "--set", "train.seed=7")[1]


def test_what_is_shown_can_be_trained(zerosum, place):
    Path("shown.toml").write_text(zerosum("show", "digits", "--set", "train.rounds=9")[1])
    shown, again = (one_line(zerosum("show", recipe, "--json", *words)[1]) for recipe, words in (
        ("digits", ["--set", "train.rounds=9"]), ("shown.toml", [])))  # fmt: skip
    assert shown == again


def test_a_console_that_does_not_know_a_letter_still_gets_an_answer():
    words = ["show", "digits", "--set", "about=größe"]
    done = subprocess.run(
        [sys.executable, "-m", "zerosum", *words],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gr\\xf6\\xdfe" in done.stdout


def test_a_recipe_is_copied_to_be_edited(zerosum, place):
    code, out, _ = zerosum("copy", "digits", "mine.toml", "--json")
    assert (code, one_line(out)) == (0, {"path": "mine.toml"})
    assert one_line(zerosum("show", "mine.toml", "--json")[1]) == one_line(zerosum("show", "digits", "--json")[1])


def test_the_doctor_says_what_this_machine_is(zerosum):
    code, out, _ = zerosum("doctor", "--json")
    facts = one_line(out)
    assert code == 0
    assert {"zerosum", "python", "torch", "device", "threads", "disk_free", "processes"} <= facts.keys()
    assert all(line for line in zerosum("doctor")[1].splitlines())


@pytest.mark.parametrize("size", ["width=0", "depth=0", "depth=-1"])
def test_a_network_of_no_size_is_refused(zerosum, size):
    assert zerosum("show", "digits", "--set", f"nets.generator.{size}")[0] == 2


def test_a_full_disk_is_named_in_a_sentence_with_what_is_needed_and_free(zerosum, place, monkeypatch):
    append = files.append

    def full(path, content):
        if path.name == "readings.jsonl":
            raise OSError(28, "No space left on device")
        append(path, content)

    monkeypatch.setattr(files, "append", full)
    code, out, err = zerosum("train", "digits", "--rounds=1", "--device=cpu", "--json", *SMALL)
    error = one_line(out)
    assert (code, error["exit_code"], error["kind"]) == (3, 3, "SystemFault")
    assert "cannot write runs/digits/readings.jsonl: No space left on device: 0.00 MB are needed" in error["error"]
    assert err.splitlines()[-1] == f"error: {error['error']}"


USAGE = [
    "frobnicate",
    "--nonsense",
    "train --nonsense",
    "train digits extra",
    "train digit",
    "train none.toml",
    "train broken.toml",
    "train bytes.toml",
    "train wrong.toml",
    "train begun",
    f"train {LONG}.toml",
    "train digits --rounds 0",
    "train digits --rounds -1",
    "train digits --rounds many",
    f"train digits --rounds {2**63}",
    "train digits --minutes nan",
    "train digits --minutes inf",
    "train digits --minutes 0",
    "train digits --seed -1",
    "train digits --precision int8",
    "train digits --device gpu",
    "train digits --device cuda:99",
    "train digits --device meta",
    'train digits --device a"b',
    "train digits --data grd",
    "train digits --data=",
    "train digits --set",
    "train digits --set train.rounds",
    "train digits --set =3",
    "train digits --set train.stepz=3",
    "train digits --set train.precision=int8",
    "train digits --set train.threads=0",
    f"train digits --set train.threads={2**40}",
    "train digits --set penalties.0.weight=-1",
    "train digits --set penalties.0.wieght=1",
    "train digits --set penalties.7.weight=1",
    "train digits --set penalties=r1",
    "train digits --set nets.generator.width=-5",
    "train digits --set nets.generator.width=x",
    "train digits --set nets.generator.width=1e3",
    f"train digits --set nets.generator.width={10**11}",
    f"train digits --set nets.discriminator.width={10**30}",
    "train digits --set nets.generator.widht=3",
    "train digits --set latent.size=0",
    f"train digits --set latent.size={10**12}",
    "train digits --set game.batch=100000",
    "train digits --set game.order=simultaneous --set game.k=2",
    "train digits --set game.reduction=mean --set loss=relativistic",
    "train digits --set optimizers.generator.lr=0",
    "train digits --set optimizers.generator.betas=[1,2]",
    "train digits --set optimizers.generator=adan",
    "train digits --set data.name=ring --set data.modes=0",
    f"train digits --set data.name=ring --set data.modes={10**12}",
    "train digits --set data.held_out=0.5",
    "train digits --set name=..",
    "train digits --set name=a/b",
    'train digits --set loss="os:getcwd"',
    "train digits --set loss=os:nothing",
    "train digits --set loss=os.path",
    "train digits --set loss=.a:b",
    "train digits --set loss=cyclic:loss",
    "train digits --set loss=unfinished:loss",
    'train digits --set nets.name="json:dumps"',
    'train digits --set data="os:getcwd"',
    "train digits --set data=json:dumps",
    "train digits --set data=builtins:dict",
    "train digits --set data=os:path",
    "train digits --set optimizers.generator=os:getcwd",
    "train digits --set optimizers.generator=builtins:list",
    "train digits --set penalties=['os:getcwd']",
    r'train digits --set data="a\u0000.csv"',
    "train digits --out file",
    "train digits --out file/below",
    f"train digits --out {LONG}",
    "train digits --out bad",
    "train digits --out TRAINED --seed 5",
    "sample none",
    "sample file",
    "sample .",
    "sample bad",
    f"sample {LONG}",
    "sample TRAINED --out x.jpg",
    "sample TRAINED --out x.csv",
    "sample TRAINED --out file/x.png",
    "sample TRAINED -n 0",
    "sample TRAINED -n x",
    "sample TRAINED --seed -1",
    "sample",
    "list nonsense",
    "show",
    "show none",
    "show digits --set x=1",
    "copy digits",
    "copy none x.toml",
    "copy digits x.txt",
    "copy digits broken.toml",
    "copy digits none/x.toml",
    f"copy digits {LONG}.toml",
]
DATA = [
    "train digits --data .",
    "train digits --data none.csv",
    "train digits --data list.txt",
    "train digits --data broken.npz",
    "train digits --data broken.npy",
    "train digits --data empty.npz",
    "train digits --data empty.csv",
    "train digits --data words.csv",
    "train digits --data few.csv",
    "train digits --data constant.npy",
    "train digits --data gray.npy",
    "train digits --data points.npy --set data.key=x",
    f"train digits --data {LONG}.csv",
    "train digits --set data.name=mixture-1d --set data.means=[1]",
    "train digits --set data.name=mixture-1d --set data.means=[] --set data.sigmas=[]",
    "sample begun",
]


@pytest.mark.parametrize(
    ("line", "expected"),
    [*((line, 2) for line in USAGE), *((line, 3) for line in DATA)],
    ids=lambda value: str(value)[:70],
)
def test_a_mistake_ends_in_a_sentence_and_begins_no_run(zerosum, place, trained, line, expected):
    begun = sorted(place.rglob("config.toml"))
    words = [str(trained) if word == "TRAINED" else word for word in line.split(" ")]
    code, out, err = zerosum(*words)
    assert code == expected, err
    assert out == ""
    assert err.strip()
    assert "Traceback" not in err
    assert sorted(place.rglob("config.toml")) == begun


@pytest.mark.parametrize(
    "line", ["evaluate TRAINED -n 60 --features pixels", "report TRAINED", "sample TRAINED --out x.png"]
)
def test_an_interrupted_command_says_so(zerosum, place, trained, monkeypatch, line):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("zerosum.sampling.Sampler.draw", interrupted)
    words = [str(trained) if word == "TRAINED" else word for word in line.split(" ")]
    code, out, err = zerosum(*words, "--trust", "--json")
    assert (code, err) == (130, "stopped\n")
    assert json.loads(out) == {"error": "stopped", "kind": "Stopped", "exit_code": 130}


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ("os:system", r"code of your own failed: TypeError: .* \(os:system\)"),
        ("json:dumps", r"code of your own failed: TypeError: .* is not JSON serializable \(json:dumps\)"),
        ("os:getcwd", r"code of your own failed: TypeError: .* takes no arguments .* \(os:getcwd\)"),
        ("mine:fails", r"code of your own failed: KeyError: 'width' \(.*mine\.py, line 2\)"),
        ("sys:exit", r"code of your own ended the program"),
    ],
)
def test_what_fails_in_code_of_the_users_is_not_told_as_a_fault_of_zerosum(zerosum, place, trained, features, says):
    Path("mine.py").write_text("def fails(samples):\n    return {}['width']\n")
    code, out, err = zerosum("evaluate", str(trained), "--trust", "--features", features, "--json")
    assert code == 2
    assert re.search(says, err), err
    assert json.loads(out)["kind"] == "ConfigError"
    sys.modules.pop("mine", None)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture
def copied(trained, place):
    """A copy of the run with an older checkpoint beside its newest one."""
    shutil.copytree(trained, "runs/copied")
    return Path("runs/copied")


READING = ["diagnose", "sample --out x.png", "report", "evaluate -n 60 --features pixels", "train"]
DAMAGED = ["average.safetensors", "optimizers.safetensors", "state.json", "manifest.json"]


@pytest.mark.parametrize(
    ("line", "file"),
    [
        pytest.param(line, file, marks=() if line == "diagnose" or file == DAMAGED[0] else pytest.mark.slow)
        for line in READING
        for file in DAMAGED
    ],
)
def test_every_command_names_a_damaged_checkpoint(zerosum, copied, line, file):
    flip(copied / "checkpoints" / "000003" / file)
    verb, *options = line.split()
    words = (
        [verb, str(copied), *options, "--trust"] if verb in ("sample", "report", "evaluate") else [verb, str(copied)]
    )
    if verb == "train":
        words = ["train", str(copied / "config.toml"), "--out", str(copied)]
    code, _, err = zerosum(*words)
    assert code == 0, err
    assert "checkpoint 000003 is damaged" in err
    assert "000000" in err


def test_a_list_of_runs_says_where_a_checkpoint_is_missing_or_damaged(zerosum, copied):
    def about():
        (row,) = [row for row in one_line(zerosum("list", "runs", "--json")[1]) if row["name"] == "copied"]
        return row["about"]

    assert about() == "3 of 3 rounds"
    (copied / "checkpoints" / "000003" / "state.json").write_bytes(b"")
    assert about() == "3 of 3 rounds; its newest checkpoint is damaged"
    shutil.rmtree(copied / "checkpoints")
    assert about() == "3 of 3 rounds; no checkpoint"


@pytest.mark.parametrize("theirs", ["[tool]\nx = 1\n", "[[["])
def test_force_plays_beside_the_settings_of_another_program(zerosum, place, theirs):
    Path("mine").mkdir()
    Path("mine/config.toml").write_text(theirs)
    Path("mine/notes.txt").write_text("mine")
    words = ["train", "digits", "--rounds=2", "--device=cpu", "--out=mine", *SMALL]
    assert zerosum(*words)[0] == 2
    code, _, err = zerosum(*words, "--force")
    assert (code, "holds no settings of a run that can be read; it is replaced" in err) == (0, True)
    assert Path("mine/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["a & b", "it's", "two\nlines"])
def test_what_is_printed_can_be_typed(zerosum, place, name):
    code, out, _ = zerosum("train", "digits", "--rounds=2", "--device=cpu", f"--out=runs/{name}", *SMALL)
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("run:"))
    assert line == "run:      runs/" + name.replace("\n", "\\n")
    if "\n" not in name:
        command = next(line for line in out.splitlines() if line.startswith("next:")).removeprefix("next:").strip()
        assert shlex.split(command)[:3] == ["zerosum", "sample", f"runs/{name}"]


def test_a_run_in_the_place_of_a_recipe_is_told_how_to_go_on(zerosum, copied):
    code, _, err = zerosum("train", "runs/copied")
    assert code == 2
    assert "zerosum train runs/copied/config.toml --out runs/copied" in err


def test_data_that_was_moved_may_be_named(zerosum, place):
    np.save("moved.npy", np.random.default_rng(0).normal(size=(600, 2)))
    words = ["train", "--data=moved.npy", "--rounds=2", "--device=cpu", "--out=run", "--set=latent.size=4", *SMALL]
    assert zerosum(*words)[0] == 0
    Path("moved.npy").rename("there.npy")
    code, _, err = zerosum("evaluate", "run", "-n", "60")
    assert (code, "--data PATH says where it is now" in err) == (3, True)
    assert zerosum("evaluate", "run", "-n", "60", "--data", "there.npy")[0] == 0


def test_a_function_in_the_place_of_a_loss_is_told_what_to_make_of_it(zerosum, place):
    Path("mine_too.py").write_text("def loss(real, fake):\n    return fake - real\n")
    code, _, err = zerosum("train", "digits", "--set", "loss=mine_too:loss", "--rounds=2", *SMALL)
    assert (code, "expected a zerosum.Loss(discriminator, generator)" in err) == (2, True)
    sys.modules.pop("mine_too")


def test_the_command_beside_a_copied_recipe_can_be_typed(zerosum, place):
    code, out, _ = zerosum("copy", "digits", "my recipe.toml")
    assert (code, "`zerosum train 'my recipe.toml'`" in out) == (0, True)
