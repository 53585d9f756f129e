"""X11 gets a display driver that the guest has, where a configuration asks for VMware's."""

import pytest

from convert.linux.display import use_common_display
from tests.convert.memory import Memory, inspection, wishes

CONF = 'Section "Device"\n    Identifier "card"\n    Driver      "vmware"\nEndSection\n'
MODESETTING = "/usr/lib/xorg/modules/drivers/modesetting_drv.so"
VESA = "/usr/lib64/xorg/modules/drivers/vesa_drv.so"


def step(files):
    return use_common_display(Memory(files), inspection(), wishes())


@pytest.mark.parametrize("path", ["/etc/X11/xorg.conf", "/etc/X11/xorg.conf.d/10-card.conf"])
@pytest.mark.parametrize(("library", "driver"), [(MODESETTING, "modesetting"), (VESA, "vesa")])
def test_the_driver_is_replaced_by_one_that_the_guest_has(path, library, driver):
    tree = Memory({path: CONF, library: ""})
    changes = use_common_display(tree, inspection(), wishes()).changes

    assert [change.data.decode() for change in changes] == [CONF.replace("vmware", driver)]
    assert use_common_display(tree.after(changes), inspection(), wishes()).changes == ()


def test_without_another_driver_the_configuration_stays_and_is_reported():
    done = step({"/etc/X11/xorg.conf": CONF})

    assert done.changes == ()
    assert [warning.code for warning in done.warnings] == ["display-driver"]


@pytest.mark.parametrize(
    "conf", [CONF.replace("vmware", "nvidia"), '# Driver "vmware"\n', 'Driver "vmmouse"\n']
)
def test_other_drivers_comments_and_the_mouse_stay(conf):
    assert step({"/etc/X11/xorg.conf": conf, MODESETTING: ""}).changes == ()


def test_a_guest_without_a_configuration_needs_nothing():
    done = step({MODESETTING: ""})

    assert (done.changes, done.warnings) == ((), ())
