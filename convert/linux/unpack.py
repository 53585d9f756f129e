"""A Debian package put into a guest that is not running, without running anything of the guest.

What dpkg would do is done by hand, and only where that is all there is to do: the files are new, the
dependencies are installed or come along, and no script has work that this module does not know. Of the guest
agent's own scripts that work is known (Debian 12 and 13 were looked at): on a first installation `preinst`
does nothing, and `postinst` enables the service. Any other package comes along only without such scripts;
shared libraries are like that. Their ldconfig trigger may wait for the next package: the loader searches
their folder after its cache.

The package database gets the same entries that dpkg would write, so that it knows the package.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convert import deb
from convert.linux import dpkg
from convert.linux.edits import linked
from convert.linux.services import MASKS, runlevels
from convert.plan import Change
from convert.tree import MIB, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from convert.deb import Control, File
    from convert.linux.dpkg import Database
    from convert.tree import Tree

AGENT = "qemu-guest-agent"
SCRIPTS = ("preinst", "postinst")
# Left free, so that the guest can start at all.
SPARE = 8 * MIB
UNIT = re.compile(r"(?:/usr)?/lib/systemd/system/([^/]+\.service)")
WANTED_BY = re.compile(r"^WantedBy=(.*)$", re.MULTILINE)
START, STOP = ("2", "3", "4", "5"), ("0", "1", "6")
# An appended database is shown as this in the plan.
ENTRY = "the paragraph of {}"


class Unfit(Exception):  # noqa: N818 (names what the package is)
    """The package cannot be installed in this guest without running it; the text says why."""


@dataclass(frozen=True)
class Supply:
    """A package that the operator supplied."""

    path: Path
    control: Control

    @property
    def name(self) -> str:
        return self.control.name

    def relations(self, *names: str) -> list[str]:
        return [group for name in names for group in dpkg.groups(self.control.fields.get(name, ""))]

    def satisfies(self, relations: str, database: Database) -> bool:
        alone = {self.name: [self.control.fields]}
        return replace(database, packages=alone, provided={}).satisfies(relations)


def closure(wanted: Supply, supplies: Sequence[Supply], database: Database) -> list[Supply]:
    """`wanted` and what must come along, dependencies first. Raises Unfit."""
    chosen: dict[str, Supply] = {}
    waiting = [wanted]
    while waiting:
        one = waiting.pop()
        if one.name in chosen:
            continue
        _demand_place(one, database)
        chosen[one.name] = one
        missing = (
            group for group in one.relations("pre-depends", "depends") if not database.satisfies(group)
        )
        waiting += [_companion(one, group, supplies, database) for group in missing]
    return list(reversed(chosen.values()))


def _demand_place(one: Supply, database: Database) -> None:
    architecture = one.control.fields["architecture"]
    if architecture not in (database.architecture, "all"):
        raise Unfit(f"it is for {architecture}, and the guest is {database.architecture}")
    if one.name in database.known:
        raise Unfit(f"the guest has another version of {one.name}, or configuration that it left behind")
    if against := next(filter(database.satisfies, one.relations("conflicts", "breaks")), None):
        raise Unfit(f"{one.name} does not go together with {against}, which the guest has")


def _companion(one: Supply, relations: str, supplies: Sequence[Supply], database: Database) -> Supply:
    able = [other for other in supplies if other.satisfies(relations, database)]
    quiet = [other for other in able if not any(script in other.control.members for script in SCRIPTS)]
    if quiet:
        return quiet[0]
    why = ", whose scripts must run in the guest" if able else ""
    raise Unfit(f"{one.name} needs {relations}, which the guest does not have{why}")


def changes(tree: Tree, supplies: Sequence[Supply], step: str) -> Iterator[Change]:
    """Raises Unfit, and UsageError for a package that cannot be read."""
    unpacked = [(supply, deb.contents(supply.path)) for supply in supplies]
    if sum(len(file.data) for _, files in unpacked for file in files) > tree.free("/") - SPARE:
        raise Unfit("the guest has no space for it")
    for supply, files in unpacked:
        yield from _files(tree, supply, files, step)
        if supply.name == AGENT:
            yield from _enabled(tree, files, step)
    yield _entered(tree, unpacked, step)


def _files(tree: Tree, supply: Supply, files: Sequence[File], step: str) -> Iterator[Change]:
    reason = f"{supply.name} {supply.control.fields['version']} from {supply.path.name}"
    for file in files:
        if file.kind != "folder" and (tree.link(file.path) is not None or tree.exists(file.path)):
            raise Unfit(f"the guest has a {file.path} of its own")
        if file.kind == "link":
            yield Change(file.path, "symlink", step, reason, data=file.target.encode())
        elif file.kind == "file":
            yield _written(file.path, file.data, file.mode, step, reason)
    for path, (data, mode) in dpkg.info(tree, supply.control, files).items():
        yield _written(path, data, mode, step, f"dpkg keeps this of {supply.name}")


def _written(path: str, data: bytes, mode: int, step: str, reason: str) -> Change:
    shown = _is_text(data)
    binary = None if shown else f"{posixpath.basename(path)} of the package"
    return Change(path, "write", step, reason, mode=mode, data=data, binary=binary)


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _entered(tree: Tree, unpacked: Sequence[tuple[Supply, Sequence[File]]], step: str) -> Change:
    data = b"".join(dpkg.entry(supply.control, files) for supply, files in unpacked)
    names = ", ".join(supply.name for supply, _ in unpacked)
    before = digest(tree.read(dpkg.STATUS, dpkg.STATUS_LIMIT) or b"")
    reason = f"dpkg knows of {names}, and can upgrade or remove it"
    return Change(dpkg.STATUS, "append", step, reason, before=before, data=data, binary=ENTRY.format(names))


def _enabled(tree: Tree, files: Sequence[File], step: str) -> Iterator[Change]:
    """What `postinst` does with deb-systemd-helper and update-rc.d."""
    reason = "the agent starts with the guest"
    for file in files:
        if unit := UNIT.fullmatch(file.path):
            for targets in WANTED_BY.findall(file.data.decode("utf-8", "replace")):
                for target in targets.split():
                    path = f"{MASKS}/{target}.wants/{unit[1]}"
                    yield from linked(tree, path, file.path, step=step, reason=reason)
    if any(file.path == f"/etc/init.d/{AGENT}" for file in files):
        for letter, levels in (("S", START), ("K", STOP)):
            for folder in runlevels(tree, levels):
                path = f"{folder}/{letter}01{AGENT}"
                yield from linked(tree, path, f"../init.d/{AGENT}", step=step, reason=reason)
