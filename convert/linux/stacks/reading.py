"""How readers of network configuration see a guest: a few bounded questions, and no file is too strange.

A guest may hold a FIFO where a file should be, a gigabyte of junk, or ten thousand files in one folder. So
a read takes the end of a file, which costs the same whatever its size; the number of reads and of bytes is
limited; and what was not read is remembered, because the resolver must not conclude from what is missing.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

# Configuration files are kilobytes. Under the megabyte that a read from an appliance takes at once.
FILE_LIMIT = 512 * 1024
TOTAL_LIMIT = 64 * 1024 * 1024
# A read from an appliance is three calls of about 15 ms under TCG (convert.guest), so these take 46 s; from a
# folder of this machine it takes 0.1 ms.
APPLIANCE_READS = 1024
FOLDER_READS = 20_000
UNREAD_SHOWN = 5
VALUE_LIMIT = 4096
# What editors and package managers leave behind. Each stack ignores most of these; none means them.
BACKUP = re.compile(
    r"\..*|.*(~|\.(bak|backup|old|orig|save|swp|tmp|disabled|rpmnew|rpmorig|rpmsave|dpkg-\w+|ucf-\w+))"
)
SETTING = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)")
SECTION = re.compile(r"\s*\[([^\]]*)\]\s*")

Options = list[tuple[str, str, str]]


class Files(Protocol):
    """The part of `convert.tree.Tree` that the resolver needs; the same contract."""

    def tail(self, path: str, length: int) -> bytes: ...

    def names(self, folder: str) -> list[str]: ...

    def mode(self, path: str) -> int: ...


class Reader:
    """One reading of a guest, with its limits. `unread` says what they have left out."""

    def __init__(self, files: Files, reads: int = APPLIANCE_READS) -> None:
        self.files = files
        self._reads = reads
        self._bytes = TOTAL_LIMIT
        self._unread: list[str] = []

    @property
    def unread(self) -> tuple[str, ...]:
        more = len(self._unread) - UNREAD_SHOWN
        rest = [f"{more} more files were not read"] if more > 0 else []
        return (*self._unread[:UNREAD_SHOWN], *rest)

    def note(self, path: str, problem: str) -> None:
        self._unread.append(f"{path} was not read: {problem}")

    def text(self, path: str) -> str:
        """A configuration file, empty where there is none that can be read."""
        data = self.end(path, FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            self.note(path, f"more than {FILE_LIMIT} bytes")
            return ""
        if b"\0" in data:
            self.note(path, "not a text")
            return ""
        return data.decode("utf-8", "replace")

    def end(self, path: str, length: int) -> bytes:
        """The last bytes of a file, none where there is no regular file."""
        if self._reads <= 0 or self._bytes <= 0:
            self.note(path, "too many files")
            return b""
        self._reads -= 1
        data = self.files.tail(path, length)
        self._bytes -= len(data)
        return data

    def names(self, folder: str) -> list[str]:
        """Sorted, without backups and hidden files."""
        return [name for name in self.files.names(folder) if not BACKUP.fullmatch(name)]

    def paths(self, folder: str, suffix: str = "", prefix: str = "") -> list[str]:
        names = self.names(folder)
        return [f"{folder}/{name}" for name in names if name.endswith(suffix) and name.startswith(prefix)]

    def overlaid(self, folders: tuple[str, ...], suffix: str) -> list[str]:
        """Files of several folders in the order of their names; the first folder that has a name wins."""
        found: dict[str, str] = {}
        for folder in folders:
            for path in self.paths(folder, suffix):
                found.setdefault(path.rpartition("/")[2], path)
        return [found[name] for name in sorted(found)]


def settings(content: str) -> dict[str, str]:
    """A file of shell assignments, as ifcfg files are; the last of a name counts."""
    pairs = (SETTING.match(line) for line in content.splitlines())
    return {pair[1]: unquoted(pair[2]) for pair in pairs if pair}


def unquoted(value: str) -> str:
    """What a shell would make of a value; what it would refuse is taken as it stands."""
    if len(value) > VALUE_LIMIT:
        return ""
    try:
        return " ".join(shlex.split(value, comments=True))
    except ValueError:
        return value.strip().strip("\"'")


def options(content: str) -> Options:
    """A file of sections, as (section, key, value); sections may repeat. For keyfiles and systemd's units."""
    found: Options = []
    section = ""
    for line in re.sub(r"\\\r?\n", " ", content).splitlines():
        head = SECTION.fullmatch(line)
        key, given, value = line.partition("=")
        if head:
            section = head[1].strip().lower()
        elif given and not line.lstrip().startswith(("#", ";")):
            found.append((section, key.strip().lower(), value.strip()))
    return found


def values(found: Options, section: str, *keys: str) -> Iterator[str]:
    """All values of these keys in sections of this name, in order."""
    return (value for where, key, value in found if where == section and key in keys)


def first(found: Options, section: str, *keys: str) -> str:
    return next(values(found, section, *keys), "")
