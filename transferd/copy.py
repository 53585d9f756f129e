"""One disk, from any source to any target: open, decide what is left to do, copy, prove, heal, seal.

extents -> plan less what a journal knows -> copy (verified behind the commits)
  -> blocks that differ: forget, copy again, verify again; still different is an error
  -> sample or all of the source read again and compared, where asked for
  -> seal the journal, name the disk by its digest
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from transferd import plan, resume
from transferd.backends import Source, Target
from transferd.backends.file_source import FileSource
from transferd.backends.nbd_source import NbdSource
from transferd.blocks import Blocks
from transferd.crew import Crew, Halted, in_thread
from transferd.digest import Digests
from transferd.engine import Engine, Planner
from transferd.errors import Cancelled, Error, IntegrityError, UsageError
from transferd.extents import Extent, data_bytes
from transferd.journal import Journal
from transferd.limits import Means
from transferd.plan import Work
from transferd.progress import Progress
from transferd.replay import Point
from transferd.settle import Compare, ExtentsLiedError, Refresh, Settle, Update, Write
from transferd.stats import Sample, Stats
from transferd.timeline import Timeline
from transferd.verify import Verifier

NBD_SCHEMES = ("nbd://", "nbds://", "nbd+unix://", "nbds+unix://")


@dataclass(frozen=True, slots=True)
class Proof:
    """How a copy is proven. `target`: read it back. `source_share`: of the source's blocks, read again."""

    name: str = "target"
    target: bool = True
    source_share: float = 0.0


def proof(text: str) -> Proof:
    """`target`, `none`, `full` or `sample:PCT`. UsageError for anything else."""
    if text == "none":
        return Proof(text, target=False)
    if text == "target":
        return Proof(text)
    if text == "full":
        return Proof(text, source_share=1.0)
    match = re.fullmatch(r"sample:([0-9]{1,2}(?:\.[0-9]{1,3})?|100)%?", text)
    if match is None or float(match[1]) == 0:
        raise UsageError(
            f"--verify {text}: not target, sample:PCT, full or none", remedy="for example --verify sample:5"
        )
    return Proof(text, source_share=float(match[1]) / 100)


Watcher = Callable[[str, Stats, Callable[[], Sample]], None]


def unwatched(label: str, stats: Stats, sample: Callable[[], Sample]) -> None:
    """Nobody asked for metrics."""


@dataclass(frozen=True, slots=True)
class How:
    """What an operator chooses about a copy."""

    progress: Progress
    proof: Proof = field(default_factory=Proof)
    means: Means = field(default_factory=Means)
    from_scratch: bool = False
    watch: Watcher = unwatched


@dataclass(frozen=True, slots=True)
class Copied:
    """A disk that was copied. `data`: bytes that the extents call data; `end`: as it was when all was done.

    `resumed`, `healed`: numbers of the blocks that an earlier run copied, and that were copied twice.
    """

    label: str
    target: str
    digests: Digests
    data: int
    proof: Proof
    compared: int
    mismatched: int
    resumed: Blocks
    healed: list[int]
    end: Sample
    stats: Stats
    timeline: Timeline
    warnings: list[str]
    point: Point | None


def open_source(name: str, *, source_id: str | None, patience: float) -> NbdSource | FileSource:
    """An NBD URI or the path of a raw file or block device."""
    if name.startswith(NBD_SCHEMES):
        refuse_password(name)
        return NbdSource(name, name, source_id=source_id, patience=patience)
    if "://" in name:
        raise UsageError(f"{name}: not an NBD URI", remedy=f"use one of {', '.join(NBD_SCHEMES)}, or a path")
    return FileSource(Path(name))


def refuse_password(uri: str) -> None:
    """UsageError for `user:password@`: argv can be read by every user of the machine."""
    authority = uri.split("://", 1)[1].split("/", 1)[0]
    user, at, _host = authority.rpartition("@")
    if at and ":" in user:
        raise UsageError(
            "the source URI holds a password",
            remedy="leave it out of the command line: use TLS certificates or a PSK file",
        )


def refuse_same(source: str, target: Path) -> None:
    """UsageError when source and target are one file: copying it would destroy it."""
    path = Path(source)
    if path.exists() and target.exists() and path.samefile(target):
        raise UsageError(f"{target}: source and target are the same file")


async def disk(source: Source, target: Target, journal: Path | None, label: str, how: How) -> Copied:
    """Copy `source` to `target` and prove it. Cancelled, it records what was received before it raises."""
    copying = _DiskCopy(source, target, label, how)
    thread = asyncio.ensure_future(in_thread(copying.run, journal))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        copying.crew.halt()
        with suppress(Error):
            await thread
        raise


@contextmanager
def _forgotten(journal: Journal | None, *wrong: list[int]) -> Iterator[None]:
    """However the pass ends, its journal no longer claims the blocks that it found `wrong`."""
    try:
        yield
    finally:
        blocks = {index for found in wrong for index in found}
        if blocks and journal is not None:
            journal.forget(sorted(blocks))


def _is_round(start: resume.Start) -> bool:
    """Nothing is left to do but what changed."""
    return start.changes is not None and start.digests.all_known()


class _DiskCopy:
    """The copy of one disk, in the thread that calls `run`."""

    def __init__(self, source: Source, target: Target, label: str, how: How) -> None:
        self._source = source
        self._target = target
        self._label = label
        self._how = how
        largest = min(how.means.limits.request_size, source.largest)
        self._request_size = max(largest // source.grain * source.grain, source.grain)
        self._begun = False
        self._copying = how.progress.task(f"{label} copy", source.size)
        self._verifying = how.progress.task(f"{label} verify", source.size) if how.proof.target else None
        self._differing: list[int] = []  # blocks that the target does not hold as received
        self._lost: list[int] = []  # blocks that it does not hold as an earlier round left them
        self._mismatched = 0
        self._warnings: list[str] = []
        self._dice = random.Random()  # noqa: S311 (which blocks to look at again, nothing secret)
        self.crew = Crew()
        self.stats = Stats()
        self.timeline = Timeline()

    def run(self, path: Path | None) -> Copied:
        try:
            with ExitStack() as stack:
                journal = stack.enter_context(Journal(path)) if path is not None else None
                return self._run(journal)
        except Error:
            if not self._begun:
                self._target.abandon()
            raise
        except Halted:
            raise Cancelled(
                "stopped", disk=self._label, remedy="run the same command again to go on"
            ) from None

    def _run(self, journal: Journal | None) -> Copied:
        if self._source.size > plan.LARGEST:
            raise UsageError(f"has {self._source.size} bytes, more than {plan.LARGEST}", disk=self._label)
        start = resume.begin(
            journal,
            self._source,
            self._target.identity,
            blank=self._target.fresh,
            from_scratch=self._how.from_scratch,
        )
        self._begun = True
        if start.fresh is not None:
            self._target.fresh = start.fresh
        for note in (*([start.note] if start.note else []), *self._target.notes):
            self._how.progress.say(f"{self._label}: {note}")
        extents = self._extents(start)
        data = sum(each.length for each in start.changes or ()) if _is_round(start) else data_bytes(extents)
        self._target.require_space(data)
        engine = Engine(
            self._source, self._target, start.digests, self._how.means, self.stats, self.crew, self._watched
        )
        self._how.watch(self._label, self.stats, engine.sample)
        self._spot_check(engine, start)
        self._copy(engine, start, extents, journal)
        self._heal(engine, journal)
        compared = self._compare(engine)
        digest = start.digests.disk()
        if journal is not None:
            self._how.means.permit.require(now=True)
            journal.seal(digest)
        end = engine.sample()
        self._watched(end)
        self._how.watch(self._label, self.stats, self.stats.sample)  # the engine's buffers can go
        return Copied(
            self._label,
            self._target.name,
            start.digests,
            data,
            self._how.proof,
            compared,
            self._mismatched,
            start.done,
            sorted({*self._differing, *self._lost}),
            end,
            self.stats,
            self.timeline,
            self._warnings,
            self._source.point,
        )

    def _extents(self, start: resume.Start) -> list[Extent]:
        if _is_round(start):
            return [Extent(0, self._source.size, zero=False)]  # zeros are found in what is read
        if start.distrusted:
            self._warn("the source's extents have lied before: everything is read")
            return [Extent(0, self._source.size, zero=False)]
        extents = self._source.extents()
        for warning in self._source.warnings:
            self._warn(warning)
        return extents

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._how.progress.say(f"warning: {self._label}: {text}")

    def _watched(self, sample: Sample) -> None:
        problem = self._how.means.pace.refresh()
        if problem is not None:
            self._warn(problem)
        self.timeline.add(sample)
        self._copying.update(sample.settled, sample)
        if self._verifying is not None:
            self._verifying.update(sample.verified, sample)

    def _spot_check(self, engine: Engine, start: resume.Start) -> None:
        """UsageError unless the source still has what it had when the journal was written."""
        differing = self._read_again(engine, start.done.sample(self._dice, resume.SPOT_CHECKS))
        if differing:
            raise UsageError(
                "the source has changed since the journal was written",
                disk=self._label,
                offset=differing[0] * plan.BLOCK,
                remedy="begin anew with --fresh",
            )

    def _copy(
        self, engine: Engine, start: resume.Start, extents: list[Extent], journal: Journal | None
    ) -> None:
        size = self._source.size
        target, stats = self._target, self.stats
        if start.changes is not None:
            settle: Settle = Update(target, start.digests, stats, self._lost.append)
        else:
            settle = (Refresh if start.refresh else Write)(target, start.digests, stats)
        for run in start.done.runs():
            stats.add(settled=min(run.stop * plan.BLOCK, size) - run.start * plan.BLOCK)
        try:
            with _forgotten(journal, self._differing, self._lost):
                engine.copy(
                    self._planner(start, extents),
                    settle,
                    journal,
                    self._verifier(start.digests, self._differing.append),
                    earlier=start.done.runs(plan.RUN),
                )
        except ExtentsLiedError as error:
            if journal is not None:
                journal.distrust()
            raise error.within(disk=self._label) from None

    def _planner(self, start: resume.Start, extents: list[Extent]) -> Planner:
        """A round reads what changed of the blocks that are there; others are read by the extents."""
        size, grain = self._source.size, self._source.grain
        done, digests, changes = start.done, start.digests, start.changes
        audited = plan.audit(size, extents, self._dice) if self._how.proof.target and changes is None else []
        there = digests.blocks() if changes is not None else done

        def work(gap: Callable[[], int]) -> Iterator[Work]:
            if changes is not None:
                round_ = plan.delta(size, changes, extents, self._request_size, gap=gap, grain=grain)
                yield from (block for block in round_ if block.index in there and block.index not in done)
            if len(there) < len(digests):
                everything = plan.full(
                    size, extents, self._request_size, audited=audited, gap=gap, grain=grain
                )
                yield from plan.without(everything, there.__contains__)

        return work

    def _verifier(self, digests: Digests, differs: Callable[[int], None]) -> Verifier | None:
        return Verifier(self._target, digests, self.stats, differs) if self._how.proof.target else None

    def _heal(self, engine: Engine, journal: Journal | None) -> None:
        """Copy once more what the target does not hold; what it then still does not hold is an error."""
        blocks = sorted({*self._differing, *self._lost})
        if not blocks:
            return
        self._mismatched = len(blocks)
        expected = {index: engine.digests[index] for index in {*self._differing} - {*self._lost}}
        self._warn(f"{len(blocks)} blocks are not on the target as received, copying them again")
        self._target.fresh = False  # what differs may be anything, so its zeros are written too
        again: list[int] = []
        size = self._source.size
        with _forgotten(journal, again):
            engine.copy(
                lambda _gap: (plan.whole(index, size, self._request_size) for index in blocks),
                Write(self._target, engine.digests, self.stats),
                journal,
                self._verifier(engine.digests, again.append),
            )
        for index in again:
            raise IntegrityError(
                "the target does not hold what was received, not even when written again",
                disk=self._target.name,
                operation="verify",
                offset=index * plan.BLOCK,
                remedy="do not use this copy: check the target's storage, then run the command again",
            )
        for index, digest in expected.items():
            if engine.digests[index] != digest:
                raise IntegrityError(
                    "the source gave other bytes when it was read again",
                    disk=self._label,
                    operation="heal",
                    offset=index * plan.BLOCK,
                    remedy="is the disk still being written? Check the source and this machine's memory",
                )
        self.stats.add(healed=len(blocks))

    def _compare(self, engine: Engine) -> int:
        """Blocks of the source read again, chosen at random; IntegrityError if one differs from the copy."""
        share, count = self._how.proof.source_share, len(engine.digests)
        if not share:
            return 0
        chosen = sorted(self._dice.sample(range(count), -int(-count * share // 1)))
        differing = self._read_again(engine, chosen)
        if differing:
            raise IntegrityError(
                f"{len(differing)} of {len(chosen)} blocks read again from the source differ from the copy",
                disk=self._label,
                operation="compare with source",
                offset=min(differing) * plan.BLOCK,
                remedy="do not use this copy: is the source still being written? Copy it anew with --fresh",
            )
        return len(chosen)

    def _read_again(self, engine: Engine, blocks: list[int]) -> list[int]:
        differing: list[int] = []
        if blocks:
            engine.compare(
                lambda _gap: (plan.whole(index, self._source.size, self._request_size) for index in blocks),
                Compare(engine.digests, self.stats, differing.append),
            )
        return differing
