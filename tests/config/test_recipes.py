import sys

import pytest
import tomli_w
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from zerosum import config
from zerosum.cli import main
from zerosum.config import settings
from zerosum.config.recipes import check, differences, flat, load, override, parse
from zerosum.config.settings import Config
from zerosum.errors import ConfigError


def refusal(tree):
    with pytest.raises(ConfigError) as caught:
        check(tree)
    return str(caught.value)


def tree_of(text):
    """{"a": {"b": 1}} from "a.b=1"."""
    return override({}, [text])


@pytest.mark.parametrize("name", config.shipped())
def test_what_is_written_is_read_back(name):
    settings = load(name)
    assert check(parse(config.dumps(settings))) == settings


def test_what_is_absent_is_left_out_of_the_text_at_every_depth():
    sections = Config(nets=settings.Nets(generator={"depth": None, "width": 8}))
    assert "depth" not in config.dumps(sections)
    assert check(parse(config.dumps(sections))).nets.generator == {"width": 8}


@pytest.mark.parametrize(
    "section", [Config, *(type(part) for _, part in Config() if isinstance(part, settings.Section))]
)
def test_every_setting_says_what_it_is(section):
    own = [key for key, field in section.model_fields.items() if not field.description]
    assert [key for key in own if not isinstance(getattr(Config(), key, None), settings.Section)] == []


@pytest.mark.parametrize(
    ("text", "near"),
    [("trian.rounds=5", "train"), ("train.roundz=5", "rounds"), ("optimizers.generater=5", "generator")],
)
def test_an_unknown_setting_is_named_with_the_nearest_known_one(text, near):
    key = text.partition("=")[0].removesuffix(".rounds")
    assert f"{key} is not a setting. Did you mean '{near}'?" in refusal(tree_of(text))


def test_a_key_with_a_dot_in_it_is_named_whole():
    assert "a.b is not a setting. Known: about" in refusal({"a.b": 1})


def test_every_wrong_setting_gets_a_line():
    assert len(refusal({"trian": 1, "train": {"rounds": 0, "seed": -1}}).splitlines()) == 3


@pytest.mark.parametrize(
    "text",
    [
        "train.rounds=0",
        "train.rounds=1.5",
        "train.rounds=true",
        'train.rounds="5"',
        f"train.rounds={2**63}",
        "train.rounds=0x" + "f" * 5000,
        "train.minutes=nan",
        "train.minutes=inf",
        "train.threads=100000",
        "train.precision=int8",
        "train.device=3",
        "train.seed=-1",
        "latent.distribution=cauchy",
        "latent.size=0",
        "game.flip=1.1",
        "game.order=foo",
        "schedule.factor=0.0",
        "ema.half_life=-1.0",
        "nets.generator=3",
        "nets.name=",
        "loss.name=",
        "penalties=r1",
        "name=",
        "name=a/b",
        "name=.",
        "name=..",
        "name=" + "a" * 101,
        "about=3",
    ],
)
def test_a_wrong_value_is_named_with_its_path(text):
    key = text.partition("=")[0]
    assert f"the settings: {key} = " in refusal(tree_of(text))


@pytest.mark.parametrize("entry", [{"weight": -1.0}, {"every": 0}, {"weight": "x"}])
def test_a_wrong_value_in_a_list_is_named_with_its_place(entry):
    penalties = [{"name": "r1"}, {"name": "r2", **entry}]
    assert f"penalties.1.{next(iter(entry))} = " in refusal({"penalties": penalties})


def test_a_penalty_must_be_named():
    assert "penalties.0.name" in refusal({"penalties": [{"weight": 1.0}]})


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"game": {"order": "simultaneous", "k": 2}}, "k = 2 must be 1"),
        ({"latent": {"low": 1.0, "high": 1.0}}, "low = 1.0 must lie below high = 1.0"),
        ({"schedule": {"decay": "linear"}}, "needs end"),
        ({"schedule": {"decay": "cosine", "begin": 9, "end": 9}}, "after begin = 9"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tree, said):
    assert said in refusal(tree)


def test_the_neighbours_of_contradictions_are_fine():
    check({"game": {"order": "simultaneous", "k": 1}})
    check({"latent": {"low": 0.0, "high": 1.0}})
    check({"schedule": {"decay": "cosine", "begin": 9, "end": 10}})
    check({"schedule": {"decay": "exponential", "factor": 0.999}})


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("train.rounds=7", "train.rounds", 7),
        ("ema.half_life = 1e3", "ema.half_life", 1000.0),
        ("train.device=cpu", "train.device", "cpu"),
        ('train.device="cpu"', "train.device", "cpu"),
        ("about=a = b", "about", "a = b"),
        ("name=ring-2", "name", "ring-2"),
        ("loss=hinge", "loss.name", "hinge"),
        ("penalties.0.weight=2", "penalties.0.weight", 2.0),
        ("penalties.0=r1", "penalties.0.name", "r1"),
        ("data.modes=3", "data.modes", 3),
        ("nets.generator.width=9", "nets.generator.width", 9),
        ("optimizers.generator.betas=[0.5, 0.9]", "optimizers.generator.betas.0", 0.5),
    ],
)
def test_an_override_sets_one_value_and_leaves_the_others(text, key, value):
    tree = {
        "data": {"name": "ring", "modes": 8},
        "loss": "wasserstein",
        "nets": {"generator": {"width": 4, "depth": 1}},
        "penalties": [{"name": "r1+r2", "weight": 0.5}],
        "optimizers": {"generator": {"name": "adam", "betas": [0.0, 0.9]}},
        "ema": {"half_life": 5.0},
    }
    before, after = (flat(check(part).model_dump()) for part in (tree, override(tree, [text])))
    assert after[key] == value != before.get(key)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {
        key,
        *(name for name in before if name.startswith(f"{key.removesuffix('.name')}.")),
    }


def test_overrides_leave_the_tree_they_are_given_alone():
    tree = {"penalties": [{"name": "r1"}]}
    override(tree, ["penalties.0.weight=2", "train.rounds=1"])
    assert tree == {"penalties": [{"name": "r1"}]}


def test_the_last_override_wins():
    assert load("digits", ["train.rounds=3", "train.rounds=4"]).train.rounds == 4


def test_another_row_drops_the_options_of_the_one_before():
    tree = {"loss": {"name": "least-squares", "a": -1.0}}
    assert override(tree, ["loss.name=hinge"]) == {"loss": {"name": "hinge"}}
    assert override(tree, ["loss.name=least-squares"]) == tree


@pytest.mark.parametrize("name", config.shipped())
def test_a_recipe_under_another_name_is_the_same_recipe(name):
    assert flat(load(name, ["name=other"]).model_dump()) == flat(load(name).model_dump()) | {"name": "other"}


def test_options_without_a_name_belong_to_the_default_row():
    assert check(tree_of("loss.smoothing=0.1")).loss == settings.Choice(name="non-saturating", smoothing=0.1)
    assert check(tree_of("optimizers.generator.lr=0.1")).optimizers.generator.name == "adam"


@pytest.mark.parametrize(
    "text",
    ["", "=", "=3", "train.rounds", "train.=3", ".rounds=3", "train..rounds=3", "train.rounds.x=3",
     "penalties.9.weight=1", "penalties.x.weight=1", "penalties.-9=r1", "about=\udcff", "\udcff=1"],
)  # fmt: skip
def test_a_malformed_override_is_refused_and_quoted(text):
    with pytest.raises(ConfigError) as caught:
        load("digits", [text])
    assert text.encode("ascii", "backslashreplace").decode() in str(caught.value)


def test_a_recipe_is_a_known_name_or_a_toml_file(tmp_path):
    for recipe, said in (
        ("digit", "Did you mean 'digits'"),
        (str(tmp_path / "none.toml"), "cannot read"),
        (str(tmp_path / ("a" * 300 + ".toml")), "cannot read"),
        ("a\0.toml", "cannot read"),
    ):
        with pytest.raises(ConfigError, match=said):
            load(recipe)


def test_a_recipe_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(("stem", "name"), [("mine", "mine"), ("my own (2)", "my-own--2-"), ("a" * 150, "a" * 100)])
def test_a_recipe_without_a_name_is_called_as_its_file(tmp_path, stem, name):
    path = tmp_path / f"{stem}.toml"
    path.write_text("\ufefftrain.rounds = 3", encoding="utf-8")
    assert load(str(path)).name == name


@pytest.mark.parametrize("changeable", config.CHANGEABLE)
def test_free_settings_are_no_difference(changeable):
    old = load("digits")
    numbers = {"rounds": "99", "minutes": "1.0", "keep": "9", "check_every": "7", "processes": "2", "timeout": "9.0"}
    value = numbers.get(changeable.removeprefix("train."), "x")
    new = load("digits", [f"{changeable}={value}"])
    assert new != old
    assert differences(new, old) == []


def test_every_other_setting_that_differs_is_named_with_both_values():
    old = load("digits")
    new = load("digits", ["train.seed=5", "penalties.0.weight=2.5", "nets.discriminator.width=9", "loss=hinge"])
    assert differences(new, old) == [
        "loss.name: non-saturating -> hinge",
        f"nets.discriminator.width: {old.nets.discriminator.get('width')} -> 9",
        f"penalties.0.weight: {old.penalties[0].weight} -> 2.5",
        "train.seed: 0 -> 5",
    ]


def test_a_list_from_a_file_does_not_differ_from_the_same_tuple():
    old = Config(optimizers=settings.Optimizers(generator=settings.Choice(name="adam", betas=(0.0, 0.9))))
    assert differences(check(parse(config.dumps(old))), old) == []


KNOWN = sorted({*flat(Config().model_dump()), *(key.rpartition(".")[0] for key in flat(Config().model_dump()))} - {""})
NAMES = st.sampled_from(sorted({part for key in KNOWN for part in key.split(".")})) | st.text(max_size=5)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**64), 10**400]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", "hinge", "os:getcwd", "\0", "é\u2028", "x" * 500]),
    st.dates(),
    st.times(),
    st.datetimes(),
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
TREES = st.dictionaries(NAMES, VALUES, max_size=4)
ODD_TEXTS = [
    "train.rounds = " + "9" * 5000,
    "train.rounds = 0x" + "f" * 5000,
    ".".join("a" * 5000) + " = 1",
    "nets.generator." + ".".join("a" * 5000) + " = 1",
    "x = " + "[" * 5000,
    "[loss]\nname = 'hinge'\noptions = 1\nmodel_extra = 2\n__dict__ = 3\n__class__ = 4\nmodel_config = 5",
    "a = 1\na = 2",
    "\0",
    "[[train]]",
]


def only_config_errors(work):
    try:
        work()
    except ConfigError as error:
        assert str(error)


@given(TREES)
@budget(max_examples=300, deadline=None)
def test_random_trees_are_settings_or_config_errors(tree):
    only_config_errors(lambda: check(tree))
    only_config_errors(lambda: override(tree, ["train.rounds=1"]))


@given(st.sampled_from(KNOWN), VALUES)
@budget(max_examples=300, deadline=None)
def test_random_values_of_known_settings_are_settings_or_config_errors(key, value):
    tree = value
    for name in reversed(key.split(".")):
        tree = {name: tree}
    only_config_errors(lambda: check(tree))


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
@budget(max_examples=200, deadline=None)
def test_random_texts_are_settings_or_config_errors(text):
    only_config_errors(lambda: check(parse(text)))


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_are_config_errors_or_settings_that_an_override_survives(text):
    only_config_errors(lambda: check(override(parse(text), ["train.rounds=1"])))


@given(st.sampled_from([*KNOWN, "penalties.0.weight", "", ".", "data.name.x"]) | st.text(max_size=6), st.text())
@budget(max_examples=300, deadline=None)
def test_random_overrides_are_settings_or_config_errors(key, value):
    only_config_errors(lambda: load("digits", [f"{key}={value}"]))
    only_config_errors(lambda: load("digits", [value]))


WRONG_RECIPES = [
    *ODD_TEXTS[:5],
    *ODD_TEXTS[6:],
    tomli_w.dumps({"train": {"rounds": [1, {"a": float("nan")}]}}),
    "loss = 2020-01-01",
    "penalties = [1, 'r1', {}]",
    "[data]\nname = 'ring'\nmodes = 1e999",
    "[data]\nname = 'ring'\nsigma = {}",
    "[nets.generator]\nwidth = []",
    "loss = 'os'",
    "[optimizers.generator]\nname = 'sgd'\nmomentum = 1.0",
    "'' = 1",
]


@pytest.mark.parametrize("text", WRONG_RECIPES, ids=range(len(WRONG_RECIPES)))
def test_the_command_line_answers_a_wrong_recipe_in_a_sentence(text, tmp_path, monkeypatch, capsys):
    (tmp_path / "wrong.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["zerosum", "show", str(tmp_path / "wrong.toml")])
    with pytest.raises(SystemExit) as caught:
        main.main()
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err


def test_settings_of_0_1_0_are_told_by_their_new_names():
    text = refusal({"optimisers": {"generator": {"rate": 1.0}}, "train": {"steps": 5}, "average": {}, "loss": "hinge"})
    assert "settings of zerosum 0.1.0" in text
    for said in ("optimisers is now optimizers", "train.steps is now train.rounds", "average is now ema"):
        assert said in text
    assert "loss" not in text
    assert "now nets.discriminator.normalize" in refusal({"nets": {"discriminator": {"normalise": True}}})
    check({"nets": {"name": "mine:networks", "discriminator": {"normalise": True}}})  # an option of their own
