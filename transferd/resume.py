"""What an earlier attempt is worth: the decision with which every copy begins.

    no journal, or --fresh            -> begin anew
    about another disk or target      -> refused: going on would mix two disks
    whole, unfinished, same point     -> go on: what is recorded is not read again
    whole, an older point             -> a round: what changed since is read, and what was never recorded
    damaged, finished, grown, or of a
    point since which the changes are
    not known                         -> bring up to date: everything is read and compared with what the
                                         target really holds, only differences are written

A source that promises to be unchanged is asked to prove it: some recorded blocks are read again and must
have their digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from transferd.backends import Source
from transferd.blocks import Blocks
from transferd.digest import Digests
from transferd.errors import UsageError
from transferd.extents import Range
from transferd.journal import Journal
from transferd.replay import STILL, Header, Replayed, Trust

SPOT_CHECKS = 8  # recorded blocks read again from the source


@dataclass(frozen=True, slots=True)
class Start:
    """How a copy begins. `done`: blocks as the source has them now. Other blocks with a digest are stale by
    `changes`, of which there are none unless this is a round. `fresh` None: what the target says of itself
    holds.
    """

    digests: Digests
    done: Blocks
    changes: Iterable[Range] | None = None
    fresh: bool | None = None
    refresh: bool = False
    distrusted: bool = False
    note: str | None = None


def begin(
    journal: Journal | None,
    source: Source,
    target: Mapping[str, Any],
    *,
    blank: bool,
    from_scratch: bool,
) -> Start:
    """Read the journal and decide; afterwards it is ready to be appended to. UsageError: refused."""
    header = Header(source.size, source.identity, target, blank)
    if journal is None:
        return _anew(source)
    if from_scratch:
        journal.require_own()
    found = None if from_scratch else journal.read()
    if found is None:
        _begin(journal, header, source)
        return _anew(source)
    _require_same(journal, found.header, header)
    if blank and not all(found.digests.is_zero(index) for index in found.digests.known()):
        # file systems give the inode number of a deleted file to the next one
        _begin(journal, header, source, distrusted=found.distrusted)
        return replace(
            _anew(source),
            distrusted=found.distrusted,
            note="the target was made anew: beginning anew",
        )
    changes, doubt = _since(found, source)
    if doubt is not None:
        _begin(journal, replace(header, blank=False), source, distrusted=found.distrusted)
        note = f"{doubt}: every block is compared, only differences are written"
        return replace(_anew(source), fresh=False, refresh=True, distrusted=found.distrusted, note=note)
    if found.point != source.point:
        journal.point(source.point or STILL)
        found.recent = Blocks(len(found.digests))
    return Start(
        found.digests,
        found.recent,
        changes,
        fresh=found.blank and changes is None,  # a round writes its zeros
        distrusted=found.distrusted,
        note=_note(found, changes),
    )


def _anew(source: Source) -> Start:
    digests = Digests(source.size)
    return Start(digests, Blocks(len(digests)))


def _begin(journal: Journal, header: Header, source: Source, *, distrusted: bool = False) -> None:
    journal.begin(header, distrusted=distrusted)
    if source.point:
        journal.point(source.point)


def _since(found: Replayed, source: Source) -> tuple[Iterable[Range] | None, str | None]:
    """What changed since the stale blocks were recorded, or why nobody knows; neither where none is stale."""
    doubt = _doubt(found, source)
    current = found.point == source.point and (found.sealed or found.base == found.point)
    if doubt is not None or current or not found.digests.any_known():
        return None, doubt
    changes = source.changes(found.base) if found.base else None
    return changes, "what changed since is not known" if changes is None else None


def _doubt(found: Replayed, source: Source) -> str | None:
    """Why nothing that is recorded can be taken for what some moment of the source had."""
    if found.trust is Trust.DAMAGED:
        return "the journal is damaged"
    if found.header.size != source.size:
        return "the disk has grown"
    if source.point is None:
        return "the source may have changed since"
    return "the copy was finished before" if found.sealed and source.point == STILL else None


def _note(found: Replayed, changes: Iterable[Range] | None) -> str | None:
    done = len(found.recent)
    if changes is not None:
        return "copying what changed" + (f", {done} blocks are up to date already" if done else "")
    return f"resuming: {done} of {len(found.digests)} blocks are on the target" if done else None


def _require_same(journal: Journal, recorded: Header, now: Header) -> None:
    """UsageError naming what is not what it was."""
    wrong = []
    if recorded.size > now.size or (recorded.size < now.size and "size" in recorded.source):
        wrong.append(f"size was {recorded.size}, is {now.size}")
    for what, before, after in (
        ("source", recorded.source, now.source),
        ("target", recorded.target, now.target),
    ):
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        wrong += [f"{what} {key} was {before.get(key)!r}, is {after.get(key)!r}" for key in sorted(keys)]
    if wrong:
        raise UsageError(
            f"is about another copy: {'; '.join(wrong)}",
            disk=str(journal.path),
            remedy="begin anew with --fresh, or name another journal",
        )
