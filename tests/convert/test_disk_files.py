"""Every file that names disks, each in its own grammar: what it says before and after."""

from __future__ import annotations

import re

import pytest

from convert.linux.devices import image_edit, use_uuids
from convert.linux.disks import units
from convert.linux.disks.command_lines import grub_environment
from convert.linux.disks.names import Names
from tests.convert.disks import (
    BY_UUID,
    DATA,
    DEVICES,
    ENTRY,
    ID,
    LUKS,
    PV,
    PVID,
    ROOT,
    SWAP,
    after,
    facts,
    step,
    wished,
)
from tests.convert.memory import Memory


def cmdline(content: str, path: str = "/etc/kernel/cmdline") -> str:
    return after(path, content, boot_configs=(path,))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("root=/dev/sda1 ro", f"root=UUID={ROOT} ro"),
        (f"root={ID}-part1", f"root={BY_UUID}{ROOT}"),
        ("root=block:/dev/sda1", f"root=block:UUID={ROOT}"),
        ('X="root=/dev/sda1 resume=/dev/sda2"', f'X="root=UUID={ROOT} resume=UUID={SWAP}"'),
        ("resume=/dev/sda2 resume_offset=34816", f"resume=UUID={SWAP} resume_offset=34816"),
        ("cryptdevice=/dev/sdb2:safe:allow-discards", f"cryptdevice=UUID={LUKS}:safe:allow-discards"),
        (f"cryptdevice={BY_UUID}{LUKS}:safe", f"cryptdevice={BY_UUID}{LUKS}:safe"),
        (
            "cryptdevice=/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0-part2:safe",
            f"cryptdevice={BY_UUID}{LUKS}:safe",
        ),
        ("cryptopts=source=/dev/sdb2,target=safe,lvm=x", f"cryptopts=source=UUID={LUKS},target=safe,lvm=x"),
        ("cryptroot=/dev/sdb2 cryptdm=safe", f"cryptroot=UUID={LUKS} cryptdm=safe"),
        (
            "kernel (hd0,0)/vmlinuz root=/dev/sda1\ninitrd /i",
            f"kernel (hd0,0)/vmlinuz root=UUID={ROOT}\ninitrd /i",
        ),
        ("# kopt=root=/dev/sda1 ro", f"# kopt=root=UUID={ROOT} ro"),
        ("set rootpartition=/dev/sda1", f"set rootpartition=UUID={ROOT}"),
    ],
)
def test_arguments_of_kernels_name_content(before, expected):
    assert cmdline(before) == expected


@pytest.mark.parametrize(
    "line",
    [
        "root=LABEL=root ro",
        "root=PARTUUID=part-1",
        "root=/dev/mapper/vg0-lv--root rd.lvm.lv=vg0/lv-root rd.md.uuid=1:2:3:4",
        f"rd.luks.uuid=luks-{LUKS} rd.luks.name={LUKS}=safe",
        "# root=/dev/sda1",
        "nfsroot=/dev/sda1 source=/dev/sdb2",
        "set root='hd0,msdos1'",
        "linux /vmlinuz root=/dev/ram0",
    ],
)
def test_arguments_that_last_are_left_alone(line):
    assert cmdline(line) == line


def test_a_grub_environment_keeps_its_size_and_its_padding():
    block = "# GRUB Environment Block\nsaved_entry=0\nkernelopts=root=/dev/sda1 ro \n".ljust(1024, "#")
    new = cmdline(block, "/boot/grub2/grubenv")

    assert len(new) == 1024
    assert re.fullmatch(rf"# GRUB Environment Block\nsaved_entry=0\nkernelopts=root=UUID={ROOT} ro \n#+", new)


def test_a_grub_environment_that_would_grow_is_left_and_reported():
    block = "# GRUB Environment Block\nkernelopts=root=/dev/sda1\n".ljust(1020, "x") + "\n###"
    files = {"/boot/grub2/grubenv": block}
    contribution = step(files, boot_configs=tuple(files))

    assert contribution.changes == ()
    assert "does not fit" in contribution.warnings[0].message


def test_a_file_with_two_names_is_edited_once():
    files = {"/boot/grub2/grub.cfg": "linux /v root=/dev/sda1\ninitrd /i\n"}
    links = {"/etc/grub2.cfg": "../boot/grub2/grub.cfg", "/boot/grub": "grub2"}
    found = ("/etc/grub2.cfg", "/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")

    assert [change.path for change in step(files, links, boot_configs=found).changes] == [
        "/boot/grub2/grub.cfg"
    ]


def test_fstab_names_devices_in_its_options_too():
    table = (
        "/dev/sdb1 /data xfs logdev=/dev/sda3,x-systemd.requires=/dev/sda1 0 0\nLABEL=swap none swap sw 0 0\n"
    )

    assert after("/etc/fstab", table) == (
        f"UUID={DATA} /data xfs logdev={BY_UUID}{PV},x-systemd.requires={BY_UUID}{ROOT} 0 0\n"
        "LABEL=swap none swap sw 0 0\n"
    )


def test_crypttab_names_containers_keys_and_headers():
    table = (
        "safe /dev/sdb2 /key:/dev/sda1 luks\nbare /dev/sdb2\n"
        f"s2 UUID={LUKS} none luks,header=/dev/sda1\nswap /dev/sda2 /dev/urandom swap\n"
    )

    assert after("/etc/crypttab", table) == (
        f"safe UUID={LUKS} /key:{BY_UUID}{ROOT} luks\nbare UUID={LUKS}\n"
        f"s2 UUID={LUKS} none luks,header={BY_UUID}{ROOT}\nswap UUID={SWAP} /dev/urandom swap\n"
    )


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("DEVICE /dev/sdb3 /dev/sdb4\n", "DEVICE partitions containers\n"),
        ("DEVICE /dev/sd*[0-9]\n", "DEVICE partitions containers\n"),
        ("DEVICE partitions /dev/sdb3\n", "DEVICE partitions containers\n"),
        ("DEVICE partitions\n", "DEVICE partitions\n"),
        (
            "ARRAY /dev/md0 devices=/dev/sdb3,/dev/sdb4\n",
            "ARRAY /dev/md0 UUID=11223344:55667788:99aabbcc:ddeeff00\n",
        ),
        (
            "ARRAY /dev/md0 UUID=1:2:3:4\n   devices=/dev/sdb3,/dev/sdb4 name=x\n# end\n",
            "ARRAY /dev/md0 UUID=1:2:3:4\n name=x\n# end\n",
        ),
        (
            "ARRAY /dev/md/0 metadata=1.2 UUID=1:2:3:4 name=x:0\n",
            "ARRAY /dev/md/0 metadata=1.2 UUID=1:2:3:4 name=x:0\n",
        ),
        ("MAILADDR root\n#DEVICE /dev/sda1\n", "MAILADDR root\n#DEVICE /dev/sda1\n"),
    ],
)
def test_arrays_are_found_by_what_they_are(before, expected):
    assert after("/etc/mdadm/mdadm.conf", before) == expected


def test_an_array_of_members_that_are_not_found_is_reported():
    contribution = step({"/etc/mdadm.conf": "ARRAY /dev/md0 devices=/dev/sdb3,/dev/sdz1\n"})

    assert contribution.changes == ()
    assert any("not members of one array" in warning.message for warning in contribution.warnings)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("xfs /dev/sdb1\npath /crash\n", f"xfs UUID={DATA}\npath /crash\n"),
        ("#ext4 /dev/sda1\next4 LABEL=x\n", "#ext4 /dev/sda1\next4 LABEL=x\n"),
        ("raw /dev/sda1\n", f"raw {BY_UUID}{ROOT}\n"),
    ],
)
def test_crash_dumps_go_where_they_went(before, expected):
    assert after("/etc/kdump.conf", before) == expected


CONFIG = """\
Name: other/question
Template: other/question
Value: /dev/sda
Owners: other

Name: grub-pc/install_devices
Template: grub-pc/install_devices
Value: {devices}
Owners: grub-pc
Flags: seen
Variables:
 CHOICES = /dev/sda (1 MB)
 RAW_CHOICES = /dev/sda

Name: grub-pc/install_devices_empty
Template: grub-pc/install_devices_empty
Value: {empty}
Owners: grub-pc{seen}
"""


@pytest.mark.parametrize("devices", [ID, "/dev/sda", f"{ID}, /dev/sdb"])
def test_grub_pc_is_told_to_write_its_boot_code_nowhere(devices):
    before = CONFIG.format(devices=devices, empty="false", seen="")
    expected = CONFIG.format(devices="", empty="true", seen="\nFlags: seen")

    assert after("/var/cache/debconf/config.dat", before) == expected


def test_grub_pc_that_was_never_asked_about_none_is_answered():
    before = (
        "Name: grub-pc/install_devices\nTemplate: grub-pc/install_devices\nValue: /dev/sda\nOwners: grub-pc\n"
    )
    stanzas = after("/var/cache/debconf/config.dat", before).split("\n\n")

    assert "Value: \n" in stanzas[0]
    assert stanzas[1].splitlines()[0] == "Name: grub-pc/install_devices_empty"
    assert {"Value: true", "Flags: seen"} <= set(stanzas[1].splitlines())


def test_answers_of_other_packages_and_lasting_ones_stay():
    before = CONFIG.format(devices="/dev/disk/by-id/dm-name-x", empty="false", seen="")

    assert after("/var/cache/debconf/config.dat", before) == before


def test_a_server_has_megabytes_of_answers():
    before = CONFIG.format(devices=ID, empty="false", seen="") + "\n" + "Name: x\nValue: y\n\n" * 100_000

    assert "Value: \nOwners: grub-pc\nFlags: seen" in after("/var/cache/debconf/config.dat", before)


def test_the_efi_partitions_of_grub_are_named_by_content_and_answers_are_not_shown():
    stanza = (
        "Name: grub-efi/install_devices\nTemplate: grub-efi/install_devices\nValue: {}\nOwners: grub-common\n"
    )
    (change,) = step({"/var/cache/debconf/config.dat": stanza.format(f"{ID}-part4")}).changes

    assert change.data.decode() == stanza.format(f"{BY_UUID}ABCD-1234")
    assert change.document().content is None


@pytest.mark.parametrize(
    ("path", "before", "expected"),
    [
        (
            "/etc/smartd.conf",
            "DEVICESCAN\n/dev/sda -a -m root\n#/dev/sdb\n/dev/sdb -d removable\n",
            "DEVICESCAN\n/dev/sda -d removable -a -m root\n#/dev/sdb\n/dev/sdb -d removable\n",
        ),
        ("/etc/sysconfig/grub", "boot=/dev/sda\nforcelba=0\n", "#boot=/dev/sda\nforcelba=0\n"),
        (
            "/etc/auto.data",
            "data -fstype=xfs :/dev/sdb1\nnfs -ro host:/export\n",
            f"data -fstype=xfs :{BY_UUID}{DATA}\nnfs -ro host:/export\n",
        ),
        (
            "/etc/dracut.conf.d/x.conf",
            'persistent_policy="by-path"\nadd_device+=" /dev/sdb1 "\nx="root=/dev/sda1"\n',
            f'persistent_policy="by-uuid"\nadd_device+=" {BY_UUID}{DATA} "\nx="root=UUID={ROOT}"\n',
        ),
        ("/etc/initramfs-tools/conf.d/resume", f"RESUME={ID}-part2\n", f"RESUME={BY_UUID}{SWAP}\n"),
    ],
)
def test_small_settings(path, before, expected):
    assert after(path, before) == expected


def test_a_mount_unit_names_content():
    before = "[Mount]\nWhat=/dev/sdb1\nWhere=/data\nType=xfs\n[Unit]\nAfter=dev-sda2.swap\n"

    assert after("/etc/systemd/system/data.mount", before) == (
        f"[Mount]\nWhat={BY_UUID}{DATA}\nWhere=/data\nType=xfs\n"
        f"[Unit]\nAfter={units.escaped(BY_UUID + SWAP)}.swap\n"
    )


def test_a_swap_unit_moves_to_the_name_that_fits_and_stays_enabled():
    folder = "/etc/systemd/system"
    old = "dev-disk-by\\x2dpath-pci\\x2d0000:03:00.0\\x2dscsi\\x2d0:0:0:0\\x2dpart2.swap"
    tree = Memory(
        {f"{folder}/{old}": "[Swap]\nWhat=/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part2\n"},
        {f"{folder}/swap.target.wants/{old}": f"../{old}"},
    )
    converted = tree.after(use_uuids(tree, facts(), wished()).changes)
    new = f"{units.escaped(BY_UUID + SWAP)}.swap"

    assert converted.content == {f"{folder}/{new}": f"[Swap]\nWhat={BY_UUID}{SWAP}\n".encode()}
    assert converted.links == {f"{folder}/swap.target.wants/{new}": f"../{new}"}
    assert use_uuids(converted, facts(), wished()).changes == ()


@pytest.mark.parametrize("path", ["/dev/sda5", "/dev/disk/by-uuid/a-b_c.d", "/dev/mapper/vg-lv x"])
def test_names_of_units_can_be_read_back(path):
    assert units.unescaped(units.escaped(path)) == path


@pytest.mark.parametrize(
    ("path", "content", "named"),
    [
        ("/etc/rc.local", "#!/bin/sh\nmount /dev/sdb1 /data\n", "/dev/sdb1"),
        (
            "/etc/udev/rules.d/99-asm.rules",
            'PROGRAM=="scsi_id /dev/$name", RESULT=="36000c29a000011112222333344445555", SYMLINK+="asm"\n',
            "36000c29a000011112222333344445555",
        ),
        ("/etc/udev/rules.d/60-raw.rules", 'KERNEL=="sdb1", OWNER="oracle"\n', 'KERNEL=="sdb1"'),
    ],
)
def test_programs_and_rules_are_not_edited_but_reported(path, content, named):
    contribution = step({path: content})

    assert contribution.changes == ()
    assert [named in warning.message for warning in contribution.warnings] == [True]


def test_suses_own_initramfs_is_given_a_link_of_udev():
    path = "/boot/grub/menu.lst"
    menu = "kernel /v root=/dev/sda1\ninitrd /i\n"

    assert f"root={BY_UUID}{ROOT}\n" in after(path, menu, boot_configs=(path,), initramfs="mkinitrd")


def test_a_file_beyond_its_limit_is_reported_and_left():
    contribution = step({"/etc/smartd.conf": "/dev/sda -a\n" * 200_000})

    assert contribution.changes == ()
    assert [warning.code for warning in contribution.warnings] == ["file-not-read"]


@pytest.mark.parametrize(
    ("name", "before", "expected"),
    [
        ("conf/conf.d/resume", "RESUME=/dev/sda2\n", f"RESUME=UUID={SWAP}\n"),
        ("cryptroot/crypttab", "safe /dev/sdb2 none luks\n", f"safe UUID={LUKS} none luks\n"),
        ("etc/cmdline.d/95root.conf", "root=/dev/sda1", f"root=UUID={ROOT}"),
        ("etc/mdadm/mdadm.conf", "DEVICE /dev/sda3\n", "DEVICE partitions containers\n"),
        ("etc/udev/rules.d/x.rules", "root=/dev/sda1\n", "root=/dev/sda1\n"),
        (
            "etc/lvm/devices/system.devices",
            ENTRY,
            f"IDTYPE=devname IDNAME=/dev/vda3 DEVNAME=/dev/vda3 PVID={PVID} PART=3\n",
        ),
    ],
)
def test_files_of_an_initramfs_are_edited_as_their_originals(name, before, expected):
    edit = image_edit(Memory({}), facts(), wished().source)

    assert edit(name, before.encode()) == expected.encode()


def test_an_environment_block_of_bytes_that_are_no_text_keeps_its_size():
    block = (b"# GRUB Environment Block\nx=\xff\xfe\nkernelopts=root=LABEL=r\n").ljust(1024, b"#")
    text = block.decode("utf-8", "surrogateescape")

    assert grub_environment(text, Names(DEVICES), "grubenv") == text
