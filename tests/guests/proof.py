"""What has to be true of every guest: at home, on new hardware as it is, and there after its conversion.

Each of the three is a function that raises AssertionError; tests/test_linux_guests.py runs them for chosen
guests and tests/torture/guests.py for all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.boot import Boot, Hardware, Outcome
from tests.guests import linux
from tests.guests.identity import Identity
from tests.guests.linux import LinuxGuest
from transferd.errors import printable
from transferd.model import ConversionResult, PowerState, SourceDisk, SourceNic, SourceVM

# Four times what a conversion takes without KVM on two busy cores.
PATIENCE = 600.0
DOES_NOT_BOOT = (Outcome.NO_LOADER, Outcome.NO_ROOT, Outcome.PANIC)


def source(guest: LinuxGuest) -> SourceVM:
    """What the inventory would say of it; as its VMware Tools never ran, no addresses are known."""
    return SourceVM(
        name=guest.name,
        moref="vm-1",
        instance_uuid="52000000-0000-4000-8000-000000000001",
        bios_uuid="42000000-0000-4000-8000-000000000001",
        power_state=PowerState.OFF,
        firmware=guest.plan.recipe.firmware,
        cpus=2,
        cores_per_socket=1,
        memory=1 << 30,
        guest_id="debian11_64Guest",
        guest_name="Debian GNU/Linux (64-bit)",
        tools="guestToolsNotRunning",
        disks=[
            SourceDisk(
                key=2000 + at,
                label=f"Hard disk {at + 1}",
                controller=guest.plan.recipe.adapter.value,
                bus=0,
                unit=at,
                capacity=image.stat().st_size,
                path=f"[datastore] {guest.name}/{image.stem}.vmdk",
            )
            for at, image in enumerate(guest.disks)
        ],
        nics=[
            SourceNic(
                key=4000 + at,
                label=f"Network adapter {at + 1}",
                mac=nic.mac,
                adapter="vmxnet3",
                network="VM Network",
                slot=nic.slot,
            )
            for at, nic in enumerate(guest.plan.nics)
        ],
    )


def is_at_home_on_vmware(guest: LinuxGuest) -> None:
    it = identity(linux.start(guest, Hardware.VMWARE))

    assert linux.problems(guest.plan.recipe, it) == []
    assert storage(it) == storage(guest.home)


def is_lost_without_conversion(guest: LinuxGuest) -> None:
    """On VirtIO hardware it does not boot, or it comes up without its names."""
    end = linux.start(guest, Hardware.VIRTIO)
    show(end)

    if guest.plan.recipe.virtio and guest.plan.recipe.fallback:
        assert end.identity is not None
        assert {*end.identity.nics.values()}.isdisjoint(nic.name for nic in guest.plan.nics)
    else:
        assert end.outcome in DOES_NOT_BOOT


def is_itself_after_conversion(guest: LinuxGuest, folder: Path) -> ConversionResult:
    """A clone of it, converted, boots on VirtIO hardware with its names, addresses and mounts."""
    arguments = _arguments(guest, folder)
    convert("apply", *arguments, "--result", folder / "result.json", "--state", folder / "state")
    result = ConversionResult.model_validate_json((folder / "result.json").read_text())

    proven = "initramfs" if guest.plan.recipe.virtio else "appended"
    assert [kernel.virtio for kernel in result.guest.kernels] == [proven] * guest.plan.recipe.kernels
    assert result.caps.firmware is guest.plan.recipe.firmware
    it = identity(linux.start(linux.at(guest, folder), Hardware.VIRTIO))
    assert linux.problems(guest.plan.recipe, it) == []
    assert storage(it) == storage(guest.home)
    assert it.kernel == guest.home.kernel
    return result


def is_planned_the_same_way_twice(guest: LinuxGuest, folder: Path) -> None:
    arguments = _arguments(guest, folder)
    planned = convert("plan", *arguments, "--json")

    assert json.loads(planned)["changes"] != []
    assert convert("plan", *arguments, "--json") == planned


def has_nothing_left_to_convert(guest: LinuxGuest, folder: Path) -> None:
    """Of the clone that `is_itself_after_conversion` left in `folder`."""
    assert json.loads(convert("plan", *_arguments(guest, folder), "--json"))["changes"] == []


def _arguments(guest: LinuxGuest, folder: Path) -> list[object]:
    """Disks and options of a clone in `folder`, which is made unless it is there."""
    moved = linux.at(guest, folder) if any(folder.glob("disk*.img")) else linux.clone(guest, folder)
    document = folder / "source.json"
    document.write_text(source(moved).to_json())
    keys = ["--key", guest.key] if guest.plan.layout.luks else []
    return [*moved.disks, "--source", document, *keys]


def convert(command: str, *arguments: object) -> str:
    """Standard output of transferd-convert."""
    done = subprocess.run(
        [sys.executable, "-m", "convert", command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def identity(end: Boot) -> Identity:
    show(end)
    assert end.outcome is Outcome.IDENTITY
    assert end.identity is not None
    return end.identity


def storage(it: Identity) -> dict[str, tuple[str, str | None, str]]:
    """Mount point to file system, UUID and subvolume: what stays when a disk changes its name."""
    return {
        point: (mount.fstype, mount.uuid, mount.source.partition("[")[2])
        for point, mount in it.mounts.items()
    }


def show(end: Boot) -> None:
    print(*map(printable, end.console.splitlines()[-40:]), sep="\n")
