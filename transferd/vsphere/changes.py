"""What changed on a disk between a changeId and a snapshot: all pages, before a byte is copied.

A page describes a stretch of the disk, and the next one begins where it ends. A page that leaves bytes out
or does not get on is an error: what nobody described must not count as unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import structlog
from pyVmomi import vim

from transferd.areas import OPERATION, Areas, parse_change_id
from transferd.config import MOREF
from transferd.errors import Error, RetriesExhausted, SourceError
from transferd.model import SourceVM
from transferd.vsphere import pages
from transferd.vsphere.pages import Page
from transferd.vsphere.session import Session

log = structlog.get_logger()

ALLOCATED = "*"  # in the place of a changeId: every area that was ever written
DEADLINE = 1800.0  # s for all pages of a disk


def changed_areas(
    session: Session, vm: SourceVM, snapshot: str | None, disk_key: int, capacity: int, change_id: str
) -> Areas:
    """What may differ between `change_id` (or `*`) and `snapshot` (None: now, of a VM that is off).

    ChangesUnknown where vSphere cannot tell, SourceError for an answer that cannot be. Blocks.
    """
    try:
        if change_id != ALLOCATED:
            parse_change_id(change_id)
        if snapshot is not None and MOREF.fullmatch(snapshot) is None:
            raise SourceError(f"{snapshot[:80]!r} is not the moref of a snapshot", operation=OPERATION)
        machine = session.vm_object(vm.moref)
        moment = vim.vm.Snapshot(snapshot, session.stub) if snapshot else None
        areas = Areas(capacity)
        for page in in_a_row(
            lambda start: session.call(
                OPERATION, lambda: pages.ask(machine, moment, disk_key, start, change_id)
            ),
            capacity,
        ):
            areas.add(page.starts, page.lengths)
    except Error as error:
        raise error.within(vm=vm.name) from error.__cause__
    log.debug("changed areas", vm=vm.name, disk=disk_key, areas=len(areas), bytes=areas.total)
    return areas


def in_a_row(ask: Callable[[int], Page], capacity: int) -> Iterator[Page]:
    """Pages that follow each other from the first byte to the last; `ask` gives the one that begins there."""
    start, until = 0, time.monotonic() + DEADLINE
    while start < capacity:  # asked at the very end, vSphere answers with a fault
        if time.monotonic() > until:
            raise RetriesExhausted(f"not all pages within {DEADLINE:.0f} s", operation=OPERATION)
        page = ask(start)
        if not page.start <= start < page.end:
            raise SourceError(
                f"vCenter was asked about byte {start} and describes bytes {page.start} to {page.end}",
                operation=OPERATION,
                remedy="copy the disk whole",
            )
        yield page
        start = page.end
