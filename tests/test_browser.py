"""Laws of the pages in a browser: a preview from a disk, the family's index, the embedded Hub's page over loopback.

Debian's Chromium, without a window. It fails where there is none: `apt-get install chromium`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from playwright.sync_api import Browser, Page, sync_playwright

from hubpush import preview
from hubpush.localhub import serve
from tests import previews, records

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
# One with a failed check, one that stands already and has a known divergence, one that a person edited.
SHOWN = (5, 7, 2)


@dataclass
class Seen:
    """A page with what happened in it."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    visited: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser(places: dict[str, str]) -> Iterator[Browser]:  # closed before the Hub that it holds connections to
    if not CHROMIUM.exists():
        pytest.fail(f"there is no {CHROMIUM}: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield found
        found.close()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of all pages that are looked at."""
    root = tmp_path_factory.mktemp("pages")
    folder = records.write_folder(root / "model")
    shown, collection = previews.all_of(folder, 9)
    index = preview.write(root / "preview", "BERT miniatures", shown, collection)
    harmless = replace(shown[0], card=f"---\nlicense: mit\n---\n{SAMPLER}", before=None)
    hostile = replace(harmless, card=f"---\nlicense: mit\n---\n{HOSTILE}")
    for name, one in (("harmless", harmless), ("hostile", hostile)):
        (index.parent / f"{name}.html").write_text(preview.html(one, {}), encoding="utf-8")
    with serve(root / "hub") as url:
        api = HfApi(endpoint=url, token="hf_x")
        for one in (*shown[:2], hostile):
            repo_id = one.repo_id if one is not hostile else "acme/hostile"
            api.create_repo(repo_id)
            added = {"README.md": one.card.encode(), "model.safetensors": b"weights" * 1000, **one.images}
            operations = [CommitOperationAdd(path, data) for path, data in added.items()]
            api.create_commit(repo_id, operations, commit_message="hubpush v1.0.0: first release")
            api.create_tag(repo_id, tag="v1.0.0")
        slug = api.create_collection("BERT miniatures", namespace="acme", description="24 small BERTs.").slug
        api.add_collection_item(slug, shown[0].repo_id, "model", note="v1.0.0")
        yield {
            **{f"card {number}": (index.parent / f"{shown[number].name}.html").as_uri() for number in SHOWN},
            "index": index.as_uri(),
            "hub": f"{url}/{shown[0].repo_id}",
            "hub tag": f"{url}/{shown[1].repo_id}/tree/v1.0.0",
            "hub list": f"{url}/",
            "hub owner": f"{url}/acme",
            "hub commits": f"{url}/{shown[0].repo_id}/commits/main",
            "hub collection": f"{url}/collections/{slug}",
            "harmless": (index.parent / "harmless.html").as_uri(),
            "hostile": (index.parent / "hostile.html").as_uri(),
            "hub hostile": f"{url}/acme/hostile",
        }


@pytest.fixture(scope="module")
def visit(browser: Browser, places: dict[str, str]) -> Any:
    """Opens a page once; what it said and asked for until now stands beside it."""

    @cache
    def visited(name: str, width: int = 1280, scheme: Any = "light") -> Seen:
        seen = Seen(browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme))
        seen.page.on("console", lambda message: seen.said.append(f"{message.type}: {message.text}"))
        seen.page.on("pageerror", lambda error: seen.said.append(str(error)))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        seen.page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
        seen.page.on("framenavigated", lambda frame: seen.visited.append(frame.url))
        answer = seen.page.goto(places[name])
        assert answer is not None
        assert answer.ok
        # What is folded is looked at too.
        seen.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        return seen

    return visited


PAGES = [*(f"card {number}" for number in SHOWN), "index", "hub", "hub tag"]
LISTS = ["hub list", "hub owner", "hub commits", "hub collection"]
everywhere = pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [(name, width, scheme) for name in PAGES for width, scheme in ((1280, "light"), (390, "dark"))]
    + [
        (name, width, scheme)
        for name in ("card 5", "index", "hub")
        for width, scheme in ((1280, "dark"), (390, "light"))
    ]
    + [(name, 390, "dark") for name in LISTS]
    + [("harmless", 1280, "light"), ("harmless", 390, "dark")],
)

# Everything that a card may hold, in all the colours of code.
SAMPLER = """
# Sampler

> A quote with `code`, a [link](hubpush.json), ~~gone~~ text and <kbd>keys</kbd> ![no picture](nowhere.png)

- [x] done

| Name | Number |
|:--|--:|
| a | 1 |

```python
# a comment
class Thing:
    def run(self, text: str = "words") -> int:
        return len(text) + 42 if text is not None else print(f"{self}")
```

```bash
$ export NAME="x"  # a comment
```

```json
{"key": [1, true, null, "text"]}
```

<details><summary>Folded</summary><p align="center"><sub>small</sub> <small>smaller</small></p></details>
"""

# Whether something that reaches beyond the right edge can be scrolled to within a box that does not.
WIDE = """() => {
  const edge = document.documentElement.clientWidth + 1, out = [];
  const held = (one) => { for (let box = one.parentElement; box; box = box.parentElement)
    if (/auto|scroll/.test(getComputedStyle(box).overflowX) && box.getBoundingClientRect().right <= edge) return true;
    return false; };
  for (const one of document.body.querySelectorAll('*'))
    if (one.getBoundingClientRect().right > edge && !held(one)) out.push(one.outerHTML.slice(0, 80));
  return [document.documentElement.scrollWidth <= edge, out];
}"""

# The contrast of every text with what is behind it, WCAG 2.2: those below 4.5.
FAINT = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return [n[0], n[1], n[2], n[3] ?? 1]; };
  const over = (top, low) => [0, 1, 2].map((i) => top[i] * top[3] + low[i] * (1 - top[3])).concat(1);
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => { const v = c[i] / 255;
    return sum + part * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
  const behind = (one) => { const layers = [];
    for (let box = one; box; box = box.parentElement) layers.push(parse(getComputedStyle(box).backgroundColor));
    return layers.reverse().reduce((low, top) => over(top, low), [255, 255, 255, 1]); };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), out = []; let count = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const one = node.parentElement;
    if (!node.data.trim() || /SCRIPT|STYLE/.test(one.tagName) || !one.getClientRects().length) continue;
    count++;
    const back = behind(one), front = over(parse(getComputedStyle(one).color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) out.push(`${ratio.toFixed(2)} ${node.data.trim().slice(0, 40)}`);
  }
  return [count, out];
}"""


@everywhere
def test_nothing_is_wider_than_the_page(visit: Any, name: str, width: int, scheme: str) -> None:
    """Tables and code scroll within themselves: a page scrolls up and down alone, on a phone too."""
    page = visit(name, width, scheme).page
    fits, beyond = page.evaluate(WIDE)
    assert fits
    assert beyond == []
    if name not in LISTS:
        assert page.locator("table:visible").count() > 0


@everywhere
def test_every_text_can_be_read(visit: Any, name: str, width: int, scheme: str) -> None:
    """The contrast of every text with its background is at least 4.5, in light and dark, code and differences too."""
    count, faint = visit(name, width, scheme).page.evaluate(FAINT)
    assert count > 5
    assert faint == []


@everywhere
def test_a_page_is_silent(visit: Any, places: dict[str, str], name: str, width: int, scheme: str) -> None:
    """No message in the console, and no request for anything but itself and the files of its repo."""
    seen = visit(name, width, scheme)
    assert seen.said == []
    hub = re.match(r"http://127\.0\.0\.1:\d+/", places["hub"])
    assert hub is not None
    allowed = (hub.group(), "data:") if name.startswith("hub") else ("data:",)
    strangers = [url for url in seen.asked if url != places[name] and not url.startswith(allowed)]
    assert strangers == []


@pytest.mark.parametrize("name", PAGES)
def test_pictures_are_there(visit: Any, name: str) -> None:
    """Every picture is loaded: from the page itself on a disk, from the repo on the embedded Hub."""
    widths = visit(name).page.evaluate("[...document.images].map(one => one.naturalWidth)")
    assert all(widths)
    assert (len(widths) > 0) == (name != "index")


@pytest.mark.parametrize("name", PAGES)
def test_every_anchor_leads_somewhere(visit: Any, name: str) -> None:
    """Each link within the page has its target, once; there are some, and every id is there once."""
    page = visit(name).page
    missing = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(one => decodeURIComponent(one.hash.slice(1)))"
        ".filter(id => !document.getElementById(id))"
    )
    assert missing == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))
    assert name == "index" or page.locator('a[href="#conversion-parity"]').count() > 0


@pytest.mark.parametrize("name", ["index", "card 5"])
def test_links_between_pages_lead_to_pages(visit: Any, places: dict[str, str], name: str) -> None:
    """Following a link from the index to a page, and back, works on a disk."""
    page = visit(name).page
    found = page.evaluate("[...document.links].map(one => one.href).filter(one => one.startsWith('file:'))")
    assert len(set(found)) == 9 if name == "index" else 10
    assert all(Path(url.removeprefix("file://").partition("#")[0]).is_file() for url in found)


def test_the_siblings_on_the_embedded_hub_are_linked_there(visit: Any, places: dict[str, str]) -> None:
    """A repo that this Hub holds is a link to its page here, all others lead to the Hub."""
    links = visit("hub").page.evaluate("[...document.querySelectorAll('.card a')].map(one => one.href)")
    here = [url for url in links if url.startswith(places["hub"].partition("/acme/")[0]) and "/resolve/" not in url]
    assert places["hub tag"].partition("/tree/")[0] in here
    assert any(url.startswith("https://huggingface.co/acme/") for url in links)


def _column(page: Page, head: str) -> list[str]:
    return page.evaluate(
        """(head) => {
          const heads = [...document.querySelectorAll('.sortable thead th')];
          const at = heads.findIndex((one) => one.textContent === head);
          return [...document.querySelectorAll('.sortable tbody tr')].map((row) => row.cells[at].dataset.key);
        }""",
        head,
    )


def test_the_index_is_sorted_by_click_and_by_key(visit: Any) -> None:
    """Numbers by size, names as people count, what is not known last; the second time the other way round."""
    page = visit("index", 1280, "dark").page
    for head in ("Parameters", "Size", "Worst", "GLUE"):
        button = page.locator(".sortable thead button", has_text=head)
        for falls in (False, True):
            if falls:
                button.focus()
                page.keyboard.press("Enter")
            else:
                button.click()
            keys = _column(page, head)
            known = [float(key) for key in keys if key]
            assert keys == [*(key for key in keys if key), *("" for key in keys if not key)]
            assert known == sorted(known, reverse=falls)
            assert page.locator(".sortable [aria-sort]").evaluate_all("all => all.map(one => one.ariaSort)") == [
                "descending" if falls else "ascending"
            ]
    page.locator(".sortable thead button", has_text="Model").focus()
    page.keyboard.press("Space")
    names = _column(page, "Model")
    assert names == sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Status"


HOSTILE = """
# Hostile <script>window.ran = 1; alert(1)</script>

<img src=x onerror="window.ran = 1; alert(2)"> <img src="//evil.example/a.png"> ![x](https://evil.example/b.png)
[click](javascript:alert(3)) <a href="javascript:alert(4)">me</a> <a href="data:text/html,<b onclick=alert(5)>">d</a>

<style>body { display: none } .bar, .pills { visibility: hidden; position: fixed }</style>
<link rel="stylesheet" href="https://evil.example/c.css"><base href="https://evil.example/">
<meta http-equiv="refresh" content="0; url=https://evil.example/">
<iframe src="https://evil.example/"></iframe><iframe srcdoc="<script>parent.ran = 1</script>"></iframe>
<object data="https://evil.example/"></object><embed src="https://evil.example/">
<svg onload="window.ran = 1"><script>window.ran = 1</script><use href="https://evil.example/#x"/></svg>
<form action="https://evil.example/"><input name="token" autofocus onfocus="window.ran = 1">Sign in</form>
<video src="https://evil.example/v.mp4" autoplay></video><audio src="https://evil.example/a.mp3" autoplay></audio>
<div style="position: fixed; inset: 0; background: red" class="verdict pass bar badge">Parity: PASS</div>
<div id="hub.files">x</div><div id="hub.card">y</div>
<img width="100000" height="100000" alt="wide"><table width="100000"><tr><td nowrap>WIDE</td></tr></table>
<hr width="100000">

<table><tr><td>RAW</td></tr></table>

HUGE

|HEAD|
|RULE|
|ROW|

```python
CODE
```

<!-- a comment --> <details><summary>open</summary>

</details></article></div></div></div></td></tr></table></body></html>

# After it

<!-- one without an end
"""
HOSTILE = (
    HOSTILE.replace("WIDE", "x" * 5000)
    .replace("RAW", "y" * 5000)
    .replace("HUGE", "z" * 5000)
    .replace("HEAD", "|".join(f"head{n}" for n in range(200)))
    .replace("RULE", "|".join("-:" for n in range(200)))
    .replace("ROW", "|".join("cell" * 5 for n in range(200)))
    .replace("CODE", "c" * 5000)
)
REST = """() => { const card = document.querySelector('.card'), copy = document.documentElement.cloneNode(true);
  const rest = copy.querySelector('.card'); rest.replaceChildren();
  const boxes = [...document.querySelectorAll('.bar, .pills, .tabs, .verdict, .repo-name, .foot')].map((one) => {
    const box = one.getBoundingClientRect(), style = getComputedStyle(one);
    return [one.className, box.x, box.width, style.visibility, style.color, style.position]; });
  return [copy.outerHTML, boxes]; }"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["hostile", "hub hostile"])
def test_a_hostile_card_does_nothing(visit: Any, places: dict[str, str], name: str, width: int) -> None:
    """It runs nothing, asks for nothing, leads nowhere by itself, and is no wider than the page."""
    seen = visit(name, width)
    page = seen.page
    for link in page.locator(".card a").all():
        if not (link.get_attribute("href") or "").startswith(("http", "mailto")):
            link.click()
    page.wait_for_timeout(200)
    assert seen.dialogs == []
    assert page.evaluate("window.ran") is None
    assert {url.partition("#")[0] for url in seen.visited} == {places[name]}
    assert [url for url in seen.asked if "evil" in url] == []
    assert seen.said == [] or all("404" in line for line in seen.said if name.startswith("hub"))
    assert page.evaluate(WIDE) == [True, []]
    assert page.locator(".card h1").last.inner_text() == "After it"
    assert page.locator(".card :is(script, style, iframe, form, input, svg, meta, base, link, object)").count() == 0


def test_a_hostile_card_changes_nothing_around_it(visit: Any) -> None:
    """What stands around the card, and how it looks, is the same to the letter as around a harmless one."""
    assert visit("hostile").page.evaluate(REST) == visit("harmless").page.evaluate(REST)


@pytest.mark.parametrize("name", ["card 5", "index", "hub"])
def test_the_policy_stops_what_would_get_through(browser: Browser, places: dict[str, str], name: str) -> None:
    """Script, style, pictures and frames that stood in the page in spite of all are refused, each by its rule."""
    page = browser.new_page()
    page.goto(places[name])
    page.evaluate(
        """() => { window.refused = [];
          document.addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
          document.body.insertAdjacentHTML('beforeend',
          `<p id=x style="position: fixed">x</p><img src="nosuch:" onerror="window.ran = 1">
           <style>body { display: none }</style><img src="http://127.0.0.1:9/"><iframe src="http://127.0.0.1:9/"></iframe>
           <form action="http://127.0.0.1:9/"></form><base href="http://127.0.0.1:9/">`);
          document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }));
          document.querySelector('form').submit(); }"""
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.ran") is None
    assert page.evaluate("getComputedStyle(document.body).display") == "block"
    assert page.evaluate("getComputedStyle(document.getElementById('x')).position") == "static"
    assert set(page.evaluate("refused")) == {
        *("style-src-attr", "style-src-elem", "script-src-attr", "script-src-elem"),
        *("img-src", "frame-src", "form-action", "base-uri"),
    }
    page.close()
