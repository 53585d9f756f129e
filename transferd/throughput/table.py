"""The result of a bench: a table for people, a document for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from transferd import report
from transferd.throughput import advice
from transferd.throughput.limiter import Limiter, limiter, reason
from transferd.throughput.points import Point, knee, round_trip
from transferd.units import human

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """What a bench has found. `source`: the words that name it on a command line; goodputs are bytes/s.

    `rounds`: goodputs of laps at the knee and of the peers', run by turns. `vddk`: the configuration that
    VDDK had; None for a source that is not read through it.
    """

    source: Sequence[str]
    points: Sequence[Point]
    rounds: Mapping[str, Sequence[float]]
    target: float | None = None
    vddk: Mapping[str, str] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def limiter(self) -> Limiter:
        return limiter(self.points, self.target)

    @property
    def knee(self) -> Point:
        return knee(self.points)

    @property
    def command(self) -> str:
        return advice.copy_command(self.source, self.knee.setting)

    @property
    def vddk_config(self) -> dict[str, str]:
        return {} if self.vddk is None else advice.vddk_config(self.limiter, self.points, self.vddk)


def median(goodputs: Sequence[float]) -> float:
    """The upper one of two in the middle: a figure that was measured."""
    return sorted(goodputs)[len(goodputs) // 2]


def show(measured: Measured) -> None:
    """On stdout."""
    report.out.print(_laps(measured))
    if any(measured.rounds.values()):
        report.out.print()
        report.out.print(_rounds(measured))
    report.out.print()
    found, setting = measured.limiter, measured.knee.setting
    lines = [f"limited by {found}: {reason(found, measured.points, measured.target)}"]
    lines.append(f"knee: {human(measured.knee.goodput)}/s with {setting}")
    lines.append(f"to copy: {measured.command}")
    lines += [
        f"in vcenter.yaml, vddk.config: {key}: {value!r}" for key, value in measured.vddk_config.items()
    ]
    lines += [f"note: {note}" for note in measured.notes]
    for line in lines:
        report.out.print(report.safe(line), soft_wrap=True)


def _laps(measured: Measured) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("sessions", "depth", "request", "goodput", "latency", "CPU", ""):
        table.add_column(column, justify="left" if not column else "right")
    best = measured.knee
    for point in measured.points:
        setting = point.setting
        row = [str(setting.sessions), str(setting.depth), human(setting.size)]
        if point.failure is None:
            row += [f"{human(point.goodput)}/s", f"{point.latency * 1000:.3g} ms", f"{point.load.ours:.0%}"]
            row.append("<- knee" if point is best else "")
        else:
            row += ["failed", "", "", ""]
        table.add_row(*row)
    return table


def _rounds(measured: Measured) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("by turns, through one nbdkit more", "median", "transferd against it", "laps"):
        table.add_column(column, justify="right")
    ours = median(measured.rounds["transferd"]) if measured.rounds.get("transferd") else 0.0
    for name, goodputs in measured.rounds.items():
        if goodputs:
            middle = median(goodputs)
            table.add_row(name, f"{human(middle)}/s", f"{ours / middle:.2f} x", str(len(goodputs)))
    return table


def document(measured: Measured) -> str:
    """JSON; bytes, seconds, bytes per second, shares of 1."""
    found = measured.limiter
    members: dict[str, Any] = {
        "schema": SCHEMA,
        "outcome": "ok",
        "error": None,
        "limiter": {"kind": str(found), "reason": reason(found, measured.points, measured.target)},
        "round_trip_s": round_trip(measured.points),
        "knee": _point(measured.knee),
        "command": measured.command,
        "vddk_config": measured.vddk_config,
        "target_goodput": measured.target,
        "points": [_point(point) for point in measured.points],
        "rounds": {name: [*goodputs] for name, goodputs in measured.rounds.items()},
        "notes": measured.notes,
    }
    return json.dumps(members, indent=2) + "\n"


def _point(point: Point) -> dict[str, Any]:
    return {
        **asdict(point.setting),
        "goodput": point.goodput,
        "latency_s": point.latency,
        "load": asdict(point.load),
        "error": point.failure.as_document() if point.failure is not None else None,
    }
