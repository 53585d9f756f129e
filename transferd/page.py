"""A copy as one page to look at: `--report FILE.html`.

Self-contained: style and drawings are in it, nothing is fetched, nothing runs, and its content security
policy holds a browser to that. Names and warnings come from inventories that are not ours; `markup` is where
they become harmless. Pure: from values to text, so the same copy gives the same page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from transferd import chart, digest, style
from transferd.chart import Lane, Line, Row, duration
from transferd.copy import Copied
from transferd.digest import Digests
from transferd.markup import Markup, element, join
from transferd.plan import BLOCK, extent_of_block
from transferd.stats import OPERATIONS, Latency, Sample
from transferd.units import MiB, human

POINTS = 360  # of a line at most: more than its drawing has room for
SHORTEST = 0.05  # s over which a rate is worth drawing
STALL = 2.0  # s without a byte read, written or proven that are worth a mark
CELLS = 2048  # of the map at most
SHADES = 4  # of a cell that stands for many blocks: how much of it holds data
POLICY = "default-src 'none'; style-src 'unsafe-inline'"

FLOWS = ("read", "written", "verified")
MOVING = ("settled", "read", "written", "verified", "durable")
INCIDENTS = {"retries": "retries", "reconnects": "reconnects", "overloads": "overloads", "healed": "healed"}


class Kind(IntEnum):
    """What a block of the disk is, and how it came onto the target."""

    ZERO = 0
    DATA = 1
    RESUMED = 2
    HEALED = 3


MEANING = {
    Kind.DATA: "data",
    Kind.ZERO: "zero",
    Kind.RESUMED: "data copied by an earlier run",
    Kind.HEALED: "healed: differed when read back, copied again",
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the page says of one disk. `blocks`: a Kind for each, in order; `latencies` of what happened."""

    label: str
    target: str
    size: int
    data: int
    digest: str
    proven: bool
    verdict: str
    end: Sample
    samples: Sequence[Sample]
    latencies: Mapping[str, Latency]
    blocks: bytes
    warnings: Sequence[str]


def drawn(copied: Copied, *, resumed: Collection[int] = (), healed: Collection[int] = ()) -> Drawn:
    """`resumed`, `healed`: numbers of blocks that an earlier run copied, and that were copied twice."""
    latencies = {operation: copied.stats.latency(operation) for operation in OPERATIONS}
    end = copied.stats.sample()
    return Drawn(
        label=copied.label,
        target=copied.target,
        size=copied.digests.size,
        data=copied.data,
        digest=copied.digests.disk(),
        proven=copied.proof.target,
        verdict=verdict(copied, end.healed),
        end=end,
        samples=copied.timeline.samples,
        latencies={operation: latency for operation, latency in latencies.items() if latency.count},
        blocks=kinds(copied.digests, set(resumed), set(healed)),
        warnings=copied.warnings,
    )


def verdict(copied: Copied, healed: int) -> str:
    if not copied.proof.target:
        return "nothing was read back from the target (--verify none)"
    parts = ["every block was read back from the target and compared with what was received"]
    if healed:
        parts.append(f"{healed} of them only agreed after they were copied again")
    if copied.compared:
        parts.append(f"{copied.compared} blocks were read again from the source and agreed")
    return "; ".join(parts)


def kinds(digests: Digests, resumed: Collection[int], healed: Collection[int]) -> bytes:
    """A Kind for each block. What was read and found zero is as zero as what the extents called so."""

    def kind(index: int) -> Kind:
        if index in healed:
            return Kind.HEALED
        zero = digest.of_zeros(extent_of_block(index, digests.size).length)
        if digests.is_zero(index) or digests[index] == zero:
            return Kind.ZERO
        return Kind.RESUMED if index in resumed else Kind.DATA

    return bytes(map(kind, range(len(digests))))


def render(copies: Sequence[Drawn]) -> str:
    """The whole page: every copy one after the other."""
    title = f"transferd: {copies[0].label if len(copies) == 1 else f'{len(copies)} disks'}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(style.SHEET)),
    )
    body = element("body", element("main", *map(_copy, copies)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _copy(copy: Drawn) -> Markup:
    samples = thinned(copy.samples, copy.end)
    return element(
        "article",
        _headline(copy),
        _warnings(copy.warnings),
        element(
            "div",
            _throughput(copy.end, samples),
            _map(copy),
            *_gauges(copy.end, samples),
            _latencies(copy.latencies),
            _counters(copy),
            class_="drawings",
        ),
    )


def _headline(copy: Drawn) -> Markup:
    elapsed = max(copy.end.at, 1e-3)
    facts = {
        "size": human(copy.size),
        "data": human(copy.data),
        "time": duration(elapsed),
        "disk per second": human(copy.size / elapsed),
        "read per second": human(copy.end.read / elapsed),
    }
    word = "proven" if copy.proven else "not proven"
    return element(
        "header",
        element("h1", copy.label),
        element("p", "to ", element("code", copy.target)),
        element("p", element("strong", word, class_=word.replace(" ", "-")), f": {copy.verdict}."),
        _pairs(facts, "tiles"),
        element("p", "digest ", element("code", copy.digest)),
    )


def _pairs(facts: Mapping[str, object], class_: str) -> Markup:
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in facts.items())
    return element("dl", *pairs, class_=class_)


def _warnings(warnings: Sequence[str]) -> Markup:
    if not warnings:
        return Markup()
    lines = (element("li", warning) for warning in warnings)
    return element("section", element("h2", "Warnings"), element("ul", *lines), class_="warnings")


def _figure(title: str, drawing: Markup, key: Markup | None = None) -> Markup:
    return element("figure", element("figcaption", title), *(each for each in (key, drawing) if each))


def _key(names: Mapping[str, str]) -> Markup:
    """A legend: class -> what it stands for."""
    swatches = (
        element("li", element("i", class_=f"swatch {class_}"), " ", meaning)
        for class_, meaning in names.items()
    )
    return element("ul", *swatches, class_="key")


# --- over time -------------------------------------------------------------------------------------------


def thinned(samples: Sequence[Sample], end: Sample) -> list[Sample]:
    """From the beginning to `end`, far enough apart for a rate between two to mean something."""
    step = max(end.at / POINTS, SHORTEST)
    kept = [Sample()]
    for sample in samples:
        if sample.at - kept[-1].at >= step:
            kept.append(sample)
    if len(kept) > 1 and end.at - kept[-1].at < step:
        kept.pop()
    return [*kept, end]


def rates(samples: Sequence[Sample], flow: str) -> list[tuple[float, float]]:
    """(seconds, MiB/s) of the counter `flow`, each rate at the end of the time it is the mean of."""
    return [
        (after.at, (getattr(after, flow) - getattr(before, flow)) / MiB / max(after.at - before.at, 1e-6))
        for before, after in zip(samples, samples[1:], strict=False)
    ]


def times(samples: Sequence[Sample], true: Callable[[Sample, Sample], bool]) -> list[tuple[float, float]]:
    """When `true` of two samples in a row; neighbours joined."""
    spans: list[tuple[float, float]] = []
    for before, after in zip(samples, samples[1:], strict=False):
        if not true(before, after):
            continue
        if spans and spans[-1][1] == before.at:
            spans[-1] = (spans[-1][0], after.at)
        else:
            spans.append((before.at, after.at))
    return spans


def lanes(samples: Sequence[Sample]) -> list[Lane]:
    """What went wrong when; empty for a copy in which nothing did."""

    def still(before: Sample, after: Sample) -> bool:
        return all(getattr(before, name) == getattr(after, name) for name in MOVING)

    stalls = [(first, last) for first, last in times(samples, still) if last - first >= STALL]
    found = [Lane("stalled", stalls)]
    for name in INCIDENTS:
        found.append(Lane(name, times(samples, lambda b, a, n=name: getattr(b, n) < getattr(a, n))))
    return [lane for lane in found if lane.spans]
