"""The guest's initramfs tool is told to keep the VirtIO drivers and our naming files: the next kernel update
builds a new image, of which our segment knows nothing.

One place for each tool, in its own language. A file of our own is written whole. In a file of the guest's,
what is ours stands between two marks, or is a word more in a list; the rest stays as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.plan import Change, write
from convert.tree import text
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convert.tree import Tree

STEP = "initramfs"
REASON = "the next update of a kernel or its initramfs must keep the VirtIO drivers and interface names"
NOTE = (
    "# Written by transferd: drivers of the hardware that this guest was moved to, and its interface names.\n"
)
BEGIN = "# BEGIN transferd: drivers of the hardware that this guest was moved to\n"
END = "# END transferd\n"

INITRAMFS_TOOLS = "/etc/initramfs-tools/modules"
DRACUT = "/etc/dracut.conf.d/50-transferd.conf"
MKINITCPIO = "/etc/mkinitcpio.conf"
MKINITFS = "/etc/mkinitfs/mkinitfs.conf"
FEATURES = "/etc/mkinitfs/features.d"
SYSCONFIG = "/etc/sysconfig/kernel"
BOOSTER = "/etc/booster.yaml"
MAKE_INITRD = "/etc/initrd.mk"
FEATURE = "transferd"


@dataclass(frozen=True)
class Kept:
    changes: tuple[Change, ...] = ()
    warnings: tuple[Warning_, ...] = ()


NOTHING = Kept()


def keep(tree: Tree, tool: str | None, drivers: Sequence[str], naming: Sequence[str]) -> Kept:
    """`naming`: paths of our files that belong into the image, for tools that do not look for them."""
    told = TOOLS[tool](tree, drivers, naming) if tool in TOOLS else None
    if told is not None:
        return Kept(told)
    message = f"the guest's initramfs tool ({tool or 'unknown'}) was not told to keep the VirtIO drivers"
    remedy = "rebuild the initramfs once in the running guest before the next kernel update"
    return Kept(warnings=(Warning_(code="initramfs-not-persistent", message=message, remedy=remedy),))


def _initramfs_tools(tree: Tree, drivers: Sequence[str], _naming: Sequence[str]) -> tuple[Change, ...]:
    return _block(tree, INITRAMFS_TOOLS, [f"{name}\n" for name in drivers])


def _dracut(tree: Tree, drivers: Sequence[str], naming: Sequence[str]) -> tuple[Change, ...]:
    """The spaces inside the quotes are dracut's own rule: `+=` joins without one (dracut.conf(5))."""
    lines = [NOTE, f'add_drivers+=" {" ".join(drivers)} "\n']
    lines += [f'install_items+=" {" ".join(naming)} "\n'] if naming else []
    return _write(tree, DRACUT, "".join(lines))


def _mkinitcpio(tree: Tree, drivers: Sequence[str], naming: Sequence[str]) -> tuple[Change, ...]:
    """In the main file, not in a drop-in: a preset that names its configuration reads no drop-ins.

    Up to version 22 the settings were strings, which `+=(...)` would spoil.
    """
    old = text(tree, MKINITCPIO) or ""
    lines = []
    for setting, words in (("MODULES", drivers), ("FILES", naming)):
        joined = " ".join(words)
        if words and re.search(rf"^\s*{setting}=[\"']", old, re.MULTILINE):
            lines.append(f'{setting}="${setting} {joined}"\n')
        elif words:
            lines.append(f"{setting}+=({joined})\n")
    return _block(tree, MKINITCPIO, lines)


def _mkinitfs(tree: Tree, drivers: Sequence[str], naming: Sequence[str]) -> tuple[Change, ...]:
    """A feature of our own: those of the package may be replaced by its next version."""
    globs = "".join(f"kernel/drivers/{FOLDERS[name]}/{name}.ko*\n" for name in drivers)
    changes = _write(tree, f"{FEATURES}/{FEATURE}.modules", globs)
    if naming:
        changes += _write(tree, f"{FEATURES}/{FEATURE}.files", "".join(f"{path}\n" for path in naming))
    return changes + _words(tree, MKINITFS, "features", [FEATURE])


def _mkinitrd(tree: Tree, drivers: Sequence[str], _naming: Sequence[str]) -> tuple[Change, ...] | None:
    """SUSE's. Red Hat's old tool of that name has no such list."""
    if not re.search(r"^INITRD_MODULES=", text(tree, SYSCONFIG) or "", re.MULTILINE):
        return None
    return _words(tree, SYSCONFIG, "INITRD_MODULES", drivers)


def _booster(tree: Tree, drivers: Sequence[str], _naming: Sequence[str]) -> tuple[Change, ...]:
    """One comma-separated string; its init reads no naming files."""
    old = text(tree, BOOSTER) or ""
    match = re.search(r"^modules:[ \t]*([^#\n]*?)(?=[ \t]*(?:#|$))", old, re.MULTILINE)
    have = [word.strip() for word in match[1].split(",") if word.strip()] if match else []
    line = "modules: " + ",".join([*have, *(name for name in drivers if name not in have)])
    if match:
        return _write(tree, BOOSTER, f"{old[: match.start()]}{line}{old[match.end() :]}")
    return _write(tree, BOOSTER, f"{_ended(old)}{line}\n")


def _make_initrd(tree: Tree, drivers: Sequence[str], naming: Sequence[str]) -> tuple[Change, ...]:
    lines = [f"MODULES_ADD += {' '.join(drivers)}\n"]
    lines += [f"PUT_FILES += {' '.join(naming)}\n"] if naming else []
    return _block(tree, MAKE_INITRD, lines)


# Where the kernel's tree has the drivers: mkinitfs wants paths.
FOLDERS = {
    "virtio_pci": "virtio",
    "virtio_blk": "block",
    "virtio_net": "net",
    "virtio_scsi": "scsi",
    "sd_mod": "scsi",
}
TOOLS: dict[str | None, Callable[[Tree, Sequence[str], Sequence[str]], tuple[Change, ...] | None]] = {
    "initramfs-tools": _initramfs_tools,
    "dracut": _dracut,
    "mkinitcpio": _mkinitcpio,
    "mkinitfs": _mkinitfs,
    "mkinitrd": _mkinitrd,
    "booster": _booster,
    "make-initrd": _make_initrd,
}
# Tools that put our naming files into the image once they are told.
CARRIERS = frozenset({"initramfs-tools", "dracut", "mkinitcpio", "mkinitfs", "make-initrd"})


def _block(tree: Tree, path: str, lines: Sequence[str]) -> tuple[Change, ...]:
    old = text(tree, path) or ""
    before, _, rest = old.partition(BEGIN)
    after = rest.partition(END)[2] if END in rest else rest
    return _write(tree, path, _ended(before) + BEGIN + "".join(lines) + END + after)


def _words(tree: Tree, path: str, setting: str, words: Sequence[str]) -> tuple[Change, ...]:
    """The words that a shell variable's list has not, added to its last assignment.

    Where there is none that we read (it may go over several lines), one more line adds them to what is there.
    """
    old = text(tree, path) or ""
    found = list(re.finditer(rf"^[ \t]*{setting}=([\"']?)([^\"'\n]*)\1(?=[ \t]*(?:#|$))", old, re.MULTILINE))
    have = found[-1][2].split() if found else [f"${setting}"]
    line = f'{setting}="{" ".join([*have, *(word for word in words if word not in have)])}"'
    if found:
        return _write(tree, path, f"{old[: found[-1].start()]}{line}{old[found[-1].end() :]}")
    return _write(tree, path, f"{_ended(old)}{line}\n")


def _ended(content: str) -> str:
    return content if not content or content.endswith("\n") else f"{content}\n"


def _write(tree: Tree, path: str, content: str) -> tuple[Change, ...]:
    return write(tree, path, content, step=STEP, reason=REASON)
