"""What an earlier attempt is worth: the decision with which every copy begins.

    no journal, or --fresh            -> begin anew
    about another disk or target      -> refused: going on would mix two disks
    whole, unfinished, same bytes     -> go on: what is recorded is not read again
    damaged, sealed, or a source that
    may have changed                  -> bring up to date: everything is read and compared with what the
                                         target really holds, only differences are written

A source that promises to be unchanged is asked to prove it: some recorded blocks are read again and must
have their digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transferd.backends import Source
from transferd.digest import Digests
from transferd.errors import UsageError
from transferd.journal import Header, Journal, Replayed, Trust

SPOT_CHECKS = 8  # recorded blocks read again from the source


@dataclass(frozen=True, slots=True)
class Start:
    """How a copy begins. `fresh` None: what the target says of itself holds."""

    digests: Digests
    known: list[int]
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
    digests = Digests(source.size)
    header = Header(source.size, source.identity, target, blank)
    if journal is None:
        return Start(digests, [])
    if from_scratch:
        journal.require_own()
    found = None if from_scratch else journal.read()
    if found is None:
        journal.begin(header)
        return Start(digests, [])
    _require_same(journal, found.header, header)
    if blank and not all(found.digests.is_zero(index) for index in found.digests.known()):
        # file systems give the inode number of a deleted file to the next one
        journal.begin(header, distrusted=found.distrusted)
        return Start(
            digests, [], distrusted=found.distrusted, note="the target was made anew: beginning anew"
        )
    doubt = _doubt(found, source)
    if doubt is not None:
        journal.begin(replace(header, blank=False), distrusted=found.distrusted)
        note = f"{doubt}: every block is compared, only differences are written"
        return Start(digests, [], fresh=False, refresh=True, distrusted=found.distrusted, note=note)
    known = found.digests.known()
    resuming = f"resuming: {len(known)} of {len(digests)} blocks are on the target" if known else None
    return Start(found.digests, known, fresh=found.blank, distrusted=found.distrusted, note=resuming)


def _doubt(found: Replayed, source: Source) -> str | None:
    """Why recorded blocks may not be what the source has now; None if they are."""
    if found.trust is Trust.DAMAGED:
        return "the journal is damaged"
    if found.sealed:
        return "the copy was finished before"
    return None if source.stable else "the source may have changed since"


def _require_same(journal: Journal, recorded: Header, now: Header) -> None:
    """UsageError naming what is not what it was."""
    wrong = []
    if recorded.size != now.size:
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
