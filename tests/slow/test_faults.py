"""Killed at every operation that changes the disk, and at random: the run ends as one that was never killed.

"As" is meant of every file: tensors by their sha256, settings, readings less their times, sheets, verdicts, the report,
and which names there are: no half-written file and no half-removed checkpoint stays.
"""

import random
import re
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

KILLS = runpy.run_path(str(Path(__file__).with_name("kills.py")))
differing, places, points, saved_before, spread = (
    KILLS[name] for name in ("differing", "places", "points", "saved_before", "spread")
)

SHORT = "save_every = 4\nlog_every = 3\ncheck_every = 1\nsample_every = 5\nrounds = 12"
LONG = "save_every = 10\nlog_every = 7\ncheck_every = 40\nsample_every = 90\nrounds = 6000"
TRAIN = ("train", "recipe.toml", "--out", "run")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(name, settings, data, width) -> a place to train in."""
    with places(tmp_path_factory.mktemp("places")) as make:
        yield make


@pytest.fixture(scope="module")
def calm(place):
    """The place of a run that nobody disturbed, and what it asked of the disk."""
    there = place("calm", SHORT)
    return there, there.train().operations


def judged(asked, disturb, expected, *less):
    """Every point of a command that changes what it should not, with the names of what it changes."""
    wrong = {}
    for point in asked:
        there = disturb(point)
        names = differing(there.contents(*less), {k: v for k, v in expected.items() if k not in less})
        wrong |= {point: names} if names else {}
    return wrong


def test_a_process_of_its_own_plays_the_run_that_is_compared_with(place, calm):
    there = place("own", SHORT)
    subprocess.run([sys.executable, "-m", "zerosum", *TRAIN], cwd=there.path, check=True, capture_output=True)
    mine = {name: what for name, what in there.contents().items() if not name.startswith("tensorboard")}
    assert mine == calm[0].contents()


def test_killed_at_every_operation_a_training_ends_as_if_it_had_not_been(place, calm):
    whole, operations = calm
    last = max(number for number, one in enumerate(operations) if one.startswith("rename run/checkpoints"))
    expected, asked = whole.contents(), list(points(operations))

    def disturb(point):
        there = place(f"train {point}", SHORT)
        done = there.killed(die=point)
        assert done == operations[: point[0] + 1]
        assert there.newest() == saved_before(operations, point), point
        there.train(report=point[0] >= last)
        return there

    early, late = ([point for point in asked if (point[0] >= last) == late] for late in (False, True))
    assert len(asked) >= 200
    assert not judged(early, disturb, expected, "report.html")
    assert not judged(late, disturb, expected)


def test_killed_while_it_resumes_it_resumes_again(place, calm):
    """Twice in a row: the second kill at every operation of a start that has something to tidy up."""
    whole, operations = calm
    expected = whole.contents("report.html")
    halves = [point for point in points(operations) if point[1] == "half" and "checkpoints" in operations[point[0]]]
    first = halves[len(halves) // 2]  # in the middle of a checkpoint
    trial = place("resumed", SHORT)
    trial.killed(die=first)
    asked = list(points(trial.train(report=False).operations))

    def disturb(point):
        there = place(f"resumed {point}", SHORT)
        there.killed(die=first)
        before = there.newest()
        done = there.killed(die=point)
        assert there.newest() == max(before, saved_before(done, point) or 0), point
        there.train(report=False)
        return there

    assert len(asked) >= 100
    assert not judged(spread(asked, 80), disturb, expected)


def test_killed_again_and_again_and_at_any_operation(place, calm):
    """Every start of one run is killed, at an operation drawn at random; what survives is ahead of what was there."""
    rng, there, expected = random.Random(20140610), place("again", SHORT), calm[0].contents()
    rounds = [0]
    while rounds[-1] < 8:
        there.killed(die=(rng.randrange(90), "before"))
        rounds.append(there.newest() or 0)
    assert rounds == sorted(rounds)
    assert len(rounds) > 5
    there.train()
    assert not differing(there.contents(), expected)


def test_killed_at_any_time_a_run_ends_in_the_same_bits(place):
    """Kill -9 after a random while, in play, in a checkup, in a save; the digits, from start to end of one run."""
    calm, there = (place(name, LONG, '"digits"', 16) for name in ("long calm", "long killed"))
    calm.train()
    rng, rounds, kills = random.Random(1406), [0], 80
    for _ in range(kills):
        there.killed(kill_after=rng.uniform(0.05, 0.6))
        rounds.append(there.newest() or 0)
    ending = there.train()
    went_on = int(re.search(r"resumed from round (\d+)", ending.err)[1])
    assert rounds == sorted(rounds)
    assert went_on == rounds[-1] < 6000
    assert sum(before < after for before, after in pairwise(rounds)) > kills // 2, "most kills came in play"
    assert not differing(there.contents(), calm.contents())
    assert len(there.contents()["readings.jsonl"]) > 1000


def test_killed_while_it_starts_over_it_starts_over_again(place, calm):
    """--fresh on a run of other settings: whatever is left, the same command ends as in an empty folder."""
    whole, _ = calm
    expected = whole.contents("report.html")

    def other(name):
        there = place(name, SHORT)
        there.train("--seed", "7", "--rounds", "5")
        there.command("evaluate", "run", "--features", "pixels")
        return there

    trial = other("fresh")
    operations = trial.train("--fresh", report=False).operations
    last = max(number for number, one in enumerate(operations) if one.startswith("unlink"))
    assert not differing(trial.contents(), expected)

    def disturb(point):
        there = other(f"fresh {point}")
        there.killed(*TRAIN, "--fresh", die=point)
        there.train("--fresh", report=False)
        return there

    asked = [point for point in points(operations) if point[0] <= last]
    assert not judged(spread(asked, 60), disturb, expected)


def test_killed_while_it_plays_a_damaged_checkpoint_again_the_one_before_stays(place, calm):
    whole, _ = calm
    expected = whole.contents("report.html")

    def damaged(name):
        there = place(name, SHORT)
        there.train(report=False)
        with (there.run / "checkpoints/000012/average.safetensors").open("r+b") as file:
            file.seek(200)
            file.write(b"?")
        return there

    operations = damaged("damaged").train(report=False).operations

    def disturb(point):
        there = damaged(f"damaged {point}")
        there.killed(die=point)
        assert any(whole_one(path) for path in (there.run / "checkpoints").iterdir())
        there.train(report=False)
        return there

    assert not judged(spread(points(operations), 60), disturb, expected)


def whole_one(path):
    from zerosum import checkpoint
    from zerosum.errors import CheckpointError

    try:
        return bool(checkpoint.read(path))
    except (CheckpointError, ValueError):
        return False


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("report", "run"), "report.html"),
        (("report", "run", "--out", "there.html", "--force"), "../there.html"),
        (("diagnose", "run"), "verdicts.json"),
        (("evaluate", "run", "--features", "pixels"), "metrics.jsonl"),
        (("sample", "run", "-n", "9", "--out", "x.npz", "--force"), "../x.npz"),
        (("sample", "run", "-n", "9", "--out", "x.png", "--force"), "../x.png"),
    ],
)
def test_a_command_that_is_killed_leaves_its_file_as_it_was_or_as_it_is_to_be(place, calm, words, file):
    def begun(name):
        there = place(f"{words[0]} {Path(file).name} {name}", SHORT)
        there.train("--rounds", "4")
        there.command(*words)
        there.train(report=False)  # now there is more to say than the file says
        return there, (there.run / file).read_bytes()

    trial, old = begun("trial")
    operations = trial.command(*words).operations
    new = trial.contents()
    for point in points(operations):
        there, old = begun(point)
        before = there.contents(file)
        there.killed(*words, die=point)
        left = {name: what for name, what in there.contents(file).items() if not name.startswith(".zerosum-")}
        assert left == before, point
        found = (there.run / file).read_bytes()
        if found != old:
            assert point[0] >= max(number for number, one in enumerate(operations) if one.startswith("replace"))
        there.command(*words)
        there.train(report=False)  # sweeps up
        found = there.contents()
        if file == "metrics.jsonl" and len(found[file]) == 3:  # measured before it was killed, and once more
            assert found[file][1] == found[file].pop()
        assert not differing(found, new)
