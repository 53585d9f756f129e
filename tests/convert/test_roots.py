"""Which of several file systems is the root, by rule; and what `--root` may say."""

from __future__ import annotations

import pytest

from convert.devices import Devices, FileSystem
from convert.linux import fstab
from convert.roots import Candidate, is_root, meant, mounts_itself, narrowed
from convert.subvolumes import Subvolumes
from tests.convert.memory import DEVICES, ROOT_UUID, Memory
from transferd.errors import UsageError

ROOT, OTHER = DEVICES.filesystems[0], DEVICES.filesystems[2]
BTRFS = FileSystem("/dev/sdc", "btrfs", 2, 0, "b", subvolume="@")
VOLUMES = Subvolumes("@", {5: "/", 256: "@", 257: "@old"})
EVERYTHING = Devices((*DEVICES.filesystems, BTRFS))


def candidate(name: str, *, itself: bool = False, boots: bool = False) -> Candidate:
    return Candidate(FileSystem(name, "ext4"), itself, boots)


@pytest.mark.parametrize(
    ("candidates", "left"),
    [
        ([candidate("a", itself=True), candidate("b")], ["a"]),
        ([candidate("a", boots=True), candidate("b", itself=True)], ["b"]),
        ([candidate("a", itself=True), candidate("b", itself=True, boots=True)], ["b"]),
        ([candidate("a"), candidate("b", boots=True)], ["b"]),
        ([candidate("a"), candidate("b")], ["a", "b"]),
        ([candidate("a", itself=True, boots=True), candidate("b", itself=True, boots=True)], ["a", "b"]),
    ],
    ids=["fstab", "fstab before boot disk", "both, one boots", "boot disk", "no sign", "two whole systems"],
)
def test_the_rules_narrow_the_choice_and_never_to_nothing(candidates, left):
    assert [found.filesystem.device for found in narrowed(candidates)] == left


@pytest.mark.parametrize(
    ("row", "itself"),
    [
        (f"UUID={ROOT_UUID} / ext4", True),
        ("/dev/sda1 / ext4", True),
        ("LABEL=data / ext4", False),
        ("UUID=elsewhere / ext4", False),
        (f"UUID={ROOT_UUID} /boot ext4", False),
        ("", False),
    ],
    ids=["uuid", "order", "another", "unknown", "no root", "empty"],
)
def test_a_root_is_one_that_its_own_fstab_mounts(row, itself):
    assert mounts_itself(fstab.mounts(row), DEVICES, ROOT, Subvolumes()) is itself


@pytest.mark.parametrize(
    ("options", "itself"),
    [("subvol=@", True), ("subvol=/@", True), ("subvolid=256", True), ("defaults", True),
     ("subvol=@old", False), ("subvolid=257", False), ("subvol=/", False)],
)  # fmt: skip
def test_a_subvolume_is_the_root_if_the_options_choose_it(options, itself):
    assert mounts_itself(fstab.mounts(f"UUID=b / btrfs {options}"), EVERYTHING, BTRFS, VOLUMES) is itself


@pytest.mark.parametrize(
    ("wanted", "filesystem", "subvolume"),
    [
        (ROOT_UUID, ROOT, None),
        (f"UUID={ROOT_UUID.upper()}", ROOT, None),
        ("0:1", ROOT, None),
        ("/dev/sda1", ROOT, None),
        ("/dev/vg0/lv-home", DEVICES.filesystems[3], None),
        ("/dev/mapper/vg0-lv--home", DEVICES.filesystems[3], None),
        ("LABEL=data", OTHER, None),
        ("b:@old", BTRFS, "@old"),
        ("b:/", BTRFS, "/"),
    ],
)
def test_root_is_named_by_uuid_place_volume_or_subvolume(wanted, filesystem, subvolume):
    assert meant(EVERYTHING, wanted) == (filesystem, subvolume)


@pytest.mark.parametrize("wanted", ["", "9:9", "0:7", "UUID=", "/dev/vg0/none", "x", ":", "1:2:3", "\x00"])
def test_a_name_of_nothing_is_a_usage_error_that_says_what_is_meant(wanted):
    with pytest.raises(UsageError, match="names no single file system") as caught:
        meant(EVERYTHING, wanted)

    assert "DISK:PARTITION" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "root"),
    [
        (["/etc/fstab", "/etc/os-release"], True),
        (["/etc/fstab", "/etc/redhat-release"], True),
        (["/etc/fstab", "/etc/debian_version"], True),
        (["/etc/fstab", "/etc/passwd"], True),
        (["/etc/os-release"], False),
        (["/etc/fstab"], False),
        (["/@/etc/fstab", "/@/etc/passwd"], False),
        ([], False),
    ],
)
def test_a_root_has_an_fstab_and_says_what_it_is(files, root):
    assert is_root(Memory(dict.fromkeys(files, ""))) is root


def test_a_root_may_lie_in_a_subvolume():
    assert is_root(Memory(dict.fromkeys(["/@/etc/fstab", "/@/etc/passwd"], "")), "/@")


def test_a_link_to_a_usr_that_is_not_mounted_still_counts():
    links = {"/etc/os-release": "../usr/lib/os-release"}

    assert is_root(Memory({"/etc/fstab": ""}, links))
