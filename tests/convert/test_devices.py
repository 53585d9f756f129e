"""What a device name stood for on the source, and what it is called from now on."""

from __future__ import annotations

import dataclasses

import pytest

from convert.devices import Devices
from convert.hardware import parsed
from convert.linux import fstab
from convert.linux.devices import lost_names, use_uuids
from tests.convert.memory import DATA_UUID, DEVICES, ROOT_UUID, SWAP_UUID, Memory, inspection, wishes

FSTAB = f"""\
# /etc/fstab: static file system information, /dev/sda1 in a comment
/dev/sda1  /          ext4  errors=remount-ro  0  1
/dev/sda2  none       swap  sw                 0  0
/dev/sdb1  /srv/data  ext4  defaults           0  2
UUID={ROOT_UUID}  /again  ext4  defaults  0  0
/dev/mapper/vg0-lv--home /home xfs defaults 0 2
proc /proc proc defaults 0 0
"""


@pytest.mark.parametrize(
    ("name", "uuid"),
    [
        ("/dev/sda1", ROOT_UUID),
        ("/dev/sdb1", DATA_UUID),
        ("/dev/hda2", SWAP_UUID),
        ("/dev/xvdb1", DATA_UUID),
        ("/dev/nvme1n1p1", DATA_UUID),
        (f"UUID={ROOT_UUID.upper()}", ROOT_UUID),
        ("LABEL=data", DATA_UUID),
        ("/dev/disk/by-label/data", DATA_UUID),
        ("/dev/vg0/lv-home", "5a3c9f0e-0000-4000-8000-000000000004"),
        ("/dev/mapper/vg0-lv--home", "5a3c9f0e-0000-4000-8000-000000000004"),
    ],
)
def test_a_name_resolves_to_the_file_system_it_stood_for(name, uuid):
    assert DEVICES.resolve(name).uuid == uuid


@pytest.mark.parametrize(
    "name", ["/dev/sdc1", "/dev/sda3", "/dev/sda", "UUID=none", "/dev/disk/by-id/scsi-36000c29"]
)
def test_a_name_of_nothing_known_stays_unresolved(name):
    assert DEVICES.resolve(name) is None


def test_without_a_known_order_of_disks_nothing_is_guessed():
    disks = wishes().source.disks
    mixed = (disks[0], disks[1].model_copy(update={"controller": "lsilogic"}))

    assert Devices(DEVICES.filesystems, mixed).resolve("/dev/sda1") is None


def test_a_place_on_a_controller_is_known_from_the_source():
    name = "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0-part1"

    assert Devices(DEVICES.filesystems, tuple(wishes().source.disks)).resolve(name).uuid == DATA_UUID


def test_a_uuid_that_two_file_systems_share_names_neither():
    twin = dataclasses.replace(DEVICES.filesystems[2], uuid=ROOT_UUID)

    assert Devices((*DEVICES.filesystems[:2], twin)).resolve(f"UUID={ROOT_UUID}") is None


@pytest.mark.parametrize(
    ("name", "unstable"),
    [("/dev/sda1", True), ("/dev/sdaa12", True), ("/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0", True),
     ("/dev/mapper/vg-root", False), ("UUID=x", False), ("tmpfs", False), ("/dev/sdcard", False)],
)  # fmt: skip
def test_only_names_of_hardware_change_their_meaning(name, unstable):
    assert (parsed(name) is not None) is unstable


def planned(files: dict[str, str], **facts) -> dict[str, str]:
    contribution = use_uuids(Memory(files), inspection(**facts), wishes())
    return {change.path: change.data.decode("utf-8", "surrogateescape") for change in contribution.changes}


def test_fstab_keeps_its_comments_columns_and_other_lines():
    assert (
        planned({"/etc/fstab": FSTAB})["/etc/fstab"]
        == f"""\
# /etc/fstab: static file system information, /dev/sda1 in a comment
UUID={ROOT_UUID} /          ext4  errors=remount-ro  0  1
UUID={SWAP_UUID} none       swap  sw                 0  0
UUID={DATA_UUID} /srv/data  ext4  defaults           0  2
UUID={ROOT_UUID}  /again  ext4  defaults  0  0
/dev/mapper/vg0-lv--home /home xfs defaults 0 2
proc /proc proc defaults 0 0
"""
    )


def test_bytes_that_are_no_text_stay_as_they_are():
    files = Memory({"/etc/fstab": b"/dev/sda1 /b\xff ext4 defaults 0 1\n"})

    (change,) = use_uuids(files, inspection(), wishes()).changes

    assert change.data == f"UUID={ROOT_UUID} ".encode() + b"/b\xff ext4 defaults 0 1\n"


GRUB = """\
set root='hd0,msdos1'
\tlinux\t/boot/vmlinuz-6.1.0-50-amd64 root={root} ro quiet resume={swap}
\tinitrd\t/boot/initrd.img-6.1.0-50-amd64
# root=/dev/sda1
"""
STABLE_GRUB = GRUB.format(root=f"UUID={ROOT_UUID}", swap=f"UUID={SWAP_UUID}")


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/boot/grub/grub.cfg", GRUB.format(root="/dev/sda1", swap="/dev/sda2"), STABLE_GRUB),
        (
            "/etc/default/grub",
            'GRUB_CMDLINE_LINUX="resume=/dev/sda2"\nGRUB_DISABLE_LINUX_UUID=true\n',
            f'GRUB_CMDLINE_LINUX="resume=UUID={SWAP_UUID}"\nGRUB_DISABLE_LINUX_UUID=false\n',
        ),
        ("/etc/default/grub.d/50.cfg", "X='root=/dev/sda1'\n", f"X='root=UUID={ROOT_UUID}'\n"),
        ("/etc/initramfs-tools/conf.d/resume", "RESUME=/dev/sda2\n", f"RESUME=UUID={SWAP_UUID}\n"),
        ("/etc/crypttab", "safe\t/dev/sdb1\tnone\tplain\n", f"safe\tUUID={DATA_UUID}\tnone\tplain\n"),
    ],
    ids=["grub.cfg", "default/grub", "grub.d", "resume", "crypttab"],
)
def test_every_place_that_names_a_disk_gets_its_uuid(path, before, after):
    assert planned({path: before}) == {path: after}


@pytest.mark.parametrize(
    "content",
    [
        "GRUB_CMDLINE_LINUX=nfsroot=/dev/sda1\n",
        "linux /vmlinuz root=/dev/mapper/vg-root\n",
        "GRUB_DEVICE=/dev/sda1\n",
    ],
)
def test_what_only_looks_like_a_root_argument_is_left_alone(content):
    assert planned({"/etc/default/grub": content}) == {}


def test_a_name_that_cannot_be_resolved_is_reported_and_left():
    contribution = use_uuids(
        Memory({"/etc/fstab": "/dev/sdz9 /x ext4 defaults 0 0\n"}), inspection(), wishes()
    )

    assert contribution.changes == ()
    assert [w.code for w in contribution.warnings] == ["device-unresolved"]
    assert "/dev/sdz9" in contribution.warnings[0].message


def test_a_converted_guest_needs_no_more_changes_and_has_no_lost_names():
    tree = Memory({"/etc/fstab": FSTAB, "/boot/grub/grub.cfg": "linux /vmlinuz root=/dev/sda1\ninitrd /i\n"})
    assert len(lost_names(tree, inspection())) == 3

    converted = tree.after(use_uuids(tree, inspection(), wishes()).changes)

    assert use_uuids(converted, inspection(), wishes()).changes == ()
    assert lost_names(converted, inspection()) == []


def test_a_uuid_that_no_disk_has_is_a_lost_name():
    tree = Memory({"/etc/fstab": "UUID=dead-beef /x ext4 defaults 0 0\n"})

    assert lost_names(tree, inspection()) == ["/etc/fstab: UUID=dead-beef"]


@pytest.mark.parametrize(
    "line",
    [
        "/dev/sdz1 /usb auto noauto,user 0 0",
        "UUID=dead /x ext4 nofail 0 0",
        "/dev/sdz2 none swap sw 0 0",
        "/dev/sr0 /cd iso9660 ro 0 0",
    ],
)
def test_what_the_guest_can_come_up_without_is_not_lost(line):
    assert lost_names(Memory({"/etc/fstab": line}), inspection()) == []


def test_blanks_in_mount_points_are_unescaped():
    assert fstab.mounts(r"LABEL=data /srv/my\040data ext4 defaults 0 0")[0].point == "/srv/my data"
