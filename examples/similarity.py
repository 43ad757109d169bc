"""Load a published model by its tag from an embedded Hub, and compare sentences with it.

hubpush hub serve ./demo-hub &
HF_ENDPOINT=http://127.0.0.1:8000 python examples/similarity.py demo/all-MiniLM-L6-v2-tf1 v1.0.0
"""

from __future__ import annotations

import sys

import torch
from transformers import AutoModel, AutoTokenizer

SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays music on an instrument.",
    "The stock market fell sharply on Monday.",
)


def main(repo_id: str, revision: str) -> None:
    """Print the cosine of two related and of two unrelated sentences, from mean-pooled vectors."""
    tokenizer = AutoTokenizer.from_pretrained(repo_id, revision=revision)
    model = AutoModel.from_pretrained(repo_id, revision=revision)
    batch = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    related, unrelated = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    print(f"{repo_id} at {revision}, loaded by tag in another process:")
    print(f"  related    {related:+.3f}  {SENTENCES[0]!r} / {SENTENCES[1]!r}")
    print(f"  unrelated  {unrelated:+.3f}  {SENTENCES[0]!r} / {SENTENCES[2]!r}")
    if related < unrelated + 0.2:
        sys.exit("this is not the trained model")


if __name__ == "__main__":
    main(*sys.argv[1:])
