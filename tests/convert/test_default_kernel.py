"""Another kernel becomes the default only where the default cannot be proven, in the loader's own place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convert.bootloader import survey
from convert.capabilities import Proof
from convert.installed import kernels
from convert.linux.default_kernel import Choice, choose
from convert.loaders import grubenv
from tests.convert.families import FAMILIES
from tests.convert.families.parts import ROOT
from tests.convert.memory import Memory, inspection

SEVERAL = {name: family for name, family in FAMILIES.items() if len(family.versions) > 1}


def facts(tree, family):
    firmware = family.firmware
    boot = survey(tree, firmware, family.esp)
    return inspection(
        firmware=firmware,
        bootloader=next(iter(boot.loaders), None),
        bootloaders=boot.loaders,
        entries=boot.entries,
        grub_config=boot.grub_config,
        grubenv=boot.grubenv,
        esp=family.esp,
        kernels=kernels(tree, boot.entries),
    )


def proofs(seen, *able: str) -> list[Proof]:
    def how(version):
        return "initramfs" if version in able else "missing"

    return [Proof(k.version, k.default, how(k.version), how(k.version), problem="old") for k in seen.kernels]


def starts(tree, family) -> str:
    return next(kernel.version for kernel in facts(tree, family).kernels if kernel.default)


@pytest.mark.parametrize("family", SEVERAL.values(), ids=SEVERAL)
def test_the_other_kernel_starts_where_the_default_cannot(family):
    tree = family.tree()
    other = next(version for version in family.versions if version != family.kernel)
    choice = choose(tree, facts(tree, family), proofs(facts(tree, family), other))

    assert starts(tree.after(choice.changes), family) == other
    assert [proof.version for proof in choice.proofs if proof.default] == [other]
    assert [warning.code for warning in choice.warnings] == ["default-kernel-changed"]
    assert family.kernel in choice.warnings[0].message


@pytest.mark.parametrize("family", SEVERAL.values(), ids=SEVERAL)
def test_nothing_changes_where_the_default_can(family):
    tree = family.tree()
    seen = facts(tree, family)
    given = tuple(proofs(seen, *family.versions))

    assert choose(tree, seen, given) == Choice(given)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_nothing_changes_where_no_kernel_can(family):
    tree = family.tree()
    seen = facts(tree, family)

    assert choose(tree, seen, proofs(seen)).changes == ()


@pytest.mark.parametrize("family", SEVERAL.values(), ids=SEVERAL)
def test_a_second_run_changes_nothing(family):
    tree = family.tree()
    other = next(version for version in family.versions if version != family.kernel)
    seen = facts(tree, family)
    after = tree.after(choose(tree, seen, proofs(seen, other)).changes)
    again = facts(after, family)

    assert choose(after, again, proofs(again, other)).changes == ()


def test_grubs_environment_block_keeps_its_size_and_what_else_it_remembers():
    family = FAMILIES["RHEL 8"]
    tree, seen = family.tree(), facts(family.tree(), family)
    (change,) = choose(tree, seen, proofs(seen, family.versions[0])).changes
    block = change.data.decode()

    assert change.path == "/boot/grub2/grubenv"
    assert len(change.data) == 1024
    assert grubenv.parse(block)["saved_entry"].endswith(family.versions[0])
    assert grubenv.parse(block)["kernelopts"].startswith("root=UUID=")


def test_an_entry_chosen_for_the_next_boot_alone_does_not_come_in_between():
    family = FAMILIES["RHEL 8"]
    tree = family.tree()
    block = tree.content["/boot/grub2/grubenv"].decode()
    saved = grubenv.parse(block)["saved_entry"]
    tree.content["/boot/grub2/grubenv"] = grubenv.edited(block, "next_entry", saved).encode()
    seen = facts(tree, family)
    changes = choose(tree, seen, proofs(seen, family.versions[0])).changes

    assert starts(tree.after(changes), family) == family.versions[0]


def test_grub_cfg_is_edited_in_one_line_and_its_settings_follow():
    family = FAMILIES["Debian 12, UEFI"]
    tree, seen = family.tree(), facts(family.tree(), family)
    changes = {
        change.path: change.data.decode()
        for change in choose(tree, seen, proofs(seen, family.versions[0])).changes
    }
    old = tree.content["/boot/grub/grub.cfg"].decode().splitlines()
    new = changes["/boot/grub/grub.cfg"].splitlines()

    assert [(a, b) for a, b in zip(old, new, strict=True) if a != b] == [
        (
            '   set default="0"',
            f"   set default='gnulinux-advanced-{ROOT}>gnulinux-{family.versions[0]}-advanced-{ROOT}'",
        )
    ]
    assert "GRUB_DEFAULT='gnulinux-advanced-" in changes["/etc/default/grub"]


def test_oracles_next_update_brings_the_kernel_back_that_can():
    family = FAMILIES["RHEL 6"]
    tree = family.tree()
    tree.content["/etc/sysconfig/kernel"] = b"UPDATEDEFAULT=yes\nDEFAULTKERNEL=kernel-uek\n"
    seen = facts(tree, family)
    after = tree.after(choose(tree, seen, proofs(seen, family.versions[0])).changes)

    assert after.content["/etc/sysconfig/kernel"] == b"UPDATEDEFAULT=yes\nDEFAULTKERNEL=kernel\n"


def test_a_default_that_is_no_kernel_at_all_is_replaced_too():
    family = FAMILIES["Debian 12, UEFI"]
    tree = family.tree()
    del tree.content[f"/lib/modules/{family.kernel}/modules.dep"]
    seen = facts(tree, family)

    assert not any(kernel.default for kernel in seen.kernels)
    after = tree.after(choose(tree, seen, proofs(seen, family.versions[0])).changes)
    assert starts(after, family) == family.versions[0]


def test_where_the_loader_keeps_no_default_it_is_said():
    family = FAMILIES["RHEL 8"]
    tree, seen = family.tree(), facts(family.tree(), family)
    seen = replace(seen, bootloader="uki")
    choice = choose(tree, seen, proofs(seen, family.versions[0]))

    assert choice.changes == ()
    assert [warning.code for warning in choice.warnings] == ["default-kernel-unchanged"]


def test_an_environment_block_without_room_is_left_as_it_is():
    family = FAMILIES["RHEL 8"]
    tree = family.tree()
    tree.content["/boot/grub2/grubenv"] = (
        "# GRUB Environment Block\nkernelopts=" + "x" * 980 + "\n"
    ).encode()
    seen = facts(tree, family)
    assert choose(tree, seen, proofs(seen, family.versions[0])).changes == ()


def test_a_menu_without_a_default_gets_one():
    family = FAMILIES["RHEL 6"]
    tree = Memory(
        {
            **family.files,
            "/boot/grub/grub.conf": family.files["/boot/grub/grub.conf"].replace("default=0\n", ""),
        }
    )
    seen = facts(tree, family)
    after = tree.after(choose(tree, seen, proofs(seen, family.versions[0])).changes)

    assert starts(after, family) == family.versions[0]


def test_a_legacy_grub_that_remembers_its_default_is_told_in_its_file():
    family = FAMILIES["RHEL 6"]
    files = {**family.files, "/boot/grub/default": "0\n#\n# WARNING\n"}
    files["/boot/grub/grub.conf"] = files["/boot/grub/grub.conf"].replace("default=0", "default saved")
    tree = Memory(files)
    seen = facts(tree, family)
    after = tree.after(choose(tree, seen, proofs(seen, family.versions[0])).changes)

    assert after.content["/boot/grub/default"] == b"1\n#\n# WARNING\n"
    assert starts(after, family) == family.versions[0]
