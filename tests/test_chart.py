"""The picture of parity, its alt text and the terminal's bars: right places, right numbers, the same bytes."""

import copy
import hashlib
import io
import json
import math
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image, ImageColor
from rich.cells import cell_len

from hubpush import chart
from tests import records

GOLDEN = Path(__file__).parent / "golden" / "layers.png"
HEADS = ("sequence_output", "pooled_output", "nsp_logits", "mlm_logits")
NAN = sys.float_info.max  # what the report writes


def report(layers: int = 12, heads: tuple[str, ...] = HEADS, activation: str = "gelu_pytorch_tanh") -> dict[str, Any]:
    """A record with the magnitudes of trained weights: every output has its own difference and its own limit."""
    names = ["embeddings", *(f"layer {n + 1}" for n in range(layers)), *heads]
    other = "gelu" if activation == "gelu_pytorch_tanh" else "gelu_pytorch_tanh"

    def reference(dtype: str, form: str, difference: float, allowed: float) -> dict[str, Any]:
        outputs = [
            {
                "output": name,
                "max_abs": difference * (1 + 0.5 * n) / (40 if name in ("pooled_output", "nsp_logits") else 1),
                "tolerance": allowed * (1 + 0.25 * n) / (20 if name in ("pooled_output", "nsp_logits") else 1),
            }
            for n, name in enumerate(names)
        ]
        return {
            "reference": "graph",
            "dtype": dtype,
            "activation": form,
            "as_published": form == activation,
            "outputs": outputs,
        }

    return {
        "references": [
            reference("float64", activation, 9e-16, 4e-13),
            reference("float32", activation, 5e-7, 4e-6),
            reference("float64", other, 3e-3, 4e-13),
        ]
    }


def change(parity: dict[str, Any], which: int, output: str, value: float, allowed: float | None = None) -> None:
    """Another number for one output of one reference."""
    (found,) = (o for o in parity["references"][which]["outputs"] if o["output"] == output)
    found["max_abs"] = value
    if allowed is not None:
        found["tolerance"] = allowed


def failing(layers: int = 12, at: int = 7, value: float = 0.25) -> dict[str, Any]:
    """A record in which everything from one layer on is over what is allowed, in both precisions."""
    parity = report(layers)
    for reference in parity["references"][:2]:
        for output in reference["outputs"][at:]:
            output["max_abs"] = value
    return parity


def zeros() -> dict[str, Any]:
    """A record in which float64 agrees exactly."""
    parity = report(24)
    for output in parity["references"][0]["outputs"]:
        output["max_abs"] = 0.0
    return parity


CASES = {
    "two layers": records.report(),
    "a wrong layer": records.report(wrong=True),
    "24 layers": report(24),
    "fails at layer 7": failing(),
    "24 layers fail": failing(24, 1, 3e7),
    "not a number": failing(value=NAN),
    "zeros": zeros(),
    "erf release": report(6, activation="gelu"),
    "48 layers": report(48),
    "many heads": report(24, (*HEADS, "start_logits", "end_logits", "answer_class_logits", "replaced_token_logits")),
    "nothing": {"references": []},
}


def pixels(png: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Colours [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def has_colour(image: np.ndarray[Any, Any], colour: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where exactly that colour stands."""
    return np.asarray((image == np.array(ImageColor.getrgb(colour))).all(axis=-1))


def mark_of(parity: dict[str, Any], output: str, side: int) -> chart.Mark:
    """The mark of an output: of float64 (-1), the other form (0) or float32 (1), which stand side by side."""
    found = sorted((m for m in chart.plan(parity).marks if m.output == output), key=lambda m: m.x)
    return found[side + 1]


def drawn_y(parity: dict[str, Any], output: str, side: int, colour: str) -> float:
    """Where a mark is, from the pixels alone: the middle of the highest run of its colour in its column."""
    column = has_colour(pixels(chart.layers_png(parity)), colour)[100:500, int(mark_of(parity, output, side).x)]
    edges = np.flatnonzero(np.diff(np.concatenate(([False], column, [False])).astype(int)))
    return float(
        100 + max((end - start, (start + end) / 2) for start, end in zip(edges[::2], edges[1::2], strict=True))[1]
    )


def tick_y(parity: dict[str, Any], exponent: int) -> float:
    """The middle of the `10` of a power of ten beside the scale."""
    texts = chart.plan(parity).texts
    (n,) = (n for n, t in enumerate(texts) if t.text == str(exponent) and t.box[2] < 112 and texts[n - 1].text == "10")
    return (texts[n - 1].box[1] + texts[n - 1].box[3]) / 2


def test_one_record_gives_the_same_bytes_wherever_it_is_drawn() -> None:
    """Time zone, locale, hash seed, threads and the process have no say in the picture."""
    parity = failing()
    drawn = chart.layers_png(parity)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: chart.layers_png(parity), range(8))) == {drawn}
    code = (
        "import hashlib, json, sys; from hubpush import chart;"
        "print(hashlib.sha256(chart.layers_png(json.load(sys.stdin))).hexdigest())"
    )
    odd = {"TZ": "Asia/Kathmandu", "LC_ALL": "de_DE.UTF-8", "LANG": "tr_TR", "PYTHONHASHSEED": "7", "COLUMNS": "40"}
    other = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(parity),
        env={**os.environ, **odd},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == hashlib.sha256(drawn).hexdigest()


def test_a_changed_number_changes_the_picture() -> None:
    """A record with another number has another picture: nothing is drawn from a cache of an earlier one."""
    parity, changed = report(), report()
    change(changed, 0, "layer 3", 5e-13)
    before = chart.layers_png(parity)
    assert chart.layers_png(changed) != before == chart.layers_png(parity)


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_small_opaque_and_holds_nothing_but_pixels(name: str) -> None:
    """A PNG with a palette, without transparency, text or time, under 60 KB: fit for light and dark pages."""
    png = chart.layers_png(CASES[name])
    kinds, at = [], 8
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        kinds.append(png[at + 4 : at + 8])
        at += 12 + size
    assert list(dict.fromkeys(kinds)) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert len(png) < 60_000
    image = Image.open(io.BytesIO(png))
    assert (image.mode, image.size) == ("P", (chart.WIDTH, chart.HEIGHT))
    assert has_colour(pixels(png), "#ffffff").mean() > 0.3


@pytest.mark.parametrize("name", CASES)
def test_no_text_overlaps_another_or_leaves_the_picture(name: str) -> None:
    """All words can be read: their boxes, as the font measures them, are apart from each other and inside."""
    texts = chart.plan(CASES[name]).texts
    for n, text in enumerate(texts):
        left, top, right, bottom = text.box
        assert 4 <= left < right <= chart.WIDTH - 4, text.text
        assert 4 <= top < bottom <= chart.HEIGHT - 4, text.text
        for other in texts[:n]:
            apart = right <= other.box[0] or other.box[2] <= left or bottom <= other.box[1] or other.box[3] <= top
            assert apart, (text.text, other.text)


@pytest.mark.parametrize("name", CASES)
def test_text_and_marks_are_painted_where_the_plan_says(name: str) -> None:
    """Every box of a text has ink in it and every mark its colour at its centre, in the pixels of the file."""
    image, plan = pixels(chart.layers_png(CASES[name])), chart.plan(CASES[name])
    for text in plan.texts:
        left, top, right, bottom = map(round, text.box)
        assert image[top:bottom, left:right].min() < 160, text.text
    for mark in plan.marks:
        assert tuple(image[int(mark.y), int(mark.x)]) == ImageColor.getrgb(mark.colour), mark


@pytest.mark.parametrize("layers", [2, 4, 12, 24])
def test_every_column_has_its_label_below_it(layers: int) -> None:
    """With up to 24 layers and all heads each output is named, each name under the points of its own output."""
    plan = chart.plan(report(layers))
    centres = {m.output: m.x for m in plan.marks if m.colour == chart.OTHER and m.output}
    below = [t for t in plan.texts if t.box[1] > 492]
    for output, x in centres.items():
        shown = output.removeprefix("layer ").split("_")[0]
        nearest = min(below, key=lambda t: (t.at[1], abs((t.box[0] + t.box[2]) / 2 - x)))
        assert nearest.text == shown
        assert abs((nearest.box[0] + nearest.box[2]) / 2 - x) < 2


@pytest.mark.parametrize(
    ("which", "side", "colour"), [(0, -1, chart.FLOAT64), (2, 0, chart.OTHER), (1, 1, chart.FLOAT32)]
)
@pytest.mark.parametrize("exponent", [-14, -10, -6, -2])
def test_a_point_stands_at_its_number(which: int, side: int, colour: str, exponent: int) -> None:
    """The point of 10^n is beside the words 10^n, of half a decade more half a decade higher, whatever the series."""
    parity = report()
    for n in range(2):
        for name in ("layer 3", "layer 4"):
            change(parity, n, name, 1e-9, 10.0)
    change(parity, which, "layer 3", 10.0**exponent)
    change(parity, which, "layer 4", 10.0 ** (exponent + 0.5))
    decade = (tick_y(parity, -10) - tick_y(parity, -2)) / 8
    assert drawn_y(parity, "layer 3", side, colour) == pytest.approx(tick_y(parity, exponent), abs=1.5)
    higher = drawn_y(parity, "layer 3", side, colour) - drawn_y(parity, "layer 4", side, colour)
    assert higher == pytest.approx(decade / 2, abs=1.5)


@pytest.mark.parametrize(("which", "colour"), [(0, chart.FLOAT64), (1, chart.FLOAT32)])
def test_the_line_of_what_is_allowed_is_a_step_for_each_output(which: int, colour: str) -> None:
    """Each column has its own limit, in its precision's colour, at its number."""
    parity = report()
    for n, name in enumerate(("layer 2", "layer 3", "layer 4")):
        change(parity, which, name, 1e-16, 10.0 ** (-8 - 2 * n))
    image = has_colour(pixels(chart.layers_png(parity)), colour)
    for n, name in enumerate(("layer 2", "layer 3", "layer 4")):
        y = round(tick_y(parity, -8 - 2 * n))
        assert image[y - 2 : y + 3, int(mark_of(parity, name, 0).x)].any()


@pytest.mark.parametrize(("which", "side"), [(0, -1), (1, 1)])
def test_an_output_over_its_limit_has_another_colour_and_shape(which: int, side: int) -> None:
    """A point over its line becomes a red cross on a tinted column with a red name; no other one does."""
    parity = report()
    plain = pixels(chart.layers_png(parity))
    assert not has_colour(plain, chart.OVER).any()
    change(parity, which, "layer 7", 1e-3, 1e-5)
    image, plan, mark = pixels(chart.layers_png(parity)), chart.plan(parity), mark_of(parity, "layer 7", side)
    assert [m.output for m in plan.marks if m.colour == chart.OVER] == ["layer 7", ""]
    red = has_colour(image, chart.OVER)
    x, y, far = int(mark.x), int(mark.y), round(0.75 * mark.radius)
    assert red[y, x]
    assert red[y - far, x - far]
    assert red[y + far, x + far]
    assert not red[y - far, x]
    assert not red[y, x + far]
    grounds = {m.output: tuple(image[488, int(m.x) + 1]) for m in plan.marks if m.output}
    assert {output for output, ground in grounds.items() if ground != (255, 255, 255)} == {"layer 7"}
    # The same place in the picture without the fault has the filled shape of its series somewhere in its column.
    assert has_colour(plain, chart.FLOAT64 if side < 0 else chart.FLOAT32)[120:492, x].sum() > 5
    assert [t.text for t in plan.texts if t.colour == chart.OVER and t.box[1] > 492] == ["7"]
    said = [t.text for t in plan.texts if t.colour == chart.OVER and t.box[1] < 100]
    assert said == [
        f"1 of 17 outputs is over what is allowed, first layer 7 in {('float64', 'float32')[which]}:"
        " 1.0e-03, allowed 1.0e-05."
    ]


def test_the_other_form_is_never_over() -> None:
    """What would be if the other GELU form were used is no failure, however far it is."""
    plan = chart.plan(report())
    assert {m.shape for m in plan.marks if m.colour == chart.OTHER} == {"diamond"}
    assert any(t.text == "Every output is within what is allowed in float64 and float32." for t in plan.texts)


def test_zero_and_what_is_no_number_have_rows_of_their_own() -> None:
    """Neither has a place on a log scale: zero is below all numbers, what is not a number above, and always over."""
    parity = report()
    change(parity, 0, "embeddings", 0.0)
    change(parity, 0, "layer 1", 1e-17)
    change(parity, 1, "layer 5", NAN, math.inf)
    change(parity, 1, "layer 4", 0.9)
    zero, small = mark_of(parity, "embeddings", -1), mark_of(parity, "layer 1", -1)
    wrong, large = mark_of(parity, "layer 5", 1), mark_of(parity, "layer 4", 1)
    assert zero.y > small.y + 15
    assert zero.shape == "circle"
    assert wrong.y < large.y - 15
    assert wrong.shape == "cross"
    words = {t.text: (t.box[1] + t.box[3]) / 2 for t in chart.plan(parity).texts if t.box[2] < 112 and t.box[1] > 110}
    assert words["0"] == pytest.approx(zero.y, abs=1.5)
    assert words["not a number"] == pytest.approx(wrong.y, abs=3)
    assert "not a number" not in {t.text for t in chart.plan(report()).texts}
    for value in (math.nan, math.inf, None):
        change(parity, 1, "layer 5", value)  # type: ignore[arg-type]
        assert mark_of(parity, "layer 5", 1) == wrong


def test_keys_and_other_references_are_left_out() -> None:
    """The picture shows outputs of the graph: neither key projections nor what was compared with something else."""
    parity, more = report(), report()
    for reference in more["references"]:
        reference["outputs"].insert(3, {"output": "layer 3 keys", "max_abs": 5.0, "tolerance": 1e-12})
    more["references"].insert(0, {**copy.deepcopy(more["references"][0]), "reference": "keras"})
    more["references"][0]["outputs"][0]["max_abs"] = 3.0
    assert chart.layers_png(more) == chart.layers_png(parity)
    assert chart.alt_text(more) == chart.alt_text(parity)
    assert chart.bars(more, 100) == chart.bars(parity, 100)


def test_colours_can_be_seen_and_told_apart_without_hue() -> None:
    """Marks have 3:1 against the paper (WCAG 2.2, 1.4.11), and each series has its own shape."""

    def luminance(colour: str) -> float:
        parts = [c / 255 for c in ImageColor.getrgb(colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    marks = {(m.colour, m.shape) for m in chart.plan(failing()).marks}
    assert len(marks) == len({colour for colour, _ in marks}) == len({shape for _, shape in marks}) == 4
    for colour, _ in marks:
        assert 1.05 / (luminance(colour) + 0.05) >= 3


def test_the_picture_is_the_golden_one() -> None:
    """It changes only when somebody means it to (HUBPUSH_UPDATE_GOLDEN=1), but for letters' edges in another Pillow."""
    png = chart.layers_png(failing())
    if os.environ.get("HUBPUSH_UPDATE_GOLDEN"):
        GOLDEN.write_bytes(png)
    golden, drawn = pixels(GOLDEN.read_bytes()).astype(int), pixels(png).astype(int)
    assert golden.shape == drawn.shape
    assert (np.abs(golden - drawn).max(axis=-1) > 20).mean() < 0.002


def test_the_alt_text_has_the_numbers() -> None:
    """Largest difference, where, what is allowed, in both precisions, and the other form's gap; and where it fails."""
    parity = records.report()
    assert chart.alt_text(parity) == (
        "Largest difference of each output from the original graph, on a log scale: float64 at most 6.3e-15"
        " (pooled_output), allowed 9.5e-13; float32 at most 3.8e-06 (pooled_output), allowed 1.8e-05. With the other"
        " GELU form, gelu, it would be 7.5e-03."
    )
    for which, dtype in enumerate(("float64", "float32")):
        worst = parity["references"][which]["worst"]
        assert f"{dtype} at most {worst['max_abs']:.1e} ({worst['output']}), allowed {worst['tolerance']:.1e}" in (
            chart.alt_text(parity)
        )
    wrong = chart.alt_text(records.report(wrong=True))
    assert "float64 at most 2.5e-01 (layer 2), allowed 9.5e-13, over what is allowed first at layer 2;" in wrong
    assert "float64 not a number (layer 7)," in chart.alt_text(failing(value=NAN))
    assert "float64 at most 0 (embeddings)," in chart.alt_text(zeros())
    assert chart.alt_text({"references": []}) == "No output was compared with the original graph."


NAMES = st.sampled_from(["embeddings", "layer 1", "layer 24", "layer 3 keys", "mlm_logits"]) | st.text(max_size=20)
NUMBERS = (
    st.floats(min_value=0, allow_infinity=True, allow_nan=False)
    | st.sampled_from([0.0, NAN, math.nan, 5e-324, 1e-17, 1e-30, 0.25])
    | st.floats(1e-16, 1.0)
)
REFERENCES = st.fixed_dictionaries(
    {
        "reference": st.sampled_from(["graph", "graph", "keras"]),
        "dtype": st.sampled_from(["float64", "float32"]),
        "activation": st.sampled_from(["gelu", "gelu_pytorch_tanh"]) | st.text(max_size=30),
        "as_published": st.booleans(),
        "outputs": st.lists(
            st.fixed_dictionaries({"output": NAMES, "max_abs": NUMBERS, "tolerance": NUMBERS}), max_size=30
        ),
    }
)
REPORTS = st.fixed_dictionaries({"references": st.lists(REFERENCES, max_size=4)})


@settings(max_examples=60, deadline=None)
@given(REPORTS)
def test_any_record_can_be_drawn(parity: dict[str, Any]) -> None:
    """Whatever was recorded, there is a picture, with all marks inside and no text over another."""
    assert len(chart.layers_png(parity)) < 60_000
    plan = chart.plan(parity)
    assert all(0 < m.x < chart.WIDTH and 0 < m.y < 500 for m in plan.marks)
    for n, text in enumerate(plan.texts):
        left, top, right, bottom = text.box
        assert left >= 0 <= top and right <= chart.WIDTH and bottom <= chart.HEIGHT
        for other in plan.texts[:n]:
            boxes = (right <= other.box[0], other.box[2] <= left, bottom <= other.box[1], other.box[3] <= top)
            assert any(boxes), (text.text, other.text)


@settings(max_examples=200, deadline=None)
@given(REPORTS)
def test_the_alt_text_stays_itself_in_markdown(parity: dict[str, Any]) -> None:
    """A Markdown parser reads back the same words from `![...](...)`, in a paragraph and in a table."""
    text = chart.alt_text(parity)
    assert text.isascii()
    assert not set(text) & set("[]|\n\r\\`*<>&!")
    (paragraph,) = MarkdownIt("commonmark").parse(f"![{text}](layers.png)")[1:2]
    (image,) = paragraph.children or ()
    assert (image.type, image.content) == ("image", text)
    assert all(child.type == "text" for child in image.children or ())
    html = MarkdownIt("commonmark").enable("table").render(f"| a |\n|---|\n| ![{text}](layers.png) |\n")
    assert f'alt="{text}"' in html


@settings(max_examples=200, deadline=None)
@given(REPORTS, st.integers(1, 200), st.booleans())
def test_bars_fit_and_say_what_is_over(parity: dict[str, Any], width: int, unicode: bool) -> None:
    """One line for each output, never wider than asked, of one column a character; over ends in `over`, alone."""
    lines = chart.bars(parity, width, unicode)
    published = {}
    for reference in parity["references"]:
        kept = {o["output"]: o for o in reference["outputs"] if not o["output"].endswith(" keys")}
        if reference["reference"] == "graph" and reference["as_published"] and kept:
            published.setdefault(reference["dtype"], kept)
    names = [n for dtype in ("float64", "float32") if dtype in published for n in published[dtype]]
    names = list(dict.fromkeys(names))
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        assert cell_len(line) == len(line) <= width
        assert unicode or line.isascii()
        pairs = [(kept[name]["max_abs"], kept[name]["tolerance"]) for kept in published.values() if name in kept]
        is_over = any(not value < 1e308 or (allowed < 1e308 and value > allowed) for value, allowed in pairs)
        if width >= 30 and "over" not in name:
            assert line.endswith(" over") == is_over


def test_bars_have_order_numbers_and_marks() -> None:
    """Lines follow the computation; a bar ends before its mark if the output is within, and passes it if not."""
    parity = failing(4, at=3)
    outputs = parity["references"][0]["outputs"]
    for width, unicode in ((130, True), (100, True), (80, True), (80, False), (60, False)):
        lines = chart.bars(parity, width, unicode)
        assert [line[:15].strip() for line in lines] == [output["output"] for output in outputs]
        bound, crossed, full, least = ("│", "┿", "━", "≤") if unicode else ("|", "+", "=", "<=")
        for n, (line, output) in enumerate(zip(lines, outputs, strict=True)):
            sign = ">" if n >= 3 else least
            number, allowed = f"{output['max_abs']:.1e}", f"{output['tolerance']:.1e}"
            assert f"{number} {sign} {allowed}" in line.replace("  >", " >")
            if width >= 80:
                assert f"{parity['references'][1]['outputs'][n]['tolerance']:.1e}" in line
            bar = line[15:].replace(number, "\0").split("\0")[0].replace("float64", "")
            if n < 3:
                assert crossed not in bar
                assert bar.rindex(full) < bar.index(bound)
            else:
                assert bound not in bar
                assert bar.index(crossed) < bar.rindex(full)
                assert line.endswith(" over")


def test_a_larger_difference_has_a_longer_bar() -> None:
    """Length follows the logarithm, from 1e-17 up, on one scale for all lines of a precision."""
    parity = report(4, ())
    for n, value in enumerate((1e-17, 1e-16, 1e-15, 1e-14, 1e-13)):
        parity["references"][0]["outputs"][n] |= {"max_abs": value, "tolerance": 1e-12}
    del parity["references"][1:]
    lengths = [line.count("━") + line.count("╸") / 2 for line in chart.bars(parity, 80)]
    width = len(chart.bars(parity, 80)[0].split("│")[0]) + 1 - len("embeddings  ")
    assert lengths == pytest.approx([n / 5 * width for n in range(5)], abs=0.3)


def test_pillow_is_loaded_by_the_picture_alone() -> None:
    """`hubpush --help`, the alt text and the bars do not wait for Pillow."""
    code = (
        "import sys, json; from hubpush import chart, cli; parity = json.load(sys.stdin);"
        "chart.bars(parity, 80); chart.alt_text(parity); assert 'PIL' not in sys.modules;"
        "assert chart.layers_png(parity) and 'PIL' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], input=json.dumps(report()), text=True, check=True)
