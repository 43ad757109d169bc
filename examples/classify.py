"""Load a published classifier by its tag from an embedded Hub, and classify sentences that it has not seen.

    python -m examples.classify demo/topics v1.0.0 ./demo-hub

The arguments are those of examples/similarity.py.
"""

from __future__ import annotations

import sys

from examples.similarity import with_hub

SENTENCES = {
    "Stir the lentils and add a little cumin.": "cooking",
    "The midfielder passed to the winger, who shot wide.": "sport",
    "Showers and strong gusts will move in from the west.": "weather",
}


def classify(repo_id: str, revision: str) -> None:
    """Print the label and score of each sentence."""
    from transformers import pipeline
    from transformers.utils import logging

    logging.disable_progress_bar()
    pipe = pipeline("text-classification", model=repo_id, revision=revision)
    print(f"\n{repo_id} at {revision}, loaded by its tag:")
    for sentence, found in zip(SENTENCES, pipe(list(SENTENCES)), strict=True):
        print(f"  {found['label']:8} {found['score']:.3f}  {sentence}")
        if found["label"] != SENTENCES[sentence]:
            sys.exit("this is not the tuned model")


if __name__ == "__main__":
    with_hub(classify, *sys.argv[1:])
