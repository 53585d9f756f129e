"""What the caller knows and wants of a conversion, beside the disks themselves: read by every step.

It comes from the command line and the source document, never from the guest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from transferd.model import SourceVM


@dataclass(frozen=True)
class Wishes:
    """`root`: the root file system by UUID, label or `disk:partition`, where several could be it.

    `keys`: files that hold LUKS keys, tried in their order. `packages`: a folder with packages of the guest
    agent. `rebuild`: run the guest's own initramfs tool in the appliance instead of appending a segment.
    """

    source: SourceVM
    root: str | None = None
    keys: tuple[Path, ...] = ()
    packages: Path | None = None
    rebuild: bool = False
