"""Only the newest attempt writes: an older one, cut off and come back, must not touch the state or the disks.

Whoever starts attempts gives each a higher epoch. An attempt locks the state directory, writes its epoch
there, and looks again before each commit, after any pause of ten seconds, and before a write if it has not
looked for so long. A higher epoch than its own ends it: exit 9, with no further write.

The lock keeps two processes of one machine apart; the epoch also keeps apart those of two machines, of which
the older may not know that it was given up.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Self

from transferd.errors import Fenced, UsageError
from transferd.state import write_text

LOCK = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock of x86-64 and aarch64


class Fence:
    """One attempt's hold on a state directory. Use as `with`."""

    def __init__(self, folder: Path, epoch: int | None) -> None:
        """`epoch` None: nobody counts attempts, only the lock holds."""
        self._lock = folder / "lock"
        self._epochs = folder / "epoch"
        self._epoch = epoch
        self._fd = -1

    def __enter__(self) -> Self:
        self._fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, LOCK)
            except (BlockingIOError, PermissionError) as error:
                raise Fenced("another attempt is at work", operation=f"lock {self._lock}") from error
            self.check()
            if self._epoch is not None:
                write_text(self._epochs, f"{self._epoch}\n")
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    def check(self) -> None:
        """Fenced if a newer attempt has begun. UsageError if nobody can tell."""
        if self._epoch is None:
            return
        try:
            text = self._epochs.read_text()
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._epochs}: cannot be read") from error
        if not text.strip().isdigit():
            raise UsageError(f"{self._epochs}: is no epoch")
        if int(text) > self._epoch:
            raise Fenced(f"attempt {int(text)} has taken over from {self._epoch}", operation="fence")
