"""What tests ask of a vCenter, through pyVmomi and with nothing of transferd between."""

from __future__ import annotations

import ssl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyVmomi
from pyVmomi import vim
from pyVmomi.VmomiSupport import newestVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

HTTP_TIMEOUT = 30.0  # seconds
DEADLINE = 20.0  # seconds for anything that is waited for

# Half typed, half generated at run time: a checker knows too little of it to help.
_vmomi: Any = pyVmomi
_vim: Any = vim
_versions: Any = newestVersions


@contextmanager
def session(url: str, ca_file: Path, username: str, password: str) -> Iterator[Any]:
    """A ServiceInstance, logged in.

    Not SmartConnect: when a login fails it drops its socket without closing it, which the test run, where
    warnings are errors, would count against a later test.
    """
    address = urlsplit(url)
    stub = _vmomi.SoapStubAdapter(
        host=address.hostname,
        port=address.port,
        version=_versions.GetName("vim"),
        sslContext=ssl.create_default_context(cafile=str(ca_file)),
        httpConnectionTimeout=HTTP_TIMEOUT,
    )
    try:
        service = _vim.ServiceInstance("ServiceInstance", stub)
        service.content.sessionManager.Login(username, password)
        yield service
        service.content.sessionManager.Logout()
    finally:
        stub.DropConnections()


def find_vm(service: Any, name: str) -> Any:
    """The managed object of the only VM with this name."""
    content = service.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [_vim.VirtualMachine], recursive=True)
    found = [vm for vm in view.view if vm.name == name]
    view.Destroy()
    if len(found) != 1:
        raise LookupError(f"{len(found)} VMs are named {name!r}")
    return found[0]


def virtual_disks(vm_or_snapshot: Any) -> list[Any]:
    """The disk devices, in the order of the inventory; a snapshot has them as they were."""
    return [d for d in vm_or_snapshot.config.hardware.device if isinstance(d, _vim.vm.device.VirtualDisk)]


def base_file(disk: Any) -> str:
    """The datastore path at the bottom of the disk's chain."""
    backing = disk.backing
    while backing.parent:
        backing = backing.parent
    path: str = backing.fileName
    return path


def snapshot_names(vm: Any) -> list[str]:
    """All snapshots, parents before children."""
    return _names(vm.snapshot.rootSnapshotList) if vm.snapshot else []


def _names(tree: Sequence[Any]) -> list[str]:
    return [name for node in tree for name in (node.name, *_names(node.childSnapshotList))]


# --- tasks and snapshots ---------------------------------------------------------------------------------


def wait_until(condition: Callable[[], bool]) -> None:
    """TimeoutError when it does not come true within DEADLINE."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def wait_for(task: Any) -> Any:
    """The task's result, or its fault raised."""
    wait_until(lambda: task.info.state in {"success", "error"})
    if task.info.state == "error":
        raise task.info.error
    return task.info.result


def take_snapshot(vm: Any, name: str = "snapshot") -> Any:
    return wait_for(vm.CreateSnapshot_Task(name, "", memory=False, quiesce=False))


def remove_snapshot(snapshot: Any) -> None:
    wait_for(snapshot.RemoveSnapshot_Task(removeChildren=False, consolidate=True))


# --- changed blocks --------------------------------------------------------------------------------------


def change_id(vm_or_snapshot: Any, disk: int = 0) -> str | None:
    identifier: str | None = virtual_disks(vm_or_snapshot)[disk].backing.changeId
    return identifier


def change_pages(vm: Any, snapshot: Any, since: str | None, disk: int = 0) -> Iterator[Any]:
    """All answers of QueryChangedDiskAreas; without a snapshot those of a VM that is off."""
    device = virtual_disks(snapshot or vm)[disk]
    position = 0
    while position < device.capacityInBytes:
        page = vm.QueryChangedDiskAreas(snapshot, device.key, position, since)
        yield page
        position = page.startOffset + page.length


def changed_areas(vm: Any, snapshot: Any, since: str | None, disk: int = 0) -> list[tuple[int, int]]:
    """(start, length) of what changed."""
    pages = change_pages(vm, snapshot, since, disk)
    return [(area.start, area.length) for page in pages for area in page.changedArea]
