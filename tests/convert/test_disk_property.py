"""Whatever stands in a file: what needs no change keeps every byte, and what is changed is changed once."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.hardware import lettered, parsed, position
from convert.linux.disks.lines import lines
from convert.tree import MIB
from tests.convert.disks import step
from tests.convert.memory import Memory

PATHS = (
    "/etc/fstab",
    "/etc/crypttab",
    "/etc/default/grub",
    "/etc/kernel/cmdline",
    "/boot/grub2/grubenv",
    "/etc/mdadm.conf",
    "/etc/lvm/lvm.conf",
    "/etc/kdump.conf",
    "/etc/dracut.conf",
    "/etc/smartd.conf",
    "/var/cache/debconf/config.dat",
    "/boot/grub/device.map",
    "/etc/systemd/system/data.mount",
    "/etc/auto.data",
)
UNSTABLE = (
    *("/dev/sda1", "/dev/sdb1", "/dev/sdb3", "/dev/sdz9", "/dev/nvme0n1p1", "/dev/hda2"),
    "/dev/disk/by-id/scsi-3600-part1",
)
LASTING = ("UUID=5a3c9f0e-0000-4000-8000-000000000001", "LABEL=swap", "/dev/mapper/x", "tmpfs", "none")
WORDS = (
    *("root=", "resume=", "cryptdevice=", "# ", "#", "ARRAY ", "\nDEVICE ", "devices=", "What=", "xfs "),
    *("/", "ext4", "swap", "nofail", "defaults", " ", "\t", ",", ":", '"', "'", "\\", "\n", "\n\n", "\r\n"),
    *("filter = [", '"a|', '|", "r|.*|" ]', "Name: ", "grub-pc/install_devices", "Value: ", "linux "),
    *("raw ", "initrd ", "\udcff", "\udc80", "\x0c", "\x1c", "é", "\u2028"),
)
plain = st.lists(st.sampled_from(WORDS + LASTING) | st.text(alphabet="abz/=:,- \n", max_size=6), max_size=30)
mixed = st.lists(st.sampled_from(WORDS + LASTING + UNSTABLE), max_size=30)
files = st.sampled_from(PATHS)


def converted(path: str, content: bytes) -> bytes | None:
    """The file after the step; None where it was taken away."""
    tree = Memory({path: content})
    return tree.after(step(tree.content, boot_configs=PATHS[3:5]).changes).content.get(path)


@settings(max_examples=300, deadline=None)
@given(files, plain.map("".join))
def test_a_file_without_names_of_hardware_keeps_every_byte(path, content):
    data = content.encode("utf-8", "surrogateescape")

    assert converted(path, data) == data


@settings(max_examples=400, deadline=None)
@given(files, mixed.map("".join))
def test_a_converted_file_is_done_and_has_its_lines_and_its_strange_bytes(path, content):
    data = content.encode("utf-8", "surrogateescape")
    new = converted(path, data)

    if new is None:
        assert path.endswith("device.map")
        return
    assert converted(path, new) == new
    if path != "/var/cache/debconf/config.dat":  # where an answer may get a line more
        assert new.count(b"\n") == data.count(b"\n")
    if "grubenv" in path:
        assert len(new) == len(data)
    text = bytes(range(0x80))
    assert new.translate(None, text) == data.translate(None, text)


@given(st.text(alphabet="ab\r\n\x0b\x0c\x1c\u2028 "))
def test_lines_join_to_what_they_were(content):
    assert "".join(lines(content)) == content
    assert all("\n" not in line[:-1] for line in lines(content))


@given(st.integers(0, 18277))
def test_the_letters_of_disks_count_as_the_kernel_does(at):
    name = lettered("/dev/sd", at)

    assert position(name) == at
    assert parsed(name).disk == name


@pytest.mark.parametrize(
    ("at", "name"),
    [(0, "/dev/sda"), (25, "/dev/sdz"), (26, "/dev/sdaa"), (701, "/dev/sdzz"), (702, "/dev/sdaaa")],
)
def test_after_z_comes_aa(at, name):
    assert lettered("/dev/sd", at) == name


WASTE = (
    *("\n", " ", "#\n", " x\n", "DEVICE ", " devices=/dev/sdb3", "cryptdevice=", "root=/dev/sda1 ", "\\x2d"),
    *('filter = [ "a|x|" ]\n', '"a|.*|" ', "=dev-", "/dev/sd", "Name: a\n\n", "/dev/sda1:", "UUID=", "What="),
)


@pytest.mark.parametrize("piece", WASTE)
def test_files_that_are_made_to_waste_time_do_not(piece):
    head = "ARRAY filter = [ # x was on /dev/sda1 during installation"
    content = head + piece * (MIB // 4 // len(piece))
    began = time.monotonic()
    step(dict.fromkeys(PATHS, content), boot_configs=PATHS[3:5])

    assert time.monotonic() - began < 20


def test_two_plans_of_one_guest_are_the_same():
    tree = {path: "".join(f"{name} /x auto noauto 0 0\n" for name in UNSTABLE) for path in PATHS[:2]}

    assert step(tree) == step(dict(reversed(tree.items())))
