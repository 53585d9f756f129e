"""The root folder of the Debian 12 guest: what debootstrap, and then an administrator, would have put there.

Everything that runs inside the folder runs in private mount and PID namespaces, so that neither a mount nor a
process survives it, however it ends.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.guests.tools import run
from transferd.errors import IntegrityError, UsageError

SUITE = "bookworm"

# linux-image-amd64 and not the cloud kernel, which has no vmw_pvscsi. dbus: systemd-logind fails without it.
PACKAGES = (
    *("linux-image-amd64", "initramfs-tools", "grub-pc", "systemd-sysv", "udev", "kmod", "dbus"),
    *("ifupdown", "iproute2", "open-vm-tools", "e2fsprogs"),
)

# What a disk on VMware's adapter needs. No virtio: conversion is what brings it.
VMWARE_MODULES = ("sd_mod", "vmw_pvscsi", "vmxnet3", "ext4")
VIRTIO_MODULES = ("virtio_pci", "virtio_blk", "virtio_net")

# Periodic work that would only make boots slower, and consoles that would hang up on the identity unit.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer"),
    *("e2scrub_reap.service", "fstrim.timer", "serial-getty@ttyS0.service", "getty@tty1.service"),
)

# Disks get their letters in a race that the first one loses in every seventh boot (measured): udev may load
# the adapter's driver before sd_mod, and Debian's kernel announces all disks of a scan at once. A guest that
# names disks by letter has to have settled that, in the initramfs too, which takes this file along.
DISK_ORDER = "softdep vmw_pvscsi pre: sd_mod\noptions scsi_mod scan=sync\n"

FILES = Path(__file__).parent / "files"
VIRTIO_INITRD = "/root/initrd-virtio.img"


@dataclass(frozen=True)
class Network:
    """One NIC with one static address, `address` with its prefix length."""

    nic_name: str
    address: str


def mirror() -> str:
    """The Debian mirror that this machine's apt is configured with."""
    found = run(
        *("apt-get", "indextargets", "--format", "$(REPO_URI)"),
        *("Created-By: Packages", f"Codename: {SUITE}", "Component: main", "Origin: Debian"),
        deadline=30,
    ).split()
    usable = [uri for uri in map(_plain, found) if uri.startswith(("http://", "https://", "file:"))]
    if not usable:
        raise UsageError(
            f"apt knows no Debian mirror for {SUITE}",
            remedy=f"add one with suite {SUITE} to /etc/apt/sources.list and run apt-get update",
        )
    return usable[0]


def _plain(uri: str) -> str:
    """The first mirror of a list, which is how Debian's cloud images name theirs; any other URI as it is."""
    scheme, _, path = uri.partition(":")
    if scheme != "mirror+file":
        return uri
    lines = Path("/" + path.strip("/")).read_text().splitlines()
    return next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), "")


def install(root: Path, network: Network, *, packages: Path) -> str:
    """Fill `root` and return its kernel's version. `packages` keeps downloads for the next build."""
    packages.mkdir(parents=True, exist_ok=True)
    run(
        *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *("debootstrap", "--arch=amd64", "--variant=minbase", f"--cache-dir={packages}"),
        *(f"--include={','.join(PACKAGES)}", SUITE, root, mirror()),
        # The initramfs is made once, below, when its configuration is there.
        environment={"INITRD": "No"},
        deadline=900,
    )
    _configure(root, network)
    version = _only_kernel(root)
    _make_initramfs(root, version)
    for folder in (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "var/cache/apt",
        "var/lib/apt/lists",
    ):
        shutil.rmtree(root / folder)
    return version


def inside(root: Path, *argv: str, deadline: float) -> str:
    return run(
        *("unshare", "--mount", "--pid", "--fork", "--kill-child", f"--root={root}", "--mount-proc"),
        *("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", *argv),
        deadline=deadline,
    )


def _configure(root: Path, network: Network) -> None:
    for name, content in _files(network).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in ("identity", "provision"):
        shutil.copy(FILES / f"{name}.sh", root / "usr/local/sbin" / name)
        (root / "usr/local/sbin" / name).chmod(0o755)
    shutil.copy(FILES / "identity.service", root / "etc/systemd/system")
    (root / "srv/data").mkdir()
    inside(root, "systemctl", "mask", "--quiet", *MASKED, deadline=30)
    inside(root, "systemctl", "enable", "--quiet", "identity.service", deadline=30)
    inside(root, "passwd", "--quiet", "--lock", "root", deadline=30)


def _files(network: Network) -> dict[str, str]:
    # The data disk is `nofail`, and both it and swap give up after 15 s instead of 90, so that a guest whose
    # device names are wrong still comes up far enough to say so, instead of locking itself in emergency mode.
    patience = "x-systemd.device-timeout=15s"
    return {
        "etc/hostname": "debian12\n",
        "etc/hosts": "127.0.0.1 localhost debian12\n",
        "etc/fstab": "/dev/sda1 / ext4 errors=remount-ro 0 1\n"
        f"/dev/sda2 none swap sw,{patience} 0 0\n"
        f"/dev/sdb1 /srv/data ext4 defaults,nofail,{patience} 0 2\n",
        "etc/network/interfaces": "auto lo\niface lo inet loopback\n\n"
        f"auto {network.nic_name}\niface {network.nic_name} inet static\n    address {network.address}\n",
        "etc/modprobe.d/disk-order.conf": DISK_ORDER,
        "etc/initramfs-tools/modules": "\n".join(VMWARE_MODULES) + "\n",
        "etc/initramfs-tools/conf.d/modules": "MODULES=list\n",
        # On the real machine the tool finds this out from the root's device, which does not exist here yet.
        "etc/initramfs-tools/conf.d/fstype": "FSTYPE=ext4\n",
        "etc/initramfs-tools/conf.d/resume": "RESUME=/dev/sda2\n",
        "etc/default/grub": "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=Debian\n"
        'GRUB_CMDLINE_LINUX_DEFAULT=""\n'
        'GRUB_CMDLINE_LINUX="console=ttyS0,115200 resume=/dev/sda2"\n'
        "GRUB_DISABLE_LINUX_UUID=true\nGRUB_DISABLE_RECOVERY=true\n"
        'GRUB_TERMINAL=serial\nGRUB_SERIAL_COMMAND="serial --speed=115200"\n',
    }


def _only_kernel(root: Path) -> str:
    versions = [path.name for path in (root / "lib/modules").iterdir()]
    if len(versions) != 1:
        raise IntegrityError(f"the guest should have one kernel and has {versions}")
    return versions[0]


def _make_initramfs(root: Path, version: str) -> None:
    """The guest's own, without virtio; and for the negative control another, with virtio alone added."""
    inside(root, "update-initramfs", "-c", "-k", version, deadline=300)
    spare = root / "root/initramfs-tools"
    shutil.copytree(root / "etc/initramfs-tools", spare)
    (spare / "modules").write_text("\n".join((*VMWARE_MODULES, *VIRTIO_MODULES)) + "\n")
    inside(root, "mkinitramfs", "-d", "/root/initramfs-tools", "-o", VIRTIO_INITRD, version, deadline=300)
    shutil.rmtree(spare)

    _require(root, f"/boot/initrd.img-{version}", VMWARE_MODULES, absent=("virtio",))
    _require(root, VIRTIO_INITRD, (*VMWARE_MODULES, *VIRTIO_MODULES))


def _require(root: Path, initrd: str, modules: tuple[str, ...], absent: tuple[str, ...] = ()) -> None:
    names = [Path(line).name for line in inside(root, "lsinitramfs", initrd, deadline=120).splitlines()]
    drivers = [name for name in names if name.endswith(".ko")]
    missing = [module for module in modules if f"{module}.ko" not in drivers]
    unwanted = [name for name in drivers for word in absent if word in name]
    if missing or unwanted:
        raise IntegrityError(f"{initrd} lacks {missing} and should not hold {unwanted}")
