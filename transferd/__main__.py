"""The command line of the data plane.

Results go to stdout and, with --result, to a document that is written on failure too; progress and logs go
to stderr. How a process ends is `entry`'s business. What only some commands need is imported by them: a copy
of one disk must be reading within a quarter of a second.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
import uvloop

from transferd import copy, digest, entry, options, units
from transferd.backends.file_target import FileTarget
from transferd.crew import in_thread
from transferd.errors import Cancelled, UsageError
from transferd.options import CopyOptions
from transferd.progress import Mode, Progress, show

if TYPE_CHECKING:
    from transferd.model import Result
    from transferd.vddk import Access

T = TypeVar("T")
UNDER_WAY = 0.5  # s after which a copy has begun to read, and may wait for imports

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Move virtual machines from VMware vSphere to KubeVirt: copy, prove, convert.",
)

VCenterFile = Annotated[Path | None, typer.Option("--vcenter", help="vcenter.yaml: read a vSphere disk.")]
ResultFile = Annotated[Path | None, typer.Option("--result", help="Write the result document here.")]
ProgressMode = Annotated[Mode, typer.Option("--progress", help="How to show progress, on stderr.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # noqa: PLC0415 (10 ms that only this needs)

        print(f"transferd {metadata.version('transferd')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Log everything; show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    pass


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on uvloop. SIGINT and SIGTERM cancel it, so that every context closes in order."""

    async def cancellable() -> T:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(cancellable())
    except asyncio.CancelledError:
        raise Cancelled("stopped by a signal", remedy="run the same command again to go on") from None


def _with_result(path: Path | None, work: Callable[[], Result]) -> Result:
    """`work`'s result, written to `path`; when it fails, a failed one is, before the error goes on."""
    try:
        result = work()
    except Exception as failure:
        if path is not None:
            _write_result(path, _failed(failure))
        raise
    if path is not None:
        _write_result(path, result)
    return result


def _write_result(path: Path, result: Result) -> None:
    from transferd.state import write_text  # noqa: PLC0415

    write_text(path, result.to_json())


def _failed(failure: Exception) -> Result:
    from transferd.model import Result  # noqa: PLC0415

    return Result(outcome="failed", error=entry.as_error(failure).as_document())


@app.command("copy")
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
    options.require_writable(result, report_file)
    options.require_apart(
        {
            "the source": Path(paths[0]) if vcenter is None else None,
            "the target": target,
            "--journal": chosen.journal_for(target),
            "--result": result,
            "--report": report_file,
        }
    )
    done = _with_result(result, lambda: _copied(job, chosen, progress, metrics, report_file))
    from transferd import report  # noqa: PLC0415 (rich: not before the copy)

    report.disks(done)


def _copied(
    job: Callable[[copy.How], Coroutine[Any, Any, copy.Copied]],
    chosen: CopyOptions,
    mode: Mode,
    metrics: str | None,
    page: Path | None,
) -> Result:
    with ExitStack() as stack:
        shown = stack.enter_context(show(mode))
        watch = _watcher(metrics, shown, stack) if metrics is not None else copy.unwatched
        copied = _run(_with_ending_at_hand(job(chosen.how(shown, watch))))
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
        access = await _access(vcenter, stack)
        return await standalone.copy(access, name, number, target, journal, how)


async def _access(vcenter: Path, stack: AsyncExitStack) -> Access:
    from transferd import config, logs, vddk  # noqa: PLC0415 (pyVmomi: only where vSphere is spoken to)
    from transferd.vsphere import session as vsphere  # noqa: PLC0415

    logs.set_up()
    settings = config.vcenter(vcenter)
    password = partial(config.password, settings)
    session = await stack.enter_async_context(vsphere.connect(settings, password))
    return vddk.Access(session, settings, password)


@app.command()
def delta(
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
    options.require_writable(result, report_file)

    async def work(how: copy.How) -> copy.Copied:
        from transferd import standalone  # noqa: PLC0415 (pyVmomi: only where vSphere is spoken to)

        async with AsyncExitStack() as stack:
            access = await _access(vcenter, stack)
            return await standalone.delta(access, vm, disk, target, chosen.journal_for(target), since, how)

    done = _with_result(result, lambda: _copied(work, chosen, progress, metrics, report_file))
    from transferd import report  # noqa: PLC0415 (rich: not before the copy)

    report.disks(done)


@app.command()
def migrate(
    spec: Annotated[Path, typer.Argument(metavar="MIGRATION.YAML")],
    state: Annotated[Path | None, typer.Option(help="State directory. Default: ./transferd-NAME.")] = None,
    progress: ProgressMode = Mode.AUTO,
    result: ResultFile = None,
) -> None:
    """Move a whole VM: shut down, copy and prove every disk, convert, write its manifest."""
    from transferd import report  # noqa: PLC0415 (rich and vSphere: not for a plain copy)

    def work() -> Result:
        with show(progress) as shown:
            return _run(_migrate(spec, state, shown))

    report.migration(_with_result(result, work))


async def _migrate(path: Path, folder: Path | None, shown: Progress) -> Result:
    from transferd import config  # noqa: PLC0415
    from transferd.fence import Fence  # noqa: PLC0415
    from transferd.migrate import migrate as run_migration  # noqa: PLC0415
    from transferd.model import MigrationSpec  # noqa: PLC0415
    from transferd.state import State  # noqa: PLC0415

    spec = config.migration(path, MigrationSpec)
    name = spec.vm.name or spec.vm.moref or spec.vm.instance_uuid or ""
    chosen = folder or (Path(spec.state) if spec.state else None) or Path(f"transferd-{_file_name(name)}")
    async with AsyncExitStack() as stack:
        access = await _access(Path(spec.vcenter), stack)
        kept = State(chosen)
        stack.enter_context(Fence(kept.folder, None))
        return await run_migration(spec, access, kept, shown)


@app.command()
def worker(
    spec: Annotated[Path, typer.Option("--spec", help="What to do: a migration's spec for one stage.")],
    state: Annotated[Path | None, typer.Option(help="State directory, in the place of the spec's.")] = None,
    termination_log: Annotated[
        Path | None, typer.Option("--termination-log", help="Write how it ended here, in 3 KiB at most.")
    ] = None,
    progress: ProgressMode = Mode.PLAIN,
) -> None:
    """Do one stage of a migration: probe, round, cutover, seal or cleanup. For pods."""
    from transferd import last_words  # noqa: PLC0415

    def leave(result: Result) -> None:
        print(last_words.line(result))
        if termination_log is not None:
            last_words.leave(termination_log, result)

    try:
        with show(progress) as shown:
            result = _run(_work(spec, state, shown))
    except Exception as failure:
        leave(_failed(failure))
        raise
    leave(result)


async def _work(path: Path, folder: Path | None, shown: Progress) -> Result:
    from transferd import config  # noqa: PLC0415
    from transferd.model import WorkerSpec  # noqa: PLC0415
    from transferd.state import State  # noqa: PLC0415
    from transferd.worker import work  # noqa: PLC0415

    spec = config.migration(path, WorkerSpec)
    chosen = folder or (Path(spec.state) if spec.state else None)
    if chosen is None:
        raise UsageError(f"{path}: state is missing", remedy="say where the migration's state is kept")
    async with AsyncExitStack() as stack:
        access = await _access(Path(spec.vcenter), stack)
        return await work(spec, access, State(chosen), shown)


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".") or "vm"


@app.command()
def inventory(
    vcenter: Annotated[Path, typer.Option("--vcenter", help="vcenter.yaml")],
    vm: Annotated[str | None, typer.Option("--vm", help="Only this VM, in full.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The SourceVM document(s).")] = False,
) -> None:
    """List VMs, or show one VM's disks and NICs."""
    from transferd import report  # noqa: PLC0415
    from transferd.model import VMRef  # noqa: PLC0415

    async def read() -> list[Any]:
        async with AsyncExitStack() as stack:
            session = (await _access(vcenter, stack)).session
            if vm is not None:
                return [await asyncio.to_thread(session.read_vm, VMRef(name=vm))]
            return await asyncio.to_thread(session.vms)

    report.inventory(_run(read()), one=vm is not None, as_json=as_json)


@app.command("digest")
def digest_command(
    path: Annotated[Path, typer.Argument(metavar="FILE")],
    size: Annotated[str | None, typer.Option(help="Only the first SIZE bytes.")] = None,
) -> None:
    """Print the disk digest of a file or block device, recomputed from scratch."""
    print(digest.of_file(path, units.size(size) if size is not None else None))


@app.command("bench")
def bench_command(
    source: Annotated[
        str | None, typer.Argument(metavar="[SOURCE]", help="NBD URI, raw file or block device.")
    ] = None,
    vcenter: VCenterFile = None,
    vm: Annotated[str | None, typer.Option("--vm", help="Name of the VM, with --vcenter.")] = None,
    disk: Annotated[int | None, typer.Option("--disk", help="Number of its disk, from 0 (default).")] = None,
    target: Annotated[
        Path | None, typer.Option("--target", help="A folder: measure what a new file in it takes, too.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=5, max=3600, help="How long to measure, about.")] = 60,
    peers: Annotated[bool, typer.Option(help="Measure nbdcopy and qemu-img beside, where installed.")] = True,
    document: Annotated[Path | None, typer.Option("--json", help="Write what was measured here.")] = None,
    progress: ProgressMode = Mode.AUTO,
) -> None:
    """Measure how fast a source can be read, with which settings, and what limits it. Read-only."""
    from transferd.state import write_text  # noqa: PLC0415
    from transferd.throughput import bench, table  # noqa: PLC0415 (rich: not for a copy)

    try:
        what = bench.asked(
            source=source, vcenter=vcenter, vm=vm, disk=disk, target=target, seconds=seconds, peers=peers
        )
        with show(progress) as shown:
            measured = _run(bench.run(what, _access, shown))
    except Exception as failure:
        if document is not None:
            _write_result(document, _failed(failure))
        raise
    if document is not None:
        write_text(document, table.document(measured))
    table.show(measured)


def main() -> NoReturn:
    """Console script. The exit codes are those of design section 4: see transferd/errors.py."""
    entry.run(app, "transferd")


if __name__ == "__main__":
    main()
