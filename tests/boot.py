"""Boots a disk image under QEMU and tells what became of it, for proofs that no inspection of files can give.

The serial console is the only witness: it is read until the guest has printed its identity, has said that it
cannot find its root, has panicked, has switched itself off, or until the deadline passes. Whatever the end,
QEMU is gone when `boot` returns; `setpriv --pdeathsig` sees to it when this process is killed instead.

Two machines are offered. VMWARE is what a vSphere guest sees: disks on one of its adapters (UEFI reads them
only from AHCI and NVMe: Debian's OVMF has no driver for the paravirtual SCSI adapter), and each
vmxnet3 behind a PCI Express root port whose slot number is 192, 224, ..., which is how VMware's own virtual
hardware makes a guest call its NICs ens192, ens224, ... VIRTIO is what KubeVirt gives through libvirt: q35,
and one root port for every virtio device, the NICs' being the first. Either has a BIOS, or UEFI with the
variables of a file: those of the old machine know boot entries, those of the new one are empty.

The guest is not trusted: disks are raw by force, the network cards lead nowhere, QEMU runs in its sandbox,
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
VMWARE_SLOTS = (192, 224, 256)
VMWARE_SLOT = VMWARE_SLOTS[0]

UEFI_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
NO_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")

# Time for QEMU to end on SIGTERM before it is killed; it has nothing of ours to save.
GRACE = 5.0


class Hardware(StrEnum):
    VMWARE = "vmware"
    VIRTIO = "virtio"


class Adapter(StrEnum):
    PVSCSI = "pvscsi"
    AHCI = "ahci"
    NVME = "nvme"


class Outcome(StrEnum):
    IDENTITY = "identity"
    GARBLED = "garbled"  # an identity block was printed, but it does not parse
    NO_LOADER = "no loader"
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


# The adapter, and a disk on it.
ADAPTERS = {
    Adapter.PVSCSI: ("pvscsi,id=scsi,bus=port1", "scsi-hd,bus=scsi.0,scsi-id={n},drive=disk{n}"),
    Adapter.AHCI: ("ahci,id=sata,bus=port1", "ide-hd,bus=sata.{n},drive=disk{n}"),
    Adapter.NVME: ("nvme,id=nvme,serial=vmware,bus=port1", "nvme-ns,bus=nvme,nsid={nsid},drive=disk{n}"),
}

VERDICTS = (
    (END, Outcome.IDENTITY),
    (b"Gave up waiting for root file system device", Outcome.NO_ROOT),
    (b"No init found. Try passing init=", Outcome.NO_ROOT),  # something was mounted, but not the root
    (b"/run/initramfs/rdsosreport.txt", Outcome.NO_ROOT),  # dracut's last words before its emergency shell
    (b">>Start PXE", Outcome.NO_LOADER),  # what UEFI tries after all disks
    (b"UEFI Interactive Shell", Outcome.NO_LOADER),
    (b"BdsDxe: No bootable option or device was found", Outcome.NO_LOADER),
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
    more_macs: Sequence[str] = (),
    variables: Path | None = None,
    adapter: Adapter = Adapter.PVSCSI,
) -> Boot:
    """Boot `disks` for at most `deadline` seconds. With `variables` the firmware is UEFI.

    `adapter` is that of the VMware machine; the other has virtio-blk.

    The images stay untouched unless `keep` is true. Then an identity is not the end: who keeps a disk does
    not pull the plug, and the guest has to switch itself off.
    """
    started = time.monotonic()
    words = argv(
        disks,
        hardware,
        mac=mac,
        kernel=kernel,
        keep=keep,
        more_macs=more_macs,
        variables=variables,
        adapter=adapter,
    )
    with _qemu(words) as console:
        outcome, said = _watch(console, started + deadline, _verdicts(keep=keep))
    identity = read_identity(said) if outcome is Outcome.IDENTITY or keep else None
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
    more_macs: Sequence[str] = (),
    variables: Path | None = None,
    adapter: Adapter = Adapter.PVSCSI,
) -> list[str]:
    """The command line: a pure function of its arguments."""
    macs = (mac, *more_macs)
    vmware = hardware is Hardware.VMWARE
    devices = _vmware(len(disks), macs, adapter) if vmware else _virtio(len(disks), macs)
    return [
        *("setpriv", "--pdeathsig=KILL", "qemu-system-x86_64"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        # KVM is not relied on: it is absent in most CI and hangs on some hosts that offer it.
        *("-accel", "tcg", "-smp", "2", "-m", "1024"),
        *devices,
        *(word for n, disk in enumerate(disks) for word in ("-drive", _drive(n, disk, keep=keep))),
        # Hubs without a peer: every link is up and leads nowhere.
        *(word for n in range(len(macs)) for word in ("-netdev", f"hubport,id=net{n},hubid={n}")),
        *(_uefi(variables) if variables else ()),
        *(_direct(kernel) if kernel else ()),
    ]


def _vmware(disks: int, macs: Sequence[str], adapter: Adapter) -> list[str]:
    words = [
        # ACPI hot-plug, q35's default, would hide the root port's own slot number from the guest.
        *("-M", "q35", "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
        *_root_port(1, slot=160),
        *("-device", ADAPTERS[adapter][0]),
    ]
    for n in range(disks):
        words += ("-device", ADAPTERS[adapter][1].format(n=n, nsid=n + 1))
    for n, mac in enumerate(macs):
        words += _root_port(2 + n, slot=VMWARE_SLOTS[n])
        # Without a ROM nobody waits for a network to boot from.
        words += ("-device", f"vmxnet3,bus=port{2 + n},netdev=net{n},mac={mac},romfile=")
    return words


def _virtio(disks: int, macs: Sequence[str]) -> list[str]:
    words = ["-M", "q35"]
    for n, mac in enumerate(macs):
        words += _root_port(1 + n)
        words += ("-device", f"virtio-net-pci,bus=port{1 + n},netdev=net{n},mac={mac},romfile=")
    for n in range(disks):
        port = 1 + len(macs) + n
        words += _root_port(port)
        words += ("-device", f"virtio-blk-pci,bus=port{port},drive=disk{n},bootindex={n}")
    return words


def _root_port(number: int, slot: int = 0) -> list[str]:
    return ["-device", f"pcie-root-port,id=port{number},chassis={number},port={number},slot={slot}"]


def _drive(number: int, disk: Path, *, keep: bool) -> str:
    snapshot = "off" if keep else "on"
    options = f"format=raw,cache=unsafe,discard=unmap,snapshot={snapshot}"
    return f"if=none,id=disk{number},{options},file={_escaped(disk)}"


def _uefi(variables: Path) -> list[str]:
    return [
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={UEFI_CODE}"),
        *("-drive", f"if=pflash,unit=1,format=raw,snapshot=on,file={_escaped(variables)}"),
    ]


def _escaped(path: Path) -> str:
    return str(path.resolve()).replace(",", ",,")  # how QEMU's option syntax writes a comma


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


def _verdicts(*, keep: bool) -> Sequence[tuple[bytes, Outcome]]:
    return [verdict for verdict in VERDICTS if not (keep and verdict[1] is Outcome.IDENTITY)]


def _watch(
    console: BinaryIO, until: float, verdicts: Sequence[tuple[bytes, Outcome]]
) -> tuple[Outcome, bytes]:
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
        for words, outcome in verdicts:
            if words in said:
                return outcome, said
        if time.monotonic() > until:
            return Outcome.DEADLINE, said
