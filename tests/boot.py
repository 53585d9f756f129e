"""Boots a disk image under QEMU and tells what became of it, for proofs that no inspection of files can give.

The serial console is the only witness: it is read until the guest has printed its identity, has said that it
cannot find its root, has panicked, has switched itself off, or until the deadline passes. Whatever the end,
QEMU is gone when `boot` returns; `setpriv --pdeathsig` sees to it when this process is killed instead.

Two machines are offered. VMWARE is what a vSphere guest sees: disks on a paravirtual SCSI adapter and a
vmxnet3 behind a PCI Express root port whose slot number is 192, which is how VMware's own virtual hardware
makes a guest call its first NIC ens192. VIRTIO is what KubeVirt gives through libvirt: q35, and one root port
for every virtio device, the NIC's being the first.

The guest is not trusted: disks are raw by force, the network card leads nowhere, QEMU runs in its sandbox,
and only the last `CONSOLE_LIMIT` bytes of what the guest says are kept.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, cast

from tests.guests.identity import END, Identity, read_identity
from transferd.errors import UsageError

CONSOLE_LIMIT = 1 << 20

# VMware numbers the hot-plug slots of its PCI Express root ports 160, 192, 224, 256, ...
VMWARE_SLOT = 192

# Time for QEMU to end on SIGTERM before it is killed; it has nothing of ours to save.
GRACE = 5.0


class Hardware(StrEnum):
    VMWARE = "vmware"
    VIRTIO = "virtio"


class Outcome(StrEnum):
    IDENTITY = "identity"
    GARBLED = "garbled"  # an identity block was printed, but it does not parse
    NO_ROOT = "no root"
    PANIC = "panic"
    OFF = "off"
    DEADLINE = "deadline"


@dataclass(frozen=True)
class Boot:
    """How a boot ended. `console` is the guest's own words: escape it before showing it."""

    outcome: Outcome
    identity: Identity | None
    console: str
    elapsed: float


@dataclass(frozen=True)
class Kernel:
    """A kernel given to QEMU directly, for a disk that has no boot loader yet."""

    image: Path
    initrd: Path
    cmdline: str


VERDICTS = (
    (END, Outcome.IDENTITY),
    (b"Gave up waiting for root file system device", Outcome.NO_ROOT),
    (b"No init found. Try passing init=", Outcome.NO_ROOT),  # something was mounted, but not the root
    (b"Kernel panic - not syncing", Outcome.PANIC),
)


def boot(
    disks: Sequence[Path],
    hardware: Hardware,
    *,
    mac: str,
    deadline: float,
    kernel: Kernel | None = None,
    keep: bool = False,
) -> Boot:
    """Boot `disks` for at most `deadline` seconds. The images stay untouched unless `keep` is true."""
    started = time.monotonic()
    with _qemu(argv(disks, hardware, mac=mac, kernel=kernel, keep=keep)) as console:
        outcome, said = _watch(console, started + deadline)
    identity = read_identity(said) if outcome is Outcome.IDENTITY else None
    if outcome is Outcome.IDENTITY and identity is None:
        outcome = Outcome.GARBLED
    return Boot(outcome, identity, said.decode("utf-8", "replace"), time.monotonic() - started)


def argv(
    disks: Sequence[Path],
    hardware: Hardware,
    *,
    mac: str,
    kernel: Kernel | None = None,
    keep: bool = False,
) -> list[str]:
    """The command line: a pure function of its arguments."""
    devices = {Hardware.VMWARE: _vmware, Hardware.VIRTIO: _virtio}[hardware](len(disks), mac)
    return [
        *("setpriv", "--pdeathsig=KILL", "qemu-system-x86_64"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        # KVM is not relied on: it is absent in most CI and hangs on some hosts that offer it.
        *("-accel", "tcg", "-smp", "2", "-m", "1024"),
        *devices,
        *(word for n, disk in enumerate(disks) for word in ("-drive", _drive(n, disk, keep=keep))),
        # A hub without a peer: the link is up and leads nowhere.
        *("-netdev", "hubport,id=net,hubid=0"),
        *(_direct(kernel) if kernel else ()),
    ]


def _vmware(disks: int, mac: str) -> list[str]:
    return [
        # ACPI hot-plug, q35's default, would hide the root port's own slot number from the guest.
        *("-M", "q35", "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
        *_root_port(1, slot=160),
        *("-device", "pvscsi,id=scsi,bus=port1"),
        *(
            word
            for n in range(disks)
            for word in ("-device", f"scsi-hd,bus=scsi.0,scsi-id={n},drive=disk{n}")
        ),
        *_root_port(2, slot=VMWARE_SLOT),
        *("-device", f"vmxnet3,bus=port2,netdev=net,mac={mac}"),
    ]


def _virtio(disks: int, mac: str) -> list[str]:
    words = [
        *("-M", "q35"),
        *_root_port(1),
        *("-device", f"virtio-net-pci,bus=port1,netdev=net,mac={mac}"),
    ]
    for n in range(disks):
        words += _root_port(2 + n)
        words += ("-device", f"virtio-blk-pci,bus=port{2 + n},drive=disk{n},bootindex={n}")
    return words


def _root_port(number: int, slot: int = 0) -> list[str]:
    return ["-device", f"pcie-root-port,id=port{number},chassis={number},port={number},slot={slot}"]


def _drive(number: int, disk: Path, *, keep: bool) -> str:
    file = str(disk.resolve()).replace(",", ",,")  # how QEMU's option syntax writes a comma
    snapshot = "off" if keep else "on"
    return f"if=none,id=disk{number},format=raw,cache=unsafe,discard=unmap,snapshot={snapshot},file={file}"


def _direct(kernel: Kernel) -> list[str]:
    return ["-kernel", str(kernel.image), "-initrd", str(kernel.initrd), "-append", kernel.cmdline]


@contextlib.contextmanager
def _qemu(command: list[str]) -> Iterator[BinaryIO]:
    """QEMU's serial console. If QEMU has failed by itself, its own words are the error."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, bufsize=0
        )
        with process:
            try:
                yield cast("BinaryIO", process.stdout)  # not None: a pipe was asked for
            finally:
                status = _end(process)
        if status > 0:
            complaints.seek(0)
            reason = complaints.read(CONSOLE_LIMIT).decode("utf-8", "replace").strip()
            raise UsageError(f"QEMU failed with status {status}: {reason}")


def _end(process: subprocess.Popen[bytes]) -> int:
    """The exit status: negative where it was ended by us."""
    try:
        # QEMU that has closed its console is on its way out: its own status says why.
        return process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        process.terminate()
    try:
        process.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return -1


def _watch(console: BinaryIO, until: float) -> tuple[Outcome, bytes]:
    """Read until something is decided. What was said before the last `CONSOLE_LIMIT` bytes is forgotten."""
    said = b""
    while True:
        ready, _, _ = select.select([console], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return Outcome.DEADLINE, said
        heard = console.read(1 << 16)
        if not heard:
            return Outcome.OFF, said
        said = (said + heard)[-CONSOLE_LIMIT:]
        for words, outcome in VERDICTS:
            if words in said:
                return outcome, said
        if time.monotonic() > until:
            return Outcome.DEADLINE, said
