"""The page of a copy, read as a browser and a looker would: well-formed, harmless, and drawn to scale."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import dsl
from tests.cli import transferd
from transferd import copy
from transferd.backends.file_target import FileTarget
from transferd.limits import Means
from transferd.page.document import CELLS, cell, render
from transferd.page.drawn import Drawn, Kind, drawn
from transferd.plan import BLOCK
from transferd.progress import Silent
from transferd.stats import Latency, Sample
from transferd.units import MiB

HOSTILE = "a\"b'</title></style><script>alert(1)</script><img src=x onerror=y>&amp;]]>\x00\x1b[2J\u202e\ud800"
STEADY = [
    Sample(at=second, read=second * 40 * MiB, written=second * 30 * MiB, verified=second * 10 * MiB,
           settled=second * 30 * MiB, depth=16, sessions=1 + second // 5, in_flight=8 * MiB)
    for second in range(1, 10)
]  # fmt: skip
COPY = Drawn(
    label="disk 0",
    target="disk.img",
    size=100 * BLOCK,
    data=60 * BLOCK,
    digest="blake3-4m:00",
    proven=True,
    verdict="read back",
    end=replace(STEADY[-1], at=10.0),
    samples=STEADY,
    latencies={"read": Latency(100, 0.005, 0.01, 0.1)},
    blocks=bytes([Kind.DATA] * 60 + [Kind.ZERO] * 40),
    warnings=[],
)


def parsed(*copies: Drawn) -> ET.Element:
    return ET.fromstring(render(copies))  # noqa: S314 (our own text)


def figure(page: ET.Element, title: str) -> ET.Element:
    return next(each for each in page.iter("figure") if title in (each.findtext("figcaption") or ""))


def classed(root: ET.Element, *words: str) -> list[ET.Element]:
    return [each for each in root.iter() if set(words) <= set(each.get("class", "").split())]


def value_at(drawing: ET.Element, y: float) -> float:
    """What the numbers on the left say that this height means."""
    labels = [each for each in classed(drawing, "end") if re.fullmatch(r"[\d.]+", each.text or "")]
    (y0, v0), (y1, v1) = sorted((float(each.get("y")), float(each.text)) for each in labels)[
        :: len(labels) - 1
    ]
    return v0 + (y - y0) / (y1 - y0) * (v1 - v0)


def heights(drawing: ET.Element, name: str) -> list[float]:
    (line,) = classed(drawing, "line", name)
    return [float(y) for y in re.findall(r"V([\d.]+)", line.get("d"))]


def test_the_page_fetches_nothing_and_runs_nothing():
    page = parsed(COPY, COPY)
    policy = next(each for each in page.iter("meta") if each.get("http-equiv") == "Content-Security-Policy")
    style = "".join(each.text or "" for each in page.iter("style"))

    assert policy.get("content") == "default-src 'none'; style-src 'unsafe-inline'"
    assert {each.tag for each in page.iter()}.isdisjoint(
        {"script", "img", "link", "iframe", "object", "a", "use"}
    )
    assert [
        name for each in page.iter() for name in each.attrib if name in {"src", "href"} or name[:2] == "on"
    ] == []
    assert "url(" not in style
    assert "@import" not in style


def test_names_and_warnings_from_elsewhere_are_only_ever_read():
    page = parsed(replace(COPY, label=HOSTILE, target=HOSTILE, warnings=[HOSTILE], digest=HOSTILE))
    spelt = HOSTILE.replace("\x00", r"\x00").replace("\x1b", r"\x1b")
    spelt = spelt.replace("\u202e", r"\u202e").replace("\ud800", r"\ud800")

    assert page.findtext(".//h1") == spelt
    assert page.findtext(".//title") == f"{spelt} - transferd"
    assert [each.text for each in page.findall(".//section/ul/li")] == [spelt]
    assert {each.tag for each in page.iter()} == {
        each.tag for each in parsed(replace(COPY, warnings=["x"])).iter()
    }


@pytest.mark.parametrize(("proven", "word"), [(True, "proven"), (False, "not proven")])
def test_the_verdict_stands_in_the_headline(proven, word):
    header = parsed(replace(COPY, proven=proven, verdict="because")).find(".//header")

    assert header.findtext(".//strong") == word
    assert "because." in "".join(header.itertext())


def test_the_lines_are_the_rates_that_were_measured():
    drawing = figure(parsed(COPY), "Throughput")
    drawn_rates = {
        name: [value_at(drawing, y) for y in heights(drawing, name)]
        for name in ("read", "written", "verified")
    }

    assert drawn_rates["read"] == pytest.approx([40] * 9 + [0], abs=0.1)
    assert drawn_rates["written"] == pytest.approx([30] * 9 + [0], abs=0.1)
    assert drawn_rates["verified"] == pytest.approx([10] * 9 + [0], abs=0.1)


def test_what_is_in_flight_and_the_sessions_are_drawn_too():
    page = parsed(COPY)
    flying, sessions = figure(page, "In flight"), figure(page, "Sessions")

    assert [value_at(flying, y) for y in heights(flying, "level")] == pytest.approx([8] * 9, abs=0.05)
    assert [value_at(sessions, y) for y in heights(sessions, "level")] == pytest.approx(
        [1] * 4 + [2] * 5, abs=0.05
    )


def test_a_stall_and_a_reconnect_are_marked_where_they_were():
    still = [replace(STEADY[4], at=5 + each / 2) for each in range(1, 7)]
    after = [replace(sample, at=sample.at + 3, reconnects=1) for sample in STEADY[5:]]
    page = parsed(replace(COPY, samples=[*STEADY[:5], *still, *after], end=replace(after[-1], at=13.0)))
    drawing = figure(page, "Throughput")
    stalled, reconnected = classed(drawing, "event")
    begin, *_, end = (
        float(x) for x in re.findall(r"[MH]([\d.]+)", classed(drawing, "line", "read")[0].get("d"))
    )

    def seconds(mark: ET.Element) -> tuple[float, float]:
        left, width = float(mark.get("x")), float(mark.get("width"))
        return tuple(13 * (x - begin) / (end - begin) for x in (left, left + width))

    assert [each.text for each in drawing.iter("text")][-2:] == ["stalled", "reconnects"]
    assert seconds(stalled) == pytest.approx((5, 8), abs=0.1)
    assert seconds(reconnected) == pytest.approx((8, 9), abs=0.1)


def test_a_copy_without_trouble_has_no_marks():
    assert classed(parsed(COPY), "event") == []


def test_the_map_shows_every_block_where_it_lies():
    blocks = bytes([Kind.DATA] * 70 + [Kind.ZERO] * 50 + [Kind.RESUMED] * 5 + [Kind.HEALED])
    drawing = figure(parsed(replace(COPY, blocks=blocks)), "The disk")
    found = dict.fromkeys(range(len(blocks)), "")
    for path in classed(drawing, "cell"):
        for x, y, width in re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)", path.get("d")):
            first = round(float(y) / 7.5) * 64 + round(float(x) / 7.5)
            found |= dict.fromkeys(
                range(first, first + round(float(width) / 7.5)), path.get("class").split()[1]
            )

    assert list(found.values()) == ["data"] * 70 + ["zero"] * 50 + ["resumed"] * 5 + ["healed"]
    assert "70 data; 50 zero; 5 data that an earlier run copied; 1 healed" in drawing.find("svg").get(
        "aria-label"
    )


@pytest.mark.parametrize(
    ("blocks", "classes"),
    [
        ([Kind.ZERO] * 8, "zero"),
        ([Kind.DATA] + [Kind.ZERO] * 7, "data shade1"),
        ([Kind.DATA] * 5 + [Kind.ZERO] * 3, "data shade3"),
        ([Kind.DATA] * 3 + [Kind.RESUMED] * 5, "resumed shade4"),
        ([Kind.DATA] * 7 + [Kind.HEALED], "healed"),
    ],
    ids=["nothing", "a little", "more than half", "mostly resumed", "one healed"],
)
def test_a_cell_of_many_blocks_shows_how_many_hold_data_and_never_hides_a_healed_one(blocks, classes):
    assert cell(bytes(blocks)) == classes


def test_latencies_rise_from_left_to_right_and_are_told_in_numbers():
    drawing = figure(parsed(COPY), "Latency")
    p50, p95, p99 = [float(each.get("x")) for each in classed(drawing, "tip")]

    assert "5 ms, 10 ms, 100 ms; 100 times" in [each.text for each in drawing.iter("text")]
    assert (p99 - p95) / (p95 - p50) == pytest.approx(1 / 0.30103, rel=0.01)


def test_a_long_copy_of_a_huge_disk_is_still_a_small_page():
    samples = [Sample(at=each * 40.0, read=each * each * MiB, retries=each // 7) for each in range(1, 2000)]
    blocks = bytes(each % 3 % 2 for each in range(1 << 18))

    page = render([replace(COPY, samples=samples, end=samples[-1], blocks=blocks)])
    boxes = sum(path.get("d").count("M") for path in classed(ET.fromstring(page), "cell"))  # noqa: S314

    assert len(page) < 256 * 1024
    assert boxes <= CELLS


counts = st.integers(0, 1 << 50)
moments = st.builds(
    Sample, at=st.floats(0, 1e7), read=counts, written=counts, verified=counts, in_flight=counts,
    depth=st.integers(0, 64), retries=counts,
)  # fmt: skip
delays = st.floats(1e-6, 1e5)


@given(
    st.lists(moments, max_size=20), moments, st.text(max_size=20), st.binary(min_size=1, max_size=300), delays
)
def test_whatever_was_measured_the_page_is_well_formed(samples, end, name, blocks, delay):
    samples = [replace(each, at=min(each.at, end.at)) for each in sorted(samples, key=lambda each: each.at)]
    blocks = bytes(each % len(Kind) for each in blocks)
    latencies = {"read": Latency(1, delay, delay, delay)}

    page = parsed(replace(COPY, label=name, samples=samples, end=end, blocks=blocks, latencies=latencies))
    numbers = [number for each in page.iter("path") for number in re.findall(r"[a-z]+", each.get("d"))]

    assert set(numbers) <= {"h", "v", "z"}


@pytest.mark.parametrize("verify", ["target", "none"])
async def test_a_real_copy_is_drawn_as_it_was(tmp_path: Path, verify):
    source = dsl.write("AAAA----0000BC--", tmp_path / "source")
    how = copy.How(Silent(), copy.proof(verify), Means())
    with (
        copy.open_source(str(source), source_id=None, patience=60) as opened,
        FileTarget(tmp_path / "target", opened.size) as target,
    ):
        copied = await copy.disk(opened, target, None, "disk", how)

    shown = drawn(replace(copied, resumed=[3], healed=[0]))

    assert shown.blocks == bytes([Kind.HEALED, Kind.ZERO, Kind.ZERO, Kind.RESUMED])
    assert shown.proven == (verify == "target")
    assert shown.digest == copied.digests.disk()
    assert {"read", "write", "sync"} <= set(shown.latencies)
    assert ("verify" in shown.latencies) == shown.proven
    assert parsed(shown).findtext(".//h1") == "disk"


def test_report_writes_the_page_of_the_copy(tmp_path: Path):
    source, report = dsl.write("AB--", tmp_path / "source"), tmp_path / "report.html"

    run = transferd("copy", source, tmp_path / "target", "--report", report)
    page = ET.fromstring(report.read_text())  # noqa: S314 (our own text)

    assert run.returncode == 0, run.stderr
    assert page.findtext(".//strong") == "proven"
    assert transferd("digest", source).stdout.strip() in [each.text for each in page.iter("code")]
