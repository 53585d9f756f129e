"""A guest's files in a folder of this machine, where nothing that the guest wrote leads out of that folder.

Paths are resolved here, not by the kernel: one component at a time, relative to an open folder, following no
link; a link is read, and its target resolved from the folder's top, as it would be in the guest. Devices,
sockets and FIFOs are not opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from transferd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The kernel follows 40 links in one path (path_resolution(7)).
LINKS = 40
# Folders that one path may pass through, links included; each costs a descriptor.
FOLDERS = 128
# What one folder may hold before the rest of it is left out.
NAMES = 65_536
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

# What the guest would be told of a path, or a link, that leads to nothing.
NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


@dataclass(frozen=True)
class Place:
    """What a path leads to: a name in an open folder, and its type and permission bits."""

    folder: int
    name: str
    mode: int


class Folder:
    """The part of `convert.tree.Tree` that the name resolver reads. UsageError for what may not be read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        try:
            os.close(os.open(root, OPEN_FOLDER & ~os.O_NOFOLLOW))
        except OSError as error:
            problem = f"{root}: {error.strerror}"
            raise UsageError(problem, remedy="give the folder that holds the guest's files") from error

    def tail(self, path: str, length: int) -> bytes:
        with self._looking(path) as stack:
            place = self._walk(path, stack)
            if place is None or not stat.S_ISREG(place.mode):
                return b""
            descriptor = os.open(place.name, OPEN_FILE, dir_fd=place.folder)
            stack.callback(os.close, descriptor)
            start = max(0, os.fstat(descriptor).st_size - length)
            return os.pread(descriptor, length, start)

    def names(self, folder: str) -> list[str]:
        with self._looking(folder) as stack:
            place = self._walk(folder, stack)
            if place is None or not stat.S_ISDIR(place.mode):
                return []
            entries = stack.enter_context(os.scandir(_opened(stack, place.name, place.folder)))
            return sorted(entry.name for entry in islice(entries, NAMES))

    def mode(self, path: str) -> int:
        with self._looking(path) as stack:
            place = self._walk(path, stack)
            return 0 if place is None else stat.S_IMODE(place.mode)

    @contextmanager
    def _looking(self, path: str) -> Iterator[ExitStack]:
        """What is opened on the way is closed at its end."""
        try:
            with ExitStack() as stack:
                yield stack
        except OSError as error:
            problem = f"{path} in {self._root} cannot be read: {error.strerror}"
            raise UsageError(problem, remedy="run this as a user who may read all of the folder") from error

    def _walk(self, path: str, stack: ExitStack) -> Place | None:
        """None where the guest would find nothing: no such file, a loop of links, a file as a folder."""
        folders = [_opened(stack, os.fspath(self._root))]
        waiting, links, opened = deque(path.split("/")), 0, 1
        while waiting:
            part = waiting.popleft()
            if part in ("", "."):
                continue
            if part == "..":
                folders = folders[:-1] or folders  # the top has none above it
                continue
            if (mode := _mode(part, folders[-1])) is None:
                return None
            if stat.S_ISLNK(mode):
                links += 1
                target = os.readlink(part, dir_fd=folders[-1])
                if target.startswith("/"):
                    del folders[1:]
                waiting.extendleft(reversed(target.split("/")))
            elif stat.S_ISDIR(mode):
                opened += 1
                folders.append(_opened(stack, part, folders[-1]))
            else:
                return None if any(waiting) else Place(folders[-1], part, mode)
            if links > LINKS or opened > FOLDERS:
                return None
        return Place(folders[-1], ".", stat.S_IFDIR)


def _opened(stack: ExitStack, name: str, folder: int | None = None) -> int:
    flags = OPEN_FOLDER if folder is not None else OPEN_FOLDER & ~os.O_NOFOLLOW
    descriptor = os.open(name, flags, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor


def _mode(name: str, folder: int) -> int | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except OSError as error:
        if error.errno in NOWHERE:
            return None
        raise
