"""Drawings for a page, as inline SVG: values over time, ranges of durations, a map of blocks.

Pure: numbers in, markup out. Every drawing says in words what it shows (`aria-label`), for who cannot see
it. Colours are classes, which the page's style sheet fills in, for light, dark and paper; what differs in
colour differs in dash or place too. All drawings are 480 units wide, so that their letters are as large as
the page's on a column of that width and can still be read on a telephone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from transferd.page.markup import Markup, element

WIDTH = 480
LEFT, RIGHT, TOP = 74, 456, 10  # where a plot begins and ends
LANE = 14  # height of a lane
FEW = 5  # labels on an axis at most, so that they do not touch
TIMES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
COLUMNS = 64  # cells of a map in a row
CELL = WIDTH / COLUMNS


@dataclass(frozen=True, slots=True)
class Line:
    """Values over time: (seconds, value), each holding from the one before it. `name` is also its class."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Lane:
    """When something happened: (from, to) in seconds."""

    name: str
    spans: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Row:
    """Three rising durations in seconds."""

    name: str
    marks: tuple[float, float, float]
    note: str


def duration(seconds: float) -> str:
    """For people, in the unit that fits: `850 µs`, `5.12 ms`, `12.3 s`, `4 min 5 s`, `2 h 5 min`."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (60, 1, "s")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"  # noqa: PLR2004 (3 digits)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def over_time(
    label: str, end: float, lines: Sequence[Line], lanes: Sequence[Lane] = (), *, finest: float = 0
) -> Markup:
    """`lines` over 0 to `end` seconds, on one scale from zero; below them when the `lanes` happened.

    `finest`: the smallest step that the scale may have, 1 for things that are counted.
    """
    end = max(end, 0.001)
    most = max((value for line in lines for _, value in line.points), default=0)
    step = max(_step(most), finest)
    top = max(math.ceil(most / step), 1) * step
    bottom = TOP + (140 if lanes or len(lines) > 1 else 70)
    foot = bottom + len(lanes) * LANE + (4 if lanes else 0)

    def x(seconds: float) -> str:
        return f"{LEFT + (RIGHT - LEFT) * min(seconds / end, 1):.1f}"

    def y(value: float) -> str:
        return f"{bottom - (bottom - TOP) * value / top:.1f}"

    scale = [
        mark
        for number in range(round(top / step) + 1)
        for mark in _across(y(number * step), f"{number * step:g}")
    ]
    drawn = [
        element(
            "path", class_=f"line {line.name}", d=_steps([(x(at), y(value)) for at, value in line.points])
        )
        for line in lines
    ]
    events = [
        mark for number, lane in enumerate(lanes) for mark in _lane(lane, bottom + 4 + number * LANE, x)
    ]
    times = [mark for at in _times(end) for mark in _down(x(at), foot, duration(at) if at else "0")]
    return _svg(label, foot + 22, scale, times, events, drawn)


def ranges(label: str, rows: Sequence[Row]) -> Markup:
    """A bar from the first to the last duration of each row, on a logarithmic scale, marked at all three."""
    lowest = math.floor(math.log10(min(row.marks[0] for row in rows)))
    highest = max(math.ceil(math.log10(max(row.marks[2] for row in rows))), lowest + 1)
    foot = TOP + 34 * len(rows)

    def x(seconds: float) -> float:
        return LEFT + (RIGHT - LEFT) * (math.log10(seconds) - lowest) / (highest - lowest)

    decades = range(lowest, highest + 1, -(-(highest - lowest) // FEW))
    marks = [
        mark for power in decades for mark in _down(f"{x(10.0**power):.1f}", foot, duration(10.0**power))
    ]
    bars = []
    for number, row in enumerate(rows):
        top = TOP + 34 * number
        first, _, last = places = [x(mark) for mark in row.marks]
        bars += [
            element("text", row.name, class_="end", x=LEFT - 8, y=top + 12),
            element(
                "rect", class_="bar", x=f"{first:.1f}", y=top + 3, width=f"{last - first:.1f}", height=10
            ),
            *(element("rect", class_="tip", x=f"{at - 1:.1f}", y=top, width=2, height=16) for at in places),
            element("text", row.note, x=LEFT, y=top + 27),
        ]
    return _svg(label, foot + 22, marks, bars)


def grid(label: str, cells: Sequence[str]) -> Markup:
    """A map: cells in reading order, each with its class; neighbours that are alike are one path."""
    paths: dict[str, list[str]] = {}
    for first, length, kind in _runs(cells):
        row, column = divmod(first, COLUMNS)
        box = f"M{column * CELL:g} {row * CELL:g}h{length * CELL:g}v{CELL - 1:g}h-{length * CELL:g}z"
        paths.setdefault(kind, []).append(box)
    drawn = [element("path", class_=f"cell {kind}", d="".join(boxes)) for kind, boxes in paths.items()]
    return _svg(label, -(-len(cells) // COLUMNS) * CELL, drawn)


def _runs(cells: Sequence[str]) -> Iterable[tuple[int, int, str]]:
    first = 0
    for place in range(1, len(cells) + 1):
        if place == len(cells) or place % COLUMNS == 0 or cells[place] != cells[first]:
            yield first, place - first, cells[first]
            first = place


def _svg(label: str, height: float, *groups: Iterable[Markup]) -> Markup:
    marks = [mark for group in groups for mark in group]
    return element("svg", *marks, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=label)


def _across(y: str, words: str) -> tuple[Markup, Markup]:
    """A label of the axis that goes up, and its line."""
    rule = element("line", class_="rule", x1=LEFT, x2=RIGHT, y1=y, y2=y)
    return rule, element("text", words, class_="end", x=LEFT - 8, y=y, dy=4)


def _down(x: str, foot: float, words: str) -> tuple[Markup, Markup]:
    """A label of the axis that goes along, and its line."""
    rule = element("line", class_="rule", x1=x, x2=x, y1=TOP, y2=foot)
    return rule, element("text", words, class_="middle", x=x, y=foot + 16)


def _steps(points: Sequence[tuple[str, str]]) -> str:
    """A path that goes up or down at a point's predecessor and along to the point."""
    begun = f"M{LEFT},{points[0][1]}" if points else "M0,0"
    return begun + "".join(f"V{y}H{x}" for x, y in points)


def _lane(lane: Lane, top: float, x: Callable[[float], str]) -> list[Markup]:
    """Its name, and a box for each time; a moment is drawn wide enough to be seen."""
    boxes = [
        element(
            "rect",
            class_="event",
            x=x(first),
            y=top + 3,
            width=f"{max(float(x(last)) - float(x(first)), 2):.1f}",
            height=LANE - 4,
        )
        for first, last in lane.spans
    ]
    return [element("text", lane.name, class_="end", x=LEFT - 8, y=top + 12), *boxes]


def _step(most: float) -> float:
    """1, 2 or 5 times a power of ten, so that FEW steps are enough for `most`."""
    if most <= 0:
        return 1
    power = float(10 ** math.floor(math.log10(most / FEW)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * FEW >= most * (1 - 1e-9))


def _times(end: float) -> list[float]:
    day = TIMES[-1]
    step = next((step for step in TIMES if end / step < FEW + 1), day * math.ceil(end / day / FEW))
    return [number * step for number in range(int(end / step) + 1)]
