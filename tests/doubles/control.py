"""What a test does behind the back of vSphere's API: the guest, the administrator, the network, the defects.

The vCenter double listens for it on a port of its own (tests/doubles/vcenter/control.go). `vm` is a VM's
name, `disk` its disk's number, counted from 0. What cannot be done is a ControlError that says why.
"""

from __future__ import annotations

import base64
import http.client
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TIMEOUT = 60.0  # seconds; copying a large disk is the slowest of it

Tools = Literal["running", "notRunning", "notInstalled"]


class ControlError(RuntimeError):
    """The double would not, in its words."""


class Control:
    """The commands. A subclass knows where the double listens."""

    @property
    def control_address(self) -> str:
        """host:port"""
        raise NotImplementedError

    def _tell(self, command: str, **arguments: Any) -> Any:
        connection = http.client.HTTPConnection(self.control_address, timeout=TIMEOUT)
        try:
            connection.request("POST", f"/{command}", json.dumps(arguments))
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise ControlError(answer["error"])
        return answer["result"]

    # --- disks -----------------------------------------------------------------------------------------

    def write(self, vm: str, disk: int, offset: int, data: bytes) -> None:
        """The guest writes; the VM must be on."""
        self._tell("write", vm=vm, disk=disk, offset=offset, data=base64.b64encode(data).decode())

    def start_workload(
        self,
        vm: str,
        disks: Sequence[int] = (0,),
        *,
        seed: int = 0,
        writes_per_second: float = 50.0,
        sizes: tuple[int, int] = (512, 65536),
        area: tuple[int, int] | None = None,
    ) -> None:
        """The guest writes at random, the same sequence for the same seed, until stopped or off.

        `sizes` are the smallest and largest write, `area` the offset and length to stay within, all in bytes.
        A guest that is asked to shut down while it does so writes a last time before it is off.
        """
        plan = {"disks": list(disks), "seed": seed, "writesPerSecond": writes_per_second, "sizes": sizes}
        self._tell("startWorkload", vm=vm, area=area, **plan)

    def stop_workload(self, vm: str) -> int:
        """How many writes it made. It may have ended by itself."""
        count: int = self._tell("stopWorkload", vm=vm)
        return count

    @contextmanager
    def workload(
        self,
        vm: str,
        disks: Sequence[int] = (0,),
        *,
        seed: int = 0,
        writes_per_second: float = 50.0,
        sizes: tuple[int, int] = (512, 65536),
        area: tuple[int, int] | None = None,
    ) -> Iterator[None]:
        """A workload for as long as the context lasts, or the VM is on."""
        self.start_workload(vm, disks, seed=seed, writes_per_second=writes_per_second, sizes=sizes, area=area)
        try:
            yield
        finally:
            self.stop_workload(vm)

    def grow(self, vm: str, disk: int, capacity: int) -> None:
        """Extends the disk to so many bytes; its change tracking is reset. Refused while it has snapshots."""
        self._tell("grow", vm=vm, disk=disk, capacity=capacity)

    def add_disk(self, vm: str, file: Path) -> int:
        """Hot-adds a disk with the raw file's content; its device key."""
        key: int = self._tell("addDisk", vm=vm, file=str(file.resolve()))
        return key

    def remove_disk(self, vm: str, disk: int) -> None:
        """Takes the disk out of the VM; the numbers of those behind it fall."""
        self._tell("removeDisk", vm=vm, disk=disk)

    def reset_cbt(self, vm: str, disk: int) -> None:
        """Change tracking begins anew: change IDs given out so far are no longer known."""
        self._tell("resetCbt", vm=vm, disk=disk)

    def omit(self, vm: str, disk: int, start: int, length: int) -> None:
        """QueryChangedDiskAreas never reports blocks that touch this area; length 0 takes it all back."""
        self._tell("omit", vm=vm, disk=disk, start=start, length=length)

    def over_report(self, vm: str, disk: int, share: float) -> None:
        """This share of the blocks that did not change is reported as changed, too."""
        self._tell("overReport", vm=vm, disk=disk, share=share)

    def many_areas(self, vm: str, disk: int, count: int) -> None:
        """QueryChangedDiskAreas answers so many scattered areas instead of the truth; 0 takes it back.

        The change ID must still be a good one, or `*`.
        """
        self._tell("manyAreas", vm=vm, disk=disk, count=count)

    # --- guest, power, snapshots -----------------------------------------------------------------------

    def tools(self, vm: str, state: Tools) -> None:
        """The state of VMware Tools, shown while the VM is on."""
        self._tell("tools", vm=vm, state=state)

    def shutdown(
        self, vm: str, *, delay: float | None = None, refuse: bool | Literal["ignore"] = False
    ) -> None:
        """How the guest answers ShutdownGuest: after `delay` seconds, with a fault, or ("ignore") never."""
        self._tell("shutdown", vm=vm, delay=delay, refused=refuse is True, ignored=refuse == "ignore")

    def power(self, vm: str, state: Literal["on", "off"]) -> None:
        """An administrator switches it on, or cuts its power."""
        self._tell("power", vm=vm, state=state)

    def snapshot_delay(
        self, vm: str, seconds: float = 0.0, *, fail: int = 0, fault: str = "ApplicationQuiesceFault"
    ) -> None:
        """Taking a snapshot takes so long, and fails the next `fail` times."""
        self._tell("snapshotDelay", vm=vm, seconds=seconds, fail=fail, fault=fault)

    def consolidation(
        self,
        vm: str,
        seconds: float = 0.0,
        *,
        fail: int = 0,
        leaves_needed: bool = True,
        background: bool = False,
    ) -> None:
        """Removing a snapshot, and ConsolidateVMDisks, takes so long and fails the next `fail` times.

        A failure leaves runtime.consolidationNeeded and no snapshot, or (`leaves_needed=False`) the snapshot
        as it was. With `background` the task ends at once, and consolidationNeeded shows until it is done.
        """
        how = {"seconds": seconds, "fail": fail, "leavesNeeded": leaves_needed, "background": background}
        self._tell("consolidation", vm=vm, **how)

    def snapshot_removed_by_admin(self, vm: str, name: str | None = None) -> None:
        """Removes the VM's snapshot of that name, or all of them."""
        self._tell("removeSnapshots", vm=vm, name=name or "")

    def move(self, vm: str) -> str:
        """vMotion to the other host; its moref. One ESXi host alone has no other."""
        host: str = self._tell("move", vm=vm)
        return host

    # --- sessions and calls ----------------------------------------------------------------------------

    def expire_sessions(self) -> int:
        """Ends every session; how many there were."""
        count: int = self._tell("expireSessions")
        return count

    def sessions(self) -> int:
        """How many are alive, those of the test itself included."""
        count: int = self._tell("sessions")
        return count

    def failed_logins(self) -> int:
        """How many logins were refused since the start."""
        count: int = self._tell("failedLogins")
        return count

    def set_password(self, new: str) -> None:
        """Changes the account's password; sessions go on. The password file of the test is not touched."""
        self._tell("setPassword", password=new)

    def calls(self) -> dict[str, int]:
        """How often each method was called by clients since the start or reset_calls."""
        counts: dict[str, int] = self._tell("calls")
        return counts

    def reset_calls(self) -> None:
        self._tell("resetCalls")

    def delay(self, method: str, seconds: float) -> None:
        """Every call of the method waits so long before it is executed; 0 takes it back."""
        self._tell("delay", method=method, seconds=seconds)

    def fault(self, method: str, kind: str, times: int = 1) -> None:
        """What happens to the next calls of a method such as `CreateSnapshot_Task`; 0 times takes it back.

        `kind` is the name of a vim fault, or "refuse": the connection is closed and nothing executed, or
        "drop": it is executed and the connection closed instead of an answer. "NotAuthenticated" ends the
        session, too.
        """
        self._tell("fault", method=method, kind=kind, times=times)

    def freeze_server(self, seconds: float) -> None:
        """For so long, connections are accepted and nothing is answered."""
        self._tell("freezeServer", seconds=seconds)
