"""What the target takes: a scratch file, filled as a copy fills one, made durable, and removed."""

from __future__ import annotations

import mmap
import os
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from transferd.backends.file_target import FileTarget
from transferd.crew import Halted
from transferd.errors import TargetError, UsageError
from transferd.limits import Limits
from transferd.plan import BLOCK
from transferd.units import GiB, human

MOST = 4 * GiB  # bytes of the scratch file
SHARE = 0.25  # of the free space that it may take
LEAST = 16 * BLOCK


def require_folder(folder: Path) -> None:
    """UsageError unless a scratch file can be in it."""
    if not folder.is_dir():
        raise UsageError(
            f"--target {folder}: is no folder", remedy="name the folder that the copy will be in"
        )


def rate(folder: Path, seconds: float, halt: threading.Event) -> float:
    """Bytes per second into a new file in `folder`, the flush at the end included. Errors: TargetError."""
    size = int(min(MOST, shutil.disk_usage(folder).free * SHARE)) // BLOCK * BLOCK
    if size < LEAST:
        raise TargetError(f"no space: a scratch file needs {human(LEAST / SHARE)} free", disk=str(folder))
    path = folder / f".transferd-bench-{uuid.uuid4().hex[:12]}"
    try:
        with FileTarget(path, size) as target:
            return _filled(target, size, seconds, halt)
    finally:
        path.unlink(missing_ok=True)


def _filled(target: FileTarget, size: int, seconds: float, halt: threading.Event) -> float:
    block = memoryview(mmap.mmap(-1, BLOCK))  # page aligned, as O_DIRECT wants it
    block[:] = os.urandom(BLOCK)  # nothing that storage could compress or deduplicate within a block
    numbers = count()
    began = time.monotonic()

    def write() -> int:
        written = 0
        for number in numbers:
            start = number * BLOCK
            if halt.is_set() or start >= size or time.monotonic() > began + seconds:
                return written
            target.pwrite(start, block)
            written += BLOCK
        return written

    writers = Limits().writers
    with ThreadPoolExecutor(writers) as pool:
        written = sum(running.result() for running in [pool.submit(write) for _ in range(writers)])
    if halt.is_set():
        raise Halted
    target.sync()
    return written / (time.monotonic() - began)
