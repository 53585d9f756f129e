"""A guest with one of everything that names can stand for, and what the step does to its files."""

from __future__ import annotations

from convert.devices import Devices, FileSystem
from convert.linux.devices import use_uuids
from tests.convert.memory import Memory, inspection, wishes

ROOT, SWAP, DATA, LUKS, ESP = (f"5a3c9f0e-0000-4000-8000-00000000000{n}" for n in range(1, 6))
MD = "11223344-5566-7788-99aa-bbccddeeff00"
PV = "abcdef-0000-1111-2222-3333-4444-555555"
PVID = PV.replace("-", "")
OTHER_PV = "zyxwvu-0000-1111-2222-3333-4444-555555"
DEVICES = Devices(
    (
        FileSystem("/dev/sda1", "ext4", 0, 1, ROOT, partuuid="part-1"),
        FileSystem("/dev/sda2", "swap", 0, 2, SWAP, "swap"),
        FileSystem("/dev/sda3", "LVM2_member", 0, 3, PV),
        FileSystem("/dev/sda4", "vfat", 0, 4, "ABCD-1234"),
        FileSystem("/dev/sdb1", "xfs", 1, 1, DATA),
        FileSystem("/dev/sdb2", "crypto_LUKS", 1, 2, LUKS),
        FileSystem("/dev/sdb3", "linux_raid_member", 1, 3, MD),
        FileSystem("/dev/sdb4", "linux_raid_member", 1, 4, MD),
        FileSystem("/dev/vg0/lv-root", "ext4", uuid="5a3c9f0e-0000-4000-8000-000000000009"),
        FileSystem("/dev/mapper/safe", "ext4", uuid="5a3c9f0e-0000-4000-8000-00000000000a"),
    )
)
BY_UUID = "/dev/disk/by-uuid/"
WWID = "6000c2934b0ac8dde4fd50aab51b4d1c"
ID = f"/dev/disk/by-id/scsi-3{WWID}"
ENTRY = f"IDTYPE=sys_wwid IDNAME=naa.{WWID} DEVNAME=/dev/sda3 PVID={PVID} PART=3\n"


def facts(**different):
    found = {"devices": DEVICES, "root": DEVICES.filesystems[0], **different}
    return inspection(**found)


def wished():
    """The first disk has VMware's identity."""
    made = wishes()
    uuids = ["6000C293-4b0a-c8dd-e4fd-50aab51b4d1c", None]
    disks = [d.model_copy(update={"uuid": u}) for d, u in zip(made.source.disks, uuids, strict=True)]
    return type(made)(made.source.model_copy(update={"disks": disks}))


def step(files, links=None, **different):
    return use_uuids(Memory(files, links), facts(**different), wished())


def after(path: str, content: str, **different) -> str:
    """The file after the step; it must be done after one run."""
    tree = Memory({path: content})
    first = use_uuids(tree, facts(**different), wished())
    converted = tree.after(first.changes)
    assert use_uuids(converted, facts(**different), wished()).changes == ()
    return converted.content[path].decode()
