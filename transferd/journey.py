"""A migration's own memory: `migration.json` in the state directory, written before each step that counts.

Only what cannot be found out again is in it: which snapshots are ours, what the source's power was before we
touched it, which rounds are whole. Everything else is read anew from vSphere and from the disks' journals.
"""

from __future__ import annotations

import time
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import Field

from transferd.errors import UsageError
from transferd.model import Document, PowerState, RoundState, SourceVM, TimedStep
from transferd.state import State, write_text
from transferd.vsphere.snapshots import PREFIX


class Stage(StrEnum):
    """How far a migration is. A restart goes on from here."""

    PRECOPY = "precopy"
    CUTOVER = "cutover"  # the source is being, or has been, shut down by us
    CONVERSION = "conversion"  # the disks are complete; what is on them is the converter's now
    DONE = "done"


class MigrationState(Document):
    """`migration.json`: what a restart must know. Written before each step that changes the source."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    id: str
    vm: str = Field(description="instanceUuid of the VM")
    attempt: int = 0
    stage: Stage = Stage.PRECOPY
    power: PowerState | None = Field(None, description="before the shutdown that is ours; None: not yet")
    rounds: list[RoundState] = Field(default_factory=list)
    downtime: list[TimedStep] = Field(default_factory=list)


class Journey:
    """The document, and the changes that a migration makes to it. Each is durable when the call returns."""

    def __init__(self, path: Path, now: MigrationState) -> None:
        self._path = path
        self.now = now

    @classmethod
    def begin(cls, state: State, vm: SourceVM) -> Journey:
        """Go on with what is there, or begin. UsageError for a document about another VM, or a broken one."""
        path = state.migration
        if not path.exists():
            journey = cls(path, MigrationState(id=uuid.uuid4().hex[:8], vm=vm.instance_uuid))
        else:
            found = state.read(path, MigrationState)
            if found.vm != vm.instance_uuid:
                raise UsageError(
                    f"{path}: belongs to another VM ({found.vm})", remedy="use another state directory"
                )
            journey = cls(path, found)
        journey.update(attempt=journey.now.attempt + 1)
        return journey

    def update(self, **changes: object) -> None:
        self.now = self.now.model_copy(update=changes)
        write_text(self._path, self.now.to_json())

    @property
    def prefix(self) -> str:
        """Snapshots of this migration have names that begin so."""
        return f"{PREFIX}{self.now.id}-"

    def name(self, purpose: str) -> str:
        """A name for a new snapshot, unlike any other."""
        return f"{self.prefix}{purpose}-attempt{self.now.attempt}"

    # --- rounds ------------------------------------------------------------------------------------------

    def unfinished(self) -> RoundState | None:
        """The round that an earlier attempt did not finish."""
        last = self.now.rounds[-1] if self.now.rounds else None
        return last if last is not None and not last.copied else None

    def begin_round(self, *, final: bool, snapshot: bool) -> RoundState:
        """The round to do now: the unfinished one, unless it was one of another kind; else the next."""
        earlier = self.unfinished()
        if earlier is not None and earlier.final == final:
            return earlier
        kept = self.now.rounds[:-1] if earlier is not None else self.now.rounds
        number = len(kept)
        found = RoundState(
            number=number,
            final=final,
            snapshot_name=self.name(f"round{number}") if snapshot else None,
            began=time.time(),
        )
        self.update(rounds=[*kept, found])
        return found

    def rename_round(self) -> RoundState:
        """The snapshot of the round is gone: the round begins anew, at a later moment."""
        last = self.now.rounds[-1]
        name = self.name(f"round{last.number}-after-{last.snapshot}")
        return self.change_round(snapshot=None, snapshot_name=name)

    def change_round(self, **changes: object) -> RoundState:
        """Change the last round."""
        found = self.now.rounds[-1].model_copy(update=changes)
        self.update(rounds=[*self.now.rounds[:-1], found])
        return found

    # --- cutover -----------------------------------------------------------------------------------------

    def begin_cutover(self, power: PowerState) -> None:
        """What the source's power was is written down before it is changed, and only once."""
        stage = Stage.CUTOVER if self.now.stage is Stage.PRECOPY else self.now.stage
        self.update(power=self.now.power or power, stage=stage)

    def retreat(self) -> None:
        """The cutover did not happen. Written down before the source may run again, and change."""
        self.update(stage=Stage.PRECOPY, downtime=[])

    def restored(self) -> None:
        """The source has its power back."""
        self.update(power=None)

    def took(self, step: str, seconds: float) -> None:
        self.update(downtime=[*self.now.downtime, TimedStep(step=step, seconds=round(seconds, 3))])
