"""The pictures of the README: pages of a dry run in Debian's Chromium.

The card is that of the demo model, from its dry run; the index shows the 24 miniatures with made-up recorded results,
the same as in the tests, and says so:

    python examples/minilm.py
    hubpush convert-and-upload --family examples/minilm.toml --org demo --hub ./again --work build/again --dry-run
    python -m benchmarks.screenshots build/again/preview/demo/minilm/all-MiniLM-L6-v2-tf1.html
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from hubpush import preview
from tests import previews, records
from tests.test_browser import ARGUMENTS, CHROMIUM

MOST = 300_000  # bytes of a picture


def main() -> None:
    """Write docs/card.png, docs/card-phone-dark.png and docs/family-index.png."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("card", type=Path, help="page of the demo model")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        shown, collection = previews.all_of(records.write_folder(Path(place) / "model"))
        index = preview.write(Path(place) / "pages", "BERT miniatures, with made-up results", shown, collection)
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        for name, page, width, height, scheme, scale in (
            ("card", given.card, 1280, 1800, "light", 1),
            ("card-phone-dark", given.card, 390, 900, "dark", 2),
            ("family-index", index, 1280, 940, "light", 1),
        ):
            taken = given.out / f"{name}.png"
            picture(browser, page, taken, (width, height), scheme, scale)
            print(f"{taken}: {taken.stat().st_size:,} bytes")


def picture(browser: Any, page: Path, to: Path, size: tuple[int, int], scheme: str, scale: int) -> None:
    """One picture of the top of a page."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
    )
    shown = context.new_page()
    shown.goto(page.absolute().as_uri())
    shown.screenshot(path=to)
    context.close()
    Image.open(to).convert("RGB").save(to, optimize=True)
    if to.stat().st_size > MOST:
        raise SystemExit(f"{to} has more than {MOST:,} bytes: crop it")


if __name__ == "__main__":
    main()
