"""Phony guests on real disks: a partition table, a file system and only the files that conversion reads.

They are converted in seconds, and a hostile one is a phony guest with a few other files. Built by mke2fs
from a folder, so that nothing is mounted on this machine.
"""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from convert import cpio
from convert.inspection import Kernel
from tests.convert.memory import nic, source
from tests.guests import disk
from tests.guests.disk import MIB, Partition

SIZE = 24 * MIB
ROOT = Partition(MIB, SIZE - 2 * MIB, "83", active=True)
UUID = "5a3c9f0e-0000-4000-8000-00000000000a"
MAC = "00:50:56:3f:12:01"
KERNEL = "6.1.0-9-amd64"
MODULES = f"/usr/lib/modules/{KERNEL}"
DRIVERS = (
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
)


@dataclass(frozen=True)
class Link:
    target: str


@dataclass(frozen=True)
class Special:
    """A FIFO, a socket or a device: `kind` is its st_mode, `device` its number."""

    kind: int
    device: int = 0


@dataclass(frozen=True)
class Sparse:
    """A regular file of so many bytes that holds nothing."""

    size: int


FIFO = Special(stat.S_IFIFO | 0o644)
ENDLESS = Special(stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero

Content = str | bytes | Link | Special | Sparse | None
Files = dict[str, Content]


def debian(**different: Content) -> Files:
    """A guest that needs every step. `different` adds files or, with None, takes them away."""
    return {**_DEBIAN, **different}


def plain(**different: str | bytes) -> dict[str, str | bytes]:
    """The regular files of `debian`, for a tree in memory."""
    return {path: data for path, data in debian(**different).items() if isinstance(data, str | bytes)}


def kernel() -> Kernel:
    return Kernel(KERNEL, f"/boot/vmlinuz-{KERNEL}", MODULES, f"/boot/initrd.img-{KERNEL}", default=True)


def modules_dep() -> str:
    below = {"virtio_pci": "virtio_pci_modern_dev", "virtio": "virtio_ring"}
    paths = {name: f"kernel/drivers/virtio/{name}.ko" for name in DRIVERS}
    return "".join(f"{path}: {paths.get(below.get(name, ''), '')}\n" for name, path in paths.items())


def _initramfs() -> bytes:
    """One that loads drivers and has none."""
    folders = ("etc", "conf", "conf/conf.d", "usr", "usr/lib", "usr/lib/modules")
    files = (
        cpio.file("init", b"#!/bin/sh\n", 0o755),
        cpio.file("conf/conf.d/resume", b"RESUME=none\n"),
        cpio.file("usr/lib/systemd-udevd", b"\x7fELF", 0o755),
    )
    links = (cpio.Entry("lib", stat.S_IFLNK | 0o777, b"usr/lib"),)
    return cpio.segment([*map(cpio.folder, folders), *links, *files])


_DEBIAN: Files = {
    "/etc/os-release": 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Phony Debian 12"\n',
    "/etc/fstab": "/dev/sda1 / ext4 errors=remount-ro 0 1\n",
    "/etc/network/interfaces": "auto ens192\niface ens192 inet static\n\taddress 192.0.2.10/24\n",
    "/etc/default/grub": 'GRUB_CMDLINE_LINUX="root=/dev/sda1"\n',
    "/boot/grub/grub.cfg": f"menuentry Debian {{\n\tlinux /boot/vmlinuz-{KERNEL} root=/dev/sda1 ro\n"
    f"\tinitrd /boot/initrd.img-{KERNEL}\n}}\n",
    f"/boot/vmlinuz-{KERNEL}": b"MZ" + bytes(0x200) + b"HdrS" + bytes(4096),
    f"/boot/initrd.img-{KERNEL}": _initramfs(),
    f"{MODULES}/modules.dep": modules_dep(),
    f"{MODULES}/modules.builtin": "kernel/drivers/scsi/sd_mod.ko\n",
    **{f"{MODULES}/kernel/drivers/virtio/{name}.ko": b"\x7fELF" + name.encode() for name in DRIVERS},
    "/usr/lib/systemd/systemd": b"\x7fELF",
    "/usr/lib/systemd/libsystemd-shared-252.so": b"\x7fELF",
    "/usr/lib/systemd/system/open-vm-tools.service": "[Service]\nExecStart=/usr/bin/vmtoolsd\n",
    "/usr/sbin/update-initramfs": "#!/bin/sh\ntouch /was-run\n",
    "/bin": Link("usr/bin"),
    "/lib": Link("usr/lib"),
    "/sbin": Link("usr/sbin"),
    "/usr/bin/sh": b"\x7fELF",
}


def plant(root: Path, files: Files) -> Path:
    """The files in a folder of this machine."""
    for path, content in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case Link(target):
                place.symlink_to(target)
            case Special(kind, device):
                os.mknod(place, kind, device)
            case Sparse(size):
                place.touch()
                os.truncate(place, size)
            case str() | bytes():
                place.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def make(image: Path, files: Files, *, uuid: str = UUID) -> Path:
    """A raw disk whose one partition holds the files. Only root can make device nodes."""
    with tempfile.TemporaryDirectory(prefix="phony-") as folder:
        plant(Path(folder), files)
        disk.create(image, SIZE, [ROOT], disk_id="0x12d3b1a2")
        disk.fill(image, ROOT, Path(folder), uuid=uuid)
    return image


def document(path: Path, *disks: Path, **changed: object) -> Path:
    """source.json for these disks and the one NIC of a phony guest."""
    vm = source(nic(MAC, slot=192), capacities=tuple(image.stat().st_size for image in disks))
    path.write_text(vm.model_copy(update=changed).to_json())
    return path
