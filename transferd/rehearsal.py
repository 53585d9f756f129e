"""The rehearsal of a cutover: the guest converted and booted on overlays of the disks copied so far.

    round -> rehearsal, while the source runs -> round: what was written meanwhile -> ... -> cutover

The disks are those of a running VM at one moment, as after a power cut: journals of file systems are
replayed in the overlays. Nothing reaches the disks, so their journals and digests hold, and no round runs
meanwhile. A rehearsal that has not failed is not repeated; after one that has, the next round brings whatever
was mended in the source, and is rehearsed again. While the last one has failed there is no cutover, unless
the operator says so.

A cold migration has nothing to rehearse on before its source is off: its converted disks are booted before
they are committed (transferd/conversion.py), and a failure gives the source its power back.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from transferd import conversion, units
from transferd.errors import ConversionError, UsageError
from transferd.model import ConversionResult, Document, MigrationSpec, Rehearsal, RehearsalWishes
from transferd.rounds import Line
from transferd.state import State

ANYWAY = "--cutover-anyway"


class RehearsedRound(Document):
    """`rehearsal.json`: what became of the guest on the disks as they were after this round."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    round: int
    result: ConversionResult

    @property
    def failed(self) -> bool:
        return self.result.outcome == "failed"

    @property
    def why(self) -> str:
        return str((self.result.error or {}).get("message"))


def require_possible(spec: MigrationSpec) -> None:
    """UsageError for a rehearsal that cannot be meant."""
    if spec.rehearsal.timeout is not None:
        units.duration(spec.rehearsal.timeout)
    if spec.rehearse and spec.convert == "none":
        raise UsageError("rehearse: nothing is converted", remedy="set convert, or do not rehearse")


async def after_round(spec: MigrationSpec, line: Line) -> bool:
    """Rehearse on what the last round copied, if that is due. Whether it was, and has not failed."""
    known = _known(line.state)
    if not spec.rehearse or (known is not None and (not known.failed or spec.rehearsal.anyway)):
        return False
    name, say, number = line.vm.name, line.progress.say, line.journey.now.rounds[-1].number
    say(f"{name}: rehearsing on the disks of round {number}")
    result = await conversion.rehearse(line.paths, line.state, spec.rehearsal, say)
    done = RehearsedRound(round=number, result=result)
    line.state.write(line.state.rehearsed, done)
    if done.failed:
        say(f"{name}: the rehearsal of round {number} failed: {done.why}")
    elif result.rehearsal is not None:
        say(f"{name}: rehearsed round {number}: {result.rehearsal.outcome}: {result.rehearsal.seen}")
    return not done.failed


def require_passed(spec: MigrationSpec, line: Line) -> None:
    """ConversionError while the last rehearsal has failed, unless the operator cuts over all the same."""
    known = _known(line.state)
    if not spec.rehearse or known is None or not known.failed:
        return
    if spec.rehearsal.anyway:
        line.progress.say(f"{line.vm.name}: cutting over although the rehearsal failed: {known.why}")
        return
    raise ConversionError(
        f"no cutover, since the rehearsal of round {known.round} failed: {known.why}",
        vm=line.vm.name,
        operation="rehearse",
        remedy=f"the source runs on: mend it and run the command again, or give {ANYWAY}",
    )


def before_commit(spec: MigrationSpec) -> RehearsalWishes | None:
    """How to boot what a cold migration has converted; None if that is not wanted."""
    wanted = spec.rehearse and spec.mode == "cold" and not spec.rehearsal.anyway
    return spec.rehearsal if wanted else None


def found(state: State) -> Rehearsal | None:
    """The boot of the rehearsal, for the migration's result."""
    known = _known(state)
    return known.result.rehearsal if known is not None else None


def _known(state: State) -> RehearsedRound | None:
    return state.read(state.rehearsed, RehearsedRound) if state.rehearsed.exists() else None
