"""Every kind of place that a disk can be copied to, made on this machine: files, file systems, devices.

A `Place` knows what lay there before. Devices are larger than the disk, and what lies behind it is not ours.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import demand, require
from transferd.backends import Target
from transferd.backends.file_target import FileTarget
from transferd.backends.memory import MemoryTarget
from transferd.units import MiB

OLD = b"\xa5"
BEHIND = 2 * MiB  # bytes of a device behind the disk, at least


@dataclass(frozen=True)
class Place:
    """Open as often as needed with `target()`; `content()` is all of it, the bytes behind the disk too."""

    target: Callable[[], AbstractContextManager[Target]]
    content: Callable[[], bytes]
    path: Path | None = None
    sparse: bool = False
    allocated: bool = False


Make = Callable[[Path, int, ExitStack], Place]


def file_at(path: Path, size: int, **kind: bool) -> Place:
    return Place(lambda: FileTarget(path, size), path.read_bytes, path, **kind)


def new_file(folder: Path, size: int, _stack: ExitStack) -> Place:
    return file_at(folder / "target", size, sparse=True)


def sized_file(folder: Path, size: int, _stack: ExitStack) -> Place:
    (folder / "target").touch()
    os.truncate(folder / "target", size)
    return file_at(folder / "target", size, sparse=True)


def preallocated_file(folder: Path, size: int, _stack: ExitStack) -> Place:
    with (folder / "target").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return file_at(folder / "target", size, allocated=True)


def reserved_file_of_old_data(folder: Path, size: int, _stack: ExitStack) -> Place:
    """Written over its whole length: as much allocated as a preallocated one, so it stays allocated."""
    (folder / "target").write_bytes(OLD * size)
    return file_at(folder / "target", size, allocated=True)


def file_with_a_hole_and_old_data(folder: Path, size: int, _stack: ExitStack) -> Place:
    with (folder / "target").open("wb") as file:
        file.write(OLD * (size // 3))
        file.seek(2 * size // 3)
        file.write(OLD * (size - 2 * size // 3))
    return file_at(folder / "target", size)


def shorter_file_of_old_data(folder: Path, size: int, _stack: ExitStack) -> Place:
    (folder / "target").write_bytes(OLD * (size // 2))
    return file_at(folder / "target", size)


def file_without_direct_io(_folder: Path, size: int, stack: ExitStack) -> Place:
    """tmpfs before Linux 6.6 has no O_DIRECT, and keeps the page cache as its storage."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
    return reserved_file_of_old_data(folder, size, stack)


def file_system_that_cannot_zero_a_range(folder: Path, size: int, stack: ExitStack) -> Place:
    """ext2 punches holes, but has no FALLOC_FL_ZERO_RANGE: what is wholly allocated must be written."""
    require("mkfs.ext2")
    image = folder / "ext2.img"
    image.touch()
    os.truncate(image, size + 20 * MiB)
    subprocess.run(["mkfs.ext2", "-q", "-F", image], check=True, capture_output=True)
    return reserved_file_of_old_data(stack.enter_context(mounted(image, folder / "ext2")), size, stack)


def file_system_without_holes(folder: Path, size: int, stack: ExitStack) -> Place:
    """FUSE: no hole can be punched, SEEK_DATA tells nothing, and there is no O_DIRECT."""
    require("fusermount3", "setpriv")
    demand(None if os.access("/dev/fuse", os.R_OK | os.W_OK) else "no access to /dev/fuse")
    try:
        from tests.faults.lossy_fs import Faults, LossyFs  # noqa: PLC0415 (mfusepy: only here)
    except ModuleNotFoundError as error:
        demand(f"not installed: {error.name}")
    backing, mount = folder / "backing", folder / "fuse"
    backing.mkdir()
    mount.mkdir()
    stack.enter_context(LossyFs(backing, mount, Faults("target", no_punch=True, no_direct=True)))
    return file_with_a_hole_and_old_data(mount, size, stack)


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    require_root()
    folder.mkdir()
    argv = ["mount", "-o", "loop", image, folder]
    made = subprocess.run(argv, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this kernel does not mount it: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def require_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("loop devices and mounts need root")


def device(sector: int) -> Make:
    def make(folder: Path, size: int, stack: ExitStack) -> Place:
        require_root()
        require("losetup")
        backing = folder / "device.img"
        whole = -(-size // 4096) * 4096 + BEHIND
        backing.write_bytes(OLD * whole)
        argv = ["losetup", "--find", "--show", "--sector-size", str(sector), backing]
        name = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        stack.callback(subprocess.run, ["losetup", "--detach", name], check=True)
        return Place(lambda: FileTarget(Path(name), size), Path(name).read_bytes)

    return make


def memory(old: bytes | None) -> Make:
    def make(_folder: Path, size: int, _stack: ExitStack) -> Place:
        target = MemoryTarget(size, content=old and old * size)
        return Place(lambda: nullcontext(target), lambda: bytes(target.content))

    return make


PLACES: dict[str, Make] = {
    "new file": new_file,
    "file of that size": sized_file,
    "preallocated file": preallocated_file,
    "reused file": reserved_file_of_old_data,
    "reused file with a hole": file_with_a_hole_and_old_data,
    "reused shorter file": shorter_file_of_old_data,
    "file without direct I/O": file_without_direct_io,
    "file system without zero range": file_system_that_cannot_zero_a_range,
    "file system without holes": file_system_without_holes,
    "device": device(512),
    "device of 4 KiB sectors": device(4096),
    "memory": memory(None),
    "reused memory": memory(OLD),
}
