"""The code of a card does, for a person who copies it, what the card says it does."""

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import socket
import string
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubpush import cli, conversion, localhub, manifest, usage
from hubpush.catalog import Release
from hubpush.checkpoint import Checkpoint
from hubpush.errors import ModelError
from hubpush.manifest import Snippet
from hubpush.source import Files
from tests.checkpoints import (
    HEADS,
    TINY,
    TINY_ELECTRA,
    TINY_GENERATOR,
    bert_variables,
    electra_variables,
    vocab_lines,
    write_checkpoint,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = (*SPECIAL, *string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase))


@dataclass(frozen=True)
class Kind:
    """A checkpoint, what a family file says of it, and the snippets that its card has."""

    snippets: tuple[str, ...]
    others: tuple[str, ...]
    heads: tuple[str, ...] = ()
    says: str = ""
    language: tuple[str, ...] = ("en",)
    cased: bool = False
    electra: Mapping[str, Any] | None = None


OF_TEXTS = ("sentence-transformers", "download")
WITH_KERAS = ("sentence-transformers", "kerashub", "download")
KINDS = {
    "masked-words": Kind(("fill-mask", "vectors"), WITH_KERAS, HEADS),
    "chinese": Kind(("fill-mask", "vectors"), WITH_KERAS, HEADS, language=("zh",)),
    "cased-encoder": Kind(("vectors",), WITH_KERAS, ("pooler",), cased=True),
    "no-pooler": Kind(("vectors",), OF_TEXTS),
    "labelled": Kind(
        ("classes",),
        ("download",),
        ("pooler", "classifier"),
        'task = "text-classification"\nlabels = ["bad", "so so", "\\"good\\""]',
    ),
    "unlabelled": Kind(("classes",), ("download",), ("pooler", "classifier"), 'task = "text-classification"'),
    "tokens": Kind(
        ("classes",), ("download",), ("classifier",), 'task = "token-classification"\nlabels = ["O", "PER", "LOC"]'
    ),
    "answers": Kind(("answer",), ("download",), ("squad",)),
    "discriminator": Kind(("replaced tokens", "vectors"), OF_TEXTS, (), 'part = "discriminator"', electra=TINY_ELECTRA),
    "generator": Kind(("fill-mask", "vectors"), OF_TEXTS, (), 'part = "generator"', electra=TINY_GENERATOR),
}


def write(folder: Path, kind: Kind) -> None:
    """The checkpoint of a kind, as it is released."""
    folder.mkdir()
    config = kind.electra or TINY
    name = "electra_config.json" if kind.electra else "bert_config.json"
    (folder / name).write_text(json.dumps(dict(config)), encoding="utf-8")
    lines = vocab_lines(config["vocab_size"], kind.cased)
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    variables = electra_variables() if kind.electra else bert_variables(config, kind.heads)
    write_checkpoint(folder / "model.ckpt", variables)


@dataclass(frozen=True)
class Shop:
    """What was published: the folders that were built, their records, a directory of an embedded Hub."""

    hub: Path
    folders: Mapping[str, Path]
    models: Mapping[str, manifest.Model]

    def snippets(self, name: str) -> tuple[Snippet, ...]:
        """The snippets of a kind."""
        return usage.snippets(self.models[name], KINDS[name].language)

    def others(self, name: str) -> dict[str, Snippet]:
        """Those for other packages by their names, for the repo."""
        found = usage.others(self.models[name], KINDS[name].language)
        return {one.name: usage.filled(one, f"acme/{name}", "v1.0.0") for one in found}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A family with a release of every kind, published by the one command."""
    root = tmp_path_factory.mktemp("usage")
    family = 'format = 1\nname = "kinds"\ntitle = "Kinds"\nsummary = "One of each."\n'
    family += '[defaults]\nlicense = "apache-2.0"\n'
    for name, kind in KINDS.items():
        write(root / name, kind)
        family += f'[[releases]]\nname = "{name}"\ntitle = "{name}"\nsource = "{name}"\n'
        family += f"language = {json.dumps(kind.language)}\n{kind.says}\n"
    (root / "kinds.toml").write_text(family, encoding="utf-8")
    arguments = ["--family", "kinds.toml", "--org", "acme", "--hub", "hub", "--work", "work", "--no-parity", "-q"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.chdir(root)
        patch.setattr(sys, "argv", ["hubpush", "convert-and-upload", *arguments])
        cli.main()
    assert not ended.value.code
    with localhub.serve(root / "hub") as url:
        from huggingface_hub import HfApi

        api, models = HfApi(endpoint=url, token="embedded"), {}
        for name in KINDS:
            there = api.hf_hub_download(f"acme/{name}", manifest.NAME, revision="v1.0.0", local_dir=root / "got" / name)
            models[name] = manifest.parse(Path(there).read_text(encoding="utf-8"), name).build.model
    folders = {name: root / f"work/releases/acme--{name}/model" for name in KINDS}
    return Shop(root / "hub", folders, models)


@pytest.fixture(scope="module")
def recorded(shop: Shop) -> dict[str, tuple[Snippet, ...]]:
    """What the snippets of each kind print on the folder that was built."""
    return {name: usage.run(shop.folders[name], shop.snippets(name)) for name in KINDS}


EXECUTE = """
import contextlib, io, json, sys
import numpy as np

told = []
for code in json.loads(sys.argv[1]):
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    kept = {"printed": printed.getvalue()}
    if "vectors" in names:
        kept["vectors"] = names["vectors"]
    if "keras_hub" in names:
        kept["ids"] = names["pack"](names["texts"])["token_ids"]
        kept["states"] = names["outputs"]["sequence_output"]
        kept["accents"] = names["tokenizer"]("Où est Zürich, 北京?")
    told.append({name: value if name == "printed" else np.asarray(value).tolist() for name, value in kept.items()})
print(json.dumps(told))
"""


def environment(endpoint: str, home: Path) -> dict[str, str]:
    """What a person has who points the clients at this Hub; a home of the test's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home / "hf"), "HOME": str(home), "KERAS_BACKEND": "tensorflow"}
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, **own, "PATH": commands, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


Seen = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def seen(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What a person sees who runs the snippets of every card, by the names of the kind and of the snippet.

    They run in new processes of Python that know the Hub's address and nothing else: in one all those for transformers
    and sentence-transformers, and beside it, where it is installed, those for KerasHub.
    """
    codes = {
        (name, one.name): usage.filled(one, f"acme/{name}", "v1.0.0").code
        for name in KINDS
        for one in shop.snippets(name)
    }
    of_others = {(name, one): snippet.code for name in KINDS for one, snippet in shop.others(name).items()}
    codes |= {key: code for key, code in of_others.items() if key[1] == "sentence-transformers"}
    with_keras = {key: code for key, code in of_others.items() if key[1] == "kerashub"}
    runs = [codes, with_keras] if importlib.util.find_spec("keras_hub") else [codes]
    found: Seen = {}
    with localhub.serve(shop.hub) as url:
        started = []
        for wanted in runs:
            home = tmp_path_factory.mktemp("person")
            command = [sys.executable, "-c", EXECUTE, json.dumps(list(wanted.values()))]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            started.append(subprocess.Popen(command, cwd=home, env=environment(url, home), text=True, **pipes))
        for wanted, process in zip(runs, started, strict=True):
            out, err = process.communicate()
            assert process.returncode == 0, err[-3000:]
            found |= zip(wanted, json.loads(out.splitlines()[-1]), strict=True)
    return found


def parts(text: str) -> tuple[list[str], list[float]]:
    """The text between the numbers with a point, and those numbers."""
    pieces = re.split(r"(\d\.\d+)", text.rstrip())
    return pieces[::2], [float(number) for number in pieces[1::2]]


# The law of the card -------------------------------------------------------------------------------------------------


def test_each_kind_has_its_snippets(shop: Shop) -> None:
    """A card shows what its class is for, and other packages where they compute the same."""
    assert {name: tuple(one.name for one in shop.snippets(name)) for name in KINDS} == {
        name: kind.snippets for name, kind in KINDS.items()
    }
    assert {name: tuple(shop.others(name)) for name in KINDS} == {name: kind.others for name, kind in KINDS.items()}


@pytest.mark.parametrize("name", KINDS)
def test_a_person_sees_what_the_card_shows(name: str, recorded: dict[str, tuple[Snippet, ...]], seen: Seen) -> None:
    """The code, copied and run against the Hub, prints the recorded text; numbers differ by one last digit at most."""
    for one in recorded[name]:
        assert one.output
        text, numbers = parts(one.output)
        own_text, own_numbers = parts(seen[name, one.name]["printed"])
        assert own_text == text
        assert own_numbers == pytest.approx(numbers, abs=0.00101)


def test_the_output_is_of_this_model(shop: Shop, recorded: dict[str, tuple[Snippet, ...]]) -> None:
    """Classes come by their names, at most five and the most likely first; the answer is a piece of the text."""
    printed = {(name, one.name): str(one.output).splitlines() for name in KINDS for one in recorded[name]}
    labels = [line.rpartition(" ") for line in printed["labelled", "classes"]]
    assert {label for label, *_ in labels} == {"bad", "so so", '"good"'}
    scores = [float(score) for *_, score in labels]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=0.002)
    assert {line.split()[0] for line in printed["unlabelled", "classes"]} == {"LABEL_0", "LABEL_1", "LABEL_2"}
    assert {line.split()[1] for line in printed["tokens", "classes"]} <= {"O", "PER", "LOC"}
    assert " ".join(printed["answers", "answer"]) in "the people of the town came down to see the ships."
    for name in ("masked-words", "chinese", "generator"):
        assert len(printed[name, "fill-mask"]) == 5
    assert len(printed["discriminator", "replaced tokens"]) == 5
    assert [line.rpartition(" ")[0] for line in printed["chinese", "vectors"]] == ["有人在吃东西。", "火车中午出发。"]


def test_sentence_transformers_gives_the_same_vectors(shop: Shop, seen: Seen) -> None:
    """Its snippet and the one for transformers make the same vectors of the same texts, to 1e-5."""
    names = [name for name, kind in KINDS.items() if "sentence-transformers" in kind.others]
    assert names
    for name in names:
        one, other = (np.array(seen[name, which]["vectors"]) for which in ("vectors", "sentence-transformers"))
        assert one.shape == other.shape == (3, shop.models[name].config["hidden_size"])
        assert np.abs(one - other).max() <= 1e-5
        _, numbers = parts(seen[name, "vectors"]["printed"])
        _, own = parts(seen[name, "sentence-transformers"]["printed"])
        assert own == pytest.approx(numbers, abs=0.00101)


def test_kerashub_gives_the_same_states(shop: Shop, seen: Seen) -> None:
    """Its snippet loads the repo by hf://, gives the ids of the tokenizer and the encoder's states, to 1e-3."""
    pytest.importorskip("keras_hub", reason="needs the extra keras")
    import torch
    from transformers import AutoModel, AutoTokenizer

    names = [name for name, kind in KINDS.items() if "kerashub" in kind.others]
    assert names
    for name in names:
        found = seen[name, "kerashub"]
        tokenizer = AutoTokenizer.from_pretrained(shop.folders[name])
        texts = list(usage._texts(KINDS[name].language).three)
        length, width = TINY["max_position_embeddings"], TINY["hidden_size"]
        batch = tokenizer(texts, padding="max_length", max_length=length, return_tensors="pt")
        assert found["ids"] == batch["input_ids"].tolist()
        assert found["accents"] == tokenizer("Où est Zürich, 北京?", add_special_tokens=False)["input_ids"]
        assert found["printed"].split("\n")[0] == f"({len(texts)}, {length}, {width}) ({len(texts)}, {width})"
        model = AutoModel.from_pretrained(shop.folders[name])
        with torch.inference_mode():
            states = model(**batch).last_hidden_state.numpy()
        attended = batch["attention_mask"].numpy().astype(bool)
        assert np.abs(np.array(found["states"]) - states)[attended].max() <= 1e-3


def test_download_gives_the_files_of_the_version(shop: Shop, tmp_path: Path) -> None:
    """The command brings every file that the manifest of the version names, with its digest."""
    with localhub.serve(shop.hub) as url:
        done = subprocess.run(
            ["/bin/sh", "-c", shop.others("masked-words")["download"].code],
            check=False, capture_output=True, text=True, cwd=tmp_path, env=environment(url, tmp_path),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = next((tmp_path / "hf").glob("hub/models--acme--masked-words/snapshots/*"))
    files = manifest.parse((folder / manifest.NAME).read_text(encoding="utf-8"), "here").files
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= files.keys()
    for path, file in files.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == file.sha256


def test_kerashub_is_shown_only_where_it_computes_the_same(shop: Shop) -> None:
    """Another GELU form, another epsilon, no pooler, a task's head or an ELECTRA: then the card does not name it."""
    model = shop.models["masked-words"]

    def is_shown(**changes: Any) -> bool:
        return any(one.name == "kerashub" for one in usage.others(model.model_copy(update=changes)))

    assert is_shown()
    assert not is_shown(activation="gelu")
    assert not is_shown(config={**model.config, "layer_norm_eps": 1e-5})
    assert not is_shown(heads=("mlm",), model_class="BertForMaskedLM")
    assert not is_shown(heads=("pooler", "classifier"), model_class="BertForSequenceClassification")
    segments = usage.others(model.model_copy(update={"config": {**model.config, "type_vocab_size": 3}}))
    assert [one.name for one in segments if "num_segments=3" in one.code] == ["kerashub"]


def test_snippets_are_short_and_pinned(shop: Shop) -> None:
    """A snippet has at most 14 lines of at most 120 characters, and each place that names the repo names the tag."""
    for name in KINDS:
        for one in (*shop.snippets(name), *usage.others(shop.models[name])):
            assert len(one.code.splitlines()) <= 14
            assert max(map(len, one.code.splitlines())) <= 120
            assert one.code == one.code.strip()
            assert "\n" not in one.title
            if one.name == "kerashub":  # it takes none, and its title says so
                assert "no revision" in one.title
            elif one.name != "sentence-transformers":
                assert one.code.count(usage.REPO) == one.code.count(usage.TAG) > 0
            else:
                assert one.code.count("pinned") == 4  # once made, and once for each of what it loads


def test_names_are_filled_in_once(shop: Shop) -> None:
    """A repo that is called like the placeholder of the tag keeps its name."""
    one = shop.snippets("masked-words")[0]
    code = usage.filled(one, "vX.Y.Z/OWNER-NAME", "v2.0.1").code
    assert 'model="vX.Y.Z/OWNER-NAME", revision="v2.0.1"' in code


# The run -------------------------------------------------------------------------------------------------------------


def test_nothing_leaves_the_process(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """From a folder of any name it prints the same, connects to nobody, and shows nothing in the terminal."""
    odd = tmp_path / 'it\'s "{here}" \\n %s \n[0] OWNER'
    shutil.copytree(shop.folders["masked-words"], odd)
    expected = usage.run(shop.folders["masked-words"], shop.snippets("masked-words"))

    def refused(*given: object, **_: object) -> None:
        raise AssertionError(f"asked for {given}")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.chdir(odd.parent)
    capfd.readouterr()
    assert usage.run(Path(odd.name), shop.snippets("masked-words")) == expected
    assert capfd.readouterr() == ("", "")
    assert not any(str(tmp_path) in str(one.output) for one in expected)


def state() -> tuple[object, ...]:
    """What a run must leave as it was."""
    import torch
    from huggingface_hub import constants
    from transformers.utils import logging as of_transformers

    return (
        *(torch.get_num_threads(), torch.get_rng_state().tolist(), torch.is_grad_enabled()),
        *(constants.HF_HUB_OFFLINE, of_transformers.get_verbosity(), of_transformers.is_progress_bar_enabled()),
        *(list(warnings.filters), sys.stdout, sys.stderr, logging.root.level),
    )


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch computes in two threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


LOOK = """\
import torch, huggingface_hub
print(torch.get_num_threads(), huggingface_hub.is_offline_mode())
"""


@pytest.mark.usefixtures("two_threads")
def test_all_is_as_before(shop: Shop) -> None:
    """A run computes in one thread without the Hub, draws no random number, and puts everything back, failed or not."""
    folder, before = shop.folders["no-pooler"], state()
    assert before[0] == 2
    (looked, *_) = usage.run(folder, [Snippet(name="look", title="", code=LOOK), *shop.snippets("no-pooler")])
    assert looked.output == "1 True"
    assert state() == before
    for code in ("raise KeyboardInterrupt", "1 / 0"):
        with pytest.raises((KeyboardInterrupt, ModelError)):
            usage.run(folder, [Snippet(name="bad", title="", code=code)])
        assert state() == before


def test_a_model_is_let_go_before_the_next(shop: Shop) -> None:
    """Never are two models in memory: what a snippet loaded is gone when the next one begins, without a collection."""
    import gc

    count = Snippet(
        name="count",
        title="",
        code="import gc, transformers\n"
        "print(sum(issubclass(type(one), transformers.PreTrainedModel) for one in gc.get_objects()))",
    )
    wanted = [count, *(one for made in shop.snippets("masked-words") for one in (made, count))]
    gc.collect()
    gc.disable()
    try:
        found = usage.run(shop.folders["masked-words"], wanted)
    finally:
        gc.enable()
    assert {one.output for one in found if one.name == "count"} == {found[0].output}


def test_a_snippet_that_fails_is_named(shop: Shop, tmp_path: Path) -> None:
    """The error says which snippet, in the last line of what it raised, and no path of this machine."""
    broken = tmp_path / "it's broken"
    shutil.copytree(shop.folders["masked-words"], broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"snippet fill-mask does not run.*no file named model\.safetensors") as caught:
        usage.run(broken, shop.snippets("masked-words"))
    assert str(tmp_path) not in caught.value.message
    assert "report" in caught.value.hint
    code = f'raise ValueError("a\\nb" + repr("{usage.REPO}"))'
    with pytest.raises(ModelError) as caught:
        usage.run(broken, [Snippet(name="x", title="", code=code)])
    assert caught.value.message.endswith(f"""on the model: b"{broken.name}\"""") and len(code) < 300


def test_output_is_bounded_and_can_be_seen(shop: Shop) -> None:
    """Labels as long as books and control characters leave a short output in which each character can be seen."""
    code = 'print("\\x1b[31mred\\u202e\\r\\u2028" + "x" * 1_000_000)\nfor n in range(50):\n    print(n, "  ")'
    (one,) = usage.run(shop.folders["no-pooler"], [Snippet(name="x", title="", code=code)])
    lines = str(one.output).split("\n")
    assert lines[0].startswith("\\x1b[31mred\\u202e\\r\\u2028xxx")
    assert (len(lines[0]), lines[0][-1], len(lines), lines[1], lines[-1]) == (160, "…", 21, "0", "…")
    with contextlib.suppress(UnicodeEncodeError):
        assert str(one.output).encode("utf-8")


# Odd models ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Odd:
    """A model at the edge of what is converted, and how many lines each of its snippets prints."""

    lines: Mapping[str, int]
    heads: tuple[str, ...] = HEADS
    config: Mapping[str, Any] = field(default_factory=lambda: TINY)
    vocab: tuple[str, ...] = ()
    labels: int = 3
    is_nan: bool = False
    release: Mapping[str, Any] | None = None


ODD = {
    "16 positions": Odd({"fill-mask": 5, "vectors": 2}, config={**TINY, "max_position_embeddings": 16}),
    "16 positions and letters alone": Odd(
        {"fill-mask": 5, "vectors": 2},
        config={**TINY, "max_position_embeddings": 16, "vocab_size": len(LETTERS)},
        vocab=LETTERS,
    ),
    "3 positions": Odd({"vectors": 2}, config={**TINY, "max_position_embeddings": 3}),
    "16 positions for an answer": Odd(
        {"answer": 1}, ("squad",), {**TINY, "max_position_embeddings": 16, "type_vocab_size": 1}
    ),
    "3 positions for an answer": Odd({"answer": 1}, ("squad",), {**TINY, "max_position_embeddings": 3}),
    "no words": Odd({"fill-mask": 5, "vectors": 2}, config={**TINY, "vocab_size": 5}, vocab=SPECIAL),
    "more embeddings than words": Odd(
        {"fill-mask": 5, "vectors": 2},
        config={**TINY, "vocab_size": 50},
        vocab=SPECIAL,
        release={"vocab_lines": 5},
    ),
    "NaN": Odd({"fill-mask": 5, "vectors": 2}, is_nan=True),
    "NaN in an answer": Odd({"answer": 1}, ("squad",), is_nan=True),
    "NaN in classes": Odd(
        {"classes": 3}, ("pooler", "classifier"), is_nan=True, release={"task": "text-classification"}
    ),
    "10,000 labels": Odd(
        {"classes": 5}, ("pooler", "classifier"), labels=10_000, release={"task": "text-classification"}
    ),
    "two labels without names": Odd(
        {"classes": 2}, ("pooler", "classifier"), labels=2, release={"task": "text-classification"}
    ),
    "many pieces": Odd({"classes": 8}, ("classifier",), release={"task": "token-classification"}),
}


def converted(odd: Odd, root: Path) -> tuple[Path, manifest.Model]:
    """An odd model's folder, and what its record says."""
    (root / "bert_config.json").write_text(json.dumps(dict(odd.config)), encoding="utf-8")
    (root / "vocab.txt").write_text("\n".join(odd.vocab or vocab_lines(odd.config["vocab_size"])) + "\n")
    variables = bert_variables(odd.config, odd.heads, labels=odd.labels)
    if odd.is_nan:
        variables = {name: np.full_like(value, np.nan) for name, value in variables.items()}
    write_checkpoint(root / "model.ckpt", variables)
    files = Files(root / "model.ckpt", root / "bert_config.json", root / "vocab.txt")
    release = Release(name="odd", title="Odd", source="t", license="mit", cased=False, **(odd.release or {}))
    (root / "model").mkdir()
    with Checkpoint(files.prefix) as checkpoint:
        reading = conversion.read(checkpoint, files, release)
    conversion.convert(files, root / "model", release, allow_nonfinite=odd.is_nan)
    model = manifest.Model(
        architecture=reading.architecture.name,
        model_class=reading.account.model_class.name,
        heads=tuple(sorted(reading.account.heads)),
        parameters=1,
        cased=reading.cased,
        activation=reading.activation,
        config=reading.config,
        variables=1,
    )
    return root / "model", model


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_odd_models_have_a_usage_too(odd: Odd, language: str, tmp_path: Path) -> None:
    """Few positions, no words, NaN, a label for everything: the snippets run and print a few lines."""
    folder, model = converted(odd, tmp_path)
    found = usage.run(folder, usage.snippets(model, [language]))
    lines = {one.name: len(str(one.output).split("\n")) for one in found}
    assert lines == dict(odd.lines)
    assert all(one.output for one in found)
    if odd.is_nan and "answer" not in lines:
        assert all(" nan" in line for one in found for line in str(one.output).split("\n"))


def test_texts_are_chinese_where_nothing_else_is_spoken(shop: Shop) -> None:
    """A model of many languages, or of none that is named, is shown in English."""
    model = shop.models["masked-words"]
    for languages, is_chinese in ((["zh"], True), (["en", "zh"], False), (["de"], False), ([], False)):
        found = [*usage.snippets(model, languages), *usage.others(model, languages)]
        texts = " ".join(one.code for one in found)
        assert ("巴黎" in texts, "Paris" in texts) == (is_chinese, not is_chinese)
