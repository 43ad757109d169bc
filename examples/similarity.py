"""Load a published model by its tag from an embedded Hub, and compare sentences with it.

    python examples/similarity.py demo/all-MiniLM-L6-v2-tf1 v1.0.0 ./demo-hub

The third argument is the embedded Hub's directory, which is served for the time of this command. Without it the model
comes from the Hub that huggingface_hub is configured for (`HF_ENDPOINT`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays music on an instrument.",
    "The stock market fell sharply on Monday.",
)


def compare(repo_id: str, revision: str) -> None:
    """Print the cosine of two related and of two unrelated sentences, from mean-pooled vectors."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(repo_id, revision=revision)
    model = AutoModel.from_pretrained(repo_id, revision=revision)
    batch = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))
    related, unrelated = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    print(f"\n{repo_id} at {revision}, loaded by its tag:")
    print(f"  related    {related:+.3f}  {SENTENCES[0]!r} / {SENTENCES[1]!r}")
    print(f"  unrelated  {unrelated:+.3f}  {SENTENCES[0]!r} / {SENTENCES[2]!r}")
    if related < unrelated + 0.2:
        sys.exit("this is not the trained model")


def with_hub(use: Callable[[str, str], None], repo_id: str, revision: str, hub: str | None = None) -> None:
    """Use the model of a Hub, or of an embedded Hub's directory."""
    from hubpush import localhub

    with localhub.serve(Path(hub)) if hub else nullcontext() as endpoint:
        if endpoint:
            # Read by huggingface_hub when it is imported. A person's token has no business on an embedded Hub.
            os.environ |= {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
        use(repo_id, revision)
    if hub:
        hubpush = os.path.relpath(Path(sys.executable).parent / "hubpush")
        print(f"\nBrowse it:  {hubpush} hub serve {hub}   then http://127.0.0.1:8000/{repo_id}")


if __name__ == "__main__":
    with_hub(compare, *sys.argv[1:])
