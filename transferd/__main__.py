"""The command line of the data plane.

Results go to stdout and, with --result, to a document that is written on failure too; progress and logs go
to stderr. How a process ends is `entry`'s business.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import structlog
import typer
import uvloop

from transferd import config, copy, digest, entry, report, units, vddk
from transferd.backends.file import FileTarget
from transferd.engine import Limits
from transferd.errors import Cancelled, UsageError
from transferd.migrate import migrate as run_migration
from transferd.model import Result, VMRef
from transferd.progress import Mode, show
from transferd.state import State, write_text
from transferd.vsphere import session as vsphere
from transferd.vsphere import snapshots

T = TypeVar("T")
DEFAULTS = Limits()
MAX_DEPTH = 64  # reads in flight; beyond it a VDDK host only queues
LOG_LEVELS = {False: 30, True: 10}  # WARNING, DEBUG

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
        print(f"transferd {metadata.version('transferd')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Log everything; show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 (its callback has ended the run if it was given)
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Logs are key=value lines on stderr; values are repr'd, so names cannot forge lines."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LOG_LEVELS[debug]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


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
        raise Cancelled("stopped by a signal", remedy="run the same command again to start over") from None


def _with_result(path: Path | None, work: Callable[[], Result]) -> Result:
    """`work`'s result, written to `path`; when it fails, a failed one is, before the error goes on."""
    try:
        result = work()
    except Exception as failure:
        if path is not None:
            error = entry.as_error(failure)
            write_text(path, Result(outcome="failed", error=error.as_document()).to_json())
        raise
    if path is not None:
        write_text(path, result.to_json())
    return result


@app.command("copy")
def copy_command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="[SOURCE] TARGET", help="SOURCE: NBD URI, raw file or block device."),
    ],
    vcenter: VCenterFile = None,
    vm: Annotated[str | None, typer.Option("--vm", help="Name of the VM, with --vcenter.")] = None,
    disk: Annotated[int | None, typer.Option("--disk", help="Number of its disk, from 0 (default).")] = None,
    verify: Annotated[
        Literal["target", "none"], typer.Option(help="Re-read the target and compare, or not.")
    ] = "target",
    request_size: Annotated[str, typer.Option(help="Bytes of one read, 4KiB to 4MiB.")] = "1MiB",
    queue_depth: Annotated[int, typer.Option(min=1, max=MAX_DEPTH, help="Reads in flight.")] = DEFAULTS.depth,
    progress: ProgressMode = Mode.AUTO,
    result: ResultFile = None,
) -> None:
    """Copy one disk to a file or block device, and prove the copy."""
    size = units.size(request_size)
    if not 4 * units.KiB <= size <= 4 * units.MiB or size % 512:
        raise UsageError(f"--request-size {request_size}: not between 4KiB and 4MiB in steps of 512")
    limits = Limits(request_size=size, depth=queue_depth)
    if vcenter is None:
        if len(paths) != 2:  # noqa: PLR2004 (source and target)
            raise UsageError("give SOURCE and TARGET, or --vcenter, --vm and TARGET")
        if vm is not None or disk is not None:
            raise UsageError("--vm and --disk need --vcenter")
        job = partial(_copy, paths[0], Path(paths[1]))
    else:
        if len(paths) != 1 or vm is None:
            raise UsageError("with --vcenter give --vm NAME and TARGET only")
        job = partial(_copy_vm_disk, vcenter, vm, disk or 0, Path(paths[0]))

    def work() -> Result:
        with show(progress) as shown:
            return Result(
                outcome="ok",
                disks=[_run(job(copy.How(prove=verify == "target", limits=limits, progress=shown))).result],
            )

    report.disks(_with_result(result, work))


async def _copy(source: str, target: Path, how: copy.How) -> copy.Copied:
    copy.refuse_same(source, target)
    async with copy.open_source(source) as opened:
        with FileTarget(target, opened.size) as end:
            return await copy.disk(opened, end, "disk", how)


async def _copy_vm_disk(vcenter: Path, name: str, number: int, target: Path, how: copy.How) -> copy.Copied:
    async with AsyncExitStack() as stack:
        access = await _access(vcenter, stack)
        vm = await asyncio.to_thread(access.session.read_vm, VMRef(name=name))
        disk = vddk.disk_number(vm, number)
        vddk.require_library(access)
        end = stack.enter_context(FileTarget(target, disk.capacity))
        snapshot = await stack.enter_async_context(snapshots.reading_point(access.session, vm))
        return await vddk.copy_disk(access, vm, disk, snapshot, end, how)


async def _access(vcenter: Path, stack: AsyncExitStack) -> vddk.Access:
    settings = config.vcenter(vcenter)
    password = partial(config.password, settings)
    session = await stack.enter_async_context(vsphere.connect(settings, password))
    return vddk.Access(session, settings, password)


@app.command()
def migrate(
    spec: Annotated[Path, typer.Argument(metavar="MIGRATION.YAML")],
    state: Annotated[Path | None, typer.Option(help="State directory. Default: ./transferd-NAME.")] = None,
    progress: ProgressMode = Mode.AUTO,
    result: ResultFile = None,
) -> None:
    """Move a whole VM: shut down, copy and prove every disk, convert, write its manifest."""

    def work() -> Result:
        with show(progress) as shown:
            return _run(_migrate(spec, state, shown))

    report.migration(_with_result(result, work))


async def _migrate(path: Path, folder: Path | None, shown: Any) -> Result:
    spec = config.migration(path)
    name = spec.vm.name or spec.vm.moref or spec.vm.instance_uuid or ""
    chosen = folder or (Path(spec.state) if spec.state else None) or Path(f"transferd-{_file_name(name)}")
    async with AsyncExitStack() as stack:
        access = await _access(Path(spec.vcenter), stack)
        kept = State(chosen)
        done = await run_migration(spec, access, kept, Limits(), shown)
    kept.write(kept.result, done)
    return done


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".") or "vm"


@app.command()
def inventory(
    vcenter: Annotated[Path, typer.Option("--vcenter", help="vcenter.yaml")],
    vm: Annotated[str | None, typer.Option("--vm", help="Only this VM, in full.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The SourceVM document(s).")] = False,
) -> None:
    """List VMs, or show one VM's disks and NICs."""

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
    print(digest.of_file(path, units.size(size) if size else None))


def main() -> NoReturn:
    """Console script. The exit codes are those of design section 4: see transferd/errors.py."""
    entry.run(app, "transferd")


if __name__ == "__main__":
    main()
