"""The commands of one disk: copy, delta."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from transferd import copy, options
from transferd.backends.file_target import FileTarget
from transferd.crew import in_thread
from transferd.errors import UsageError
from transferd.options import CopyOptions
from transferd.progress import Mode, Progress, show
from transferd.running import ProgressMode, ResultFile, VCenterFile, access, run, with_result

if TYPE_CHECKING:
    from transferd.model import Result

T = TypeVar("T")
UNDER_WAY = 0.5  # s after which a copy has begun to read, and may wait for imports


def copy_command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="[SOURCE] TARGET", help="SOURCE: NBD URI, raw file or block device."),
    ],
    vcenter: VCenterFile = None,
    vm: Annotated[str | None, typer.Option("--vm", help="Name of the VM, with --vcenter.")] = None,
    disk: Annotated[int | None, typer.Option("--disk", help="Number of its disk, from 0 (default).")] = None,
    source_id: options.SourceId = None,
    verify: options.Verify = "target",
    journal: options.JournalFile = None,
    state: options.StateFolder = None,
    resume: options.Resume = True,
    request_size: options.RequestSize = "1MiB",
    queue_depth: options.QueueDepth = None,
    connections: options.Connections = None,
    bandwidth: options.Bandwidth = None,
    patience: options.Patience = "60s",
    progress: ProgressMode = Mode.AUTO,
    metrics: options.MetricsAddress = None,
    report_file: options.ReportFile = None,
    result: ResultFile = None,
) -> None:
    """Copy one disk to a file or block device, and prove the copy. Run it again to go on where it stopped."""
    chosen = options.copying(
        verify=verify,
        journal=journal,
        state=state,
        resume=resume,
        request_size=request_size,
        queue_depth=queue_depth,
        connections=connections,
        bandwidth=bandwidth,
        patience=patience,
    )
    if vcenter is None:
        if len(paths) != 2:  # noqa: PLR2004 (source and target)
            raise UsageError("give SOURCE and TARGET, or --vcenter, --vm and TARGET")
        if vm is not None or disk is not None:
            raise UsageError("--vm and --disk need --vcenter")
        job = partial(_copy, paths[0], source_id, Path(paths[1]), chosen)
    else:
        if len(paths) != 1 or vm is None:
            raise UsageError("with --vcenter give --vm NAME and TARGET only")
        job = partial(_copy_vm_disk, vcenter, vm, disk or 0, Path(paths[0]), chosen)
    target = Path(paths[-1])
    _require_places(target, chosen, result, report_file, source=Path(paths[0]) if vcenter is None else None)
    _finish(job, chosen, progress, metrics, report_file, result)


def delta_command(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A copy that transferd made.")],
    vcenter: Annotated[Path, typer.Option("--vcenter", help="vcenter.yaml")],
    vm: Annotated[str, typer.Option("--vm", help="Name of the VM.")],
    since: Annotated[str, typer.Option("--since", help="The changeId that the copy is of.")],
    disk: Annotated[int, typer.Option("--disk", help="Number of its disk, from 0.")] = 0,
    verify: options.Verify = "target",
    journal: options.JournalFile = None,
    state: options.StateFolder = None,
    request_size: options.RequestSize = "1MiB",
    queue_depth: options.QueueDepth = None,
    connections: options.Connections = None,
    bandwidth: options.Bandwidth = None,
    patience: options.Patience = "60s",
    progress: ProgressMode = Mode.AUTO,
    metrics: options.MetricsAddress = None,
    report_file: options.ReportFile = None,
    result: ResultFile = None,
) -> None:
    """Bring a copy up to date: read what changed since, prove it. `--verify full` proves the whole disk."""
    chosen = options.copying(
        verify=verify,
        journal=journal,
        state=state,
        resume=True,
        request_size=request_size,
        queue_depth=queue_depth,
        connections=connections,
        bandwidth=bandwidth,
        patience=patience,
    )
    options.require_change_id(since)
    _require_places(target, chosen, result, report_file)

    async def work(how: copy.How) -> copy.Copied:
        from transferd import standalone  # noqa: PLC0415 (pyVmomi: only where vSphere is spoken to)

        async with AsyncExitStack() as stack:
            opened = await access(vcenter, stack)
            return await standalone.delta(opened, vm, disk, target, chosen.journal_for(target), since, how)

    _finish(work, chosen, progress, metrics, report_file, result)


def _require_places(
    target: Path, chosen: CopyOptions, result: Path | None, page: Path | None, source: Path | None = None
) -> None:
    """UsageError if a document cannot be written, or would be written over a disk or another document."""
    options.require_writable(result, page)
    options.require_apart(
        {
            "the source": source,
            "the target": target,
            "--journal": chosen.journal_for(target),
            "--result": result,
            "--report": page,
        }
    )


Work = Callable[[copy.How], Coroutine[Any, Any, copy.Copied]]


def _finish(
    work: Work, chosen: CopyOptions, mode: Mode, metrics: str | None, page: Path | None, result: Path | None
) -> None:
    """Do it, write the documents that were asked for, and say how it ended."""
    done = with_result(result, lambda: _copied(work, chosen, mode, metrics, page))
    from transferd import report  # noqa: PLC0415 (rich: not before the copy)

    report.disks(done)


def _copied(
    job: Work,
    chosen: CopyOptions,
    mode: Mode,
    metrics: str | None,
    page: Path | None,
) -> Result:
    with ExitStack() as stack:
        shown = stack.enter_context(show(mode))
        watch = _watcher(metrics, shown, stack) if metrics is not None else copy.unwatched
        copied = run(_with_ending_at_hand(job(chosen.how(shown, watch))))
    if page is not None:
        _draw(page, copied)
    from transferd import outcome  # noqa: PLC0415 (pydantic: not before the copy)
    from transferd.model import Result  # noqa: PLC0415

    return Result(outcome="ok", disks=[outcome.disk(copied)])


async def _with_ending_at_hand(work: Coroutine[Any, Any, T]) -> T:
    """`work`; what the result needs is imported while the copy's own threads wait for storage."""
    later = asyncio.get_running_loop().call_later(UNDER_WAY, _import_the_ending)
    try:
        return await work
    finally:
        later.cancel()


def _import_the_ending() -> None:
    from transferd import outcome, report  # noqa: F401, PLC0415


def _watcher(address: str, shown: Progress, stack: ExitStack) -> copy.Watcher:
    from transferd.metrics import Metrics  # noqa: PLC0415 (prometheus_client: only where metrics are wanted)

    metrics = Metrics()
    shown.say(f"metrics: http://{stack.enter_context(metrics.serve(address))}/metrics")
    return metrics.watch


def _draw(path: Path, copied: copy.Copied) -> None:
    from transferd.page.document import render  # noqa: PLC0415
    from transferd.page.drawn import drawn  # noqa: PLC0415
    from transferd.state import write_text  # noqa: PLC0415

    write_text(path, render([drawn(copied)]))


async def _copy(
    source: str, source_id: str | None, target: Path, chosen: CopyOptions, how: copy.How
) -> copy.Copied:
    copy.refuse_same(source, target)
    journal = chosen.journal_for(target)
    opened = copy.open_source(source, source_id=source_id, patience=how.means.limits.patience)
    with ExitStack() as stack:
        await in_thread(stack.enter_context, opened)
        end = stack.enter_context(FileTarget(target, opened.size))
        return await copy.disk(opened, end, journal, "disk", how)


async def _copy_vm_disk(
    vcenter: Path, name: str, number: int, target: Path, chosen: CopyOptions, how: copy.How
) -> copy.Copied:
    from transferd import standalone  # noqa: PLC0415 (pyVmomi: only where vSphere is spoken to)

    journal = chosen.journal_for(target)
    async with AsyncExitStack() as stack:
        opened = await access(vcenter, stack)
        return await standalone.copy(opened, name, number, target, journal, how)
