"""What stands in the place of a run's files: links out of it, FIFOs, devices, folders, files without an end.

Nothing that lies outside is read or changed; what cannot be read is named and passed over, or ends the command with a
sentence.
"""

import os
import shutil
import socket
import struct
import zlib

import pytest

FILES = (
    "config.toml", "environment.json", "readings.jsonl", "metrics.jsonl", "verdicts.json", "report.html", "lock",
    "samples/000020.png", "samples/real.png",
)  # fmt: skip
FOLDERS = ("samples", "checkpoints", "tensorboard", "checkpoints/000020")
OF_A_CHECKPOINT = (
    "players.safetensors",
    "average.safetensors",
    "optimizers.safetensors",
    "state.json",
    "manifest.json",
)


def a_socket(path, _):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


KINDS = {
    "a link to a file": lambda path, outside: path.symlink_to(outside / "secret.txt"),
    "a link to a folder": lambda path, outside: path.symlink_to(outside / "folder"),
    "a link by a way round": lambda path, outside: path.symlink_to(os.path.relpath(outside / "folder", path.parent)),
    "a link to nothing": lambda path, outside: path.symlink_to(outside / "new"),
    "a link to itself": lambda path, _: path.symlink_to(path.name),
    "a link to a device": lambda path, _: path.symlink_to("/dev/zero"),
    "a link to memory": lambda path, _: path.symlink_to("/proc/self/mem"),
    "a link to a terminal": lambda path, _: path.symlink_to("/dev/tty"),
    "a FIFO": lambda path, _: os.mkfifo(path),
    "a socket": a_socket,
    "a folder": lambda path, _: path.mkdir(),
    "a folder that is not empty": lambda path, _: (path / "a" / "b").mkdir(parents=True),
    "a file of a TB": lambda path, _: sparse(path, 2**40),
    "a file of 150 MB": lambda path, _: sparse(path, 150 * 2**20),
    "an empty file": lambda path, _: path.touch(),
    "a twin of a file": lambda path, outside: os.link(outside / "secret.txt", path),
    "noise": lambda path, _: path.write_bytes(os.urandom(999)),
}


def sparse(path, size):
    path.touch()
    os.truncate(path, size)


def replaced(place, name, kind, monkeypatch):
    path = place.run / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    monkeypatch.chdir(path.parent)  # a socket's name is short
    KINDS[kind](path, place.outside)


WORDS = {
    "sample": ["sample", "evil", "--out", "made/x.png", "--force"],
    "report": ["report", "evil"],
    "diagnose": ["diagnose", "evil"],
    "list": ["list", "runs"],
    "evaluate": ["evaluate", "evil", "-n", "50", "--features=pixels"],
}
LOOKS_AT = {
    "environment.json": ["sample", "report"],
    "readings.jsonl": ["diagnose", "list"],
    "metrics.jsonl": ["evaluate"],
    "verdicts.json": ["diagnose", "report"],
    "report.html": ["report"],
    "lock": ["sample"],
    "samples/000020.png": ["report"],
    "samples/real.png": ["report"],
    "samples": ["report"],
    "tensorboard": ["sample"],
    "checkpoints": ["sample", "evaluate"],
    "checkpoints/000020": ["sample", "list"],
}
"""Which commands open it, or what lies in it."""


def codes(command, place, *names):
    """Exit codes of commands."""
    return [command(place, *WORDS[name], "--json").code for name in names or WORDS]


@pytest.mark.thin(6)
@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_are_no_file(command, place, monkeypatch, kind):
    replaced(place, "config.toml", kind, monkeypatch)
    if kind == "an empty file":  # the settings of another run
        assert codes(command, place) == [3, 3, 0, 0, 3]
    else:
        assert codes(command, place) == [2, 2, 2, 0, 2]


def some(names, every):
    """A part of the kinds for each name, others for its neighbours; the worst for all."""
    worst = {"a link to a file", "a FIFO"}
    turns = [(name, kind, (one + other) % every) for one, name in enumerate(names) for other, kind in enumerate(KINDS)]
    return [pytest.param(name, kind, id=f"{name} is {kind}") for name, kind, turn in turns if not turn or kind in worst]


@pytest.mark.thin(9)
@pytest.mark.parametrize(("name", "kind"), some(FILES[1:], 5))
def test_a_file_that_is_none(command, place, monkeypatch, name, kind):
    replaced(place, name, kind, monkeypatch)
    in_the_way = name == "report.html" and kind in ("a folder", "a folder that is not empty")
    assert set(codes(command, place, *LOOKS_AT[name])) == {3 if in_the_way else 0}


@pytest.mark.thin(4)
@pytest.mark.parametrize(("name", "kind"), some(FOLDERS, 3))
def test_a_folder_that_is_none(command, place, monkeypatch, name, kind):
    if name == "checkpoints/000020":
        place.is_single()
    replaced(place, name, kind, monkeypatch)
    needed = name.startswith("checkpoints")
    assert codes(command, place, *LOOKS_AT[name])[0] == (3 if needed else 0)


def test_a_folder_of_nothing_but_links(command, place):
    for name in (*FILES[1:7], *FOLDERS[:3]):
        path = place.run / name
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
        path.symlink_to(place.outside / ("folder" if name in FOLDERS else "secret.txt"))
    assert codes(command, place) == [3, 3, 0, 0, 3]


@pytest.mark.thin(4)
@pytest.mark.parametrize(("name", "kind"), some(OF_A_CHECKPOINT, 3))
def test_a_file_of_a_checkpoint_that_is_none(command, place, monkeypatch, name, kind):
    replaced(place, f"checkpoints/000020/{name}", kind, monkeypatch)
    ended = command(place, "sample", "evil", "--out", "made/x.png", "--json")
    assert ended.code == 0
    assert '"round": 10' in ended.out
    assert "checkpoint 000020 is damaged" in ended.err


STOPPED = {
    "readings.jsonl": (3, "SystemFault"),
    "lock": (2, "RunError"),
    "samples": (2, "RunError"),
    "checkpoints": (2, "RunError"),
    "tensorboard": (2, "RunError"),
    "checkpoints/000020": (3, "CheckpointError"),
}
"""What keeps a training from going on: what it would have to write through, or cannot read and would lose."""


@pytest.mark.thin(5)
@pytest.mark.parametrize("name", [*FILES[1:], *FOLDERS])
def test_a_training_writes_nothing_outside_either(command, place, monkeypatch, name):
    """`train --out` on a run from elsewhere: whatever it takes it for, it writes inside or not at all."""
    (place.made / "recipe.toml").write_bytes((place.run / "config.toml").read_bytes())
    replaced(place, name, "a link to a folder" if name in FOLDERS else "a link to a file", monkeypatch)
    ended = command(place, "train", "made/recipe.toml", "--out", "runs/evil", "--rounds=21", "--json")
    assert (ended.code, ended.kind) == STOPPED.get(name, (0, None))


def test_pictures_that_claim_to_be_enormous(command, place):
    chunk = lambda kind, body: struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    sizes = [(2**31 - 1, 2**31 - 1), (50_000, 50_000), (12_000, 12_000), (10_000, 10_000), (0, 5), (1, 2**30)]
    for number, size in enumerate(sizes):
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 6, 0, 0, 0))
        note = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))
        body = chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
        (place.run / "samples" / f"{number:06d}.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + head + note * (number % 2) + body
        )
    ended = command(place, "report", "evil")
    assert ended.code == 0
    assert ended.err.count("is no picture that can be shown") == len(sizes)


def test_pictures_that_are_not_ours_are_passed_over(command, place):
    picture = place.run / "samples" / "000020.png"
    for name in (
        "000020 (copy).png",
        "1.png",
        "\u0660\u0661\u0662\u0663\u0664\u0665.png",
        "-00001.png",
        "x\x1b[2J.png",
    ):
        shutil.copy(picture, picture.with_name(name))
    (picture.parent / "000015.png").symlink_to(place.outside / "folder" / "picture.png")
    (picture.parent / "000016.png").mkdir()
    ended = command(place, "report", "evil")
    assert ended.code == 0
    assert ended.err.count("is no picture that a training wrote") == 7


def test_millions_of_lines(command, place):
    (place.run / "readings.jsonl").write_text('{"round":1}\n' * (2**21 + 1))
    (place.run / "metrics.jsonl").write_text("5\n" * (2**21 + 1))
    ended = command(place, "report", "evil")
    assert ended.code == 0
    assert ended.err.count("it has 2,097,153 lines, at most 2,097,152 are read") == 2
