"""The result document while it grows: whatever happens, it says as much as was found out.

Much of what it says are words of the guest, which may be any bytes: `escaped` makes them text of one line
before they leave the converter.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from transferd.errors import printable
from transferd.model import (
    Caps,
    Check,
    ConversionResult,
    Document,
    Firmware,
    Guest,
    NicName,
    Rehearsal,
    Step,
    Warning_,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from convert.capabilities import Proof
    from convert.inspection import Inspection
    from convert.plan import Plan
    from transferd.errors import Error

Words = TypeVar("Words", bound=Document)


@dataclass
class Report:
    """Owned by one run of the pipeline, which fills it from top to bottom; `say` shows progress."""

    firmware: Firmware
    say: Callable[[str], None]
    guest: Guest = field(default_factory=lambda: Guest(found=False))
    caps: Caps | None = None
    proofs: Sequence[Proof] = ()
    nics: Sequence[NicName] = ()
    warnings: Sequence[Warning_] = ()
    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    rehearsal: Rehearsal | None = None

    @contextmanager
    def timed(self, name: str, changes: int = 0) -> Iterator[None]:
        self.say(name)
        began = time.monotonic()
        try:
            yield
        finally:
            self.steps.append(Step(name=name, changes=changes, elapsed_s=round(time.monotonic() - began, 3)))

    def planned(self, inspection: Inspection, plan: Plan, caps: Caps) -> None:
        self.guest = escaped(inspection.document([proof.document() for proof in plan.proofs]))
        self.caps = caps
        self.proofs = plan.proofs
        self.nics = [escaped(nic) for nic in plan.nics]
        self.warnings = [escaped(warning) for warning in (*inspection.warnings, *plan.warnings)]
        self.steps += plan.steps

    def result(self, error: Error | None = None) -> ConversionResult:
        """With an error the disks are as they were, so their hardware is what every guest can drive."""
        fallback = Caps.without_virtio(self.firmware, boot_disk=self.caps.boot_disk if self.caps else 0)
        result = ConversionResult(
            outcome="failed" if error else "ok",
            error=error.as_document() if error else None,
            guest=self.guest,
            caps=fallback if error or self.caps is None else self.caps,
            nics=list(self.nics),
            steps=self.steps,
            warnings=list(self.warnings),
            checks=self.checks,
            rehearsal=self.rehearsal,
        )
        return escaped(result)


def escaped(document: Words) -> Words:
    """The same document with each text on one line and its control characters escaped."""
    return type(document).model_validate(_escaped(document.model_dump()))


def _escaped(value: Any) -> Any:
    match value:
        case str():
            return printable(value)
        case list():
            return [_escaped(one) for one in value]
        case dict():
            return {key: _escaped(one) for key, one in value.items()}
        case _:
            return value
