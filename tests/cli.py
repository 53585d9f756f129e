"""Runs transferd as its users do: as a process, judged by exit code, output and what it leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEADLINE = 120.0  # s; a command that hangs is a failed test, not a stuck one


def transferd(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "transferd", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, check=False, cwd=cwd)


def refused(run: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command ended with `code` and one line that says all of `words`; never with a traceback."""
    complaints = [line for line in run.stderr.splitlines() if "error:" in line]

    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    assert len(complaints) == 1, run.stderr
    for word in words:
        assert word in complaints[0]
