"""What the guest can drive, once every kernel has been looked at: pure.

A proof is one kernel's: where its VirtIO drivers are. The guest's capabilities are those of its default
kernel; another kernel that cannot drive VirtIO is a warning, because somebody may choose it at boot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from transferd.model import BlockBus, Caps, GuestKernel, NicModel, Warning_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convert.inspection import Inspection
    from transferd.model import Firmware

How = Literal["builtin", "initramfs", "appended", "missing"]
# From the strongest proof to none: a kernel is as good as its weakest driver.
ORDER: tuple[How, ...] = ("builtin", "initramfs", "appended", "missing")


@dataclass(frozen=True)
class Proof:
    """Where one kernel finds its drivers after the changes, and why not where one is missing."""

    version: str
    default: bool
    block: How
    net: How
    rng: bool = False
    balloon: bool = False
    problem: str | None = None

    @property
    def weakest(self) -> How:
        return max(self.block, self.net, key=ORDER.index)

    def document(self) -> GuestKernel:
        return GuestKernel(version=self.version, virtio=self.weakest, default=self.default)


def of(inspection: Inspection, proofs: Sequence[Proof], firmware: Firmware) -> Caps:
    """The hardware for this guest. VirtIO is all or nothing: without it the disks are not converted."""
    default = next((proof for proof in proofs if proof.default), None)
    if default is None or default.weakest == "missing":
        return Caps.without_virtio(firmware, boot_disk=inspection.boot_disk)
    return Caps(
        block=BlockBus.VIRTIO,
        net=NicModel.VIRTIO,
        firmware=firmware,
        rng=default.rng,
        balloon=default.balloon,
        agent=inspection.agent,
        rtc=inspection.rtc,
        boot_disk=inspection.boot_disk,
    )


def warnings(proofs: Sequence[Proof]) -> tuple[Warning_, ...]:
    return tuple(
        Warning_(
            code="kernel-without-virtio",
            message=f"kernel {proof.version} cannot drive VirtIO: {proof.problem}",
            remedy="do not choose it in the boot menu, or remove it",
        )
        for proof in proofs
        if not proof.default and proof.weakest == "missing"
    )
