"""Fine-tune a small classifier in TensorFlow, and leave what people have on their disks: an output directory.

It starts from the demo's TensorFlow 1 checkpoint (examples/minilm.py), keeps its encoder, and tunes the pooler and the
head of google-research/bert's run_classifier.py (`output_weights`, `output_bias`) on 45 sentences about three topics.
What lies in the directory afterwards is what training leaves: a checkpoint with its step in its name, with Adam's
moments and the step counter in it, and neither config nor vocabulary beside it, which are the ancestor's.

    python examples/minilm.py
    python -m examples.classifier
    hubpush inspect examples/classifier-demo/output
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from examples import minilm
from hubpush import zipball
from hubpush.architectures.bert import forward
from hubpush.checkpoint import Checkpoint
from hubpush.mapping import recognize
from hubpush.model import read_config
from hubpush.parity.graph import tensorflow

HERE = Path(__file__).parent
STEPS = 30
LABELS = ("cooking", "sport", "weather")
TRAINING = {
    "cooking": """
        Chop the onions and fry them in butter until they are golden.
        The soup needs more salt and a spoon of vinegar.
        Let the dough rise for an hour before you bake the bread.
        She grilled the fish with lemon and thyme.
        Whisk the eggs, then fold in the sugar and the flour.
        Roast the potatoes in a hot oven for forty minutes.
        He simmered the tomato sauce with garlic and basil.
        The recipe asks for two cups of rice and some saffron.
        Peel the apples and cook them with cinnamon.
        A pinch of pepper makes the stew taste better.
        Marinate the chicken overnight in yoghurt.
        They served pasta with mushrooms and parmesan.
        Boil the beans until they are soft.
        The cake was too sweet, so she used less honey.
        Toast the bread and spread it with avocado.
    """,
    "sport": """
        The striker scored twice in the last ten minutes.
        She won the marathon in a new personal best time.
        The coach blamed the referee for the defeat.
        He served three aces and took the set.
        The team trained hard before the final match.
        Her long jump was the best of the championship.
        The goalkeeper saved a penalty in extra time.
        They lost the basketball game by one point.
        The cyclist broke away on the last climb.
        Our club bought a new defender this summer.
        The swimmer beat the world record in the relay.
        A late goal sent the visitors to the top of the league.
        The boxer was knocked out in the second round.
        The runners warmed up at the side of the track.
        Fans cheered when the captain lifted the trophy.
    """,
    "weather": """
        Heavy rain is expected over the hills tonight.
        The fog will clear by noon, with sunny spells later.
        A cold front brings snow to the north.
        Winds of eighty kilometres an hour hit the coast.
        It was the hottest day of the year so far.
        Thunderstorms are likely in the afternoon.
        Frost covered the fields in the early morning.
        The forecast promises a mild and dry weekend.
        Clouds gathered and the temperature fell quickly.
        The drought has lasted for three months.
        Hail damaged cars and greenhouses in the valley.
        A light breeze and clear skies are expected tomorrow.
        The humidity made the heat hard to bear.
        Flood warnings were issued after the storm.
        The barometer is falling and the sky turns grey.
    """,
}


def lines(text: str) -> list[str]:
    """The sentences of one topic."""
    return [line.strip() for line in text.strip().splitlines()]


def encode(vocab: Path, sentences: list[str]) -> dict[str, np.ndarray]:
    """Token ids as the original tokenizer gives them, padded."""
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab=str(vocab), do_lower_case=True)
    batch = tokenizer(sentences, padding=True, return_tensors="np")
    return {name: batch[name].astype(np.int32) for name in ("input_ids", "attention_mask", "token_type_ids")}


def tune(tf: Any, states: np.ndarray, truth: np.ndarray, pooler: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tune pooler and head by Adam; the variables with their moments, under the names that Google's optimizer gives."""
    random = np.random.default_rng(7)
    values = {
        **pooler,
        "output_weights": random.normal(0, 0.02, (len(LABELS), states.shape[1])).astype(np.float32),
        "output_bias": np.zeros(len(LABELS), np.float32),
    }
    variables = {name: tf.Variable(value) for name, value in values.items()}
    slots = {f"{name}/{slot}": np.zeros_like(v) for name, v in values.items() for slot in ("adam_m", "adam_v")}
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            pooled = tf.tanh(states @ variables["bert/pooler/dense/kernel"] + variables["bert/pooler/dense/bias"])
            logits = tf.matmul(pooled, variables["output_weights"], transpose_b=True) + variables["output_bias"]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits))
        for (name, variable), gradient in zip(
            variables.items(), tape.gradient(loss, list(variables.values())), strict=True
        ):
            m, v = f"{name}/adam_m", f"{name}/adam_v"
            slots[m] = (0.9 * slots[m] + 0.1 * gradient.numpy()).astype(np.float32)
            slots[v] = (0.999 * slots[v] + 0.001 * gradient.numpy() ** 2).astype(np.float32)
            variable.assign_sub(1e-4 * slots[m] / (np.sqrt(slots[v]) + 1e-6))
    print(f"{STEPS} steps on {len(truth)} sentences, loss {float(loss):.3f}")
    return {name: variable.numpy() for name, variable in variables.items()} | slots


def main(here: Path = HERE) -> None:
    """Write classifier-demo/: base/ (config and vocabulary), output/ (the checkpoint), labels.txt."""
    demo, base = here / "classifier-demo", here / "classifier-demo" / "base"
    shutil.rmtree(demo, ignore_errors=True)
    base.mkdir(parents=True)
    zipball.unpack(here / "minilm-demo" / f"{minilm.NAME}.zip", base)
    with Checkpoint(base / "bert_model.ckpt") as checkpoint:
        weights = {name: checkpoint[name] for name in checkpoint}
        config = read_config(base / "bert_config.json", recognize(checkpoint))
    sentences = [sentence for label in LABELS for sentence in lines(TRAINING[label])]
    truth = np.repeat(np.arange(len(LABELS)), [len(lines(TRAINING[label])) for label in LABELS])
    tf = tensorflow()
    inputs = encode(base / "vocab.txt", sentences)
    found = forward(tf, weights.__getitem__, frozenset(), config, "gelu", inputs, "float32")
    pooler = {name: weights.pop(name) for name in ("bert/pooler/dense/kernel", "bert/pooler/dense/bias")}
    tuned = tune(tf, found["sequence_output"][:, 0], truth, pooler)
    for path in base.glob("bert_model.ckpt.*"):
        path.unlink()
    (demo / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8", newline="\n")
    prefix = demo / "output" / f"model.ckpt-{STEPS}"
    prefix.parent.mkdir()
    minilm.save(prefix, weights | tuned | {"global_step": np.array(STEPS, np.int64)})
    print(f"{prefix.relative_to(here.parent)}: written by TensorFlow's Saver")


if __name__ == "__main__":
    main()
