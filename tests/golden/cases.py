"""Guests whose manifests are kept beside this file as `NAME.yaml`; `python -m tests.golden` rewrites them.

Each is a kind of hardware that a manifest must describe: read the file to see what a user gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferd.model import (
    BlockBus,
    Caps,
    ConversionResult,
    Firmware,
    Guest,
    ManifestRequest,
    NicModel,
    PowerState,
    SourceDisk,
    SourceNic,
    SourceVM,
)

FOLDER = Path(__file__).parent

GiB = 1 << 30


@dataclass(frozen=True)
class Case:
    source: SourceVM
    result: ConversionResult
    request: ManifestRequest


def source_vm(name: str, disks: list[SourceDisk], nics: list[SourceNic], **changed: object) -> SourceVM:
    """A powered-off Debian guest with BIOS, 4 CPUs and 4 GiB, but for what is `changed`."""
    usual = {
        "name": name,
        "moref": "vm-1042",
        "instance_uuid": "502d3a1c-8f2e-4b7a-9c55-0a1b2c3d4e5f",
        "bios_uuid": "422d6f0a-5b1c-4d2e-8f3a-9b8c7d6e5f4a",
        "power_state": PowerState.OFF,
        "firmware": Firmware.BIOS,
        "cpus": 4,
        "cores_per_socket": 2,
        "memory": 4 * GiB,
        "guest_id": "debian12_64Guest",
        "guest_name": "Debian GNU/Linux 12 (64-bit)",
        "tools": "guestToolsNotRunning",
    }
    return SourceVM.model_validate({**usual, **changed, "disks": disks, "nics": nics})


def disk(number: int, uuid: str | None = None) -> SourceDisk:
    return SourceDisk(
        key=2000 + number,
        label=f"Hard disk {number + 1}",
        controller="pvscsi",
        bus=0,
        unit=number,
        capacity=8 * GiB,
        path=f"[datastore1] guest/guest_{number}.vmdk",
        uuid=uuid,
    )


def nic(number: int, network: str, *, connected: bool = True) -> SourceNic:
    return SourceNic(
        key=4000 + number,
        label=f"Network adapter {number + 1}",
        mac=f"00:50:56:8a:10:{number:02x}",
        adapter="vmxnet3",
        network=network,
        slot=192 + 32 * number,
        connected=connected,
    )


def converted(guest: Guest, caps: Caps) -> ConversionResult:
    return ConversionResult(outcome="ok", guest=guest, caps=caps)


DEBIAN = Guest(
    found=True, distro="debian", version="12", product="Debian GNU/Linux 12 (bookworm)", arch="x86_64"
)

VIRTIO = Caps(
    block=BlockBus.VIRTIO, net=NicModel.VIRTIO, firmware=Firmware.BIOS, rng=True, balloon=True, agent=True
)

CASES = {
    "bios-two-disks": Case(
        source_vm(
            "web server 01",
            [
                disk(0, "6000C29e-4f6a-1b2c-3d4e-5f60718293a4"),
                # Its last 20 digits read as a number in exponent notation to some YAML readers.
                disk(1, "6000C291-0000-1234-5678-90123456e789"),
            ],
            [nic(0, "VM Network")],
        ),
        converted(DEBIAN, VIRTIO),
        ManifestRequest(
            name="web-01",
            namespace="shop",
            network_map={"VM Network": "pod"},
            claims=["web-01-disk-0", "web-01-disk-1"],
        ),
    ),
    "efi-secure-boot-multus": Case(
        source_vm(
            "db/Ünïcode 'quoted'",
            [disk(0)],
            [nic(0, "prod"), nic(1, "backup"), nic(2, "unplugged", connected=False)],
            firmware=Firmware.EFI,
            secure_boot=True,
            tpm=True,
            cpus=6,
            cores_per_socket=0,
            memory=6 * GiB + GiB // 2,
        ),
        converted(DEBIAN, VIRTIO.model_copy(update={"firmware": Firmware.EFI})),
        ManifestRequest(
            name="db",
            namespace="shop",
            network_map={"prod": "shop/prod-vlan-10", "backup": "pod", "unplugged": "default/quarantine"},
            claims=["db-root"],
        ),
    ),
    "sata-fallback": Case(
        source_vm("legacy", [disk(0), disk(1)], [nic(0, "VM Network")], cpus=1, cores_per_socket=1),
        converted(
            Guest(found=True, distro="unknown", arch="x86_64"),
            Caps(
                block=BlockBus.SATA,
                net=NicModel.E1000E,
                firmware=Firmware.BIOS,
                rtc="localtime",
                boot_disk=1,
            ),
        ),
        ManifestRequest(
            name="legacy", network_map={"VM Network": "pod"}, claims=["legacy-data", "legacy-root"]
        ),
    ),
}
