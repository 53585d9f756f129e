"""What lsblk says, as file systems of the guest's disks."""

from __future__ import annotations

import json

import pytest

from convert.blocks import COLUMNS, array_names, drive_label, read, volume_path
from transferd.errors import ConversionError

FIELDS = [name.lower() for name in COLUMNS.split(",")]


def row(kname: str, pkname: str | None = None, kind: str = "part", **facts) -> dict:
    path = {"lvm": "/dev/mapper/", "crypt": "/dev/mapper/"}.get(kind, "/dev/") + facts.pop("name", kname)
    known = {"kname": kname, "pkname": pkname, "path": path, "type": kind, "size": 1 << 20}
    return dict.fromkeys(FIELDS) | known | facts


def disk(kname: str, at: int, **facts) -> dict:
    return row(kname, kind="disk", serial=drive_label(at), **facts)


APPLIANCE = row("sdz", kind="disk", serial="appliance", fstype="ext2")


def blocks(*rows: dict, count: int = 2):
    return read(json.dumps({"blockdevices": [*rows, APPLIANCE]}), count)


def test_a_disk_is_known_by_its_serial_whatever_the_kernel_calls_it():
    found = blocks(disk("sda", 1), row("sda2", "sda", fstype="xfs"), disk("sdb", 0, fstype="ext4"))

    assert [(f.device, f.disk, f.partition, f.disks) for f in found.filesystems] == [
        ("/dev/sda", 0, 0, (0,)),
        ("/dev/sdb2", 1, 2, (1,)),
    ]


def test_what_is_not_on_the_guests_disks_is_left_out():
    assert blocks(disk("sda", 0), row("zram0", kind="disk", fstype="swap")).filesystems == ()


def test_volumes_know_every_disk_below_and_the_container_they_were_opened_from():
    found = blocks(
        disk("sda", 0, fstype="crypto_LUKS", uuid="k"),
        disk("sdb", 1, fstype="LVM2_member"),
        row("dm-0", "sda", "crypt", name="opened-0", fstype="LVM2_member"),
        row("dm-1", "dm-0", "lvm", name="v--g-lv--root", fstype="ext4"),
        row("dm-1", "sdb", "lvm", name="v--g-lv--root", fstype="ext4"),
    )
    volume, opened = found.filesystems[-1], found.filesystems[-2]

    assert (volume.device, volume.disks, volume.disk) == ("/dev/v-g/lv-root", (0, 1), None)
    assert volume.container.device == opened.container.device == "/dev/sda"
    assert opened.aliases == ("/dev/mapper/luks-k",)
    assert found.closed == []


def test_a_container_on_which_nothing_lies_is_closed():
    found = blocks(
        disk("sda", 0), row("sda1", "sda", fstype="crypto_LUKS"), row("sda2", "sda", fstype="swap")
    )

    assert [f.device for f in found.closed] == ["/dev/sda1"]


def test_an_array_on_two_disks_is_one_file_system_with_the_guests_names():
    member = {"fstype": "linux_raid_member", "label": "db:0"}
    found = blocks(
        disk("sda", 0, **member),
        disk("sdb", 1, **member),
        row("md127", "sda", "raid1", fstype="ext4"),
        row("md127", "sdb", "raid1", fstype="ext4"),
    )

    assert found.filesystems[-1].device == "/dev/md127"
    assert found.filesystems[-1].aliases == ("/dev/md0", "/dev/md/0", "/dev/md/db:0")
    assert len(found.filesystems) == 3


@pytest.mark.parametrize(
    ("parts", "left"),
    [(("one", "two"), [("/dev/sda", (0, 1))]), (("one", "one"), [("/dev/sda", (0,)), ("/dev/sdb", (1,))])],
    ids=["parts", "copies"],
)
def test_a_btrfs_on_several_devices_is_one_and_copies_of_one_are_several(parts, left):
    found = blocks(disk("sda", 0, fstype="btrfs", uuid="b"), disk("sdb", 1, fstype="btrfs", uuid="b"))
    merged = found.merged(dict(zip((f.device for f in found.doubles()), parts, strict=True)))

    assert [(f.device, f.disks) for f in merged.filesystems] == left


def test_partition_types_and_tables_are_told_by_disk():
    found = blocks(disk("sda", 0, pttype="PMBR"), disk("sdb", 1), row("sdb1", "sdb", parttype="c12a-x"))

    assert found.types == {(1, "C12A-X")}
    assert found.tables == {0: "PMBR"}


@pytest.mark.parametrize(
    "answer", ["", "lsblk: error", "{}", '{"blockdevices": [1]}', '{"blockdevices": [{}]}']
)
def test_an_answer_that_is_none_is_one_clear_error(answer):
    with pytest.raises(ConversionError, match="unreadable answer"):
        read(answer, 1)


@pytest.mark.parametrize(
    ("label", "names"),
    [("host:root", ("/dev/md/root", "/dev/md/host:root")), ("1", ("/dev/md1", "/dev/md/1", "/dev/md/1")),
     ("", ())],
)  # fmt: skip
def test_an_array_is_called_as_mdadm_calls_it(label, names):
    assert array_names(label) == names


def test_a_mapped_volume_is_named_by_group_and_volume():
    assert volume_path("/dev/mapper/a--b-c--d") == "/dev/a-b/c-d"


def test_the_27th_disk_is_called_as_the_kernel_counts():
    assert blocks(disk("sdx", 26, fstype="ext4"), count=27).filesystems[0].device == "/dev/sdaa"
