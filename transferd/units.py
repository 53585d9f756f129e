"""Sizes and durations as people write them: `64MiB`, `1.5 GiB`, `90s`, `5m`. Inside, bytes and seconds."""

from __future__ import annotations

import re

from transferd.errors import UsageError

KiB = 1 << 10
MiB = 1 << 20
GiB = 1 << 30
LARGEST = 1 << 63  # bytes; offsets are signed

_SIZES = {
    **{unit: 1 << 10 * power for power, unit in enumerate(["B", "KiB", "MiB", "GiB", "TiB"])},
    **{unit: 10 ** (3 * power) for power, unit in enumerate(["B", "kB", "MB", "GB", "TB"])},
    **{unit: 1 << 10 * power for power, unit in enumerate(["", "K", "M", "G", "T"])},
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _split(text: str, units: dict[str, float] | dict[str, int], kind: str, example: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2] not in units:
        raise UsageError(
            f"{text!r} is not a {kind}", remedy=f"write a number and a unit, for example {example}"
        )
    return float(match[1]) * units[match[2]]


def size(text: str) -> int:
    """Bytes of `text`; K, M, G and a bare number are binary. UsageError names what is wrong."""
    count = _split(text, _SIZES, "size", "64MiB")
    if count >= LARGEST:
        raise UsageError(
            f"{text[:40]!r} is more than any disk can have", remedy="check the number and its unit"
        )
    return int(count)


def duration(text: str) -> float:
    """Seconds of `text`. A unit is required: `5` alone could be anything."""
    return _split(text, _SECONDS, "duration", "90s or 5m")


def human(count: float) -> str:
    """`count` bytes for people, binary units, three digits: `1.42 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 (the step between binary units)
            return f"{_three(count)} {unit}"
        count /= 1024
    return f"{_three(count)} TiB"


def _three(count: float) -> str:
    """Three digits, or all of them before the point."""
    return f"{count:.0f}" if count >= 100 else f"{count:.3g}"  # noqa: PLR2004 (three digits)
