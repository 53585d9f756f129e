"""The guest's own initramfs tool makes the image anew, inside the appliance, when the user wants it so.

It runs for every kernel whose image lacks something, after all other changes of the plan are made, so it
packs the names, tables and drop-ins as they will be (linux.persistence tells it the drivers). It sees the
appliance's hardware, which is VirtIO's too. The check afterwards lists what it made, as it does any image.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from convert.linux import segment
from convert.linux.extension import STEP, Made, by_image, needy
from convert.linux.persistence import CARRIERS
from convert.plan import Change
from convert.tree import file_digest
from transferd.errors import ConversionError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convert.guest import Guest
    from convert.inspection import Inspection
    from convert.linux.looks import Look
    from convert.tree import Tree

# Measured: update-initramfs of one Debian 12 kernel takes 5 to 10 minutes under TCG on two shared cores.
DEADLINE = 1800.0
LAST_WORDS = 300

TOOLS: dict[str, Callable[[Look, str], tuple[str, ...]]] = {
    "initramfs-tools": lambda look, _: ("update-initramfs", "-u", "-k", look.kernel.version),
    # Options that dracut has had since RHEL 6; what else it needs is in its configuration.
    "dracut": lambda look, path: ("dracut", "--force", path, look.kernel.version),
    "mkinitcpio": lambda *_: ("mkinitcpio", "-P"),
    "mkinitfs": lambda look, path: ("mkinitfs", "-o", path, look.kernel.version),
    "mkinitrd": lambda look, path: ("mkinitrd", "-k", look.kernel.image, "-i", path),
    "booster": lambda look, path: (
        "booster", "build", "--force", "--kernel-version", look.kernel.version, path
    ),
    "make-initrd": lambda look, _: ("make-initrd", "-k", look.kernel.version),
}  # fmt: skip


def plan(tree: Tree, inspection: Inspection, looks: Sequence[Look]) -> Made:
    made = Made()
    tool = inspection.initramfs or ""
    for path, group in by_image(looks).items():
        needing = _needy(group)
        if needing and (problem := _hindrance(tool, group)) is not None:
            made.proofs |= {look.kernel.version: look.proof(problem=problem) for look in needing}
            continue
        naming = _lacks_names(tree, tool, group)
        if needing or naming:
            made.proofs |= {look.kernel.version: look.proof(added=True) for look in needing}
            made.drivers |= bool(needing)
            made.names |= naming
            made.changes += _new(made.changes, [_change(tree, tool, path, look) for look in needing or group])
    return made


def _needy(group: Sequence[Look]) -> list[Look]:
    """An image that cannot be read is made anew too."""
    unread = [look for look in group if look.drivers is None and look.proof(added=True).weakest == "appended"]
    return [*needy(group), *unread]


def _hindrance(tool: str, group: Sequence[Look]) -> str | None:
    if tool not in TOOLS:
        return f"the guest has no initramfs tool that can be run ({tool or 'none found'})"
    unified = any(look.drivers and look.drivers.image.listing.unified is not None for look in group)
    if unified and tool != "mkinitcpio":
        return f"its initramfs is part of a unified kernel image, which {tool} alone does not make"
    return None


def _lacks_names(tree: Tree, tool: str, group: Sequence[Look]) -> bool:
    """Only a tool that takes our files along can mend it, and only an image with udev has use for them."""
    drivers = group[0].drivers
    if tool not in CARRIERS or drivers is None or not drivers.image.listing.loads_by_alias:
        return False
    return bool(segment.naming(tree, drivers.image))


def _change(tree: Tree, tool: str, path: str, look: Look) -> Change:
    argv = TOOLS[tool](look, path)
    reason = f"kernel {look.kernel.version} needs VirtIO drivers and interface names before it has a root"
    before = look.drivers.image.digest if look.drivers else _digest(tree, path)
    return Change(path, "run", STEP, reason, before=before, data=shlex.join(argv).encode(), argv=argv)


def _digest(tree: Tree, path: str) -> str:
    local = tree.fetch(path, segment.IMAGE_LIMIT)
    try:
        return file_digest(local)
    finally:
        local.unlink()


def _new(have: Sequence[Change], more: Sequence[Change]) -> list[Change]:
    """One command may make the images of all kernels."""
    return list(
        {change.argv: change for change in more if change.argv not in {c.argv for c in have}}.values()
    )


def run(guest: Guest, change: Change) -> None:
    """Raises ConversionError with the tool's last words."""
    try:
        guest.run(change.argv, DEADLINE)
    except ConversionError as error:
        last = printable(" ".join(error.problem.split()))[-LAST_WORDS:] or "no reason given"
        raise ConversionError(
            f"{shlex.join(change.argv)} failed in the guest: {last}",
            operation="rebuild initramfs",
            remedy="the disks are unchanged; convert without --rebuild-initramfs, or mend the guest",
        ) from error
