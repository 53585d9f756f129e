"""Packages for tests: small ones in the formats of Debian and Red Hat, and the real ones of Debian 12."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import struct
import subprocess
import tarfile
from pathlib import Path

from tests.conftest import demand, require
from tests.guests.tools import run
from transferd.errors import Error

CACHE = Path("~/.cache/transferd/guest-agent")
REAL = ("qemu-guest-agent", "liburing2", "libnuma1")
BASE = (("dpkg", "1.21.22"), ("libc6", "2.36-9"))
NEEDED = (("libglib2.0-0", "2.74.6-2"), ("libudev1", "252.39-1"), ("init-system-helpers", "1.65.2"))
DOWNLOAD_DEADLINE = 120.0

Tar = dict[str, bytes | tarfile.TarInfo]


def deb(
    folder: Path,
    *,
    name: str = "qemu-guest-agent",
    version: str = "1:7.2-1",
    architecture: str = "amd64",
    more: str = "",
    control: Tar | None = None,
    data: Tar | None = None,
    at: str | None = None,
) -> Path:
    """A Debian package; `more` are further lines of its control file."""
    stated = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n{more}Description: a test\n"
    files = {"./usr/sbin/qemu-ga": b"\x7fELF agent"} if data is None else data
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": lzma.compress(tar({"./control": stated.encode(), **(control or {})})),
        "data.tar.xz": lzma.compress(tar(files)),
    }
    path = folder / (at or f"{name}_{version.replace(':', '%3a')}_{architecture}.deb")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(ar(members))
    return path


def ar(members: dict[str, bytes]) -> bytes:
    made = b"!<arch>\n"
    for name, content in members.items():
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        made += content + b"\n" * (len(content) % 2)
    return made


def tar(files: Tar) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                archive.addfile(content)
            else:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755 if "/sbin/" in name else 0o644
                archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def special(kind: bytes, target: str = "", mode: int = 0o777, owner: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo()
    entry.type, entry.linkname, entry.mode, entry.uid = kind, target, mode, owner
    return entry


def rpm(
    folder: Path,
    *,
    name: str = "qemu-guest-agent",
    version: str = "7.2.0",
    release: str = "1.el9",
    architecture: str = "x86_64",
    requires: tuple[str, ...] = (),
) -> Path:
    """The header of an RPM package, with signatures of an odd length and a payload that nobody reads."""
    facts = [(1000, name), (1001, version), (1002, release), (1022, architecture), (1049, requires)]
    path = folder / f"{name}-{version}-{release}.{architecture}.rpm"
    lead = b"\xed\xab\xee\xdb\x03\x00".ljust(96, b"\0")
    signatures = _header([(267, "odd")])
    padding = b"\0" * (-len(signatures) % 8)
    path.write_bytes(lead + signatures + padding + _header(facts) + b"payload")
    return path


def _header(facts: list[tuple[int, str | tuple[str, ...]]]) -> bytes:
    index, store = b"", b""
    for tag, value in facts:
        texts = (value,) if isinstance(value, str) else value
        index += struct.pack(">IIII", tag, 6 if isinstance(value, str) else 8, len(store), len(texts))
        store += b"".join(text.encode() + b"\0" for text in texts)
    return struct.pack(">4s4xII", b"\x8e\xad\xe8\x01", len(facts), len(store)) + index + store


def status(*versions: tuple[str, str], state: str = "install ok installed") -> str:
    """dpkg's database with dpkg itself, the C library and these packages."""
    every = (
        *((name, version, "install ok installed") for name, version in BASE),
        *((*one, state) for one in versions),
    )
    return "".join(
        f"Package: {name}\nStatus: {stated}\nMaintainer: m <m@example.org>\nArchitecture: amd64\n"
        f"Version: {version}\nDescription: d\n\n"
        for name, version, stated in every
    )


def database() -> dict[str, str]:
    """The files of dpkg's database in a Debian 12 that lacks two libraries of those the real agent needs."""
    kept = {
        f"/var/lib/dpkg/info/{name}.{part}": ""
        for name, _ in (*BASE, *NEEDED)
        for part in ("list", "md5sums")
    }
    return {"/var/lib/dpkg/status": status(*NEEDED), "/var/lib/dpkg/info/format": "1\n", **kept}


def dpkg(root: Path, *arguments: str) -> str:
    """dpkg on the database in a folder; this machine's is not touched."""
    done = subprocess.run(
        ["dpkg", f"--root={root}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def debian12() -> Path:
    """A folder with the real guest agent of Debian 12 and two libraries that it needs."""
    require("apt-get", "dpkg", "dpkg-query")
    release = Path("/etc/os-release").read_text()
    demand(None if "VERSION_CODENAME=bookworm" in release else "these packages are Debian 12's")
    folder = CACHE.expanduser() / hashlib.sha256(" ".join(REAL).encode()).hexdigest()[:16]
    if len(list(folder.glob("*.deb"))) == len(REAL):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run("env", f"--chdir={folder}", "apt-get", "-q", "download", *REAL, deadline=DOWNLOAD_DEADLINE)
    except Error as error:
        demand(f"Debian's packages cannot be fetched: {error}")
    return folder
