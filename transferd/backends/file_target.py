"""Raw files and block devices to write, and what zeros cost on them.

A target remembers how it came to be, because that decides what zeros cost. The ladder:

    read as zero before, for certain   -> nothing   (created here, empty, or one single hole)
    fully allocated file               -> FALLOC_FL_ZERO_RANGE, which keeps what was reserved
    other file                         -> FALLOC_FL_PUNCH_HOLE
    block device                       -> BLKZEROOUT: the kernel promises zeros, by whatever means
    none of these works                -> zeros are written

A discard alone is never trusted: what it leaves behind is undefined, on encrypted devices it is noise. What
failed once for want of support is not tried again.

Data goes around the page cache (O_DIRECT) where the file system allows it: faster than through it, no memory
taken from others, and reading back for proof sees the storage, not the cache, where a lost write would hide.
Elsewhere each write is pushed out at once and dropped from the cache before it is read back, so that a slow
target makes the copy wait instead of filling memory with what it has not yet taken.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from transferd.errors import OUT_OF_FILES, TargetError, UsageError
from transferd.units import MiB, human

BLKZEROOUT = 0x127F  # linux/fs.h: _IO(0x12, 127)
FALLOC_FL_KEEP_SIZE = 0x01  # linux/falloc.h
FALLOC_FL_PUNCH_HOLE = 0x02
FALLOC_FL_ZERO_RANGE = 0x10
UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS}
DIRECT_ALIGN = 4096  # bytes; covers 512-byte and 4 KiB sectors
WRITE_ATTEMPTS = 3
WRITE_PAUSE = 0.2  # s between them
BUFFERED = "the target has no O_DIRECT: written through the page cache, flushed, dropped and read back"
ZEROS = memoryview(mmap.mmap(-1, MiB)).toreadonly()

SYNC_FILE_RANGE = 0x1 | 0x2 | 0x4  # linux/fs.h: wait before, write, wait after

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong, ctypes.c_uint]

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
        if error.errno in OUT_OF_FILES:
            raise
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


class FileTarget:
    """A raw file or block device to fill with `size` bytes. Use as `with`; one copy at a time (flock).

    `fresh` may be corrected by who knows more: a journal remembers that an earlier attempt created the file.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.name = str(path)
        self._size = size
        if size == 0:
            raise UsageError("the disk has 0 bytes: there is nothing to copy", disk=self.name)
        self._path = path
        self._created = not path.exists()
        self._fd = self._opened(path)
        try:
            self._status = os.fstat(self._fd)
            self._device = stat.S_ISBLK(self._status.st_mode)
            if not (self._device or stat.S_ISREG(self._status.st_mode)):
                raise UsageError("is neither a file nor a block device", disk=self.name)
            if not self._device and self._status.st_nlink > 1:
                raise UsageError(
                    "has other names (hard links)", disk=self.name, remedy="name a file of its own"
                )
            self._claim()
            self.fresh = self._prepare()
            if self._created:
                self._sync_folder(path.parent)
        except BaseException:
            os.close(self._fd)
            raise
        self._direct = self._open_direct()
        self.notes = [] if self._direct is not None else [BUFFERED]
        self._open = True
        self._can_zero = True
        self._zero_mode = FALLOC_FL_KEEP_SIZE | (
            FALLOC_FL_ZERO_RANGE if self._status.st_blocks * 512 >= size else FALLOC_FL_PUNCH_HOLE
        )

    def _opened(self, path: Path) -> int:
        """O_EXCL refuses a mounted device; O_NOFOLLOW a link that leads elsewhere than was named."""
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK
        with _errors_of(self.name, "open"):
            if path.is_dir():
                raise UsageError("is a folder", disk=self.name, remedy="name a file inside it")
            if path.is_block_device():  # /dev is full of links, and they are the administrator's
                return os.open(path, flags | os.O_EXCL)
            try:
                return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o660)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise UsageError("is a symbolic link", disk=self.name, remedy="name the file") from error
                if error.errno == errno.ENXIO:  # a FIFO or socket that nobody serves
                    raise UsageError("is neither a file nor a block device", disk=self.name) from error
                raise

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a restart must find unchanged: dev and inode of a file, number and size of a device."""
        status = self._status
        if self._device:
            return {"kind": "device", "device": status.st_rdev, "size": os.lseek(self._fd, 0, os.SEEK_END)}
        return {"kind": "file", "dev": status.st_dev, "inode": status.st_ino}

    @property
    def is_device(self) -> bool:
        return self._device

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
            if self._device:
                return False
            os.ftruncate(self._fd, self._size)
            return held == 0 or self._one_hole()

    def _one_hole(self) -> bool:
        """Proof that a file reads as zeros although it has a size: not one byte of data in it."""
        try:
            os.lseek(self._fd, 0, os.SEEK_DATA)
        except OSError as error:
            return error.errno == errno.ENXIO
        return False

    def _sync_folder(self, folder: Path) -> None:
        """A new file is only durable when its name is."""
        with _errors_of(self.name, "sync folder"):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _open_direct(self) -> int | None:
        """Through the descriptor, not the name: the name may lead elsewhere by now."""
        try:
            return os.open(f"/proc/self/fd/{self._fd}", os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        except OSError:
            return None  # tmpfs, some network file systems

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

    def abandon(self) -> None:
        """Nothing was written and nothing will be: leave no empty file where there was none."""
        if self._created:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        self._open = False
        if self._direct is not None:
            os.close(self._direct)
        try:
            with _errors_of(self.name, "close"):
                os.close(self._fd)
        except TargetError:
            if kind is None:  # an earlier error is the better story
                raise

    def pwrite(self, start: int, view: memoryview) -> None:
        done = attempts = 0
        while done < len(view):
            with _errors_of(self.name, "write", start + done):
                try:
                    done += self._transfer(os.pwritev, start + done, view[done:])
                except OSError as error:
                    attempts += 1
                    if error.errno != errno.EIO or attempts == WRITE_ATTEMPTS:
                        raise
                    time.sleep(WRITE_PAUSE)  # a path of the storage may be failing over
        if self._direct is None:
            _libc.sync_file_range(self._fd, start, len(view), SYNC_FILE_RANGE)  # only a hint: sync() decides

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
                elif _libc.fallocate(self._fd, self._zero_mode, start, length):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                # EINVAL on a device is this range's alignment, not the device's ability
                self._can_zero = self._device and error.errno == errno.EINVAL
                return False
        return True

    def sync(self) -> None:
        with _errors_of(self.name, "flush"):
            os.fdatasync(self._fd)

    def reread(self, start: int, view: memoryview) -> None:
        filled = 0
        pages = -(-len(view) // DIRECT_ALIGN) * DIRECT_ALIGN  # a device's last page, if not whole, would stay
        with _errors_of(self.name, "read back", start):
            os.posix_fadvise(self._fd, start, pages, os.POSIX_FADV_DONTNEED)
        while filled < len(view):
            with _errors_of(self.name, "read back", start + filled):
                filled += self._transfer(os.preadv, start + filled, view[filled:])

    def _transfer(self, call: Transfer, start: int, view: memoryview) -> int:
        """Bytes that `call` moved: around the page cache what is aligned, through it the rest.

        `view` must be page aligned, which slices of the engine's ring at ZERO_GRAIN are.
        """
        if not self._open:  # a thread that hung until now: its descriptor's number may be another file's
            raise OSError(errno.EBADF, "was closed")
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
