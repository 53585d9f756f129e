"""The main job as `make demo` and the end-to-end test run it: a real guest, from vCenter to a VirtIO boot.

    guest image -> VM in the vCenter double -> `transferd migrate` -> raw disks -> QEMU with VirtIO hardware

The migration is the product's own command in its own process; nothing here knows how it works.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.boot import Boot
from tests.cli import argv
from tests.doubles.vsphere import VM, Disk, Nic, VSphere
from tests.guests.debian12 import Guest

NAME = "web01"
DEADLINE = 1200.0  # s for the whole migration; it takes one to three minutes without KVM
MANIFEST = {
    "name": NAME,
    "namespace": "default",
    "networkMap": {"VM Network": "pod"},
    "claims": ["web01-disk0", "web01-disk1"],
}


def machine(guest: Guest) -> VM:
    """The guest as a running VM with VMware Tools, on the hardware that it was installed for."""
    return VM(
        NAME,
        disks=[Disk(guest.root_disk), Disk(guest.data_disk)],
        nics=[Nic(guest.mac, slot=guest.slot, ips=[guest.address.partition("/")[0]])],
        powered_on=True,
    )


@dataclass(frozen=True)
class Job:
    """One migration laid out in `folder`: configuration, state and targets."""

    folder: Path

    @property
    def spec(self) -> Path:
        return self.folder / "migration.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def result(self) -> Path:
        return self.folder / "migration-result.json"

    @property
    def targets(self) -> list[Path]:
        return [self.folder / "targets" / f"disk{number}.img" for number in range(2)]

    def write(self, vsphere: VSphere, **overrides: Any) -> Job:
        """Write vcenter.yaml and migration.yaml. Overrides replace top-level keys of the latter."""
        (self.folder / "targets").mkdir(parents=True, exist_ok=True)
        vsphere.write_vcenter_yaml(self.folder / "vcenter.yaml")
        document = {
            "schema": 1,
            "vcenter": "vcenter.yaml",
            "vm": {"name": NAME},
            "mode": "cold",
            "targetDir": "targets",
            "state": "state",
            "shutdown": {"policy": "fail", "timeout": "2m"},
            "convert": "required",
            "manifest": MANIFEST,
        }
        self.spec.write_text(yaml.safe_dump(document | overrides))
        return self

    def run(self, **options: Any) -> subprocess.CompletedProcess[str]:
        """`transferd migrate`; keyword options are those of subprocess.run."""
        command = argv("migrate", self.spec, "--result", self.result)
        return subprocess.run(command, timeout=DEADLINE, check=False, text=True, **options)


def boot_facts(guest: Guest, boot: Boot) -> dict[str, Any]:
    """What the converted guest said of itself, against what it was; every fact false if it said nothing."""
    identity = boot.identity
    if identity is None:
        nothing = dict.fromkeys(
            ("reached_multi_user", "root_by_uuid", "nic_name_kept", "address_kept"), False
        )
        return {"outcome": boot.outcome.value, **nothing, "failed_units": None, "data_intact": False}
    name = identity.nics.get(guest.mac)
    return {
        "outcome": boot.outcome.value,
        "reached_multi_user": identity.reached_multi_user,
        "root_by_uuid": identity.root_by_uuid and identity.root.uuid == guest.root_uuid,
        "root_device": identity.root.source,
        "nic_name": name,
        "nic_name_kept": name == guest.nic_name,
        "address_kept": guest.address in identity.addresses.get(guest.nic_name, []),
        "failed_units": identity.failed_units,
        "swap_on": len(identity.swaps) == 1,
        "data_intact": identity.data_sha256 == guest.data_sha256,
        "elapsed_s": round(boot.elapsed, 1),
    }


def proven(facts: dict[str, Any]) -> bool:
    """The guest came up on VirtIO hardware exactly as it was."""
    wanted = ("reached_multi_user", "root_by_uuid", "nic_name_kept", "address_kept", "data_intact", "swap_on")
    return all(facts[name] is True for name in wanted) and facts["failed_units"] == []
