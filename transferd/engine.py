"""The copy engine: blocks in, bytes on the target, a digest per block out.

    plan -> readers -> writers -> committer -> verifiers
            one a session: reads in flight, recovery
                       hash as received, find zeros, write
                                  fdatasync, journal, in groups
                                               read back past the cache, compare

Every stage has its own threads, because each waits for something else (network, target, storage's promise),
and all the heavy work releases the GIL. What bounds it: a ring of block buffers, the window of each session,
a budget shared with other disks of the host, a pace. The thread that calls `run` only watches: it samples,
opens and retires sessions by measured goodput, and ends a copy in which nothing moves any more.

Told to stop, or after an error of the source, the later stages still finish what was received: it is
written, made durable and recorded, so a restart need not read it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from transferd.backends import Source, Target
from transferd.committer import Committer
from transferd.crew import Crew, Halted, Stage
from transferd.digest import Digests
from transferd.errors import Error, TargetError
from transferd.journal import Journal
from transferd.limits import Means
from transferd.plan import Run, Work
from transferd.reader import Reader, Shared
from transferd.ring import Ring
from transferd.sessions import Growth
from transferd.settle import Settle, Settled
from transferd.stats import Sample, Stats
from transferd.supply import Arrival, Supply
from transferd.verify import Verifier
from transferd.window import Window

TICK = 0.1  # s between looks
WIND_DOWN = 8.0  # s that later stages get to finish after a halt; SIGTERM's grace in a pod is 30 s

Planner = Callable[[Callable[[], int]], Iterator[Work]]  # given `gap`, the plan


@dataclass(slots=True)
class Watch:
    """Ends a copy whose target has not moved for `limit` seconds although there is work for it."""

    limit: float
    name: str
    _moved: float = field(default_factory=time.monotonic)
    _last: tuple[int, ...] = ()

    def look(self, sample: Sample, pending: int) -> None:
        """TargetError when the limit is passed. A source that is silent is the reader's business."""
        now = time.monotonic()
        state = (sample.settled, sample.durable, sample.verified)
        if state != self._last or pending == 0:
            self._last, self._moved = state, now
        elif now - self._moved > self.limit:
            raise TargetError(
                f"nothing moved for {self.limit:.0f} s",
                disk=self.name,
                operation="write",
                remedy="the target hangs: check its storage, then run the command again",
            )


@dataclass(slots=True)
class Engine:
    """What the passes over one disk have in common. `watched` is called about ten times a second."""

    source: Source
    target: Target
    digests: Digests
    means: Means
    stats: Stats
    crew: Crew
    watched: Callable[[Sample], None]
    _ring: Ring = field(init=False)
    _readers: list[Reader] = field(default_factory=list)
    _stages: list[Stage[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ring = Ring(self.means.limits.slots)

    def copy(
        self,
        plan: Planner,
        settle: Settle,
        journal: Journal | None,
        verifier: Verifier | None,
        earlier: Iterable[range] = (),
    ) -> None:
        """Every block settled, durable, recorded and compared. The first error is raised alone, or Halted.

        `earlier`: blocks that earlier attempts made durable; they are verified with this one's.
        """
        limits = self.means.limits
        verifiers = Stage[range](
            self.crew,
            "verifier",
            limits.verifiers if verifier else 0,
            lambda blocks: self._prove(verifier, blocks),
        )
        committer = Committer(
            self.target,
            journal,
            self.digests,
            limits,
            self.stats,
            verifiers.put if verifier else _forget,
            self.means.permit,
        )
        commits = Stage[Settled](
            self.crew,
            "committer",
            1,
            committer.take,
            idle=committer.commit,
            idle_after=limits.commit_seconds,
        )
        for blocks in earlier if verifier else ():
            verifiers.put(blocks)
        self._pass(plan, settle, commits.put, [commits, verifiers])

    def compare(self, plan: Planner, settle: Settle) -> None:
        """Read blocks of the source again, without writing anything."""
        self._pass(plan, settle, _forget, [])

    def _pass(
        self, plan: Planner, settle: Settle, settled: Callable[[Settled], None], later: list[Stage[Any]]
    ) -> None:
        limits = self.means.limits
        writers = Stage[Arrival | Run](
            self.crew, "writer", limits.writers, lambda item: self._settle(settle, item, settled)
        )
        self._stages = [writers, *later]
        self._read(
            Shared(
                self.source,
                Supply(plan(self._gap)),
                self._ring,
                self.means,
                self.stats,
                self.crew,
                writers.put,
            )
        )
        for stage in self._stages:
            stage.close()
            self._until(lambda: stage.done)  # noqa: B023 (used before the next turn)
        if self.crew.error is not None:
            raise self.crew.error
        if self.crew.halted:
            raise Halted

    def _read(self, shared: Shared) -> None:
        """Run the readers until the plan is drained; sessions come and go as they pay."""
        most = self.means.limits.connections
        growth = Growth(most)
        ended: list[Event] = []
        for number in range(min(self.source.sessions, most)):
            self._start_reader(shared, ended, first=number == 0)

        def done() -> bool:
            alive = [reader for reader in self._readers if not (reader.ended or reader.retired)]
            if alive and not shared.supply.drained:
                change = growth.decide(len(alive), self.stats.sample().read, time.monotonic())
                if change > 0:
                    self._start_reader(shared, ended, first=False)
                elif change < 0 and len(alive) > 1:
                    alive[-1].retire()
            return all(event.is_set() for event in ended)

        self._until(done)

    def _start_reader(self, shared: Shared, ended: list[Event], *, first: bool) -> None:
        if not self.means.budget.enter(first=first):
            return
        depth = self.means.limits.depth
        window = Window(depth, depth, fixed=True) if depth else Window()
        reader = Reader(shared, window, spare=not first)
        if reader.spare:
            shared.supply.enter()
        self._readers.append(reader)
        ended.append(self.crew.start("reader" if first else "spare", lambda: self._read_all(reader)))

    def _read_all(self, reader: Reader) -> None:
        try:
            reader.run()
        finally:
            self.means.budget.leave()

    def _gap(self) -> int:
        """What the deepest reader measured; the others see the same source."""
        alive = [reader.window for reader in self._readers if not reader.ended]
        deepest = max(alive, key=lambda window: window.depth, default=None)
        return min(deepest.gap(), self.means.limits.request_size) if deepest else 0

    def _settle(self, settle: Settle, item: Arrival | Run, settled: Callable[[Settled], None]) -> None:
        self.means.permit.require()
        if isinstance(item, Run):
            settled(settle.run(item))
            return
        done = settle.block(item.block, item.slot[: item.block.length])
        self._ring.release(item.slot)
        if done is not None:
            settled(done)

    def _prove(self, verifier: Verifier | None, blocks: range) -> None:
        if verifier is not None and not self.crew.halted:
            verifier.blocks(blocks)

    def _until(self, done: Callable[[], bool]) -> None:
        """Watch until `done`; after a halt, no longer than WIND_DOWN."""
        watch = Watch(2 * self.means.limits.patience, self.target.name)
        halted_at: float | None = None
        while True:
            seen = self.crew.moves
            if done():
                return
            self.crew.rest(TICK, seen)
            if self.crew.halted:
                halted_at = halted_at or time.monotonic()
                if time.monotonic() - halted_at > WIND_DOWN:
                    return
            sample = self.sample()
            self.watched(sample)
            try:
                watch.look(sample, sum(stage.pending for stage in self._stages))
            except Error as error:
                self.crew.fail(error)

    def sample(self) -> Sample:
        alive = [reader for reader in self._readers if not reader.ended]
        depth = sum(reader.window.depth for reader in alive)
        return replace(self.stats.sample(), depth=depth, sessions=len(alive))


def _forget(_item: object) -> None:
    """Where nobody needs to know."""
