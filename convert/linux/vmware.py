"""What VMware's guest tools left behind is made harmless without running the guest's package manager.

The packages stay, and everything here can be undone in the guest. On the new hardware the services would do
nothing (ConditionVirtualization=vmware) or fail, as the vmblock mount does; a shared folder in fstab would
stop the boot; a repository of tools for other hardware would hold up every update. What is harmless as it
stands is left: PAM files, the udev rules for disk timeouts (they match VMware's disks only), vmwgfx options,
settings of chrony and ntp.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux import repositories, services
from convert.linux.edits import edited, files, joined
from convert.linux.fstab import WORD

if TYPE_CHECKING:
    from convert.inspection import Inspection
    from convert.plan import Contribution
    from convert.tree import Tree
    from convert.wishes import Wishes

STEP = services.STEP
UNITS = (
    "open-vm-tools.service",
    "vmtoolsd.service",
    "vmware-tools.service",
    "vmware-tools-thinprint.service",
    "vgauth.service",
    "vgauthd.service",
    r"run-vmblock\x2dfuse.mount",
    "vmware-vmblock-fuse.service",
)
# open-vm-tools' on Debian, Alpine and SUSE 12; VMware's own packages and installer; SUSE 10 and 11.
SERVICES = re.compile(r"open-vm-tools|vmtoolsd|vgauthd?|vmware-tools(-[a-z]+)?|vmware-guestd?")
AUTOSTART = "/etc/xdg/autostart/vmware-user.desktop"
SHARED_FOLDER = re.compile(r"(fuse\.)?vmhgfs(-fuse)?")
WITHOUT = ("noauto", "nofail")
APT_FOLDER = "/etc/apt/sources.list.d"
# Modules that end with an error where there is no VMware: systemd-modules-load.service would fail with them.
MODULES = re.compile(
    r"^([ \t]*(?:vmw_balloon|vmmemctl|vmci|vmhgfs|vmblock|vmsync|vmxnet|pvscsi)\b)", re.MULTILINE
)


def quiet_vmware_tools(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:  # noqa: ARG001 (a step)
    """Make VMware's guest tools harmless."""
    return joined(
        [
            services.off(tree, UNITS, SERVICES),
            _autostart(tree),
            _shared_folders(tree),
            *_modules(tree),
            *_repositories(tree),
        ]
    )


def installed(tree: Tree) -> list[str]:
    """VMware's units that a package brought."""
    return services.present(tree, UNITS)


def _autostart(tree: Tree) -> Contribution:
    reason = "the desktop need not start VMware's user agent"
    return edited(tree, AUTOSTART, _hidden, step=STEP, reason=reason)


def _hidden(entry: str) -> str:
    """`Hidden=true` is how a desktop entry is switched off (Desktop Application Autostart Specification)."""
    if re.search(r"^Hidden=true\s*$", entry, re.MULTILINE):
        return entry
    return re.sub(
        r"^\[Desktop Entry\][^\n]*(\n|\Z)",
        r"[Desktop Entry]\nHidden=true\n",
        entry,
        count=1,
        flags=re.MULTILINE,
    )


def _shared_folders(tree: Tree) -> Contribution:
    reason = "VMware's shared folders are gone; waiting for one would end the boot in emergency mode"
    return edited(tree, "/etc/fstab", _without_shared_folders, step=STEP, reason=reason)


def _without_shared_folders(fstab: str) -> str:
    return "".join(_not_mounted(line) for line in fstab.splitlines(keepends=True))


def _not_mounted(line: str) -> str:
    words = list(WORD.finditer(line))
    if len(words) < 4 or words[0][0].startswith("#"):  # noqa: PLR2004 (fstab(5): the fourth is the options)
        return line
    if not (words[0][0].startswith(".host:") or SHARED_FOLDER.fullmatch(words[2][0])):
        return line
    old = words[3][0].split(",")
    new = ",".join([*old, *(option for option in WITHOUT if option not in old)])
    return line[: words[3].start()] + new + line[words[3].end() :]


def _modules(tree: Tree) -> list[Contribution]:
    reason = "these modules load on VMware's hardware only, and failing to load them fails a unit at boot"
    lists = ["/etc/modules", *files(tree, "/etc/modules-load.d", ".conf")]
    return [edited(tree, path, _unlisted, step=STEP, reason=reason) for path in lists]


def _unlisted(modules: str) -> str:
    return MODULES.sub(r"# \1", modules)


def _repositories(tree: Tree) -> list[Contribution]:
    reason = "VMware's package repository serves tools for hardware that is gone"
    found = [(path, repositories.ini) for path in files(tree, "/etc/yum.repos.d", ".repo")]
    found += [(path, repositories.ini) for path in files(tree, "/etc/zypp/repos.d", ".repo")]
    found += [(path, repositories.deb822) for path in files(tree, APT_FOLDER, ".sources")]
    lists = ["/etc/apt/sources.list", *files(tree, APT_FOLDER, ".list")]
    found += [(path, repositories.one_line) for path in lists]
    return [edited(tree, path, disable, step=STEP, reason=reason) for path, disable in found]
