"""Raw files and block devices, as source and as target.

A target remembers how it came to be, because that decides what zeros cost: a file created here (or found
empty) reads zero wherever it was not written, so zeros are skipped; anything else may hold old bytes, so
zeros are made, by punching a hole (file) or BLKZEROOUT (device), else by writing them. What failed once for
want of support is not tried again.

Data goes around the page cache (O_DIRECT) where the file system allows it: faster than through it, no memory
taken from others, and reading back for proof sees the storage, not the cache, where a lost write would hide.
Elsewhere the cached pages are dropped before they are read back.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from transferd.errors import SourceError, TargetError, UsageError
from transferd.extents import Extent
from transferd.units import MiB, human

BLKZEROOUT = 0x127F  # linux/fs.h: _IO(0x12, 127)
FALLOC_FL_KEEP_SIZE = 0x01  # linux/falloc.h
FALLOC_FL_PUNCH_HOLE = 0x02
UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS}
DIRECT_ALIGN = 4096  # bytes; covers 512-byte and 4 KiB sectors
ZEROS = memoryview(mmap.mmap(-1, MiB)).toreadonly()

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]

Transfer = Callable[[int, Sequence[memoryview], int], int]  # os.preadv, os.pwritev

REMEDIES = {
    errno.ENOSPC: "free space or use a larger target, then run the command again",
    errno.EDQUOT: "raise the quota or use another target, then run the command again",
    errno.EACCES: "give this user write permission or choose another target",
    errno.EROFS: "the file system is read-only: choose another target",
    errno.ENOENT: "create the folder first",
    errno.EBUSY: "it is mounted or in use: unmount it first",
}


@contextmanager
def _errors_of(path: str, operation: str, offset: int | None = None) -> Iterator[None]:
    """OSError becomes TargetError with its place and what to do."""
    try:
        yield
    except OSError as error:
        raise TargetError(
            error.strerror or str(error),
            disk=path,
            operation=operation,
            offset=offset,
            remedy=REMEDIES.get(error.errno or 0, "check the target's storage and its system log"),
        ) from error


def _some(count: int) -> int:
    """`count`, which must not be 0: nothing moved means that the file has ended."""
    if count == 0:
        raise OSError(errno.EIO, "ends early: it was truncated by someone else")
    return count


class FileSource:
    """A raw file or block device to read. Use as `async with`."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self.retries = 0  # a local read is not tried again: the kernel already did
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise UsageError("no such file or device", disk=self.name) from error
        except OSError as error:
            raise SourceError(str(error), disk=self.name, operation="open") from error
        try:
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            os.close(self._fd)
            raise UsageError("is neither a file nor a block device", disk=self.name) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        os.close(self._fd)

    async def extents(self) -> list[Extent]:
        return await asyncio.to_thread(lambda: [*self._walk()])

    def _walk(self) -> Iterator[Extent]:
        """Holes by SEEK_DATA; devices and file systems that cannot tell give one data extent."""
        start = 0
        while start < self.size:
            try:
                data = os.lseek(self._fd, start, os.SEEK_DATA)
                end = os.lseek(self._fd, data, os.SEEK_HOLE)
            except OSError as error:
                nothing_left = error.errno == errno.ENXIO
                yield Extent(start, self.size - start, zero=nothing_left)
                return
            if data > start:
                yield Extent(start, data - start, zero=True)
            yield Extent(data, end - data, zero=False)
            start = end

    async def pread(self, start: int, view: memoryview) -> None:
        await asyncio.to_thread(self._read, start, view)

    def _read(self, start: int, view: memoryview) -> None:
        filled = 0
        while filled < len(view):
            try:
                count = os.preadv(self._fd, [view[filled:]], start + filled)
            except OSError as error:
                raise SourceError(
                    error.strerror or str(error), disk=self.name, operation="read", offset=start + filled
                ) from error
            if count == 0:
                raise SourceError("ends early: it was truncated", disk=self.name, offset=start + filled)
            filled += count


class FileTarget:
    """A raw file or block device to fill with `size` bytes. Use as `with`; one copy at a time (flock)."""

    def __init__(self, path: Path, size: int) -> None:
        self.name = str(path)
        self._size = size
        if size == 0:
            raise UsageError("the disk has 0 bytes: there is nothing to copy", disk=self.name)
        created = not path.exists()
        with _errors_of(self.name, "open"):
            if path.is_dir():
                raise UsageError("is a folder", disk=self.name, remedy="name a file inside it")
            exclusive = os.O_EXCL if path.is_block_device() else os.O_CREAT  # O_EXCL: refuse a mounted device
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | exclusive, 0o660)
        try:
            self._device = stat.S_ISBLK(os.fstat(self._fd).st_mode)
            self._claim()
            self.fresh = self._prepare()
            if created:
                self._sync_folder(path.parent)
        except BaseException:
            os.close(self._fd)
            raise
        self._direct = self._open_direct(path)
        self._can_zero = True

    def _claim(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TargetError(
                "another copy is writing to it", disk=self.name, remedy="wait for it to end"
            ) from error

    def _prepare(self) -> bool:
        """Check or set the size; True if the target is fresh."""
        with _errors_of(self.name, "size"):
            held = os.lseek(self._fd, 0, os.SEEK_END)
            if held > self._size and not self._device:
                raise TargetError(
                    f"already holds {held} bytes, the disk has {self._size}",
                    disk=self.name,
                    remedy="delete it or choose another target: transferd does not cut files short",
                )
            if held < self._size and self._device:
                raise TargetError(
                    f"is too small: {held} bytes, the disk has {self._size}",
                    disk=self.name,
                    remedy=f"use a target of at least {human(self._size)}",
                )
            if not self._device:
                os.ftruncate(self._fd, self._size)
        return held == 0

    def _sync_folder(self, folder: Path) -> None:
        """A new file is only durable when its name is."""
        with _errors_of(self.name, "sync folder"):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _open_direct(self, path: Path) -> int | None:
        try:
            return os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        except OSError:
            return None  # some network file systems: writes go through the cache, reread() drops it first

    def require_space(self, data: int) -> None:
        """TargetError if the file system surely cannot hold `data` more bytes: better now than at 98 %."""
        if self._device:
            return
        with _errors_of(self.name, "free space"):
            volume = os.fstatvfs(self._fd)
            held = os.fstat(self._fd).st_blocks * 512
        free = volume.f_bavail * volume.f_frsize + held
        if free < data:
            raise TargetError(
                f"no space: {human(free)} free, {human(data)} to write",
                disk=self.name,
                remedy=REMEDIES[errno.ENOSPC],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        if self._direct is not None:
            os.close(self._direct)
        try:
            with _errors_of(self.name, "close"):
                os.close(self._fd)
        except TargetError:
            if kind is None:  # an earlier error is the better story
                raise

    def pwrite(self, start: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            with _errors_of(self.name, "write", start + done):
                done += self._transfer(os.pwritev, start + done, view[done:])

    def zero(self, start: int, length: int) -> None:
        if self._can_zero and self._zero_cheaply(start, length):
            return
        for offset in range(start, start + length, len(ZEROS)):
            self.pwrite(offset, ZEROS[: min(len(ZEROS), start + length - offset)])

    def _zero_cheaply(self, start: int, length: int) -> bool:
        """True if the kernel made the range zero; False if it has to be written."""
        with _errors_of(self.name, "zero", start):
            try:
                if self._device:
                    fcntl.ioctl(self._fd, BLKZEROOUT, struct.pack("QQ", start, length))
                elif _libc.fallocate(self._fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, length):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                # EINVAL on a device is this range's alignment, not the device's ability
                self._can_zero = self._device and error.errno == errno.EINVAL
                return False
        return True

    def flush(self) -> None:
        with _errors_of(self.name, "flush"):
            os.fsync(self._fd)
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def reread(self, start: int, view: memoryview) -> None:
        filled = 0
        while filled < len(view):
            with _errors_of(self.name, "read back", start + filled):
                filled += self._transfer(os.preadv, start + filled, view[filled:])

    def _transfer(self, call: Transfer, start: int, view: memoryview) -> int:
        """Bytes that `call` moved: around the page cache what is aligned, through it the rest.

        `view` must be page aligned, which slices of the engine's ring at ZERO_GRAIN are.
        """
        aligned = len(view) // DIRECT_ALIGN * DIRECT_ALIGN
        if self._direct is not None and aligned and start % DIRECT_ALIGN == 0:
            try:
                return _some(call(self._direct, [view[:aligned]], start))
            except OSError as error:
                if error.errno != errno.EINVAL:  # this storage wants another alignment
                    raise
        return _some(call(self._fd, [view], start))

    def reads_zero(self, start: int, length: int) -> bool:
        if self._device:
            return False
        try:
            return os.lseek(self._fd, start, os.SEEK_DATA) >= start + length
        except OSError as error:
            return error.errno == errno.ENXIO  # no data from here to the end
