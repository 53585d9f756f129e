"""VDDK's own settings for asynchronous NFC reads, unless the operator has made them: buffers, and how many.

VDDK's default of 64 KiB x 4 keeps a quarter of a MiB in flight on a session, whatever we ask for. 1 MiB x 4
is what vendors recommend (Forklift's documentation, "AIO buffering": 348 to 505 MB/s with ten VMs); a host
has NFC_MEMORY for all its sessions, so the buffers shrink where many disks are read at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from transferd.limits import NFC_MEMORY
from transferd.units import KiB

SIZE = "vixDiskLib.nfcAio.Session.BufSizeIn64KB"
COUNT = "vixDiskLib.nfcAio.Session.BufCount"
UNIT = 64 * KiB
BUFFERS = 4
LARGEST = 16  # units: 1 MiB


def settings(config: Mapping[str, str], sessions: int, memory: int = NFC_MEMORY) -> dict[str, str]:
    """`config` with buffers for `sessions` sessions that have `memory` bytes of a host among them."""
    if {SIZE.lower(), COUNT.lower()} & {key.lower() for key in config}:
        return dict(config)
    units = memory // max(sessions, 1) // BUFFERS // UNIT
    return {SIZE: str(max(1, min(units, LARGEST))), COUNT: str(BUFFERS), **config}
