"""The code that a card shows, and what it prints: it is run on the very folder that is published.

A snippet names its repo by `REPO` and its version by `TAG`, so that it is known before there is either; `filled` puts
them in. Nothing that a file or a person says becomes a part of the code: it is chosen by the class, the sizes and the
language alone.
"""

from __future__ import annotations

import io
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hubpush import manifest
from hubpush.architectures import ARCHITECTURES
from hubpush.architectures.bert import LAYER_NORM_EPSILON
from hubpush.errors import ModelError
from hubpush.manifest import Snippet
from hubpush.parity.published import quiet

REPO, TAG = "OWNER/NAME", "vX.Y.Z"

_MOST_LINES, _LONGEST_LINE = 20, 160  # labels and tokens may be of any length; no snippet prints so much by itself
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, other line ends, changes of direction, and halves of characters: labels and tokens hold them."""


@dataclass(frozen=True)
class _Texts:
    """What the snippets are about, in one language."""

    masked: str
    three: tuple[str, str, str]
    classified: str
    named: str
    question: str
    answer: str
    replaced: str


_ENGLISH = _Texts(
    masked="Paris is the [MASK] of France.",
    three=("A man is eating food.", "Somebody has a meal.", "The train leaves at noon."),
    classified="I would watch this film again.",
    named="George Washington went to Washington.",
    question="Who came down to see the ships?",
    answer="The people of the town came down to see the ships.",
    replaced="The quick brown fox fake over the lazy dog.",
)
_CHINESE = _Texts(
    masked="巴黎是[MASK]国的首都。",
    three=("他在吃饭。", "有人在吃东西。", "火车中午出发。"),
    classified="这部电影我会再看一遍。",
    named="王小明住在北京。",
    question="谁来看船?",
    answer="镇上的人来看船。",
    replaced="巴黎是法国的手都。",
)


def filled(snippet: Snippet, repo_id: str, tag: str) -> Snippet:
    """A snippet for a version in a repo."""
    names = {REPO: repo_id, TAG: tag}
    code = re.sub(f"{REPO}|{re.escape(TAG)}", lambda found: names[found[0]], snippet.code)
    return snippet.model_copy(update={"code": code})


# What is shown -------------------------------------------------------------------------------------------------------


def snippets(model: manifest.Model, language: Sequence[str]) -> tuple[Snippet, ...]:
    """What transformers does with a model of this class, as code that `run` takes.

    Args:
        model: What was converted.
        language: The languages of the release; the texts are Chinese where that is the only one, else English.
    """
    texts = _texts(language)
    make = _BY_TASK.get(_task(model))
    found = [make(model, texts)] if make is not None else []
    if "rtd" in model.heads:
        found.append(_replaced(texts))
    if _gives_vectors(model):
        found.append(_vectors(model, texts))
    return tuple(snippet for snippet in found if snippet is not None)


def others(model: manifest.Model, language: Sequence[str] = ("en",)) -> tuple[Snippet, ...]:
    """What other packages do with the repo. It is not run when a model is built: they may not be installed.

    Args:
        model: What was converted.
        language: As for `snippets`.
    """
    texts = _texts(language)
    download = Snippet(
        name="download",
        title="All files of this version:",
        language="bash",
        code=f"hf download {REPO} --revision {TAG}",
    )
    found = [_sentence_transformers(model, texts)] if _gives_vectors(model) else []
    if _keras_computes_the_same(model):
        found.append(_keras_hub(model, texts))
    return (*found, download)


def _texts(language: Sequence[str]) -> _Texts:
    return _CHINESE if tuple(language) == ("zh",) else _ENGLISH


def _task(model: manifest.Model) -> str:
    classes = ARCHITECTURES[model.architecture].classes
    return next(c.pipeline_tag for c in classes if c.name == model.model_class)


def _gives_vectors(model: manifest.Model) -> bool:
    """Whether its encoder is what was trained, and not a head for one task."""
    return _task(model) in ("fill-mask", "feature-extraction")


def _lacks_pooler(model: manifest.Model) -> bool:
    """Whether transformers' encoder makes a pooler that the repo does not have."""
    return "pooler" in ARCHITECTURES[model.architecture].groups and "pooler" not in model.heads


def _positions(model: manifest.Model) -> int:
    return int(model.config.get("max_position_embeddings", 512))


def _python(name: str, title: str, code: str) -> Snippet:
    return Snippet(name=name, title=title, language="python", code=code.rstrip())


def _fill_mask(model: manifest.Model, texts: _Texts) -> Snippet | None:
    # At worst every character is a token. The mask has to stay where a text is cut.
    before = len(texts.masked.partition("[MASK]")[0].replace(" ", ""))
    if _positions(model) < before + len(("[CLS]", "[MASK]", "[SEP]")):
        return None
    fits = _positions(model) >= len(texts.masked) + 2
    cut = "" if fits else ', tokenizer_kwargs={"truncation": True}'
    code = f"""\
from transformers import pipeline

fill = pipeline("fill-mask", model="{REPO}", revision="{TAG}")
for guess in fill("{texts.masked}"{cut}):
    print(guess["token_str"], round(guess["score"], 3))
"""
    return _python("fill-mask", "The five most likely tokens for a mask:", code)


def _classes_of_text(_: manifest.Model, texts: _Texts) -> Snippet:
    code = f"""\
from transformers import pipeline

classify = pipeline("text-classification", model="{REPO}", revision="{TAG}", top_k=5)
for label in classify(["{texts.classified}"], truncation=True)[0]:
    print(label["label"], round(label["score"], 3))
"""
    return _python("classes", "The classes of a text, the five most likely first:", code)


def _classes_of_tokens(_: manifest.Model, texts: _Texts) -> Snippet:
    code = f"""\
from transformers import pipeline

classify = pipeline("token-classification", model="{REPO}", revision="{TAG}", ignore_labels=[])
for token in classify("{texts.named}")[:8]:
    print(token["word"], token["entity"], round(float(token["score"]), 3))
"""
    return _python("classes", "The class of each token:", code)


def _answer(model: manifest.Model, texts: _Texts) -> Snippet:
    # `only_second` needs room for the whole question.
    cut = '"only_second"' if _positions(model) >= len(texts.question) + 4 else "True"
    one = ", return_token_type_ids=False" if model.config.get("type_vocab_size") == 1 else ""
    code = f"""\
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{REPO}", revision="{TAG}")
model = AutoModelForQuestionAnswering.from_pretrained("{REPO}", revision="{TAG}")
question, text = "{texts.question}", "{texts.answer}"
batch = tokenizer(question, text, truncation={cut}, return_tensors="pt"{one})
with torch.inference_mode():
    spans = model(**batch)
scores = spans.start_logits[0][:, None] + spans.end_logits[0][None, :]
of_text = torch.tensor([sequence == 1 for sequence in batch.sequence_ids(0)])
inside = torch.tril(torch.triu(of_text[:, None] & of_text[None, :]), 29)  # at most 30 tokens, as in run_squad.py
start, end = divmod(int(scores.masked_fill(~inside, -1e9).argmax()), len(scores))
print(tokenizer.decode(batch["input_ids"][0][start : end + 1]))
"""
    title = (
        "The answer is the span of the text with the best start and end (transformers 5 has no pipeline for it; that"
        " there is no answer, as in SQuAD 2.0, is not told here):"
    )
    return _python("answer", title, code)


def _replaced(texts: _Texts) -> Snippet:
    code = f"""\
import torch
from transformers import AutoModelForPreTraining, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{REPO}", revision="{TAG}")
model = AutoModelForPreTraining.from_pretrained("{REPO}", revision="{TAG}")
batch = tokenizer("{texts.replaced}", truncation=True, return_tensors="pt")
with torch.inference_mode():
    replaced = model(**batch).logits[0].sigmoid().tolist()
tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
for probability, token in sorted(zip(replaced, tokens), reverse=True)[:5]:
    print(token, round(probability, 3))
"""
    return _python(
        "replaced tokens", "The five tokens that most look replaced, with the probability that they are:", code
    )


def _vectors(model: manifest.Model, texts: _Texts) -> Snippet:
    bare = ", add_pooling_layer=False" if _lacks_pooler(model) else ""
    code = f"""\
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{REPO}", revision="{TAG}")
model = AutoModel.from_pretrained("{REPO}", revision="{TAG}"{bare})
texts = [{_quoted(texts.three)}]
batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
with torch.inference_mode():
    states = model(**batch).last_hidden_state
mask = batch["attention_mask"].unsqueeze(-1)
vectors = (states * mask).sum(1) / mask.sum(1)
for text, cosine in zip(texts[1:], torch.cosine_similarity(vectors[:1], vectors[1:])):
    print(text, round(float(cosine), 3))
"""
    title = "Vectors of texts, as the mean over their tokens, and how close the first is to the others:"
    return _python("vectors", title, code)


def _sentence_transformers(model: manifest.Model, texts: _Texts) -> Snippet:
    model_kwargs = 'pinned | {"add_pooling_layer": False}' if _lacks_pooler(model) else "pinned"
    code = f"""\
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

pinned = {{"revision": "{TAG}"}}
encoder = Transformer(
    "{REPO}", model_kwargs={model_kwargs}, processor_kwargs=pinned, config_kwargs=pinned
)
model = SentenceTransformer(modules=[encoder, Pooling(encoder.get_embedding_dimension(), "mean")])
texts = [{_quoted(texts.three)}]
vectors = model.encode(texts)
print(model.similarity(vectors[:1], vectors[1:]))
"""
    return _python("sentence-transformers", "The same vectors with sentence-transformers 6:", code)


def _keras_computes_the_same(model: manifest.Model) -> bool:
    """Whether KerasHub loads such a repo, and computes what it says; `hubpush.parity.keras` has the facts."""
    from hubpush.parity import keras  # it reads checkpoints, and so imports numpy

    return (
        ARCHITECTURES[model.architecture].model_type in keras.MODEL_TYPES
        and "pooler" in model.heads
        and _gives_vectors(model)
        and model.activation == keras.ACTIVATION
        and model.config.get("layer_norm_eps", LAYER_NORM_EPSILON) == LAYER_NORM_EPSILON
    )


def _keras_hub(model: manifest.Model, texts: _Texts) -> Snippet:
    # Its tokenizer keeps the accents that BERT's own lower-casing strips, unless it is told.
    accents = "" if model.cased else ", strip_accents=True"
    segments = model.config.get("type_vocab_size", 2)
    sizes = "" if segments == 2 else f", num_segments={int(segments)}"
    code = f"""\
import keras_hub

tokenizer = keras_hub.models.BertTokenizer.from_preset("hf://{REPO}"{accents})
pack = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length={min(128, _positions(model))})
model = keras_hub.models.BertBackbone.from_preset("hf://{REPO}"{sizes})
texts = [{_quoted(texts.three)}]
outputs = model(pack(texts))
print(outputs["sequence_output"].shape, outputs["pooled_output"].shape)
"""
    title = "The encoder in KerasHub, which knows no revision and takes the newest version:"
    return _python("kerashub", title, code)


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


_BY_TASK: Mapping[str, Callable[[manifest.Model, _Texts], Snippet | None]] = {
    "fill-mask": _fill_mask,
    "text-classification": _classes_of_text,
    "token-classification": _classes_of_tokens,
    "question-answering": _answer,
}


# What it prints ------------------------------------------------------------------------------------------------------


def run(folder: Path, wanted: Sequence[Snippet]) -> tuple[Snippet, ...]:
    """Run snippets on a model folder, one after the other, and write down what each prints.

    Nothing is asked of the Hub. torch computes in one thread, so that no digit depends on the number of processors.
    What a snippet loads is let go before the next one runs.

    Args:
        folder: The model folder, in place of `REPO`.
        wanted: What `snippets` gives.

    Returns:
        The snippets with their output: at most 20 lines, long ones cut, unseen characters escaped.

    Raises:
        ModelError: One of them fails.
    """
    with _alone():
        return tuple(snippet.model_copy(update={"output": _output(folder, snippet)}) for snippet in wanted)


def _output(folder: Path, snippet: Snippet) -> str:
    printed = io.StringIO()
    code = snippet.code.replace(f'"{REPO}"', repr(str(folder.absolute())))
    # Its own `print`: what else is written in this process, a progress bar, has no place on a card.
    names: dict[str, object] = {"__name__": "snippet", "print": partial(print, file=printed)}
    try:
        exec(compile(code, snippet.name, "exec"), names)  # noqa: S102 - no part of it comes from a file
    # What other people's libraries raise over a folder has no narrower name.
    except Exception as error:  # noqa: BLE001
        told = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1].strip()
        for path in (str(folder.absolute()), repr(str(folder.absolute()))[1:-1]):
            told = told.replace(path, folder.name)
        raise ModelError(
            f"the card's snippet {snippet.name} does not run on the model: {_shown(told)[:300]}",
            hint="this is a fault of hubpush, or of this version of transformers: please report it with this text",
        ) from None
    finally:
        names.clear()
    return _shown(printed.getvalue())


def _shown(text: str) -> str:
    """An output as a card has it."""
    text = _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
    lines = text.rstrip().split("\n")
    cut = [line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…" for line in lines[:_MOST_LINES]]
    return "\n".join([*(line.rstrip() for line in cut), *(["…"] if len(lines) > _MOST_LINES else [])])


@contextmanager
def _alone() -> Iterator[None]:
    """Without the Hub, in one thread, and silent; whatever happens, all is as before in the end."""
    import torch
    from huggingface_hub import constants

    threads, is_offline = torch.get_num_threads(), constants.HF_HUB_OFFLINE
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = is_offline
            torch.set_num_threads(threads)
