"""What conversion writes gets the label of the guest's policy; where nothing tells it, the guest relabels."""

from __future__ import annotations

import time

import pytest

from convert.linux import contexts
from convert.linux.contexts import Undecided
from convert.linux.selinux import MARKER, labelled
from convert.plan import Change, Contribution
from tests.convert.memory import Memory, inspection

FILES = "/etc/selinux/targeted/contexts/files/file_contexts"
# Lines of the reference policy, whose order matters: what is more particular comes later.
POLICY = """\
/.*\tsystem_u:object_r:default_t:s0
/etc/.*\tsystem_u:object_r:etc_t:s0
/usr/.*\tsystem_u:object_r:usr_t:s0
/usr/lib/systemd/system(/.*)?\tsystem_u:object_r:systemd_unit_file_t:s0
/etc/udev/rules\\.d(/.*)?\tsystem_u:object_r:udev_rules_t:s0
/etc/systemd/network(/.*)?\tsystem_u:object_r:net_conf_t:s0
/etc/modprobe\\.conf.*\t--\tsystem_u:object_r:modules_conf_t:s0
/etc/mtab\t--\tsystem_u:object_r:etc_runtime_t:s0
/etc/fstab\\.REVOKE\tsystem_u:object_r:etc_runtime_t:s0
/dev/.*\t-c\tsystem_u:object_r:device_t:s0
/var/run/.*\t<<none>>
"""
SUBS = "# aliases\n/etc/systemd/system /usr/lib/systemd/system\n/run /var/run\n"
BASE = {
    "/etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
    FILES: POLICY,
    f"{FILES}.subs_dist": SUBS,
    "/etc/udev/rules.d/10-own.rules": "",
    "/etc/fstab": "",
}
LABELS = {
    "/": "system_u:object_r:root_t:s0",
    "/etc": "system_u:object_r:etc_t:s0",
    "/etc/fstab": "system_u:object_r:etc_t:s0",
    "/etc/udev/rules.d": "system_u:object_r:udev_rules_t:s0",
    "/etc/udev/rules.d/10-own.rules": "system_u:object_r:own_t:s0",
}


def guest() -> Memory:
    return Memory(dict(BASE), labels=dict(LABELS))


def write(path: str, **more) -> Change:
    return Change(path, "write", "step", "why", data=b"x", **more)


def plan(tree: Memory, *changes: Change, **facts) -> list[Change]:
    parts = labelled(tree, inspection(selinux="enforcing", **facts), [Contribution(tuple(changes))])
    return [change for part in parts for change in part.changes]


def labels(changes: list[Change]) -> dict[str, str | None]:
    return {change.path: change.label and change.label.split(":")[2] for change in changes}


@pytest.mark.parametrize(
    ("path", "kind", "type_"),
    [
        ("/etc/udev/rules.d/70-persistent-net.rules", "file", "udev_rules_t"),
        ("/etc/udev/rules.d", "folder", "udev_rules_t"),
        ("/etc/udev/rulesxd", "folder", "etc_t"),
        ("/etc/systemd/network/10-a.link", "file", "net_conf_t"),
        ("/etc/systemd/system/vmtoolsd.service", "link", "systemd_unit_file_t"),
        ("/etc/modprobe.conf", "file", "modules_conf_t"),
        ("/etc/modprobe.conf", "link", "etc_t"),
        ("/etc/mtab", "file", "etc_runtime_t"),
        ("/etc/fstab.REVOKE", "file", "etc_runtime_t"),
        ("/somewhere/else", "file", "default_t"),
    ],
)
def test_a_path_gets_what_libselinux_would_give_it(path, kind, type_):
    assert contexts.read(guest()).label(path, kind) == f"system_u:object_r:{type_}:s0"


def test_the_administrators_own_specification_counts_more():
    local = {f"{FILES}.local": "/etc/udev/rules\\.d/.*\tsystem_u:object_r:mine_t:s0\n"}
    tree = Memory({**BASE, **local})

    assert contexts.read(tree).label("/etc/udev/rules.d/a", "file") == "system_u:object_r:mine_t:s0"


def test_an_exact_path_counts_more_than_any_expression():
    tree = Memory({**BASE, FILES: "/a\tu:r:exact_t:s0\n/.*\tu:r:any_t:s0\n/a(/.*)?\tu:r:tree_t:s0\n"})

    assert contexts.read(tree).label("/a", "file") == "u:r:exact_t:s0"
    assert contexts.read(tree).label("/a/b", "file") == "u:r:tree_t:s0"


def test_an_alternative_at_the_top_has_no_common_start():
    tree = Memory({**BASE, FILES: "/a/b|/c/d\tu:r:both_t:s0\n"})

    assert contexts.read(tree).label("/c/d", "file") == "u:r:both_t:s0"


def test_what_the_policy_wants_without_a_label_gets_none():
    assert contexts.read(guest()).label("/run/x", "file") is None


@pytest.mark.parametrize(
    "expression",
    ["/etc/(a*)*b", "/etc/((a+)+)+b", "/etc/(.*)*(.*)*(.*)*x", "/etc/(a|a?)+b", "(/.*)*x", "/etc/a{1,1000}b"],
)
def test_an_expression_made_to_take_forever_does_not(expression):
    tree = Memory({**BASE, FILES: f"{POLICY}{expression}\tu:r:t:s0\n"})
    began = time.monotonic()
    label = contexts.read(tree).label("/etc/" + "a" * 4000, "file")

    assert label == "system_u:object_r:etc_t:s0"
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "expression", ["/etc/(", "/etc/(?=x)y", "/etc/(a)\\1", "/etc/(((a{1,999}){1,999}){1,999})"]
)
def test_an_expression_that_cannot_be_read_is_no_answer(expression):
    tree = Memory({**BASE, FILES: f"{POLICY}{expression}\tu:r:t:s0\n"})

    with pytest.raises(Undecided, match="cannot be read"):
        contexts.read(tree).label("/etc/x", "file")


def test_a_context_that_is_none_is_no_answer():
    tree = Memory({**BASE, FILES: "/.*\tnot;a:context\n"})

    with pytest.raises(Undecided, match="no context"):
        contexts.read(tree).label("/etc/x", "file")


def test_a_new_file_gets_its_label_and_so_does_the_folder_that_is_made_for_it():
    changes = plan(guest(), write("/etc/systemd/network/10-a.link"))

    assert labels(changes) == {
        "/etc/systemd/network/10-a.link": "net_conf_t",
        "/etc/systemd": "etc_t",
        "/etc/systemd/network": "net_conf_t",
    }
    assert [change.action for change in changes] == ["write", "label", "label"]


def test_a_file_that_is_changed_in_place_keeps_its_own():
    assert labels(plan(guest(), write("/etc/fstab"), Change("/etc/fstab", "append", "s", "r"))) == {
        "/etc/fstab": None
    }


def test_a_link_is_a_new_inode_even_where_there_was_one():
    tree = guest()
    tree.links["/etc/systemd/system/x.service"] = "/elsewhere"
    link = Change("/etc/systemd/system/x.service", "symlink", "s", "r", data=b"/dev/null")

    assert labels(plan(tree, link))["/etc/systemd/system/x.service"] == "systemd_unit_file_t"


def test_without_selinux_nothing_is_labelled():
    parts = [Contribution((write("/etc/new"),))]

    assert labelled(guest(), inspection(selinux="disabled"), parts) == parts
    assert labelled(guest(), inspection(selinux=None), parts) == parts


def test_the_efi_system_partition_has_no_labels():
    assert labels(plan(guest(), write("/boot/efi/EFI/BOOT/BOOTX64.EFI"), esp="/boot/efi")) == {
        "/boot/efi/EFI/BOOT/BOOTX64.EFI": None
    }


def test_without_a_policy_a_neighbour_of_its_kind_lends_its_label():
    tree = guest()
    del tree.content[FILES]

    assert labels(plan(tree, write("/etc/udev/rules.d/70-a.rules"))) == {
        "/etc/udev/rules.d/70-a.rules": "own_t"
    }


def test_without_a_neighbour_the_folder_does():
    tree = guest()
    del tree.content[FILES]

    assert labels(plan(tree, write("/etc/modprobe.d/x.conf"))) == {
        "/etc/modprobe.d/x.conf": "etc_t",
        "/etc/modprobe.d": "etc_t",
    }


def test_where_nothing_tells_the_guest_relabels_itself_and_the_plan_says_why():
    tree = Memory(BASE | {FILES: "no policy\n"})
    parts = labelled(tree, inspection(selinux="enforcing"), [Contribution((write("/etc/new"),))])
    changes = {change.path: change for part in parts for change in part.changes}
    (warning,) = [warning for part in parts for warning in part.warnings]

    assert changes[MARKER].action == "write"
    assert "/etc/new: no specification of the policy matches it" in changes[MARKER].reason
    assert warning.code == "selinux-relabel"
    assert warning.remedy


def test_a_policy_of_a_gigabyte_is_not_read():
    tree = Memory(BASE | {FILES: "x" * (contexts.LIMIT + 1)}, labels=dict(LABELS))

    assert labels(plan(tree, write("/etc/udev/rules.d/a"))) == {"/etc/udev/rules.d/a": "own_t"}
