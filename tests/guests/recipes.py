"""The covering set: which real Linux guests conversion is proven on, as data.

Every value of every column (release, firmware, layers under the root, file system, initramfs tool, network
stack, way of naming devices) is in at least one row; their whole product would be some thousands of guests.
A row says what an administrator decided; what follows from it is in layouts.py, networks.py and
installation.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.boot import Adapter
from transferd.model import Firmware

BIOS, EFI = Firmware.BIOS, Firmware.EFI
PVSCSI, NVME = Adapter.PVSCSI, Adapter.NVME


@dataclass(frozen=True)
class Link:
    """One interface. `over` names what a bond or a VLAN lies on; `tag` is the VLAN's."""

    name: str
    addresses: tuple[str, ...] = ()
    kind: Literal["nic", "bond", "vlan"] = "nic"
    over: tuple[str, ...] = ()
    tag: int = 0


@dataclass(frozen=True)
class Network:
    """`links` in the order of their making; the NICs among them in the order of VMware's slots."""

    stack: Literal["ifupdown", "networkd", "netplan", "NetworkManager", "cloud-init"]
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Recipe:
    """One guest.

    `adapter` is VMware's for its disks. `layers` lie between partition and file system, the lowest first.
    `names` is how fstab and the boot loader call partitions: by kernel name, by PCI path (fstab alone) or by
    UUID. With `fallback` there is an \\EFI\\BOOT, so that firmware finds the guest without a boot entry. With
    `virtio` its own initramfs knows VirtIO already.
    """

    name: str
    suite: Literal["bullseye", "bookworm", "trixie"]
    firmware: Firmware
    root: Literal["ext4", "xfs", "btrfs"]
    network: Network
    layers: tuple[Literal["raid1", "luks", "lvm"], ...] = ()
    separate_boot: bool = False
    adapter: Adapter = Adapter.AHCI
    names: Literal["letter", "path", "uuid"] = "uuid"
    initramfs: Literal["initramfs-tools", "dracut"] = "initramfs-tools"
    virtio: bool = False
    fallback: bool = False
    kernels: int = 1

    @property
    def disks(self) -> int:
        return 2 if "raid1" in self.layers else 1


ONE_NIC = (Link("ens192", ("192.0.2.10/24", "2001:db8::10/64")),)
TWO_NICS = (
    Link("ens192", ("192.0.2.10/24",)),
    Link("ens224", ("198.51.100.10/24", "198.51.100.11/24", "2001:db8:1::10/64")),
)
BOND_AND_VLAN = (
    Link("ens192"),
    Link("ens224"),
    Link("bond0", ("192.0.2.10/24", "2001:db8::10/64"), "bond", ("ens192", "ens224")),
    Link("bond0.100", ("198.51.100.10/24",), "vlan", ("bond0",), 100),
)

RECIPES = (
    Recipe(
        *("uefi-ext4", "bookworm", EFI, "ext4", Network("ifupdown", ONE_NIC)),
        adapter=NVME,
        names="letter",
    ),
    Recipe(
        *("luks-lvm", "bookworm", BIOS, "ext4", Network("networkd", ONE_NIC)),
        adapter=PVSCSI,
        layers=("luks", "lvm"),
        separate_boot=True,
    ),
    Recipe("btrfs", "trixie", EFI, "btrfs", Network("netplan", ONE_NIC)),
    Recipe(
        *("dracut", "bookworm", BIOS, "ext4", Network("NetworkManager", ONE_NIC)),
        adapter=PVSCSI,
        names="letter",
        initramfs="dracut",
    ),
    Recipe(
        *("raid1", "trixie", BIOS, "ext4", Network("ifupdown", TWO_NICS)),
        adapter=PVSCSI,
        layers=("raid1",),
    ),
    Recipe(
        *("xfs", "bullseye", BIOS, "xfs", Network("networkd", TWO_NICS)),
        adapter=PVSCSI,
        separate_boot=True,
        names="letter",
    ),
    Recipe("bond-vlan", "bullseye", EFI, "ext4", Network("ifupdown", BOND_AND_VLAN), fallback=True),
    Recipe(
        *("two-kernels", "trixie", BIOS, "ext4", Network("networkd", BOND_AND_VLAN)),
        adapter=PVSCSI,
        separate_boot=True,
        names="path",
        kernels=2,
    ),
    Recipe(
        *("cloud-init", "bookworm", EFI, "ext4", Network("cloud-init", TWO_NICS)),
        virtio=True,
        fallback=True,
    ),
    Recipe(
        *("lvm", "bullseye", BIOS, "ext4", Network("NetworkManager", TWO_NICS)),
        adapter=PVSCSI,
        layers=("lvm",),
    ),
    Recipe(
        *("dracut-luks", "trixie", EFI, "ext4", Network("NetworkManager", BOND_AND_VLAN)),
        layers=("luks", "lvm"),
        separate_boot=True,
        initramfs="dracut",
    ),
    Recipe(
        *("dracut-xfs", "bullseye", EFI, "xfs", Network("netplan", BOND_AND_VLAN)),
        layers=("lvm",),
        separate_boot=True,
        initramfs="dracut",
        fallback=True,
    ),
    Recipe("raid1-lvm", "bookworm", EFI, "xfs", Network("networkd", ONE_NIC), layers=("raid1", "lvm")),
)
