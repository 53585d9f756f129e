"""X11 finds its display on the new hardware: a driver that somebody wrote down for VMware's card is replaced.

Without a configuration X probes, and nothing is to do. With `Driver "vmware"` it ends with "no screens
found". The replacement is a driver that the guest has: modesetting, or vesa on systems before it. Input
needs nothing: QEMU speaks VMware's mouse protocol too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux.edits import edited, files, joined
from convert.plan import Contribution
from transferd.model import Warning_

if TYPE_CHECKING:
    from convert.inspection import Inspection
    from convert.tree import Tree
    from convert.wishes import Wishes

STEP = "display"
FOLDER = "/etc/X11"
CONFIGS = ("xorg.conf", "xorg.conf-4", "XF86Config", "XF86Config-4")
# xorg.conf(5): keywords and driver names ignore case.
DRIVER = re.compile(r'^([ \t]*Driver[ \t]+")(?:vmware|vmwlegacy)(")', re.MULTILINE | re.IGNORECASE)
CHOICES = ("modesetting", "vesa")


def use_common_display(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:  # noqa: ARG001 (a step)
    """Let X11 find its display."""
    there = tree.names(FOLDER)
    paths = [f"{FOLDER}/{name}" for name in CONFIGS if name in there]
    paths += files(tree, f"{FOLDER}/xorg.conf.d", ".conf") if "xorg.conf.d" in there else []
    if not paths:
        return Contribution()
    driver = next((choice for choice in CHOICES if _has(tree, choice)), None)
    if driver is not None:
        reason = f"X11 has no card for VMware's driver on the new hardware; {driver} drives any"
        edit = rf"\g<1>{driver}\g<2>"
        return joined(
            edited(tree, path, lambda conf: DRIVER.sub(edit, conf), step=STEP, reason=reason)
            for path in paths
        )
    return joined(_left(tree, path) for path in paths)


def _has(tree: Tree, driver: str) -> bool:
    folders = ["/usr/lib/xorg", "/usr/lib64/xorg"]
    folders += [f"/usr/lib/{name}/xorg" for name in tree.names("/usr/lib") if "-linux-" in name]
    return any(tree.exists(f"{folder}/modules/drivers/{driver}_drv.so") for folder in folders)


def _left(tree: Tree, path: str) -> Contribution:
    """Asks for the edit only to learn whether there would be one."""
    would = edited(tree, path, lambda conf: DRIVER.sub(r"\1\2", conf), step=STEP, reason="")
    if not would.changes:
        return Contribution(warnings=would.warnings)
    message = f"{path} wants VMware's display driver, and the guest has neither modesetting nor vesa"
    remedy = "move the file away, or install one of the two"
    return Contribution(warnings=(Warning_(code="display-driver", message=message, remedy=remedy),))
