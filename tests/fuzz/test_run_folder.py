"""Files of a run folder that are damaged or hold something odd: named and passed over, or refused in a sentence.

Reading commands change no file but the one they write; what is not damaged in readings.jsonl outlives a resume. A case
follows from its number alone.
"""

import json
import shutil
import tomllib

import numpy as np
import pytest
import tomli_w

from zerosum import config, health, report
from zerosum.cli import listing
from zerosum.errors import CheckpointError, ConfigError, DataError, RunError, SystemFault, Untrusted, printable
from zerosum.report import curves, images
from zerosum.report.facts import facts, repeat
from zerosum.report.measured import measure
from zerosum.report.verdicts import verdicts
from zerosum.resolved import look_up, resolve
from zerosum.run import RunFolder, read, read_metrics, trust
from zerosum.run.journal import reading_fault
from zerosum.sampling import Sampler
from zerosum.training.loop import fit

SMALL = ["nets.generator.width=8", "nets.discriminator.width=8", "latent.size=4", "game.batch=8", "train.threads=1"]
OFTEN = ["train.device=cpu", "train.rounds=12", "train.log_every=1", "train.check_every=12", "train.sample_every=6"]
TABLES = ("readings.jsonl", "metrics.jsonl")
TREES = ("environment.json", "verdicts.json")
PICTURES = ("samples/000006.png", "samples/000012.png", "samples/real.png")
FILES = (*TABLES, *TABLES, "readings.jsonl", *TREES, "config.toml", "config.toml", *PICTURES)
ODD = (None, True, False, 0, -1, 1, 12, 2.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), 10**30, 2**63, 10**400)
ODD += (
    "",
    "x",
    "\x1b[2J",
    "\ud800",
    "<b>",
    "x" * 5000,
    "nan",
    "1",
    [],
    [1],
    [[]],
    [None],
    ["x"] * 99,
    {},
    {"a": {}},
    [1e308] * 9,
)
ODD += ([float("nan")], {"round": 1}, "\u202e", -0.0, "nearest", "nearest x", 1e-320, "critic value", "0" * 32)
RAW = (
    b"\0",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"{",
    b"}",
    b"[" * 5000,
    b'"',
    b",",
    b"\xff",
    b"\xef\xbb\xbf",
    b"5\n",
    b"{}\n",
    b"[]\n",
    b"null\n",
)
RAW += (
    b'{"round": 1}\n',
    b'{"round": 1, "metrics": []}\n',
    b"x" * 9000,
    b"1e999\n",
    b"\xed\xa0\x80",
    b"9" * 5000 + b"\n",
    b"NaN\n",
)


def pick(rng, among):
    return among[rng.integers(len(among))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with metrics, and checkups enough for a diagnosis: the one that there was, again and again."""
    folder = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    list(fit(resolve(config.load("digits", [*SMALL, *OFTEN])), folder))
    lines = [json.loads(line) for line in folder.readings.read_text().splitlines()]
    for line in lines:
        line["signs"] = lines[-1]["signs"]
    folder.readings.write_text("".join(json.dumps(line) + "\n" for line in lines))
    row = {"name": "density", "value": 0.5, "error": 0.1, "real": 1.0, "noise": 0.0, "n": 60, "features": "pixels-0"}
    rows = [row | {"better": "nearest 1", "note": ""}, row | {"name": "frechet", "better": "lower", "value": None}]
    folder.metrics.write_text(json.dumps({"round": 12, "metrics": rows}) + "\n")
    health.diagnose_run(folder)
    return folder


@pytest.fixture
def place(whole, tmp_path, monkeypatch):
    """A copy of that run under runs/, not trusted there."""
    shutil.copytree(whole.path, tmp_path / "runs" / "run", ignore=shutil.ignore_patterns("tensorboard"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(curves, "equilibrium_values", remembered(curves.equilibrium_values))  # slow
    return RunFolder(tmp_path / "runs" / "run")


def remembered(function):
    """The same function of settings, called once for the same ones."""
    known = {}

    def once(settings):
        key = settings.model_dump_json()
        if key not in known:
            known[key] = function(settings)
        return known[key]

    return once


def odd(value, rng):
    """The same tree with something odd in it."""
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key, end = pick(rng, list(value)), rng.random()
        if end < 0.1:
            return {other: one for other, one in value.items() if other != key}
        if end < 0.25:
            return value | {str(pick(rng, ODD)): pick(rng, ODD)}
        return value | {key: odd(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = int(rng.integers(len(value)))
        return [*value[:at], odd(value[at], rng), *value[at + 1 :]]
    return pick(rng, ODD)


def odd_settings(content, rng):
    """TOML knows no null, and whole numbers of 64 bits."""
    tree = odd(tomllib.loads(content.decode()), rng)
    try:
        return tomli_w.dumps(tree).encode()
    except (TypeError, ValueError, AttributeError):
        return content + b"\nodd = " + repr(tree).encode(errors="replace")[:200]


def damaged(content, rng):
    """Bytes that were changed, cut, doubled or put in."""
    out = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(out) + 1))
        end = min(len(out), at + int(pick(rng, (1, 9, 300))))
        way = rng.integers(6)
        if way == 0:
            out[at:end] = rng.bytes(end - at)
        elif way == 1:
            del out[at:end]
        elif way == 2:
            out[at:at] = pick(rng, RAW)
        elif way == 3:
            del out[at:]
        elif way == 4:
            out[at:at] = out[at:end]
        elif at < len(out):
            out[at] ^= 1 << rng.integers(8)
    return bytes(out)


def lines_of(content, rng):
    """A line that is another: odd, twice, gone, moved, or of other bytes."""
    lines = content.splitlines(keepends=True)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(lines))) if lines else 0
        way = rng.integers(6)
        if not lines or way == 0:
            lines.insert(at, pick(rng, RAW))
        elif way == 1:
            lines.append(lines[at])
        elif way == 2:
            lines.insert(0, lines.pop(at))
        elif way == 3:
            del lines[at]
        else:
            try:
                lines[at] = json.dumps(odd(json.loads(lines[at]), rng)).encode() + b"\n"
            except (ValueError, RecursionError):
                lines[at] = lines[at][::-1]
    return b"".join(lines)


def changed(folder, number):
    """Change a file of the run; its name."""
    rng = np.random.default_rng([10, number])
    name = pick(rng, FILES)
    content = (folder.path / name).read_bytes()
    way = rng.random()
    if way < 0.35 or name in PICTURES:
        content = damaged(content, rng)
    elif name in TABLES:
        content = lines_of(content, rng)
    elif name in TREES:
        content = json.dumps(odd(json.loads(content), rng)).encode()
    else:
        content = odd_settings(content, rng)
    (folder.path / name).write_bytes(content)
    return name


REFUSED = (RunError, CheckpointError, Untrusted, ConfigError)
"""What a damaged config.toml may end in, and an environment.json with another run in it; nothing else ends anything."""


def looked_at(folder, said):
    """What sampling, a diagnosis, the list and the parts of a report that read files say, without writing."""
    settings = folder.read_config()
    with trust.permitted(folder, settings):
        sampler = Sampler.load(folder.path, say=said.append)
    assert len(sampler.draw(2)) == 2
    readings = read(folder, said.append)
    assert all(not reading_fault(line) for line in readings)
    assert health.diagnose(readings, settings)
    assert health.finished(readings) in (True, False)
    for chart in curves.charts(readings, settings):
        assert chart.lines
    curves.note(settings)
    told = facts(folder, settings, readings, None, said.append)
    assert all(isinstance(text, str) for text in told.values())
    assert repeat(folder)
    found = verdicts(folder, said.append)
    assert found is None or found.summary
    for line in read_metrics(folder, said.append):
        assert all(measure(row).name for row in line["metrics"])
    assert all(frame.width for frame in images.frames(folder, say=said.append))
    images.real(folder, said.append)


def sentence(text):
    assert printable(text).encode()
    for word in ("Traceback", "Type-check", "validation error"):
        assert word not in text


def read_by_everyone(numbers, place, unchanged, whole, reports):
    """How often all could be read, and how often it ended in a sentence; sometimes as whole commands do it."""
    ends = {"read": 0, "refused": 0, "named": 0}
    for number in numbers:
        name = changed(place, number)
        said = []
        with unchanged(place.path):
            try:
                looked_at(place, said)
                ends["read"] += 1
            except REFUSED as error:
                assert name in ("config.toml", "environment.json"), number
                sentence(str(error))
                ends["refused"] += 1
            rows = listing.runs()
        assert [row["name"] for row in rows] == ["run"], number
        ends["named"] += bool(said)
        [sentence(text) for text in said]
        written = by_whole_commands(place, number) if number % reports == 0 else ()
        for path in whole.path.rglob("*"):  # whole again, and nothing else was changed
            other = place.path / path.relative_to(whole.path)
            if path.is_file() and "tensorboard" not in path.parts:
                same = other.read_bytes() == path.read_bytes()
                assert same or path.name in (name.split("/")[-1], *written), (number, path.name)
                if not same:
                    shutil.copyfile(path, other)
    return ends


def by_whole_commands(place, number):
    """A diagnosis and a report, written; the names of their files."""
    for command in (health.diagnose_run, report.write):
        try:
            command(place)
        except (*REFUSED, DataError, SystemFault) as error:
            sentence(str(error))
    place.report.unlink(missing_ok=True)
    return ("verdicts.json",)


def resumed(numbers, whole, tmp_path):
    """Go on with the training of each; readings that were well are well in the end, in their order."""
    for number in numbers:
        folder = RunFolder(tmp_path / f"run{number}")
        shutil.copytree(whole.path, folder.path, ignore=shutil.ignore_patterns("tensorboard"))
        name = changed(folder, number)
        before = folder.readings.read_bytes().split(b"\n")
        others = {path: path.read_bytes() for path in (folder.metrics, folder.checkpoints / "000000" / "state.json")}
        settings = config.with_train(whole.read_config(), rounds=13)
        try:
            list(fit(look_up(settings), folder, say=sentence))
        except (RunError, CheckpointError) as error:
            assert name in ("config.toml", "environment.json"), number
            sentence(str(error))
            assert folder.readings.read_bytes().split(b"\n") == before
            continue
        well = [line for line in before if is_reading(line, 12)]
        after = folder.readings.read_bytes().split(b"\n")
        kept = [line for line in after if is_reading(line, 12)]
        assert kept == well, number
        assert all(line in after for line in before[:-1] if line.strip() and not is_reading(line, 10**9)), number
        assert [json.loads(line)["round"] for line in after if is_reading(line, 13)][-1] == 13
        assert all(path.read_bytes() == content for path, content in others.items()), number
        shutil.rmtree(folder.path)


def is_reading(line, step):
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return not reading_fault(value) and value["round"] <= step


def test_odd_files_are_named_or_refused(place, unchanged, whole, bounded):
    with bounded(300):
        ends = read_by_everyone(range(70), place, unchanged, whole, reports=20)
    assert min(ends.values()) > 5


def test_a_resume_keeps_every_reading_that_is_well(whole, tmp_path):
    resumed(range(1000, 1006), whole, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stretch", range(5))
def test_many_odd_files_are_named_or_refused(place, unchanged, whole, bounded, stretch):
    with bounded(300):
        read_by_everyone(range(10_000 + 250 * stretch, 10_250 + 250 * stretch), place, unchanged, whole, reports=5)


@pytest.mark.slow
def test_many_resumes_keep_every_reading_that_is_well(whole, tmp_path):
    resumed(range(20_000, 20_250), whole, tmp_path)
