"""One disk of one vSphere VM without a migration around it: copied, or brought up to date by a round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transferd import digest, vddk
from transferd.backends.file_target import FileTarget
from transferd.copy import Copied, How
from transferd.crew import in_thread
from transferd.errors import UsageError
from transferd.journal import Journal
from transferd.model import VMRef
from transferd.vddk import Access
from transferd.vsphere.reading import reading_point


async def copy(access: Access, name: str, number: int, target: Path, journal: Path, how: How) -> Copied:
    """The disk as it is now. What an earlier run copied is brought up to date."""
    return await _copy(access, name, number, target, journal, how, even_off=False)


async def _copy(
    access: Access, name: str, number: int, target: Path, journal: Path, how: How, *, even_off: bool
) -> Copied:
    vm = await in_thread(access.session.read_vm, VMRef(name=name))
    disk = vddk.disk_number(vm, number)
    vddk.require_library(access)
    how = replace(how, means=replace(how.means, budget=vddk.share(access, vm)))
    with FileTarget(target, disk.capacity) as end:
        async with reading_point(access.session, vm, _purpose(journal), even_off=even_off) as at:
            return await vddk.copy_disk(access, vm, disk, at, end, journal, how)


async def delta(
    access: Access, name: str, number: int, target: Path, journal: Path, since: str, how: How
) -> Copied:
    """What changed since `since`, onto a copy that is as the disk was then. UsageError for any other copy."""
    require_copy_of(journal, since)
    return await _copy(access, name, number, target, journal, how, even_off=True)


def require_copy_of(journal: Path, since: str) -> None:
    """UsageError unless the journal says that its target is, or is becoming, later than `since`."""
    if not journal.exists():
        raise UsageError(
            f"{journal}: there is no journal, so nothing is known of the target",
            remedy="make the copy with transferd copy first",
        )
    with Journal(journal) as opened:
        found = opened.read()
    base = found.base.get("change") if found is not None else None
    if base != since:
        raise UsageError(
            f"{journal}: the copy is of changeId {base or 'none'}, not {since}",
            remedy="give the changeId that the last run's result document names",
        )


def _purpose(journal: Path) -> str:
    return f"copy-{digest.of_block(str(journal.resolve()).encode()).hex()[:12]}"
