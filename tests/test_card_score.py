"""The rules of `make card-score`, on cards of a few lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import card_score
from benchmarks.card_score import COLUMNS, score

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
CODE = 'from transformers import AutoModel\nmodel = AutoModel.from_pretrained("acme/tiny")\nprint(model(1))\n'
BIBTEX = "@misc{doe2020tiny,\n  title={A {Tiny} Model},\n  author={Doe, Jane},\n  year={2020}\n}\n"
FRONT = "library_name: transformers\npipeline_tag: fill-mask\ntags: [bert]\nlicense: mit"
DIGEST = "ab" * 32

# For each column what fills it, as front matter or body, and what the filling quotes.
FULL: dict[str, tuple[str, str, str]] = {
    "Metadata": (FRONT, "", "library_name, pipeline_tag, tags, license"),
    "Usage": ("", f"## Usage\n\n```python\n{CODE}```\n", 'AutoModel.from_pretrained("acme/tiny")'),
    "Eval": ("", "## Scores\n\n| GLUE task | Score |\n|:--|--:|\n| RTE | 57.2 |\n", "57.2"),
    "Provenance": ("", f"## From\n\n| | |\n|:--|:--|\n| SHA-256 of the source | `{DIGEST}` |\n", DIGEST),
    "Parity evidence": (
        "",
        "## Check\n\n| Compared with | Difference | Allowed |\n|:--|--:|--:|\n| original graph | 1.2e-14 | 7.8e-13 |\n",
        "Difference: 1.2e-14; Allowed: 7.8e-13",
    ),
    "Environment": ("", "## With\n\n- PyTorch: 2.13.0+cpu\n- Transformers: 5.23.0\n", "PyTorch: 2.13.0+cpu, Transf"),
    "Licence": ("license: mit", "", "license: mit"),
    "Citation": ("", f"## Citation\n\n```bibtex\n{BIBTEX}```\n", "@misc{doe2020tiny, A {Tiny} Model"),
    "Limits/bias": ("", "## Bias and limits\n\nIt has seen English text only, and no code.\n", "English text only"),
    "Versions": ("", "## Versions\n\n| Tag | What |\n|:--|:--|\n| [v1.0.0](x) | first release |\n", "Tag: v1.0.0"),
    "Widget": ("widget:\n- text: Paris is [MASK].", "", "Paris is [MASK]."),
    "Plots": ("", "![differences](parity/layers.png)\n", "parity/layers.png, 16 bytes"),
}
IN_BODY = [column for column, (front, _, _) in FULL.items() if not front]
EMPTY = {
    "Metadata": [
        ("library_name: TODO\npipeline_tag: fill-mask\ntags: [bert]", ""),
        ("library_name: transformers\npipeline_tag: fill-mask\ntags: []", ""),
        (f"{FRONT}\nlanguage: English", ""),  # the Hub refuses it
    ],
    "Usage": [
        ("", "## Usage\n\n[More Information Needed]\n"),
        ("", f"## Usage\n\n```python\n{CODE.replace('acme/tiny', 'tiny')}```\n"),
        ("", f"## Usage\n\n```python\n{CODE.replace('acme/tiny', 'your-name/tiny')}```\n"),
        ("", f"## Usage\n\n```python\n{CODE}model(...)\n```\n"),
        ("", f"## Usage\n\n```python\n{CODE.replace('import', 'imports')}```\n"),
        ("", f"## Usage\n\n```python\n{CODE.partition(chr(10))[2]}```\n"),
        ("", "## Usage\n\n```bash\npip install transformers\n```\n"),
    ],
    "Eval": [
        ("", "## Scores on GLUE\n\n| Task | Score |\n|:--|--:|\n| RTE | [More Information Needed] |\n"),
        ("", "## Evaluation\n\n| Task | Score |\n|:--|--:|\n| ours | 57.2 |\n"),
        ("", "Fine-tuned on SQuAD 1.1, see arXiv:1908.10084.\n"),
        ("model-index:\n- name: x\n  results:\n  - dataset: {name: GLUE}\n    metrics: [{value: TODO}]", ""),
    ],
    "Provenance": [
        ("", "## From\n\nThe source is on [our site](https://acme.example).\n"),
        ("", f"Digest of the templates: {DIGEST}\n"),
        ("", "| Source | SHA-256 |\n|:--|:--|\n| a.zip | TODO |\n"),
    ],
    "Parity evidence": [
        ("", "The outputs were compared with the original.\n"),
        ("", "| Compared with | Difference | Allowed |\n|:--|--:|--:|\n| original | 1.2e-14 | – |\n"),
        ("", "| Compared with | Difference | Allowed |\n|:--|--:|--:|\n| original | – | 7.8e-13 |\n"),
        ("", "| Compared with | Difference | Allowed |\n|:--|--:|--:|\n| itself | 1.2e-14 | 7.8e-13 |\n"),
    ],
    "Environment": [("", "- Python: 3.11.7\n- Transformers: \n- PyTorch: 2.13.0\n"), ("", "Needs transformers.\n")],
    "Licence": [
        ("license: unknown", ""),
        ("license: other", ""),
        ("license: my-own", ""),
        ("", "## Licence\n\nApache-2.0\n"),
    ],
    "Citation": [
        ("", "## Citation\n\n### BibTeX\n\n## Next\n\nThe end.\n"),
        ("", "## Citation\n\n```bibtex\n@misc{x,\n  title={[More Information Needed]},\n  author={Doe}\n}\n```\n"),
        ("", "## Citation\n\n```bibtex\n@misc{x,\n  author={Doe, Jane}\n}\n```\n"),
        ("", "## Citation\n\n```bibtex\n@misc{x,\n  title={Tiny}\n}\n```\n"),
    ],
    "Limits/bias": [
        ("", "## Limits\n\n## Next\n\nIt is not what it was, and no more.\n"),
        ("", "## Bias\n\nUsers should know its limits. More information needed for further recommendations.\n"),
        ("", "## Limits\n\n*What is it not? You could also flag here known failure cases or weaknesses.*\n"),
    ],
    "Versions": [
        ("", "### Framework versions\n\n- 5.23.0 of transformers\n"),
        ("", "## Versions\n\n- Python: 3.11.7\n"),
        ("", "## Versions\n\n- v1.0.0\n"),
        ("", "## Versions\n\n- v1.0.0: TODO\n"),
    ],
    "Widget": [("widget: true", ""), ("widget:\n- text: ''", ""), ("widget:\n- example_title: Capital", "")],
    "Plots": [
        ("", "![no such file](parity/other.png)\n"),
        ("", "![elsewhere](https://acme.example/parity/layers.png)\n"),
        ("", "![outside](../outside.png)\n"),
        ("", "![no picture](README.md)\n"),
    ],
}
Write = Callable[..., card_score.Card]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """What makes a card of a front matter and a body, with a picture beside it and one outside."""

    def write(front: str, body: str) -> card_score.Card:
        folder = tmp_path / "card"
        (folder / "parity").mkdir(parents=True, exist_ok=True)
        for picture in (folder / "parity/layers.png", tmp_path / "outside.png"):
            picture.write_bytes(PNG)
        (folder / "README.md").write_text(f"---\n{front or 'tags: [x]'}\n---\n\n# Tiny\n\n{body}", "utf-8")
        return card_score.read(folder / "README.md")

    return write


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_is_found_and_quoted_and_no_other(column: str, written: Write) -> None:
    """What fills a column gives its words as the evidence, and is taken for no other column."""
    front, body, quoted = FULL[column]
    found = score(written(front, body))
    assert quoted in (found[column] or "")
    assert {name for name, evidence in found.items() if evidence} - {column} == (
        {"Licence"} if column == "Metadata" else set()
    )


@pytest.mark.parametrize("column", IN_BODY)
def test_a_comment_says_nothing(column: str, written: Write) -> None:
    """A section in a comment, closed or not, inside a block of HTML or not, is not there."""
    _, body, _ = FULL[column]
    for hidden in (f"<!--\n{body}\n-->\n", f"<!--\n{body}", f"<details>\n<!-- x\n\n{body}\n\n-->\n</details>\n"):
        assert score(written("", hidden))[column] is None
    assert score(written("", f"<!-- begin -->\n{body}<!-- end -->\n"))[column]


@pytest.mark.parametrize("column", COLUMNS)
def test_an_empty_promise_says_nothing(column: str, written: Write) -> None:
    """A heading alone, a placeholder, and what only looks like the thing do not count."""
    assert score(written("", ""))[column] is None
    for front, body in EMPTY[column]:
        assert score(written(front, body))[column] is None, (front, body)


def test_front_matter_in_a_yaml_comment_says_nothing(written: Write) -> None:
    """A licence or a widget behind a # is not there."""
    for column in ("Metadata", "Licence", "Widget"):
        assert score(written(re.sub("^", "# ", FULL[column][0], flags=re.MULTILINE), ""))[column] is None


@pytest.mark.parametrize(
    ("code", "after", "said"),
    [
        (CODE, "prints\n\n```text\n0.657\n```\n", "4 lines; shows its output: 0.657"),
        (f"{CODE}# tensor([[1.0]])\n", "", "shows its output: # tensor([[1.0]])"),
        (f"{CODE}# Then look at it\n", "", "shows no output"),
        (CODE, "## Next\n\n```text\n0.657\n```\n", "shows no output"),
        (CODE.replace("print(model(1))", "model(1)"), "```text\n0.657\n```\n", "shows no output"),
    ],
)
def test_output_counts_where_the_code_prints_it(code: str, after: str, said: str, written: Write) -> None:
    """Output is what stands in a comment below a print, or in a block of text that follows in the same section."""
    said = said.replace("4 lines", f"{len(code.splitlines())} lines")
    assert said in (score(written("", f"## Usage\n\n```python\n{code}```\n\n{after}"))["Usage"] or "")


def test_other_forms_count_as_well(written: Write) -> None:
    """What other tools write in another form: a model-index, a linked revision, prose, indented BibTeX, HTML."""
    index = "model-index:\n- name: x\n  results:\n  - dataset: {name: STS dev}\n    metrics: [{value: 0.8}]"
    body = (
        f"Finetuned from [base](https://huggingface.co/a/b/tree/{'c' * 40}).\n\n"
        "The model differs from the original by at most 1e-05 (tolerance 5e-05).\n\n"
        "## Semantic Similarity\n\n* Dataset: `sts-dev`\n\n| Metric | Value |\n|:--|--:|\n| pearson | 0.7932 |\n\n"
        f"## Citation\n\n{re.sub('^', '    ', BIBTEX, flags=re.MULTILINE)}\n\n"
        "## Changelog\n\n- Version 2: new vocabulary\n\n"
        "<img width=100 src='parity/layers.png'>\n"
    )
    found = score(written("", body))
    assert {column for column, evidence in found.items() if evidence} == {
        "Provenance", "Parity evidence", "Eval", "Citation", "Versions", "Plots",
    }  # fmt: skip
    assert "STS dev 0.8" in (score(written(index, ""))["Eval"] or "")


def test_the_table_says_where_theirs_has_more(written: Write) -> None:
    """Both cards are counted by the same rules, cells stay cells, and a column that theirs alone has is named."""
    ours = written("license: mit", "## Limits\n\nIt is a | b only, and `no` more.\n")
    theirs = written("license: mit\nwidget:\n- text: Paris is `[MASK]`.", "")
    lines = card_score.table(ours, theirs).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines[:16]}) == 1
    assert "| Licence | yes: `license: mit` | yes: `license: mit` |" in lines
    assert "| Limits/bias | yes: `It is a \\| b only, and no more.` | no |" in lines
    assert "| Widget | no | yes: `widget: text: Paris is '[MASK]'.` |" in lines
    assert "| Columns | **2 of 12** | **2 of 12** |" in lines
    assert lines[-1].startswith("In theirs and not in ours: Widget. In neither: Metadata, ")
    assert "In theirs and not in ours: Limits/bias." in card_score.table(theirs, ours)


def test_too_few_columns_fail(written: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The run returns 1 exactly when ours has fewer columns than it must have, and refuses a card that is missing."""
    written("license: mit", "")
    card = tmp_path / "card/README.md"
    (tmp_path / "card/model").mkdir()
    (tmp_path / "card/model/config.json").write_text("{}")
    monkeypatch.setattr(card_score, "generate", lambda *_: card)
    assert card_score.main(["--ours", str(card)]) == 1
    assert card_score.main(["--ours", str(card), "--least", "2"]) == 1
    assert card_score.main(["--ours", str(card), "--least", "1"]) == 0
    with pytest.raises(SystemExit, match="2"):
        card_score.main(["--ours", str(tmp_path / "none.md")])
