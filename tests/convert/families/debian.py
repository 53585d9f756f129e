"""Debian and Ubuntu."""

from __future__ import annotations

from tests.convert.families.menus import DEBIAN_STUB, debian_menu
from tests.convert.families.parts import (
    DPKG,
    PROGRAM,
    SYSTEMD,
    SYSTEMD_INIT,
    Family,
    debian_kernel,
    os_release,
    programs,
)
from transferd.model import Firmware

DEB, DEB_OLD = "6.1.0-28-amd64", "6.1.0-27-amd64"
TRUSTY, JAMMY = "3.13.0-170-generic", "5.15.0-126-generic"

FAMILIES = {
    "Debian 12, UEFI": Family(
        {
            **os_release("debian", "12", "Debian GNU/Linux"),
            "/usr/lib/systemd/systemd": PROGRAM,
            "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so": PROGRAM,
            **DPKG,
            **programs("/usr/sbin/update-initramfs"),
            **debian_kernel(DEB),
            **debian_kernel(DEB_OLD),
            "/boot/grub/grub.cfg": debian_menu("Debian GNU/Linux", (DEB, DEB_OLD), "quiet"),
            "/boot/efi/EFI/debian/grub.cfg": DEBIAN_STUB,
            "/boot/efi/EFI/debian/shimx64.efi": "shim",
            "/boot/efi/EFI/debian/grubx64.efi": "grub",
            "/etc/default/grub": "GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n",
            "/etc/network/interfaces": "auto lo\n",
        },
        DEB,
        links=SYSTEMD_INIT,
        firmware=Firmware.EFI,
        distro="debian",
        packages="dpkg",
        initramfs="initramfs-tools",
        network=("ifupdown",),
        versions=(DEB_OLD, DEB),
        entries=5,
    ),
    "Ubuntu 14.04": Family(
        {
            **os_release("ubuntu", "14.04", "Ubuntu"),
            "/etc/init/rcS.conf": "start on startup\n",
            "/lib/systemd/systemd": PROGRAM,
            **programs("/sbin/init", "/sbin/initctl", "/usr/sbin/update-initramfs"),
            **DPKG,
            **debian_kernel(TRUSTY),
            "/boot/grub/grub.cfg": debian_menu("Ubuntu", (TRUSTY,), "quiet splash $vt_handoff"),
            "/boot/grub/menu.lst": f"default 0\ntitle old\nkernel /boot/vmlinuz-{TRUSTY}\n",
            "/etc/network/interfaces": "auto lo\n",
        },
        TRUSTY,
        distro="ubuntu",
        init="upstart",
        packages="dpkg",
        initramfs="initramfs-tools",
        network=("ifupdown",),
        loaders=("grub2", "grub1"),
        entries=3,
    ),
    "Ubuntu 22.04": Family(
        {
            **os_release("ubuntu", "22.04", "Ubuntu"),
            **SYSTEMD,
            **DPKG,
            **programs("/usr/sbin/update-initramfs"),
            **debian_kernel(JAMMY),
            "/boot/grub/grub.cfg": debian_menu("Ubuntu", (JAMMY,), "").replace("/boot/vm", "/vm"),
            "/etc/netplan/50-cloud-init.yaml": "network: {version: 2}\n",
            "/etc/cloud/cloud.cfg": "users: []\n",
        },
        JAMMY,
        links=SYSTEMD_INIT,
        distro="ubuntu",
        packages="dpkg",
        initramfs="initramfs-tools",
        network=("netplan", "cloud-init"),
        entries=3,
    ),
}
