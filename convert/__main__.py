"""The command line of the converter: disks and documents in, documents out, one exit code.

`inspect` and `plan` open the disks read-only. `apply` writes its result document whatever happens, so that
its caller has one place to look. Progress goes to stderr, answers to stdout.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from convert import manifest, pipeline
from convert.console import SENTINEL
from convert.files import load, write_durably
from convert.inspection import inspect as inspect_guest
from convert.lifeline import ENDING
from convert.linux.looks import examine
from convert.nics import NicList, answer
from convert.overlay import disk_size
from convert.plan import PlanDocument
from convert.rehearsal import Boot
from convert.report import Report, escaped
from convert.wishes import Wishes
from transferd import entry
from transferd.errors import Cancelled, UsageError, printable
from transferd.model import Caps, ConversionResult, Firmware, ManifestRequest, SourceVM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.guest import Guest
    from transferd.model import Guest as GuestDocument

PROGRAM = "transferd-convert"
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

app = typer.Typer(
    name=PROGRAM,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Disks = Annotated[list[Path], typer.Argument(help="Raw images or block devices, in the order of the VM.")]
SourceFile = Annotated[
    Path, typer.Option("--source", help="What `transferd inventory --vm NAME --json` printed.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Root = Annotated[
    str | None,
    typer.Option(help="Which system, if several: its root's UUID, DISK:PARTITION (from 0:1) or /dev/VG/LV."),
]
Keys = Annotated[list[Path], typer.Option("--key", help="A file that holds a LUKS key; may be repeated.")]
Packages = Annotated[
    Path | None, typer.Option("--guest-packages", help="A folder of qemu-guest-agent packages.")
]
Rebuild = Annotated[
    bool, typer.Option("--rebuild-initramfs", help="Run the guest's own initramfs tool in the appliance.")
]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Make a copied guest boot on VirtIO hardware with its network names intact."""


@app.command()
def inspect(
    disks: Disks,
    root: Root = None,
    keys: Keys = [],  # noqa: B006 (typer copies it)
    as_json: AsJson = False,
) -> None:
    """Say what the guest is and what it can do; nothing is written."""
    with _read_only(disks) as (guest, names):
        found = inspect_guest(guest, names, root=root, keys=keys)
        document = escaped(found.document([proof.document() for proof in examine(guest, found)]))
    if as_json:
        print(document.to_json(), end="")
    else:
        _print_guest(document)


@app.command()
def plan(
    disks: Disks,
    source: SourceFile,
    root: Root = None,
    keys: Keys = [],  # noqa: B006 (typer copies it)
    guest_packages: Packages = None,
    rebuild_initramfs: Rebuild = False,
    as_json: AsJson = False,
) -> None:
    """Show every change that conversion would make; nothing is written."""
    vm = _load_source(source)
    wishes = Wishes(vm, root, tuple(keys), guest_packages, rebuild_initramfs)
    report = Report(vm.firmware, _say)
    pipeline.demand_all_disks(disks, vm)
    with _read_only(disks) as (guest, _):
        inspection = pipeline.look(guest, disks, wishes, report, check=True)
        drawn = pipeline.draw(guest, inspection, wishes, report)
    document = PlanDocument(
        guest=report.guest,
        caps=report.caps or Caps.without_virtio(vm.firmware),
        nics=list(report.nics),
        changes=[change.document() for change in drawn.changes],
        warnings=list(report.warnings),
    )
    if as_json:
        print(document.to_json(), end="")
    else:
        _print_plan(document)


@app.command()
def apply(
    disks: Disks,
    source: SourceFile,
    result: Annotated[Path, typer.Option(help="Where the result document goes.")],
    state: Annotated[
        Path | None, typer.Option(help="Where overlays go; ./transferd-NAME by default.")
    ] = None,
    root: Root = None,
    keys: Keys = [],  # noqa: B006 (typer copies it)
    guest_packages: Packages = None,
    rebuild_initramfs: Rebuild = False,
    overlay_only: Annotated[
        bool, typer.Option("--overlay-only", help="Rehearse: the disks stay as they are.")
    ] = False,
    boot: Annotated[
        bool, typer.Option("--boot", help="Boot the converted overlays; commit only if that does not fail.")
    ] = False,
    boot_timeout: Annotated[
        float | None, typer.Option(min=1, max=86400, help="Seconds. Default: 180 with KVM, 600 without.")
    ] = None,
    boot_sentinel: Annotated[
        str | None, typer.Option(help="Text on the serial console that proves it. Default: a login prompt.")
    ] = None,
) -> None:
    """Convert, check, commit. A run that was interrupted while committing is completed."""
    report = Report(Firmware.BIOS, _say)
    name = None
    try:
        vm = _load_source(source)
        name = vm.name
        report.firmware = vm.firmware
        work = (state or Path(f"transferd-{_folder_name(vm.name)}")) / "convert"
        wishes = Wishes(vm, root, tuple(keys), guest_packages, rebuild_initramfs)
        judged = _boot(boot, boot_timeout, boot_sentinel)
        done = pipeline.apply(pipeline.Request(disks, wishes, work, overlay_only, judged), report)
    except Exception as failure:
        error = entry.as_error(failure).within(vm=name)
        write_durably(result, report.result(error).to_json())
        raise
    write_durably(result, done.to_json())
    for warning in done.warnings:
        _say(f"warning: {warning.message}" + (f"; {warning.remedy}" if warning.remedy else ""))
    _say(
        "rehearsed: the disks are unchanged"
        if overlay_only
        else f"converted: {len(done.checks)} checks passed"
    )


def _boot(wanted: bool, timeout: float | None, sentinel: str | None) -> Boot | None:
    if not wanted and (timeout is not None or sentinel is not None):
        raise UsageError("--boot-timeout and --boot-sentinel: nothing is booted", remedy="give --boot, too")
    if sentinel is not None and not 0 < len(os.fsencode(sentinel)) <= SENTINEL:
        raise UsageError(f"--boot-sentinel: not 1 to {SENTINEL} bytes")
    return Boot(sentinel, timeout) if wanted else None


@app.command("manifest")
def write_manifest(
    source: SourceFile,
    result: Annotated[Path, typer.Option(help="What `apply` wrote.")],
    request: Annotated[Path, typer.Option(help="Name, claims and networks in the target cluster.")],
    output: Annotated[Path | None, typer.Option(help="Where the manifest goes; stdout by default.")] = None,
) -> None:
    """Write the KubeVirt VirtualMachine for a converted guest."""
    vm = manifest.build(_load_source(source), load(result, ConversionResult), load(request, ManifestRequest))
    text = manifest.render(vm)
    if output is None:
        print(text, end="")
    else:
        write_durably(output, text)


@app.command("nics")
def name_nics(
    root: Annotated[Path, typer.Option(help="The folder that holds the guest's files.")],
    nics: Annotated[Path, typer.Option(help='A list of {"mac", "ips", "slot"}, one for each NIC.')],
) -> None:
    """Say which name each NIC has, by a guest's files in a folder; nothing is written."""
    told, unread = answer(root, load(nics, NicList))
    for problem in unread:
        _say(f"warning: {problem}")
    print(escaped(told).to_json(), end="")


def _load_source(path: Path) -> SourceVM:
    vm = load(path, SourceVM)
    for at, nic in enumerate(vm.nics):
        if not MAC.fullmatch(nic.mac):
            problem = f"{path}: nics.{at}.mac: not a MAC address in lower case with colons"
            raise UsageError(problem, remedy="correct the file")
    return vm


def _folder_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:100]


@contextmanager
def _read_only(disks: list[Path]) -> Iterator[tuple[Guest, list[str]]]:
    for disk in disks:
        disk_size(disk)
    with (
        tempfile.TemporaryDirectory(prefix="transferd-convert-") as work,
        pipeline.opened(disks, Path(work), disk_format="raw", read_only=True) as guest,
    ):
        yield guest, [disk.name for disk in disks]


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def _print_guest(guest: GuestDocument) -> None:
    for field, value in guest.model_dump(mode="json", exclude={"kernels"}).items():
        shown = ", ".join(value) if isinstance(value, list) else value
        print(printable(f"{field:<12} {'-' if shown in (None, '') else shown}"))
    for kernel in guest.kernels:
        default = " (default)" if kernel.default else ""
        print(printable(f"{'kernel':<12} {kernel.version}{default}: VirtIO {kernel.virtio}"))


def _print_plan(document: PlanDocument) -> None:
    caps = document.caps
    print(printable(f"{document.guest.product}: {caps.block} disks, {caps.net} NICs, {caps.firmware}"))
    for nic in document.nics:
        print(printable(f"NIC {nic.mac}: {nic.name or 'no name proven'} ({'; '.join(nic.evidence)})"))
    for change in document.changes:
        print(printable(f"{change.action:<8} {change.path}  ({change.reason})"))
    for warning in document.warnings:
        print(printable(f"warning  {warning.message}; {warning.remedy}"))
    if not document.changes:
        print("nothing to change")


def _cancel(number: int, _frame: object) -> None:
    """The first signal ends the run in order; those after it must not interrupt the cleaning up."""
    for ending in ENDING:
        signal.signal(ending, lambda *_: None)
    raise Cancelled(f"stopped by {signal.Signals(number).name}")


def main() -> NoReturn:
    """Console script."""
    for ending in ENDING:
        signal.signal(ending, _cancel)
    entry.run(app, PROGRAM)


if __name__ == "__main__":
    main()
