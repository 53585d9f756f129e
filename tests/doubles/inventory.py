"""What tests ask of a vCenter, through pyVmomi and with nothing of transferd between."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pyVmomi
from pyVmomi import vim
from pyVmomi.VmomiSupport import newestVersions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

HTTP_TIMEOUT = 30.0  # seconds

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


def snapshot_names(vm: Any) -> list[str]:
    """All snapshots, parents before children."""
    return _names(vm.snapshot.rootSnapshotList) if vm.snapshot else []


def _names(tree: Sequence[Any]) -> list[str]:
    return [name for node in tree for name in (node.name, *_names(node.childSnapshotList))]
