"""Every kernel finds VirtIO: proven in the kernel itself or in its initramfs, and added where it is not.

The proof is a reading, not a hope: a driver is compiled in (modules.builtin, or the kernel's configuration
where that index is not there), or its file and the files that it depends on are in the initramfs image. What
is missing is appended to the image (linux.segment), out of the guest's own /lib/modules. Nothing of the
guest is run, and what was in the image stays. Where `wishes.rebuild` says so, the guest's own tool makes the
image anew instead (linux.rebuild). Either way the tool is told to keep the drivers (linux.persistence).

Several kernels may share one image; it then gets one segment with the drivers of all of them. An image that
loads nothing by itself (no udev) or that is part of a unified kernel image is proven or left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert import capabilities
from convert.linux import default_kernel, devices, extension, modprobe, persistence, rebuild, rescue
from convert.linux.looks import BLOCK, NET, WANTED, look_at_all
from convert.linux.network import naming_files
from convert.plan import Contribution
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from convert.inspection import Inspection
    from convert.linux.looks import Look
    from convert.tree import Tree
    from convert.wishes import Wishes


def bring_virtio(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:
    """Prove VirtIO for every kernel."""
    looks = look_at_all(tree, inspection)
    if wishes.rebuild:
        made = rebuild.plan(tree, inspection, looks)
    else:
        made = extension.plan(tree, looks, _image_edit(tree, inspection, wishes))
    proofs = tuple(made.proofs.get(look.kernel.version, look.proof()) for look in looks)
    kept: persistence.Kept = persistence.NOTHING
    if made.drivers or made.names:
        naming = tuple(naming_files(tree)) if made.names or wishes.rebuild else ()
        kept = persistence.keep(tree, inspection.initramfs, _loadable(looks), naming)
    warnings = (
        *capabilities.warnings(proofs),
        *made.warnings,
        *kept.warnings,
        *(warning for look in looks for warning in _root_lacks(inspection, look)),
        *rescue.warnings(tree, BLOCK + NET),
    )
    chosen = default_kernel.choose(tree, inspection, proofs)
    changes = (*kept.changes, *made.changes, *chosen.changes)
    return Contribution(changes, (*warnings, *chosen.warnings), proofs=chosen.proofs)


def _image_edit(tree: Tree, inspection: Inspection, wishes: Wishes) -> Callable[[str, bytes], bytes]:
    """What an image carries of the guest's settings changes as the settings themselves did."""
    by_disk = devices.image_edit(tree, inspection, wishes.source)
    return lambda name, content: modprobe.image_edit(name, by_disk(name, content))


def _loadable(looks: Sequence[Look]) -> tuple[str, ...]:
    """The wanted drivers that some kernel has as a file and none is without: tools stumble over others."""
    every = [look.modules for look in looks]
    return tuple(
        name
        for name in WANTED
        if all(each.known(name) for each in every) and any(each.path(name) for each in every)
    )


def _root_lacks(inspection: Inspection, look: Look) -> Iterator[Warning_]:
    """An image that never could mount the root is not ours to mend, but will be blamed on the move."""
    if look.drivers is None:
        return
    root = inspection.root
    needed = [root.kind]
    needed += ["dm_crypt"] if root.container else []
    needed += ["dm_mod"] if root.disk is None and not root.device.startswith("/dev/md") else []
    lacking = [name for name in needed if look.modules.path(name) and not look.holds(name)]
    if lacking:
        yield Warning_(
            code="initramfs-lacks-root-driver",
            message=f"kernel {look.kernel.version}: the root needs {', '.join(lacking)}, "
            "which its initramfs lacks",
            remedy="rebuild this kernel's initramfs in the guest, or do not choose it in the boot menu",
        )
