"""The converted guest, booted before anything depends on it: on layers that are thrown away, and shut in.

    overlays (converted, checked) -- a layer on each --> QEMU: the machine of the manifest, no way out
      -- serial console, monitor --> a verdict, the console's log, a picture of the screen

Nothing in the guest is changed so that it would speak: what it says by itself has to do. A login prompt or
the text that the caller waits for proves the boot, a panic or an emergency shell its failure. A guest that
only has a screen proves neither: the outcome is then `unknown`, with the picture for a person to judge.

The boot writes to the layers alone, and the disks are two layers below, opened for reading. QEMU dies with
this process, however it ends.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from convert import accel, firmware, machine, overlay
from convert.console import Console, Verdict
from convert.machine import Machine
from convert.qmp import Monitor
from convert.tree import MIB
from transferd.errors import ConversionError, UsageError
from transferd.model import Firmware, Rehearsal, Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from convert.firmware import Uefi
    from convert.overlay import Overlay
    from convert.report import Report
    from transferd.model import Caps, SourceVM

# A Debian 12 takes 13 s to its login prompt under TCG, a minute on two busy cores; services may take minutes.
TIMEOUT_TCG, TIMEOUT_KVM = 600.0, 180.0
# A guest that relabels its files restarts once, as does UEFI's fallback loader, and firmware that has learnt
# something about the machine.
MOST_RESTARTS = 3
WRITES = machine.WRITES // MIB
SERIAL_LOG, SCREENSHOT = "rehearsal-serial.log", "rehearsal-screen.png"
# What a screen of 1920 x 1080 full of noise would take.
LARGEST_SCREENSHOT = 8 * MIB
DEATH = 10.0  # s between closing its connections and being gone
COMPLAINT = 4096  # bytes of QEMU's own words


@dataclass(frozen=True)
class Boot:
    """What to wait for, and how long (s): None is what is usual without or with KVM."""

    sentinel: str | None = None
    timeout: float | None = None


def prove(
    boot: Boot, overlays: Sequence[Overlay], source: SourceVM, caps: Caps, work: Path, report: Report
) -> None:
    """Boots the overlays and reports it. ConversionError if the guest said that it cannot boot."""
    with report.timed("rehearse"):
        found = report.rehearsal = rehearse(boot, overlays, source, caps, work)
    report.say(f"rehearsal: {found.outcome}: {found.seen}, after {found.seconds:.0f} s")
    if found.outcome == "failed":
        raise ConversionError(
            f"the converted guest does not boot: {found.seen}",
            operation="rehearse",
            remedy=f"the disks are unchanged; {found.serial_log} has what it said",
        )
    if found.outcome == "unknown":
        warning = Warning_(
            code="boot-not-proven",
            message=f"whether the converted guest boots is not proven: {found.seen}",
            remedy=f"look at {found.screenshot or found.serial_log}, or give the guest a serial console",
        )
        report.warnings = [*report.warnings, warning]


def rehearse(boot: Boot, overlays: Sequence[Overlay], source: SourceVM, caps: Caps, work: Path) -> Rehearsal:
    """`work` gets the serial log and the screenshot, and is where the layers are meanwhile."""
    began = time.monotonic()
    kvm = accel.kvm_works()
    timeout = boot.timeout or (TIMEOUT_KVM if kvm else TIMEOUT_TCG)
    console = Console(os.fsencode(boot.sentinel) if boot.sentinel else None)
    log, screen = work.absolute() / SERIAL_LOG, work.absolute() / SCREENSHOT
    for old in (log, screen):
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=work) as folder:
        scratch = Path(folder).absolute()
        layers = [overlay.layer(each, scratch) for each in overlays]
        uefi = _uefi(source, scratch) if caps.firmware is Firmware.EFI else None
        with _qemu(lambda fd: machine.argv(Machine(source, caps, layers, kvm, fd, uefi)), scratch) as running:
            try:
                verdict = _watch(running, console, began + timeout) or _undecided(boot, timeout)
            finally:
                _keep(log, console.log())
            pictured = running.monitor.screenshot(screen) and _bounded(screen)
    return Rehearsal(
        outcome=verdict.outcome,
        seen=verdict.seen,
        seconds=round(time.monotonic() - began, 3),
        serial_log=str(log),
        screenshot=str(screen) if pictured else None,
        last_lines=console.last_lines(),
    )


def _uefi(source: SourceVM, scratch: Path) -> Uefi:
    found = firmware.find(secure=source.secure_boot)
    variables = scratch / "variables.fd"
    shutil.copyfile(found.variables, variables)
    return replace(found, variables=variables)


@dataclass(frozen=True)
class _Running:
    process: subprocess.Popen[bytes]
    serial: IO[bytes]
    monitor: Monitor
    complaints: IO[bytes]


@contextmanager
def _qemu(argv: Callable[[int], list[str]], scratch: Path) -> Iterator[_Running]:
    """`argv` for the descriptor of its monitor. QEMU is gone afterwards; it has nothing of ours to save."""
    mine, theirs = socket.socketpair()
    with mine, tempfile.TemporaryFile(dir=scratch) as complaints:
        with theirs:
            try:
                process = subprocess.Popen(
                    argv(theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    bufsize=0,
                    pass_fds=[theirs.fileno()],
                    umask=0o077,
                )
            except FileNotFoundError as error:
                raise UsageError(f"{error.filename} is not installed", remedy="install util-linux") from error
        with process:
            try:
                mine.setblocking(False)
                # Not None: a pipe was asked for.
                yield _Running(process, cast("IO[bytes]", process.stdout), Monitor(mine), complaints)
            finally:
                process.kill()


def _watch(running: _Running, console: Console, until: float) -> Verdict | None:
    """None if nothing is decided by then."""
    restarts, serial = 0, running.serial.fileno()
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([serial, running.monitor.fileno()], [], [], left)
        if serial in ready:
            heard = running.serial.read(1 << 16)
            if not heard:
                return _died(running)
            if verdict := console.hear(heard):
                return verdict
        events = running.monitor.events()
        if events is None:
            return _died(running)
        restarts += events.count("RESET guest-reset")
        if verdict := _told(events, restarts):
            return verdict
    return None


def _told(events: Sequence[str], restarts: int) -> Verdict | None:
    for event in events:
        name, _, reason = event.partition(" ")
        if name == "SHUTDOWN":
            return Verdict("failed", "it switched itself off")
        if name == "BLOCK_IO_ERROR":
            return Verdict("failed", f"one of its disks failed: {reason} (it may write {WRITES} MiB to each)")
    if restarts > MOST_RESTARTS:
        return Verdict("failed", f"it restarted {restarts} times")
    return None


def _died(running: _Running) -> Verdict:
    """QEMU has let go of us. UsageError if it could not run the machine at all."""
    try:
        status = running.process.wait(DEATH)
    except subprocess.TimeoutExpired:
        return Verdict("failed", "QEMU stopped answering")
    if status < 0:
        return Verdict("failed", f"QEMU was ended by {signal.Signals(-status).name}")
    running.complaints.seek(0)
    reason = running.complaints.read(COMPLAINT).decode("utf-8", "replace").strip()
    raise UsageError(
        f"QEMU failed with status {status}: {' '.join(reason.split())}",
        operation="rehearse",
        remedy="install qemu-system-x86 7.2 or newer, or convert without a boot",
    )


def _undecided(boot: Boot, timeout: float) -> Verdict:
    if boot.sentinel is not None:
        return Verdict("failed", f"the sentinel was not on its serial console within {timeout:.0f} s")
    return Verdict("unknown", f"no login prompt on its serial console within {timeout:.0f} s")


def _keep(log: Path, content: bytes) -> None:
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)


def _bounded(screen: Path) -> bool:
    if screen.stat().st_size > LARGEST_SCREENSHOT:
        screen.unlink()
        return False
    return True
