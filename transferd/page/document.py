"""The page: headline, warnings, drawings, counters, for every copied disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from transferd.page import chart, series
from transferd.page.chart import Line, Row, duration
from transferd.page.drawn import Drawn, Kind
from transferd.page.markup import Markup, element
from transferd.page.style import SHEET
from transferd.plan import BLOCK
from transferd.stats import Latency, Sample
from transferd.units import MiB, human

CELLS = 2048  # of a map at most: 32 rows
SHADES = 4  # of a cell that stands for many blocks: how many of them hold data
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
FLOWS = ("read", "written", "verified")
BYTES = ("settled", "read", "written", "zero", "skipped", "verified", "durable", "audited")
COUNTS = ("retries", "reconnects", "overloads", "healed")
GAUGES = (
    ("In flight, MiB", "in_flight", MiB),
    ("Reads allowed in flight", "depth", 1),
    ("Sessions with the source", "sessions", 1),
)
MEANING = {
    Kind.DATA: "data",
    Kind.ZERO: "zero",
    Kind.RESUMED: "data that an earlier run copied",
    Kind.HEALED: "healed: differed when read back, copied again",
}


def render(copies: Sequence[Drawn]) -> str:
    """The whole page, the copies one after the other."""
    name = copies[0].label if len(copies) == 1 else f"{len(copies)} disks"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{name} - transferd"),
        element("style", SHEET),
    )
    page = element("html", head, element("body", *map(_article, copies)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _article(copy: Drawn) -> Markup:
    samples = series.thinned(copy.samples, copy.end)
    drawings = element(
        "div",
        _throughput(samples),
        _map(copy),
        *_gauges(samples),
        _latencies(copy.latencies),
        class_="drawings",
    )
    return element("article", _headline(copy), _warnings(copy.warnings), drawings, _counters(copy.end))


def _headline(copy: Drawn) -> Markup:
    elapsed = max(copy.end.at, 1e-3)
    word = "proven" if copy.proven else "not proven"
    facts = {
        "size": human(copy.size),
        "data": human(copy.data),
        "time": duration(elapsed),
        "disk a second": human(copy.size / elapsed),
        "read a second": human(copy.end.read / elapsed),
    }
    return element(
        "header",
        element("h1", copy.label),
        element("p", "to ", element("code", copy.target)),
        element("p", element("strong", word, class_=word.replace(" ", "-")), " ", copy.verdict, "."),
        _facts(facts),
        element("p", element("code", copy.digest)),
    )


def _facts(facts: Mapping[str, str]) -> Markup:
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in facts.items())
    return element("dl", *pairs)


def _warnings(warnings: Sequence[str]) -> Markup:
    if not warnings:
        return Markup()
    lines = (element("li", warning) for warning in warnings)
    return element("section", element("h2", "Warnings"), element("ul", *lines), class_="warnings")


def _counters(end: Sample) -> Markup:
    counts = asdict(end)
    facts = {name: human(counts[name]) for name in BYTES} | {name: str(counts[name]) for name in COUNTS}
    return element("section", element("h2", "Counters"), _facts(facts))


def _figure(title: str, drawing: Markup, key: Mapping[str, str] | None = None) -> Markup:
    """`key`: the legend, what each class stands for."""
    entries = (
        element("li", element("i", class_=f"swatch {name}"), meaning) for name, meaning in (key or {}).items()
    )
    legend = element("ul", *entries, class_="key") if key else Markup()
    return element("figure", element("figcaption", title), legend, drawing)


def _throughput(samples: Sequence[Sample]) -> Markup:
    end = samples[-1]
    mean = ", ".join(f"{name} {human(getattr(end, name) / max(end.at, 1e-3))}/s" for name in FLOWS)
    drawing = chart.over_time(
        f"Throughput over {duration(end.at)}; on the whole {mean}",
        end.at,
        [Line(name, series.rates(samples, name)) for name in FLOWS],
        list(series.troubles(samples)),
    )
    return _figure("Throughput, MiB/s", drawing, dict(zip(FLOWS, FLOWS, strict=True)))


def _gauges(samples: Sequence[Sample]) -> Iterator[Markup]:
    for title, name, unit in GAUGES:
        points = series.levels(samples, name, unit)
        most = max((value for _, value in points), default=0)
        drawing = chart.over_time(
            f"{title}: at most {most:g}", samples[-1].at, [Line("level", points)], finest=1
        )
        yield _figure(title, drawing)


def _latencies(latencies: Mapping[str, Latency]) -> Markup:
    if not latencies:
        return Markup()
    rows = [
        Row(
            operation,
            (each.p50, each.p95, each.p99),
            f"{duration(each.p50)}, {duration(each.p95)}, {duration(each.p99)}; {each.count} times",
        )
        for operation, each in latencies.items()
    ]
    words = "; ".join(f"{row.name} {row.note}" for row in rows)
    return _figure("Latency: p50, p95, p99", chart.ranges(f"Latency, p50, p95 and p99: {words}", rows))


def _map(copy: Drawn) -> Markup:
    """The disk from its first block to its last, in reading order."""
    each = -(-len(copy.blocks) // CELLS)
    cells = [cell(copy.blocks[first : first + each]) for first in range(0, len(copy.blocks), each)]
    found = {kind: copy.blocks.count(kind) for kind in MEANING}
    key = {
        kind.name.lower(): f"{MEANING[kind]}, {100 * count / len(copy.blocks):.3g} %"
        for kind, count in found.items()
        if count
    }
    words = "; ".join(f"{count} {MEANING[kind]}" for kind, count in found.items() if count)
    title = f"The disk: a cell is {human(each * BLOCK)}"
    return _figure(title, chart.grid(f"Of {len(copy.blocks)} blocks: {words}", cells), key)


def cell(blocks: bytes) -> str:
    """Classes of the cell that stands for `blocks`: the rarest kind that matters, and how full it is."""
    if Kind.HEALED in blocks:
        return "healed"
    resumed, data = blocks.count(Kind.RESUMED), blocks.count(Kind.DATA)
    if not resumed + data:
        return "zero"
    shade = -(-SHADES * (resumed + data) // len(blocks))
    return f"{'resumed' if resumed > data else 'data'} shade{shade}"
