"""What people use against the embedded Hub, as they use it: `hf` and transformers with default settings (xet on)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubpush.localhub import obstacles, serve

CARD = "---\nlicense: mit\n---\n# Tiny\n"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """A running embedded Hub."""
    with serve(tmp_path / "hub") as url:
        yield url


def environment(endpoint: str, tmp_path: Path) -> dict[str, str]:
    """What a person sets: `HF_ENDPOINT` and some token; and a home of the test's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    own = {"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_any", "HF_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    return {**kept, **own, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "CUDA_VISIBLE_DEVICES": ""}


def test_the_hf_command_does_its_work(endpoint: str, tmp_path: Path) -> None:
    """Each `hf` command that a publisher, a reviewer and a downloader use ends well and shows what was done."""

    def hf(*arguments: str) -> str:
        done = subprocess.run(
            [Path(sys.executable).with_name("hf"), *arguments],
            check=False, capture_output=True, text=True, env=environment(endpoint, tmp_path), cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    weights = os.urandom(300_000)
    (tmp_path / "f").mkdir()
    (tmp_path / "f/model.safetensors").write_bytes(weights)
    (tmp_path / "f/README.md").write_text(CARD)
    assert "local" in hf("auth", "whoami")
    hf("repos", "create", "demo/m")
    hf("upload", "demo/m", "f")
    hf("repos", "tag", "create", "demo/m", "v1.0.0")
    assert "v1.0.0" in hf("repos", "tag", "list", "demo/m")
    hf("download", "demo/m", "--revision", "v1.0.0", "--local-dir", "got")
    assert (tmp_path / "got/model.safetensors").read_bytes() == weights
    assert [model["id"] for model in json.loads(hf("models", "ls", "--author", "demo", "--format", "json"))] == [
        "demo/m"
    ]
    assert "demo/m" in hf("repos", "ls", "--namespace", "demo")
    slug = json.loads(hf("collections", "create", "My models", "--namespace", "demo", "--format", "json"))["slug"]
    hf("collections", "add-item", slug, "demo/m", "model", "--note", "pass")
    assert json.loads(hf("collections", "info", slug, "--format", "json"))["items"][0]["item_id"] == "demo/m"
    hf("upload", "demo/m", "f/README.md", "NOTES.md", "--create-pr")
    hf("discussions", "merge", "demo/m", "1", "--yes")
    hf("repos", "move", "demo/m", "demo/n")
    hf("download", "demo/m", "NOTES.md", "--local-dir", "got")
    assert (tmp_path / "got/NOTES.md").read_text() == CARD
    hf("repos", "delete", "demo/n", "--yes")
    assert hf("models", "ls", "--format", "json").strip() in ("[]", "")


TRANSFORMERS = """
import sys
from pathlib import Path
import torch
from huggingface_hub import HfApi, snapshot_download
from transformers import AutoModelForMaskedLM as Auto, BertConfig, BertForMaskedLM, BertTokenizer, pipeline

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]
Path("vocab.txt").write_text("\\n".join(words) + "\\n")
shape = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
model = BertForMaskedLM(BertConfig(vocab_size=len(words), **shape))
tokenizer = BertTokenizer("vocab.txt")
model.push_to_hub("demo/bert")
tokenizer.push_to_hub("demo/bert")
first = HfApi().model_info("demo/bert").sha
HfApi().create_tag("demo/bert", tag="v1.0.0")
with torch.no_grad():
    model.bert.embeddings.word_embeddings.weight.zero_()
model.push_to_hub("demo/bert", commit_message="Worse")
assert HfApi().model_info("demo/bert").sha != first
scores = [
    [round(one["score"], 6) for one in pipeline("fill-mask", "demo/bert", revision=revision)("a [MASK] c")]
    for revision in ("v1.0.0", "main", first)
]
assert scores[0] == scores[2] != scores[1], scores
folder = Path(snapshot_download("demo/bert", revision="v1.0.0"))
loaded, again = Auto.from_pretrained(folder), Auto.from_pretrained("demo/bert", revision="v1.0.0")
assert all(torch.equal(p, q) for p, q in zip(loaded.parameters(), again.parameters(), strict=True))
assert folder.name == first
print("as tagged")
"""


@pytest.mark.long
def test_transformers_pushes_and_loads_by_tag(endpoint: str, tmp_path: Path) -> None:
    """`push_to_hub`, `pipeline(…, revision=tag)` and `snapshot_download` give the tagged weights, not the newest."""
    done = subprocess.run(
        [sys.executable, "-c", TRANSFORMERS],
        check=False, capture_output=True, text=True, env=environment(endpoint, tmp_path), cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.strip().endswith("as tagged"), done.stderr[-3000:]


def test_what_keeps_clients_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline switches and proxies in the environment are named with what helps; a proxy that is bypassed is not."""
    for name in (
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "NO_PROXY",
        "no_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    url = "http://127.0.0.1:8000"
    assert obstacles(url) == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert [text.split()[0] for text in obstacles(url)] == ["HF_HUB_OFFLINE", "a"]
    assert "NO_PROXY=127.0.0.1" in obstacles(url)[1]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert len(obstacles(url)) == 1
