"""What each kernel of the guest can drive as it stands: its modules and its initramfs, read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.capabilities import How, Proof
from convert.linux import segment
from convert.modules import Modules
from convert.tree import MIB, text
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from convert.inspection import Inspection, Kernel
    from convert.tree import Tree

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


def examine(tree: Tree, inspection: Inspection) -> list[Proof]:
    """What each kernel can drive as it stands."""
    return [look.proof() for look in look_at_all(tree, inspection)]


def look_at_all(tree: Tree, inspection: Inspection) -> list[Look]:
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
