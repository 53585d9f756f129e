"""What to do with the result: a command line that is ready to run, and VDDK's own settings. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from transferd import nfc
from transferd.throughput.limiter import Limiter, window_bytes
from transferd.throughput.points import Point, Setting
from transferd.units import KiB, MiB

UNIT = 64 * KiB
# VDDK's default of 1 x 4 holds 256 KiB in flight a session. 16 x 4 is what VMware's VDDK 8 release notes and
# its users (Forklift's AIO setting) use; the host's NFC memory, 48 MB for all sessions, forbids much more.
WINDOWS = ((16, 4), (16, 8))


def copy_command(source: Sequence[str], setting: Setting) -> str:
    """`source`: the words of the command line that name the source. TARGET is left to the operator."""
    words = ["transferd", "copy", *source, "TARGET", "--request-size", _size(setting.size)]
    words += ["--queue-depth", str(setting.depth), "--connections", str(setting.sessions)]
    return shlex.join(words)


def _size(count: int) -> str:
    return (
        f"{count // MiB}MiB"
        if count % MiB == 0
        else f"{count // KiB}KiB"
        if count % KiB == 0
        else f"{count}B"
    )


def vddk_config(found: Limiter, points: Sequence[Point], config: Mapping[str, str]) -> dict[str, str]:
    """Lines for `vddk.config` in vcenter.yaml, where a larger window would help; `config` is what it has."""
    if found is not Limiter.WINDOW:
        return {}
    now = max(window_bytes(points), _configured(config))
    for size, count in WINDOWS:
        if size * count * UNIT > now:
            return {nfc.SIZE: str(size), nfc.COUNT: str(count)}
    return {}


def _configured(config: Mapping[str, str]) -> int:
    """VDDK ignores case in keys; a value that is no number is VDDK's to refuse."""
    kept = {key.lower(): value for key, value in config.items()}
    size, count = kept.get(nfc.SIZE.lower(), "1"), kept.get(nfc.COUNT.lower(), "4")
    return int(size) * int(count) * UNIT if size.isdecimal() and count.isdecimal() else 0
