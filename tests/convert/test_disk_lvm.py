"""LVM's own lists of devices: filters, the devices file, the cache of old."""

from __future__ import annotations

import pytest

from convert.devices import Devices, FileSystem
from convert.linux.devices import use_uuids
from convert.linux.disks import devices_file
from tests.convert.disks import DEVICES, ENTRY, ID, OTHER_PV, PV, PVID, after, facts, step, wished
from tests.convert.memory import Memory

LVM = 'devices {{\n\t# filter = [ "r|.*|" ]\n\tfilter = {}\n}}\n'


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ('[ "a|^/dev/sd|", "r|.*|" ]', '[ "a|^/dev/vd|", "a|^/dev/sd|", "r|.*|" ]'),
        ('[ "a|^/dev/sda[0-9]*$|", "r/.*/" ]', '[ "a|^/dev/vd|", "a|^/dev/sda[0-9]*$|", "r/.*/" ]'),
        (f'[\n "a|{ID}.*|", # ours ]\n "r|.*|" ]', f'[ "a|^/dev/vd|", \n "a|{ID}.*|", # ours ]\n "r|.*|" ]'),
        ('[ "r|^/dev/vd|" ]', '[ "a|^/dev/vd|", "r|^/dev/vd|" ]'),
        ('"r|/dev/v.*|"', '[ "a|^/dev/vd|", "r|/dev/v.*|" ]'),
    ],
)
def test_a_filter_lets_the_disks_in_that_it_let_in_before(before, expected):
    assert after("/etc/lvm/lvm.conf", LVM.format(before)) == LVM.format(expected)


@pytest.mark.parametrize(
    "filter_",
    [
        '[ "a|.*|" ]',
        '[ "r|/dev/cdrom|", "r|/dev/sr|" ]',
        '[ "a|^/dev/mapper/|", "r|.*|" ]',
        '[ "a|lvm-pv-uuid-|", "r|.*|" ]',
        "[ ]",
        "oops [",
    ],
)
def test_a_filter_that_means_the_same_as_before_is_left_alone(filter_):
    assert after("/etc/lvm/lvm.conf", LVM.format(filter_)) == LVM.format(filter_)


def test_a_filter_that_hides_a_disk_on_purpose_goes_on_hiding_it():
    both = Devices((*DEVICES.filesystems, FileSystem("/dev/sdb5", "LVM2_member", 1, 5, OTHER_PV)))
    new = after("/etc/lvm/lvm.conf", LVM.format('[ "a|^/dev/sda|", "r|.*|" ]'), devices=both)

    assert new == LVM.format(f'[ "a|/lvm-pv-uuid-{PV}$|", "a|^/dev/sda|", "r|.*|" ]')


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "a.*b.*c.*d.*e.*f.*g.*", "[[:digit:]]", "a{99999999999999}", "(", "x" * 300]
)
def test_a_filter_that_cannot_be_followed_is_left_and_reported(pattern):
    contribution = step({"/etc/lvm/lvm.conf": LVM.format(f'[ "a|{pattern}|", "r|.*|" ]')})

    assert contribution.changes == ()
    assert "none that can be followed" in contribution.warnings[0].message


def test_lvms_devices_file_of_the_old_hardware_is_put_beside():
    tree = Memory({devices_file.PATH: "# by hand\n" + ENTRY})
    changes = use_uuids(tree, facts(), wished()).changes

    assert tree.after(changes).content == {
        f"{devices_file.PATH}.before-transferd": f"# by hand\n{ENTRY}".encode()
    }
    assert "without it LVM looks at every device" in changes[-1].reason


def test_lvms_devices_file_of_what_is_known_by_content_stays():
    content = f"IDTYPE=md_uuid IDNAME=1:2:3:4 DEVNAME=/dev/md0 PVID={PVID}\n"

    assert after(devices_file.PATH, content) == content


def test_lvms_cache_of_devices_and_grubs_map_of_drives_are_made_anew():
    files = {
        "/etc/lvm/cache/.cache": 'persistent_filter_cache {\n valid_devices=[ "/dev/sda3" ]\n}\n',
        "/boot/grub/device.map": "(fd0) /dev/fd0\n(hd0) /dev/sda\n",
        "/boot/grub2/device.map": "(hd0) /dev/mapper/x\n",
    }
    tree = Memory(files)

    assert set(tree.after(use_uuids(tree, facts(), wished()).changes).content) == {"/boot/grub2/device.map"}
