"""The command line of the data plane.

Results go to stdout and, with --result, to a document that is written on failure too; progress and logs go
to stderr. How a process ends is `entry`'s business. What only some commands need is imported by them: a copy
of one disk must be reading within a quarter of a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from transferd import digest, disk_commands, entry, units, vm_commands
from transferd.progress import Mode, show
from transferd.running import ProgressMode, VCenterFile, access, failed, run, write_result

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Move virtual machines from VMware vSphere to KubeVirt: copy, prove, convert.",
)


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
            measured = run(bench.run(what, access, shown))
    except Exception as failure:
        if document is not None:
            write_result(document, failed(failure))
        raise
    if document is not None:
        write_text(document, table.document(measured))
    table.show(measured)


app.command("copy")(disk_commands.copy_command)
app.command("delta")(disk_commands.delta_command)
app.command("inventory")(vm_commands.inventory)
app.command("migrate")(vm_commands.migrate)
app.command("worker")(vm_commands.worker)


def main() -> NoReturn:
    """Console script. The exit codes are those of design section 4: see transferd/errors.py."""
    entry.run(app, "transferd")


if __name__ == "__main__":
    main()
