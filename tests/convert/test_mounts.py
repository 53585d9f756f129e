"""What a guest's own fstab says that its system consists of."""

from __future__ import annotations

import pytest

from convert.devices import Devices, FileSystem
from convert.linux import fstab
from convert.mounts import parts
from convert.subvolumes import Subvolumes, read

LUKS = FileSystem("/dev/sda3", "crypto_LUKS", 0, 3, "luks")
ROOT = FileSystem("/dev/mapper/opened-0", "ext4", uuid="root", container=LUKS)
BOOT = FileSystem("/dev/sda2", "ext4", 0, 2, "boot", partlabel="Boot")
ESP = FileSystem("/dev/sda1", "vfat", 0, 1, "A-B", partuuid="esp-part")
BTRFS = FileSystem("/dev/sdb", "btrfs", 1, 0, "btr")
DEVICES = Devices((ESP, BOOT, LUKS, ROOT, BTRFS))
VOLUMES = Subvolumes("@", {5: "/", 256: "@", 258: "@log"})


def found(table: str, root: FileSystem = ROOT) -> list[tuple[str, str | None]]:
    wanted = parts(fstab.mounts(table), DEVICES, root, VOLUMES)
    return [(part.point, part.filesystem and part.filesystem.device) for part in wanted]


def test_parents_come_before_children_whatever_the_order_of_lines():
    assert found("PARTUUID=esp-part /boot/efi vfat\nPARTLABEL=Boot /boot ext4\nUUID=root / ext4") == [
        ("/boot", "/dev/sda2"),
        ("/boot/efi", "/dev/sda1"),
    ]


@pytest.mark.parametrize(
    "row",
    ["UUID=boot /srv ext4", "UUID=boot none swap", "UUID=boot /boot none bind", "/a /boot none bind,ro",
     "UUID=root /usr ext4", "proc /proc proc"],
)  # fmt: skip
def test_what_is_no_part_of_the_system_is_not_mounted(row):
    assert found(row) == []


def test_a_part_that_is_on_none_of_the_disks_is_known_to_be_missing():
    assert found("UUID=gone /boot ext4") == [("/boot", None)]


def test_the_first_of_two_lines_counts_and_a_slash_at_the_end_does_not():
    assert found("UUID=boot /boot/ ext4\nUUID=gone /boot ext4") == [("/boot", "/dev/sda2")]


@pytest.mark.parametrize(
    ("options", "subvolume"), [("subvol=/@log", "@log"), ("subvolid=258", "@log"), ("noatime", None)]
)
def test_a_subvolume_is_mounted_as_its_options_say(options, subvolume):
    root = FileSystem(**{**vars(BTRFS), "subvolume": "@"})
    wanted = parts(fstab.mounts(f"UUID=btr /var/log btrfs {options}"), DEVICES, root, VOLUMES)

    assert [part.filesystem.subvolume for part in wanted] == [subvolume]


def test_the_roots_own_subvolume_is_not_mounted_twice():
    root = FileSystem(**{**vars(BTRFS), "subvolume": "@"})

    assert found("UUID=btr /usr btrfs subvol=@", root) == []


def test_crypttab_names_what_a_container_holds_and_no_volume_in_it():
    group = FileSystem("/dev/vg/lv", "ext4", uuid="lv", container=LUKS)
    named = Devices((LUKS, ROOT, group)).opened_as([("sda3_crypt", "UUID=luks"), ("other", "/dev/sdq1")])

    assert named.resolve("/dev/mapper/sda3_crypt").device == ROOT.device
    assert named.resolve("/dev/mapper/other") is None
    assert named.resolve("/dev/vg/lv") == group


SAID = """\
@default
ID 258 gen 9 top level 256 path @/.snapshots/1/snapshot
@all
ID 256 gen 10 top level 5 path @
ID 257 gen 8 top level 5 path @home
ID 258 gen 9 top level 256 path @/.snapshots/1/snapshot
ID 259 gen 10 top level 256 path @/.snapshots/2/snapshot
ID 260 gen 10 top level 5 path kept by hand
ID 261 gen 10 top level 5 path with,comma
ID 262 gen 10 top level 257 path @/var/lib/docker/btrfs/subvolumes/0a
ID 263 gen 10 top level 5 path timeshift-btrfs/snapshots/2026-01-01/@
@read-only
ID 259 gen 10 top level 256 path @/.snapshots/2/snapshot
ID 260 gen 10 top level 5 path kept by hand
"""


def test_snapshots_images_and_what_cannot_be_named_are_no_roots_but_the_default_is():
    assert read(SAID).candidates() == ["@/.snapshots/1/snapshot", "/", "@", "@home"]


@pytest.mark.parametrize("said", ["", "@default\nID 5 (FS_TREE)\n@all\n@read-only\n", "ERROR: not a btrfs"])
def test_without_subvolumes_the_top_is_the_default(said):
    assert read(said).candidates() == ["/"]


def test_a_thousand_subvolumes_are_not_all_looked_at():
    many = "".join(f"ID {at} gen 1 top level 5 path s{at}\n" for at in range(300, 1300))

    assert len(read(f"@default\n@all\n{many}@read-only\n").candidates()) == 64
