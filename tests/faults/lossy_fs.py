"""A FUSE file system that passes through to a folder and fails as it is told to: bad storage for a copy.

`LossyFs` mounts it from a process of its own (this module run as a program) and unmounts it again. Faults are
a value, fixed for the life of the mount, and strike only the file named `only`; whatever else lies beside it,
a journal for example, is on good storage. What struck is written to a log, so that a test can tell a fault
that was survived from one that never happened.

The kernel cuts what a program writes into requests: of at most 128 KiB with O_DIRECT, of a page without.
`drop_write`, `short_writes` and `write_delay` count and cut those requests. What a short request leaves of an
O_DIRECT write the kernel tries again through the page cache, so only a limit below a page reaches programs.

The backing file is used through its own page cache: this is about the copy's own calls, not about power
loss, which needs a kernel of our own (`machine`). SEEK_DATA is not passed on: everything is data, as on
network file systems.

Needs /dev/fuse, fusermount3 and the package mfusepy.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import mfusepy

DEADLINE = 20.0  # s to mount or to unmount
FALLOC_FL_PUNCH_HOLE = 0x02  # linux/falloc.h
FALLOC_FL_ZERO_RANGE = 0x10
FOR_EVER = 1 << 30
ROOT = Path(__file__).parents[2]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]


@dataclasses.dataclass(frozen=True)
class Faults:
    """What fails. Counts begin at 1; a count of 0 and a place of -1 mean never."""

    only: str
    no_punch: bool = False  # fallocate that zeroes: EOPNOTSUPP
    no_direct: bool = False  # O_DIRECT: EINVAL
    drop_write: int = 0  # this write succeeds, and nothing is written
    flip_at: int = -1  # reads of this offset find a bit flipped ...
    flip_times: int = (
        FOR_EVER  # ... so often; a write that covers it heals it only if it has been read before
    )
    healing: bool = True  # False: the medium stays bad, whatever is written
    fsync_eio: int = 0  # this fsync fails; the next succeeds, as on Linux
    short_writes: int = 0  # no write takes more bytes than this
    space: int = FOR_EVER << 10  # bytes written until ENOSPC
    read_only_after: int = FOR_EVER << 10  # bytes written until EROFS
    write_delay: float = 0.0  # s for each write


class LossyFs:
    """Mounted at `mount` while used as `with`. Both folders must exist."""

    def __init__(self, backing: Path, mount: Path, faults: Faults) -> None:
        self._mount = mount
        self._log = backing / ".struck"
        settings = json.dumps(dataclasses.asdict(faults))
        # SIGTERM when this process dies: libfuse then unmounts and ends
        self._argv = ["setpriv", "--pdeathsig=TERM", sys.executable, "-m", "tests.faults.lossy_fs",
                      str(backing), str(mount), settings]  # fmt: skip

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, cwd=ROOT)
        try:
            self._wait_for_mount()
        except BaseException:
            self._end()
            raise
        return self

    def _wait_for_mount(self) -> None:
        until = time.monotonic() + DEADLINE
        while not self._mount.is_mount():
            if self._process.poll() is not None or time.monotonic() > until:
                raise OSError(f"{self._mount}: not mounted")
            time.sleep(0.01)

    def __exit__(self, *_exc: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._mount.is_mount():  # lazily: a program that is still inside must not keep the test
            subprocess.run(["fusermount3", "-u", "-z", str(self._mount)], check=True, timeout=DEADLINE)

    @property
    def struck(self) -> list[str]:
        """The faults that happened, in order."""
        return self._log.read_text().split() if self._log.exists() else []


class Lossy(mfusepy.Operations):  # type: ignore[misc]
    """The file system. Its methods are called by libfuse, from several threads."""

    use_ns = True

    def __init__(self, backing: Path, faults: Faults) -> None:
        self._backing = str(backing)
        self._faults = faults
        self._lock = threading.Lock()
        self._writes = 0
        self._fsyncs = 0
        self._written = 0
        self._flips = faults.flip_times if faults.flip_at >= 0 else 0
        self._flipped = False
        self._log = (backing / ".struck").open("a", buffering=1)

    def _path(self, path: str) -> str:
        return self._backing + path

    def _hit(self, path: str) -> bool:
        return path.rpartition("/")[2] == self._faults.only

    def _strike(self, what: str) -> None:
        self._log.write(what + "\n")

    def _fail(self, code: int, what: str) -> None:
        self._strike(what)
        raise OSError(code, os.strerror(code))

    # --- what may fail -----------------------------------------------------------------------------------

    def open(self, path: str, flags: int) -> int:
        if flags & os.O_DIRECT and self._faults.no_direct and self._hit(path):
            self._fail(errno.EINVAL, "no_direct")
        # without O_DIRECT: libfuse's buffers are not aligned, and the backing file's cache is not under test
        return os.open(self._path(path), flags & os.O_ACCMODE)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        data = os.pread(fh, size, offset)
        at = self._faults.flip_at - offset
        if not self._hit(path) or not 0 <= at < len(data):
            return data
        with self._lock:
            if self._flips <= 0:
                return data
            self._flips -= 1
            self._flipped = True
        self._strike("flip")
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        if not self._hit(path):
            return os.pwrite(fh, data, offset)
        time.sleep(self._faults.write_delay)
        part = data[: self._faults.short_writes or None]
        if len(part) < len(data):
            self._strike("short_writes")
        with self._lock:
            self._writes += 1
            dropped = self._writes == self._faults.drop_write
            if self._written + len(part) > self._faults.space:
                self._fail(errno.ENOSPC, "space")
            if self._written + len(part) > self._faults.read_only_after:
                self._fail(errno.EROFS, "read_only_after")
            self._written += len(part)
            if self._flipped and self._faults.healing and 0 <= self._faults.flip_at - offset < len(part):
                self._flips = 0
        if dropped:
            self._strike("drop_write")
            return len(part)
        return os.pwrite(fh, part, offset)

    def fsync(self, path: str, _datasync: int, fh: int) -> int:
        os.fsync(fh)
        if self._hit(path):
            with self._lock:
                self._fsyncs += 1
                failing = self._fsyncs == self._faults.fsync_eio
            if failing:
                self._fail(errno.EIO, "fsync_eio")
        return 0

    def fallocate(self, path: str, mode: int, offset: int, size: int, fh: int) -> int:
        zeroes = mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)
        if zeroes and self._faults.no_punch and self._hit(path):
            self._fail(errno.EOPNOTSUPP, "no_punch")
        if _libc.fallocate(fh, mode, offset, size):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return 0

    # --- what is passed through --------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.fstat(fh) if fh is not None else os.lstat(self._path(path))
        times = {f"st_{kind}time": getattr(found, f"st_{kind}time_ns") for kind in "amc"}
        names = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize")
        return {name: getattr(found, name) for name in names} | times

    def readdir(self, path: str, _fh: int) -> Iterator[str]:
        yield from (".", "..", *(entry.name for entry in Path(self._path(path)).iterdir()))

    def mknod(self, path: str, mode: int, dev: int) -> int:
        """Instead of `create`, so that every open comes with its flags."""
        os.mknod(self._path(path), mode, dev)
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._path(path) if fh is None else fh, length)
        return 0

    def rename(self, old: str, new: str) -> int:
        Path(self._path(old)).rename(self._path(new))
        return 0

    def unlink(self, path: str) -> int:
        Path(self._path(path)).unlink()
        return 0

    def chmod(self, path: str, mode: int) -> int:
        Path(self._path(path)).chmod(mode)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._path(path), ns=times)
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._path(path))
        return {
            name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_flag"
        }

    def release(self, _path: str, fh: int) -> int:
        os.close(fh)
        return 0


if __name__ == "__main__":
    mfusepy.FUSE(
        Lossy(Path(sys.argv[1]), Faults(**json.loads(sys.argv[3]))),
        sys.argv[2],
        foreground=True,
        fsname="lossy",
    )
