"""From a changeId to a plan, as a whole process: fetch all changed areas of a disk, then plan their copy.

    python -m bench.areas READER VCENTER_YAML VM NOTES

READER is `transferd` (its own reading of the answer) or `pyVmomi` (its objects, everything else the same).
The VM is off and has one disk. A line of JSON is appended to NOTES: seconds of the fetch, how many of them
this process computed (the rest is waiting for vCenter), and seconds of the plan, which begins with the pages
as they came: put in order, intersected with the extents, joined over gaps, split into blocks and requests.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from transferd import config, plan
from transferd.areas import Areas
from transferd.extents import Extent
from transferd.model import SourceVM, VMRef
from transferd.units import KiB, MiB
from transferd.vsphere.changes import ALLOCATED, changed_areas
from transferd.vsphere.session import Session, connect

PAGE = 2000  # areas; as vSphere answers
EXTENT = MiB  # every fourth is empty
GAP = 64 * KiB


def by_transferd(session: Session, vm: SourceVM) -> Areas:
    (disk,) = vm.disks
    return changed_areas(session, vm, None, disk.key, disk.capacity, ALLOCATED)


def by_pyvmomi(session: Session, vm: SourceVM) -> Areas:
    (disk,) = vm.disks
    machine = session.vm_object(vm.moref)
    areas = Areas(disk.capacity)
    start = 0
    while start < disk.capacity:
        page: Any = machine.QueryChangedDiskAreas(None, disk.key, start, ALLOCATED)
        areas.add([each.start for each in page.changedArea], [each.length for each in page.changedArea])
        start = page.startOffset + page.length
    return areas


def planned(found: Areas) -> int:
    """How many reads there are."""
    areas, size = Areas(found.capacity), found.capacity
    each = iter(found)
    while page := [*islice(each, PAGE)]:
        areas.add([area.start for area in page], [area.length for area in page])
    extents = [*extents_of(size)]
    return sum(len(block.reads) for block in plan.delta(size, areas, extents, MiB, gap=lambda: GAP))


def extents_of(size: int) -> Iterator[Extent]:
    for start in range(0, size, EXTENT):
        yield Extent(start, min(EXTENT, size - start), zero=start // EXTENT % 4 == 3)


async def fetched(reader: str, settings: str, name: str) -> tuple[Areas, dict[str, float]]:
    chosen = config.vcenter(Path(settings))
    async with connect(chosen, lambda: config.password(chosen)) as session:
        vm = session.read_vm(VMRef(name=name))
        begun, cpu = time.monotonic(), time.process_time()
        areas = {"transferd": by_transferd, "pyVmomi": by_pyvmomi}[reader](session, vm)
        return areas, {"fetch_s": time.monotonic() - begun, "fetch_cpu_s": time.process_time() - cpu}


def main(reader: str, settings: str, name: str, notes: str) -> None:
    areas, took = asyncio.run(fetched(reader, settings, name))
    begun = time.monotonic()
    reads = planned(areas)
    took["plan_s"] = time.monotonic() - begun
    with Path(notes).open("a") as file:
        file.write(json.dumps({"areas": len(areas), "reads": reads, **took}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
