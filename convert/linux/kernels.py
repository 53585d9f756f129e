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

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert import capabilities
from convert.capabilities import How, Proof
from convert.linux import default_kernel, devices, extension, modprobe, persistence, rebuild, rescue, segment
from convert.linux.network import naming_files
from convert.modules import Modules
from convert.plan import Contribution
from convert.tree import MIB, text
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from convert.inspection import Inspection, Kernel
    from convert.tree import Tree
    from convert.wishes import Wishes

BLOCK = ("virtio_pci", "virtio_blk")
NET = ("virtio_pci", "virtio_net")
# Brought too where the kernel has them: KubeVirt plugs disks into a running guest by virtio-scsi.
EXTRA = ("virtio_scsi", "sd_mod")
WANTED = tuple(dict.fromkeys((*BLOCK, *NET, *EXTRA)))
# modules.builtin and modules.dep of distribution kernels have up to 1 MiB.
INDEX_LIMIT = 8 * MIB


@dataclass(frozen=True)
class Look:
    """One kernel as it stands. `drivers` is None where it has no image that can be read."""

    kernel: Kernel
    modules: Modules
    drivers: segment.Drivers | None
    problem: str | None = None

    @property
    def image_path(self) -> str | None:
        """A unified kernel image holds its initramfs itself."""
        unified = self.kernel.image if self.kernel.image.endswith(".efi") else None
        return self.kernel.initrd or unified

    @property
    def missing(self) -> tuple[str, ...]:
        return self.drivers.missing(self.modules, WANTED) if self.drivers else ()

    def holds(self, name: str) -> bool:
        """The driver is in the kernel or in its image."""
        return name in self.modules.builtin or (self.drivers is not None and name in self.drivers.held)

    def proof(self, *, added: bool = False, problem: str | None = None) -> Proof:
        """What is proven now, or with all that is `missing` added."""
        unknown = [name for name in dict.fromkeys((*BLOCK, *NET)) if not self.modules.known(name)]
        lacking = f"it has no {', '.join(unknown)}" if unknown else "its initramfs has no VirtIO drivers"
        return Proof(
            version=self.kernel.version,
            default=self.kernel.default,
            block=self._how(BLOCK, added=added),
            net=self._how(NET, added=added),
            rng=self.modules.known("virtio_rng"),
            balloon=self.modules.known("virtio_balloon"),
            problem=problem or self.problem or lacking,
        )

    def _how(self, names: tuple[str, ...], *, added: bool) -> How:
        if not all(self.modules.known(name) for name in names):
            return "missing"
        if not self.modules.closure(names):
            return "builtin"
        if self.drivers and not self.drivers.missing(self.modules, names):
            return "initramfs"
        return "appended" if added else "missing"


def bring_virtio(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:
    """Prove VirtIO for every kernel."""
    looks = _looks(tree, inspection)
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


def examine(tree: Tree, inspection: Inspection) -> list[Proof]:
    """What each kernel can drive as it stands."""
    return [look.proof() for look in _looks(tree, inspection)]


def _looks(tree: Tree, inspection: Inspection) -> list[Look]:
    """Each image is read once, however many kernels share it."""
    images: dict[str, segment.Image | str] = {}
    return [_look(tree, kernel, images) for kernel in inspection.kernels]


def _look(tree: Tree, kernel: Kernel, images: dict[str, segment.Image | str]) -> Look:
    without = Look(kernel, read_modules(tree, kernel), None, "it has no initramfs in /boot")
    path = without.image_path
    if path is None:
        return without
    if path not in images:
        try:
            images[path] = segment.read_image(tree, path)
        except ConversionError as error:
            images[path] = error.problem
    image = images[path]
    if isinstance(image, str):
        return Look(kernel, without.modules, None, image)
    return Look(kernel, without.modules, segment.Drivers.of(image, kernel.version))


def read_modules(tree: Tree, kernel: Kernel) -> Modules:
    dep = (tree.read(f"{kernel.modules}/modules.dep", INDEX_LIMIT) or b"").decode("utf-8", "replace")
    builtin = tree.read(f"{kernel.modules}/modules.builtin", INDEX_LIMIT)
    if builtin is not None:
        return Modules.parse(dep=dep, builtin=builtin.decode("utf-8", "replace"))
    lines = set((text(tree, f"/boot/config-{kernel.version}") or "").splitlines())
    configured = (name for name in WANTED if f"CONFIG_{name.upper()}=y" in lines)
    return Modules.parse(dep=dep, builtin="\n".join(configured))


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
