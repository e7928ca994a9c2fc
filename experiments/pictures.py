"""Draw the picture of the README: samples of `digits` and of `grid`, side by side (`python experiments/pictures.py`).

Trains both recipes into runs/ if that was not done yet; docs/digits.png and docs/grid.png are the runs' own pictures.
"""

from pathlib import Path
from shutil import copyfile

from PIL import Image

import zerosum as zs

DOCS = Path(__file__).parents[1] / "docs"


def main():
    found = []
    for recipe in ("digits", "grid"):
        run = zs.train(recipe)
        copyfile(run.picture(), DOCS / f"{recipe}.png")
        found.append(Image.open(run.picture()).convert("RGB"))
    height = max(picture.height for picture in found)
    page = Image.new("RGB", (sum(picture.width for picture in found) + 20, height), "white")
    page.paste(found[0], (0, (height - found[0].height) // 2))
    page.paste(found[1], (found[0].width + 20, (height - found[1].height) // 2))
    page.save(DOCS / "pictures.png", optimize=True)


if __name__ == "__main__":
    main()
