"""An RPM package that the guest installs itself when it first starts, from a file that conversion left.

The RPM database is a binary one of three kinds, and writing it from outside would be a guess. So the package
waits in the guest, and a systemd unit that runs once gives it to the guest's own rpm: no network, no
repository. When it is done, package and unit are gone. What the package requires of the guest is looked for
now, so that of packages for several releases the one that fits is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert import rpm
from convert.linux.edits import linked
from convert.linux.services import MASKS
from convert.loaders.menu import version_key
from convert.plan import Change, write
from convert.tree import MIB
from transferd.errors import ConversionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from convert.loaders.menu import Version
    from convert.rpm import Header
    from convert.tree import Tree

DATABASES = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
STAGE = "/var/lib/transferd"
SERVICE = "transferd-guest-agent.service"
UNIT = f"{MASKS}/{SERVICE}"
WANTED = f"{MASKS}/multi-user.target.wants/{SERVICE}"
SIZE_LIMIT = 32 * MIB
LIBRARY_LIMIT = 32 * MIB
# A library's name, the version of a symbol, and how wide its pointers are: libc.so.6(GLIBC_2.34)(64bit).
LIBRARY = re.compile(r"(?P<file>[^()/\s]+\.so[^()/\s]*)\((?P<symbol>[^()]*)\)(?P<wide>\(64bit\))?")
WIDE = ("/usr/lib64", "/lib64")
NARROW = ("/usr/lib", "/lib")
I386 = ("i386", "i486", "i586", "i686")
# A file name in a unit: systemd would take % and spaces for its own (systemd.unit(5), SPECIFIERS).
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.rpm")
TEXT = """\
# Left by transferd. It removes itself and the package when it has installed it.
[Unit]
Description=Install the QEMU guest agent from {path}
ConditionPathExists={path}
After=local-fs.target

[Service]
Type=oneshot
TimeoutStartSec=600
ExecStart=/usr/bin/rpm -U {path}
ExecStartPost=/usr/bin/rm -f {path} {wanted} {unit}
ExecStartPost=-/usr/bin/systemctl daemon-reload
ExecStartPost=-/usr/bin/systemctl --no-block start qemu-guest-agent.service

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Supply:
    """A package that the operator supplied."""

    path: Path
    header: Header


def is_used(tree: Tree) -> bool:
    """Whether the guest's packages are RPM's."""
    return any(tree.names(folder) for folder in DATABASES)


def is_waiting(tree: Tree) -> bool:
    return tree.exists(UNIT)


def lacks(tree: Tree, header: Header, architecture: str | None) -> str | None:
    """What the guest does not have of what the package wants, None if nothing is seen to be missing.

    Libraries and files are looked for. Names of packages are left to rpm, which asks its own database.
    """
    wanted = "i386" if header.architecture in I386 else header.architecture
    if wanted not in (architecture, "noarch"):
        return f"it is for {wanted}, and the guest is {architecture}"
    if not SAFE.fullmatch(f"{header.name}.rpm"):
        return "its name is no package name"
    for required in dict.fromkeys(header.requires):
        if not _has(tree, required):
            return f"it requires {required}, which the guest does not have"
    return None


def _has(tree: Tree, required: str) -> bool:
    if required.startswith("/"):
        return tree.exists(required)
    library = LIBRARY.fullmatch(required)
    if library is None or required.startswith("rtld("):
        return True
    folders = WIDE if library["wide"] else (*NARROW, *WIDE)
    path = next((f"{f}/{library['file']}" for f in folders if tree.exists(f"{f}/{library['file']}")), None)
    if path is None:
        return False
    return not library["symbol"] or _knows(tree, path, library["symbol"])


def _knows(tree: Tree, path: str, symbol: str) -> bool:
    """A library holds the names of its symbol versions as strings."""
    try:
        return f"\0{symbol}\0".encode() in (tree.read(path, LIBRARY_LIMIT) or b"")
    except ConversionError:
        return False


def changes(tree: Tree, supply: Supply, step: str) -> Iterator[Change]:
    """The package, the unit, and what starts it."""
    name = f"{supply.header.name}-{supply.header.version}-{supply.header.release}.rpm"
    path = f"{STAGE}/{name if SAFE.fullmatch(name) else f'{supply.header.name}.rpm'}"
    reason = f"the guest installs {supply.path.name} when it first starts"
    data = _content(supply.path)
    yield Change(path, "write", step, reason, mode=0o644, data=data, binary="an RPM package")
    unit = TEXT.format(path=path, wanted=WANTED, unit=UNIT)
    yield from write(tree, UNIT, unit, step=step, reason=reason)
    yield from linked(tree, WANTED, f"../{SERVICE}", step=step, reason=reason)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise UsageError(f"{path} has more than {SIZE_LIMIT // MIB} MiB", remedy=rpm.REMEDY)
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy=rpm.REMEDY) from error


def supplies(paths: Sequence[Path]) -> list[Supply]:
    """Newest first."""
    read = [Supply(path, rpm.header(path)) for path in paths]
    return sorted(read, key=_version, reverse=True)


def _version(supply: Supply) -> Version:
    return version_key(f"{supply.header.version}-{supply.header.release}")
