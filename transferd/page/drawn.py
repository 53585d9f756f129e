"""What a page says of one disk, taken from its copy."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from transferd import digest
from transferd.copy import Copied
from transferd.digest import Digests
from transferd.plan import extent_of_block
from transferd.stats import OPERATIONS, Latency, Sample


class Kind(IntEnum):
    """What a block of the disk is, and how it came onto the target."""

    ZERO = 0
    DATA = 1
    RESUMED = 2
    HEALED = 3


@dataclass(frozen=True, slots=True)
class Drawn:
    """`blocks`: a Kind for each block, in order. `latencies`: of the operations that happened."""

    label: str
    target: str
    size: int
    data: int
    digest: str
    proven: bool
    verdict: str
    end: Sample
    samples: Sequence[Sample]
    latencies: Mapping[str, Latency]
    blocks: bytes
    warnings: Sequence[str]


def drawn(copied: Copied) -> Drawn:
    latencies = {operation: copied.stats.latency(operation) for operation in OPERATIONS}
    return Drawn(
        label=copied.label,
        target=copied.target,
        size=copied.digests.size,
        data=copied.data,
        digest=copied.digests.disk(),
        proven=copied.proof.target,
        verdict=verdict(copied),
        end=copied.end,
        samples=copied.timeline.samples,
        latencies={operation: latency for operation, latency in latencies.items() if latency.count},
        blocks=kinds(copied.digests, set(copied.resumed), set(copied.healed)),
        warnings=copied.warnings,
    )


def verdict(copied: Copied) -> str:
    if not copied.proof.target:
        return "nothing was read back from the target (--verify none)"
    parts = ["every block was read back from the target and compared with what was received"]
    if copied.healed:
        parts.append(f"{len(copied.healed)} agreed only after being copied again")
    if copied.compared:
        parts.append(f"{copied.compared} were read again from the source and agreed")
    return "; ".join(parts)


def kinds(digests: Digests, resumed: Collection[int], healed: Collection[int]) -> bytes:
    """A Kind for each block. What was read and found zero is as zero as what the extents called so."""

    def kind(index: int) -> Kind:
        if index in healed:
            return Kind.HEALED
        zero = digest.of_zeros(extent_of_block(index, digests.size).length)
        if digests.is_zero(index) or digests[index] == zero:
            return Kind.ZERO
        return Kind.RESUMED if index in resumed else Kind.DATA

    return bytes(map(kind, range(len(digests))))
