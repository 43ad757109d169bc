"""Laws of what is asked for one release."""

from pathlib import Path

from tests.workshop import Workshop


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
