"""Laws of what is asked for one release."""

from pathlib import Path

from tests.workshop import Workshop, edit


def test_a_renamed_family_file_changes_nothing(after: Workshop) -> None:
    """The name of the file is not what is published."""
    moved = after.root / "renamed.toml"
    after.family.rename(moved)
    (after.root / "tinies.lock.json").rename(after.root / "renamed.lock.json")
    result = after.run("convert-and-upload", "--family", moved, "--org", "acme", *after.places())
    assert result.out.count("unchanged") == 2


def test_names_of_files_reach_no_shell_and_no_terminal(shop: Workshop, checkpoint: Path) -> None:
    """A source's name is quoted in the card's command; control characters in it are refused, and printed harmlessly."""
    odd = checkpoint.rename(checkpoint.with_name("my $(touch x);'q"))
    result = shop.single(odd, "--no-parity", "--dry-run")
    assert result.code == 0
    assert """--source 'my $(touch x);'"'"'q'""" in result.out
    bell = odd.rename(odd.with_name("bell\x1b]0;pwned\x07"))
    result = shop.single(bell, "--no-parity", "--dry-run")
    assert result.code == 2
    assert "\x1b" not in result.out + result.err


def test_the_card_repeats_what_was_asked(shop: Workshop, checkpoint: Path) -> None:
    """The command on a card has every option that decides bytes or facts, so that it makes the same again."""
    options = ("--uncased", "--activation", "gelu", "--language", "en", "--language", "de")
    text = shop.single(checkpoint, *options, "--no-parity", "--dry-run").out
    command = next(line for line in text.splitlines() if line.startswith("hubpush convert-and-upload"))
    asked = "--source checkpoint --repo-id me/mine --license mit --language en --language de"
    assert f"{asked} --activation gelu --uncased" in command
    assert "Source of the activation: chosen with --activation." in text
    assert "language:\n- en\n- de\n" in text
    family = shop.main_job("tiny-b", "--uncased", "--activation", "gelu", "--no-parity", "--dry-run").out
    assert "--org acme tiny-b --activation gelu --uncased" in family
    assert "Source of the activation: chosen with --activation." in family


def test_a_family_is_taken_from_a_mirror(shop: Workshop) -> None:
    """With --source the archives come from there under their own names, and the card names where they belong."""
    (shop.root / "mirror").mkdir()
    (shop.root / "tiny-b.zip").rename(shop.root / "mirror" / "tiny-b.zip")
    edit(shop.family, '"tiny-b.zip"', '"https://example.org/tiny-b.zip"')
    result = shop.main_job("tiny-b", "--source", str(shop.root / "mirror"), "--no-parity", "--dry-run")
    assert result.code == 0, result.err
    assert "| Source | https://example.org/tiny-b.zip |" in result.out


def test_casing_of_ones_own_holds_for_a_family(shop: Workshop) -> None:
    """--cased against a vocabulary that is plainly uncased is refused for a family as it is for one checkpoint."""
    assert shop.main_job("tiny-b", "--cased", "--no-parity").code == 14


def test_a_name_that_the_system_refuses_stops_one_release_alone(shop: Workshop) -> None:
    """A path that is too long, or not to be looked at, is an error of its release; the others go on."""
    edit(shop.family, '"tiny-a.zip"', f'"{"x" * 300}.zip"')
    result = shop.main_job("--no-parity")
    assert result.code == 1
    assert shop.published() == ["acme/tiny-b"]
    assert "tiny-a" in result.err


def test_a_mirror_that_is_not_there_is_said_once(shop: Workshop) -> None:
    """A mistyped mirror is one error of the source, not one for each release."""
    result = shop.main_job("--source", str(shop.root / "nowhere"))
    assert result.code == 11
    assert result.err.count("Error: ") == 1
    assert "nowhere is not there" in result.err


def test_an_org_that_is_none_is_refused(shop: Workshop) -> None:
    """An owner that the Hub would not take is a usage error."""
    for org in ("my org", "a--b", "..", "-x", "é"):
        assert shop.run("convert-and-upload", "--family", shop.family, f"--org={org}", *shop.places()).code == 2
