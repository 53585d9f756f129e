"""Photon, Arch, Alpine, and Fedora with systemd-boot."""

from __future__ import annotations

from tests.convert.families.menus import RED_HAT_HEAD
from tests.convert.families.parts import (
    DRACUT,
    MACHINE,
    RED_HAT,
    ROOT,
    RPM,
    SYSTEMD,
    SYSTEMD_INIT,
    Family,
    kernel,
    os_release,
    programs,
)
from transferd.model import Firmware

PHOTON = "6.1.83-2.ph5"
ARCH, ARCH_LTS = "6.12.1-arch1-1", "6.6.63-1-lts"
ALPINE, ALPINE_VIRT = "6.6.63-0-lts", "6.6.63-0-virt"
FEDORA = "6.11.10-300.fc41.x86_64"

FAMILIES = {
    "Photon 5": Family(
        {
            **os_release("photon", "5.0", "VMware Photon OS"),
            **SYSTEMD,
            **RPM,
            **DRACUT,
            **kernel(PHOTON, f"/boot/vmlinuz-{PHOTON}", f"/boot/initrd.img-{PHOTON}", folder="/lib/modules"),
            "/boot/grub2/grub.cfg": "set default=0\nset timeout=5\nset rootpartition=PARTUUID=ab\n"
            "if [ -f /photon.cfg ]; then\n    load_env -f /photon.cfg\nelse\n"
            "    load_env -f /boot/photon.cfg\nfi\n"
            "if [ -f  /systemd.cfg ]; then\n    load_env -f /systemd.cfg\nelse\n"
            '    set systemd_cmdline=net.ifnames=0\nfi\nmenuentry "Photon" {\n'
            "    linux /$photon_linux root=$rootpartition $photon_cmdline $systemd_cmdline\n"
            "    if [ -f /$photon_initrd ]; then\n        initrd /$photon_initrd\n    fi\n}\n",
            f"/boot/linux-{PHOTON}.cfg": "# GRUB Environment Block\n"
            "photon_cmdline=init=/lib/systemd/systemd ro loglevel=3 quiet no-vmw-sta\n"
            f"photon_linux=vmlinuz-{PHOTON}\nphoton_initrd=initrd.img-{PHOTON}\n",
            "/boot/systemd.cfg": "# GRUB Environment Block\nsystemd_cmdline=net.ifnames=0\n",
            "/etc/systemd/network/99-dhcp-en.network": "[Match]\nName=e*\n",
        },
        PHOTON,
        links={**SYSTEMD_INIT, "/boot/photon.cfg": f"linux-{PHOTON}.cfg"},
        distro="photon",
        packages="rpm",
        initramfs="dracut",
        network=("networkd",),
        root="root=PARTUUID=ab",
    ),
    "Arch, systemd-boot": Family(
        {
            **os_release("arch", "", "Arch Linux"),
            **SYSTEMD,
            **programs("/usr/bin/mkinitcpio", "/usr/bin/pacman"),
            "/var/lib/pacman/local/ALPM_DB_VERSION": "9\n",
            **kernel(ARCH, "/boot/vmlinuz-linux", "/boot/initramfs-linux.img", pkgbase="linux\n"),
            **kernel(
                ARCH_LTS, "/boot/vmlinuz-linux-lts", "/boot/initramfs-linux-lts.img", pkgbase="linux-lts\n"
            ),
            "/boot/intel-ucode.img": b"070701",
            "/boot/EFI/systemd/systemd-bootx64.efi": "#### LoaderInfo: systemd-boot 256 ####",
            "/boot/EFI/BOOT/BOOTX64.EFI": "#### LoaderInfo: systemd-boot 256 ####",
            "/boot/loader/loader.conf": "timeout 3\n#console-mode keep\ndefault arch.conf\n",
            "/boot/loader/entries/arch.conf": "title   Arch Linux\nlinux   /vmlinuz-linux\n"
            f"initrd  /intel-ucode.img\ninitrd  /initramfs-linux.img\noptions root=UUID={ROOT}\noptions rw\n",
            "/boot/loader/entries/lts.conf": "title Arch Linux LTS\nlinux /vmlinuz-linux-lts\n"
            f"initrd /initramfs-linux-lts.img\noptions root=UUID={ROOT} rw\n",
            "/etc/systemd/network/20-wired.network": "[Match]\n",
        },
        ARCH,
        links=SYSTEMD_INIT,
        firmware=Firmware.EFI,
        distro="arch",
        packages="pacman",
        initramfs="mkinitcpio",
        network=("networkd",),
        loaders=("systemd-boot",),
        versions=(ARCH, ARCH_LTS),
        entries=2,
    ),
    "Arch, grub": Family(
        {
            **os_release("arch", "", "Arch Linux"),
            **SYSTEMD,
            **programs("/usr/bin/mkinitcpio", "/usr/bin/pacman"),
            "/var/lib/pacman/local/ALPM_DB_VERSION": "9\n",
            **kernel(ARCH, "/boot/vmlinuz-linux", "/boot/initramfs-linux.img", pkgbase="linux\n"),
            "/boot/grub/grub.cfg": RED_HAT_HEAD.replace('"${saved_entry}"', '"0"')
            + f"menuentry 'Arch Linux' --class arch $menuentry_id_option 'gnulinux-simple-{ROOT}' {{\n"
            f"\tlinux\t/@/boot/vmlinuz-linux root=UUID={ROOT} rw rootflags=subvol=@  loglevel=3 quiet\n"
            "\tinitrd\t/@/boot/initramfs-linux.img\n}\n",
            "/etc/netctl/lan": "Interface=ens192\n",
        },
        ARCH,
        links=SYSTEMD_INIT,
        distro="arch",
        packages="pacman",
        initramfs="mkinitcpio",
        network=("netctl",),
    ),
    "Alpine": Family(
        {
            **os_release("alpine", "3.20.3", "Alpine Linux"),
            "/lib/apk/db/installed": "P:musl\n",
            **programs("/sbin/openrc", "/sbin/mkinitfs", "/bin/busybox"),
            "/etc/inittab": "::sysinit:/sbin/openrc sysinit\n",
            **kernel(ALPINE, "/boot/vmlinuz-lts", "/boot/initramfs-lts", folder="/lib/modules"),
            **kernel(ALPINE_VIRT, "/boot/vmlinuz-virt", "/boot/initramfs-virt", folder="/lib/modules"),
            "/usr/share/kernel/lts/kernel.release": f"{ALPINE}\n",
            "/usr/share/kernel/virt/kernel.release": f"{ALPINE_VIRT}\n",
            "/boot/extlinux.conf": "# Generated by update-extlinux\nDEFAULT menu.c32\nPROMPT 0\nMENU HIDDEN\n"
            "TIMEOUT 30\nLABEL lts\n  MENU DEFAULT\n  MENU LABEL Linux lts\n  LINUX vmlinuz-lts\n"
            f"  INITRD initramfs-lts\n  APPEND root=UUID={ROOT} modules=sd-mod,ext4 quiet rootfstype=ext4\n"
            "LABEL virt\n  MENU LABEL Linux virt\n  LINUX vmlinuz-virt\n  INITRD initramfs-virt\n"
            f"  APPEND root=UUID={ROOT} modules=sd-mod,ext4 quiet rootfstype=ext4\nMENU SEPARATOR\n",
            "/etc/update-extlinux.conf": "default=lts\nmodules=sd-mod,ext4\n",
            "/etc/network/interfaces": "auto eth0\n",
        },
        ALPINE,
        links={"/sbin/init": "/bin/busybox"},
        distro="alpine",
        init="openrc",
        packages="apk",
        initramfs="mkinitfs",
        network=("ifupdown",),
        loaders=("extlinux",),
        versions=(ALPINE, ALPINE_VIRT),
        entries=2,
    ),
    "Fedora, systemd-boot": Family(
        {
            **os_release("fedora", "41", "Fedora Linux"),
            **RED_HAT,
            "/usr/lib/sysimage/rpm/rpmdb.sqlite": b"\0",
            **kernel(
                FEDORA,
                f"/boot/efi/{MACHINE}/{FEDORA}/linux",
                f"/boot/efi/{MACHINE}/{FEDORA}/initrd",
                vmlinuz="kernel",
            ),
            "/boot/efi/EFI/systemd/systemd-bootx64.efi": "#### LoaderInfo: systemd-boot 256 ####",
            f"/boot/efi/loader/entries/{MACHINE}-{FEDORA}.conf": "title Fedora Linux 41\n"
            f"version {FEDORA}\nmachine-id {MACHINE}\nsort-key fedora\noptions root=UUID={ROOT} ro\n"
            f"linux /{MACHINE}/{FEDORA}/linux\ninitrd /{MACHINE}/{FEDORA}/initrd\n",
            "/etc/kernel/cmdline": f"root=UUID={ROOT} ro\n",
        },
        FEDORA,
        links=SYSTEMD_INIT,
        firmware=Firmware.EFI,
        distro="fedora",
        packages="rpm",
        initramfs="dracut",
        loaders=("systemd-boot",),
        selinux="enforcing",
    ),
}
