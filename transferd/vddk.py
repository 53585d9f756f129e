"""One disk of a vSphere VM, through VDDK, to a target: the data path of every migration.

A VM that is off is read without a snapshot; then its power state is checked before and after, because a VM
started in between would have changed the disk under the copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from transferd import copy, nbdkit
from transferd.backends.file import FileTarget
from transferd.backends.nbd_source import NbdSource
from transferd.copy import Copied, How
from transferd.errors import Error, SourceError, UsageError
from transferd.model import SourceDisk, SourceVM, VCenter, Vddk
from transferd.vsphere import power
from transferd.vsphere.session import Session


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to read the disks of one vCenter's VMs."""

    session: Session
    config: VCenter
    password: Callable[[], str]


def disk_number(vm: SourceVM, number: int) -> SourceDisk:
    """Disk `number` of `vm`, counted from 0 as `transferd inventory` shows them."""
    if not 0 <= number < len(vm.disks):
        raise UsageError(
            f"no disk {number}: the VM has {len(vm.disks)}",
            vm=vm.name,
            remedy="disks are counted from 0; transferd inventory --vm lists them",
        )
    return vm.disks[number]


def require_library(access: Access) -> Vddk:
    """Where VMware's library is, checked before anything is changed. UsageError when it is not there."""
    library = access.config.vddk
    if library is None:
        raise UsageError("vcenter.yaml: vddk is missing", remedy="say where VMware's library is: vddk.libdir")
    nbdkit.require_library(library.libdir)
    return library


@contextlib.asynccontextmanager
async def source(
    access: Access, vm: SourceVM, disk: SourceDisk, snapshot: str | None
) -> AsyncIterator[NbdSource]:
    """The disk as a source, served by an nbdkit of its own for as long as the context lasts."""
    library = require_library(access)
    export = nbdkit.VddkDisk(
        libdir=library.libdir,
        server=access.session.endpoint.host,
        port=access.session.endpoint.port,
        user=access.config.username,
        thumbprint=access.session.endpoint.thumbprint,
        vm=vm.moref,
        file=disk.path,
        snapshot=snapshot,
        transports=library.transports,
    )
    async with (
        nbdkit.serve(export, password=access.password(), config=library.config, label=disk.label) as server,
        NbdSource(server.uri, disk.label, server.explain) as opened,
    ):
        if opened.size != disk.capacity:
            raise SourceError(
                f"VDDK says {opened.size} bytes, vSphere {disk.capacity}", vm=vm.name, disk=disk.label
            )
        yield opened


async def copy_disk(
    access: Access, vm: SourceVM, disk: SourceDisk, snapshot: str | None, target: FileTarget, how: How
) -> Copied:
    """Copy one disk and prove it. Errors name the VM and the disk."""
    try:
        if snapshot is None:
            await power.require_off(access.session, vm)
        async with source(access, vm, disk, snapshot) as opened:
            copied = await copy.disk(opened, target, disk.label, how)
        if snapshot is None:
            await power.require_off(access.session, vm)
    except Error as error:
        raise error.within(vm=vm.name, disk=disk.label) from error.__cause__
    return copied
