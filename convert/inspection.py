"""What the guest is and what it can do: found by looking at its files, not at a list of known systems.

Which file system is the root, and what is mounted below it, is `convert.system`. All else is asked of it as a
capability: which init is there, which network stacks have configuration, which tool builds the initramfs,
which boot loader's configuration exists, which kernels. A distribution's name is reported, never decided on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from convert import bootloader, esp, release, system
from convert.blocks import BIOS_BOOT_TYPE, ESP_TYPE
from convert.bootloader import Entry
from convert.devices import Devices, FileSystem
from convert.installed import Kernel, kernels
from convert.listed import Listed
from convert.traits import Mode, selinux, traits
from transferd.model import Firmware, Guest, GuestKernel, SourceVM, Warning_

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from convert.guest import Guest as Appliance

__all__ = ["Inspection", "Kernel", "inspect"]


@dataclass(frozen=True)
class Inspection:
    """Facts about the guest whose file systems are mounted now."""

    devices: Devices
    root: FileSystem
    mounted: tuple[FileSystem, ...]
    release: dict[str, str]
    arch: str | None
    firmware: Firmware
    init: str | None
    systemd: int | None
    network: tuple[str, ...]
    initramfs: str | None
    bootloader: str | None
    grub_config: str | None
    kernels: tuple[Kernel, ...]
    agent: bool
    rtc: Literal["utc", "localtime"]
    boot_disk: int
    warnings: tuple[Warning_, ...] = ()
    packages: str | None = None
    bootloaders: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    boot_configs: tuple[str, ...] = ()
    esp: str | None = None
    grubenv: str | None = None
    selinux: Mode | None = None
    lvm: bool = False
    md: bool = False
    luks: bool = False

    def document(self, kernels: Sequence[GuestKernel]) -> Guest:
        return Guest(
            found=True,
            distro=self.release.get("ID"),
            version=self.release.get("VERSION_ID"),
            product=self.release.get("PRETTY_NAME"),
            arch=self.arch,
            root=self.root.uuid,
            firmware=self.firmware,
            init=self.init,
            network=list(self.network),
            initramfs=self.initramfs,
            bootloader=self.bootloader,
            bootloaders=list(self.bootloaders),
            packages=self.packages,
            selinux=self.selinux,
            lvm=self.lvm,
            md=self.md,
            luks=self.luks,
            kernels=list(kernels),
        )


def inspect(
    appliance: Appliance,
    disks: Sequence[str],
    *,
    source: SourceVM | None = None,
    root: str | None = None,
    keys: Sequence[Path] = (),
    check: bool = False,
) -> Inspection:
    """Finds the guest on the appliance's disks and leaves its file systems mounted.

    `disks` are names for messages. Without a source document their order is taken for the guest's. `check`:
    let the file systems' own checkers look first. Raises ConversionError, saying what was seen on each disk,
    if there is not exactly one operating system.
    """
    found = system.find(appliance, disks, source=source, root=root, keys=keys, check=check)
    types = appliance.partition_types()
    found, point = (placed := esp.mount(appliance, found, types)).system, placed.point
    firmware, doubts = _firmware(appliance, source, types, point, len(disks))
    tree = Listed(appliance)
    boot = bootloader.survey(tree, firmware, point)
    has = traits(tree)
    kinds_seen = {f.kind for f in found.devices.filesystems}
    return Inspection(
        devices=found.devices,
        root=found.root,
        mounted=found.mounted,
        release=release.release(tree),
        arch=_architecture(appliance),
        firmware=firmware,
        init=has.init,
        systemd=has.systemd,
        network=has.network,
        initramfs=has.initramfs,
        bootloader=next(iter(boot.loaders), None),
        grub_config=boot.grub_config,
        kernels=kernels(tree, boot.entries),
        agent=has.agent,
        rtc=has.rtc,
        boot_disk=_boot_disk(appliance, found.root, len(disks)),
        warnings=(*found.warnings, *doubts),
        packages=release.packages(tree),
        bootloaders=boot.loaders,
        entries=boot.entries,
        boot_configs=boot.configs,
        esp=point,
        grubenv=boot.grubenv,
        selinux=selinux(tree, [boot.default.options] if boot.default else []),
        lvm="LVM2_member" in kinds_seen,
        md="linux_raid_member" in kinds_seen,
        luks="crypto_LUKS" in kinds_seen,
    )


def _firmware(
    appliance: Appliance, source: SourceVM | None, types: AbstractSet[str], point: str | None, disks: int
) -> tuple[Firmware, list[Warning_]]:
    """What the disks are made for. Where they are made for both, as cloud images are, the source VM tells."""
    by_gpt = ESP_TYPE in types
    efi = by_gpt or point is not None
    bios = not efi or BIOS_BOOT_TYPE in types or (not by_gpt and bool(_with_grub(appliance, disks)))
    told = source.firmware if source else None
    firmware = (told or Firmware.BIOS) if efi and bios else Firmware.EFI if efi else Firmware.BIOS
    if told in (None, firmware):
        return firmware, []
    if told is Firmware.EFI:
        message = "the VM boots by UEFI and none of its disks has an EFI system partition"
        code = "uefi-without-esp"
    else:
        message, code = "the VM boots by BIOS and its disks are made for UEFI alone", "firmware-mismatch"
    remedy = f"set the firmware of the target VM to {firmware.value} if it does not boot"
    return firmware, [Warning_(code=code, message=message, remedy=remedy)]


def _architecture(appliance: Appliance) -> str | None:
    shells = ("/usr/bin/sh", "/bin/sh", "/usr/bin/bash", "/bin/bash")
    return next((found for path in shells if (found := appliance.architecture(path))), None)


def _with_grub(appliance: Appliance, disks: int) -> list[int]:
    return [disk for disk in range(disks) if b"GRUB" in appliance.first_sector(disk)]


def _boot_disk(appliance: Appliance, root: FileSystem, count: int) -> int:
    """The disk that holds the root, unless only another one has grub in its boot sector."""
    with_grub = _with_grub(appliance, count)
    if root.disk is None or (with_grub and root.disk not in with_grub):
        return with_grub[0] if with_grub else 0
    return root.disk
