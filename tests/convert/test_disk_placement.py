"""Which disk a name meant: every kind of evidence, and what happens where it is not enough."""

from __future__ import annotations

import pytest

from convert.devices import Devices, FileSystem
from convert.linux.devices import lost_names, use_uuids
from convert.wishes import Wishes
from tests.convert.memory import Memory, inspection, source
from transferd.model import SourceDisk

ROOT, SWAP, DATA, MORE = (f"5a3c9f0e-0000-4000-8000-00000000000{n}" for n in range(1, 5))
VMDK = ["6000C293-4b0a-c8dd-e4fd-50aab51b4d1c", "6000C29a-0000-1111-2222-333344445555", None]
GIB = 1 << 30

ON_SDA = (
    FileSystem("/dev/sda1", "ext4", 0, 1, ROOT),
    FileSystem("/dev/sda2", "swap", 0, 2, SWAP),
)
ON_SDB = FileSystem("/dev/sdb1", "xfs", 1, 1, DATA)
ON_SDC = FileSystem("/dev/sdc1", "ext4", 2, 1, MORE)
DEVICES = Devices((*ON_SDA, ON_SDB, ON_SDC))


def disk(at: int, controller: str = "pvscsi", bus: int = 0, unit: int | None = None, **more) -> SourceDisk:
    facts = {"uuid": VMDK[at], "capacity": (at + 1) * GIB, **more}
    return SourceDisk(
        key=2000 + at,
        label=f"disk {at}",
        controller=controller,
        bus=bus,
        unit=at if unit is None else unit,
        path="[ds] x",
        **facts,
    )


ALIKE = (disk(0), disk(1), disk(2))
MIXED = (disk(0, "lsilogic"), disk(1, "pvscsi", bus=1, unit=0), disk(2, "ahci", unit=3))


def step(files: dict[str, str], disks=ALIKE, devices=DEVICES):
    found = inspection(devices=devices, root=devices.filesystems[0])
    vm = source(capacities=()).model_copy(update={"disks": list(disks)})
    return use_uuids(Memory(files), found, Wishes(vm))


def meaning(name: str, disks=ALIKE, kind: str = "auto", **files: str) -> str:
    """What stands for `name` in fstab afterwards."""
    table = {"/etc/fstab": f"{name} /mnt {kind} noauto 0 0\n"}
    changed = {change.path: change.data.decode() for change in step({**table, **files}, disks).changes}
    return changed.get("/etc/fstab", table["/etc/fstab"]).split()[0]


@pytest.mark.parametrize(
    ("name", "disks", "uuid"),
    [
        ("/dev/sdb1", ALIKE, DATA),
        ("/dev/hdb1", ALIKE, DATA),
        ("/dev/disk/by-id/scsi-36000c2934b0ac8dde4fd50aab51b4d1c-part2", MIXED, SWAP),
        ("/dev/disk/by-id/wwn-0x6000c29a000011112222333344445555-part1", MIXED, DATA),
        ("/dev/disk/by-id/scsi-SVMware_Virtual_disk_6000c29a000011112222333344445555-part1", MIXED, DATA),
        ("/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0-part1", ALIKE, DATA),
        ("/dev/disk/by-path/pci-0000:03:00.0-sas-phy2-lun-0-part1", ALIKE, MORE),
        ("/dev/disk/by-path/pci-0000:02:03.0-ata-4-part1", MIXED, MORE),
        ("/dev/disk/by-path/pci-0000:02:03.0-ata-4.0-part1", MIXED, MORE),
        ("/dev/disk/by-id/ata-VMware_Virtual_SATA_Hard_Drive_03000000000000000001-part1", MIXED, MORE),
        ("/dev/nvme0n1p1", (disk(0), disk(1, "nvme", unit=0), disk(2, "nvme", unit=1)), DATA),
        ("/dev/nvme0n2p1", (disk(0), disk(1, "nvme", unit=0), disk(2, "nvme", unit=1)), MORE),
        ("/dev/nvme1n1p1", (disk(0), disk(1, "nvme", unit=0), disk(2, "nvme", bus=1, unit=0)), MORE),
        (
            "/dev/disk/by-id/nvme-VMware_Virtual_NVMe_Disk_VMware_NVME_0000_2-part1",
            (disk(0), disk(1, "nvme", unit=0), disk(2, "nvme", unit=1)),
            MORE,
        ),
        (
            "/dev/disk/by-id/nvme-VMware_Virtual_NVMe_Disk_VMware_NVME_0000-part1",
            (disk(0), disk(1, "nvme", unit=0), disk(2)),
            DATA,
        ),
        ("/dev/sdb1", (disk(0), disk(1, "nvme", unit=0), disk(2)), MORE),
        ("/dev/hdc1", (disk(0, "ide", unit=0), disk(1, "ide", bus=1, unit=0), disk(2)), DATA),
    ],
)
def test_a_name_means_the_disk_that_it_was_on_vmware(name, disks, uuid):
    assert meaning(name, disks).rpartition("/")[2].removeprefix("UUID=") == uuid


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("/dev/sda1", f"UUID={ROOT}"),
        ("/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1", f"/dev/disk/by-uuid/{ROOT}"),
    ],
)
def test_a_link_of_udev_becomes_a_link_of_udev(name, new):
    assert meaning(name) == new


@pytest.mark.parametrize(
    "name",
    [
        "/dev/disk/by-id/dm-name-vg-root",
        "/dev/disk/by-id/dm-uuid-LVM-abc",
        "/dev/disk/by-id/md-uuid-1:2:3:4",
        "/dev/disk/by-id/lvm-pv-uuid-abc",
        "/dev/disk/by-uuid/" + ROOT,
        "/dev/sr0",
        "/dev/fd0",
        "/dev/mapper/vg-root",
        "/dev/sdcard",
        "tmpfs",
    ],
)
def test_names_by_content_and_other_devices_stay(name):
    assert meaning(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "/dev/sdb1",
        "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1",
        "/dev/disk/by-id/scsi-36000c29fffffffffffffffffffffffff-part1",
        "/dev/disk/by-id/usb-Stick-part1",
        "/dev/block/8:17",
        "/dev/nvme3n1p1",
    ],
)
def test_what_cannot_be_known_stays_and_is_reported(name):
    contribution = step({"/etc/fstab": f"{name} /mnt auto noauto 0 0\n"}, MIXED)

    assert contribution.changes == ()
    assert [(w.code, name in w.message) for w in contribution.warnings] == [("device-unresolved", True)]


DEBIAN = f"# /srv was on /dev/sdb1 during installation\nUUID={MORE} /srv ext4 defaults 0 2\n"
LVM = 'pv0 {\n  id = "abcdef-0000-1111-2222-3333-4444-555555"\n  device = "/dev/sdb2"\t# Hint only\n}\n'
PV = FileSystem("/dev/sdc2", "LVM2_member", 2, 2, "abcdef-0000-1111-2222-3333-4444-555555")
CACHE = f'<device DEVNO="0x0811" TIME="1" UUID="{MORE}" TYPE="ext4">/dev/sdb1</device>\n'
PVID = "abcdef00001111222233334444555555"
LIST = f"IDTYPE=devname IDNAME=/dev/sdb2 DEVNAME=/dev/sdb2 PVID={PVID} PART=2\n"
SIZES = (
    "sd 2:0:0:0: [sda] 2097152 512-byte logical blocks: (1.07 GB/1.00 GiB)\n"
    "sd 3:0:0:0: [sdb] 6291456 512-byte logical blocks: (3.22 GB/3.00 GiB)\n"
)
MOUNTS = f"EXT4-fs (sdb1): mounted filesystem {MORE} r/w with ordered data mode. Quota mode: none.\n"


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/fstab", DEBIAN),
        ("/etc/lvm/backup/vg0", LVM),
        ("/etc/blkid.tab", CACHE),
        ("/etc/lvm/devices/system.devices", LIST),
        ("/var/log/dmesg", SIZES),
        ("/var/log/kern.log", MOUNTS),
    ],
    ids=["installer", "lvm backup", "blkid", "devices file", "sizes", "mounts"],
)
def test_with_mixed_controllers_the_guests_own_records_decide(path, content):
    files = {"/etc/fstab": "/dev/sdb1 /mnt auto noauto 0 0\n"}
    files[path] = files.get(path, "") + content
    contribution = step(files, MIXED, Devices((*DEVICES.filesystems, PV)))
    table = next(change for change in contribution.changes if change.path == "/etc/fstab")

    assert table.data.decode().startswith(f"UUID={MORE} ")
    assert f"/dev/sdb1 is UUID={MORE} by {path}" in table.reason


def test_with_mixed_controllers_the_only_disk_that_fits_is_meant():
    contribution = step(
        {"/etc/fstab": "/dev/sdb1 /data xfs defaults 0 2\n/dev/sdb1 /x auto noauto 0 0\n"}, MIXED
    )

    assert contribution.changes[0].data.decode().count(f"UUID={DATA}") == 2


def test_the_root_is_known_and_what_is_left_follows():
    table = "/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n/dev/sdb1 /a ext4 defaults 0 2\n"
    contribution = step({"/etc/fstab": table}, MIXED)
    names = [line.split()[0] for line in contribution.changes[0].data.decode().splitlines()]

    assert names == [f"UUID={ROOT}", f"UUID={SWAP}", f"UUID={MORE}"]
    assert "what the files expect: only disk 2 has such partitions" in contribution.changes[0].reason


def test_a_record_that_contradicts_the_order_of_disks_leaves_the_name_open():
    contribution = step({"/etc/fstab": DEBIAN + "/dev/sdb1 /mnt auto noauto 0 0\n"})

    assert contribution.changes == ()
    assert "/etc/fstab says disk 2, the order of disks says 1" in contribution.warnings[0].message


def test_an_old_record_of_a_disk_that_does_not_fit_any_more_does_not_count_against_the_rest():
    """The order of disks points at a file system that fstab cannot mean; the record at one that it can."""
    contribution = step({"/etc/fstab": DEBIAN + "/dev/sdb1 /mnt ext4 defaults 0 2\n"})

    assert contribution.changes[0].data.decode().count(f"UUID={MORE}") == 2


def test_a_partition_of_another_kind_than_the_table_says_is_not_meant():
    contribution = step({"/etc/fstab": "/dev/sda2 /mnt ext4 defaults 0 2\n"})

    assert contribution.changes == ()
    expected = "partition 2 of disk 0, by the order of disks, has swap, not ext4"
    assert expected in contribution.warnings[0].message


def test_a_file_system_without_partitions_is_found_by_the_name_of_its_disk():
    whole = Devices((*ON_SDA, FileSystem("/dev/sdb", "xfs", 1, 0, DATA)))
    contribution = step({"/etc/fstab": "/dev/sdb /data xfs defaults 0 2\n"}, ALIKE[:2], whole)

    assert contribution.changes[0].data.decode() == f"UUID={DATA} /data xfs defaults 0 2\n"


def test_where_two_partitions_share_a_uuid_the_partition_has_one_of_its_own():
    twins = Devices(
        (ON_SDA[0], FileSystem("/dev/sdb1", "xfs", 1, 1, DATA, partuuid="p-1"),
         FileSystem("/dev/sdc1", "xfs", 2, 1, DATA, partuuid="p-2"))
    )  # fmt: skip
    contribution = step({"/etc/fstab": "/dev/sdc1 /data xfs defaults 0 2\n"}, ALIKE, twins)

    assert contribution.changes[0].data.decode() == "PARTUUID=p-2 /data xfs defaults 0 2\n"


def test_the_members_of_one_btrfs_share_its_uuid():
    both = Devices((ON_SDA[0], FileSystem("b", "btrfs", 1, 1, DATA), FileSystem("c", "btrfs", 2, 1, DATA)))
    table = "/dev/sdb1 /data btrfs device=/dev/sdc1,compress 0 0\n"
    contribution = step({"/etc/fstab": table}, ALIKE, both)

    new = f"UUID={DATA} /data btrfs device=/dev/disk/by-uuid/{DATA},compress 0 0\n"
    assert contribution.changes[0].data.decode() == new
    assert lost_names(Memory({"/etc/fstab": new}), inspection(devices=both)) == []


def test_a_kernel_without_an_initramfs_is_given_a_name_that_it_can_read():
    root = FileSystem("/dev/sda1", "ext4", 0, 1, ROOT, partuuid="abcd-01")
    found = inspection(devices=Devices((root,)), root=root)
    vm = source(capacities=()).model_copy(update={"disks": [disk(0)]})
    tree = Memory({"/boot/grub/grub.cfg": "menuentry a {\n linux /vmlinuz root=/dev/sda1\n}\n"})

    (change,) = use_uuids(tree, found, Wishes(vm)).changes

    assert "root=PARTUUID=abcd-01\n" in change.data.decode()


@pytest.mark.parametrize("log", ["<device " * 60_000, "XFS (sda1): " * 40_000, "[sda] 1" * 60_000])
def test_a_record_that_is_made_to_waste_time_does_not(log):
    files = {"/etc/fstab": "/dev/sdb1 /mnt auto noauto 0 0\n", "/etc/blkid.tab": log, "/var/log/dmesg": log}

    assert step(files, MIXED).changes == ()
