"""Named places between the steps of a migration, at which a test can end the process as a power cut would.

`TRANSFERD_FAILPOINT=NAME` kills it when NAME is reached, `NAME:3` the third time. What has to hold afterwards
is that the same command, run again, ends well. Without the variable this costs one comparison.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "TRANSFERD_FAILPOINT"
NAMES = (
    "begun", "tracking.off", "tracking.on", "reconciled",
    "round.named", "round.taken", "round.recorded", "round.copied", "round.finished", "round.removed",
    "waiting",
    "cutover.begun", "shutdown.recorded", "shutdown.asked", "shutdown.off",
    "retreat.recorded", "retreat.restored",
    "conversion.begun", "conversion.ended", "sealed", "manifest.written", "result.written", "done",
)  # fmt: skip

_name, _, _count = os.environ.get(VARIABLE, "").partition(":")
_left = int(_count) if _count.isdigit() else 1


def reached(name: str) -> None:
    """Die here, if this is the place."""
    global _left  # noqa: PLW0603 (the process has one)
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
