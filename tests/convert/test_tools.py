"""VMware's services are masked where they exist, and nowhere else."""

from convert.linux.tools import mask_vmware_tools
from tests.convert.memory import Memory, inspection, wishes

UNITS = "/usr/lib/systemd/system"
MASKS = "/etc/systemd/system"


def test_units_that_a_package_brought_are_masked():
    tree = Memory(
        {
            f"{UNITS}/open-vm-tools.service": "",
            rf"{UNITS}/run-vmblock\x2dfuse.mount": "",
            f"{UNITS}/ssh.service": "",
        }
    )
    masked = mask_vmware_tools(tree, inspection(), wishes()).changes

    assert {change.path: change.data for change in masked} == {
        f"{MASKS}/open-vm-tools.service": b"/dev/null",
        rf"{MASKS}/run-vmblock\x2dfuse.mount": b"/dev/null",
    }


def test_an_alias_is_not_a_unit_of_its_own():
    tree = Memory({}, {f"{UNITS}/vmtoolsd.service": "open-vm-tools.service"})

    assert mask_vmware_tools(tree, inspection(), wishes()).changes == ()


def test_masked_units_stay_masked():
    tree = Memory({f"{UNITS}/vgauth.service": ""})
    converted = tree.after(mask_vmware_tools(tree, inspection(), wishes()).changes)

    assert mask_vmware_tools(converted, inspection(), wishes()).changes == ()


def test_the_administrators_own_unit_is_left_and_reported():
    tree = Memory({f"{UNITS}/vgauth.service": "", f"{MASKS}/vgauth.service": "[Service]"})
    contribution = mask_vmware_tools(tree, inspection(), wishes())

    assert contribution.changes == ()
    assert [warning.code for warning in contribution.warnings] == ["vmware-unit-not-masked"]
