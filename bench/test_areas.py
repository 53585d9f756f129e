"""A million changed areas: what it costs to fetch them, and what to plan their copy.

The peer is pyVmomi reading the same answers of the same vCenter double, in a process that is otherwise the
same. The double makes up areas as fast as it can; what it needs for that is in both.
"""

import json
import os
from pathlib import Path
from statistics import median

from bench.disks import REDUCED
from bench.entrants import module
from bench.race import Entrant, race, record
from tests.doubles.vsphere import VM, Disk, VSphere
from transferd.units import GiB

SIZE = 128 * GiB
AREAS = 10_000 if REDUCED in os.environ else 1_000_000


def test_a_million_areas(benchmark, folder: Path):
    image = folder / "disk.img"
    image.touch()
    os.truncate(image, SIZE)
    notes = {name: folder / f"{name}.jsonl" for name in ("transferd", "pyVmomi")}
    with VSphere(folder, [VM("web", [Disk(image)], change_tracking=True)]) as vsphere:
        settings = vsphere.write_vcenter_yaml(folder / "vcenter.yaml")
        vsphere.many_areas("web", 0, AREAS)
        tools = [reader(name, settings, path) for name, path in notes.items()]
        laps = race(benchmark, tools, folder, content=None)
    phases = {name: phases_in(path) for name, path in notes.items()}
    assert {(of["areas"], of["reads"]) for of in phases.values()} == {(AREAS, phases["pyVmomi"]["reads"])}
    record(benchmark, "changed areas", SIZE, laps, areas=AREAS, phases=phases)
    print(f"\nphases: {phases}", end="")


def reader(name: str, settings: Path, notes: Path) -> Entrant:
    command = module("bench.areas", name, settings, "web", notes)
    return Entrant(name, lambda _: command, writes=False, copies=False)


def phases_in(notes: Path) -> dict[str, float]:
    """Medians over the laps."""
    laps = [json.loads(line) for line in notes.read_text().splitlines()]
    return {key: median(lap[key] for lap in laps) for key in laps[0]}
