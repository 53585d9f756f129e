"""Which segment goes behind which initramfs image, so that all of its kernels find VirtIO and their names.

All segments together must fit: /boot is often a small file system of its own. The default kernel's image
comes first, so that where space ends, it is the older kernels that stay as they were, and are reported.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convert.linux import segment
from convert.plan import Change
from convert.tree import MIB
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convert import cpio
    from convert.capabilities import Proof
    from convert.linux.looks import Look
    from convert.tree import Tree

STEP = "initramfs"
# Left free on the file system of the images, so that the next kernel update can begin at all.
SPARE = 8 * MIB


@dataclass
class Made:
    """What is done to images. `proofs` by kernel version, where they differ from what was proven before.
    `drivers` and `names` say what came into some image."""

    changes: list[Change] = field(default_factory=list)
    proofs: dict[str, Proof] = field(default_factory=dict)
    warnings: list[Warning_] = field(default_factory=list)
    drivers: bool = False
    names: bool = False


def plan(tree: Tree, looks: Sequence[Look], edit: Callable[[str, bytes], bytes]) -> Made:
    """`edit` gives disks lasting names in a file of an image (linux.devices)."""
    made = Made()
    space = _Space(tree)
    for path, group in by_image(looks).items():
        _extend(tree, path, group, edit, space, made)
    return made


def by_image(looks: Sequence[Look]) -> dict[str, list[Look]]:
    """Kernels by the path of their image, the default kernel's first."""
    groups: dict[str, list[Look]] = {}
    for look in sorted(looks, key=lambda look: not look.kernel.default):
        if look.image_path is not None:
            groups.setdefault(look.image_path, []).append(look)
    return groups


def needy(group: Sequence[Look]) -> list[Look]:
    """Kernels that lack drivers which they could have."""
    return [look for look in group if look.missing and look.proof(added=True).weakest != "missing"]


class _Space:
    """What is left on the images' file systems, all segments planned so far taken off."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._planned = 0

    def take(self, path: str, length: int) -> None:
        folder = posixpath.dirname(path)
        free = self._tree.free(folder) - self._planned
        if free < length + SPARE:
            needed = -(-(length + SPARE) // MIB)
            raise ConversionError(
                f"{folder} has {max(0, free) // MIB} MiB free and its initramfs needs {needed} MiB"
            )
        self._planned += length


def _extend(
    tree: Tree,
    path: str,
    group: list[Look],
    edit: Callable[[str, bytes], bytes],
    space: _Space,
    made: Made,
) -> None:
    drivers = group[0].drivers
    if drivers is None:
        return
    image, needing = drivers.image, needy(group)
    naming = segment.naming(tree, image) if image.listing.loads_by_alias else []
    if (closed := _closed(image)) is not None:
        _refuse(path, needing, naming, closed, made)
        return
    bringing, files = _brought(tree, needing, made)
    files += [*naming, *segment.settings(image, edit)]
    if not files:
        return
    try:
        entries = segment.whole(image, files)
        data = segment.data(entries, image)
        space.take(path, len(data))
    except ConversionError as error:
        _refuse(path, bringing, naming, error.problem, made)
        return
    made.changes.append(_change(path, image, group, entries, data))
    made.proofs |= {look.kernel.version: look.proof(added=True) for look in bringing}
    made.drivers |= bool(bringing)
    made.names |= bool(naming)


def _brought(tree: Tree, needing: list[Look], made: Made) -> tuple[list[Look], list[cpio.Entry]]:
    """The kernels whose modules could be read, and these modules."""
    bringing, files = [], []
    for look in needing:
        if look.drivers is None:
            continue
        try:
            files += segment.modules(tree, look.kernel, look.drivers, look.modules, look.missing)
            bringing.append(look)
        except ConversionError as error:
            made.proofs[look.kernel.version] = look.proof(problem=error.problem)
    return bringing, files


def _closed(image: segment.Image) -> str | None:
    """Why nothing that is appended to this image would be of use."""
    if image.listing.unified is not None:
        return "its initramfs is part of a unified kernel image, which is left as it was signed"
    if not image.listing.loads_by_alias:
        return "nothing in its initramfs loads drivers by the hardware that is there (no udev)"
    return None


def _refuse(path: str, looks: list[Look], naming: list[cpio.Entry], problem: str, made: Made) -> None:
    made.proofs |= {look.kernel.version: look.proof(problem=problem) for look in looks}
    if naming:
        made.warnings.append(
            Warning_(
                code="initramfs-without-names",
                message=f"{path} does not get the names of the guest's interfaces: {problem}",
                remedy="check the names of this guest's interfaces after the first boot",
            )
        )


def _change(
    path: str, image: segment.Image, group: list[Look], entries: list[cpio.Entry], data: bytes
) -> Change:
    versions = ", ".join(look.kernel.version for look in group)
    modules = sum(".ko" in posixpath.basename(entry.name) for entry in entries)
    return Change(
        path,
        "append",
        STEP,
        f"kernel {versions} needs VirtIO drivers and interface names before it has a root",
        before=image.digest,
        data=data,
        binary=f"cpio segment: {modules} modules, {len(entries)} entries",
    )
