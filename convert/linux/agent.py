"""QEMU's guest agent: kept where it is, installed where the operator supplied a package that fits.

Nothing comes from a network, neither now nor when the guest starts. In the folder of packages, and in
folders in it, which may be named for releases (`bookworm`, `rhel-9`), the one that fits is found by what it
demands of the guest. Debian packages are unpacked now (linux.unpack); RPM packages are installed by the
guest when it first starts (linux.first_boot). A guest without an agent works; what it lacks is said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert import deb
from convert.linux import dpkg, first_boot, unpack
from convert.linux.services import MASK, MASKS
from convert.plan import Contribution
from transferd.errors import ConversionError, UsageError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from convert.inspection import Inspection
    from convert.tree import Tree
    from convert.wishes import Wishes

STEP = "agent"
NAME = unpack.AGENT
PROGRAMS = ("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga", "/sbin/qemu-ga")
UNITS = ("qemu-guest-agent.service", "qemu-ga.service")
# A folder of agents for twenty releases and their libraries has a hundred.
PACKAGES = 1000
REMEDY = "install qemu-guest-agent in the guest, or give --guest-packages a folder with a package that fits"


def bring_agent(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:
    """Bring QEMU's guest agent."""
    packages = None if wishes.packages is None else _packages(wishes.packages, inspection)
    if present(tree):
        return Contribution(warnings=_masked(tree))
    if first_boot.is_waiting(tree):
        return Contribution(warnings=(_later(),))
    if packages is None:
        return _missing("the guest has no QEMU guest agent")
    return _installed(tree, inspection, packages)


def _installed(tree: Tree, inspection: Inspection, packages: list[Path]) -> Contribution:
    try:
        database = dpkg.read(tree)
        if database is not None:
            return _unpacked(tree, database, [path for path in packages if path.suffix == ".deb"])
    except ConversionError as error:
        return _missing(f"the guest agent was not installed: {error.problem}")
    if first_boot.is_used(tree):
        return _staged(tree, inspection, [path for path in packages if path.suffix == ".rpm"])
    return _missing("the guest agent was not installed: the guest's packages are neither dpkg's nor RPM's")


def present(tree: Tree) -> bool:
    return any(tree.exists(path) for path in PROGRAMS)


def _packages(folder: Path, inspection: Inspection) -> list[Path]:
    """Files of packages, those in a folder named for the guest's release first."""
    release = inspection.release
    named = {release.get("VERSION_CODENAME", ""), release.get("ID", "")}
    named |= {f"{release.get('ID')}{between}{release.get('VERSION_ID')}" for between in ("", "-")}
    try:
        inside = sorted(folder.iterdir())
        folders = sorted((path for path in inside if path.is_dir()), key=lambda path: path.name not in named)
        found = [path for place in folders for path in sorted(place.iterdir())] + inside
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}"
        raise UsageError(problem, remedy="give --guest-packages a folder with packages") from error
    packages = [path for path in found if path.suffix in (".deb", ".rpm") and path.is_file()]
    if len(packages) > PACKAGES:
        problem = f"{folder} holds {len(packages)} packages"
        raise UsageError(problem, remedy=f"leave in it the guest agent and what it needs, at most {PACKAGES}")
    return packages


def _unpacked(tree: Tree, database: dpkg.Database, paths: Iterable[Path]) -> Contribution:
    supplies = [unpack.Supply(path, deb.control(path)) for path in paths]
    refused: list[str] = []
    for wanted in (supply for supply in supplies if supply.name == NAME):
        try:
            chosen = unpack.closure(wanted, supplies, database)
            return Contribution(tuple(unpack.changes(tree, chosen, STEP)))
        except unpack.Unfit as reason:
            refused.append(f"{wanted.path.name}: {reason}")
    return _unfit(refused)


def _staged(tree: Tree, inspection: Inspection, paths: list[Path]) -> Contribution:
    if inspection.init != "systemd":
        return _missing("the guest agent was not installed: without systemd nothing would install it later")
    refused: list[str] = []
    for supply in first_boot.supplies(paths):
        if supply.header.name == NAME:
            reason = first_boot.lacks(tree, supply.header, inspection.arch)
            if reason is None:
                return Contribution(tuple(first_boot.changes(tree, supply, STEP)), (_later(),))
            refused.append(f"{supply.path.name}: {reason}")
    return _unfit(refused)


def _masked(tree: Tree) -> tuple[Warning_, ...]:
    unit = next((unit for unit in UNITS if tree.link(f"{MASKS}/{unit}") == MASK), None)
    if unit is None:
        return ()
    message = f"the guest agent is installed, and {unit} is masked"
    return (
        Warning_(code="agent-masked", message=message, remedy=f"run systemctl unmask {unit} in the guest"),
    )


def _later() -> Warning_:
    return Warning_(
        code="agent-at-first-boot",
        message=f"the guest installs its agent itself when it first starts, by {first_boot.SERVICE}",
        remedy=f"look at systemctl status {first_boot.SERVICE} if the agent does not answer then",
    )


def _unfit(refused: list[str]) -> Contribution:
    seen = "; ".join(refused) or f"no package of {NAME} for this guest's package manager"
    return _missing(f"the guest agent was not installed: {seen}")


def _missing(message: str) -> Contribution:
    return Contribution(warnings=(Warning_(code="agent-missing", message=message, remedy=REMEDY),))
