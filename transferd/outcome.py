"""The result document of a copied disk, from what the copy counted."""

from __future__ import annotations

from transferd.copy import Copied
from transferd.errors import printable
from transferd.model import DiskResult, Latency, Verify
from transferd.plan import block_count
from transferd.stats import OPERATIONS, Stats


def disk(copied: Copied) -> DiskResult:
    sample = copied.end
    samples = copied.timeline.samples
    digests = copied.digests
    return DiskResult(
        label=copied.label,
        target=printable(copied.target),
        size=digests.size,
        data_bytes=copied.data,
        read_bytes=sample.read,
        written_bytes=sample.written,
        zero_bytes=sample.zero,
        skipped_bytes=sample.skipped,
        digest=digests.disk(),
        verify=Verify(
            mode=copied.proof.name,
            blocks=block_count(digests.size) if copied.proof.target else 0,
            mismatched=copied.mismatched,
            healed=sample.healed,
            source_blocks=copied.compared,
            audited_bytes=sample.audited,
        ),
        elapsed_s=round(sample.at, 3),
        retries=sample.retries,
        reconnects=sample.reconnects,
        overloads=sample.overloads,
        resumed_blocks=len(copied.resumed),
        sessions=max((each.sessions for each in samples), default=0),
        depth=max((each.depth for each in samples), default=0),
        latency=latencies(copied.stats),
        warnings=copied.warnings,
        change_id=(copied.point or {}).get("change"),
    )


def latencies(stats: Stats) -> dict[str, Latency]:
    """Percentiles of every operation that happened."""
    found = {operation: stats.latency(operation) for operation in OPERATIONS}
    return {
        operation: Latency(
            count=each.count,
            p50_ms=round(each.p50 * 1000, 3),
            p95_ms=round(each.p95 * 1000, 3),
            p99_ms=round(each.p99 * 1000, 3),
        )
        for operation, each in found.items()
        if each.count
    }
