"""Many processes through every door: the command line, Python, scripts under torchrun, two machines."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import zerosum as zs
from zerosum import build, checkpoint, config
from zerosum.cli.launch import launch
from zerosum.engine import Compute, World, join_world, world
from zerosum.errors import ConfigError, ZerosumError
from zerosum.resolved import resolve
from zerosum.sampling import Sampler
from zerosum.training import recorder

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
SMALL = ["nets.generator.width=16", "nets.discriminator.width=16", "game.batch=16", "train.threads=1"]
SHARING = """
import hashlib, json, os, pathlib, sys
import zerosum as zs
run = zs.load(sys.argv[1])
samples = run.sample(700, seed=3)
rows = run.evaluate(200, features=sys.argv[2])
told = {row.name: [row.value, row.error, row.real, row.noise] for row in rows}
facts = {"samples": hashlib.sha256(samples.array.tobytes()).hexdigest(), "rows": told}
pathlib.Path(sys.argv[3] + os.environ.get("RANK", "")).write_text(json.dumps(facts))
"""


def sets(*more):
    return [word for text in [*SMALL, *more] for word in ("--set", text)]


def weights(folder):
    return checkpoint.load(folder / "checkpoints").tensors["players"]


def run(command, **how):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **how)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    return zs.train("digits", rounds=30, out=folder, set=SMALL, report=False, say=lambda _: None)


@pytest.mark.parametrize("features", ["pixels", pytest.param("classifier", marks=pytest.mark.slow)])
def test_processes_share_samples_and_an_evaluation(trained, tmp_path, monkeypatch, features):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = tmp_path / "sharing.py"
    script.write_text(SHARING)
    monkeypatch.setattr("sys.argv", [str(script), str(trained.path), features, str(tmp_path / "alone")])
    exec(SHARING, {})
    before = (trained.path / "metrics.jsonl").read_text().splitlines()
    both = run([*TORCHRUN, "--standalone", "--nproc-per-node=2", script, trained.path, features, tmp_path / "rank"])
    assert both.returncode == 0, both.stderr
    one, *two = (json.loads((tmp_path / name).read_text()) for name in ("alone", "rank0", "rank1"))
    for other in two:
        assert other["samples"] == one["samples"]
        assert other["rows"].keys() == one["rows"].keys()
        for name, values in one["rows"].items():
            np.testing.assert_allclose(other["rows"][name], values, rtol=1e-6, err_msg=name)
    assert len((trained.path / "metrics.jsonl").read_text().splitlines()) == len(before) + 1, "the leader wrote it down"


def test_samples_dealt_out_are_in_order(trained):
    """Of every seed, whoever makes them: a team whose other member is played by hand."""
    sampler = Sampler.load(trained.path)
    whole = sampler.draw(700, seed=1).array
    blocks = [sampler.draw(256 * (block + 1), seed=1).array[256 * block :] for block in range(3)]
    assert np.array_equal(np.concatenate(blocks)[:700], whole)


def test_python_starts_processes(calm, tmp_path, monkeypatch):
    folder, trained, heard = calm
    monkeypatch.chdir(folder)
    assert trained.path == Path("runs/small")
    assert "2 processes play, each 8 of the 32 samples of a batch at a time" in heard
    assert trained.config.train.processes == 2
    assert (trained.path / "report.html").exists()
    assert trained.sample(3).array.shape == (3, 2)
    shutil.copytree(folder, tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    with pytest.raises(ZerosumError, match="2 processes ended with exit code 3"):
        monkeypatch.setattr("subprocess.Popen.__init__", broken_data(tmp_path))
        zs.train("small.toml", rounds=trained.config.train.rounds + 10, processes=2, say=heard.append)


def broken_data(folder):
    """Damage every checkpoint before the processes start."""
    begin = subprocess.Popen.__init__

    def start(self, *given, **how):
        for file in folder.rglob("manifest.json"):
            file.write_text("damaged")
        begin(self, *given, **how)

    return start


def test_a_mistake_is_said_once_before_anything_is_started(zerosum, monkeypatch):
    monkeypatch.setattr("zerosum.cli.launch.launch", lambda *_: pytest.fail("processes were started"))
    code, _, errors = zerosum("train", "digits", "--processes", "2", "--set", "game.k=0")
    assert code == 2
    assert errors.count("game.k") == 1


@pytest.mark.parametrize(("python", "version"), [((3, 13, 0), "2.6.0+cu124"), ((3, 14, 1), "2.6.1")])
def test_a_torch_that_aborts_processes_is_refused_before_they_start(monkeypatch, python, version):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch, "__version__", version)
    for start in (lambda: launch(2, []), lambda: join_world(1.0).__enter__()):
        with monkeypatch.context() as during, pytest.raises(ConfigError, match=r"2\.7 or later .* or Python 3\.12"):
            during.setattr(sys, "version_info", python)
            start()


@pytest.mark.parametrize(
    ("python", "version"), [((3, 13, 0), "2.10.0"), ((3, 13, 5), "2.7.0a0+git"), ((3, 12, 9), "2.6.0")]
)
def test_every_other_torch_is_not(monkeypatch, python, version):
    monkeypatch.setattr(torch, "__version__", version)
    with monkeypatch.context() as during:
        during.setattr(sys, "version_info", python)
        world.refuse_aborting_torch()


def said_by_a_pair(program, tmp_path):
    """What two processes of a program of its own said, which ended with an error."""
    file = tmp_path / "other.py"
    file.write_text(program)
    done = run([*TORCHRUN, "--standalone", "--nproc-per-node=2", file, tmp_path / "run"])
    assert done.returncode != 0
    return done.stderr


@pytest.mark.slow
def test_processes_that_were_given_other_settings_are_named(tmp_path):
    said = said_by_a_pair(
        "import os, sys\nfrom zerosum.cli.main import main\n"
        "k = 1 + int(os.environ['RANK'])\n"
        "sys.argv[1:] = ['train', 'digits', '--out', sys.argv[1], '--set', f'game.k={k}']\nmain()",
        tmp_path,
    )
    assert "process 1 was given other settings than process 0 (there -> here):\n  game.k: 1 -> 2" in said


@pytest.mark.slow
def test_processes_that_see_other_data_are_named(tmp_path):
    said = said_by_a_pair(
        "import os, sys\nimport numpy as np\nfrom zerosum import data\nfrom zerosum.cli.main import main\n"
        "from zerosum.data import from_array\n"
        "rows = np.random.default_rng(int(os.environ['RANK'])).normal(size=(99, 2))\n"
        "data.DATASETS['ring'] = lambda: from_array(rows)\n"
        "sys.argv[1:] = ['train', 'ring', '--out', sys.argv[1], '--set', 'game.batch=9']\nmain()",
        tmp_path,
    )
    assert "the data of process 1 is not that of process 0" in said


@pytest.mark.parametrize(
    ("kind", "said"), [("process", "each process's own rows"), ("all", "the rows of all processes")]
)
def test_whose_rows_a_batch_is_normalised_over_is_said(kind, said):
    asked = ['data="digits"', "train.threads=1", "train.device=cpu", f"train.statistics={kind}"]
    setup = build.assemble(resolve(config.load("dcgan-mnist", asked)))
    assert list(recorder.multi_process_notes(setup)) == []
    two = World(0, 2)
    together = replace(setup, world=two, engine=Compute(setup.state, two.shards(64, 1), two, bfloat16=False))
    assert list(recorder.multi_process_notes(together)) == [
        "2 processes play, each 32 of the 64 samples of a batch at a time",
        f"batch normalization is over {said} (train.statistics = '{kind}')",
    ]


def can_make_hosts():
    return os.name == "posix" and os.geteuid() == 0 and shutil.which("ip") is not None


@pytest.fixture
def hosts():
    """Two network namespaces, joined by a cable: (name, address) of each."""
    if not can_make_hosts():
        pytest.skip("network namespaces need root and iproute2")
    names, tag = ("zs-a", "zs-b"), os.getpid() % 1000
    names = tuple(f"{name}-{tag}" for name in names)
    ip = lambda *words: subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: E731
    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError:
        pytest.skip("this machine lets nobody make network namespaces")
    try:
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield [(name, f"10.77.0.{number}") for number, name in enumerate(names, 1)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def test_two_hosts_without_a_common_disk_play_one_game(hosts, tmp_path):
    """The second writes nothing; together they end in the weights of one process."""
    train = [
        "-m",
        "zerosum",
        "train",
        "digits",
        "--out",
        "run",
        "--rounds",
        "30",
        "--json",
        *sets("train.precision=float64"),
    ]
    processes = []
    for number, (name, _) in enumerate(hosts):
        (tmp_path / name).mkdir()
        launcher = [*TORCHRUN, "--nnodes=2", f"--node-rank={number}", "--nproc-per-node=1"]
        meeting = [f"--master-addr={hosts[0][1]}", "--master-port=29517"]
        processes.append(
            subprocess.Popen(
                ["ip", "netns", "exec", name, *launcher, *meeting, *train],
                cwd=tmp_path / name,
                env={**os.environ, "GLOO_SOCKET_IFNAME": "cable", "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    told = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert json.loads(told[0][0])["rounds"] == 30
    assert told[1][0] == ""
    assert list((tmp_path / hosts[1][0]).iterdir()) == []
    one = zs.train("digits", rounds=30, out=tmp_path / "one", set=[*SMALL, "train.precision=float64"], report=False)
    for name, value in weights(tmp_path / hosts[0][0] / "run").items():
        assert (value - weights(one.path)[name]).abs().max() < 1e-9, name
