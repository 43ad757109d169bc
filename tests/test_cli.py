"""Laws of the command line: what each command takes, prints, and ends with."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hubpush import cli, localhub
from tests import checkpoints
from tests.workshop import Result, Workshop, drop_line, edit, flip, imports, truncate


@pytest.mark.parametrize(
    "arguments", [["--help"], ["catalog"], ["catalog", "bert-miniatures"], ["convert-and-upload", "-h"]]
)
def test_looking_around_imports_nothing_heavy(arguments: list[str]) -> None:
    """Help and catalog load no machine-learning library, no numpy, no server and no client."""
    heavy = {
        "torch",
        "tensorflow",
        "transformers",
        "numpy",
        "huggingface_hub",
        "starlette",
        "dulwich",
        "httpx2",
        "jinja2",
    }
    assert imports(arguments) & heavy == set()


def test_only_the_command_that_is_meant_is_built() -> None:
    """Options of other commands cost a command nothing; without one, or with none that exists, all are there."""
    every = list(cli.app.registered_commands), list(cli.app.registered_groups)
    with cli._alone(["convert-and-upload"]):
        assert len(cli.app.registered_commands) == 1
        assert not cli.app.registered_groups
    with cli._alone(["hub"]):
        assert (len(cli.app.registered_commands), len(cli.app.registered_groups)) == (0, 1)
    for named in ([], ["--help"], ["converts"]):
        with cli._alone(named):
            assert (cli.app.registered_commands, cli.app.registered_groups) == every
    assert (cli.app.registered_commands, cli.app.registered_groups) == every


BAD: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "nothing there": (lambda f: shutil.rmtree(f), 11, "there is nothing at"),
    "no checkpoint": (lambda f: (f / "bert_model.ckpt.index").unlink(), 11, "no TensorFlow checkpoint"),
    "no config": (lambda f: (f / "bert_config.json").unlink(), 11, "bert_config.json"),
    "no vocabulary": (lambda f: (f / "vocab.txt").unlink(), 11, "vocab.txt"),
    "truncated data": (truncate, 12, "checkpoint damaged"),
    "flipped bit": (flip, 12, "checkpoint damaged"),
    "missing data": (lambda f: next(f.glob("*.data-*")).unlink(), 12, "is missing"),
    "wrong layers": (
        lambda f: edit(f / "bert_config.json", '"num_hidden_layers": 3', '"num_hidden_layers": 4'),
        13,
        "missing variable",
    ),
    "wrong width": (
        lambda f: edit(f / "bert_config.json", '"intermediate_size": 64', '"intermediate_size": 65'),
        13,
        "has shape",
    ),
    "remote code": (lambda f: edit(f / "bert_config.json", "{", '{"auto_map": {"AutoModel": "x.y"},'), 13, "auto_map"),
    "missing line": (drop_line, 14, "lines"),
    "mark": (lambda f: edit(f / "vocab.txt", "[PAD]", "\ufeff[PAD]"), 14, "byte order mark"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gives_a_code_a_message_a_hint_and_pushes_nothing(
    shop: Workshop, checkpoint: Path, what: str
) -> None:
    """Each thing that can be wrong with a checkpoint ends with its exit code, a reason, a hint, an untouched Hub."""
    spoil, code, words = BAD[what]
    spoil(checkpoint)
    result = shop.single(checkpoint)
    assert result.code == code, result.err
    assert words in result.err
    assert result.err.count("Hint: ") == 1
    assert shop.published() == []
    assert not list((shop.root / "work").rglob("*.part"))


def test_a_family_file_names_all_its_mistakes(shop: Workshop) -> None:
    """Exit code 10 with every mistake and its key."""
    edit(shop.family, 'license = "apache-2.0"', 'licence = "apache-2.0"')
    edit(shop.family, 'source = "tiny-b.zip"', 'source = "ftp://x/tiny-b.zip"')
    result = shop.main_job()
    assert result.code == 10
    for key in ("defaults.licence", "releases[0].license", "releases[1].source"):
        assert key in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert-and-upload"], "--org is missing"),
        (["convert-and-upload", "--repo-id", "a/b"], "--source and --license"),
        (["convert-and-upload", "--repo-id", "a/b", "--org", "a"], "--org, --family, --lock and MODEL"),
        (["convert-and-upload", "--org", "a", "--language", "en"], "--language: for one checkpoint alone"),
        (
            ["convert-and-upload", "--org", "a", "--license", "mit", "--task", "fill-mask", "--averaged"],
            "--license, --task, --averaged: for one checkpoint alone",
        ),
        (["convert-and-upload", "--org", "a", "--config", "x", "--vocab", "y"], "--config, --vocab"),
        (["convert", ".", "out", "--task", "translation"], "--task: must be one of"),
        (["inspect", ".", "--task", "ner"], "must be token-classification (for ner)"),
        (["inspect", ".", "--part", "middle"], "--part: must be one of: discriminator, generator"),
        (["convert", ".", "out", "--part", "middle"], "--part: must be one of: discriminator, generator"),
        (["convert", ".", "out", "--labels", "nowhere.txt"], "nowhere.txt cannot be read"),
        (["convert-and-upload", "--org", "a/b"], "no owner"),
        (["convert-and-upload", "--org", "a", "--force", "--no-parity"], "--force"),
        (["convert-and-upload", "--org", "a", "--hub", "http://example.org"], "not https"),
        (["convert-and-upload", "--repo-id", "a/b", "--family", "bert-miniatures"], "--family"),
        (["convert-and-upload", "--org", "a", "--hub", "127.0.0.1:8000"], "did you mean --hub http://127.0.0.1:8000"),
        (
            ["convert-and-upload", "--source", ".", "--repo-id", "a/b", "--license", "other"],
            "Error: license: other needs",
        ),
        (["catalog", "--json", "-q"], "exclude"),
        (["catalogue"], "No such command"),
    ],
)
def test_usage_errors_end_with_two(run: Callable[..., Result], arguments: list[str], words: str) -> None:
    """What cannot be meant is exit code 2, and says how it is meant."""
    result = run(*arguments)
    assert result.code == 2, result.err
    assert words in result.err


def test_inspect_shows_what_becomes_of_every_variable(run: Callable[..., Result], tmp_path: Path) -> None:
    """Every variable stands in the list, with its key, or why it has none; then damage and mistakes set the code."""
    import numpy as np

    leftovers = {"bert/pooler/dense/kernel/adam_m": np.ones((32, 32), "f4"), "surprise": np.ones(3, "f4")}
    folder = tmp_path / "leftovers"
    checkpoints.write_release(folder, extra_variables=leftovers)
    mistaken = run("inspect", folder, "--work", tmp_path)
    assert mistaken.code == 13
    assert "surprise" in mistaken.out
    assert "unknown variable surprise" in mistaken.err
    flip(folder)
    damaged = run("inspect", folder, "--json", "--work", tmp_path)
    data = json.loads(damaged.out)
    assert damaged.code == 12
    assert "damaged: 1 variable(s)" in damaged.err
    fates = {row["name"]: row for row in data["variables"]}
    assert fates["bert/pooler/dense/kernel"]["key"] == "bert.pooler.dense.weight"
    assert fates["bert/pooler/dense/kernel/adam_m"]["disposition"] == "dropped"
    assert fates["surprise"]["disposition"] == "unknown"
    assert sum(not row["crc_ok"] for row in data["variables"]) == 1
    assert data["class"] == "BertForPreTraining"


def test_inspect_of_a_sound_checkpoint_ends_with_0(run: Callable[..., Result], release: Path, tmp_path: Path) -> None:
    """A checkpoint without damage and mistakes is inspected with success, and the numbers are said."""
    human = run("inspect", release, "--work", tmp_path)
    assert human.code == 0
    assert "BertForPreTraining: 62 of 62 variables are published" in human.err


@pytest.mark.parametrize("kind", ["TF1", "TF2", "ELECTRA"])
def test_inspect_needs_no_config(kind: str, run: Callable[..., Result], tmp_path: Path) -> None:
    """What lies in an output directory without config and vocabulary is inspected by its own shapes, which are told."""
    prefix = tmp_path / "output" / "model.ckpt-1000"
    sizes = {"TF1": checkpoints.TINY, "TF2": checkpoints.TINY, "ELECTRA": checkpoints.TINY_GENERATOR}[kind]
    options = ("--part", "generator") if kind == "ELECTRA" else ()
    if kind == "TF2":
        variables = checkpoints.bert_variables(sizes, ("pooler",))
        checkpoints.write_tf2_checkpoint(prefix, variables, sizes, generation="numbered")
    else:
        variables = checkpoints.electra_variables() if options else checkpoints.bert_variables(sizes)
        checkpoints.write_checkpoint(prefix, variables)
    result = run("inspect", prefix.parent, "--work", tmp_path, *options)
    assert result.code == 0, result.err
    for key in ("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size", "max_position_embeddings"):
        assert f"{key} {sizes[key]:,}" in result.err
    assert ("num_attention_heads 4" in result.err) == (kind == "TF2")  # its kernels alone have an axis for them
    assert "--config FILE" in result.err
    data = json.loads(run("inspect", prefix.parent, "--json", "--work", tmp_path, *options).out)
    assert data["architecture"] == {"ELECTRA": "electra-generator"}.get(kind, "bert")
    assert (data["layout"] is not None) == (kind == "TF2")
    assert data["mistakes"] == []


def test_inspect_says_what_a_task_would_change(run: Callable[..., Result], tmp_path: Path) -> None:
    """A classifier's head is shown as undecided until --task says what it is."""
    prefix = checkpoints.write_checkpoint(
        tmp_path / "output" / "model.ckpt-9", checkpoints.bert_variables(checkpoints.TINY, ("pooler", "classifier"))
    )
    undecided = run("inspect", prefix, "--work", tmp_path)
    assert undecided.code == 13
    assert "what becomes of the classifier, --task says" in undecided.out
    assert "say it: --task text-classification or --task token-classification (NER)" in undecided.err
    for task, name in (
        ("text-classification", "BertForSequenceClassification"),
        ("token-classification", "BertForTokenClassification"),
        ("feature-extraction", "BertModel"),
    ):
        decided = run("inspect", prefix, "--task", task, "--work", tmp_path)
        assert decided.code == 0, decided.err
        assert name in decided.err


def test_convert_makes_a_folder_that_loads(run: Callable[..., Result], release: Path, tmp_path: Path) -> None:
    """`convert` writes what from_pretrained loads, refuses a folder with something in it, and leaves no half result."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    result = run("convert", release, tmp_path / "out", "--work", tmp_path)
    assert result.code == 0
    assert result.out.strip() == str(tmp_path / "out")
    model, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert model.config.hidden_act == "gelu_pytorch_tanh"
    assert AutoTokenizer.from_pretrained(tmp_path / "out").model_max_length == 64
    assert run("convert", release, tmp_path / "out", "--work", tmp_path).code == 2
    (tmp_path / "two.part").mkdir()
    (tmp_path / "two.part" / "mine").touch()
    assert run("convert", release, tmp_path / "two", "--work", tmp_path).code == 0
    assert (tmp_path / "two.part" / "mine").exists()
    assert run("convert", tmp_path / "nowhere", tmp_path / "other", "--work", tmp_path).code == 11
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("o")) == ["out"]


def test_catalog_lists_what_can_be_carried(run: Callable[..., Result], shop: Workshop) -> None:
    """Families and their releases are listed for people and for machines."""
    assert run("catalog", "-q").out.split() == ["bert-miniatures", "google-bert"]
    assert len(json.loads(run("catalog", "bert-miniatures", "--json").out)) == 24
    rows = json.loads(run("catalog", shop.family, "--json").out)
    assert [(row["name"], row["pinned"]) for row in rows] == [("tiny-a", True), ("tiny-b", True)]


def test_catalog_checks_a_file_before_anything_else_does(run: Callable[..., Result], shop: Workshop) -> None:
    """`catalog FILE` names, for all releases at once, metadata the Hub would refuse and sources that are missing."""
    edit(shop.family, 'language = ["en"]', 'language = ["english"]')
    (shop.root / "tiny-b.zip").unlink()
    result = run("catalog", shop.family)
    assert result.code == 10
    assert result.err.count("language[0]") == 2
    assert "tiny-b.zip" in result.err


def test_hub_serve_serves_until_interrupted(done: Path) -> None:
    """`hub serve` prints its address, shows a repo's card in a browser, and ends cleanly on Ctrl-C."""
    import signal
    from urllib.request import urlopen

    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "hubpush.cli", "hub", "serve", str(done / "hub"), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert url is not None
        with urlopen(f"{url.group()}/acme/tiny-a") as page:
            assert "Tiny A" in page.read().decode()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0


def test_hub_serve_takes_users_and_faults(tmp_path: Path, run: Callable[..., Result]) -> None:
    """The files decide who is known and what fails; a strike is told; a wrong file ends it with what is wrong."""
    import signal

    import httpx2

    (tmp_path / "users.toml").write_text('[[users]]\nname = "alice"\ntoken = "a-word"\n')
    (tmp_path / "faults.toml").write_text('[[faults]]\nrequest = 2\naction = "status"\nstatus = 418\n')
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "hubpush.cli", "hub", "serve", str(tmp_path / "hub"), "--port", "0",
         "--users", str(tmp_path / "users.toml"), "--faults", str(tmp_path / "faults.toml")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().partition("HF_ENDPOINT=")[2].partition(";")[0]
        tokens = ("a-word", "a-word", "another")
        answers = [
            httpx2.get(f"{url}/api/whoami-v2", headers={"Authorization": f"Bearer {token}"}).status_code
            for token in tokens
        ]
        assert answers == [200, 418, 401]
    finally:
        server.send_signal(signal.SIGINT)
        said = server.communicate(timeout=20)[1]
    assert "Fault: GET /api/whoami-v2 is told to fail" in said
    for option, wrong, named in (("--users", "users = 1", "users"), ("--faults", "[[faults]]\nreqest = 2", "reqest")):
        (tmp_path / "wrong.toml").write_text(wrong)
        result = run("hub", "serve", tmp_path / "hub", option, tmp_path / "wrong.toml")
        assert result.code == 2
        assert named in result.err
        assert "Hint: " in result.err


def test_failures_of_several_kinds_end_with_one(shop: Workshop) -> None:
    """One kind of failure gives its code, several give 1: a script can tell what to do from the code alone."""
    edit(shop.family, 'source = "tiny-a.zip"', 'source = "tiny-a.zip"\ncased = true')
    assert shop.main_job("--no-parity").code == 14
    (shop.root / "tiny-b.zip").unlink()
    shutil.rmtree(shop.hub)
    result = shop.main_job("--no-parity")
    assert result.code == 1
    assert result.err.count("Error: ") == 2


def test_options_reach_the_hub(shop: Workshop) -> None:
    """--private makes a private repo."""
    shop.main_job("tiny-b", "--no-parity", "--private")
    with localhub.serve(shop.hub) as url:
        assert HfApi(endpoint=url, token="embedded").model_info("acme/tiny-b").private


def test_names_in_a_checkpoint_move_no_cursor(run: Callable[..., Result], tmp_path: Path) -> None:
    """Control characters in a variable's name are shown by their number."""
    import numpy as np

    checkpoints.write_release(tmp_path / "odd", extra_variables={"x\x1b[31mred": np.ones(1, "f4")})
    result = run("inspect", tmp_path / "odd", "--work", tmp_path)
    assert "\x1b" not in result.out + result.err
    assert "x\\x1b[31mred" in result.out


def test_a_path_that_the_system_refuses_is_an_error_with_a_hint(run: Callable[..., Result], tmp_path: Path) -> None:
    """What the operating system says of a path is repeated, without a traceback."""
    (tmp_path / "file").touch()
    result = run("inspect", "http://127.0.0.1:9/x.zip", "--work", tmp_path / "file")
    assert result.code == 1
    assert "Hint: check the path, the disk and the permissions." in result.err


def test_a_conversion_that_fails_leaves_nothing(run: Callable[..., Result], release: Path, tmp_path: Path) -> None:
    """Neither the folder nor a part of it is there after a failure, hidden files included."""
    shutil.copytree(release, tmp_path / "damaged")
    flip(tmp_path / "damaged")
    assert run("convert", tmp_path / "damaged", tmp_path / "out" / "model", "--work", tmp_path / "w").code == 12
    assert list((tmp_path / "out").iterdir()) == []


def test_a_reader_that_went_away_is_no_traceback() -> None:
    """`hubpush catalog | head` ends quietly when head has seen enough."""
    command = [sys.executable, "-m", "hubpush.cli", "catalog", "bert-miniatures"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 1
