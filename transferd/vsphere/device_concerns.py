"""What stands in the way of migrating a VM among its devices: disks that cannot be read, hardware that stays.

Pure. One concern a kind, naming all devices that have it; what the categories mean, `concerns` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pyVmomi import vim

from transferd.model import Concern
from transferd.plan import LARGEST
from transferd.units import human

MANY = 165  # disks, the number from which Forklift's rules warn; a KubeVirt VM has PCI slots for far fewer
QUOTED = 200  # characters of device names

Disk = vim.vm.device.VirtualDisk


def concerns(values: dict[str, Any]) -> Iterator[Concern]:
    hardware = values.get("config.hardware")
    devices = list(hardware.device or []) if hardware else []
    disks = [device for device in devices if isinstance(device, Disk)]
    yield from _unreadable(disks)
    yield from _shared(disks, devices)
    yield from _sizes(disks)
    yield from _encrypted(values, disks)
    yield from _tied_to_the_host(devices)
    yield from _left_behind(devices)


def _found(
    devices: list[Any],
    name: str,
    category: Literal["critical", "warning", "information"],
    label: str,
    means: str,
    remedy: str,
) -> Iterator[Concern]:
    """The concern, if there are such devices; their names end its text."""
    if devices:
        labels = ", ".join(_label(device) for device in devices)
        cut = labels if len(labels) <= QUOTED else labels[:QUOTED] + "..."
        yield Concern(id=name, category=category, label=label, assessment=f"{means} {cut}.", remedy=remedy)


def _label(device: Any) -> str:
    return str(device.deviceInfo.label) if device.deviceInfo else f"device {device.key}"


def _unreadable(disks: list[Any]) -> Iterator[Concern]:
    raw = [disk for disk in disks if isinstance(disk.backing, Disk.RawDiskMappingVer1BackingInfo)]
    physical = [disk for disk in raw if disk.backing.compatibilityMode != "virtualMode"]
    yield from _found(
        physical, "rdm-physical", "critical", "Physical raw device mapping",
        "A LUN that vSphere passes through has no snapshots and cannot be read through VDDK:",
        "Change it to virtual mode, or detach it and move the LUN itself.",
    )  # fmt: skip
    yield from _found(
        [disk for disk in raw if disk not in physical], "rdm-virtual", "warning", "Raw device mapping",
        "The whole LUN is copied into a volume, and the target no longer uses the LUN:",
        "Nothing to do if that is what you want; otherwise detach it first.",
    )  # fmt: skip
    yield from _found(
        [disk for disk in disks if str(getattr(disk.backing, "diskMode", None)).startswith("independent")],
        "independent-disk", "critical", "Independent disks",
        "Snapshots leave them out: they can only be read while the VM is off, never in a warm migration:",
        "Migrate cold, or change the mode to dependent while the VM is off.",
    )  # fmt: skip


def _shared(disks: list[Any], devices: list[Any]) -> Iterator[Concern]:
    buses = {device.key for device in devices if (_sharing_of_bus(device) or "noSharing") != "noSharing"}
    yield from _found(
        [disk for disk in disks if disk.controllerKey in buses or _multi_writer(disk)],
        "shared-disk", "critical", "Shared disks",
        "Another VM may write while they are read, so no copy of them is consistent:",
        "Shut down all VMs that share them, take the sharing away, and migrate cold.",
    )  # fmt: skip


def _sharing_of_bus(device: Any) -> str | None:
    return getattr(device, "sharedBus", None)


def _multi_writer(disk: Any) -> bool:
    return (getattr(disk.backing, "sharing", None) or "sharingNone") != "sharingNone"


def _sizes(disks: list[Any]) -> Iterator[Concern]:
    sizes = {disk.key: disk.capacityInBytes or (disk.capacityInKB or 0) << 10 for disk in disks}
    yield from _found(
        [disk for disk in disks if sizes[disk.key] <= 0], "disk-empty", "critical", "Disks without a size",
        "vSphere gives no size, so there is nothing to copy:",
        "Detach them, or repair their descriptor.",
    )  # fmt: skip
    yield from _found(
        [disk for disk in disks if sizes[disk.key] > LARGEST], "disk-size", "critical", "Disks too large",
        f"More than {human(LARGEST)} is not supported:",
        "Divide them inside the guest.",
    )  # fmt: skip
    yield from _found(
        disks if len(disks) > MANY else [], "disk-count", "warning", f"{len(disks)} disks",
        f"More than {MANY} may not be attachable at the target:",
        "Bring several small ones together inside the guest.",
    )  # fmt: skip


def _encrypted(values: dict[str, Any], disks: list[Any]) -> Iterator[Concern]:
    encrypted = [disk for disk in disks if getattr(disk.backing, "keyId", None)]
    yield from _found(
        encrypted or (disks if values.get("config.keyId") else []),
        "encrypted", "warning", "Encrypted by vSphere",
        "VDDK reads in clear what vSphere encrypts, and the copy is in clear:",
        "Give the account Cryptographer.Access, use transport nbdssl, and encrypt the target's storage.",
    )  # fmt: skip


def _tied_to_the_host(devices: list[Any]) -> Iterator[Concern]:
    yield from _found(
        [device for device in devices if isinstance(device, vim.vm.device.VirtualPCIPassthrough)],
        "passthrough", "critical", "Devices of the host",
        "The target does not have them, and while they are there no snapshot can be taken of a running VM:",
        "Remove them from the VM; give the target host devices of its own.",
    )  # fmt: skip
    yield from _found(
        [device for device in devices if isinstance(device, vim.vm.device.VirtualSriovEthernetCard)],
        "sriov", "warning", "SR-IOV network adapters",
        "They become ordinary adapters, and while they are there no snapshot can be taken of a running VM:",
        "Change them to VMXNET3, or migrate cold and map them to an SR-IOV network.",
    )  # fmt: skip


def _left_behind(devices: list[Any]) -> Iterator[Concern]:
    yield from _found(
        [device for device in devices if isinstance(device, vim.vm.device.VirtualUSB)],
        "usb", "warning", "USB devices",
        "What is plugged into the host or a client does not come along:",
        "Disconnect them; use a USB server or KubeVirt's host devices.",
    )  # fmt: skip
    yield from _found(
        [device for device in devices if isinstance(device, vim.vm.device.VirtualTPM)],
        "tpm", "warning", "Virtual TPM",
        "The target gets a new, empty one. What was sealed with this one, such as a disk's key, is lost:",
        "Have recovery keys at hand, or unseal before the migration.",
    )  # fmt: skip
