"""Phony guests that know their disks by old names, one of each family at least.

A guest is its family's boot files (families) and network files (trees), with the root renamed in its menus
to what an administrator or an old installer had written there, and the tables of a typical installation.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from convert import bootloader
from convert.devices import Devices, FileSystem
from convert.inspection import Inspection
from convert.installed import kernels
from convert.release import packages, release
from convert.traits import selinux, traits
from convert.wishes import Wishes
from tests.convert import trees
from tests.convert.families import FAMILIES, Family
from tests.convert.families.parts import BOOT, MACHINE, ROOT
from tests.convert.memory import Memory, nic, source
from tests.convert.phony import DRIVERS

SWAP, DATA, PV, LUKS = (f"6d2a1c3e-0000-4000-8000-0000000000c{n}" for n in range(4))
MD = "aabbccdd-0011-2233-4455-66778899aabb"
WWID = "6000c2934b0ac8dde4fd50aab51b4d1c"
ID = f"/dev/disk/by-id/scsi-3{WWID}"
BY_UUID = "/dev/disk/by-uuid/"
BY_PATH = "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0"
FILESYSTEMS = (
    FileSystem("/dev/sda1", "ext4", 0, 1, BOOT, "boot", partuuid="aa"),
    FileSystem("/dev/sda2", "ext4", 0, 2, ROOT, "root", partuuid="ab"),
    FileSystem("/dev/sda3", "swap", 0, 3, SWAP, partuuid="ac"),
    FileSystem("/dev/sdb1", "xfs", 1, 1, DATA, "data"),
    FileSystem("/dev/sdb2", "crypto_LUKS", 1, 2, LUKS),
    FileSystem("/dev/sdb3", "linux_raid_member", 1, 3, MD),
    FileSystem("/dev/sdb5", "LVM2_member", 1, 5, PV),
    FileSystem("/dev/vg_root/lv_root", "ext4", uuid="6d2a1c3e-0000-4000-8000-0000000000d0"),
    FileSystem("/dev/mapper/safe", "ext4", container=FileSystem("/dev/sdb2", "crypto_LUKS", 1, 2, LUKS)),
)
BOOT_FILES = ("/boot", "/etc/kernel")
# What a menu says of the root, for those families whose phony menu has no name of hardware already.
STABLE = f"UUID={ROOT}"


@dataclass(frozen=True)
class Case:
    """`root`: what the menus call the root. `lines`: for each file that the devices step changes, what is in
    it afterwards; None where the file is gone."""

    boot: str
    network: str
    root: str = STABLE
    more: dict[str, str] = field(default_factory=dict)
    lines: dict[str, str | None] = field(default_factory=dict)
    controller: str = "pvscsi"

    @property
    def family(self) -> Family:
        return FAMILIES[self.boot]

    def tree(self) -> Memory:
        network = trees.FAMILIES[self.network].files
        nics = {path: data for path, data in network.items() if not path.startswith(BOOT_FILES)}
        files = {**self.family.files, **nics, **self.more}
        return Memory(
            {path: self._renamed(path, data) for path, data in files.items()}, dict(self.family.links)
        )

    def _renamed(self, path: str, data: str | bytes) -> str | bytes:
        if path.endswith("modules.builtin"):
            return "".join(f"kernel/drivers/{name}.ko\n" for name in DRIVERS)
        if isinstance(data, bytes) or not path.startswith(BOOT_FILES):
            return data
        renamed = data.replace(STABLE, self.root)
        return renamed.rstrip("#").ljust(1024, "#") if path.endswith("grubenv") else renamed

    def wishes(self) -> Wishes:
        network = trees.FAMILIES[self.network]
        vm = source(*(nic(each.mac, slot=each.slot, ips=each.ips) for each in network.nics))
        disks = [
            disk.model_copy(update={"uuid": uuid, "controller": self.controller})
            for disk, uuid in zip(vm.disks, (WWID, None), strict=True)
        ]
        return Wishes(vm.model_copy(update={"disks": disks, "firmware": self.family.firmware}))

    def inspected(self, tree: Memory) -> Inspection:
        esp = "/boot/efi" if tree.names("/boot/efi") else None
        boot = bootloader.survey(tree, self.family.firmware, esp)
        has = traits(tree)
        return Inspection(
            devices=Devices(FILESYSTEMS),
            root=FILESYSTEMS[7] if "lv_root" in self.root else FILESYSTEMS[1],
            mounted=FILESYSTEMS[1:2],
            release=release(tree),
            arch="x86_64",
            firmware=self.family.firmware,
            init=has.init,
            systemd=has.systemd,
            network=has.network,
            initramfs=has.initramfs,
            bootloader=next(iter(boot.loaders), None),
            grub_config=boot.grub_config,
            kernels=kernels(tree, boot.entries),
            agent=has.agent,
            rtc=has.rtc,
            boot_disk=0,
            packages=packages(tree),
            bootloaders=boot.loaders,
            entries=boot.entries,
            boot_configs=boot.configs,
            esp=esp,
            grubenv=boot.grubenv,
            selinux=selinux(tree, [boot.default.options] if boot.default else []),
        )


def fstab(root: str, swap: str, data: str, kind: str = "ext4") -> str:
    return (
        f"{root}\t/\t{kind}\tdefaults\t0 1\n{swap}\tswap\tswap\tsw\t0 0\n{data}\t/data\txfs\tnoatime\t0 2\n"
    )


LASTING = fstab(STABLE, f"UUID={SWAP}", f"UUID={DATA}")
LINKED = fstab(f"{BY_UUID}{ROOT}", f"{BY_UUID}{SWAP}", f"{BY_UUID}{DATA}")

CASES = {
    "RHEL 6": Case(
        "RHEL 6",
        "RHEL 6",
        "/dev/mapper/vg_root-lv_root",
        {
            "/etc/fstab": fstab("/dev/mapper/vg_root-lv_root", "/dev/sda3", "/dev/sdb1"),
            "/boot/grub/device.map": "(hd0) /dev/sda\n",
            "/etc/sysconfig/grub": "boot=/dev/sda\nforcelba=0\n",
            "/etc/lvm/lvm.conf": 'devices {\n filter = [ "a|^/dev/sd|", "r|.*|" ]\n}\n',
            "/etc/kdump.conf": "#raw /dev/sda5\nxfs /dev/sdb1\n",
        },
        {
            "/etc/fstab": fstab("/dev/mapper/vg_root-lv_root", f"UUID={SWAP}", f"UUID={DATA}"),
            "/boot/grub/device.map": None,
            "/etc/sysconfig/grub": "#boot=/dev/sda\n",
            "/etc/lvm/lvm.conf": 'filter = [ "a|^/dev/vd|", "a|^/dev/sd|", "r|.*|" ]',
            "/etc/kdump.conf": f"xfs UUID={DATA}\n",
        },
    ),
    "RHEL 7": Case(
        "RHEL 7",
        "RHEL 7",
        "/dev/sda2",
        {"/etc/fstab": fstab("/dev/sda2", "/dev/sda3", "LABEL=data")},
        {
            "/etc/fstab": fstab(STABLE, f"UUID={SWAP}", "LABEL=data"),
            "/boot/grub2/grub.cfg": f"root={STABLE} ro crashkernel=auto",
        },
    ),
    "RHEL 8, one environment for all entries": Case(
        "RHEL 8",
        "RHEL 8",
        "/dev/sda2",
        {"/etc/fstab": LASTING},
        {
            "/boot/grub2/grubenv": f"kernelopts=root={STABLE} ro",
            "/boot/grub2/grub.cfg": f'"root={STABLE} ro "',
        },
    ),
    "RHEL 8, UEFI": Case(
        "RHEL 8, UEFI",
        "RHEL 8",
        f"{ID}-part2",
        {"/etc/fstab": fstab(f"{ID}-part2", f"{ID}-part3", "LABEL=data")},
        {
            "/etc/fstab": fstab(f"{BY_UUID}{ROOT}", f"{BY_UUID}{SWAP}", "LABEL=data"),
            "/boot/efi/EFI/redhat/grubenv": f"kernelopts=root={BY_UUID}{ROOT} ro quiet",
            "/boot/efi/EFI/redhat/grub.cfg": f'"root={BY_UUID}{ROOT} ro "',
        },
    ),
    "RHEL 9": Case(
        "RHEL 9, UEFI",
        "RHEL 9",
        "/dev/sda2",
        {
            "/etc/fstab": LASTING,
            "/etc/lvm/devices/system.devices": f"IDTYPE=sys_wwid IDNAME=naa.{WWID}\n",
        },
        {
            f"/boot/loader/entries/{MACHINE}-5.14.0-70.el9.x86_64.conf": f"root={STABLE} ro",
            f"/boot/loader/entries/{MACHINE}-5.14.0-503.11.1.el9_5.x86_64.conf": (
                f"options root={STABLE} ro $tuned_params"
            ),
            "/boot/grub2/grub.cfg": f'"root={STABLE} ro "',
            "/etc/kernel/cmdline": f"root={STABLE} ro",
            "/etc/lvm/devices/system.devices": None,
            "/etc/lvm/devices/system.devices.before-transferd": f"naa.{WWID}",
        },
    ),
    "RHEL 10": Case(
        "RHEL 10",
        "RHEL 10",
        "/dev/nvme0n1p2",
        {"/etc/fstab": fstab("/dev/nvme0n1p2", "/dev/nvme0n1p3", "/dev/nvme0n2p1")},
        {
            "/etc/fstab": LASTING,
            f"/boot/loader/entries/{MACHINE}-6.12.0-55.9.1.el10_0.x86_64.conf": f"options root={STABLE} ro",
            "/boot/grub2/grub.cfg": f'"root={STABLE} ro "',
        },
        "nvme",
    ),
    "AlmaLinux 9": Case(
        "AlmaLinux 9, permissive",
        "AlmaLinux 9, cloud image",
        more={"/etc/fstab": fstab(STABLE, "/dev/sda3", f"{BY_PATH}:1:0-part1")},
        lines={"/etc/fstab": fstab(STABLE, f"UUID={SWAP}", f"{BY_UUID}{DATA}")},
    ),
    "Amazon Linux 2": Case(
        "Amazon Linux 2",
        "Amazon Linux 2",
        "LABEL=root",
        {"/etc/fstab": fstab("LABEL=root", "/swapfile", "/dev/sdb1")},
        {"/etc/fstab": f"UUID={DATA}\t/data"},
    ),
    "Amazon Linux 2023": Case(
        "Amazon Linux 2023, UEFI",
        "Amazon Linux 2023",
        more={"/etc/fstab": LASTING},
    ),
    "openEuler 22.03": Case(
        "openEuler 22.03",
        "openEuler 22.03",
        "/dev/sda2",
        {"/etc/fstab": LASTING, "/etc/mdadm.conf": "DEVICE /dev/sdb3\nARRAY /dev/md0 devices=/dev/sdb3\n"},
        {
            "/boot/grub2/grub.cfg": f"root={STABLE} ro",
            "/etc/mdadm.conf": "DEVICE partitions containers\n"
            "ARRAY /dev/md0 UUID=aabbccdd:00112233:44556677:8899aabb\n",
        },
    ),
    "SLES 11": Case(
        "SLES 11",
        "SLES 11",
        more={
            "/etc/fstab": fstab(f"{ID}-part2", f"{ID}-part3", f"{BY_PATH}:1:0-part1", "ext3"),
            "/boot/grub/menu.lst": "title SLES\n  root (hd0,1)\n  kernel /boot/vmlinuz-3.0.101-63-default "
            f"root={ID}-part2 resume=/dev/sda3\n  initrd /boot/initrd-3.0.101-63-default\n",
            "/etc/sysconfig/bootloader": f'DEFAULT_APPEND="resume={ID}-part3 splash=silent"\n',
            "/boot/grub/device.map": f"(hd0)\t{ID}\n",
        },
        lines={
            "/etc/fstab": LINKED.replace("ext4", "ext3"),
            "/boot/grub/menu.lst": f"root={BY_UUID}{ROOT} resume={BY_UUID}{SWAP}\n",
            "/etc/sysconfig/bootloader": f'"resume={BY_UUID}{SWAP} splash=silent"',
            "/boot/grub/device.map": None,
        },
    ),
    "SLES 12": Case(
        "SLES 12",
        "SLES 12",
        more={"/etc/fstab": fstab(f"{ID}-part2", "/dev/sda3", "/dev/sdb1")},
        lines={"/etc/fstab": fstab(f"{BY_UUID}{ROOT}", f"UUID={SWAP}", f"UUID={DATA}")},
    ),
    "SLES 15": Case(
        "SLES 15, UEFI",
        "SLES 15",
        "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part2",
        {
            "/etc/fstab": LASTING,
            "/etc/dracut.conf.d/10-persistent_policy.conf": 'persistent_policy="by-path"\n',
        },
        {
            "/boot/grub2/grub.cfg": f"root={BY_UUID}{ROOT}",
            "/etc/dracut.conf.d/10-persistent_policy.conf": 'persistent_policy="by-uuid"',
        },
    ),
    "Photon 5": Case(
        "Photon 5",
        "Photon 5, static",
        more={"/etc/fstab": fstab("PARTUUID=ab", f"UUID={SWAP}", "/dev/sdb1")},
        lines={"/etc/fstab": fstab("PARTUUID=ab", f"UUID={SWAP}", f"UUID={DATA}")},
    ),
    "Arch, systemd-boot": Case(
        "Arch, systemd-boot",
        "Arch, networkd",
        "/dev/sda2",
        {"/etc/fstab": LASTING, "/etc/crypttab": "safe /dev/sdb2 none luks\n"},
        {
            "/boot/loader/entries/arch.conf": f"options root={STABLE}",
            "/boot/loader/entries/lts.conf": f"options root={STABLE} rw",
            "/etc/crypttab": f"safe UUID={LUKS} none luks\n",
        },
    ),
    "Arch, grub": Case(
        "Arch, grub",
        "Arch, netctl",
        "/dev/sda2",
        {
            "/etc/fstab": LASTING,
            "/etc/default/grub": 'X="cryptdevice=/dev/sdb2:safe"\nGRUB_DISABLE_LINUX_UUID=true\n',
        },
        {
            "/boot/grub/grub.cfg": f"root={STABLE} rw rootflags=subvol=@",
            "/etc/default/grub": f'"cryptdevice=UUID={LUKS}:safe"\nGRUB_DISABLE_LINUX_UUID=false\n',
        },
    ),
    "Alpine": Case(
        "Alpine",
        "Alpine",
        "/dev/sda2",
        {
            "/etc/fstab": LASTING,
            "/etc/update-extlinux.conf": "root=/dev/sda2\nmodules=sd-mod,ext4\n",
        },
        {
            "/boot/extlinux.conf": f"APPEND root={STABLE} modules=sd-mod",
            "/etc/update-extlinux.conf": f"root={STABLE}\nmodules=sd-mod,ext4\n",
        },
    ),
    "Debian 12": Case(
        "Debian 12, UEFI",
        "Debian 12, cloud image",
        "/dev/sda2",
        {
            "/etc/fstab": LASTING,
            "/etc/initramfs-tools/conf.d/resume": "RESUME=/dev/sda3\n",
            "/var/cache/debconf/config.dat": "Name: grub-pc/install_devices\n"
            f"Template: grub-pc/install_devices\nValue: {ID}\nOwners: grub-pc\nFlags: seen\n",
        },
        {
            "/boot/grub/grub.cfg": f"root={STABLE} ro quiet",
            "/etc/initramfs-tools/conf.d/resume": f"RESUME=UUID={SWAP}\n",
            "/var/cache/debconf/config.dat": "Name: grub-pc/install_devices_empty\n",
        },
    ),
}
