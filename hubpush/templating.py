"""Templates, those of hubpush and those of a person, and how text from outside gets into a card unharmed.

A person's templates go before the built-in ones of the same name, which they reach as ``!builtin/NAME``. They may come
from anybody, so they are rendered in Jinja's sandbox with plain values alone, strictly (a name that is not there is an
error), and within limits of output, time and memory.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hubpush.errors import CardError

CARD = "card.md.jinja"
"""The template of the whole card."""

_MAX_FILES, _MAX_FILE = 50, 64 << 10
_MAX_OUTPUT = 1 << 20  # characters of a card
_MAX_REGIONS = 100
_SECONDS, _MEMORY = 10, 512 << 20  # what a person's templates may take
_CELL, _PARAGRAPH = 500, 4000  # characters of a text from outside that are shown

Own = Mapping[str, str]
"""A person's templates: text by name."""


def read(directory: Path) -> dict[str, str]:
    """A person's templates: the ``*.jinja`` files of a directory by their path in it.

    Raises:
        CardError: There are none, too many, one is too large or not readable, or nothing uses it.
    """
    if not directory.is_dir():
        raise CardError(f"the templates {directory} are no directory", hint="give --templates DIR")
    root = directory.resolve()
    own: dict[str, str] = {}
    for path in sorted(directory.rglob("*.jinja")):
        name = path.relative_to(directory).as_posix()
        if not path.resolve().is_relative_to(root):
            raise CardError(f"{name} in {directory} leads out of it", hint="put the file itself there, not a link")
        if len(own) == _MAX_FILES or path.stat().st_size > _MAX_FILE:
            raise CardError(
                f"{directory} has more than {_MAX_FILES} templates, or one of more than {_MAX_FILE // 1024} KB: {name}",
                hint="a card has about 8 KB",
            )
        try:
            own[name] = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CardError(f"the template {path} cannot be read: {error}", hint="save it as UTF-8") from None
    if not own:
        raise CardError(
            f"{directory} holds no templates",
            hint="a file sections/NAME.md.jinja replaces that section, card.md.jinja the whole card",
        )
    _require_used(own)
    return own


def _require_used(own: Own) -> None:
    """Check that every template has the name of a built-in one, or is used by another."""
    known = set(_built_in())
    used = {name for text in own.values() for name in _referenced(text) if name is not None}
    blocks = set(_blocks(_built_in()[CARD].read_text(encoding="utf-8")))
    text = own.get(CARD, "")
    for name in _blocks(text) if f"!builtin/{CARD}" in _referenced(text) else ():
        if name not in blocks:
            near = difflib.get_close_matches(name, blocks, n=1)
            raise CardError(
                f"{CARD} has a block {name}, which hubpush's card has not: its text would be lost",
                hint=f"did you mean {near[0]}?" if near else f"its blocks: {', '.join(sorted(blocks))}",
            )
    for name in own:
        if name not in known | used:
            near = [one for one in sorted(known) if one.endswith(f"/{name}")] or difflib.get_close_matches(name, known)
            raise CardError(
                f"nothing uses the template {name}",
                hint=f"did you mean {near[0]}?" if near else f"name it as one of: {', '.join(sorted(known))}",
            )


def _blocks(text: str) -> list[str]:
    """The blocks of a template that lie in no other."""
    try:
        return [one.name for one in _environment(()).parse(text).body if isinstance(one, nodes.Block)]
    except jinja2.TemplateSyntaxError:
        return []


def _referenced(text: str) -> list[str | None]:
    try:
        return list(meta.find_referenced_templates(_environment(()).parse(text)))
    except jinja2.TemplateSyntaxError:
        return []  # told with its line when it is rendered


def sha256(own: Own) -> str:
    """Digest over the template files that make a card, by their names."""
    built_in = _built_in_sha256()
    return hashlib.sha256(json.dumps([built_in, sorted(own.items())]).encode()).hexdigest() if own else built_in


@cache
def _built_in_sha256() -> str:
    digest = hashlib.sha256()
    for name, path in _built_in().items():
        # Checkouts with other line ends hold the same templates.
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def _built_in() -> dict[str, Path]:
    root = directory()
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.jinja"))}


@cache
def directory() -> Path:
    """The built-in templates: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    return next(path for path in (package / "templates", package.parent / "templates") if path.is_dir())


def render(values: Mapping[str, Any], own: Own) -> dict[str, str]:
    """The regions of a card by their names, in order; one without text is there too.

    Templates of a person are rendered in a process of their own, with little memory, time and environment: what Jinja's
    sandbox does not stop (a text doubled forty times, loops in loops) ends there.

    Args:
        values: What the templates see: plain JSON values alone.
        own: A person's templates.

    Raises:
        CardError: A template is wrong, asks for what is not there, or does not end.
    """
    if not own:
        return regions(values, own)
    # The package may be found by a path that only this process knows; nothing else is handed on, no token above all.
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, sys.path)])
    environment = {"PYTHONPATH": path, "PYTHONUTF8": "1", "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hubpush.templating"],  # the current directory may hold a json.py
            input=json.dumps([values, dict(own)]),
            capture_output=True,
            encoding="utf-8",
            timeout=3 * _SECONDS,
            env=environment,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        last = str(error.stderr or "").strip().rpartition("\n")[2]
        if isinstance(error, subprocess.CalledProcessError) and error.returncode > 0 and "MemoryError" not in last:
            raise CardError(f"the templates cannot be rendered: {last[:300]}", hint="correct the template") from None
        raise CardError(
            f"the templates needed more than {_SECONDS} seconds or {_MEMORY >> 20} MB",
            hint="a template loops, or makes a text that grows without end",
        ) from None
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise CardError(answer["error"], hint=answer["hint"])
    found: dict[str, str] = answer["regions"]
    return found


def main() -> None:
    """Render what comes on stdin, within limits where the system has them."""
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    values, own = json.load(sys.stdin)
    try:
        answer: dict[str, Any] = {"regions": regions(values, own)}
    except CardError as error:
        answer = {"error": error.message, "hint": error.hint}
    json.dump(answer, sys.stdout)


def regions(values: Mapping[str, Any], own: Own) -> dict[str, str]:
    """As `render`, in this process.

    Raises:
        CardError: A template is wrong, or asks for what is not there.
    """
    mark = f"\0{secrets.token_hex(8)}\0"
    environment = _environment(tuple(sorted(own.items())))
    pieces: list[str] = []
    size = 0
    try:
        template = environment.get_template(CARD, globals={"region": lambda name: f"{mark}{name}{mark}"})
        for piece in template.generate(values):
            pieces.append(piece)
            size += len(piece)
            if size > _MAX_OUTPUT:
                raise CardError(
                    f"the card has more than {_MAX_OUTPUT:,} characters",
                    hint="a template loops; a card has about 8,000",
                )
    # After Jinja's own errors what Python says to a filter or an operator that got something else than it takes.
    except (jinja2.TemplateError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        name, line = getattr(error, "name", None), getattr(error, "lineno", None)
        if line is None:
            name, line = _place(error)
        where = f"the template {name or CARD}" + (f", line {line}" if line else "")
        what = f"there is no template {error}" if isinstance(error, jinja2.TemplateNotFound) else str(error)
        raise CardError(
            f"{where}: {what}", hint="correct the template; `hubpush card FOLDER --context` prints what it can use"
        ) from None
    # Halves of characters can be written in a template, and in no file.
    first, *marked = "".join(pieces).encode("utf-8", "replace").decode().split(mark)
    if len(marked) > 2 * _MAX_REGIONS:
        raise CardError(f"the card has more than {_MAX_REGIONS} regions", hint="a template loops around region()")
    found = {"card": first} if first.strip() else {}
    for name, region in zip(marked[::2], marked[1::2], strict=True):
        if not re.fullmatch("[a-z][a-z-]{0,40}", name):
            raise CardError(f"a region called {name[:40]!r}", hint="region() takes lower-case letters and hyphens")
        found[name] = found.get(name, "") + region
    return {name: re.sub(r"\n{3,}", "\n\n", region.strip()) for name, region in found.items()}


def _place(error: BaseException) -> tuple[str | None, int | None]:
    """Template and line in a traceback: Jinja gives its compiled code the template's own name and line numbers."""
    trace = error.__traceback__
    name, line = None, None
    while trace is not None:
        found = Path(trace.tb_frame.f_code.co_filename)
        if found.name.endswith(".jinja"):
            inside = found.is_relative_to(directory())
            name = found.relative_to(directory()).as_posix() if inside else found.as_posix()
            line = trace.tb_lineno
        trace = trace.tb_next
    return name, line


@cache
def _environment(own: tuple[tuple[str, str], ...]) -> jinja2.Environment:
    built_in, texts = jinja2.FileSystemLoader(directory()), dict(own)

    def load(name: str) -> tuple[str, str, None] | None:
        # The second is what a traceback calls the file.
        return (texts[name], name, None) if name in texts else None

    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.ChoiceLoader(
            [jinja2.FunctionLoader(load), built_in, jinja2.PrefixLoader({"!builtin": built_in})]
        ),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        newline_sequence="\n",
    )
    # The same record has to give the same bytes.
    del environment.filters["random"], environment.globals["lipsum"]
    environment.filters |= {
        "cell": cell,
        "code": code,
        "prose": prose,
        "mdlink": mdlink,
        "fence": fence,
        "sci": sci,
        "commas": commas,
        "bytes": size,
        "verdict": verdict,
    }
    return environment


def cell(value: object) -> str:
    """Text from outside, made harmless in a table cell or a line of Markdown."""
    text = " ".join(str(value)[: 2 * _CELL].split())
    return _escaped(text[: _CELL - 1] + "…" if len(text) > _CELL else text)


# An underscore within a word stays one; at its edge it would begin or end emphasis.
_SPECIAL = re.compile(r"[\\`*\[\]|{}~]|(?<!\w)_|_(?!\w)")
# What begins a heading, a list or a rule at the start of a line; a number does with a dot or bracket behind it.
_BLOCK = re.compile(r"([#+=-]|\d{1,9}(?=[.)](?:\s|$)))")


def _escaped(text: str) -> str:
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _SPECIAL.sub(r"\\\g<0>", text)
    if (start := _BLOCK.match(text)) is None:
        return text
    return f"\\{text}" if start[1] in "#+=-" else f"{start[1]}\\{text[start.end() :]}"


_KEPT = re.compile(r"(`[^`|<\n]{1,200}`|(?<!!)\[[^\[\]`|<\n]{1,200}\]\(https://[^()\s<>|\"'`\\]{1,500}\))")


def code(value: object) -> str:
    """A name or a number between backticks; what is neither stands there as a cell."""
    text = str(value)
    return f"`{text}`" if re.fullmatch(r"[\w.:/+@-]{1,200}", text) else cell(text)


def prose(value: object) -> str:
    """Paragraphs from outside: as a cell, but code between backticks and links to https addresses stay."""
    text = str(value)
    text = f"{text[: _PARAGRAPH - 1]}…" if len(text) > _PARAGRAPH else text
    return "\n\n".join(_paragraph(one) for one in re.split(r"\n\s*\n", text.strip()))


def _paragraph(text: str) -> str:
    parts = _KEPT.split(" ".join(text.split()))
    return "".join(part if n % 2 else _escaped(part) for n, part in enumerate(parts))


def mdlink(text: object, address: object) -> str:
    """A link from text and address; of an address that is none of https or http, the text alone."""
    url = str(address)
    if not re.match(r"https?://[^\s/]", url) or len(url) > 2 * _CELL:
        return cell(text)
    return f"[{cell(text)}]({quote(url, safe='/:?&=#%~+,;@!$*-._')})"


def fence(code: object, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    text = str(code).strip("\n")[: 4 * _PARAGRAPH]
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language if language.isalnum() else ''}\n{text}\n{ticks}"


def sci(value: float | None) -> str:
    """A difference: two digits and an exponent."""
    if value is None or value == 0:
        return "–" if value is None else "0"
    return "not a number" if value > 1e300 else f"{value:.1e}"


def commas(value: float) -> str:
    """A count with separators."""
    return f"{value:,}"


def size(value: float) -> str:
    """Bytes for people."""
    return f"{value / 1e6:,.1f} MB" if value >= 100_000 else f"{value:,} bytes"


def verdict(value: str) -> str:
    """A verdict as a word and a sign, not by colour alone."""
    words = {
        "pass": "✓ pass",
        "fail": "✗ FAIL",
        "not-run": "– not run",
        "known-divergence": "≈ differs, as known",
        "informative": "for comparison",
    }
    return words.get(value, cell(value))


if __name__ == "__main__":
    main()
