"""Names that a guest needs to come up: which of them lead to the given disks, and which to nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convert.bootloader import Entry
from convert.devices import Devices, FileSystem
from convert.linux.devices import lost_names, use_uuids
from tests.convert.disks import DEVICES, LUKS, ROOT, facts, step, wished
from tests.convert.memory import Memory


@pytest.mark.parametrize(
    ("path", "content", "lost"),
    [
        ("/etc/fstab", "/dev/mapper/vg0-lv--root / ext4 defaults 0 1", False),
        ("/etc/fstab", "/dev/vg0/lv-root / ext4 defaults 0 1", False),
        ("/etc/fstab", "/dev/mapper/vg0-gone /x ext4 defaults 0 1", True),
        ("/etc/fstab", "/dev/vg9/x /x ext4 defaults 0 1", True),
        ("/etc/fstab", "/dev/mapper/vault /x ext4 defaults 0 1", False),
        ("/etc/fstab", f"/dev/mapper/luks-{LUKS} /x ext4 defaults 0 1", False),
        ("/etc/fstab", "/dev/md0 /x ext4 defaults 0 1", False),
        ("/etc/fstab", "LABEL=nobody /x ext4 defaults 0 1", True),
        ("/etc/fstab", "LABEL=nobody /x ext4 _netdev 0 1", False),
        ("/etc/fstab", "/dev/disk/by-label/nobody /x ext4 defaults 0 1", True),
        ("/etc/crypttab", "vault /dev/sdb2 none luks", True),
        ("/etc/crypttab", "vault /dev/sdb2 none luks,nofail", False),
        ("/etc/default/grub", "GRUB_CMDLINE_LINUX=root=/dev/mapper/vg0-gone", True),
    ],
)
def test_a_name_that_the_guest_needs_leads_to_its_disks_or_is_lost(path, content, lost):
    open_ = Devices(
        (*DEVICES.filesystems, FileSystem("x", "ext4", uuid="x", container=DEVICES.filesystems[5]))
    )
    files = {"/etc/crypttab": f"vault UUID={LUKS} none luks\n", path: content}

    assert bool(lost_names(Memory(files), facts(devices=open_))) is lost


def test_what_may_lie_in_a_container_that_stayed_closed_is_not_called_lost():
    table = "UUID=0000-0000 /x ext4 defaults 0 1\n/dev/mapper/inner /y ext4 defaults 0 1\n"

    assert lost_names(Memory({"/etc/fstab": table}), facts()) == []


def test_a_name_of_nothing_is_reported_when_the_plan_is_made():
    without = Devices(tuple(f for f in DEVICES.filesystems if f.kind != "crypto_LUKS"))
    contribution = step({"/etc/fstab": "UUID=0000-0000 /x ext4 defaults 0 1\n"}, devices=without)

    assert "UUID=0000-0000: nothing on the given disks has this name" in contribution.warnings[0].message


def test_a_menu_entry_that_does_not_start_by_itself_may_lead_nowhere():
    """Another system's entry, found by os-prober: the guest comes up without it."""
    menu = f"linux /v root=UUID={ROOT}\ninitrd /i\nlinux /w root=/dev/sdz1\ninitrd /j\n"
    path = "/boot/grub/grub.cfg"
    ours = Entry(path, "a", "/v", ("/i",), f"root=UUID={ROOT}", default=True)
    other = Entry(path, "b", "/w", ("/j",), "root=/dev/sdz1", default=False)
    found = {"boot_configs": (path,), "entries": (ours, other)}
    tree = Memory({path: menu})

    assert lost_names(tree, facts(**found)) == []
    assert ["/dev/sdz1" in w.message for w in use_uuids(tree, facts(**found), wished()).warnings] == [True]
    found["entries"] = (replace(other, default=True),)
    assert lost_names(tree, facts(**found)) == [f"{path}: /dev/sdz1"]
