"""Code that the settings of a run from elsewhere name: none of it is imported, none of it is called."""

import codecs
import os
import pickle
import zlib

import pytest

import zerosum as zs
from zerosum.errors import Untrusted

SETTINGS = {
    "data": lambda name: {"data": {"name": name}},
    "nets": lambda name: {"nets": {"name": name}},
    "loss": lambda name: {"loss": {"name": name}},
    "penalty": lambda name: {"penalties": [{"name": "r1"}, {"name": name}]},
    "move of G": lambda name: {"optimizers": {"generator": {"name": name}}},
    "move of D": lambda name: {"optimizers": {"discriminator": {"name": name}}},
}
NAMES = [
    "payload:thing",  # in the working folder
    "runs.evil.payload:thing",  # in the run
    "runs.payload:thing",  # beside it
    "os:system",
]
ODD = [
    ".payload:thing", "..payload:thing", "payload:__class__.thing", "builtins:eval", ":",
    "payload:", ":payload", "payload:thing:thing",
    " payload:thing", "payload\n:thing", "payload\x1b[2J:thing",
    "runs/evil/payload:thing", "/payload:thing", "p\u0430yload:thing", "nt:system", "subprocess:Popen", "pickle:loads",
    "torch:load", "ctypes:CDLL", "zerosum.run.folder:erase", "payload:thing" + "x" * 1_000,
]  # fmt: skip
READING = {
    "sample": ["sample", "evil", "--out", "made/x.png"],
    "report": ["report", "evil"],
    "evaluate": ["evaluate", "evil", "-n", "50", "--features=pixels", "--data=digits"],
    "classes": ["evaluate", "evil", "--classes", "--features=pixels"],
}


def refused_everywhere(command, place, said=None):
    """Every command that builds what the settings name says what it would import; the others work."""
    for words in READING.values():
        ended = command(place, *words, "--json")
        assert (ended.code, ended.kind) == (3, "Untrusted"), words
        assert "not imported" in ended.err
        assert "--trust" in ended.err
        assert said is None or said in ended.err
    for words in (["diagnose", "evil"], ["list", "runs"]):
        assert command(place, *words, "--json").code == 0
    assert list(place.made.iterdir()) == []


@pytest.mark.thin(2)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_name_of_code_is_said_and_not_imported(command, place, setting, name):
    place.edit(lambda tree: tree.update(SETTINGS[setting](name)))
    refused_everywhere(command, place, f"= {name}")


@pytest.mark.thin(3)
@pytest.mark.parametrize("number", range(len(ODD)), ids=lambda number: ascii(ODD[number])[:30])
def test_an_odd_name_of_code_is_none_of_a_row(command, place, number):
    setting = [*SETTINGS][1 + number % 5]  # of data, a name may be a path: see test_paths.py
    place.edit(lambda tree: tree.update(SETTINGS[setting](ODD[number])))
    refused_everywhere(command, place)


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    "options",
    [
        {"name": "os:system", "command": "touch CANARY"},
        {"name": "builtins:exec", "source": "open('CANARY', 'w')"},
        {"name": "subprocess:run", "args": ["touch", "CANARY"]},
        {"name": "sklearn.datasets:load_files", "container_path": "/"},
        {"name": "numpy:load", "file": "runs/evil/pickle.npy", "allow_pickle": True},
        {"name": "torch:load", "f": "runs/evil/pickle.pt", "weights_only": False},
        {"name": "shutil:rmtree", "path": "../outside"},
    ],
    ids=lambda options: options["name"],
)
def test_options_reach_no_function_of_a_library(command, place, options):
    place.edit(lambda tree: tree.update(data=options, optimizers={"generator": options}))
    refused_everywhere(command, place, options["name"])


class Boom:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def test_a_pickle_that_a_data_set_of_a_library_would_open_stays_closed(command, place):
    boom = codecs.encode(pickle.dumps(Boom(place.canary)), "zlib_codec")
    assert zlib.decompress(boom)
    (place.run / "20news-bydate_py3.pkz").write_bytes(boom)
    home = {"data_home": "runs/evil", "download_if_missing": False}
    place.edit(lambda tree: tree.update(data={"name": "sklearn.datasets:fetch_20newsgroups", **home}))
    refused_everywhere(command, place, "fetch_20newsgroups")


@pytest.mark.thin(3)
@pytest.mark.parametrize("name", ["players.safetensors", "average.safetensors", "optimizers.safetensors"])
def test_a_pickle_in_the_place_of_tensors_is_named(command, place, name):
    place.is_single()
    (place.checkpoint / name).write_bytes(pickle.dumps(Boom(place.canary)))
    place.seal()
    ended = command(place, "sample", "evil", "--out", "made/x.png", "--json")
    kept = name == "average.safetensors"  # of the others only the sha256 is looked at
    assert (ended.code, ended.kind) == ((3, "CheckpointError") if kept else (0, None))


def test_modules_that_lie_in_the_run_take_nobodys_place(command, place):
    names = ("json", "torch", "tomllib", "numpy", "runs", "__init__", "sitecustomize", "usercustomize", "conftest")
    for name in (*names, "tensorboard", "sklearn", "zerosum"):
        (place.run / f"{name}.py").write_text(f"import os; open({str(place.canary)!r}, 'w').close()\n")
    (place.run / "evil.pth").write_text(f"import os; open({str(place.canary)!r}, 'w').close()\n")
    for words in (*READING.values(), ["diagnose", "evil"], ["list", "runs"]):
        assert command(place, *words).code == 0


def test_recipes_of_strangers_are_shown_copied_and_rehearsed_without_an_import(command, place):
    for setting in SETTINGS.values():
        recipe = place.made / "recipe.toml"
        recipe.write_bytes((place.run / "config.toml").read_bytes())
        place.edit(lambda tree, setting=setting: tree.update(setting("payload:thing")))
        recipe.write_bytes((place.run / "config.toml").read_bytes())
        assert command(place, "show", "made/recipe.toml", "--json").code == 0
        assert command(place, "copy", "made/recipe.toml", f"made/{len(list(place.made.iterdir()))}.toml").code == 0
        ended = command(place, "train", "made/recipe.toml", "--dry-run", "--json")
        assert (ended.code, ended.kind) == (3, "Untrusted")


def test_from_python_it_is_the_same(place, monkeypatch, watch):
    place.edit(lambda tree: tree.update(nets={"name": "payload:pair"}))
    monkeypatch.chdir(place.work)
    monkeypatch.syspath_prepend(place.work)
    with watch(place) as faults:
        run = zs.load("evil")
        for read in (run.sampler, lambda: run.sample(3), lambda: run.walk(3), run.report, run.evaluate, run.classes):
            with pytest.raises(Untrusted, match="nets.name = payload:pair"):
                read()
        assert run.diagnose()
        assert run.verdict()
        assert run.picture().name == "000020.png"
    assert faults == []


def test_a_user_who_trusts_it_gets_what_was_asked_for(place, monkeypatch):
    place.edit(lambda tree: tree.update(data={"name": "payload:data"}))
    monkeypatch.chdir(place.work)
    assert len(zs.load("evil", trust=True).sample(3)) == 3  # which needs no data
    assert not place.canary.exists()
    with pytest.raises(zs.ZerosumError, match="expected Data, found NoneType"):
        zs.load("evil", trust=True).evaluate(50)
    assert place.canary.exists()
