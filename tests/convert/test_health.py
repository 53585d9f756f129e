"""What checkers say of a file system, judged."""

from __future__ import annotations

import json

import pytest

from convert import health
from convert.devices import FileSystem
from convert.health import judge

EXT4, XFS, BTRFS = (FileSystem("/dev/sda1", kind, 0, 1) for kind in ("ext4", "xfs", "btrfs"))
NEW = "versionnum [0xb4a5+0x18a] = V5,NLINK,DIRV2,CRC,FTYPE,FINOBT,SPARSE_INODES,REFLINK"
RHEL7 = "versionnum [0xb4b5+0x18a] = V5,NLINK,DIRV2,CRC,FTYPE"
RHEL6 = "versionnum [0xb4a4+0x8a] = V4,NLINK,DIRV2,ATTR2"


@pytest.mark.parametrize(
    ("filesystem", "said"),
    [
        (EXT4, "root: 11/12240 files, 8215/48976 blocks\nstatus 0\n"),
        (XFS, "Phase 7 - verify link counts...\nstatus 0\n"),
        (EXT4, "dumpe2fs 1.47.0\nFilesystem state:         clean\nstatus 0"),
        (EXT4, "Filesystem state:         not clean\nstatus 0"),
    ],
    ids=["ext4", "xfs", "superblock", "mounted when it was copied"],
)
def test_a_file_system_without_fault_is_not_spoken_of(filesystem, said):
    assert judge(filesystem, said) is None


@pytest.mark.parametrize(
    ("filesystem", "said"),
    [
        (EXT4, "Entry 'x' has deleted/unused inode\nstatus 4"),
        (EXT4, "Bad magic number\nstatus 12"),
        (EXT4, "Filesystem state:   clean with errors\nstatus 0"),
        (XFS, f"bad magic\n{NEW}\nstatus 1"),
        (XFS, "bad primary superblock\nxfs_db: not a valid XFS filesystem\nstatus 1"),
        (BTRFS, "ERROR: errors found in fs roots\nstatus 1"),
    ],
)
def test_damage_is_harmful(filesystem, said):
    assert judge(filesystem, said).harmful


@pytest.mark.parametrize("version", [RHEL6, RHEL7])
def test_an_xfs_of_an_old_kernel_is_excused(version):
    found = judge(XFS, f"sb_fdblocks 12, counted 13\n{version}\nstatus 1")

    assert found.excused
    assert not found.harmful


@pytest.mark.parametrize("said", ["status 137", "status 8", "", "no status at all"])
def test_a_checker_that_gave_no_verdict_condemns_nothing(said):
    assert judge(EXT4, said).unknown


def test_a_long_complaint_is_cut():
    assert len(judge(EXT4, "x" * 10_000 + "\nstatus 4").problem) < 600


@pytest.mark.parametrize("kind", ["vfat", "swap", "crypto_LUKS", "ntfs"])
def test_what_has_no_checker_is_not_checked(kind):
    assert health.script(FileSystem("/dev/sda1", kind), "/dev/sda1", thorough=True) is None


def test_a_btrfs_whose_check_needs_more_memory_than_there_is_is_not_checked():
    large = FileSystem("/dev/sda1", "btrfs", size=1 << 40)

    assert health.script(large, "/dev/sda1", thorough=True) is None


def test_no_checker_may_write():
    for filesystem, option in ((EXT4, " -n "), (XFS, " -n "), (BTRFS, " --readonly ")):
        assert option in health.script(filesystem, "/dev/sda1", thorough=True)


def test_a_degraded_array_is_told():
    said = "/sys/block/md127/md/array_state:clean\n/sys/block/md127/md/degraded:1\n"

    assert health.arrays(said) == ["the array md127 runs without 1 of its members"]
    assert health.arrays(said.replace(":1", ":0")) == []
    assert health.arrays("grep: /sys/block/md*/md/degraded: No such file or directory") == []


def test_an_array_that_lacks_too_much_to_start_is_told():
    said = "/sys/block/md9/md/array_state:inactive\n/sys/block/md9/md/degraded:1\n"

    assert health.arrays(said) == ["the array md9 does not start: members are missing"]


def volume(**facts) -> dict:
    plain = {"vg_name": "vg", "lv_name": "root", "lv_active": "active", "lv_role": "public"}
    return plain | {"lv_skip_activation": "", "vg_missing_pv_count": "0"} | facts


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (volume(), []),
        (volume(lv_active="", lv_role="private,thin,pool"), []),
        (volume(lv_active="", lv_skip_activation="skip activation"), []),
        (volume(lv_active=""), ["the volume vg/root does not start"]),
        (volume(vg_missing_pv_count="2"), ["the volume group vg lacks 2 of its disks"]),
    ],
    ids=["running", "inner", "kept back", "idle", "incomplete"],
)
def test_volumes_that_do_not_start_are_told(row, said):
    assert health.volumes(json.dumps({"report": [{"lv": [row]}]})) == said


def test_a_report_that_lvm_could_not_make_is_told():
    assert health.volumes("") == ["LVM could not read its volume groups"]


def test_members_alone_and_members_twice_are_told():
    array = FileSystem("/dev/sda", "linux_raid_member", 0, 0, "1", "host:0")
    twins = [FileSystem(f"/dev/sd{at}", "LVM2_member", 1, 0, "pv") for at in "bc"]

    assert health.members([array, *twins], frozenset()) == [
        "the array host:0 does not start: members are missing",
        "LVM finds the same disk 2 times (pv)",
    ]
    assert health.members([array], frozenset({"/dev/sda"})) == []
