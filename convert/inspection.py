"""What the guest is and what it can do: found by looking at its files, not at a list of known systems.

The root is the file system that has an os-release and an fstab. Everything else is asked of it as a
capability: which init is there, which network stacks have configuration, which tool builds the initramfs,
which boot loader's configuration exists, which kernels. A distribution's name is reported, never decided on.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from convert.devices import Devices, FileSystem
from convert.guest import BIOS_BOOT_TYPE, ESP_TYPE
from convert.linux import fstab
from convert.tree import text
from transferd.errors import ConversionError
from transferd.model import Firmware, Guest, GuestKernel, SourceVM, Warning_

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from convert.guest import Guest as Appliance
    from convert.tree import Tree

MOUNTABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
KERNEL_NAME = re.compile(r"vmlinu[xz]-(.+)")
INITRD_NAMES = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}", "initramfs-{}")
GRUB_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
# A capability is there when one of its paths is.
INITRAMFS_TOOLS = {
    "initramfs-tools": ("/usr/sbin/update-initramfs",),
    "dracut": ("/usr/bin/dracut", "/usr/sbin/dracut"),
    "mkinitcpio": ("/usr/bin/mkinitcpio",),
}
NETWORK_STACKS = {
    "ifupdown": ("/etc/network/interfaces",),
    "NetworkManager": ("/etc/NetworkManager/system-connections",),
    "netplan": ("/etc/netplan",),
    "ifcfg": ("/etc/sysconfig/network-scripts", "/etc/sysconfig/network"),
    "networkd": ("/etc/systemd/network",),
}
# The only file systems that conversion reads or writes: data disks are not even mounted.
SYSTEM_MOUNTS = frozenset({"/boot", "/boot/efi", "/efi", "/usr", "/var", "/var/lib", "/var/log"})
SYSTEMD = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
AGENT = ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga")
LIBRARY_FOLDERS = ("/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd")
SHARED_LIBRARY = re.compile(r"libsystemd-shared-(\d+)")


@dataclass(frozen=True)
class Kernel:
    """A kernel that the boot loader can start. `modules` is its folder, `initrd` the image's real path."""

    version: str
    image: str
    modules: str
    initrd: str | None
    default: bool


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
            kernels=list(kernels),
        )


def inspect(
    appliance: Appliance,
    disks: Sequence[str],
    *,
    source: SourceVM | None = None,
    root: str | None = None,  # noqa: ARG001
    keys: Sequence[Path] = (),  # noqa: ARG001
) -> Inspection:
    """Finds the guest on the appliance's disks and leaves its file systems mounted.

    `disks` are names for messages. Without a source document their order is taken for the guest's. Raises
    ConversionError, saying what was seen on each disk, if there is not exactly one operating system.
    """
    kinds = {disk.controller for disk in source.disks} if source else set()
    devices = Devices(tuple(appliance.filesystems()), ordered=len(kinds) <= 1)
    system = _root(appliance, devices, disks)
    appliance.mount(system, "/")
    mounted, warnings = _mount_others(appliance, devices, system)
    types = appliance.partition_types()
    grub = next((path for path in GRUB_CONFIGS if appliance.exists(path)), None)
    systemd = any(appliance.exists(path) for path in SYSTEMD)
    return Inspection(
        devices=devices,
        root=system,
        mounted=(system, *mounted),
        release=_release(appliance),
        arch=_architecture(appliance),
        firmware=Firmware.EFI if ESP_TYPE in types and BIOS_BOOT_TYPE not in types else Firmware.BIOS,
        init="systemd" if systemd else None,
        systemd=_systemd_version(appliance),
        network=_present(appliance, NETWORK_STACKS),
        initramfs=next(iter(_present(appliance, INITRAMFS_TOOLS)), None),
        bootloader="grub2" if grub else None,
        grub_config=grub,
        kernels=_kernels(appliance, grub),
        agent=any(appliance.exists(path) for path in AGENT),
        rtc="localtime" if "LOCAL" in (text(appliance, "/etc/adjtime") or "").split() else "utc",
        boot_disk=_boot_disk(appliance, system, len(disks)),
        warnings=tuple(warnings),
    )


def _root(appliance: Appliance, devices: Devices, disks: Sequence[str]) -> FileSystem:
    found = [f for f in devices.filesystems if f.kind in MOUNTABLE and _is_root(appliance, f)]
    if len(found) == 1:
        return found[0]
    seen = "; ".join(_seen(name, at, devices) for at, name in enumerate(disks))
    if found:
        several = ", ".join(f.device for f in found)
        raise ConversionError(f"more than one operating system ({several}): {seen}", operation="inspect")
    raise ConversionError(
        f"no operating system found: {seen}",
        operation="inspect",
        remedy="give all disks of the VM in their order, or migrate it without conversion",
    )


def _is_root(appliance: Appliance, filesystem: FileSystem) -> bool:
    try:
        appliance.mount(filesystem, "/", look_only=True)
    except ConversionError:
        return False
    try:
        return any(appliance.exists(path) for path in OS_RELEASE) and appliance.exists("/etc/fstab")
    finally:
        appliance.unmount_all()


def _seen(name: str, disk: int, devices: Devices) -> str:
    parts = [f for f in devices.filesystems if f.disk == disk]
    if not parts:
        return f"{name}: no file system"
    return f"{name}: " + ", ".join(
        f"partition {f.partition} {f.kind}" if f.partition else f"whole disk {f.kind}" for f in parts
    )


def _mount_others(
    appliance: Appliance, devices: Devices, root: FileSystem
) -> tuple[list[FileSystem], list[Warning_]]:
    """Mounts the system's parts as the guest's fstab does, parents first. A failure is a warning."""
    mounted: list[FileSystem] = []
    warnings: list[Warning_] = []
    rows = fstab.mounts(text(appliance, "/etc/fstab") or "")
    for row in sorted(rows, key=lambda row: len(row.point)):
        if row.point not in SYSTEM_MOUNTS:
            continue
        found = devices.resolve(row.spec)
        if found is None or found == root or found in mounted:
            continue
        try:
            appliance.mount(found, row.point)
            mounted.append(found)
        except ConversionError as error:
            message = f"{row.spec} cannot be mounted on {row.point}: {error.problem}"
            warnings.append(Warning_(code="mount-failed", message=message, remedy="check it in the guest"))
    return mounted, warnings


def _release(tree: Tree) -> dict[str, str]:
    content = next((found for path in OS_RELEASE if (found := text(tree, path)) is not None), "")
    pairs = [line.partition("=") for line in content.splitlines() if "=" in line and not line.startswith("#")]
    return {key.strip(): _unquoted(value) for key, _, value in pairs}


def _unquoted(value: str) -> str:
    """os-release(5) quotes like a shell; what a shell would refuse is taken as it stands."""
    try:
        return " ".join(shlex.split(value))[:256]
    except ValueError:
        return value.strip()[:256]


def _architecture(appliance: Appliance) -> str | None:
    shells = ("/usr/bin/sh", "/bin/sh", "/usr/bin/bash", "/bin/bash")
    return next((found for path in shells if (found := appliance.architecture(path))), None)


def _systemd_version(tree: Tree) -> int | None:
    folders = [
        *LIBRARY_FOLDERS,
        *(f"/usr/lib/{name}/systemd" for name in tree.names("/usr/lib") if "-linux-" in name),
    ]
    names = [name for folder in folders for name in tree.names(folder)]
    return next((int(match[1]) for name in names if (match := SHARED_LIBRARY.match(name))), None)


def _present(tree: Tree, table: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for name, paths in table.items() if any(tree.exists(path) for path in paths))


def _kernels(tree: Tree, grub: str | None) -> tuple[Kernel, ...]:
    """Kernels in /boot that have modules. The default is grub's first entry, else the newest."""
    boot = tree.names("/boot")
    versions = [m[1] for name in boot if (m := KERNEL_NAME.fullmatch(name)) and _modules(tree, m[1])]
    entries = re.findall(
        r"^\s*linux\S*\s+\S*/vmlinu[xz]-(\S+)", text(tree, grub) or "" if grub else "", re.MULTILINE
    )
    default = next((v for v in entries if v in versions), max(versions, key=_natural, default=None))
    return tuple(
        Kernel(
            version=version,
            image=next(
                f"/boot/{name}" for name in boot if name in (f"vmlinuz-{version}", f"vmlinux-{version}")
            ),
            modules=_modules(tree, version) or "",
            initrd=next(
                (f"/boot/{n.format(version)}" for n in INITRD_NAMES if n.format(version) in boot), None
            ),
            default=version == default,
        )
        for version in versions
    )


def _modules(tree: Tree, version: str) -> str | None:
    folders = (f"/usr/lib/modules/{version}", f"/lib/modules/{version}")
    return next((folder for folder in folders if tree.exists(f"{folder}/modules.dep")), None)


def _natural(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", version)]


def _boot_disk(appliance: Appliance, root: FileSystem, count: int) -> int:
    """The disk that holds the root, unless only another one has grub in its boot sector."""
    with_grub = [disk for disk in range(count) if b"GRUB" in appliance.first_sector(disk)]
    if root.disk is None or (with_grub and root.disk not in with_grub):
        return with_grub[0] if with_grub else 0
    return root.disk
