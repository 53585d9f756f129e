"""Services switched off on a guest that is not running, as its init's own tool does it and can undo it.

systemd: a unit that a package brought is masked, as `systemctl mask` does it. System V: the S links of the
runlevels become K links, as with `update-rc.d NAME disable` and `chkconfig NAME off`; a later update of the
package respects that. Upstart: `manual` in an override file (init(5)); versions before 0.6.7, which do not
know overrides, get `start on` commented out. OpenRC: the links in /etc/runlevels go, as with
`rc-update del NAME --all`.

A unit or an override that the administrator wrote is left alone and reported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ParamSpec

from convert.linux.edits import edited, joined, linked, removed
from convert.plan import Change, Contribution, write
from convert.tree import MIB, text
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from convert.tree import Tree

P = ParamSpec("P")
STEP = "vmware"
REASON = "VMware's services have nothing to talk to on the new hardware"
MASK = "/dev/null"
MASKS = "/etc/systemd/system"
UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system")
# VMware's own installer puts units where administrators do; they start this.
INSTALLED_BY_VMWARE = b"/etc/vmware-tools/services.sh"
# Red Hat keeps runlevels in /etc/rc.d, SUSE in /etc/init.d, Debian in /etc; links lead from one to another.
RUNLEVELS = ("/etc/rc.d", "/etc/init.d", "/etc")
STARTING = ("2", "3", "4", "5", "S")
STOPPING = ("0", "6")
RC_LINK = re.compile(r"([SK])(\d\d)(.+)")
# OpenRC has five, and an administrator may add some.
LEVELS = 32
INIT_LIMIT = 8 * MIB
START_ON = re.compile(r"^[ \t]*start[ \t]+on\b[^\n(]*(?:\((?:[^()]|\([^()]*\))*\)[^\n]*)?", re.MULTILINE)


def off(tree: Tree, units: tuple[str, ...], names: re.Pattern[str]) -> Contribution:
    """Switches off systemd's `units`, and for every other init the services whose whole name matches.

    A guest whose files cannot be read keeps its services, and is told of.
    """
    brought = present(tree, units)
    covered = {unit.removesuffix(".service") for unit in brought}
    own = set(tree.names(MASKS))
    return joined(
        [
            *(_attempted(_masked, tree, unit) for unit in brought if unit not in own),
            *(_attempted(_settled, tree, unit, unit in brought) for unit in units if unit in own),
            _attempted(_system_v, tree, names, covered),
            _attempted(_upstart, tree, names),
            _attempted(_openrc, tree, names),
        ]
    )


def _attempted(part: Callable[P, Iterable[Contribution]], *asked: P.args, **named: P.kwargs) -> Contribution:
    try:
        return joined(part(*asked, **named))
    except ConversionError as error:
        message = f"some of VMware's services were left on: {error.problem}"
        remedy = "switch them off in the guest"
        return Contribution(warnings=(Warning_(code="file-not-read", message=message, remedy=remedy),))


def present(tree: Tree, units: tuple[str, ...]) -> list[str]:
    """Those units that a package brought; an alias, which is a link to one of them, is none."""
    there = [(folder, set(tree.names(folder))) for folder in UNIT_FOLDERS]
    found = {
        unit
        for folder, names in there
        for unit in names.intersection(units)
        if tree.link(f"{folder}/{unit}") is None
    }
    return [unit for unit in units if unit in found]


def _masked(tree: Tree, unit: str) -> Iterator[Contribution]:
    yield Contribution(linked(tree, f"{MASKS}/{unit}", MASK, step=STEP, reason=REASON))


def _settled(tree: Tree, unit: str, brought: bool) -> Iterator[Contribution]:
    """What lies in the place of the mask: a link gives way to it, VMware's installer's unit is disabled."""
    path = f"{MASKS}/{unit}"
    if tree.link(path) is not None:
        if brought:
            yield from _masked(tree, unit)
    elif INSTALLED_BY_VMWARE in (tree.read(path) or b""):
        yield Contribution(tuple(_not_wanted(tree, unit)))
    else:
        yield Contribution(warnings=(_left(path, "unit"),))


def _not_wanted(tree: Tree, unit: str) -> Iterator[Change]:
    """As `systemctl disable` does it."""
    for folder in tree.names(MASKS):
        path = f"{MASKS}/{folder}/{unit}"
        if folder.endswith((".wants", ".requires")) and tree.link(path) is not None:
            yield removed(tree, path, step=STEP, reason=REASON)


def _left(path: str, what: str) -> Warning_:
    return Warning_(
        code="vmware-unit-not-masked",
        message=f"{path} is the administrator's own {what} and was left alone",
        remedy="disable it in the guest if it belongs to VMware",
    )


def _system_v(tree: Tree, names: re.Pattern[str], covered: set[str]) -> Iterator[Contribution]:
    """A service whose unit of the same name is masked does not start from its links either."""
    yield Contribution(tuple(_stopped(tree, names, covered)))


def _stopped(tree: Tree, names: re.Pattern[str], covered: set[str]) -> Iterator[Change]:
    for folder in runlevels(tree, STARTING):
        links = [match for name in tree.names(folder) if (match := RC_LINK.fullmatch(name))]
        kept = {match[3] for match in links if match[1] == "K"}
        for match in links:
            if match[1] == "S" and names.fullmatch(match[3]) and match[3] not in covered:
                path = f"{folder}/{match[0]}"
                target = tree.link(path)
                yield removed(tree, path, step=STEP, reason=REASON)
                if target is not None and match[3] not in kept:
                    stop = f"{folder}/K{_stop_order(tree, match)}{match[3]}"
                    yield from linked(tree, stop, target, step=STEP, reason=REASON)


def runlevels(tree: Tree, levels: tuple[str, ...]) -> list[str]:
    """The folders of these runlevels, each once: those that are reached through a link are left out."""
    return [
        f"{top}/{name}"
        for top in RUNLEVELS
        if tree.link(top) is None
        for name in sorted({f"rc{level}.d" for level in levels}.intersection(tree.names(top)))
        if tree.link(f"{top}/{name}") is None
    ]


def _stop_order(tree: Tree, start: re.Match[str]) -> str:
    """As at shutdown; else mirrored, the convention that update-rc.d(8) tells of."""
    for folder in runlevels(tree, STOPPING):
        for name in tree.names(folder):
            stop = RC_LINK.fullmatch(name)
            if stop and stop[1] == "K" and stop[3] == start[3]:
                return stop[2]
    return f"{min(99, 100 - int(start[2])):02}"


def _upstart(tree: Tree, names: re.Pattern[str]) -> Iterator[Contribution]:
    found = [name.removesuffix(".conf") for name in tree.names("/etc/init") if name.endswith(".conf")]
    paths = [f"/etc/init/{name}" for name in found if names.fullmatch(name)]
    overrides = bool(paths) and _knows_overrides(tree)
    for path in paths:
        if not overrides:
            yield edited(tree, f"{path}.conf", _never_started, step=STEP, reason=REASON)
            continue
        own = text(tree, f"{path}.override")
        if own is None:
            yield Contribution(write(tree, f"{path}.override", "manual\n", step=STEP, reason=REASON))
        elif "manual" not in own.splitlines():
            yield Contribution(warnings=(_left(f"{path}.override", "override"),))


def _knows_overrides(tree: Tree) -> bool:
    """The init program names the files that it reads."""
    try:
        return b".override" in (tree.read("/sbin/init", INIT_LIMIT) or b"")
    except ConversionError:
        return False


def _never_started(conf: str) -> str:
    return START_ON.sub(lambda match: "# " + match[0].replace("\n", "\n# "), conf)


def _openrc(tree: Tree, names: re.Pattern[str]) -> Iterator[Contribution]:
    for level in tree.names("/etc/runlevels")[:LEVELS]:
        for name in filter(names.fullmatch, tree.names(f"/etc/runlevels/{level}")):
            path = f"/etc/runlevels/{level}/{name}"
            yield Contribution((removed(tree, path, step=STEP, reason=REASON),))
