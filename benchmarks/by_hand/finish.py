"""Make model folders of what `transformers-cli convert` left: config, safetensors, tokenizer, a check and a README.

    python finish.py FOLDER...

It is what a person would write, for transformers 4.47.1. The check is the usual one: two sentences through the
TensorFlow and the PyTorch class, and the last hidden states may differ by 0.05. Both load the same converted weights,
since no class of 4.47.1 runs the checkpoint itself.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import BertForPreTraining, BertModel, BertTokenizerFast, TFBertModel

SENTENCES = ["Paris is the capital of France.", "The river froze over night."]
README = """---
license: apache-2.0
language: en
library_name: transformers
tags:
- bert
---

# {name}

BERT with {num_hidden_layers} layers and a hidden size of {hidden_size}, converted from the TensorFlow checkpoint.

```python
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
model = AutoModel.from_pretrained("{name}")
```
"""


def finish(folder: Path) -> None:
    """Finish one folder."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"model_type": "bert"}
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")

    BertForPreTraining.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)
    (folder / "pytorch_model.bin").unlink()
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True)
    tokenizer.model_max_length = config["max_position_embeddings"]
    tokenizer.save_pretrained(folder)

    theirs = TFBertModel.from_pretrained(folder, from_pt=True)(tokenizer(SENTENCES, padding=True, return_tensors="tf"))
    with torch.no_grad():
        ours = BertModel.from_pretrained(folder)(**tokenizer(SENTENCES, padding=True, return_tensors="pt"))
    gap = (ours.last_hidden_state - torch.from_numpy(theirs.last_hidden_state.numpy())).abs().max().item()
    if gap > 0.05:
        raise SystemExit(f"{folder.name}: TensorFlow and PyTorch differ by {gap}")
    (folder / "README.md").write_text(README.format_map({"name": folder.name, **config}), encoding="utf-8")


for name in sys.argv[1:]:
    finish(Path(name))
