"""Laws of a repo's page: what the Hub's Markdown becomes, and what is let through of it."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from hubpush import page
from hubpush.localhub import models, serve

LINKS = page.Links(
    root=page.HUB,
    file=lambda path: f"file:{path}",
    image=lambda path: "data:image/png;base64,AA==" if path == "parity/layers.png" else None,
    repo=lambda repo_id: {"acme/tiny": "tiny.html"}.get(repo_id),
)
README = """---
license: apache-2.0
language: [en]
pipeline_tag: fill-mask
library_name: transformers
datasets: [a/b]
tags: [bert, "<i>x</i>"]
base_model: acme/tiny
base_model_relation: quantized
widget:
- text: Paris is the [MASK] of France.
  example_title: Capital
  output:
  - {label: capital, score: 0.997}
---
# Tiny

See [the paper](https://arxiv.org/abs/1908.08962v2) and https://arxiv.org/pdf/1810.04805.
"""


def _repo(readme: str = README, **more: object) -> page.Repo:
    files = [page.File("README.md", 10), page.File("model.safetensors", 17_534_000, "ab" * 32)]
    return page.Repo("acme/tiny", readme, files, LINKS, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "there"),
    [
        ("|a|b|\n|:-|-:|\n|c|d|\n", '<td class="align-left">c</td>\n<td class="align-right">d</td>'),
        ("| | |\n|:-|:-|\n|c|d|\n", '<table class="facts"><tbody>'),
        ("- [x] done\n- [ ] open\n", "<li>☑ done</li>\n<li>☐ open</li>"),
        (
            "<details><summary>s</summary>\n\n**b**\n\n</details>",
            "<details><summary>s</summary>\n<p><strong>b</strong>",
        ),
        ("## What it is, in *short*?\n", '<h2 id="what-it-is-in-short">'),
        ("## [A `b`](c) <sub>d</sub>\n", '<h2 id="a-b-d">'),
        ("# A\n# A\n", '<h1 id="a-1">'),
        ("see https://example.org/a_b_c(d). x", '<a href="https://example.org/a_b_c(d)"'),
        ("`https://example.org`", "<code>https://example.org</code>"),
        ("```python\nx = 'a' # b\n```\n", '<span class="t-s">\'a\'</span> <span class="t-c"># b</span>'),
        ("```nosuch\n<b>\n```\n", "<pre><code>&lt;b&gt;\n</code></pre>"),
        ("[f](./hubpush.json)", 'href="file:hubpush.json"'),
        ('<a href=" a b.txt">f</a>', 'href="file:a b.txt"'),
        ("[f](a/../hubpush.json#x)", 'href="file:hubpush.json"'),
        ("![p](parity/layers.png)", 'src="data:image/png;base64,AA=="'),
        ("![p](other.png)", '<img alt="p">'),
        ("![p](https://example.org/p.png)", '<img alt="p">'),
        ("[t](https://huggingface.co/acme/tiny#facts)", 'href="tiny.html#facts"'),
        ("[t](/acme/tiny)", 'href="tiny.html"'),
        ("[t](https://huggingface.co/acme/other)", 'href="https://huggingface.co/acme/other"'),
        ("[t](https://huggingface.co/acme/tiny/tree/main)", 'href="https://huggingface.co/acme/tiny/tree/main"'),
        ("[t](//example.org/x)", 'href="https://example.org/x"'),
        ("[t](/acme/other)", 'href="https://huggingface.co/acme/other"'),
        ("~~a~~ <sub>b</sub>", "<s>a</s> <sub>b</sub>"),
        ("<!-- hubpush:begin x -->\ntext\n<!-- hubpush:end x -->", "text"),
    ],
)
def test_markdown_becomes_what_the_hub_makes_of_it(source: str, there: str) -> None:
    """Tables by class, task lists, folded parts, ids, colours, and links that lead to what is here."""
    shown = page.markdown(source, LINKS)
    assert there in shown.replace(' rel="noopener noreferrer"', "")
    assert "style=" not in shown
    assert "<!--" not in shown


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt&#58;alert(1))",
        '<a href="java\nscript:alert(1)">x</a>',
        '<a href="&#1;javascript:alert(1)">x</a>',
        "[a](data:text/html,<script>alert(1)</script>)",
        "<img src='data:text/html,x'>",
        "[a](vbscript:x) [b](file:///etc/passwd) [c](blob:x)",
        "<iframe src='//evil.example'></iframe><svg onload=alert(1)><script>1</script></svg>",
        "<style>body{display:none}</style><link rel=stylesheet href=//evil.example>",
        "<form action='//evil.example'><input><button>x</button></form>",
        "<meta http-equiv=refresh content='0;//evil.example'><base href='//evil.example'>",
        "<p style='position:fixed;inset:0' class='verdict pass badge bar'>x</p>",
        "<div id='hub.files'></div><a name='hub.card'></a>",
        "<article></div></div></article></details></body></html>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "![a](//evil.example/p.png) ![b](\\\\evil.example\\p.png) ![c](../../../etc/passwd)",
        "<img srcset='//evil.example/p.png' src='https://evil.example/p.png'><video src=//evil.example/v autoplay>",
        "```python\n</code></pre><script>alert(1)</script>\n```",
        "|<script>|\n|-|\n|<img src=x onerror=alert(1)>|",
        "# <img src=x onerror=alert(1)>",
        '[a]: javascript:alert(1) "t"\n\n[a] [a][]',
    ],
)
def test_nothing_of_a_card_can_run_load_or_leave_it(source: str) -> None:
    """What is let through has no script, frame, form, style, foreign source, class of the page, or id of it."""
    shown = page.markdown(source, LINKS)
    tags = re.findall(r"<(/?)([a-z0-9]+)((?:\s+[a-z-]+=\"[^\"]*\")*)\s*>", shown)
    assert shown.count("<") == len(tags), shown
    assert shown.count("<div") == shown.count("</div")
    for _, tag, attributes in tags:
        assert tag not in {"script", "style", "iframe", "svg", "math", "form", "input", "link", "meta", "base", "video"}
        for name, value in re.findall(r'([a-z-]+)="([^"]*)"', attributes):
            assert not name.startswith("on")
            assert name not in ("style", "srcset")
            if name in ("id", "name"):
                assert "." not in value
            if name == "class":
                assert set(value.split()) <= {"wide", "facts", *(f"t-{c}" for c in "kscmfb")}
            if name in ("href", "src"):
                plain = re.sub(r"[\0-\x20]", "", unescape(value)).lower()
                assert re.match(r"(https?:|mailto:|#|file:[a-z])" if name == "href" else "data:image/png;", plain), (
                    value
                )


@pytest.mark.parametrize("address", ["javascript:alert(1)", " javascript:x", "data:text/html,x", "\x01javascript:x"])
def test_an_address_of_the_chrome_runs_nothing_either(address: str) -> None:
    """Links around the card, whose addresses come from tags and titles, lead nowhere if they could run something."""
    assert page.link(address, "<b>") == '<a href="#">&lt;b&gt;</a>'


def test_the_chrome_shows_what_the_hub_would() -> None:
    """Pills from metadata, files and links, the model tree, an example with its output, files with their digests."""
    shown = page.repository(_repo(parameters=4_385_920, versions=[page.Version("v1.0.0", date="2026-11-22")]))
    pills = re.findall(r'<li class="pill">(.*?)</li>', shown)
    assert pills == [
        *("fill-mask", "transformers", "safetensors", "<b>license:</b> apache-2.0", "<b>language:</b> en"),
        *("<b>dataset:</b> a/b", "<b>arxiv:</b> 1908.08962", "<b>arxiv:</b> 1810.04805", "bert"),
        "&lt;i&gt;x&lt;/i&gt;",
    ]
    assert 'quantized of <a href="tiny.html">acme/tiny</a>' in shown
    assert "4.39M" in shown
    assert "17.5 MB" in shown
    assert "ab" * 32 in shown
    assert '<td>capital</td><td class="number">0.997</td>' in shown
    assert "apache-2.0\n" not in shown  # the front matter is no text
    assert "v1.0.0" in shown


def test_metadata_is_shown_with_each_problem_and_its_fix() -> None:
    """Severity in words, the field, what is wrong, and what to write instead; without problems it says so."""
    shown = page.facts("---\nlicense: apache2\nlibrary_name: transformers\npipeline_tag: nosuch\n---\n")
    assert "✗ error" in shown
    assert "<code>license</code>" in shown
    assert "apache-2.0" in shown
    assert "! warning" in shown
    assert "✓ valid" in page.facts("---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n")
    assert "empty or missing yaml" in page.facts("no metadata")


LONG = "x" * (1 << 20)


@pytest.mark.parametrize(
    "value", [LONG, '"><script>alert(1)</script>', "a\0b\x1b[31m\ud800\u202e", "{{ 7 * 7 }}", "|a|\n|-|"]
)
def test_any_text_stays_a_text(value: str) -> None:
    """A name, tag or title of any content is escaped, cut, and free of control characters; the page can be encoded."""
    quoted = re.sub('[\0-\x1f\ud800-\udfff"\\\\]', " ", value)
    readme = f'---\ntags: ["{quoted[:60000]}"]\nwidget: [{{text: "{quoted[:3000]}"}}]\n---\n{value}'
    repo = page.Repo(
        repo_id=f"acme/{value}",
        readme=readme,
        files=[page.File(value, 1, value)],
        links=LINKS,
        revision=value,
        versions=[page.Version(value, value, value, value)],
        commits=[page.Commit(f"/{value}", value, value, value)],
        collections=[(value, value)],
        tabs=[(value, value)],
    )
    shown = page.document(value, page.repository(repo) + page.facts(readme))
    assert "<script>alert" not in shown
    assert len(shown) < 400_000 or len(value) < 1000
    assert not re.search("[\0-\x08\x0e-\x1f\ud800-\udfff\u202e]", shown)
    shown.encode()


def test_a_card_that_would_take_long_is_shown_as_it_is() -> None:
    """Too long, in one paragraph or in all, or too deep: shown as text, since the time for it grows with the square."""
    assert page.markdown("a" * 200_001, LINKS) == f"<pre>{'a' * 200_000}…</pre>"
    shown = page.markdown(f"# Title\n\n{'![' * 15_000}**a**\n\n**b**", LINKS)
    assert "![" * 15_000 + "**a**" in shown
    assert "<strong>b</strong>" in shown
    deep = "<div>" * 1001
    assert page.markdown(deep, LINKS) == f"<pre>{'&lt;div&gt;' * 1001}</pre>"
    assert page.markdown("<br>" * 1001 + "<div>" * 900, LINKS).count("<div>") == 900


def test_code_is_coloured_as_far_as_that_is_cheap() -> None:
    """A block of more than 20,000 characters, and what comes after 60,000 in all, stays plain."""
    block = "```python\n" + "x = 1\n" * 3000 + "```\n\n"
    shown = page.markdown(block * 5, LINKS).split("<pre>")[1:]
    assert ["t-m" in one for one in shown] == [True, True, True, False, False]
    assert "t-m" not in page.markdown("```python\n" + "x = 1\n" * 3400 + "```", LINKS)


def test_a_page_holds_pictures_up_to_a_size() -> None:
    """A picture that is shown a thousand times is no page of a thousand times its size."""
    large = page.Links("", str, lambda _path: "data:image/png;base64," + "A" * (1 << 20), lambda _repo: None)
    shown = page.markdown("![a](a.png)\n\n" * 1000, large)
    assert 1 << 20 < len(shown) < 10 << 20
    assert shown.count("<img") == 1000


def test_the_policy_names_the_stylesheet_and_the_script_by_digest() -> None:
    """Nothing inline runs or styles but these two, whatever gets into the page."""
    whole = page.document("t", "b", script="1", in_file=True)
    allowed = unescape(re.findall(r'Security-Policy" content="([^"]*)"', whole)[0])
    assert "unsafe" not in allowed
    assert "default-src 'none'" in allowed
    assert allowed.count("'sha256-") == 2
    assert "script-src" not in page.policy()


# The embedded Hub's pages


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HfApi]:
    with serve(tmp_path / "hub") as url:
        api = HfApi(endpoint=url, token="hf_x")
        for name in ("acme/tiny", "Acme/other", "acme/secret", "somebody/else"):
            api.create_repo(name, private=name == "acme/secret")
        yield api


def _get(api: HfApi, address: str) -> str:
    request = Request(f"{api.endpoint}/{address}", headers={"Accept": "text/html"})
    with urlopen(request, timeout=20) as answer:
        return str(answer.read().decode())


def test_an_owner_has_a_page(hub: HfApi) -> None:
    """Repositories and collections of a user or organisation, in any case of its name, without private ones."""
    api = hub
    slug = api.create_collection("Small <models>", namespace="acme").slug
    api.create_collection("Hidden", namespace="acme", private=True)
    api.add_collection_item(slug, "acme/tiny", "model")
    for name in ("acme", "ACME"):
        shown = _get(api, name)
        assert re.findall(r'<li><a href="/([^"]+)"', shown) == ["acme/other", "acme/tiny", f"collections/{slug}"]
        assert "Small &lt;models&gt;" in shown
        assert "Hidden" not in shown
        assert "secret" not in shown
    assert "Small &lt;models&gt;" in _get(api, "acme/tiny")
    assert "Small" not in _get(api, "acme/other")
    with pytest.raises(HTTPError) as error:
        _get(api, "nobody")
    assert error.value.code == 401  # as for all that may be private: a browser is asked who it is


def test_the_history_has_pages(hub: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every commit of a revision stands on one of its pages, the newest first."""
    monkeypatch.setattr(models, "_COMMITS_PAGE", 3)
    for number in range(5):
        operation = CommitOperationAdd("n.txt", str(number).encode())
        hub.create_commit("acme/tiny", [operation], commit_message=f"<commit {number}>")
    first, second = _get(hub, "acme/tiny/commits/main"), _get(hub, "acme/tiny/commits/main?p=1")
    found = [int(number) for number in re.findall(r"&lt;commit (\d+)&gt;", first + second)]
    assert found == [4, 3, 2, 1, 0]
    assert 'href="?p=1"' in first
    assert "?p=" not in second
    with pytest.raises(HTTPError):
        _get(hub, "acme/tiny/commits/nosuch")


def test_a_version_has_a_page(hub: HfApi) -> None:
    """The page of a tag shows the card and the files as they were, with metadata and its problems, and all versions."""
    for version in ("1.0.0", "2.0.0"):
        readme = f"---\nlicense: mit\ntags: [of-{version}]\n---\n# Version {version}\n[w](w.bin) https://huggingface.co/somebody/else"
        added = [CommitOperationAdd("README.md", readme.encode()), CommitOperationAdd(f"w-{version}.bin", b"w")]
        commit = hub.create_commit("acme/tiny", added, commit_message="m").oid
        hub.create_tag("acme/tiny", tag=f"v{version}")
    old, new = _get(hub, "acme/tiny/tree/v1.0.0"), _get(hub, "acme/tiny")
    assert "# Version" not in old
    assert "Version 1.0.0</h1>" in old
    assert "w-2.0.0.bin" not in old
    assert "of-1.0.0" in old
    assert "i advice" in old
    assert "Version 2.0.0</h1>" in new
    assert f'href="/acme/tiny/resolve/{commit}/w.bin"' in new
    assert 'href="/somebody/else"' in new
    for name in ("main", "v1.0.0", "v2.0.0"):
        assert f'href="/acme/tiny/tree/{name}"' in old


def test_a_table_of_empty_cells_costs_no_more_than_it_shows() -> None:
    """A row of one cell gets as many as its table has columns: a card of some kilobytes could ask for millions."""
    wide = "|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n" + "|x\n" * 5000
    assert page.markdown(wide, LINKS).startswith("<pre>")
    usual = "| a | b |\n|:--|--:|\n" + "| 1 | 2 |\n" * 500 + "\ntext | with a bar\n"
    assert page.markdown(usual, LINKS).count("<td") == 1000


def test_metadata_of_every_kind_is_shown() -> None:
    """Keys that are no texts, dates, sets, what is no number and what is too large for one are shown as they can be."""
    for front in (
        "x: {? 2020-01-01 : x}",
        "x: .nan\ny: !!binary aGVsbG8=\nz: !!set {a}\nt: 2020-01-01T00:00:00Z",
        "widget: [{text: {a: {? 2020-01-01 : 1}}}]",
        f"widget:\n- text: x\n  output: [{{label: x, score: 1{'0' * 400}}}]",
    ):
        readme = f"---\n{front}\n---\n# x\n"
        assert "<h1" in page.repository(_repo(readme))
        assert "facts" in page.facts(readme)
