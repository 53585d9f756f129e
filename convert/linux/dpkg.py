"""dpkg's database in a guest: what is installed, what that satisfies, and how a new package is entered.

The database is text: a paragraph for each package in `status`, and for each package a few files in `info`
whose names begin with its name (dpkg(1), FILES). A package entered here is one that dpkg can list, verify,
upgrade and remove like any other. Pure over the Tree.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.deb import fields
from convert.tree import MIB, encoded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convert.deb import Control, Fields, File
    from convert.tree import Tree

STATUS = "/var/lib/dpkg/status"
INFO = "/var/lib/dpkg/info"
FORMAT = f"{INFO}/format"
# A desktop with 5000 packages has 6 MiB. Read into words, a hostile one takes twenty times its size here.
STATUS_LIMIT = 16 * MIB
# deb-version(7) knows no limit; nobody has come near this one.
VERSION_LIMIT = 256
RELATION = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*)(?::[a-z0-9-]+)?"
    r"(?:\s*\(\s*(?P<relation><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s)]+)\s*\))?"
)
PARTS = re.compile(r"(\D*)(\d*)")
# What dpkg writes to status of a control file; the rest of it is computed or kept in `info`.
ENTRY = re.compile(r"^Package:[^\n]*\n", re.IGNORECASE | re.MULTILINE)
# Members of the control archive that dpkg does not keep in `info`.
NOT_KEPT = ("control",)
PROGRAMS = ("preinst", "postinst", "prerm", "postrm", "config")


@dataclass(frozen=True)
class Database:
    """`packages`: name -> its installed paragraphs. `known`: names in any state, configuration left included.
    `provided`: virtual name -> versions, None without one."""

    architecture: str
    packages: dict[str, list[Fields]]
    known: frozenset[str]
    provided: dict[str, list[str | None]]

    def satisfies(self, relations: str) -> bool:
        """One group of a relation field: alternatives, divided by `|` (deb-control(5), Depends)."""
        return any(self._satisfies(one.strip()) for one in relations.split("|"))

    def _satisfies(self, relation: str) -> bool:
        match = RELATION.fullmatch(relation)
        if match is None:
            return False
        versions = [
            *(found["version"] for found in self.packages.get(match["name"], ()) if self._fits(found)),
            *self.provided.get(match["name"], ()),
        ]
        wanted = match["version"]
        return any(
            wanted is None or (version is not None and compares(version, match["relation"], wanted))
            for version in versions
        )

    def _fits(self, package: Fields) -> bool:
        """A package of another architecture counts where it says that it may (Multi-Arch: foreign)."""
        return (
            package.get("architecture") in (self.architecture, "all")
            or package.get("multi-arch") == "foreign"
        )


def read(tree: Tree) -> Database | None:
    """None where dpkg is not the package manager. Raises ConversionError for a database beyond the limit."""
    data = tree.read(STATUS, STATUS_LIMIT)
    if data is None:
        return None
    known = [fields(part) for part in data.decode("utf-8", "replace").split("\n\n") if part.strip()]
    packages: dict[str, list[Fields]] = {}
    provided: dict[str, list[str | None]] = {}
    for package in known:
        if package.get("status", "").endswith(" installed") and {"package", "version"} <= package.keys():
            packages.setdefault(package["package"], []).append(package)
            for name, version in _provided(package):
                provided.setdefault(name, []).append(version)
    own = next((package.get("architecture", "") for package in packages.get("dpkg", ())), None)
    if own is None:
        return None
    return Database(own, packages, frozenset(package.get("package", "") for package in known), provided)


def _provided(package: Fields) -> Iterable[tuple[str, str | None]]:
    for one in groups(package.get("provides", "")):
        if match := RELATION.fullmatch(one):
            yield match["name"], match["version"]


def groups(relations: str) -> list[str]:
    return [group.strip() for group in relations.split(",") if group.strip()]


def compares(version: str, relation: str, wanted: str) -> bool:
    if max(len(version), len(wanted)) > VERSION_LIMIT:
        return False
    left, right = order(version), order(wanted)
    match relation:
        case "<<":
            return left < right
        case "<=" | "<":
            return left <= right
        case "=":
            return left == right
        case ">>":
            return left > right
    return left >= right


def order(version: str) -> tuple[int, list[tuple[tuple[int, ...], int]], list[tuple[tuple[int, ...], int]]]:
    """What to compare versions by, as deb-version(7) orders them."""
    epoch, _, rest = version.rpartition(":")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch) if epoch.isdecimal() else 0, _parts(upstream), _parts(revision)


def _parts(part: str) -> list[tuple[tuple[int, ...], int]]:
    return [(_word(word), int(number or 0)) for word, number in PARTS.findall(part)]


def _word(word: str) -> tuple[int, ...]:
    """A tilde comes before the end of a word, the end before letters, letters before all others."""
    return (*(-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 0x110000 for c in word), 0)


def entry(control: Control, files: Iterable[File]) -> bytes:
    """What follows the last paragraph of `status`: the package as installed."""
    text = control.members["control"].decode("utf-8", "surrogateescape").strip("\n")
    stated = ENTRY.sub(lambda match: f"{match[0]}Status: install ok installed\n", text, count=1)
    digests = {file.path: _md5(file.data) for file in files if file.kind == "file"}
    kept = [f" {path} {digests[path]}\n" for path in configuration(control) if path in digests]
    listed = f"Conffiles:\n{''.join(kept)}" if kept else ""
    return encoded(f"\n{stated}\n{listed}\n")


def configuration(control: Control) -> list[str]:
    return control.members.get("conffiles", b"").decode("utf-8", "replace").split()


def info(tree: Tree, control: Control, files: Iterable[File]) -> dict[str, tuple[bytes, int]]:
    """The files of `info`: path -> content and mode. Where there is a `format`, their names tell packages of
    one name for several architectures apart."""
    same = control.fields.get("multi-arch") == "same" and tree.exists(FORMAT)
    name = f"{control.name}:{control.fields['architecture']}" if same else control.name
    paths = "".join(f"{path}\n" for path in ("/.", *(file.path for file in files)))
    kept = {member: data for member, data in control.members.items() if member not in NOT_KEPT}
    kept["list"] = paths.encode()
    return {
        f"{INFO}/{name}.{member}": (data, 0o755 if member in PROGRAMS else 0o644)
        for member, data in kept.items()
    }


def _md5(data: bytes) -> str:
    """The digest that dpkg keeps of a configuration file, to see whether it was edited."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
