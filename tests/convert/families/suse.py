"""SLES 11 to 15."""

from __future__ import annotations

from tests.convert.families.menus import RED_HAT_HEAD, STUB
from tests.convert.families.parts import (
    DRACUT,
    PROGRAM,
    ROOT,
    RPM,
    SYSTEMD,
    SYSTEMD_INIT,
    Family,
    environment,
    os_release,
    programs,
    suse_kernel,
)
from transferd.model import Firmware

SP11, SP12, SP15 = "3.0.101-63-default", "4.12.14-122.37-default", "5.14.21-150500.55.19-default"

FAMILIES = {
    "SLES 11": Family(
        {
            "/etc/SuSE-release": "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n",
            "/var/lib/rpm/Packages": b"\0",
            "/etc/inittab": "id:3:initdefault:\n",
            **programs("/sbin/init", "/sbin/mkinitrd", "/bin/rpm"),
            **suse_kernel(SP11),
            "/boot/grub/menu.lst": "# Modified by YaST2.\ndefault 0\ntimeout 8\n"
            f"title SUSE Linux Enterprise Server 11 SP4 - {SP11}\n    root (hd0,1)\n"
            f"    kernel /boot/vmlinuz-{SP11} root=/dev/disk/by-id/scsi-36000c29-part2 resume=/dev/sda1\n"
            f"    initrd /boot/initrd-{SP11}\n"
            "###Don't change this comment - YaST2 identifier: Original name: failsafe###\n"
            f"title Failsafe -- SUSE Linux Enterprise Server 11 SP4 - {SP11}\n    root (hd0,1)\n"
            f"    kernel /boot/vmlinuz-{SP11} root=/dev/disk/by-id/scsi-36000c29-part2 showopts\n"
            f"    initrd /boot/initrd-{SP11}\n",
            "/etc/sysconfig/bootloader": 'LOADER_TYPE="grub"\nDEFAULT_APPEND="resume=/dev/sda1"\n',
            "/etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='static'\n",
        },
        SP11,
        links={"/boot/vmlinuz": f"vmlinuz-{SP11}", "/boot/initrd": f"initrd-{SP11}"},
        distro="sles",
        init="sysvinit",
        packages="rpm",
        initramfs="mkinitrd",
        network=("ifcfg",),
        loaders=("grub1",),
        entries=2,
        root="root=/dev/disk/by-id/scsi-36000c29-part2",
    ),
    "SLES 12": Family(
        {
            **os_release("sles", "12.5", "SLES"),
            **SYSTEMD,
            **RPM,
            **DRACUT,
            **suse_kernel(SP12),
            "/boot/grub2/grubenv": environment(saved_entry=""),
            "/boot/grub2/grub.cfg": RED_HAT_HEAD
            + f"menuentry 'SLES 12-SP5'  --class 'sles' --class gnu-linux ${{unrestricted_menu}} "
            f"$menuentry_id_option 'gnulinux-simple-{ROOT}' {{\n\tinsmod btrfs\n"
            f"\tlinux\t/boot/vmlinuz-{SP12} root=UUID={ROOT}  ${{extra_cmdline}} splash=silent quiet\n"
            f"\tinitrd\t/boot/initrd-{SP12}\n}}\n",
            "/usr/sbin/wicked": PROGRAM,
            "/etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='dhcp'\n",
        },
        SP12,
        links=SYSTEMD_INIT,
        distro="sles",
        packages="rpm",
        initramfs="dracut",
        network=("wicked", "ifcfg"),
    ),
    "SLES 15, UEFI": Family(
        {
            **os_release("sles", "15.5", "SLES"),
            **SYSTEMD,
            "/usr/lib/sysimage/rpm/Packages.db": b"\0",
            **programs("/usr/bin/rpm", "/usr/sbin/wicked"),
            **DRACUT,
            **suse_kernel(SP15),
            "/boot/grub2/grubenv": environment(),
            "/boot/grub2/grub.cfg": RED_HAT_HEAD
            + f"menuentry 'SLES 15-SP5'  --class 'sles' --class gnu-linux ${{unrestricted_menu}} "
            f"$menuentry_id_option 'gnulinux-simple-{ROOT}' {{\n"
            f"\tif [ x$grub_platform = xefi ]; then\n\t\tlinuxefi\t/boot/vmlinuz-{SP15} root=UUID={ROOT}\n"
            f"\t\tinitrdefi\t/boot/initrd-{SP15}\n\telse\n\t\tlinux\t/boot/wrong\n\tfi\n}}\n",
            "/boot/efi/EFI/sles/grub.cfg": STUB,
            "/boot/efi/EFI/boot/bootx64.efi": "shim",
            "/etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='dhcp'\n",
        },
        SP15,
        links=SYSTEMD_INIT,
        firmware=Firmware.EFI,
        distro="sles",
        packages="rpm",
        initramfs="dracut",
        network=("wicked", "ifcfg"),
    ),
}
