"""What a command prints when it is done: tables for people, documents for programs."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from transferd.errors import printable
from transferd.model import ConversionResult, DiskResult, Result, SourceVM
from transferd.units import human

WIDE = 200  # columns when stdout is no terminal: a log must not wrap a digest
out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def safe(text: object) -> str:
    """A name from an inventory or a guest, harmless for terminal and markup."""
    return escape(printable(str(text)))


def verdict(disk: DiskResult) -> str:
    if disk.verify.mode == "none":
        return "not verified"
    healed = f", {disk.verify.healed} healed" if disk.verify.healed else ""
    source = f", {disk.verify.source_blocks} with source" if disk.verify.source_blocks else ""
    return f"{disk.verify.blocks} blocks{source}{healed}"


def disks(result: Result) -> None:
    """One line per disk."""
    table = _table("disk", "size", "data", "time", "rate", "digest", "verified", "target")
    for disk in result.disks:
        rate = disk.size / max(disk.elapsed_s, 1e-3)
        table.add_row(
            safe(disk.label),
            human(disk.size),
            human(disk.data_bytes),
            f"{disk.elapsed_s:.1f} s",
            f"{human(rate)}/s",
            disk.digest,
            verdict(disk),
            safe(disk.target),
        )
    out.print(table)


def migration(result: Result) -> None:
    """The disks, what the guest is, what it needs, and every warning."""
    disks(result)
    if not isinstance(result, ConversionResult):
        return
    if result.guest.found:
        out.print(f"guest: {safe(result.guest.product)}; checks passed: {sum(c.ok for c in result.checks)}")
    if result.rehearsal is not None:
        boot = result.rehearsal
        out.print(f"rehearsal: {safe(boot.outcome)}: {safe(boot.seen)}, after {boot.seconds:.0f} s")
    if result.downtime_s is not None:
        steps = ", ".join(f"{each.step} {each.seconds:.1f}" for each in result.downtime)
        out.print(f"rounds: {len(result.rounds)}; the source was off for {result.downtime_s:.1f} s ({steps})")
    out.print(f"hardware: {result.caps.machine}, {result.caps.block} disks, {result.caps.net} network")
    for nic in result.nics:
        out.print(
            f"network: {safe(nic.mac)} keeps {safe(nic.name)}"
            if nic.name
            else f"network: {safe(nic.mac)}: name unknown"
        )
    for warning in result.warnings:
        out.print(f"warning: {safe(warning.code)}: {safe(warning.message)}; {safe(warning.remedy or '')}")


def inventory(vms: list[SourceVM], *, one: bool, as_json: bool) -> None:
    """All VMs in short, or one in full."""
    if as_json:
        documents = [vm.model_dump(mode="json", by_alias=True) for vm in vms]
        print(json.dumps(documents[0] if one else {"schema": 1, "vms": documents}, indent=2))
    elif one:
        _one(vms[0])
    else:
        _all(vms)


def _all(vms: list[SourceVM]) -> None:
    table = _table("name", "moref", "power", "cpus", "memory", "disks", "size", "guest")
    for vm in vms:
        size = human(sum(disk.capacity for disk in vm.disks))
        facts = (
            vm.name,
            vm.moref,
            vm.power_state,
            vm.cpus,
            human(vm.memory),
            len(vm.disks),
            size,
            vm.guest_name,
        )
        table.add_row(*map(safe, facts))
    out.print(table)


def _one(vm: SourceVM) -> None:
    size = f"{vm.cpus} CPUs, {human(vm.memory)}"
    out.print(f"{safe(vm.name)} ({safe(vm.moref)}): {vm.power_state}, {vm.firmware}, {size}")
    snapshots = "yes" if vm.has_snapshots else "no"
    out.print(f"guest: {safe(vm.guest_name)}; tools: {safe(vm.tools)}; snapshots: {snapshots}")
    for concern in vm.concerns:
        out.print(
            f"{concern.category}: {safe(concern.label)}: {safe(concern.assessment)} {safe(concern.remedy)}"
        )
    table = _table("disk", "key", "label", "size", "controller", "file")
    for number, disk in enumerate(vm.disks):
        place = f"{disk.controller} {disk.bus}:{disk.unit}"
        table.add_row(*map(safe, (number, disk.key, disk.label, human(disk.capacity), place, disk.path)))
    out.print(table)
    table = _table("nic", "mac", "adapter", "network", "slot", "addresses")
    for nic in vm.nics:
        addresses = ", ".join(nic.ips)
        table.add_row(*map(safe, (nic.label, nic.mac, nic.adapter, nic.network, nic.slot or "", addresses)))
    out.print(table)
