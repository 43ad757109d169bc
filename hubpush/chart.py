"""The differences that parity measured, as a picture for the card, as its alt text, and as bars for a terminal.

All three read the recorded report, `ParityReport.to_json()`, and so draw the same for the same record. They show the
comparison with the original graph: float64 and float32 as published, each with what is allowed, and what the other GELU
form would give. What is over is judged here by the numbers, not by the record's verdict.

`plan` says what stands where, in pixels; `layers_png` paints that with Pillow and the font inside Pillow, so no font,
locale or display of the machine has a say. Letters need FreeType, which every wheel of Pillow has. Bytes are those of
one Pillow version: in another, FreeType may draw letters otherwise and zlib may pack the same pixels into other bytes.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 1200, 560
_LEFT, _RIGHT, _BOTTOM, _EDGE = 112, 1180, 492, 20
_ROW = 30  # height of the rows for zero and for what is not a number, which have no place on a log scale
_GAP = 8  # between such a row and the scale
_SCALE = 3  # Pillow draws shapes without antialiasing: they are drawn larger and averaged

_LOWEST, _HIGHEST = -17, 0  # decades that every picture has, so that pictures of several models compare at sight
_LONGEST = 32  # columns of a bar in the terminal
_NOT_A_NUMBER = 1e308  # what the report writes where JSON has no word is the largest float, 1.8e308

_LAYER = re.compile(r"layer (\d{1,6})", re.ASCII)

# Blue, orange and red stay apart in every kind of colour blindness, and the shapes differ as well.
FLOAT64, FLOAT32, OVER, OTHER = "#0b5fa5", "#c97500", "#b3001b", "#7d848e"
_PAPER, _INK, _SOFT, _GRID, _BAND, _OVER_BAND = "#ffffff", "#1c2128", "#57606a", "#e4e7eb", "#f3f4f6", "#fbe6e8"

Shape = Literal["circle", "square", "diamond", "cross"]


@dataclass(frozen=True)
class Series:
    """One comparison with the original graph.

    Attributes:
        dtype: `float64` or `float32`.
        activation: The GELU form that the graph computed.
        values: By output, in the order of the computation: largest absolute difference, and what is allowed; infinite
            where it is not a number.
    """

    dtype: str
    activation: str
    values: Mapping[str, tuple[float, float]]

    def over(self) -> list[str]:
        """The outputs that differ by more than is allowed, the first one first."""
        return [name for name, (value, allowed) in self.values.items() if _is_over(value, allowed)]

    def worst(self) -> str:
        """The output with the largest difference; one that is over comes before all that are not."""
        return max(self.values, key=lambda name: (_is_over(*self.values[name]), self.values[name][0]))


@dataclass(frozen=True)
class Text:
    """A line of text: its box in pixels (left, top, right, bottom), where its baseline begins, size, and colour."""

    text: str
    box: tuple[float, float, float, float]
    at: tuple[float, float]
    size: int
    colour: str


@dataclass(frozen=True)
class Mark:
    """A point of a series, by its centre and half its width in pixels; `output` is empty in the legend."""

    x: float
    y: float
    shape: Shape
    colour: str
    radius: float
    output: str = ""


@dataclass(frozen=True)
class Line:
    """A line through points in pixels."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float


@dataclass(frozen=True)
class Band:
    """A filled box in pixels (left, top, right, bottom)."""

    box: tuple[float, float, float, float]
    colour: str


@dataclass(frozen=True)
class Plan:
    """Everything in the picture and where it stands, in the order in which it is painted."""

    bands: tuple[Band, ...]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]
    texts: tuple[Text, ...]


def layers_png(parity: Mapping[str, Any]) -> bytes:
    """The picture of parity: the largest difference of each output, with what is allowed, on a log scale.

    Args:
        parity: The recorded report.

    Returns:
        A PNG of 1200 x 560 pixels on an opaque white ground, with nothing in it but pixels.
    """
    from PIL import Image, ImageDraw

    shown = plan(parity)
    large = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), _PAPER)
    draw = ImageDraw.Draw(large)
    for band in shown.bands:
        # Pillow paints the last row and column too.
        left, top, right, bottom = (edge * _SCALE for edge in band.box)
        draw.rectangle((left, top, right - 1, bottom - 1), fill=band.colour)
    for line in shown.lines:
        points = [(x * _SCALE, y * _SCALE) for x, y in line.points]
        draw.line(points, fill=line.colour, width=round(line.width * _SCALE))
    for mark in shown.marks:
        _paint(draw, mark)
    image = large.reduce(_SCALE)
    draw = ImageDraw.Draw(image)
    for text in shown.texts:
        draw.text(text.at, text.text, font=_font(text.size), fill=text.colour, anchor="ls")
    stream = io.BytesIO()
    image.quantize(palette=_palette(), dither=Image.Dither.NONE).save(stream, "PNG", compress_level=9)
    return stream.getvalue()


def alt_text(parity: Mapping[str, Any]) -> str:
    """What the picture shows, in one or two sentences: plain text that stays itself inside Markdown's `![...]`.

    Args:
        parity: The recorded report.
    """
    published, other = _read(parity)
    parts = []
    for series in published:
        name = series.worst()
        value, allowed = series.values[name]
        over = series.over()
        most = _sci(value) if math.isinf(value) else f"at most {_sci(value)}"
        said = f", over what is allowed first at {_plain(over[0])}" if over else ""
        parts.append(f"{series.dtype} {most} ({_plain(name)}), allowed {_sci(allowed)}{said}")
    if not parts:
        return "No output was compared with the original graph."
    text = f"Largest difference of each output from the original graph, on a log scale: {'; '.join(parts)}."
    for series in other[:1]:
        value = max(value for value, _ in series.values.values())
        text += f" With the other GELU form, {_plain(series.activation)}, it would be {_sci(value)}."
    return text


def bars(parity: Mapping[str, Any], width: int, unicode: bool = True) -> list[str]:
    """A line for each output: float64 and float32 as published, each a bar on a log scale and two numbers.

    A bar runs from 1e-17 to the largest number of its precision, with a mark at what is allowed; where room is short,
    the second bar goes first (and the word `float64` with it), then the other, then float32, then what is allowed.

    Args:
        parity: The recorded report.
        width: Columns that a line may have, at least 1.
        unicode: Whether the terminal can show more than ASCII.

    Returns:
        Lines of at most `width` columns; those of an output that is over end in `over`.
    """
    published, _ = _read(parity)
    names = _names(published)
    over = {name for series in published for name in series.over()}
    shown = {name: _ascii(name) for name in names}
    # The longest tail is set aside in every line, so that columns stand below each other.
    room = max(0, width - (len(" over") if over else 0))
    column = max(map(len, shown.values()), default=0)
    lines = {name: shown[name].ljust(column) for name in names}
    for parts in _halves(published, names, room - column, unicode=unicode):
        lines = {name: lines[name] + part for name, part in zip(names, parts, strict=True)}
    return [(line[:room] + " over")[-width:] if name in over else line.rstrip()[:width] for name, line in lines.items()]


def _halves(published: Sequence[Series], names: Sequence[str], room: int, *, unicode: bool) -> list[list[str]]:
    """What stands behind the names, a list of cells for each precision, as much of it as the room allows."""
    for count, barred, with_allowed in (
        (2, 2, True),
        (2, 1, True),
        (2, 0, True),
        (1, 1, True),
        (1, 0, True),
        (1, 0, False),
    ):
        shown = published[:count]
        texts = [_numbers(series, names, with_allowed=with_allowed, unicode=unicode) for series in shown]
        if shown and shown[0].dtype == "float64" and barred == 1:
            texts[0] = [text.removeprefix("float64 ") for text in texts[0]]
        with_bar = min(barred, len(shown))
        free = room - sum(2 + len(cells[0]) for cells in texts) - with_bar
        if free >= 8 * with_bar:
            bar = min(free // with_bar, _LONGEST) if with_bar else 0
            return [
                [
                    f"  {_bar(series, name, bar, unicode=unicode)} {text}" if n < with_bar else f"  {text}"
                    for name, text in zip(names, cells, strict=True)
                ]
                for n, (series, cells) in enumerate(zip(shown, texts, strict=True))
            ]
    return []


def _numbers(series: Series, names: Sequence[str], *, with_allowed: bool, unicode: bool) -> list[str]:
    """Precision, number, and what is allowed, for each output; cells of one width."""
    cells = []
    for name in names:
        if name not in series.values:
            cells.append("")
            continue
        value, allowed = series.values[name]
        sign = ">" if _is_over(value, allowed) else "≤" if unicode else "<="
        limit = f" {sign:>{1 if unicode else 2}} {_short(allowed):>7}" if with_allowed else ""
        cells.append(f"{series.dtype} {_short(value):>7}{limit}")
    most = max(map(len, cells), default=0)
    return [cell.ljust(most) for cell in cells]


def _bar(series: Series, name: str, width: int, *, unicode: bool) -> str:
    if name not in series.values:
        return " " * width
    numbers = [v for pair in series.values.values() for v in pair if 0 < v < math.inf]
    highest = max([_LOWEST + 1.0, *map(math.log10, numbers)])
    if math.inf in (value for value, _ in series.values.values()):
        highest += 1  # a bar without end passes every mark

    def cell(v: float) -> float:
        part = 0.0 if v == 0 else 1.0 if math.isinf(v) else (math.log10(v) - _LOWEST) / (highest - _LOWEST)
        return min(max(part, 0.0), 1.0) * width

    value, allowed = series.values[name]
    halves, mark = round(2 * cell(value)), min(int(cell(allowed)), width - 1)
    full, half, bound, crossed = "━╸│┿" if unicode else "=-|+"
    text = (full * (halves // 2) + half * (halves % 2)).ljust(width)
    return text[:mark] + (crossed if text[mark] != " " and _is_over(value, allowed) else bound) + text[mark + 1 :]


def plan(parity: Mapping[str, Any]) -> Plan:
    """What stands where in the picture.

    Args:
        parity: The recorded report.
    """
    published, other = _read(parity)
    names = _names([*published, *other])
    over = {name for series in published for name in series.over()}
    texts = _head(published, over)
    legend_lines, legend_marks, legend_texts, top = _legend(published, other, is_over=bool(over))
    numbers = [number for series in (*published, *other) for pair in series.values.values() for number in pair]
    axis = _axis(numbers, top)
    columns = _columns(names)

    bands = [Band((_LEFT, y - _ROW / 2, _RIGHT, y + _ROW / 2), _BAND) for y in axis.rows()]
    bands += [Band((c.left, top, c.right, _BOTTOM), _OVER_BAND) for name, c in columns.items() if name in over]
    lines = [Line(((_LEFT, y), (_RIGHT, y)), _GRID, 1) for y in axis.decades()]
    marks: list[Mark] = []
    narrow = min((c.right - c.left for c in columns.values()), default=0.0)

    def mark(name: str, side: int, value: float, shape: Shape, colour: str) -> Mark:
        x = columns[name].middle + side * min(13.0, 0.31 * narrow)
        marks.append(Mark(x, axis.y(value), shape, colour, max(2.5, min(6.0, 0.15 * narrow)), name))
        return marks[-1]

    for series in other:
        for name, (value, _) in series.values.items():
            mark(name, 0, value, "diamond", OTHER)
    for series in published:
        colour, side, shape = _looks(series)
        lines += _limits(series, columns, axis, colour)
        for name, (value, allowed) in series.values.items():
            if _is_over(value, allowed):
                cross = mark(name, side, value, "cross", OVER)
                lines.append(Line(((cross.x, axis.y(allowed)), (cross.x, cross.y)), colour, 2))
            else:
                mark(name, side, value, shape, colour)
    texts += [*axis.texts(), *legend_texts]
    for name, column in columns.items():
        for n, word in enumerate(column.label):
            colour = OVER if name in over else _INK
            texts.append(_text(word, column.middle, _BOTTOM + 24 + 19 * n, 16, colour, "middle"))
    texts += _captions(columns)
    frame = ((0.5, 0.5), (WIDTH - 0.5, 0.5), (WIDTH - 0.5, HEIGHT - 0.5), (0.5, HEIGHT - 0.5), (0.5, 0.0))
    lines.append(Line(frame, _GRID, 1))
    return Plan(tuple(bands), (*lines, *legend_lines), (*marks, *legend_marks), tuple(texts))


@dataclass(frozen=True)
class _Column:
    """Where an output stands, in pixels, and the lines of its label."""

    left: float
    right: float
    label: tuple[str, ...]

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


@dataclass(frozen=True)
class _Axis:
    """The log scale from 10^low at `bottom` to 10^high at `top`; rows for what has no place on it, where needed."""

    low: int
    high: int
    top: float
    bottom: float
    zero: float | None
    not_a_number: float | None

    def y(self, value: float) -> float:
        if value == 0:
            return self.bottom if self.zero is None else self.zero
        if math.isinf(value):
            return self.top if self.not_a_number is None else self.not_a_number
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return self.bottom - part * (self.bottom - self.top)

    def rows(self) -> list[float]:
        return [y for y in (self.zero, self.not_a_number) if y is not None]

    def ticks(self) -> list[int]:
        """Exponents that are written: every second one where there is room."""
        per_decade = (self.bottom - self.top) / (self.high - self.low)
        step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200) if step * per_decade >= 30)
        return [e for e in range(self.low, self.high + 1) if e % step == 0]

    def decades(self) -> list[float]:
        return [self.y_of_power(e) for e in self.ticks()]

    def y_of_power(self, exponent: int) -> float:
        return self.bottom - (exponent - self.low) / (self.high - self.low) * (self.bottom - self.top)

    def texts(self) -> list[Text]:
        texts = []
        for exponent in self.ticks():
            y = self.y_of_power(exponent) + 6
            power = _text(str(exponent), _LEFT - 10, y - 7, 13, _SOFT, "end")
            texts += [_text("10", power.box[0] - 1, y, 17, _SOFT, "end"), power]
        if self.zero is not None:
            texts.append(_text("0", _LEFT - 10, self.zero + 6, 17, _SOFT, "end"))
        if self.not_a_number is not None:
            texts.append(_text("not a number", _LEFT - 10, self.not_a_number + 5, 14, _SOFT, "end"))
        return texts


def _axis(numbers: Sequence[float], top: float) -> _Axis:
    """The scale that holds all numbers, with the rows it needs between `top` and the bottom of the picture."""
    finite = [math.log10(number) for number in numbers if 0 < number < math.inf]
    bottom = float(_BOTTOM)
    zero = not_a_number = None
    if 0.0 in numbers:
        zero = bottom - _ROW / 2
        bottom -= _ROW + _GAP
    if math.inf in numbers:
        not_a_number = top + _ROW / 2
        top += _ROW + _GAP
    low, high = min([_LOWEST, *map(math.floor, finite)]), max([_HIGHEST, *map(math.ceil, finite)])
    return _Axis(low, high, top, bottom, zero, not_a_number)


def _read(parity: Mapping[str, Any]) -> tuple[list[Series], list[Series]]:
    """The comparisons with the graph: as published, float64 first, and the other GELU form in float64 if recorded."""
    published: dict[str, Series] = {}
    other: list[Series] = []
    for reference in parity.get("references") or ():
        values = {
            str(output["output"]): (_number(output["max_abs"]), _number(output["tolerance"]))
            for output in reference["outputs"]
            if not str(output["output"]).endswith(" keys")
        }
        if reference["reference"] != "graph" or not values:
            continue
        series = Series(str(reference["dtype"]), str(reference["activation"]), values)
        if reference["as_published"]:
            published.setdefault(series.dtype, series)
        elif series.dtype == "float64" and not other:
            other.append(series)
    return [published[dtype] for dtype in ("float64", "float32") if dtype in published], other


def _number(value: Any) -> float:
    """A recorded number; infinite if it is none."""
    return float(value) if isinstance(value, int | float) and 0 <= value < _NOT_A_NUMBER else math.inf


def _is_over(value: float, allowed: float) -> bool:
    # What is not a number is over, whatever is allowed.
    return math.isinf(value) or value > allowed


def _names(every: Iterable[Series]) -> list[str]:
    return list(dict.fromkeys(name for series in every for name in series.values))


def _sci(value: float) -> str:
    return "not a number" if math.isinf(value) else f"{value:.1e}" if value else "0"


def _short(value: float) -> str:
    return "NaN" if math.isinf(value) else _sci(value)


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def _plain(text: str) -> str:
    """Text without what Markdown could read as markup; an underscore within a word is none."""
    words = re.sub(r"[^A-Za-z0-9_.,+ -]", " ", text).split()
    return " ".join(stripped for word in words if (stripped := word.strip("_"))) or "unnamed"


def _looks(series: Series) -> tuple[str, int, Shape]:
    """Colour, side of the column's middle, and shape: points of two series never lie on each other."""
    return (FLOAT64, -1, "circle") if series.dtype == "float64" else (FLOAT32, 1, "square")


def _limits(series: Series, columns: Mapping[str, _Column], axis: _Axis, colour: str) -> list[Line]:
    """What is allowed, as steps; neighbours that both have a limit are joined."""
    lines: list[Line] = []
    steps: list[tuple[float, float]] = []
    for name, column in columns.items():
        if name in series.values:
            y = axis.y(series.values[name][1])
            steps += [(column.left, y), (column.right, y)]
        elif steps:
            lines.append(Line(tuple(steps), colour, 2))
            steps = []
    return [*lines, Line(tuple(steps), colour, 2)] if steps else lines


def _columns(names: Sequence[str]) -> dict[str, _Column]:
    """A column for each output, at least as wide as its label; the rest of the room goes to the narrow ones.

    Where not even the labels of layers fit, every second, fourth and so on is written; then of all outputs.
    """
    room, least, gap = float(_RIGHT - _LEFT), 4.0, 8.0
    if not names:
        return {}
    labels = [_label(name) for name in names]
    widths: list[float] = []
    for every in (1, 2, 4, 8, 16, 32, 64, 128, len(names)):
        kept = [
            label if n % every == 0 or (every <= 8 and not _LAYER.fullmatch(name)) else ()
            for n, (name, label) in enumerate(zip(names, labels, strict=True))
        ]
        widths = [max([least, *(_length(word, 16) + gap for word in label)]) for label in kept]
        if sum(widths) <= room:
            labels = kept
            break
    else:
        labels = [() for _ in names]
        widths = [room / len(names)] * len(names)
    # All columns are one width where they can be: the widest first take what their label needs.
    left_over, share, n = room, 0.0, len(widths)
    for needed in sorted(widths, reverse=True):
        share = left_over / n
        if needed <= share:
            break
        left_over, n = left_over - needed, n - 1
    columns, left = {}, float(_LEFT)
    for name, needed, label in zip(names, widths, labels, strict=True):
        right = left + max(needed, share)
        columns[name] = _Column(left, right, label)
        left = right
    return columns


def _label(name: str) -> tuple[str, ...]:
    """The label below a column: a layer's number, others in up to two lines."""
    if found := _LAYER.fullmatch(name):
        return (found[1],)
    words = [word if len(word) <= 12 else word[:11] + "…" for word in re.split(r"[ _]+", _ascii(name)) if word]
    return (words[0], " ".join(words[1:])[:12])[: min(len(words), 2)] if words else ("?",)


def _captions(columns: Mapping[str, _Column]) -> list[Text]:
    """`encoder layer` below each run of numbers that has the room."""
    texts = []
    for is_layer, run in itertools.groupby(columns.items(), lambda item: _LAYER.fullmatch(item[0]) is not None):
        spans = [column for _, column in run]
        left, right = spans[0].left, spans[-1].right
        said = next((said for said in ("encoder layer", "layer") if _length(said, 16) + 8 <= right - left), None)
        if is_layer and said:
            texts.append(_text(said, (left + right) / 2, _BOTTOM + 43, 16, _SOFT, "middle"))
    return texts


def _head(published: Sequence[Series], over: set[str]) -> list[Text]:
    """The title, and the judgement in a sentence."""
    title = _text("Largest difference of each output from the original graph", _EDGE, 38, 21, _INK, "start")
    if not published:
        return [title, _text("No output was compared.", _EDGE, 66, 17, _SOFT, "start")]
    if not over:
        both = " and ".join(series.dtype for series in published)
        said = f"Every output is within what is allowed in {both}."
        return [title, _text(said, _EDGE, 66, 17, _SOFT, "start")]
    names = _names(published)
    first = next(name for name in names if name in over)
    series = next(series for series in published if first in series.over())
    value, allowed = series.values[first]
    shown = _ascii(first) if len(first) <= 24 else _ascii(first)[:23] + "…"
    many = f"{len(over)} of {len(names)} outputs are" if len(over) > 1 else f"1 of {len(names)} outputs is"
    said = f"{many} over what is allowed, first {shown} in {series.dtype}: {_sci(value)}, allowed {_sci(allowed)}."
    return [title, _text(said, _EDGE, 66, 17, OVER, "start")]


def _legend(
    published: Sequence[Series], other: Sequence[Series], *, is_over: bool
) -> tuple[list[Line], list[Mark], list[Text], float]:
    """What the marks and lines mean, in as many rows as it takes, and where the scale may begin."""
    entries: list[tuple[Shape | None, str, str]] = []
    for series in published:
        colour, _, shape = _looks(series)
        entries += [(shape, colour, series.dtype), (None, colour, f"allowed in {series.dtype}")]
    if is_over:
        entries.append(("cross", OVER, "over what is allowed"))
    for series in other:
        form = _ascii(series.activation)[:20]
        entries.append(("diamond", OTHER, f"float64, if the other GELU form ({form}) were used"))
    lines: list[Line] = []
    marks: list[Mark] = []
    texts: list[Text] = []
    x, y = float(_EDGE), 96.0
    for drawn, ink, said in entries:
        sample = 14 if drawn else 28
        if x > _EDGE and x + sample + 7 + _length(said, 16) > _RIGHT:
            x, y = float(_EDGE), y + 26
        if drawn is None:
            lines.append(Line(((x, y - 6), (x + sample, y - 6)), ink, 2))
        else:
            marks.append(Mark(x + sample / 2, y - 6, drawn, ink, 6))
        texts.append(_text(said, x + sample + 7, y, 16, _INK, "start"))
        x = texts[-1].box[2] + 24
    return lines, marks, texts, y + 26


def _text(
    text: str, x: float, baseline: float, size: int, colour: str, align: Literal["start", "middle", "end"]
) -> Text:
    left = round(x - _length(text, size) * {"start": 0.0, "middle": 0.5, "end": 1.0}[align])
    box = _font(size).getbbox(text, anchor="ls")
    y = round(baseline)
    return Text(text, (left + box[0], y + box[1], left + box[2], y + box[3]), (left, y), size, colour)


def _length(text: str, size: int) -> float:
    return _font(size).getlength(text)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, Aileron Regular: Latin letters alone, laid out without the machine's text libraries."""
    from PIL import ImageFont

    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(size=size))


def _paint(draw: ImageDraw.ImageDraw, mark: Mark) -> None:
    x, y, r = mark.x * _SCALE, mark.y * _SCALE, mark.radius * _SCALE
    if mark.shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=mark.colour)
    elif mark.shape == "square":
        draw.rectangle((x - 0.88 * r, y - 0.88 * r, x + 0.88 * r, y + 0.88 * r), fill=mark.colour)
    elif mark.shape == "diamond":
        draw.polygon(((x, y - 1.1 * r), (x + 1.1 * r, y), (x, y + 1.1 * r), (x - 1.1 * r, y)), fill=mark.colour)
    else:
        for side in (-1, 1):
            ends = (x - 1.1 * r, y - side * 1.1 * r, x + 1.1 * r, y + side * 1.1 * r)
            draw.line(ends, fill=mark.colour, width=round(0.55 * r))


@functools.cache
def _palette() -> Image.Image:
    """The colours of the picture, and the steps from each to its grounds, which smooth edges and letters have."""
    from PIL import Image, ImageColor

    paper, over_band, grid, band = (ImageColor.getrgb(c)[:3] for c in (_PAPER, _OVER_BAND, _GRID, _BAND))
    colours = [paper, over_band, grid, band]
    for ink in (ImageColor.getrgb(c)[:3] for c in (FLOAT64, FLOAT32, OVER, OTHER, _INK, _SOFT)):
        for ground, steps in ((paper, 8), (over_band, 4)):
            for n in range(steps):
                red, green, blue = (round(i + (g - i) * n / steps) for i, g in zip(ink, ground, strict=True))
                colours.append((red, green, blue))
    image = Image.new("P", (1, 1))
    image.putpalette([level for colour in dict.fromkeys(colours) for level in colour])
    return image
