"""The checks that stand between a changed overlay and a disk: what they let pass, and what not."""

from __future__ import annotations

import pytest

from convert import pipeline
from convert.checks import converted
from convert.report import Report
from tests.convert.family_cases import CASES
from tests.convert.memory import Memory


def checked(case, tree: Memory) -> dict[str, tuple[bool, bool, str]]:
    """(ok, proven, detail) by name, of the guest as the tree has it."""
    report = Report(case.family.firmware, say=lambda _: None)
    inspection = case.inspected(tree)
    plan = pipeline.draw(tree, inspection, case.wishes(), report)
    found = converted(tree, inspection, plan, report.result())
    return {check.name: (check.ok, check.proven, check.detail) for check in found}


def after_conversion(case) -> Memory:
    tree = case.tree()
    report = Report(case.family.firmware, say=lambda _: None)
    return tree.after(pipeline.draw(tree, case.inspected(tree), case.wishes(), report).changes)


@pytest.fixture
def case():
    return CASES["Debian 12"]


def entry_of(checks: dict[str, tuple[bool, bool, str]]) -> tuple[bool, bool, str]:
    return next(found for name, found in checks.items() if name.startswith("boot entry"))


def test_each_entry_of_the_menu_is_shown_to_boot(case):
    ok, proven, detail = entry_of(checked(case, after_conversion(case)))

    assert (ok, proven) == (True, True)
    assert case.family.kernel in detail


def test_a_default_entry_whose_initramfs_is_gone_ends_the_conversion(case):
    tree = after_conversion(case)
    image = next(entry for entry in case.inspected(tree).entries if entry.default).initrds[0]
    del tree.content[image]
    ok, proven, detail = entry_of(checked(case, tree))

    assert (ok, proven) == (False, False)
    assert f"{image} does not exist" in detail


def test_an_entry_that_nobody_starts_by_default_is_reported_and_no_more():
    case = CASES["RHEL 7"]
    checks = checked(case, after_conversion(case))
    rescue = next(found for name, found in checks.items() if "0-rescue" in name)

    assert rescue[:2] == (True, False)
    assert "no kernel with modules" in rescue[2]


def test_a_default_entry_with_a_root_that_no_disk_has_ends_the_conversion(case):
    tree = after_conversion(case)
    uuid = case.inspected(tree).root.uuid
    for path in ("/boot/grub/grub.cfg", "/etc/fstab"):
        tree.content[path] = tree.content[path].replace(uuid.encode(), b"00000000" + uuid[8:].encode())
    checks = checked(case, tree)

    assert entry_of(checks)[0] is False
    assert checks["boot and mounts use lasting device names"][0] is False


def test_a_uefi_guest_without_a_loader_for_a_new_machine_is_reported():
    case = CASES["RHEL 8, UEFI"]
    tree = after_conversion(case)
    for path in [path for path in tree.content if path.endswith("/BOOTX64.EFI")]:
        del tree.content[path]

    ok, proven, detail = checked(case, tree)["UEFI finds a boot loader"]

    assert (ok, proven) == (True, False)
    assert "BOOTX64.EFI" in detail
