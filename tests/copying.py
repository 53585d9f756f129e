"""One disk copied inside the test's process, between any two ends, with a deadline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transferd import copy
from transferd.backends import Source, Target
from transferd.backends.memory import Fault, MemoryTarget, Operation
from transferd.copy import Copied, How
from transferd.limits import Budget, Limits, Means, Pace
from transferd.plan import BLOCK
from transferd.progress import Silent

ALWAYS = range(1 << 62)  # numbers of operations
DEADLINE = 60.0  # s; a copy that hangs is a failed test


def copied(
    source: Source,
    target: Target,
    journal: Path | None = None,
    *,
    verify: str = "target",
    from_scratch: bool = False,
    stop_after: float = DEADLINE,
    budget: Budget | None = None,
    **limits: Any,
) -> Copied:
    """The copy's outcome, or its error; TimeoutError if it was stopped. `limits` are fields of Limits."""
    if isinstance(target, MemoryTarget):  # a file says so of itself whenever it is opened
        target.fresh = target.fresh and not any(target.content)
    means = Means(Limits(**limits), Pace(), budget or Budget())
    how = How(Silent(), copy.proof(verify), means, from_scratch)
    work = copy.disk(source, target, journal, "disk", how)
    return asyncio.run(asyncio.wait_for(work, stop_after))


def noise(blocks: float, seed: int = 1) -> bytes:
    """So many blocks of data, no two alike and none of them zero anywhere."""
    grain = random.Random(seed).randbytes(BLOCK).replace(b"\0", b"\x01")
    size = int(blocks * BLOCK)
    found = bytearray(grain * -(-size // BLOCK))
    for index in range(-(-size // BLOCK)):
        found[index * BLOCK : index * BLOCK + 8] = (index + 1).to_bytes(8, "big").replace(b"\0", b"\xff")
    return bytes(found[:size])


def on(kind: str, numbers: Iterable[int], answer: object) -> Fault:
    """At the operations of this kind with these numbers: raise `answer`, call it, or give it back."""
    chosen = numbers if isinstance(numbers, range) else frozenset(numbers)

    def fault(operation: Operation) -> object:
        if operation.kind != kind or operation.number not in chosen:
            return None
        if isinstance(answer, Exception):
            raise answer
        return answer(operation) if callable(answer) else answer

    return fault
