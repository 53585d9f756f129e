"""What a guest has and can do, asked of its files one capability at a time; pure.

A capability is there when its program or its configuration is. Folders of programs are listed once, because a
question to an appliance costs 15 ms and a listing of a thousand names no more than two questions.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from convert.loaders.menu import Places
from convert.tree import text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convert.tree import Tree

# In this order: a guest may have dracut beside the tool that its distribution uses.
INITRAMFS_TOOLS = {
    "initramfs-tools": ("update-initramfs",),
    "dracut": ("dracut",),
    "mkinitcpio": ("mkinitcpio",),
    "mkinitfs": ("mkinitfs",),
    "booster": ("booster",),
    "make-initrd": ("make-initrd",),
    "mkinitrd": ("mkinitrd",),
}
PROGRAMS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
SYSTEMD = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
LIBRARY_FOLDERS = ("/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd")
SHARED_LIBRARY = re.compile(r"libsystemd-shared-(\d+)")
# Jobs of upstart; without them its programs are systemd's compatibility, or another init's.
UPSTART_JOBS = ("rcS.conf", "rc-sysinit.conf")
SELINUX_CONFIG = "/etc/selinux/config"
SELINUX_SETTING = re.compile(r"^[ \t]*SELINUX[ \t]*=[ \t]*([a-z]+)", re.MULTILINE | re.IGNORECASE)
SELINUX_MODES = ("enforcing", "permissive", "disabled")
# selinux(8): the kernel's command line overrides the file. enforcing=0 only makes it permissive.
SELINUX_OFF = re.compile(r"(?<!\S)selinux=0(?!\S)")
SELINUX_LENIENT = re.compile(r"(?<!\S)enforcing=0(?!\S)")

Mode = Literal["enforcing", "permissive", "disabled"]


@dataclass(frozen=True)
class Traits:
    init: str | None
    systemd: int | None
    network: tuple[str, ...]
    initramfs: str | None
    agent: bool
    rtc: Literal["utc", "localtime"]


def traits(tree: Tree) -> Traits:
    places = Places(tree)
    return Traits(
        init=_init(tree, places),
        systemd=systemd_version(tree),
        network=_network(tree, places),
        initramfs=next((name for name, has in INITRAMFS_TOOLS.items() if _runs(places, *has)), None),
        agent=_runs(places, "qemu-ga"),
        rtc="localtime" if "LOCAL" in (text(tree, "/etc/adjtime") or "").split() else "utc",
    )


def _runs(places: Places, *programs: str) -> bool:
    return any(places.has(f"{folder}/{program}") for folder in PROGRAMS for program in programs)


def _init(tree: Tree, places: Places) -> str | None:
    """What /sbin/init is. Ubuntu 14.04 has systemd's program beside upstart, which is what runs."""
    target = posixpath.basename(next((t for p in PROGRAMS if (t := tree.link(f"{p}/init"))), ""))
    upstart = _runs(places, "initctl") and set(UPSTART_JOBS) & set(tree.names("/etc/init"))
    evidence = {
        "systemd": target == "systemd",
        "openrc": _runs(places, "openrc", "openrc-init"),
        "upstart": upstart,
        "sysvinit": places.has("/etc/inittab") and target != "busybox",
        "busybox": target == "busybox",
    }
    found = next((name for name, seen in evidence.items() if seen), None)
    return found or ("systemd" if any(places.has(path) for path in SYSTEMD) else None)


def systemd_version(tree: Tree) -> int | None:
    folders = [
        *LIBRARY_FOLDERS,
        *(f"/usr/lib/{name}/systemd" for name in tree.names("/usr/lib") if "-linux-" in name),
    ]
    names = [name for folder in folders for name in tree.names(folder)]
    return next((int(match[1]) for name in names if (match := SHARED_LIBRARY.match(name))), None)


def _network(tree: Tree, places: Places) -> tuple[str, ...]:
    """Stacks that have configuration here. ifcfg files are read by wicked, NetworkManager and initscripts."""
    scripts, suse = (tree.names(f"/etc/sysconfig/{name}") for name in ("network-scripts", "network"))
    evidence = {
        "ifupdown": places.has("/etc/network/interfaces"),
        "NetworkManager": bool(tree.names("/etc/NetworkManager/system-connections")),
        "netplan": bool(tree.names("/etc/netplan")),
        "wicked": _runs(places, "wicked") and bool(suse),
        "ifcfg": any(name.startswith("ifcfg-") for name in (*scripts, *suse)),
        "networkd": bool(tree.names("/etc/systemd/network")),
        "netctl": _has_file(tree, "/etc/netctl"),
        "cloud-init": places.has("/etc/cloud/cloud.cfg"),
    }
    return tuple(name for name, seen in evidence.items() if seen)


def _has_file(tree: Tree, folder: str) -> bool:
    """Profiles, which are files: netctl's package brings folders of its own."""
    return any(not tree.names(f"{folder}/{name}") for name in tree.names(folder) if name != "examples")


def selinux(tree: Tree, options: Sequence[str]) -> Mode | None:
    """The mode that the guest boots into, `options` being its kernel's; None where there is no policy."""
    match = SELINUX_SETTING.search(text(tree, SELINUX_CONFIG) or "")
    if match is None:
        return None
    mode = next((mode for mode in SELINUX_MODES if mode == match[1].lower()), "disabled")
    line = " ".join(options)
    if SELINUX_OFF.search(line) or mode == "disabled":
        return "disabled"
    return "permissive" if SELINUX_LENIENT.search(line) or mode == "permissive" else "enforcing"
