"""Makes settled blocks durable in groups and records them: data, fdatasync, record, fdatasync. One thread.

A group is closed by its size or its age, whichever comes first; that bounds what a crash can cost. Blocks go
on to be verified only from here, when the storage has said that it holds them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from transferd.backends import Target
from transferd.digest import Digests
from transferd.journal import Journal
from transferd.limits import Limits, Permit
from transferd.plan import Block
from transferd.settle import Settled
from transferd.stats import Stats


@dataclass(slots=True)
class Committer:
    """Call from one thread only."""

    target: Target
    journal: Journal | None
    digests: Digests
    limits: Limits
    stats: Stats
    durable: Callable[[range], None]  # told of block numbers, after they are recorded
    permit: Permit
    _blocks: dict[int, bytes] = field(default_factory=dict)
    _runs: list[tuple[int, int]] = field(default_factory=list)
    _bytes: int = 0  # that a crash would cost
    _pending: int = 0  # of the disk
    _oldest: float = 0.0

    def take(self, settled: Settled) -> None:
        if not self._blocks and not self._runs:
            self._oldest = time.monotonic()
        work = settled.work
        if isinstance(work, Block):
            assert settled.digest is not None  # noqa: S101 (every block has one; tells mypy)
            self._blocks[work.index] = settled.digest
        else:
            self._runs.append((work.index, work.count))
        self._pending += work.length
        if isinstance(work, Block) or not self.target.fresh:  # zeros that cost nothing need no commit
            self._bytes += work.length
        if self._bytes >= self.limits.commit_bytes:
            self.commit()
        else:
            self.commit_if_old()

    def commit_if_old(self) -> None:
        if time.monotonic() - self._oldest >= self.limits.commit_seconds:
            self.commit()

    def commit(self) -> None:
        """Everything taken so far, durable and recorded. TargetError: none of it may be believed."""
        if not self._blocks and not self._runs:
            return
        blocks, runs = self._blocks, self._runs
        self._blocks, self._runs, self._bytes = {}, [], 0
        self.permit.require(now=True)
        began = time.monotonic()
        self.target.sync()
        self.stats.took("sync", time.monotonic() - began)
        if self.journal is not None:
            self.journal.blocks(blocks, runs)
        for index, digest in blocks.items():
            self.digests[index] = digest
        for first, length in runs:
            self.digests.set_zero(first, length)
        self.stats.add(durable=self._pending)
        self._pending = 0
        for index in blocks:
            self.durable(range(index, index + 1))
        for first, length in runs:
            self.durable(range(first, first + length))
