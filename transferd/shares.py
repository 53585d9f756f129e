"""What one ESXi host has to give, shared by every transferd of this machine that reads from it.

NFC memory and sessions are the host's, sessions also the vCenter's, and none is a process's: two migrations
that each keep the limit break it together. There is no broker to fall over: each process keeps a file of its
own locked in the host's folder, counts the files that others keep locked, and takes an equal part. A process
that dies lets go of its lock, and within LOOK seconds the others have its part.

    $XDG_RUNTIME_DIR or /tmp / transferd-UID / HOST / one file for each process
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path

from transferd.errors import UsageError
from transferd.limits import NFC_MEMORY, NFC_SESSIONS, Budget

LOOK = 1.0  # s between counts
NEW = ".new-"


class Share(Budget):
    """A budget that is this process's part of `total` bytes and `sessions`, until it is dropped."""

    def __init__(
        self, host: str, total: int = NFC_MEMORY, sessions: int = NFC_SESSIONS, above: Share | None = None
    ) -> None:
        """`above`: whose sessions these are, too, as those of a host's disks are their vCenter's."""
        super().__init__(total, sessions)
        self._above = above
        self._whole = (total, sessions)
        self._folder = _folder() / _plain(host)
        self._looked = 0.0
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd, self._path = _member(self._folder)
        except OSError as error:
            raise UsageError(
                f"{self._folder}: {error.strerror}", remedy="set XDG_RUNTIME_DIR to a folder of your own"
            ) from error
        self._leave = weakref.finalize(self, _leave, fd, self._path)
        self._divide()

    def take(self, count: int, *, first: bool) -> bool:
        self._look()
        return super().take(count, first=first)

    def enter(self, *, first: bool) -> bool:
        self._look()
        if self._above is not None and not self._above.enter(first=first):
            return False
        if super().enter(first=first):
            return True
        if self._above is not None:
            self._above.leave()
        return False

    def leave(self) -> None:
        super().leave()
        if self._above is not None:
            self._above.leave()

    def _look(self) -> None:
        if time.monotonic() - self._looked > LOOK:
            self._divide()

    def _divide(self) -> None:
        self._looked = time.monotonic()
        parts = 1 + self._others()
        total, sessions = self._whole
        self.limit(total // parts, max(sessions // parts, 1))

    def _others(self) -> int:
        """Living processes that share; what dead ones left is removed."""
        count = 0
        for path in self._folder.iterdir():
            if path == self._path or path.name.startswith(NEW):
                continue
            with suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                except BlockingIOError:
                    count += 1
                finally:
                    os.close(fd)
        return count


def _member(folder: Path) -> tuple[int, Path]:
    """A locked file of our own. It gets the name by which others count it when it is locked, not before."""
    fd, name = tempfile.mkstemp(dir=folder, prefix=NEW)
    fcntl.flock(fd, fcntl.LOCK_EX)
    path = Path(name)
    return fd, path.rename(path.with_name(path.name.removeprefix(NEW)))


def _leave(fd: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(fd)


def _folder() -> Path:
    """A folder that is ours and nobody else's to write. UsageError for any other."""
    place = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"transferd-{os.getuid()}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        status = place.lstat()
    except OSError as error:
        raise UsageError(f"{place}: {error.strerror}", remedy="set XDG_RUNTIME_DIR") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise UsageError(f"{place}: is not a folder of this user alone", remedy="remove it")
    return place


def _plain(host: str) -> str:
    """A file name that is one host's."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in host).lstrip(".") or "host"
