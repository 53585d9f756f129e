"""A vSphere to test against: a vCenter with VMs of the test's choosing, and VDDK to reach their disks.

    web = VM("web", disks=[Disk(image)], nics=[Nic("00:50:56:01:02:03", slot=192)])
    with VSphere(folder, [web]) as vsphere:
        settings = vsphere.write_vcenter_yaml(folder / "vcenter.yaml")
        ...
        assert vsphere.power_state("web") == "off"
        assert vsphere.snapshots("web") == []

The server is a child process (tests/doubles/vcenter) that ends with its stdin, so it cannot outlive the test
run. Disks are copies: the files given are never changed. `flat_file`, `power_state` and `snapshots` look at
the world itself, which is what a test should judge.

`python -m tests.doubles.vsphere build` builds everything that this needs and prints where it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import ssl
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from tests.doubles import artifacts, inventory
from tests.doubles.control import Control
from tests.doubles.inventory import base_file, find_vm, snapshot_names, virtual_disks
from tests.doubles.vddk import ini_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

GIB = 1 << 30
DATASTORE = "datastore1"
START_DEADLINE = 60.0  # seconds; copying disks without reflinks is most of it
STOP_DEADLINE = 5.0


@dataclass(frozen=True)
class Disk:
    """A virtual disk that starts with the content of the raw file."""

    file: Path
    controller: str = "pvscsi"


@dataclass(frozen=True)
class Nic:
    """`slot` is VMware's pciSlotNumber; `ips` are what VMware Tools report while they run."""

    mac: str
    slot: int = 192
    network: str = "VM Network"
    adapter: str = "vmxnet3"
    ips: Sequence[str] = ()


@dataclass(frozen=True)
class VM:
    """`firmware` is bios or efi, `memory` bytes. Tools show only while the VM is on, as in vSphere."""

    name: str
    disks: Sequence[Disk] = ()
    nics: Sequence[Nic] = ()
    guest_id: str = "debian12_64Guest"
    guest_name: str = "Debian GNU/Linux 12 (64-bit)"
    firmware: str = "bios"
    cpus: int = 2
    cores_per_socket: int = 1
    memory: int = 2 * GIB
    powered_on: bool = False
    tools_running: bool = True
    change_tracking: bool = False  # enabled, and in effect without a stun


@dataclass
class VSphere(Control):
    """One vCenter with two hosts; alive between `start` and `stop`, or inside `with`.

    `folder` must exist; everything is kept in `folder/vsphere`, which must not. `shutdown_delay` is how long
    a guest takes to shut down (seconds), `latency_us` how long VDDK takes for a read (microseconds), `vddk`
    what else the stand-in shall do, as tests.doubles.vddk.ini_keys spells it. `endpoint="host"` is one ESXi
    host instead of a vCenter; `session_idle` ends idle sessions (seconds), `max_sessions` and `lock_after`
    (failed logins in a row) are limits, 0 for none.

    What happens behind the API's back, from a guest that writes to a session that expires, is in Control.
    """

    folder: Path
    vms: Sequence[VM]
    username: str = "administrator@vsphere.local"
    password: str = "Tr4ns:ferd %&#/"  # characters that break careless quoting
    shutdown_delay: float = 1.0
    latency_us: int = 0
    vddk: Mapping[str, object] = field(default_factory=dict)
    endpoint: Literal["vcenter", "host"] = "vcenter"
    session_idle: float = 1800.0
    max_sessions: int = 0
    lock_after: int = 0
    _process: subprocess.Popen[str] | None = field(default=None, init=False, repr=False)
    _ready: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- lifetime --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns when the server answers; what it cannot start with is a RuntimeError with its words."""
        built = artifacts.build()
        self.libdir = built.libdir
        _write_private(self.password_file, self.password)
        _write_private(self._config_file, json.dumps(self._config()))
        with self.log_file.open("w") as log:
            self._process = subprocess.Popen(
                [str(built.vcenter), "-config", str(self._config_file), "-state", str(self.state)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        line = self._first_line()
        if not line:
            self.stop()
            raise RuntimeError(f"the vCenter double did not start: {self.log_file.read_text().strip()}")
        self._ready = json.loads(line)

    def stop(self) -> None:
        """Ends the server, by force after STOP_DEADLINE. Harmless when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _first_line(self) -> str:
        assert self._process
        assert self._process.stdout
        readable, _, _ = select.select([self._process.stdout], [], [], START_DEADLINE)
        return self._process.stdout.readline() if readable else ""

    def _config(self) -> dict[str, Any]:
        return {
            "username": self.username,
            "password": self.password,
            "datastore": DATASTORE,
            "endpoint": self.endpoint,
            "shutdownDelay": self.shutdown_delay,
            "sessionIdle": self.session_idle,
            "maxSessions": self.max_sessions,
            "lockAfter": self.lock_after,
            "vms": [_vm_document(vm) for vm in self.vms],
        }

    # --- what a client needs ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self._ready["url"]

    @property
    def thumbprint(self) -> str:
        """SHA-1, the one that VDDK checks."""
        return self._ready["thumbprint"]

    @property
    def thumbprint_sha256(self) -> str:
        certificate = ssl.PEM_cert_to_DER_cert(self.ca_file.read_text())
        return hashlib.sha256(certificate).digest().hex(":").upper()

    @property
    def ca_file(self) -> Path:
        return Path(self._ready["ca"])

    @property
    def control_address(self) -> str:
        return self._ready["control"]

    @property
    def password_file(self) -> Path:
        return self.folder / "vsphere-password"

    def vddk_config(self) -> dict[str, str]:
        """The lines that VDDK's configuration file must have for the stand-in to find this vCenter."""
        return {
            "transferd.double.state": str(self.state / "registry"),
            **ini_keys({"latency_us": self.latency_us, **self.vddk}),
        }

    def write_vcenter_yaml(self, path: Path, **overrides: Any) -> Path:
        """Writes the `vcenter.yaml` of this server, trusted by thumbprint. Overrides replace top-level keys;
        None leaves a key out."""
        document = {
            "url": self.url,
            "username": self.username,
            "passwordFile": str(self.password_file),
            "thumbprint": self.thumbprint,
            "vddk": {"libdir": str(self.libdir), "transports": "nbdssl:nbd", "config": self.vddk_config()},
        }
        merged = {**document, **overrides}
        path.write_text(yaml.safe_dump({key: value for key, value in merged.items() if value is not None}))
        return path

    # --- the world behind the API ----------------------------------------------------------------------

    @property
    def state(self) -> Path:
        return self.folder / "vsphere"

    @property
    def log_file(self) -> Path:
        """What the server wrote on stderr."""
        return self.folder / "vsphere.log"

    @property
    def _config_file(self) -> Path:
        return self.folder / "vsphere.json"

    def flat_file(self, vm_name: str, disk: int = 0, snapshot: str | None = None) -> Path:
        """The file that holds the bytes of the VM's disk, counted from 0, as it is or as a snapshot froze it.

        It is the same file whatever snapshots there are: see tests/doubles/vcenter/frozen.go.
        """
        with self.connect() as service:
            base = base_file(virtual_disks(find_vm(service, vm_name))[disk])
        flat = self.state / "datastore" / base.removeprefix(f"[{DATASTORE}] ").replace(".vmdk", "-flat.vmdk")
        return flat if snapshot is None else self.state / "frozen" / snapshot / flat.name

    def power_state(self, vm_name: str) -> str:
        """on, off or suspended."""
        with self.connect() as service:
            state: str = find_vm(service, vm_name).runtime.powerState
        return {"poweredOn": "on", "poweredOff": "off"}.get(state, state)

    def snapshots(self, vm_name: str) -> list[str]:
        """Names of all snapshots of the VM, parents before children."""
        with self.connect() as service:
            return snapshot_names(find_vm(service, vm_name))

    def moref(self, vm_name: str) -> str:
        with self.connect() as service:
            moref: str = find_vm(service, vm_name)._moId
        return moref

    def connect(self) -> AbstractContextManager[Any]:
        """A session of its own: a pyVmomi ServiceInstance, for looking and for what an operator may do."""
        return inventory.session(self.url, self.ca_file, self.username, self.password)


def _vm_document(vm: VM) -> dict[str, Any]:
    return {
        "name": vm.name,
        "guestId": vm.guest_id,
        "guestName": vm.guest_name,
        "firmware": vm.firmware,
        "cpus": vm.cpus,
        "coresPerSocket": vm.cores_per_socket,
        "memory": vm.memory,
        "power": "on" if vm.powered_on else "off",
        "toolsRunning": vm.tools_running,
        "changeTracking": vm.change_tracking,
        "disks": [{"file": str(disk.file.resolve()), "controller": disk.controller} for disk in vm.disks],
        "nics": [
            {"mac": n.mac, "slot": n.slot, "network": n.network, "adapter": n.adapter, "ips": list(n.ips)}
            for n in vm.nics
        ],
    }


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)


def main(argv: Sequence[str]) -> int:
    if list(argv) != ["build"]:
        print("usage: python -m tests.doubles.vsphere build", file=sys.stderr)
        return 2
    built = artifacts.build()
    print(f"vCenter double: {built.vcenter}")
    print(f"VDDK stand-in:  {built.libdir}")
    print(f"vddk plugin:    {artifacts.build_plugin()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
