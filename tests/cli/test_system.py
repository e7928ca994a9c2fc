"""What the system does to a command: each fault ends in a sentence, an exit code and whole files, never in a traceback.

Most commands run in children of one process (tests/slow/zygote.py); those marked slow try more of each kind, and the
same in processes of their own.
"""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from zerosum.errors import Stopped, ZerosumError
from zerosum.run import RunFolder
from zerosum.training import loop

KILLS = runpy.run_path(str(Path(__file__).parents[1] / "slow" / "kills.py"))
differing = KILLS["differing"]
SETTINGS = "save_every = 4\nlog_every = 3\ncheck_every = 4\nsample_every = 5\nrounds = 12"
TRAIN = ("train", "recipe.toml", "--out", "run", "--json")
ROOT = os.getuid() == 0
OTHER = {"uid": 65534, "env": {"XDG_STATE_HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null"}} if ROOT else {}
"""A user whom closed folders keep out."""

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def place():
    """(name, settings, data) -> a place to train in, which every user can reach."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    with KILLS["places"](root) as make:
        yield make
    subprocess.run(["chmod", "-R", "u+rwX", str(root)], check=True)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def calm(place):
    """The place of a run that nobody disturbed, and what it asked of the disk."""
    there = place("calm", SETTINGS)
    return there, there.train(report=False).operations


@pytest.fixture
def new(place, request):
    """(name) -> a new place of this test's."""
    return lambda name="": place(re.sub(r"\W+", "-", f"{request.node.name} {name}"), SETTINGS)


def refused(ending, code, says):
    """What a command said that could not be done: in a sentence, and as one line of JSON."""
    assert (ending.code, "Traceback" in ending.err) == (code, False), ending
    assert re.search(says, ending.err), ending.err
    (line,) = ending.out.splitlines()
    error = json.loads(line)
    assert error["exit_code"] == code
    assert ending.err.rstrip("\n").endswith(error["error"])
    return error["error"]


def done(ending, says=""):
    """What a command answered, in one line of JSON."""
    assert (ending.code, "Traceback" in ending.err) == (0, False), ending
    assert re.search(says, ending.err), ending.err
    (line,) = ending.out.splitlines()
    return json.loads(line)


def goes_on(there, calm):
    """Nothing half-written lies there, and the same command ends as if nothing had been."""
    assert not list(there.run.rglob("*.tmp"))
    there.train(report=False)
    expected = calm[0].contents()
    assert not differing(there.contents("metrics.jsonl", "report.html"), expected)


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """(kB) -> a place on a disk that has so many left, and a way to make room."""
    words = ["mount", "-t", "tmpfs", "-o", "size=2m", "t", str(tmp_path)]
    if not ROOT or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")

    def place(of, free):
        path = tmp_path / str(free)
        path.mkdir()
        shutil.copy(of.path / "recipe.toml", path)
        left = shutil.disk_usage(path).free
        (path / "ballast").write_bytes(b"0" * (left - free * 1000))
        return KILLS["Place"](of.zygote, path), (path / "ballast").unlink

    yield place
    subprocess.run(["umount", tmp_path], check=True)


def full(calm, disk, sizes):
    """What could not be written at each size; in the end, all could."""
    found = set()
    for free in sizes:
        there, make_room = disk(calm[0], free)
        ending = there.zygote.run(*TRAIN, cwd=there.path, report=False)
        error = refused(ending, 3, r"No space left on device: \d+\.\d\d MB are needed, \d+\.\d\d MB are free")
        found.add(re.match(r"cannot (?:write|save) run/(\w+)", error)[1])
        make_room()
        goes_on(there, calm)
        shutil.rmtree(there.path)
    return found


def test_a_full_disk_is_named_with_what_is_missing_and_the_run_goes_on_when_there_is_room(calm, disk):
    assert full(calm, disk, (49, 70)) == {"readings", "checkpoints"}


@slow
def test_a_full_disk_at_every_size(calm, disk):
    assert full(calm, disk, range(0, 150, 4)) >= {"config", "environment", "readings", "samples", "checkpoints"}


def test_on_a_full_disk_numbers_are_told_though_they_are_not_kept(calm, disk):
    there, _ = disk(calm[0], 1000)
    shutil.copytree(calm[0].run, there.run)
    left = shutil.disk_usage(there.path).free
    (there.path / "more").write_bytes(b"0" * left)
    ending = there.zygote.run("evaluate", "run", "--features", "pixels", "--trust", "--json", cwd=there.path)
    assert done(ending, r"not kept: cannot write run/metrics.jsonl: No space left on device")["metrics"]
    ending = there.zygote.run("report", "run", "--json", cwd=there.path)
    refused(ending, 3, r"cannot write run/report.html: No space left on device: 0\.\d\d MB are needed, 0\.00 MB are")
    ending = there.zygote.run("sample", "run", "--out", "x.png", "--json", cwd=there.path)
    refused(ending, 3, r"cannot write x.png: No space left on device: 0\.\d\d MB are needed, 0\.00 MB are free")
    assert not list(there.path.rglob("*.tmp"))


@pytest.mark.parametrize("limit", [8000, *(pytest.param(size, marks=slow) for size in range(500, 16000, 500))])
def test_a_file_that_may_grow_no_further_is_named(calm, new, limit):
    there = new()
    ending = there.zygote.run(*TRAIN, cwd=there.path, report=False, limits={"FSIZE": limit})
    if ending.code:
        refused(ending, 3, r"cannot (write|save) run/\S+: File too large")
    assert ending.code or limit > 8000
    goes_on(there, calm)


# --- closed folders and files ---------------------------------------------------------------------------------------


def closed(there, what, mode):
    """The same place, of another user, with something in it closed."""
    if ROOT:
        subprocess.run(["chown", "-R", "65534", str(there.path)], check=True)
    (there.path / what).chmod(mode)
    return there


@pytest.mark.parametrize(
    ("what", "mode"),
    [
        (".", 0o555),
        ("run", 0o555),
        ("run/checkpoints", 0o555),
        pytest.param("run", 0, marks=slow),
        pytest.param("run/samples", 0o555, marks=slow),
        pytest.param("run/tensorboard", 0o555, marks=slow),
        pytest.param("run/checkpoints", 0, marks=slow),
        pytest.param("run/samples", 0, marks=slow),
        pytest.param("run/lock", 0o444, marks=slow),
        pytest.param("run/config.toml", 0, marks=slow),
    ],
)
def test_a_closed_folder_is_noticed_before_the_first_round(place, calm, new, what, mode):
    there = new()
    if what != ".":
        shutil.copytree(calm[0].run, there.run)
        (there.run / "tensorboard").mkdir()
    before = there.contents()
    ending = there.zygote.run(*TRAIN, "--rounds", "14", cwd=closed(there, what, mode).path, **OTHER)
    refused(ending, 2, "(Permission denied|no run that can be read)")
    (there.path / what).chmod(0o755)
    assert there.contents() == before


def test_a_run_that_can_only_be_read_is_evaluated_and_its_numbers_are_told(calm, new):
    there = new()
    shutil.copytree(calm[0].run, there.run)
    before = there.contents()
    subprocess.run(["chmod", "-R", "a-w", str(there.path)], check=True)

    def ask(*words):
        return there.zygote.run(*words, "--json", cwd=there.path, **OTHER)

    numbers = done(ask("evaluate", "run", "--features", "pixels", "--trust"), "not kept: .*metrics.jsonl: Permission")
    assert {"frechet", "precision", "copying"} <= {row["name"] for row in numbers["metrics"]}
    assert done(ask("diagnose", "run"))["verdicts"]
    refused(ask("report", "run"), 3, "cannot write run/report.html: Permission denied")
    refused(ask("sample", "run", "--out", "x.png"), 2, "cannot write x.png: Permission denied")
    assert there.contents() == before


@pytest.mark.parametrize(
    ("what", "says"),
    [("runs", "cannot look into runs: Permission denied"), ("runs/run", "it cannot be looked into")],
)
def test_a_closed_folder_of_runs_is_told(calm, new, what, says):
    there = new()
    shutil.copytree(calm[0].run, there.path / "runs" / "run")
    shutil.copytree(calm[0].run, there.path / "runs" / "open")
    ending = there.zygote.run("list", "runs", "--json", cwd=closed(there, what, 0).path, **OTHER)
    (there.path / what).chmod(0o755)
    if what == "runs":
        refused(ending, 3, says)
        return
    about = {row["name"]: row["about"] for row in done(ending)}
    assert about.keys() == {"run", "open"}
    assert says in about["run"]
    assert about["open"] == "12 of 12 rounds"


# --- memory ---------------------------------------------------------------------------------------------------------

WIDE = ("--set=nets.generator.width=1000", "--set=nets.discriminator.width=1000")
ADVICE = "there is not enough memory.*(Ask for fewer|[Mm]ake .*smaller)"


def test_a_thousand_million_samples_are_more_than_there_is_room_for(calm):
    words = ("sample", "run", "--out", "x.npz", "--json", "-n")
    for n, limit, code, says in (
        (10**9, 2 * 10**9, 2, r"1,000,000,000 samples take .* Ask for fewer"),
        (10**6, 10**7, 3, ADVICE),
    ):
        refused(calm[0].zygote.run(*words, n, cwd=calm[0].path, limits={"AS": limit}), code, says)
    assert not list(calm[0].path.glob("x*"))


def test_where_memory_is_short_in_a_save_the_one_before_is_whole(new):
    """safetensors would end the process there and then."""
    there = new()
    ending = there.zygote.run(*TRAIN, *WIDE, "--rounds", "2", cwd=there.path, report=False, limits={"AS": 100 * 10**6})
    refused(ending, 3, r"cannot save run/checkpoints/00000[02]: " + ADVICE)
    assert not list(there.run.rglob("*.tmp"))
    assert there.newest() in (None, 0)


@slow
@pytest.mark.timeout(900)
def test_wherever_memory_is_short_a_sentence_says_what_to_make_smaller(new):
    calm, there, said = new("calm"), new(), set()
    calm.train(*WIDE, "--rounds", "4", report=False)
    for more in range(10, 900, 15):
        ending = there.zygote.run(
            *TRAIN, *WIDE, "--rounds", "4", cwd=there.path, report=False, timeout=60, limits={"AS": more * 10**6}
        )
        assert not list(there.run.rglob("*.tmp"))
        there.newest()
        if ending.code == 0:
            break
        said.add(re.sub(r"\d", "", refused(ending, 3, ADVICE))[:12])
    assert more > 150
    assert {"cannot save "} < said
    assert not differing(there.contents(), calm.contents())


# --- streams --------------------------------------------------------------------------------------------------------

NOWHERE = ("closed", "pipe", "/dev/full")


def muted(there, out, err, *words):
    """The exit code of a command that speaks into nothing; what it says where it can be heard is no traceback."""
    ending = there.zygote.run(*words, cwd=there.path, out=out, err=err)
    assert "Traceback" not in ending.err + ending.out
    if out == "/dev/full" and err is None and ending.code == 3:
        assert re.fullmatch(r"(?s).*error: (the answer cannot be .*)?No space left on device\n", ending.err)
    return ending.code


def test_where_nobody_listens_a_command_does_its_work(calm):
    for stream in NOWHERE:
        assert muted(calm[0], stream, None, "diagnose", "run", "--json") == 3 * (stream == "/dev/full")
        assert muted(calm[0], stream, stream, "show", "nothing") == 2


@slow
@pytest.mark.parametrize("err", [None, *NOWHERE])
@pytest.mark.parametrize("out", [None, *NOWHERE])
def test_where_nobody_listens_every_command_does_its_work(calm, new, out, err):
    there, full = new(), 3 * (out == "/dev/full")
    assert there.zygote.run(*TRAIN, cwd=there.path, out=out, err=err, report=False).code == full
    assert not differing(there.contents(), calm[0].contents())
    for words in ("show digits", "list losses", "diagnose run", "report run", "sample run --force", "--help", "doctor",
                  "evaluate run --features pixels --json", "theory 1 --json"):  # fmt: skip
        assert muted(there, out, err, *words.split()) == full, words
    for words in ("show nothing", "train none", "frobnicate", "sample run -n 0 --json"):
        assert muted(there, out, err, *words.split()) == 2, words


@slow
@pytest.mark.parametrize(
    ("line", "codes"),
    [
        ("zerosum list recipes >&-", [0]),
        ("zerosum list nothing 2>&-", [2]),
        ("zerosum diagnose run >&- 2>&- <&-", [0]),
        ("zerosum show digits | head -1", [0, 0]),
        ("zerosum --help | head -1", [0, 0]),
        ("zerosum list recipes --json | true", [0, 0]),
        ("zerosum diagnose run --json > /dev/full", [3]),
        ("zerosum list nothing --json 2> /dev/full", [2]),
        ("zerosum train recipe.toml --out a >&-", [0]),
        ("zerosum train recipe.toml --out b 2>&-", [0]),
        ("zerosum train recipe.toml --out c >&- 2>&- <&-", [0]),
        ("zerosum train recipe.toml --out d 2>&1 | head -1", [0, 0]),
        ("zerosum evaluate run --features pixels > /dev/full", [3]),
        ("ulimit -n 7; zerosum list recipes", [0, 3]),
        ("ulimit -n 40; zerosum train recipe.toml --out e", [0]),
    ],
)
def test_a_shell_may_close_any_stream(calm, new, line, codes):
    there = new()
    shutil.copytree(calm[0].run, there.run)
    python = f'zerosum() {{ "{sys.executable}" -m zerosum "$@"; }}; '
    words = ["bash", "-c", python + line + "; echo ${PIPESTATUS[@]} > codes"]
    ended = subprocess.run(words, cwd=there.path, capture_output=True, text=True, check=False)
    found = [int(code) for code in (there.path / "codes").read_text().split()]
    assert found == codes or (line.startswith("ulimit -n 7") and found[0] in codes)
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr
    assert all((out / "report.html").is_file() for out in there.path.glob("[a-e]"))


# --- limits, names, the environment ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "most", [6, *(pytest.param(most, marks=slow) for most in (3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14))]
)
def test_where_too_few_files_may_be_open_that_is_said(calm, new, most):
    there = new()
    ending = there.zygote.run(*TRAIN, cwd=there.path, report=False, limits={"NOFILE": most})
    assert ending.code in (0, 3)
    if ending.code or most < 8:
        refused(ending, 3, r"Too many open files(. `ulimit -n` says how many|\n)")
    goes_on(there, calm)


@pytest.mark.parametrize("name", ["x\udcff", *(pytest.param(name, marks=slow) for name in ("", "a\0b"))])
def test_a_name_that_is_no_text_is_refused(calm, new, name):
    there = new()
    shutil.copy(there.path / "recipe.toml", there.path / "r.toml")
    before = sorted(there.path.rglob("*"))
    for words in (("train", "r.toml"), ("sample", calm[0].run), ("report", calm[0].run)):
        ending = there.zygote.run(*words, "--json", "--out", name, cwd=there.path)
        refused(ending, 2, "--out (is empty|.*the name holds bytes that are no UTF-8 text)")
    assert sorted(there.path.rglob("*")) == before


@pytest.mark.parametrize("size", ["abc", "2", *(pytest.param(x, marks=slow) for x in ("0", "-1", "", "1e3", "9" * 20))])
def test_an_odd_number_of_processes_is_refused(calm, size):
    for words in (TRAIN, ("list", "recipes", "--json")):
        ending = calm[0].zygote.run(*words, cwd=calm[0].path, env={"WORLD_SIZE": size})
        refused(ending, 2, f"WORLD_SIZE = .*{size}.* in the environment .*unset WORLD_SIZE")


@slow
@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "rubbish", "TkAgg", ""])
def test_pictures_are_drawn_whatever_display_the_environment_asks_for(new, backend):
    there = new()
    words = [sys.executable, "-m", "zerosum", "train", "ring", "--rounds=2", "--device=cpu", "--out=run"]
    env = os.environ | {"MPLBACKEND": backend}
    ended = subprocess.run(words, cwd=there.path, capture_output=True, text=True, check=False, env=env)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (there.run / "samples/000002.png").stat().st_size > 1000


# --- a folder that is deleted ---------------------------------------------------------------------------------------


def deleted(calm, new, number):
    there = new(number)
    ending = there.zygote.run(*TRAIN, cwd=there.path, report=False, at={number: "rm -r run"})
    assert not there.run.exists()
    return refused(ending, 3, "run folder is no longer there")


def test_a_run_folder_that_is_deleted_meanwhile_is_missed_in_a_sentence(calm, new):
    operations = calm[1]
    places = "write run/readings.jsonl", "write run/checkpoints/TEMPORARY/state.json"
    for last in places:
        deleted(calm, new, len(operations) - operations[::-1].index(last) - 1)


@slow
def test_a_run_folder_that_is_deleted_at_any_operation_is_missed_in_a_sentence(calm, new):
    for number in range(14, len(calm[1]) - 1, 3):
        deleted(calm, new, number)


@slow
def test_a_run_folder_that_is_deleted_with_its_events_open_is_missed_in_a_sentence(new):
    """TensorBoard's files are written by a thread of their own."""
    there = new()
    words = [sys.executable, "-m", "zerosum", *TRAIN, "--rounds", "100000"]
    with subprocess.Popen(words, cwd=there.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while not list(there.run.glob("tensorboard/events*")) and time.monotonic() < end:
            time.sleep(0.05)
        shutil.rmtree(there.run, ignore_errors=True)
        out, err = process.communicate(timeout=120)
    refused(KILLS["Ending"](process.returncode, out, err, []), 3, "no longer there")
    assert "Exception" not in err


# --- signals --------------------------------------------------------------------------------------------------------


def sent(there, calm, name, *after, **how):
    """A training that is sent a signal while it writes its first readings, and so many operations later."""
    first = calm[1].index("write run/readings.jsonl")
    at = {first + more: f"kill -{name} $CHILD" for more in (0, *after)}
    return there.zygote.run(*TRAIN, cwd=there.path, report=False, at=at, **how)


@pytest.mark.parametrize("name", ["HUP", *(pytest.param(name, marks=slow) for name in ("TERM", "INT"))])
def test_a_signal_ends_the_round_and_saves_it_and_a_second_ends_at_once(calm, new, name):
    number = getattr(signal, f"SIG{name}")
    there = new()
    error = refused(sent(there, calm, name), 128 + number, "stopped after round 4; everything is saved in run")
    assert "go on with: zerosum train recipe.toml --out run --json" in error
    assert there.newest() == 4
    assert not list(there.run.rglob("*.tmp"))
    there.train(report=False)
    assert there.newest() == 12
    there = new("twice")
    ending = sent(there, calm, name, 5)
    assert (ending.code, ending.err) == ((130, "stopped\n") if name == "INT" else (-number, ""))
    assert there.newest() == 0
    there.train(report=False)
    assert not differing(there.contents(), calm[0].contents())


def test_a_signal_that_is_to_be_ignored_is_ignored(calm, new):
    """As `nohup` asks, and a shell for what it runs in the background."""
    there = new()
    assert done(sent(there, calm, "HUP", 9, ignore=["SIGHUP"]))["rounds"] == 12
    assert not differing(there.contents(), calm[0].contents())


@slow
def test_nohup_keeps_a_training_going(new):
    there = new()
    words = ["nohup", sys.executable, "-m", "zerosum", *TRAIN, "--rounds", "1500"]
    with subprocess.Popen(words, cwd=there.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not there.newest():
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "stopped after round" in err
    assert json.loads(out)["exit_code"] == 143


def test_a_sweep_that_passes_over_errors_ends_where_a_signal_asks_for_it(settings, tmp_path):
    """An error of one run is passed over; a signal ends the sweep, with the run saved."""
    ended = []

    def sweep():
        for rate in (1e30, 1e-3, 1e-4):
            folder = RunFolder(tmp_path / str(rate))
            try:
                for moment in loop.fit(settings(f"optimizers.generator.lr={rate}", "train.log_every=1"), folder):
                    if moment.round == 5:
                        os.kill(os.getpid(), signal.SIGTERM)
            except ZerosumError:
                ended.append("an error")
            except Exception as error:
                ended.append(error)

    with pytest.raises(Stopped) as caught:
        sweep()
    assert ended == ["an error"]
    assert caught.value.exit_code == 143
    assert (tmp_path / "0.001/checkpoints/000006").is_dir()
    assert not (tmp_path / "0.0001").exists()
