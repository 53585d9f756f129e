"""A MODEL of CDI's VDDK importer: its algorithm in Python over libnbd, not its code and not its language.

Each behaviour is that of pkg/importer/vddk-datasource_amd64.go of kubevirt/containerized-data-importer at
commit c07cdb6, by line:

    685        block status is asked for windows of 2 GiB
    721-724    with REQ_ONE: one extent a round trip; neighbours of one kind are merged
    691-698    2 MiB a read when the host is reached through vCenter
    818-871    hole or zero: zeroed; data: one synchronous read, then one synchronous write, in order
    956-974    zeroed by punching a hole
    978-989    at the end the file is synced
    1151-1155  the target is truncated and made anew
    1355-1378  cold copy: window by window, extents first, then their ranges

What Go saves over Python here is start-up; a read of 2 MiB costs the network, not the language. The model
raises where CDI logs and goes on (a failed sync). tests/test_cdi_model.py pins its requests.

    python -m bench.cdi URI TARGET
"""

import ctypes
import os
import sys

import nbd

from transferd.units import GiB, MiB

WINDOW = 2 * GiB
READ = 2 * MiB
PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, linux/falloc.h

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def extents(handle: nbd.NBD, start: int, end: int) -> list[tuple[int, int, int]]:
    """(start, length, flags) of one window, asked one by one, merged while their flags are the same."""
    merged: list[tuple[int, int, int]] = []
    while start < end:
        length, flags = first_extent(handle, start, end)
        if merged and merged[-1][2] == flags:
            began, before, _ = merged.pop()
            merged.append((began, before + length, flags))
        else:
            merged.append((start, length, flags))
        start += length
    return merged


def first_extent(handle: nbd.NBD, start: int, end: int) -> list[int]:
    """[length, flags] of what `start` lies in, cut at `end`."""
    found: list[int] = []

    def keep(_context: str, _offset: int, entries: list[int], _error: object) -> int:
        found.extend(entries[:2])
        return 0

    handle.block_status(end - start, start, keep, flags=nbd.CMD_FLAG_REQ_ONE)
    return found


def punch(file: int, start: int, length: int) -> None:
    if _libc.fallocate(file, PUNCH, start, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def copy_range(handle: nbd.NBD, file: int, start: int, length: int, flags: int) -> None:
    if flags & (nbd.STATE_HOLE | nbd.STATE_ZERO):
        punch(file, start, length)
        return
    end = start + length
    while start < end:
        content = handle.pread(min(READ, end - start), start)
        os.pwrite(file, content, start)
        start += len(content)


def main(uri: str, target: str) -> None:
    handle = nbd.NBD()
    handle.add_meta_context("base:allocation")
    handle.connect_uri(uri)
    size = handle.get_size()
    file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(file, size)
    for window in range(0, size, WINDOW):
        for start, length, flags in extents(handle, window, min(window + WINDOW, size)):
            copy_range(handle, file, start, length, flags)
    os.fsync(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
