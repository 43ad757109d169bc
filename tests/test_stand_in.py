"""Laws of the stand-ins: the shapes and the form of the miniatures' archives, random weights, the same every time."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import stand_in
from hubpush import catalog
from hubpush.architectures import ARCHITECTURES
from hubpush.checkpoint import Checkpoint
from hubpush.errors import CatalogError, UsageError
from hubpush.manifest import describe
from tests import checkpoints
from tests.workshop import Result

NAMES = ("stand-in-L-2_H-128_A-2", "stand-in-L-2_H-256_A-4", "stand-in-L-10_H-512_A-8")
ARCHIVES = ["uncased_L-2_H-128_A-2.zip", "uncased_L-2_H-256_A-4.zip", "uncased_L-10_H-512_A-8.zip"]
FILES = ["bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index", "vocab.txt"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiny stand-ins and their bundle, made in two runs. Read only."""
    out = tmp_path_factory.mktemp("made") / "out"
    stand_in.make(out, only=[NAMES[2]], tiny=True)
    stand_in.make(out, only=["*-L-2_H-128_*", "*-L-2_H-256_*"], tiny=True, bundle=True)
    return out


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A writable copy of them."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of every file."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def contents(folder: Path) -> dict[str, bytes]:
    """Content of every file."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_there_is_a_stand_in_for_every_miniature_at_its_sizes() -> None:
    """The family has a release for each miniature, with its sizes and archive name, and a name that is not Google's."""
    miniatures = catalog.load(catalog.locate("bert-miniatures"))[0].releases
    releases = stand_in.stand_ins().releases
    assert len(releases) == 24
    assert [release.config for release in releases] == [miniature.config for miniature in miniatures]
    assert [release.source for release in releases] == [m.source.rpartition("/")[2] for m in miniatures]
    assert [release.name for release in releases] == [m.name.replace("bert_uncased_", "stand-in-") for m in miniatures]
    assert {(r.license, r.language, r.cased, r.activation) for r in releases} == {
        ("apache-2.0", ("en",), False, "gelu_pytorch_tanh")
    }


@pytest.mark.parametrize("tiny", [False, True])
def test_nothing_claims_to_be_google_s(tiny: bool) -> None:
    """Title, summary and notes say that the weights are random, and no text of the miniatures' cards came along."""
    family = stand_in.stand_ins(tiny=tiny)
    assert "random weights" in family.title
    assert "nobody trained them" in family.summary
    for release in family.releases:
        assert release.name.startswith("stand-in-")
        assert "random weights" in release.title
        assert "random numbers that nobody trained" in (release.note or "")
        assert (release.official_repo, release.data_sha256, release.training, release.homepage) == (None,) * 4
        assert release.tags == ("random-weights",)
        assert (release.glue, release.arxiv, release.citations, release.datasets) == ({}, (), (), ())


def test_tiny_ones_keep_the_proportions() -> None:
    """Tiny stand-ins have the layers and heads of the true ones, an eighth of their width, and the same names."""
    for true, tiny in zip(stand_in.stand_ins().releases, stand_in.stand_ins(tiny=True).releases, strict=True):
        assert (tiny.name, tiny.source) == (true.name, true.source)
        same = ("num_hidden_layers", "num_attention_heads")
        assert [tiny.config[key] for key in same] == [true.config[key] for key in same]
        assert tiny.config["hidden_size"] * 8 == true.config["hidden_size"]
        assert tiny.config["hidden_size"] % tiny.config["num_attention_heads"] == 0
        assert tiny.config["intermediate_size"] == 4 * tiny.config["hidden_size"]
        assert (tiny.config["vocab_size"], tiny.config["max_position_embeddings"]) == (1237, 64)


def test_the_family_file_says_what_is_there(made: Path, run: Callable[..., Result]) -> None:
    """The family loads with its lock, in the miniatures' order whatever order they were made in, and is sound."""
    family, lock = catalog.load(made / "stand-in.toml")
    whole = stand_in.stand_ins(tiny=True)
    assert family == whole.model_copy(update={"releases": tuple(r for r in whole.releases if r.name in NAMES)})
    assert [release.source for release in family.releases] == ARCHIVES
    assert lock.sources.keys() == set(ARCHIVES)
    rows = json.loads(run("catalog", made / "stand-in.toml", "--json").out)
    assert [(row["name"], row["pinned"]) for row in rows] == [(name, True) for name in NAMES]


def test_archives_equal_the_lock(made: Path) -> None:
    """Every archive has the size and the digest of its lock entry, and nothing else was left in the directory."""
    _, lock = catalog.load(made / "stand-in.toml")
    for name in ARCHIVES:
        file = describe(made / name)
        assert (file.size, file.sha256) == (lock.sources[name].size, lock.sources[name].sha256)
    rest = {"stand-in.toml", "stand-in.lock.json", "all_bert_models.zip"}
    assert {path.name for path in made.iterdir()} == {*ARCHIVES, *rest}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_has_the_form_of_a_miniature_s(made: Path, name: str) -> None:
    """It is flat and deflated, with four files and no `.meta`, and the times in it are no clock's."""
    with zipfile.ZipFile(made / name) as archive:
        assert archive.testzip() is None
        members = archive.infolist()
        assert [member.filename for member in members] == FILES
        assert {member.compress_type for member in members} == {zipfile.ZIP_DEFLATED}
        assert {member.date_time for member in members} == {(2020, 3, 11, 0, 0, 0)}
        config, lines = json.loads(archive.read("bert_config.json")), archive.read("vocab.txt").decode().splitlines()
    (release,) = (r for r in stand_in.stand_ins(tiny=True).releases if r.source == name)
    assert {key: config[key] for key in release.config} == release.config
    assert config.keys() == checkpoints.TINY.keys()
    assert config["hidden_act"] == "gelu"
    assert len(lines) == len(set(lines)) == config["vocab_size"]


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_checkpoint_has_the_variables_that_the_table_asks_for(made: Path, name: str, tmp_path: Path) -> None:
    """Names and shapes are those of a BERT with pooler and both heads, no more and no less, and no values are alike."""
    with zipfile.ZipFile(made / name) as archive:
        archive.extractall(tmp_path)
    config = json.loads((tmp_path / "bert_config.json").read_text())
    wanted: dict[str, tuple[int, ...]] = {}
    groups = ARCHITECTURES["bert"].groups
    for weight in (w for name in ("embeddings", "layers", "pooler", "mlm", "nsp") for w in groups[name]):
        layers = range(config["num_hidden_layers"] if "{n}" in weight.variable else 1)
        shape = tuple(d if isinstance(d, int) else config[d] for d in weight.shape)
        wanted |= {weight.variable.format(n=n): shape for n in layers}
    with Checkpoint(tmp_path / "bert_model.ckpt") as checkpoint:
        found = {variable.name: variable.shape for variable in checkpoint.variables.values()}
        assert {variable.dtype for variable in checkpoint.variables.values()} == {"float32"}
        assert all(checkpoint.is_sound(variable) for variable in checkpoint)
        assert len({checkpoint[variable].tobytes() for variable in checkpoint}) == len(checkpoint)
    assert found == wanted


def test_no_two_stand_ins_share_their_values(made: Path, tmp_path: Path) -> None:
    """Where two releases have a variable of the same shape, its values differ: an exchanged archive shows."""
    values = []
    for name in ARCHIVES:
        with zipfile.ZipFile(made / name) as archive:
            archive.extractall(tmp_path / name)
        with Checkpoint(tmp_path / name / "bert_model.ckpt") as checkpoint:
            values.append(checkpoint["cls/predictions/output_bias"].tobytes())
    assert len(set(values)) == len(values)


def test_a_second_run_rewrites_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Archives, family file, lock and bundle are kept as they are, with their times, and the person is told."""
    before = state(copy)
    stand_in.make(copy, only=NAMES, tiny=True, bundle=True)
    assert state(copy) == before
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(", ")[0] for line in err.splitlines()] == [
        *(f"{name}: kept" for name in NAMES),
        f"{stand_in.BUNDLE}: kept",
    ]


def test_the_same_is_made_from_nothing(made: Path, tmp_path: Path) -> None:
    """In another directory, in one run and in another order, the bytes of every file are the same."""
    stand_in.make(tmp_path / "other", only=reversed(NAMES), tiny=True, bundle=True)
    assert contents(tmp_path / "other") == contents(made)


def test_what_is_damaged_is_made_again(made: Path, copy: Path) -> None:
    """An archive unlike its lock entry, one that is gone and a broken bundle come back as they were."""
    (copy / ARCHIVES[0]).write_bytes((copy / ARCHIVES[1]).read_bytes())
    (copy / ARCHIVES[1]).unlink()
    (copy / stand_in.BUNDLE).write_bytes(b"PK")
    kept = state(copy)[ARCHIVES[2]]
    stand_in.make(copy, only=NAMES, tiny=True, bundle=True)
    assert contents(copy) == contents(made)
    assert state(copy)[ARCHIVES[2]] == kept


def test_a_bundle_of_other_archives_is_made_again(made: Path, copy: Path) -> None:
    """A bundle that has the right names but another archive's bytes is no bundle of these."""
    with zipfile.ZipFile(copy / stand_in.BUNDLE, "w") as bundle:
        for name in ARCHIVES:
            bundle.write(copy / ARCHIVES[0], name)
    stand_in.make(copy, only=NAMES, tiny=True, bundle=True)
    assert contents(copy) == contents(made)


def test_a_run_that_was_killed_goes_on(made: Path, copy: Path) -> None:
    """What a killed run leaves half made counts for nothing and is cleared away; what it had finished is kept."""
    (copy / "stand-in.part").mkdir()
    (copy / "stand-in.part" / "bert_model.ckpt.meta").write_bytes(b"half")
    (copy / f"{ARCHIVES[0]}.part").write_bytes(b"half")
    (copy / ARCHIVES[0]).unlink()
    times = [(copy / name).stat().st_mtime_ns for name in ARCHIVES[1:]]
    stand_in.make(copy, only=NAMES, tiny=True)
    assert contents(copy) == contents(made)
    assert [(copy / name).stat().st_mtime_ns for name in ARCHIVES[1:]] == times


def test_an_archive_that_is_gone_leaves_the_family(copy: Path) -> None:
    """A run for one release lists what is there and no more, in the family, the lock and the bundle."""
    (copy / ARCHIVES[1]).unlink()
    family = stand_in.make(copy, only=[NAMES[0]], tiny=True, bundle=True)
    left = [ARCHIVES[0], ARCHIVES[2]]
    assert [release.source for release in family.releases] == left
    assert catalog.load(copy / "stand-in.toml")[0] == family
    assert list(catalog.load_lock(copy / "stand-in.lock.json").sources) == sorted(left)
    with zipfile.ZipFile(copy / stand_in.BUNDLE) as bundle:
        assert bundle.namelist() == left


def test_the_bundle_holds_exactly_the_archives(made: Path) -> None:
    """all_bert_models.zip is the archives, stored flat, byte for byte."""
    with zipfile.ZipFile(made / "all_bert_models.zip") as bundle:
        assert {member.compress_type for member in bundle.infolist()} == {zipfile.ZIP_STORED}
        assert {name: bundle.read(name) for name in bundle.namelist()} == {
            name: (made / name).read_bytes() for name in ARCHIVES
        }


def test_sizes_are_not_mixed(copy: Path) -> None:
    """A directory of tiny stand-ins takes no true ones, and is left as it was."""
    before = state(copy)
    with pytest.raises(UsageError, match="other sizes for stand-in-L-2_H-128_A-2"):
        stand_in.make(copy, only=[NAMES[0]])
    assert stand_in.main([str(copy), "--only", NAMES[0]]) == UsageError.exit_code
    assert state(copy) == before


def test_a_glob_that_matches_nothing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name ends the command with the exit code of its kind before anything is made."""
    with pytest.raises(CatalogError, match="matches 'L-2'"):
        stand_in.make(tmp_path / "out", only=["*-L-2_*", "L-2"])
    assert stand_in.main([str(tmp_path / "out"), "--only", "L-2", "--tiny"]) == CatalogError.exit_code
    assert "no release of stand-in matches 'L-2'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_line_is_the_functions(made: Path, copy: Path) -> None:
    """`python -m benchmarks.stand_in OUT --only GLOB … --tiny --bundle` does what `make` does."""
    (copy / ARCHIVES[0]).unlink()
    (copy / stand_in.BUNDLE).unlink()
    assert stand_in.main([str(copy), "--only", NAMES[0], "*-L-10_H-512*", "--tiny", "--bundle"]) == 0
    assert contents(copy) == contents(made)
