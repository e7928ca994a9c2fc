"""The report is one file that needs nothing else, says what is missing, and reads well at every width."""

import base64
import json
import math
import shutil
import subprocess
from collections import deque
from html import unescape
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from zerosum import config, report, run
from zerosum.errors import CheckpointError
from zerosum.health import PROGRESS
from zerosum.report import charts, curves, images, measured
from zerosum.report.marks import equilibrium_values, with_name
from zerosum.report.measured import measures, progress
from zerosum.report.verdicts import verdicts
from zerosum.resolved import open_data, resolve
from zerosum.run import RunFolder
from zerosum.samples import Samples
from zerosum.sampling import Sampler
from zerosum.training.loop import fit

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x.png>"
VOID = {"meta", "img", "input", "path"}

VERDICTS = {
    "round": 6,
    "verdicts": [
        {"name": "strong D", "sick": False, "question": "Is D too strong?", "answer": "No.", "evidence": []},
        {
            "name": "mode collapse",
            "sick": True,
            "question": "Does G make only a part of the data?",
            "answer": f"Yes: {HOSTILE}",
            "evidence": [
                {"name": "missing", "value": 0.4, "threshold": 0.25, "healthy": "below", "source": "zoo"},
                {"name": "gap", "value": None, "threshold": 1e300, "healthy": "below", "source": "a-very-long-" * 20},
            ],
            "advice": "`--set latent.size=64` may help",
        },
        {"name": "copies", "sick": None, "question": "Copies?", "answer": "Not known.", "evidence": [], "advice": ""},
    ],
}


class Reader(HTMLParser):
    """What a page holds: every element with its attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def train(settings, path):
    deque(fit(settings, RunFolder(path)), maxlen=0)
    return RunFolder(path)


def points(d, path):
    np.save(path, np.random.default_rng(0).normal(3.0, 2.0, size=(600, d)).astype(np.float32))
    return path


def of_points(d, tmp_path, *overrides):
    small = [
        "nets.generator.width=8",
        "nets.discriminator.width=8",
        "game.batch=8",
        "train.threads=1",
        "train.rounds=3",
    ]
    data = f"data.name={json.dumps(str(points(d, tmp_path / 'x.npy')))}"
    settings = resolve(config.load("mixture-1d", [data, "latent.size=4", *small, *overrides]))
    return train(settings, tmp_path / "run")


def page(folder):
    return Reader(report.write(folder).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A small run on the digits, with a diagnosis; tests that change it take a copy."""
    small = ["nets.generator.width=16", "nets.discriminator.width=16", "latent.size=4", "game.batch=8"]
    often = ["train.threads=1", "train.rounds=6", "train.log_every=1", "train.sample_every=2"]
    about = f"about={json.dumps(HOSTILE)}"
    path = tmp_path_factory.mktemp("runs") / "a <b> & 'c'"
    folder = train(resolve(config.load("digits", [*small, *often, about])), path)
    (folder.path / "verdicts.json").write_text(json.dumps(VERDICTS))
    return folder


@pytest.fixture
def copied(digits, tmp_path):
    shutil.copytree(digits.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture(scope="module")
def whole(digits):
    return report.write(digits).read_text(encoding="utf-8")


def test_the_page_loads_nothing(whole):
    read = Reader(whole)
    loaded = [value for _, attributes in read.elements for key in ("src", "href") if (value := attributes.get(key))]
    assert loaded
    assert all(value.startswith(("data:image/", "#")) for value in loaded)
    assert not read.all("link")
    assert not any(word in whole for word in ("url(", "@import", "fetch(", "XMLHttpRequest", "<iframe"))
    (policy,) = [meta["content"] for meta in read.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    assert len(whole) < 2_000_000


def test_every_picture_decodes_and_has_a_text(whole):
    pictures = Reader(whole).all("img")
    assert len(pictures) == 3 + 1 + 1 + 1  # over time, real, between latents, neighbours
    for picture in pictures:
        image = Image.open(BytesIO(base64.b64decode(picture["src"].partition(",")[2])))
        image.load()
        assert image.size == (int(picture["width"]), int(picture["height"]))
        assert len(picture["alt"]) > 10


def test_headings_stand_in_order_and_verdicts_come_first(whole):
    read = Reader(whole)
    assert len(read.all("h1")) == 1
    ids = [attributes["id"] for attributes in read.all("section")]
    assert ids == ["verdicts", "samples", "curves", "metrics", "between", "neighbours", "run"]
    assert [link["href"] for link in read.all("a")] == [f"#{name}" for name in ids]
    assert whole.index("Does G make only a part") < whole.index("Is D too strong?") < whole.index("Copies?")
    assert "1 of 2 sicknesses looked for is there: mode collapse." in read.text
    assert "below 0.25" in read.text
    assert "<code>--set latent.size=64</code>" in whole


def test_what_a_user_wrote_is_text(whole):
    read = Reader(whole)
    assert len(read.all("script")) == 1
    assert not any("evil" in str(attributes) for _, attributes in read.elements)
    assert HOSTILE in read.text
    assert "a <b> & 'c'" in read.text


def test_the_numbers_of_the_run_are_there(whole, digits):
    text = Reader(whole).text
    assert "6 of 6" in text
    assert "half_life = 10000.0" in text
    assert "zerosum train" in text
    assert "equilibrium: log 4 = 1.386" in text
    assert all(name in text for name in ("frechet", "coverage", "copying", "log-likelihood"))
    assert json.loads(digits.environment.read_text())["torch"] in text


def test_json_and_python_say_where_it_is(zerosum, copied):
    code, out, _ = zerosum("report", str(copied.path), "--json")
    facts = json.loads(out)
    assert code == 0
    assert set(facts) == {"path", "seconds"}
    assert facts["path"] == str(copied.path / "report.html")


def test_without_a_checkpoint_the_way_out_is_said(zerosum, copied):
    shutil.rmtree(copied.checkpoints)
    code, out, err = zerosum("report", str(copied.path), "--json")
    assert (code, json.loads(out)["exit_code"]) == (3, 3)
    assert "Play the run first" in err
    with pytest.raises(CheckpointError):
        report.write(copied)


def test_missing_parts_say_so(copied):
    for path in [*(copied.path / "samples").iterdir(), copied.readings, copied.environment]:
        path.unlink()
    (copied.path / "verdicts.json").write_text("{ half")
    text = page(copied).text
    assert f"zerosum diagnose {copied.path}" in text
    assert "has drawn no picture yet" in text
    assert "No readings were logged yet" in text


def test_old_verdicts_say_that_they_are_old(copied):
    (copied.path / "verdicts.json").write_text(json.dumps({**VERDICTS, "round": 3}))
    assert "made after round 3; the run is at round 6" in page(copied).text
    assert verdicts(copied).sick[0]["name"] == "mode collapse"


def test_readings_that_are_no_numbers_leave_a_gap(copied):
    lines = run.read(copied)
    lines[2]["generator_cost"], lines[3]["discriminator_cost"], lines[5]["value"] = math.nan, math.inf, -math.inf
    copied.readings.write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = page(copied)
    drawn = " ".join(attributes["d"] for attributes in read.all("path"))
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert read.text.count("1 number is not finite and leaves a gap.") == 3


@pytest.mark.parametrize("d", [1, 2, 5])
def test_points_of_any_dimension(tmp_path, d):
    read = page(of_points(d, tmp_path))
    assert len(read.all("img")) == 2  # after the last round, and the walk
    assert "times as far" in read.text
    assert "the data's own units" in read.text


def test_one_reading_and_one_picture(tmp_path):
    folder = of_points(2, tmp_path, "train.rounds=1")
    read = page(folder)
    assert sum(attributes["d"].endswith("h0") for attributes in read.all("path")) >= 5
    assert len(images.frames(folder)) == 1


def test_classes_are_walked_one_by_one(settings, tmp_path):
    folder = train(settings('nets.conditions="labels"', "train.rounds=2"), tmp_path / "run")
    assert "Each row is one class, in the order 0, 1, 2" in page(folder).text


def test_data_that_is_gone_is_said_and_the_rest_is_there(tmp_path):
    folder = of_points(2, tmp_path)
    (tmp_path / "x.npy").unlink()
    read = page(folder)
    assert "were not compared with the data" in read.text
    assert "x.npy" in read.text
    assert len(read.all("img")) == 2


def test_other_data_than_the_run_began_with_is_not_measured(tmp_path):
    folder = of_points(2, tmp_path)
    np.save(tmp_path / "x.npy", np.random.default_rng(1).normal(size=(600, 2)))
    assert "the data is not what this run began with" in page(folder).text


def test_too_few_held_out_rows_give_no_numbers(tmp_path):
    text = page(of_points(2, tmp_path, "data.held_out=0.0")).text
    assert "at least 50" in text
    assert "nothing to compare the samples' distances with" in text


def test_large_samples_are_left_to_evaluate(copied, monkeypatch):
    monkeypatch.setattr(measured, "MAX_SAMPLE_VALUES", 63)
    text = page(copied).text
    assert f"zerosum evaluate {copied.path} has them" in text
    assert "times as far" in text


def test_metrics_on_file_are_used_while_they_are_new(digits, copied):
    sampler, data = Sampler.load(copied.path), open_data(copied.read_config().data)
    row = {"name": "frechet", "value": "inf", "error": None, "real": 1.0, "noise": 9.0, "n": 77, "features": "own-1"}
    file = copied.path / "metrics.jsonl"
    file.write_text(json.dumps({"round": 6, "metrics": [{**row, "better": "lower"}]}) + "\n")
    (found,), how = measures(copied, sampler, data)
    assert (found.value, found.error, found.n, found.share) == ("inf", "", 77, None)
    assert "metrics.jsonl" in how
    file.write_text(json.dumps({"round": 5, "metrics": [{**row, "better": "lower"}]}) + "\n")
    rows, how = measures(copied, sampler, data)
    assert len(rows) > 5
    assert "quick" in how
    assert not (digits.path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("value", "real", "noise", "better", "share"),
    [
        (9.0, 1.0, 9.0, "lower", 0.0),
        (0.5, 1.0, 9.0, "lower", 1.0),
        (0.75, 1.0, 0.5, "higher", 0.5),
        (1.5, 1.0, 0.0, "nearest 1", 0.5),
        (-20.0, 0.0, 10.0, "nearest 0", 0.0),
        (1.0, 2.0, 2.0, "lower", None),
        (math.nan, 1.0, 2.0, "lower", None),
    ],
)
def test_a_bar_lies_between_noise_and_data(value, real, noise, better, share):
    assert progress(value, real, noise, better) == share


LOG2, LOG4 = math.log(2), math.log(4)


@pytest.mark.parametrize(
    ("overrides", "discriminator", "generator", "value", "score"),
    [
        (['loss="non-saturating"'], LOG4, LOG2, -LOG4, 0.5),
        (['loss="minimax"'], LOG4, -LOG2, -LOG4, 0.5),
        (['loss="likelihood"'], LOG4, -1.0, -LOG4, 0.5),
        (['game.reduction="mean"'], LOG2, LOG2, -LOG4, 0.5),
        (["game.flip=0.1"], LOG4, LOG2, -LOG4, 0.5),
        (['loss="least-squares"'], 0.25, 0.125, -0.25, 0.5),
        (['loss="least-squares"', "loss.a=-1.0", "loss.b=2.0", "loss.c=0.0"], 2.25, 0.125, -2.25, 0.5),
        (['loss="hinge"'], 2.0, None, -2.0, None),
        (['loss="wasserstein"'], 0.0, None, 0.0, None),
        (['loss="wasserstein"', 'penalties.0.name="wgan-gp"'], 0.0, None, 0.0, None),
        (['loss="relativistic"'], LOG2, LOG2, -LOG2, None),
        (['penalties.0.name="wgan-gp"'], None, None, None, None),
        # smoothed by s, D rests at (1 - s)/2
        (["loss.smoothing=0.2"], -(0.4 * math.log(0.4) + 0.6 * math.log(0.6)) * 2, -math.log(0.4),
         math.log(0.4) + math.log(0.6), 0.4),
    ],
)  # fmt: skip
def test_marks_are_those_of_the_game(overrides, discriminator, generator, value, score):
    found = equilibrium_values(config.load("digits", overrides))
    assert found[:4] == pytest.approx((discriminator, generator, value, score), abs=1e-8)


def test_marks_bear_their_names():
    assert with_name(LOG4) == "log 4 = 1.386"
    assert with_name(-LOG2) == "−log 2 = −0.6931"
    assert with_name(0.25) == "0.25"


def test_long_curves_keep_their_peaks():
    points = [(float(x), math.sin(x / 50)) for x in range(100_000)]
    points[77_777] = (77_777.0, 9.0)
    thin = charts.thin(points)
    assert len(thin) <= charts.MAX_POINTS
    assert (77_777.0, 9.0) in thin
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    assert thin == sorted(thin)


def test_a_single_peak_does_not_flatten_the_curve():
    points = [(float(x), float(x % 7)) for x in range(1000)]
    points[500] = (500.0, 1e8)
    low, high, cut = charts.axis_limits([y for _, y in points], [])
    assert cut == 1
    assert -20 < low < 0
    assert 6 < high < 20


@pytest.mark.parametrize("heights", [(0.0,), (5.0, 5.0), (1e-12, 2e-12), (-1e20, 1e20), (1e6, 1e6 + 1)])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_any_numbers_fit_into_a_chart(heights, logarithmic):
    curve = [(float(x), y) for x, y in enumerate(heights)]
    found = charts.chart("t", "u", {"a": curve}, "", last=1.0, logarithmic=logarithmic)
    if found is None:
        assert logarithmic
        assert max(heights) <= 0
        return
    places = [tick.place for tick in found.ticks]
    assert len(places) == len(set(places)) >= 1
    assert all(charts.TOP <= place <= charts.HEIGHT - charts.BOTTOM for place in places)
    assert len({tick.text for tick in found.ticks}) == len(found.ticks)


def test_signs_of_health_are_drawn_where_there_are_any(digits):
    lines = run.read(digits)
    for line in lines:
        line.pop("signs", None)
    settings = digits.read_config()
    before = [chart.title for chart in curves.charts(lines, settings)]
    lines[1]["signs"] = {"distance": 0.5, "distance_real": 0.01, "auc": None}
    lines[3]["signs"] = {"distance": None, "distance_real": 0.01}
    (added,) = [chart for chart in curves.charts(lines, settings) if chart.title not in before]
    assert "held-out" in added.title
    assert [line.label for line in added.lines] == ["samples", "training data"]


def test_many_readings_are_drawn_with_their_mean():
    noisy = [(float(x), 1.0 + (-1.0) ** x) for x in range(3000)]
    (line,) = charts.chart("t", "u", {"a": noisy}, "", last=3000.0).lines
    (plain,) = charts.chart("t", "u", {"a": noisy[:100]}, "", last=3000.0).lines
    assert plain.trend == ""
    assert len(line.trend) < len(line.path)
    assert all(0.9 < y < 1.1 for _, y in charts.trend(noisy))


def test_what_cannot_be_told_is_one_list_with_each_advice_once(copied):
    rows = [{"name": n, "sick": None, "question": f"{n}?", "answer": "Too few.", "advice": "train on"} for n in "abc"]
    (copied.path / "verdicts.json").write_text(json.dumps({"round": 6, "verdicts": rows}))
    text = page(copied).text
    assert "Nothing could be judged yet." in text
    assert "Too few. a? b? c?" in text
    assert text.count("train on") == 1


def test_a_healthy_run_says_whether_it_still_gets_better(copied):
    rows = [
        {"name": "copies", "sick": False, "question": "Copies?", "answer": "No."},
        {"name": PROGRESS[0], "sick": False, "question": PROGRESS[1], "answer": "Yes."},
    ]
    (copied.path / "verdicts.json").write_text(json.dumps({"round": 6, "verdicts": rows}))
    assert f"Healthy: none of 1 sicknesses looked for was found. {PROGRESS[1]} Yes." in page(copied).text


def test_pictures_over_time_are_few_and_light(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "samples").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (200, 900, 3), dtype=np.uint8)
    for step in (*range(100), 12_345_678):
        Image.new("L", (9, 9)).save(folder.sample(step))
    Image.fromarray(noise).save(folder.sample(50))
    found = images.frames(folder)
    assert len(found) == images.FRAMES
    assert (found[0].round, found[-1].round) == (0, 12_345_678)
    with folder.sample(50).open("ab") as handle:
        handle.truncate(images.MAX_READ // 3)
    assert [frame.round for frame in images.frames(folder)][::2] == [0, 12_345_678]
    heavy = images.embedded(folder.sample(50).read_bytes())
    assert heavy.source.startswith("data:image/jpeg")
    assert heavy.width <= images.MAX_WIDTH
    assert len(heavy.source) < 300_000


def test_copies_are_seen_beside_their_rows(digits, monkeypatch):
    data = open_data(digits.read_config().data)
    monkeypatch.setattr(Sampler, "draw", lambda self, n: Samples(data.samples(data.train, n)))
    found = images.memorization(Sampler.load(digits.path), data)
    assert found.ratio < 0.01
    assert "suspiciously near" in found.meaning


def test_samples_that_are_no_numbers_are_said(tmp_path, monkeypatch):
    folder = of_points(2, tmp_path)
    broken = Samples(np.full((400, 2), np.nan, np.float32))
    monkeypatch.setattr(Sampler, "draw", lambda self, n, seed=0, **_: broken)
    monkeypatch.setattr(Sampler, "walk", lambda self, n, steps: broken)
    text = page(folder).text
    assert "no walk to show" in text
    assert "400 of 400 samples hold NaN or infinity" in text


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PROBE = """
addEventListener("load", () => {
  const found = {errors: window.errors || [], widths: {}};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, root = page.documentElement;
    const shown = () => [...page.querySelectorAll(".strip figure")].map((figure) => figure.offsetHeight > 0);
    const facts = {client: root.clientWidth, scroll: root.scrollWidth, before: shown()};
    const size = (svg) => parseFloat(frame.contentWindow.getComputedStyle(svg.querySelector("text")).fontSize);
    const charts = [...page.querySelectorAll(".chart > svg")];
    const letters = charts.map((svg) => size(svg) * svg.clientWidth / 360);
    facts.letter = Math.min(...letters);
    facts.controls = page.getElementById("controls").offsetHeight > 0;
    const slider = page.getElementById("moment");
    slider.value = 0;
    slider.dispatchEvent(new frame.contentWindow.Event("input"));
    facts.after = shown();
    facts.round = page.getElementById("round").textContent;
    facts.errors = frame.contentWindow.errors;
    found.widths[frame.id] = facts;
  }
  document.title = JSON.stringify(found);
});
"""


@pytest.fixture(scope="module")
def seen(whole, tmp_path_factory):
    """What a real browser makes of the page at three widths, and without scripts."""
    if not BROWSER:
        pytest.skip("no chromium, chromium-browser or google-chrome on the path")
    watch = "<script>window.errors = []; addEventListener('error', (e) => errors.push(e.message));</script>"
    source = whole.replace("<head>", "<head>" + watch, 1).replace("&", "&amp;").replace('"', "&quot;")
    widths = "".join(f'<iframe id="{w}" width="{w}" height="900" srcdoc="{source}"></iframe>' for w in (360, 768, 1280))
    plain = f'<iframe id="plain" sandbox="allow-same-origin" width="360" height="900" srcdoc="{source}"></iframe>'
    outer = tmp_path_factory.mktemp("browser") / "probe.html"
    style = "<style>iframe { border: 0 }</style>"
    outer.write_text(f"<!doctype html><script>{PROBE}</script>{style}{widths}{plain}", encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1400,1000"]
    home = f"--user-data-dir={outer.parent / 'home'}"
    command = [BROWSER, *flags, home, "--dump-dom", outer.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = [line for line in ran.stderr.splitlines() if "CONSOLE" in line and "sandboxed" not in line]
    return json.loads(unescape(ran.stdout.partition("<title>")[2].partition("</title>")[0])), said


@pytest.mark.parametrize("width", ["360", "768", "1280"])
def test_the_page_fits_its_window(seen, width):
    facts = seen[0]["widths"][width]
    assert facts["client"] <= int(width)
    assert facts["scroll"] <= facts["client"]
    assert facts["letter"] >= 11, "letters in charts are too small to read"


@pytest.mark.parametrize("width", ["360", "768", "1280"])
def test_the_slider_changes_the_picture(seen, width):
    facts = seen[0]["widths"][width]
    assert facts["controls"]
    assert facts["before"] == [False, False, True]
    assert facts["after"] == [True, False, False]
    assert facts["round"] == "2"


def test_without_scripts_the_slider_is_a_strip(seen):
    facts = seen[0]["widths"]["plain"]
    assert not facts["controls"]
    assert facts["before"] == [True, True, True]


def test_the_browser_has_nothing_to_complain_about(seen):
    found, said = seen
    assert said == []
    assert all(facts.get("errors", []) == [] for facts in found["widths"].values())
