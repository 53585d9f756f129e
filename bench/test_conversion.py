"""What a conversion costs: the same guest, the same accelerator, the same minutes as virt-v2v.

One run of the peer in the middle of five of ours: a run of it takes ten minutes where there is no KVM. Both
get the guest's root disk alone, because virt-v2v's `-i disk` takes one. virt-v2v's phase of copying is taken
off its time; ours copies nothing.

The second case is a guest whose initramfs has VirtIO already: what is left is one launch of the appliance,
and the goal is for what comes besides. virt-v2v would run the guest's initramfs tool there too: it rebuilds
the image of every Linux guest (virt-v2v 2.2, convert/convert_linux.ml, rebuild_initrd).
"""

import json
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.entrants import module
from bench.race import STOPWATCH, Entrant, Lap, lap, record
from tests.conftest import demand, require
from tests.convert.memory import nic, source
from tests.guests import debian12, disk

ROUNDS = 5
PEER_AFTER = 3  # of our rounds


@pytest.fixture(scope="module")
def guest() -> debian12.Guest:
    demand(debian12.unavailable())
    return debian12.build()


@pytest.fixture(scope="module")
def described(folder: Path, guest: debian12.Guest) -> Path:
    """The source document of a VM that has the guest's root disk alone."""
    vm = source(nic(guest.mac, slot=guest.slot), capacities=(guest.root_disk.stat().st_size,))
    path = folder / "source.json"
    path.write_text(vm.to_json())
    return path


def test_a_guest_that_needs_its_drivers(benchmark, folder: Path, guest: debian12.Guest, described: Path):
    require("virt-v2v")
    notes = folder / "v2v.json"
    ours, phases = converter(guest.root_disk, described, folder)
    peer = Entrant("virt-v2v", lambda target: v2v(guest.root_disk, target, notes), writes=False, copies=False)
    laps: dict[str, list[Lap]] = {ours.name: [], peer.name: []}

    def all_rounds() -> None:
        for number in range(ROUNDS):
            if number == PEER_AFTER:
                laps[peer.name].append(lap(peer, folder, None))
            laps[ours.name].append(lap(ours, folder, None))
            STOPWATCH.run(laps[ours.name][-1].seconds)

    benchmark.pedantic(all_rounds, rounds=1)
    record(
        benchmark,
        "conversion, Debian 12",
        guest.root_disk.stat().st_size,
        laps,
        peer=json.loads(notes.read_text()),
        steps=medians(phases),
    )


def test_a_guest_whose_initramfs_has_virtio(benchmark, folder: Path, guest: debian12.Guest, described: Path):
    ready = debian12.with_virtio_alone(guest, folder / "ready")
    ours, phases = converter(ready.root_disk, described, folder)
    laps: dict[str, list[Lap]] = {ours.name: []}

    def one_round() -> None:
        laps[ours.name].append(lap(ours, folder, None))
        STOPWATCH.run(laps[ours.name][-1].seconds)

    benchmark.pedantic(one_round, rounds=ROUNDS)
    size = ready.root_disk.stat().st_size
    record(benchmark, "conversion, VirtIO in the initramfs", size, laps, steps=medians(phases))
    shutil.rmtree(ready.root_disk.parent)


def converter(original: Path, described: Path, folder: Path) -> tuple[Entrant, list[Path]]:
    """transferd-convert on a clone made before the clock starts; and where each lap's result will be."""
    results: list[Path] = []

    def argv(target: Path) -> Sequence[str]:
        disk.clone(original, target)
        results.append(folder / f"{original.parent.name}-{len(results)}.json")
        state = target.parent / "state"
        options = ("--source", described, "--result", results[-1], "--state", state)
        return module("convert", "apply", target, *options)

    return Entrant("transferd", argv, copies=False), results


def v2v(original: Path, target: Path, notes: Path) -> Sequence[str]:
    clone = disk.clone(original, target.parent / "source.img")
    return module("bench.v2v", notes, clone, target.parent)


def medians(results: Sequence[Path]) -> dict[str, float]:
    """Seconds of each step, by the result documents."""
    runs = [json.loads(path.read_text())["steps"] for path in results]
    found: dict[str, list[float]] = {}
    for steps in runs:
        total: dict[str, float] = {}
        for step in steps:
            total[step["name"]] = total.get(step["name"], 0.0) + step["elapsed_s"]
        for name, seconds in total.items():
            found.setdefault(name, []).append(seconds)
    return {name: round(statistics.median(seconds), 2) for name, seconds in found.items()}
