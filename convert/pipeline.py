"""The straight line of a conversion: inspect -> plan -> apply on overlays -> check -> commit.

    disks -- overlay.create --> overlays -- Guest, inspect --> Inspection -- STEPS --> Plan
      -- apply --> changed overlays -- reread: checks --> proof -- commit --> disks

One appliance does it all, because a launch is what a conversion mostly costs. Before the checks it unmounts,
forgets its caches and mounts read-only, and inspection begins anew: the checks believe the disks and nothing
that was remembered. Up to the commit the disks are only read, and any failure throws the overlays away.
`apply` always demands VirtIO: a guest for which it cannot be proven stays as it was, and the result says SATA
and e1000e.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convert import accel, capabilities, checks, commit, overlay, rehearsal
from convert.files import locked
from convert.guest import Guest
from convert.inspection import Inspection, inspect
from convert.linux import STEPS, agent, rebuild, selinux
from convert.plan import Change, Contribution, Draft, Plan
from convert.report import Report
from convert.tree import MIB, digest, file_digest
from transferd.errors import Cancelled, ConversionError, TargetError, UsageError
from transferd.model import BlockBus, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convert.overlay import Overlay
    from convert.tree import Tree
    from convert.wishes import Wishes
    from transferd.model import ConversionResult, SourceVM

# An initramfs image is the largest file that a plan extends.
APPEND_LIMIT = 1024 * MIB
# The largest file that one rewrites is debconf's (convert.linux.disks.debconf).
WRITE_LIMIT = 16 * MIB
# An overlay of a Debian guest takes 10 MiB, its image on the host 40 MiB. QEMU pauses a machine whose
# overlay runs out of space instead of failing, so that is found out before.
SPACE = 256 * MIB


@dataclass(frozen=True)
class Request:
    """What to convert. `work` belongs to this conversion alone, across all its runs."""

    disks: Sequence[Path]
    wishes: Wishes
    work: Path
    overlay_only: bool = False
    boot: rehearsal.Boot | None = None


def demand_all_disks(disks: Sequence[Path], source: SourceVM) -> None:
    if len(disks) != len(source.disks):
        raise UsageError(
            f"the source document lists {len(source.disks)} disks and {len(disks)} were given",
            vm=source.name,
            remedy="give every disk, in the order of the source document",
        )


def apply(request: Request, report: Report) -> ConversionResult:
    """Converts, proves and commits; the result of a success. Raises Error; `report` then tells the rest."""
    demand_all_disks(request.disks, request.wishes.source)
    with locked(request.work):
        if (earlier := _finished_earlier(request, report)) is not None:
            return earlier
        with _overlays(request) as overlays:
            plan = _convert(request, overlays, report)
            if request.boot is not None and report.caps is not None:
                source = request.wishes.source
                rehearsal.prove(request.boot, overlays, source, report.caps, request.work, report)
            if request.overlay_only or not plan.changes:
                return report.result()
            record = commit.prepare(request.work, overlays, report.result())
        return _finish(request, record, report)


def _finished_earlier(request: Request, report: Report) -> ConversionResult | None:
    """Completes what an earlier run had decided to write."""
    record = commit.read(request.work)
    if record is None:
        return None
    if not commit.same_disks(record, request.disks):
        raise UsageError(
            f"{request.work} holds the commit of other disks",
            vm=request.wishes.source.name,
            remedy="give the same disks, or another --state folder",
        )
    if not record.done and request.overlay_only:
        raise UsageError(
            f"{request.work} holds a commit that is not finished, which is no rehearsal",
            vm=request.wishes.source.name,
            remedy="run the command without --overlay-only: it finishes the commit",
        )
    if not record.done:
        report.say("finish the commit of an earlier run")
        return _finish(request, record, report)
    if commit.holds(record):
        report.say("already converted")
        _discard(request.work)
        return record.result
    commit.drop(request.work)
    return None


def _finish(request: Request, record: commit.Record, report: Report) -> ConversionResult:
    try:
        with report.timed("commit"):
            result = commit.finish(request.work, record)
    except Cancelled as stopped:
        stopped.remedy = "run the same command again: it finishes the commit"
        raise
    _discard(request.work)
    return result


@contextmanager
def _overlays(request: Request) -> Iterator[list[Overlay]]:
    """Fresh overlays, and none afterwards: what is worth keeping is in the deltas of the commit."""
    _discard(request.work)
    if (free := shutil.disk_usage(request.work).free) < SPACE:
        raise TargetError(
            f"{request.work} has {free // MIB} MiB free and a conversion may need {SPACE // MIB} MiB",
            remedy="give a --state folder with more space",
        )
    try:
        yield overlay.create(request.disks, request.work)
    finally:  # by name, not by list: a signal may have come before there was one
        for made in request.work.glob("overlay-*"):
            made.unlink()


def _discard(work: Path) -> None:
    """What a run that was killed has left behind; never before its commit is finished, which needs it."""
    for pattern in ("overlay-*", "delta-*", "scratch*"):
        for old in work.glob(pattern):
            shutil.rmtree(old) if old.is_dir() else old.unlink()


@contextmanager
def opened(disks: Sequence[Path], work: Path, *, disk_format: str, read_only: bool) -> Iterator[Guest]:
    """An appliance on these disks, with a folder of its own for what passes through the host."""
    with (
        tempfile.TemporaryDirectory(prefix="scratch-", dir=work) as scratch,
        Guest(
            disks,
            Path(scratch),
            disk_format="qcow2" if disk_format == "qcow2" else "raw",
            read_only=read_only,
            backend_settings=accel.backend_settings(),
        ) as guest,
    ):
        yield guest


def _convert(request: Request, overlays: Sequence[Overlay], report: Report) -> Plan:
    paths = [made.path for made in overlays]
    with ExitStack() as stack:
        with report.timed("launch"):
            made = opened(paths, request.work, disk_format="qcow2", read_only=False)
            guest = stack.enter_context(made)
        inspection = look(guest, request.disks, request.wishes, report, check=True)
        plan = draw(guest, inspection, request.wishes, report)
        _demand_virtio(report)
        with report.timed("apply", len(plan.changes)):
            for change in sorted(plan.changes, key=lambda change: change.action == "run"):
                perform(guest, change)
        _check(request, guest, inspection, report)
    return plan


def perform(guest: Guest, change: Change) -> None:
    """Makes one planned change, if the file still is what it was planned on."""
    if change.before != _before(guest, change):
        raise ConversionError(f"{change.path} is not what it was when the plan was made", operation="apply")
    match change.action:
        case "write":
            guest.write(change.path, change.data, change.mode or 0o644)
        case "append":
            guest.append(change.path, change.data)
        case "symlink":
            guest.symlink(change.path, change.data.decode())
        case "remove":
            guest.remove(change.path)
        case "run":
            rebuild.run(guest, change)
    if change.label is not None:
        guest.set_selinux_label(change.path, change.label)


def _before(guest: Guest, change: Change) -> str | None:
    if change.action == "symlink" and guest.link(change.path) is not None:
        return None
    if change.action not in ("append", "run"):
        content = guest.read(change.path, WRITE_LIMIT)
        return None if content is None else digest(content)
    local = guest.fetch(change.path, APPEND_LIMIT)
    try:
        return file_digest(local)
    finally:
        local.unlink()


def _check(request: Request, guest: Guest, before: Inspection, report: Report) -> None:
    """Reads the overlays anew and looks for what must be true now. What is not ends the conversion."""
    told = report.result()
    with report.timed("check"):
        guest.reread()
        report.checks += checks.clean(guest, before.mounted, request.wishes.keys)
        fresh = Report(report.firmware, say=lambda _: None)
        inspection = look(guest, request.disks, request.wishes, fresh)
        plan = draw(guest, inspection, request.wishes, fresh)
        report.checks += checks.converted(guest, inspection, plan, told)
    failed = [f"{check.name}: {check.detail}" for check in report.checks if not check.ok]
    if failed:
        raise ConversionError(
            f"the converted guest failed its checks: {'; '.join(failed)}",
            operation="check",
            remedy="the disks are unchanged; report this with the result document",
        )


def look(
    guest: Guest, disks: Sequence[Path], wishes: Wishes, report: Report, *, check: bool = False
) -> Inspection:
    """`check`: let the file systems' own checkers look before anything is written."""
    names = [disk.name for disk in disks]
    with report.timed("inspect"):
        return inspect(guest, names, source=wishes.source, root=wishes.root, keys=wishes.keys, check=check)


def draw(tree: Tree, inspection: Inspection, wishes: Wishes, report: Report) -> Plan:
    """The plan, from all steps in their order, and with it all that the report says of the guest."""
    draft = Draft(tree)
    parts: list[Contribution] = []
    steps: list[Step] = []
    for step in STEPS:
        title = (step.__doc__ or step.__name__).splitlines()[0].rstrip(".")
        report.say(title)
        began = time.monotonic()
        part = step(draft, inspection, wishes)
        draft.add(part.changes)
        parts.append(part)
        steps.append(
            Step(name=step.__name__, changes=len(part.changes), elapsed_s=round(time.monotonic() - began, 3))
        )
    plan = Plan(tuple(selinux.labelled(tree, inspection, parts)), tuple(steps))
    converted = replace(inspection, agent=inspection.agent or agent.present(draft))
    report.planned(inspection, plan, capabilities.of(converted, plan.proofs, wishes.source.firmware))
    return plan


def _demand_virtio(report: Report) -> None:
    if report.caps is not None and report.caps.block is BlockBus.VIRTIO:
        return
    problems = [
        f"kernel {proof.version}: {proof.problem}" for proof in report.proofs if proof.weakest == "missing"
    ]
    raise ConversionError(
        f"VirtIO cannot be proven: {'; '.join(problems) or 'no kernel with modules found in /boot'}",
        operation="plan",
        remedy="the disks are unchanged; run the VM on SATA and e1000e, or mend the guest and copy again",
    )
