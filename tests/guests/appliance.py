"""Disks made in a libguestfs appliance: for what needs a kernel with LVM, LUKS, md, btrfs or XFS.

The appliance calls the disks by the names that they have on VMware, so the guest's own grub-install and
update-grub find there what they would have found at home.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import guestfs

from convert import accel
from convert.lifeline import Lifeline
from tests.guests.installation import Installation
from tests.guests.layouts import luks_key
from tests.guests.tools import run
from transferd.errors import UsageError

# The slowest guest, XFS on LVM on RAID, takes a fifth of it.
DEADLINE = 900.0
NAMES = ("sda", "sdb")


def make_disks(plan: Installation, root: Path, folder: Path) -> list[Path]:
    """Disks with everything on them, from the archive `root` of the root folder."""
    disks = [folder / f"disk{at}.img" for at in range(plan.recipe.disks)]
    for disk, table in zip(disks, plan.layout.tables, strict=True):
        with disk.open("xb") as image:
            image.truncate(plan.layout.size)
        run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk, stdin=table, deadline=30)
    with Lifeline(DEADLINE), _launched(disks) as handle:
        _lay_out(handle, plan, folder)
        handle.tar_in(str(root), "/")
        for command in plan.finish:
            handle.command(list(command))
        for command in plan.last:
            _beside(handle, command)
        handle.umount_all()
        handle.shutdown()
    return disks


@contextmanager
def _launched(disks: Sequence[Path]) -> Iterator[Any]:
    """guestfs translates names in its own calls alone, and its kernel finds the disks in any order."""
    while True:
        handle = guestfs.GuestFS(python_return_dict=True)
        try:
            handle.set_backend("direct")
            handle.set_backend_settings(list(accel.backend_settings()))
            for name, disk in zip(NAMES, disks, strict=False):
                handle.add_drive_opts(str(disk), format="raw", label=name, cachemode="unsafe")
            handle.launch()
            if _in_order(handle, disks):
                yield handle
                return
        except RuntimeError as error:
            raise UsageError(f"the appliance could not finish {disks[0]}: {error}") from error
        finally:
            handle.close()


def _in_order(handle: Any, disks: Sequence[Path]) -> bool:
    _beside(handle, ("udevadm", "settle"))
    names = NAMES[: len(disks)]
    found = [_beside(handle, ("readlink", "-f", f"/dev/disk/guestfs/{name}")).strip() for name in names]
    return found == [f"/dev/{name}" for name in names]


def _lay_out(handle: Any, plan: Installation, folder: Path) -> None:
    key = folder / "root.key"
    key.write_text(luks_key(plan.recipe))
    if plan.layout.luks:
        handle.debug_upload(str(key), "/run/root.key", 0o400)
    for command in plan.layout.prepare:
        _beside(handle, ("udevadm", "settle"))
        _beside(handle, command)
    for mount in plan.layout.mounts:
        if mount.point != "/":
            handle.mkdir_p(mount.point)
        subvolume = [option for option in mount.options.split(",") if option.startswith("subvol=")]
        handle.mount_options(",".join(subvolume), mount.source, mount.point)


def _beside(handle: Any, command: Sequence[str]) -> str:
    """One command of the appliance itself, which guestfs offers for debugging alone."""
    said: str = handle.debug("sh", [shlex.join(command)])
    return said
