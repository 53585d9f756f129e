"""One disk, from any source to any target: open, ask for extents, plan, copy, flush, prove."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from transferd import plan, verify
from transferd.backends import Source
from transferd.backends.file import FileSource, FileTarget
from transferd.backends.nbd_source import NbdSource
from transferd.digest import Digests
from transferd.engine import Copy, Limits
from transferd.errors import UsageError
from transferd.extents import data_bytes
from transferd.model import DiskResult, Verify
from transferd.plan import Block
from transferd.progress import Progress

NBD_SCHEMES = ("nbd://", "nbds://", "nbd+unix://", "nbds+unix://")


@dataclass(frozen=True, slots=True)
class How:
    """What an operator chooses about a copy. `prove`: re-read the target."""

    prove: bool
    limits: Limits
    progress: Progress


@dataclass(frozen=True, slots=True)
class Copied:
    """A disk that was copied: its result, and the digest of each block as it was received."""

    result: DiskResult
    digests: Digests


def open_source(name: str) -> NbdSource | FileSource:
    """An NBD URI or the path of a raw file or block device."""
    if name.startswith(NBD_SCHEMES):
        return NbdSource(name, name)
    if "://" in name:
        raise UsageError(f"{name}: not an NBD URI", remedy=f"use one of {', '.join(NBD_SCHEMES)}, or a path")
    return FileSource(Path(name))


def refuse_same(source: str, target: Path) -> None:
    """UsageError when source and target are one file: copying it would destroy it."""
    path = Path(source)
    if path.exists() and target.exists() and path.samefile(target):
        raise UsageError(f"{target}: source and target are the same file")


async def disk(source: Source, target: FileTarget, label: str, how: How) -> Copied:
    """Copy `source` to `target` and, where wanted, re-read the target and compare it block by block."""
    began = time.monotonic()
    extents = await source.extents()
    data = data_bytes(extents)
    target.require_space(data)
    digests = Digests(source.size)
    task = how.progress.task(f"{label} copy", source.size)

    def done(block: Block, name: bytes) -> None:
        digests[block.index] = name
        task.advance(block.length)

    blocks = plan.full(source.size, extents, how.limits.request_size)
    counters = await Copy(source, target, how.limits, done).run(blocks)
    verified = Verify(mode="none")
    if how.prove:
        verifying = how.progress.task(f"{label} verify", source.size)
        verified = await verify.target(target, digests, verifying.advance)
    result = DiskResult(
        label=label,
        target=target.name,
        size=source.size,
        data_bytes=data,
        read_bytes=counters.read,
        written_bytes=counters.written,
        zero_bytes=counters.zero,
        skipped_bytes=counters.skipped,
        digest=digests.disk(),
        verify=verified,
        elapsed_s=round(time.monotonic() - began, 3),
        retries=source.retries,
    )
    return Copied(result, digests)
