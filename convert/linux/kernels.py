"""Every kernel finds VirtIO: proven in the kernel itself or in its initramfs, and added where it is not.

The proof is a reading, not a hope: a driver is compiled in (modules.builtin), or its file and the files
that it depends on are in the initramfs image. What is missing is appended to the image (linux.segment), out
of the guest's own /lib/modules. Nothing of the guest is run, and what was in the image stays.

For initramfs-tools a block in /etc/initramfs-tools/modules makes the next rebuild keep the drivers; its
udev hook copies .link files and rules by itself.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from convert import capabilities
from convert.capabilities import How, Proof
from convert.linux import segment
from convert.modules import Modules
from convert.plan import Change, Contribution, write
from convert.tree import MIB, text
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convert.inspection import Inspection, Kernel
    from convert.tree import Tree
    from convert.wishes import Wishes

STEP = "initramfs"
BLOCK = ("virtio_pci", "virtio_blk")
NET = ("virtio_pci", "virtio_net")
# Brought too where the kernel has them: KubeVirt plugs disks into a running guest by virtio-scsi.
EXTRA = ("virtio_scsi", "sd_mod")
WANTED = tuple(dict.fromkeys((*BLOCK, *NET, *EXTRA)))
# modules.builtin and modules.dep of distribution kernels have up to 1 MiB.
INDEX_LIMIT = 8 * MIB
# Left free on the file system of the images, so that the next kernel update can begin at all.
SPARE = 8 * MIB

DROP_IN = "/etc/initramfs-tools/modules"
BEGIN = "# BEGIN transferd: drivers of the hardware that this guest was moved to\n"
END = "# END transferd\n"


def bring_virtio(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:  # noqa: ARG001 (a step)
    """Prove VirtIO for every kernel."""
    proofs: list[Proof] = []
    changes: list[Change] = []
    for kernel in inspection.kernels:
        proof, change = _prove(tree, inspection, kernel)
        proofs.append(proof)
        changes += change
    changes += _persist(tree, inspection, proofs)
    warnings = (*capabilities.warnings(proofs), *_warnings(inspection, proofs))
    return Contribution(tuple(changes), warnings, proofs=tuple(proofs))


def examine(tree: Tree, inspection: Inspection) -> list[Proof]:
    """What each kernel can drive as it stands."""
    return [_examined(tree, kernel)[0] for kernel in inspection.kernels]


def _examined(tree: Tree, kernel: Kernel) -> tuple[Proof, Modules, segment.Image | None]:
    modules = read_modules(tree, kernel)
    if kernel.initrd is None:
        return _proof(kernel, modules, problem="it has no initramfs in /boot"), modules, None
    try:
        image = segment.read_image(tree, kernel.initrd, kernel.version)
    except ConversionError as error:
        return _proof(kernel, modules, problem=error.problem), modules, None
    return _proof(kernel, modules, held=image.modules), modules, image


def _prove(tree: Tree, inspection: Inspection, kernel: Kernel) -> tuple[Proof, tuple[Change, ...]]:
    """The proof after the changes. Where they would not make one, there are none."""
    before, modules, image = _examined(tree, kernel)
    if image is None or kernel.initrd is None:
        return before, ()
    missing = segment.missing_modules(image, modules, WANTED)
    after = _proof(kernel, modules, held=image.modules, added=frozenset(missing))
    if after.weakest == "missing":
        return after, ()
    try:
        entries = segment.entries(tree, inspection, kernel, image, missing)
        if not entries:
            return after, ()
        data = segment.data(entries, image.size)
        _demand_space(tree, kernel.initrd, len(data))
    except ConversionError as error:
        return _proof(kernel, modules, held=image.modules, problem=error.problem), ()
    what = f"cpio segment: {len(missing)} modules, {len(entries)} entries"
    reason = f"kernel {kernel.version} needs VirtIO drivers and interface names before it has a root"
    return after, (
        Change(kernel.initrd, "append", STEP, reason, before=image.digest, data=data, binary=what),
    )


def _demand_space(tree: Tree, path: str, length: int) -> None:
    folder = posixpath.dirname(path)
    if (free := tree.free(folder)) < length + SPARE:
        needed = -(-(length + SPARE) // MIB)
        raise ConversionError(f"{folder} has {free // MIB} MiB free and its initramfs needs {needed} MiB")


def read_modules(tree: Tree, kernel: Kernel) -> Modules:
    dep, builtin = (
        (tree.read(f"{kernel.modules}/{index}", INDEX_LIMIT) or b"").decode("utf-8", "replace")
        for index in ("modules.dep", "modules.builtin")
    )
    return Modules.parse(dep=dep, builtin=builtin)


def _proof(
    kernel: Kernel,
    modules: Modules,
    *,
    held: frozenset[str] = frozenset(),
    added: frozenset[str] = frozenset(),
    problem: str | None = None,
) -> Proof:
    unknown = [name for name in (*BLOCK, *NET) if not modules.known(name)]
    lacking = (
        f"it has no {', '.join(dict.fromkeys(unknown))}" if unknown else "its initramfs has no VirtIO drivers"
    )
    return Proof(
        version=kernel.version,
        default=kernel.default,
        block=_how(modules, BLOCK, held, added),
        net=_how(modules, NET, held, added),
        rng=modules.known("virtio_rng"),
        balloon=modules.known("virtio_balloon"),
        problem=problem or lacking,
    )


def _how(modules: Modules, names: Sequence[str], held: frozenset[str], added: frozenset[str]) -> How:
    files = set(modules.closure(tuple(names)))
    if not all(modules.known(name) for name in names):
        return "missing"
    if not files:
        return "builtin"
    if files <= held:
        return "initramfs"
    return "appended" if files <= held | added else "missing"


def _persist(tree: Tree, inspection: Inspection, proofs: list[Proof]) -> tuple[Change, ...]:
    """The marked block that makes initramfs-tools include the drivers from now on."""
    if inspection.initramfs != "initramfs-tools" or all(proof.weakest != "appended" for proof in proofs):
        return ()
    old = text(tree, DROP_IN) or ""
    before, _, rest = old.partition(BEGIN)
    after = rest.partition(END)[2]
    gap = "" if not before or before.endswith("\n") else "\n"
    block = BEGIN + "".join(f"{name}\n" for name in WANTED) + END
    reason = "the next update-initramfs must keep the VirtIO drivers"
    return write(tree, DROP_IN, before + gap + block + after, step=STEP, reason=reason)


def _warnings(inspection: Inspection, proofs: list[Proof]) -> tuple[Warning_, ...]:
    if inspection.initramfs == "initramfs-tools" or all(proof.weakest != "appended" for proof in proofs):
        return ()
    tool = inspection.initramfs or "unknown"
    return (
        Warning_(
            code="initramfs-not-persistent",
            message=f"the guest's initramfs tool ({tool}) was not told to keep the VirtIO drivers",
            remedy="rebuild the initramfs once in the running guest before the next kernel update",
        ),
    )
