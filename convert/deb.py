"""A Debian package as a file of this machine: what it says of itself, and the files that it holds (deb(5)).

A package is an ar archive of three members: a version, a tar with the control files, a tar with the data.
The operator gave it, so it is trusted to be what it should be; that does not make its numbers true. Sizes
are checked before anything is unpacked, and a name that leads out of its folder is refused.
"""

from __future__ import annotations

import io
import lzma
import posixpath
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal

import zstandard

from transferd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024
MAGIC = b"!<arch>\n"
HEADER = 60
# The guest agent unpacks to 2 MiB, the largest library it needs to 5 MiB.
SIZE_LIMIT = 64 * MIB
UNPACKED_LIMIT = 128 * MIB
ENTRY_LIMIT = 10_000
# dpkg-deb itself compresses with windows up to 64 MiB.
WINDOW_LIMIT = 128 * MIB
PERMISSIONS = 0o777
REMEDY = "take the package out of the folder, or download it again"

Fields = dict[str, str]


@dataclass(frozen=True)
class File:
    """One entry of the data: an absolute path and, by kind, the bytes or the link's target."""

    path: str
    kind: Literal["file", "folder", "link"]
    mode: int
    data: bytes = b""
    target: str = ""


@dataclass(frozen=True)
class Control:
    """`members`: the control files by name, `control` included. `fields`: its fields, names in lower case."""

    fields: Fields
    members: dict[str, bytes]

    @property
    def name(self) -> str:
        return self.fields["package"]


def fields(stanza: str) -> Fields:
    """A paragraph of a control file (deb-control(5)); a value keeps the line breaks between its lines."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t") and name:
            found[name].append(line)
        elif ":" in line and not line.startswith("#"):
            name, _, value = line.partition(":")
            name = name.strip().lower()
            found[name] = [value.strip()]
    return {name: "\n".join(lines) for name, lines in found.items()}


def control(path: Path) -> Control:
    """Raises UsageError for what is no Debian package."""
    members = {
        posixpath.basename(name): data
        for name, entry, data in _entries(path, "control.tar")
        if entry.isreg() and name.count("/") == 1
    }
    found = fields(members.get("control", b"").decode("utf-8", "replace"))
    for needed in ("package", "version", "architecture"):
        if not found.get(needed):
            raise _malformed(path, f"its control file has no {needed.capitalize()}")
    return Control(found, members)


def contents(path: Path) -> tuple[File, ...]:
    """What the package would put into a guest, in its order, except for folders that nothing lies in: a plan
    has no change for these. Raises UsageError."""
    found = _found(path)
    filled = {
        str(parent) for file in found if file.kind != "folder" for parent in PurePosixPath(file.path).parents
    }
    return tuple(file for file in found if file.kind != "folder" or file.path in filled)


def _found(path: Path) -> tuple[File, ...]:
    found: dict[str, File] = {}
    for name, entry, data in _entries(path, "data.tar"):
        if name == "/":
            continue
        if entry.uid or entry.gid or entry.mode & ~PERMISSIONS:
            raise _malformed(path, f"{name} does not belong to root alone, or runs as its owner")
        if entry.isdir():
            found[name] = File(name, "folder", entry.mode)
        elif entry.issym():
            found[name] = File(name, "link", PERMISSIONS, target=_printable(path, entry.linkname))
        elif entry.islnk():
            first = found.get(_absolute(path, entry.linkname))
            if first is None or first.kind != "file":
                raise _malformed(path, f"{name} is a hard link to a file that it does not hold")
            found[name] = File(name, "file", first.mode, first.data)
        elif entry.isreg():
            found[name] = File(name, "file", entry.mode, data)
        else:
            raise _malformed(path, f"{name} is neither a file, a folder nor a link")
    return tuple(found.values())


def _entries(path: Path, member: str) -> Iterator[tuple[str, tarfile.TarInfo, bytes]]:
    """Absolute path, entry, data. A tar is read as it is met, so names and sizes are checked one by one."""
    archive = io.BytesIO(_member(path, member))
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for count, entry in enumerate(tar):
                if count >= ENTRY_LIMIT or entry.issparse():
                    raise _malformed(path, f"it holds sparse files or more than {ENTRY_LIMIT} entries")
                file = tar.extractfile(entry) if entry.isreg() else None
                yield _absolute(path, entry.name), entry, file.read() if file else b""
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise _malformed(path, f"{member}: {error}") from error


def _absolute(path: Path, name: str) -> str:
    _printable(path, name)
    relative = name.removeprefix("./").strip("/")
    if name.startswith("/") or ".." in relative.split("/"):
        raise _malformed(path, f"it holds {name!r}, which is not a name inside a guest")
    return posixpath.normpath(f"/{relative}")


def _printable(path: Path, name: str) -> str:
    if not name.isprintable():
        raise _malformed(path, f"it holds the name {name!r}")
    return name


def _member(path: Path, wanted: str) -> bytes:
    """The unpacked bytes of an ar member whose name is `wanted` and a suffix for its compression."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise _malformed(path, "it is no ar archive")
            for name, size in _headers(path, file):
                if name.startswith(wanted):
                    return _unpacked(path, name.removeprefix(wanted), file.read(size))
                file.seek(size + size % 2, io.SEEK_CUR)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy=REMEDY) from error
    raise _malformed(path, f"it has no {wanted}")


def _headers(path: Path, file: BinaryIO) -> Iterator[tuple[str, int]]:
    """Name and size of each member, while `file` stands at its data."""
    while len(header := file.read(HEADER)) == HEADER:
        size = header[48:58].strip()
        if not size.isdigit() or int(size) > SIZE_LIMIT:
            raise _malformed(path, f"a member has the size {size!r}")
        yield header[:16].decode("ascii", "replace").strip().rstrip("/"), int(size)


def _unpacked(path: Path, suffix: str, data: bytes) -> bytes:
    try:
        unpacked = _decompressed(path, suffix, data)
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError) as error:
        raise _malformed(path, f"its data cannot be unpacked: {error}") from error
    if len(unpacked) > UNPACKED_LIMIT:
        raise _malformed(path, f"it unpacks to more than {UNPACKED_LIMIT // MIB} MiB")
    return unpacked


def _decompressed(path: Path, suffix: str, data: bytes) -> bytes:
    """At most one byte more than the limit."""
    match suffix:
        case "":
            return data
        case ".gz":
            return zlib.decompressobj(wbits=31).decompress(data, UNPACKED_LIMIT + 1)
        case ".xz":
            return lzma.LZMADecompressor(memlimit=WINDOW_LIMIT).decompress(data, UNPACKED_LIMIT + 1)
        case ".zst":
            reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).stream_reader(
                data, read_across_frames=True
            )
            return bytes(reader.read(UNPACKED_LIMIT + 1))
    raise _malformed(path, f"its compression {suffix} is not known")


def _malformed(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path} is no Debian package to install: {problem}", remedy=REMEDY)
