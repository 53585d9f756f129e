"""The target VM as a command line for QEMU: what the manifest will ask of KubeVirt, without a way out. Pure.

Disks, their order, serials and bus, NICs, their model and MAC come from the same functions as the manifest's,
so that what boots here is what will be asked for there. What differs is on purpose:

    network     every NIC is plugged into a hub of its own, whose link is up and which leads nowhere
    memory      at most MEMORY, since the host is not the target
    writes      go to throw-away layers and are limited; memory of QEMU itself, too
    screen      BIOS, boot loader and everything else that writes text by the BIOS is heard on the serial line
                (`graphics=off`: SeaBIOS then copies int 10h output there); UEFI does so by itself
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert import wiring
from convert.tree import MIB
from transferd.errors import UsageError
from transferd.model import BlockBus, NicModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from convert.firmware import Uefi
    from transferd.model import Caps, SourceNic, SourceVM

EMULATOR = "qemu-system-x86_64"
# Enough for every server's boot, RHEL with its kdump reservation included.
MEMORY = 2048 * MIB
LEAST_MEMORY = 256 * MIB
CPUS = 2
# What QEMU takes beside the guest's memory: 256 MiB of translated code, video memory, firmware, stacks.
OWN_MEMORY = 4096 * MIB
TRANSLATED = 256  # MiB
# To each disk. A boot writes logs and replays journals; a guest that writes more gets I/O errors, so that it
# cannot fill this machine's storage.
WRITES = 2048 * MIB
AHCI_PORTS = 6  # of q35's own controller


@dataclass(frozen=True)
class Machine:
    """`disks`: qcow2 layers in the order of the source. `monitor`: descriptor of the QMP connection.

    `uefi` is None for a BIOS guest; its variables are a copy that this machine may write.
    """

    source: SourceVM
    caps: Caps
    disks: Sequence[Path]
    kvm: bool
    monitor: int
    uefi: Uefi | None


def argv(machine: Machine) -> list[str]:
    """Ended with this process, whatever ends it, by setpriv (util-linux)."""
    memory = max(LEAST_MEMORY, min(machine.source.memory, MEMORY))
    return [
        *("setpriv", "--pdeathsig=KILL", "--no-new-privs"),
        *("prlimit", "--core=0", f"--fsize={WRITES}", f"--as={memory + OWN_MEMORY}"),
        *(EMULATOR, "-nodefaults", "-no-user-config", "-no-shutdown", "-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"),
        *("-chardev", f"socket,id=monitor,fd={machine.monitor}", "-mon", "chardev=monitor,mode=control"),
        *_board(machine),
        *("-smp", str(max(1, min(machine.source.cpus, CPUS))), "-m", f"{memory // MIB}M"),
        # strict: nothing is booted but the boot disk, not even over the network.
        *("-boot", "strict=on", "-device", "VGA"),
        *_devices(machine),
    ]


def _board(machine: Machine) -> Iterator[str]:
    secure = machine.uefi is not None and machine.uefi.secure
    yield from ("-M", f"q35,graphics=off,smm={'on' if secure else 'off'}")
    if machine.kvm:
        yield from ("-accel", "kvm", "-cpu", "host")
    else:
        # Newer guests demand x86-64-v2 or v3. libguestfs, too, keeps five-level paging from TCG's guests.
        yield from ("-accel", f"tcg,tb-size={TRANSLATED}", "-cpu", "max,la57=off")
    if wiring.UUID.fullmatch(machine.source.bios_uuid):
        yield from ("-uuid", machine.source.bios_uuid)
    if machine.uefi is not None:
        yield from _flash("code", machine.uefi.code, read_only=True)
        yield from _flash("variables", machine.uefi.variables, read_only=False)
        yield from ("-machine", "pflash0=code,pflash1=variables")
    if secure:
        yield from ("-global", "driver=cfi.pflash01,property=secure,value=on")


def _flash(name: str, file: Path, *, read_only: bool) -> tuple[str, str]:
    node = {"driver": "raw", "node-name": name, "read-only": read_only, "file": _file(file)}
    return "-blockdev", json.dumps(node)


def _file(path: Path) -> dict[str, str]:
    return {"driver": "file", "filename": str(path)}


def _devices(machine: Machine) -> Iterator[str]:
    """Every PCI Express device behind a root port of its own, as libvirt plugs them."""
    ports = 0
    for number, nic in enumerate(machine.source.nics):
        ports += 1
        yield from _root_port(ports)
        yield from _nic(number, nic, machine.caps, f"port{ports}")
    for number in range(len(machine.disks)):
        words = dict(_disk(number, machine))
        yield from ("-blockdev", json.dumps(_layer(number, machine.disks[number])))
        if machine.caps.block is BlockBus.VIRTIO:
            ports += 1
            yield from _root_port(ports)
            yield from ("-device", _words("virtio-blk-pci", words | {"bus": f"port{ports}"}))
        else:
            controller, port = divmod(number, AHCI_PORTS)
            if controller and not port:
                yield from ("-device", f"ich9-ahci,id=ahci{controller}")
            bus = f"ahci{controller}.{port}" if controller else f"ide.{port}"
            yield from ("-device", _words("ide-hd", words | {"bus": bus}))
    for present, device in (
        (machine.caps.rng, "virtio-rng-pci"),
        (machine.caps.balloon, "virtio-balloon-pci"),
    ):
        if present:
            ports += 1
            yield from (*_root_port(ports), "-device", f"{device},bus=port{ports}")


def _root_port(number: int) -> tuple[str, str]:
    return "-device", f"pcie-root-port,id=port{number},chassis={number},port={number}"


def _nic(number: int, nic: SourceNic, caps: Caps, bus: str) -> Iterator[str]:
    if not wiring.MAC.fullmatch(nic.mac):
        raise UsageError(f"{nic.label} has MAC address '{nic.mac}'", remedy="take source.json anew")
    model = "virtio-net-pci" if caps.net is NicModel.VIRTIO else "e1000e"
    yield from ("-netdev", f"hubport,id=net{number},hubid={number}")
    # No option ROM: KubeVirt has none on NICs that are not booted from.
    yield from ("-device", f"{model},netdev=net{number},mac={nic.mac},bus={bus},romfile=,rombar=0")


def _layer(number: int, path: Path) -> dict[str, object]:
    """Thrown away with the machine, so no flush has to reach the storage."""
    return {
        "driver": "qcow2",
        "node-name": f"disk{number}",
        "discard": "unmap",
        "cache": {"direct": False, "no-flush": True},
        "file": _file(path) | {"discard": "unmap"},
    }


def _disk(number: int, machine: Machine) -> Iterator[tuple[str, str]]:
    wanted = wiring.disk(number, machine.source.disks[number], machine.caps)
    yield "drive", f"disk{number}"
    # Told to the guest and to us, where QEMU's own choice is to stop the machine when the storage is full.
    yield "werror", "report"
    yield "rerror", "report"
    if "serial" in wanted:
        yield "serial", wanted["serial"]
    if "bootOrder" in wanted:
        yield "bootindex", str(wanted["bootOrder"])


def _words(device: str, words: dict[str, str]) -> str:
    """Nothing in `words` has a comma: numbers, our own names, and a serial of hex digits."""
    return ",".join([device, *(f"{name}={value}" for name, value in words.items())])
