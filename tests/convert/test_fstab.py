"""The tables that systems keep in columns, read as the guest reads them."""

from __future__ import annotations

import pytest

from convert.linux import fstab


@pytest.mark.parametrize(
    ("line", "mount"),
    [
        ("/dev/sda1 / ext4 ro,noatime 0 1", fstab.Mount("/dev/sda1", "/", "ext4", ("ro", "noatime"))),
        ("/dev/sda1\t/boot", fstab.Mount("/dev/sda1", "/boot", "auto", ("",))),
        (r"LABEL=a\040b /srv/\303\274 ext4", fstab.Mount("LABEL=a b", "/srv/ü", "ext4", ("",))),
        ('UUID="1-2" /boot/efi vfat', fstab.Mount("UUID=1-2", "/boot/efi", "vfat", ("",))),
        ("LABEL=a\u00a0b /\u2028 ext4", fstab.Mount("LABEL=a\u00a0b", "/\u2028", "ext4", ("",))),
        ("/dev/sda1 /boot ext4\r", fstab.Mount("/dev/sda1", "/boot", "ext4", ("",))),
    ],
    ids=["whole", "short", "escaped", "quoted", "blanks that are none", "from Windows"],
)  # fmt: skip
def test_a_line_is_read_as_mount_reads_it(line, mount):
    assert fstab.mounts(f"# {line}\n{line}\n") == [mount]


@pytest.mark.parametrize("line", ["", "#/dev/sda1 / ext4", "   # / /", "alone", "\x0b"])
def test_what_is_no_mount_is_left_out(line):
    assert fstab.mounts(f"{line}\n") == []


@pytest.mark.parametrize(
    ("options", "value"),
    [("subvol=@", "@"), ("rw,subvol=/@,subvol=x", "x"), ("subvolid=5", None), ("subvol", "")],
)
def test_the_last_value_of_an_option_counts(options, value):
    assert fstab.mounts(f"x / btrfs {options}")[0].option("subvol") == value


def test_an_edit_leaves_every_other_byte_alone():
    table = "a\u2028b / ext4 defaults\r\n\n# a\nx\x0cy /srv ext4\n\tz /home"

    assert fstab.edited(table, 0, lambda name: name) == table
    assert fstab.edited(table, 1, lambda point: f"{point}!") == (
        "a\u2028b /! ext4 defaults\r\n\n# a\nx\x0cy /srv! ext4\n\tz /home!"
    )


def test_crypttab_tells_names_and_their_containers():
    table = "# <name> <device>\nsda3_crypt UUID=1 none luks\nlone\n"

    assert fstab.containers(table) == [("sda3_crypt", "UUID=1")]
