"""Write the generated tables of README.md and theory.md anew from the code (`make docs`); a test sees that they are.

The text between <!-- NAME --> and <!-- /NAME --> is replaced.
"""

import re
import sys
from functools import partial
from inspect import getdoc
from pathlib import Path

from zerosum import config
from zerosum.game.losses import LOSSES
from zerosum.game.penalties import PENALTIES
from zerosum.health import QUESTIONS
from zerosum.health.measures import MEASURES
from zerosum.lab.claims import CLAIMS, GROUPS

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "theory.md", ROOT / "docs" / "diagnosis.md")


def formula(function):
    """The formula of a docstring: its second paragraph."""
    return getdoc(function).split("\n\n")[1].strip()


def source(function):
    text = re.sub(r"\s+", " ", getdoc(function).partition("Source:")[2].partition(">>>")[0]).strip()
    return linked(text).rstrip(".")


def linked(text):
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def cell(text):
    return f"`{text.replace('|', chr(92) + '|')}`"


def games():
    rows = ["| game | D pays | G pays | source |", "|---|---|---|---|"]
    for name, loss in LOSSES.items():
        costs = cell(formula(loss.discriminator)), cell(formula(loss.generator))
        where = source(
            loss.generator if loss.generator.__name__.startswith(name[:4].replace("-", "_")) else loss.discriminator
        )
        rows.append(f"| `{name}` | {costs[0]} | {costs[1]} | {where} |")
    rows += ["", "| penalty | D also pays | source |", "|---|---|---|"]
    functions = {name: row.function for name, row in PENALTIES.items()}
    rows += [f"| `{name}` | {cell(formula(row))} | {source(row)} |" for name, row in functions.items()]
    return rows


def recipes():
    rows = ["| recipe | what it is | what it got |", "|---|---|---|"]
    for name in config.shipped():
        recipe = config.load(name)
        rows.append(f"| `{name}` | {recipe.about} | {recipe.result} |")
    return rows


def questions():
    rows = ["| verdict | question | found where |", "|---|---|---|"]
    for question in QUESTIONS:
        found = "; or ".join(
            " and ".join(
                f"`{limit.measure}` {'>' if limit.sick_side == 'above' else '<'} {limit.threshold:g}" for limit in one
            )
            for one in (finding.limits for finding in question.findings)
        )
        rows.append(f"| {question.name} | {question.text} | {found} |")
    rows += ["", "Measures that are no sign:", ""]
    for name, function in MEASURES.items():
        says = " ".join(getdoc(function).split())
        rows.append(f"- `{name}`: {says[0].lower()}{says[1:]}")
    return rows


def claims(group):
    rows = ["", "| claim | what holds | closed form | source |", "|---|---|---|---|"]
    for claim in CLAIMS.values():
        if claim.group == group:
            marked = " *(trained)*" if claim.trained else ""
            says = claim.says.replace("|", "\\|").replace("*", "\\*")
            rows.append(f"| `{claim.name}`{marked} | {says} | {cell(claim.formula)} | {linked(claim.source)} |")
    return [*rows, ""]


PARTS = {"games": games, "recipes": recipes, "questions": questions} | {
    f"claims {group}": partial(claims, group) for group in GROUPS
}


def written(text):
    """The text with its generated parts made anew."""
    for name, make in PARTS.items():
        part = "\n".join([f"<!-- {name} -->", *make(), f"<!-- /{name} -->"])
        text = re.sub(rf"<!-- {name} -->[\s\S]*<!-- /{name} -->", lambda _, part=part: part, text)
    return text


def main():
    for path in PAGES:
        before = path.read_text(encoding="utf-8")
        after = written(before)
        if "--check" in sys.argv and before != after:
            sys.exit(f"{path.name} is not what the code says: run `make docs`")
        path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
