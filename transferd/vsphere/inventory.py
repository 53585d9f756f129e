"""A virtual machine's properties as the `SourceVM` document. Pure: it reads values, it calls nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyVmomi import vim

from transferd.errors import AuthenticationError
from transferd.model import Firmware, PowerState, SourceDisk, SourceNic, SourceVM

PATHS = (
    "name",
    "config.uuid",
    "config.instanceUuid",
    "config.firmware",
    "config.bootOptions",
    "config.guestId",
    "config.guestFullName",
    "config.changeTrackingEnabled",
    "config.hardware",
    "config.extraConfig",
    "runtime.powerState",
    "runtime.host",
    "guest.toolsRunningStatus",
    "guest.net",
    "snapshot",
)
POWER = {"poweredOn": PowerState.ON, "poweredOff": PowerState.OFF, "suspended": PowerState.SUSPENDED}
CONTROLLERS = (
    (vim.vm.device.ParaVirtualSCSIController, "pvscsi"),
    (vim.vm.device.VirtualLsiLogicSASController, "lsisas"),
    (vim.vm.device.VirtualLsiLogicController, "lsilogic"),
    (vim.vm.device.VirtualBusLogicController, "buslogic"),
    (vim.vm.device.VirtualAHCIController, "ahci"),
    (vim.vm.device.VirtualNVMEController, "nvme"),
    (vim.vm.device.VirtualIDEController, "ide"),
)


def power_of(values: dict[str, Any]) -> PowerState:
    """AuthenticationError where vCenter keeps it back: a VM of unknown power must not be taken for one."""
    if "runtime.powerState" not in values:
        raise AuthenticationError(
            "vCenter does not show its power state",
            vm=values.get("name"),
            remedy="give the role System.Read on this VM",
        )
    return POWER[str(values["runtime.powerState"])]


def source_vm(moref: Any, values: dict[str, Any]) -> SourceVM:
    """Property values as the document; a VM that vCenter cannot read (no config) still has a name."""
    hardware = values.get("config.hardware")
    devices = list(hardware.device) if hardware else []
    extra = {option.key: option.value for option in values.get("config.extraConfig") or []}
    boot = values.get("config.bootOptions")
    return SourceVM(
        name=values.get("name") or moref._moId,  # noqa: SLF001
        moref=moref._moId,  # noqa: SLF001 (pyVmomi's name for it)
        host=_moref(values.get("runtime.host")),
        instance_uuid=values.get("config.instanceUuid") or "",
        bios_uuid=values.get("config.uuid") or "",
        power_state=power_of(values),
        firmware=Firmware.EFI if values.get("config.firmware") == Firmware.EFI else Firmware.BIOS,
        secure_boot=bool(boot and boot.efiSecureBootEnabled),
        tpm=any(isinstance(device, vim.vm.device.VirtualTPM) for device in devices),
        cpus=hardware.numCPU if hardware else 1,
        cores_per_socket=(hardware.numCoresPerSocket or 1) if hardware else 1,
        memory=(hardware.memoryMB if hardware else 0) << 20,
        guest_id=values.get("config.guestId") or "",
        guest_name=values.get("config.guestFullName") or "",
        tools=values.get("guest.toolsRunningStatus") or "unknown",
        cbt_enabled=bool(values.get("config.changeTrackingEnabled")),
        has_snapshots=values.get("snapshot") is not None,
        disks=[*_disks(devices)],
        nics=[*_nics(devices, extra, values.get("guest.net") or [])],
    )


def _disks(devices: list[Any]) -> Iterator[SourceDisk]:
    by_key = {device.key: device for device in devices}
    for device in devices:
        if not isinstance(device, vim.vm.device.VirtualDisk):
            continue
        backing = device.backing
        controller = by_key.get(device.controllerKey)
        kind = next((name for of, name in CONTROLLERS if isinstance(controller, of)), "unknown")
        yield SourceDisk(
            key=device.key,
            label=_label(device),
            controller=kind,
            bus=getattr(controller, "busNumber", 0),
            unit=device.unitNumber or 0,
            capacity=device.capacityInBytes or device.capacityInKB << 10,
            path=_base(backing),
            object_id=device.diskObjectId,
            uuid=getattr(backing, "uuid", None),
            thin=getattr(backing, "thinProvisioned", None),
            mode=getattr(backing, "diskMode", None) or "persistent",
        )


def _base(backing: Any) -> str:
    """The file to read: of a chain of snapshots the top, which VDDK follows down by itself."""
    return getattr(backing, "fileName", "") or ""


def disk_files(devices: list[Any]) -> Iterator[tuple[Any, str, int]]:
    """Each virtual disk among devices: the device, the file to read, its capacity in bytes."""
    for device in devices:
        if isinstance(device, vim.vm.device.VirtualDisk):
            yield device, _base(device.backing), device.capacityInBytes or device.capacityInKB << 10


def _nics(devices: list[Any], extra: dict[str, str], guest: list[Any]) -> Iterator[SourceNic]:
    """NICs in order. `ethernetN` counts adapters by device key: the first has key 4000."""
    first_key = 4000
    addresses = {
        (net.macAddress or "").lower(): [
            ip.ipAddress for ip in (net.ipConfig.ipAddress if net.ipConfig else [])
        ]
        or list(net.ipAddress or [])
        for net in guest
    }
    for device in devices:
        if not isinstance(device, vim.vm.device.VirtualEthernetCard):
            continue
        mac = (device.macAddress or "").lower()
        slot = extra.get(f"ethernet{device.key - first_key}.pciSlotNumber", "")
        yield SourceNic(
            key=device.key,
            label=_label(device),
            mac=mac,
            adapter=type(device).__name__.rpartition(".")[2].removeprefix("Virtual").lower(),
            network=_network(device.backing),
            slot=int(slot) if slot.isdigit() else None,
            connected=device.connectable is None or bool(device.connectable.startConnected),
            ips=addresses.get(mac, []),
        )


def _network(backing: Any) -> str:
    """The network's name, or the distributed port group's key, which is all the device knows."""
    if isinstance(backing, vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo):
        return str(backing.port.portgroupKey)
    return str(getattr(backing, "deviceName", "") or "")


def _moref(managed: Any) -> str:
    return str(managed._moId) if managed is not None else ""  # noqa: SLF001


def _label(device: Any) -> str:
    return str(device.deviceInfo.label) if device.deviceInfo else f"device {device.key}"
