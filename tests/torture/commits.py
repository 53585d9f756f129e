"""A commit killed as it, or a program that it started, enters any of its calls; run again, it must be whole.

What a commit does is short and known, so every moment is tried: no seed chooses.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from convert import commit
from tests.convert import committing
from tests.torture.crashes import KILLED, Moment, strace
from transferd.errors import ConversionError

# By these a commit changes the disks, its own folder, or starts a program.
CALLS = ("pwrite64", "fsync", "rename", "unlink", "write", "vfork")
MOST = 16  # of one kind, in one run
PLACES = [Moment(call=call, number=number) for call in CALLS for number in range(1, MOST + 1)]
FULL = len(PLACES)
DEADLINE = 60.0


def repeat(seed: int) -> None:
    """AssertionError unless the second run makes the commit whole."""
    survives(PLACES[seed % FULL])


def survives(moment: Moment) -> bool:
    """Whether the first run ended before this moment."""
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        committing.make(folder)
        first = _run(folder, strace(moment))
        assert first.returncode in (0, KILLED, ConversionError.exit_code), (moment, first.stderr)
        if not (committing.work(folder) / commit.RECORD).exists():
            assert {*b"".join(disk.read_bytes() for disk in committing.disks(folder))} == {*committing.OLD}, (
                moment
            )
        second = _run(folder, [])
        assert second.returncode == 0, (moment, second.stderr)
        _require_whole(folder, moment)
    return first.returncode == 0


def _require_whole(folder: Path, moment: Moment) -> None:
    record = commit.read(committing.work(folder))
    assert record is not None, moment
    assert record.done, moment
    assert [disk.read_bytes() for disk in committing.disks(folder)] == committing.converted(), moment
    left = sorted(path.name for path in committing.work(folder).iterdir())
    assert left == [commit.RECORD, "lock"], (moment, left)


def _run(folder: Path, tracer: list[str]) -> subprocess.CompletedProcess[str]:
    argv = [*tracer, sys.executable, "-m", "tests.convert.committing", str(folder)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, check=False)


def every(call: str) -> int:
    """A commit killed at its first `call`, another at its second, and so on; how many until one survives."""
    number = 1
    while not survives(Moment(call=call, number=number)):
        number += 1
    return number
