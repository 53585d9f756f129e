"""Runs transferd as its users do: as a process, judged by exit code, output and what it leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE = 120.0  # s; a command that hangs is a failed test, not a stuck one


def argv(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "transferd", *map(str, arguments)]


def transferd(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(*arguments), capture_output=True, text=True, timeout=DEADLINE, check=False, cwd=cwd
    )


def started(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A run that the test interferes with; use as `with`, and judge it by what `ended` returns."""
    return subprocess.Popen(argv(*arguments), stderr=subprocess.PIPE, text=True, env=os.environ | environment)


def ended(run: subprocess.Popen[str], seconds: float = 60) -> subprocess.CompletedProcess[str]:
    _, said = run.communicate(timeout=seconds)
    return subprocess.CompletedProcess(run.args, run.returncode, "", said)


def peak_memory(run: subprocess.Popen[str]) -> int:
    """Bytes that a run held at most, once it has ended; its last moments are not seen, but they free.

    Not ru_maxrss, in which Linux counts the memory of whoever started the process, as it was at exec.
    """
    most = 0
    while run.poll() is None:
        lines = Path(f"/proc/{run.pid}/status").read_text().splitlines()  # a zombie's lacks the line
        most = max([most, *(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.02)
    return most


def wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


def refused(run: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command ended with `code` and one line that says all of `words`; never with a traceback."""
    complaints = [line for line in run.stderr.splitlines() if "error:" in line]

    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    assert len(complaints) == 1, run.stderr
    for word in words:
        assert word in complaints[0]
