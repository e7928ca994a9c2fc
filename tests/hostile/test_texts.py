"""Texts of a run from elsewhere: none of them is a command to a terminal, and none is anything but text on a page."""

import json
import shutil
import sys
import unicodedata
from html.parser import HTMLParser

import pytest

from zerosum.errors import BIDI_CONTROLS, printable

ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\r\x08\u202etxt\u2066\x7f"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg onload=alert(1)></style></title>{{7*7}}{%x%}"
BOTH = ESCAPES + MARKUP


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def settings(place):
    place.edit(lambda tree: tree.update(about=BOTH, source=BOTH, result=BOTH, data={"name": BOTH, "key": BOTH}))


def environment(place):
    command = {"command": [BOTH, 5, {"a": BOTH}]}
    place.edit_json(
        "environment.json", lambda facts: {"run": facts["run"], "format": facts["format"], **odd_facts(), **command}
    )


def odd_facts():
    names = ("zerosum", "commit", "python", "torch", "numpy", "system", "processor", "accelerator")
    return dict.fromkeys(names, BOTH)


def readings(place):
    line = {"round": 20, BOTH: 1.0, f"discriminator_{BOTH}": 2.0, "score": BOTH, "order": BOTH, "reduction": BOTH}
    line["signs"] = {BOTH: 1.0}
    text = json.dumps(line) + "\n"
    (place.run / "readings.jsonl").write_text(
        text * 12 + '{"round": "' + BOTH + '"}\n' + json.dumps({BOTH: BOTH}) + "\n"
    )


def metrics(place):
    row = {"name": BOTH, "value": 1, "error": 0, "real": 1, "noise": 1, "n": 5, "note": BOTH, "features": BOTH}
    line = {
        "round": 20,
        "metrics": [row | {"better": BOTH}, row | {"better": "nearest " + BOTH}, row | {"better": "nearest"}],
    }
    (place.run / "metrics.jsonl").write_text(json.dumps(line) + "\n")


def verdicts(place):
    evidence = {"name": BOTH, "value": BOTH, "threshold": BOTH, "healthy": BOTH, "source": BOTH}
    verdict = {
        "name": BOTH,
        "question": BOTH,
        "answer": BOTH,
        "advice": f"`{BOTH}`",
        "evidence": [evidence],
        BOTH: BOTH,
    }
    both = [verdict | {"sick": sick} for sick in (True, False, None)]
    (place.run / "verdicts.json").write_text(json.dumps({"round": 20, "verdicts": both}))


def samples(place):
    shutil.copy(place.run / "samples" / "000020.png", place.run / "samples" / f"{ESCAPES} <b>x.png")


def classes(place):
    place.edit_state(lambda state: state["data"].update(classes=[f"{BOTH}{n}" for n in range(10)]))


TEXTS = {maker.__name__: maker for maker in (settings, environment, readings, metrics, verdicts, samples, classes)}


PARTS = [*TEXTS.values()]
TEXTS = {"everywhere": lambda place: [maker(place) for maker in PARTS], **TEXTS}


@pytest.mark.thin(8)
@pytest.mark.parametrize("where", TEXTS)
def test_texts_are_texts(command, place, where):
    """That nothing raw reaches the terminal is what `command` looks at."""
    TEXTS[where](place)
    place.run = place.run.rename(place.run.with_name("evil" if where != "everywhere" else ESCAPES + "<b>"))
    name = place.run.name
    for words in (
        ["sample", name, "--out", "made/x.png"],
        ["sample", name, "--out", f"made/{ESCAPES}.png"],
        ["diagnose", name],
        ["evaluate", name, "-n", "50", "--features=pixels", "--data=digits"],
        ["list", "runs"],
        ["report", name],
    ):
        ended = command(place, *words)
        assert ended.code in (0, 2, 3)
        assert len(ended.out.splitlines()) < 50
    assert ended.code == 0
    text = (place.run / "report.html").read_text()
    page = Page(text)
    assert [tag for tag, _ in page.elements if tag in ("script", "iframe", "object", "embed", "link", "base")] == [
        "script"
    ]
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    sources = [attributes[key] for _, attributes in page.elements for key in ("src", "href") if key in attributes]
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert "alert(1)" not in "".join(text.partition("<script>")[2].partition("</script>")[0])


@pytest.mark.thin(2)
@pytest.mark.parametrize("where", ["everywhere", "settings"])
def test_recipes_are_texts_too(command, place, where):
    TEXTS[where](place)
    (place.made / "x.toml").write_bytes((place.run / "config.toml").read_bytes())
    assert command(place, "show", "made/x.toml").code in (0, 2)
    assert command(place, "copy", "made/x.toml", f"made/{ESCAPES}.toml").code == 0
    assert command(place, "train", "made/x.toml", "--dry-run").code in (2, 3)


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    "word", [ESCAPES + "\udcff", "a\nb", "\udcff\udc80", "x" * 1_000], ids=lambda word: ascii(word)[:20]
)
def test_what_is_typed_is_repeated_harmlessly(command, place, word):
    for words in (
        ["sample", word], ["sample", "evil", "--out", f"{word}.jpg"], ["sample", "evil", "--label", word],
        ["report", "evil", "--out", f"made/{word}"], ["evaluate", "evil", "--features", word],
        ["evaluate", "evil", "--data", word],
        ["show", word], ["show", "digits", "--set", word], ["show", "digits", "--set", f"name={word}"], ["list", word],
        ["copy", word, "made/x.toml"], ["copy", "digits", f"made/{word}"], ["theory", word], ["train", word],
        ["train", "digits", "--device", word, "--rounds", "1", "--out", "made/x"], ["train", "--until", word],
    ):  # fmt: skip
        ended = command(place, *words)
        assert ended.code in (2, 3) or words[0] == "report"


def test_of_all_characters_those_that_a_terminal_obeys_are_escaped():
    obeyed = [
        one
        for one in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(one) in BIDI_CONTROLS
    ]
    assert len(obeyed) > 2000
    assert [one for one in obeyed if one in printable(f"a{one}b")] == ["\t", "\n"]
