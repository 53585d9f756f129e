"""One login to vCenter, and how to call it.

Every HTTP request has a timeout, every task a deadline. A session that was opened is closed, however the
command ends: vCenter has room for a few hundred, and keeps a forgotten one for half an hour.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from pyVmomi import vim, vmodl

from transferd import privacy
from transferd.crew import in_thread
from transferd.errors import (
    AuthenticationError,
    Cancelled,
    Error,
    RetriesExhausted,
    SourceError,
    UsageError,
)
from transferd.model import PowerState, SourceVM, VCenter, VMRef
from transferd.vsphere import concerns, connection, faults, trust
from transferd.vsphere.concerns import Neighbour
from transferd.vsphere.inventory import PATHS, power_of, source_vm
from transferd.vsphere.properties import retrieve

T = TypeVar("T")
log = structlog.get_logger()

OUTAGE = 900.0  # s for which a vCenter that does not answer is waited for; disks are read without it
OUTAGE_PAUSES = (1.0, 2.0, 5.0, 10.0)  # s between attempts; the last is repeated
FAILED_LOGINS = 3  # in a session's life: accounts are locked after a few
PASSWORD_PATIENCE = 300.0  # s for which a password that is refused may be changed in its file
PASSWORD_LOOK = 2.0  # s between looks at it
CONNECT_ATTEMPTS = 3
GIVE_UP = 5.0  # s for a login under way, or a logout, when we are told to end; a pod has 30 s
TASK_POLL = 0.5  # s between looks at a task or a power state


class Session:
    """A login, renewed when vCenter has dropped it. Calls may come from several threads.

    `call` is for what may be done twice: it waits for a vCenter that does not answer. `once` is for what may
    not: when the answer is lost, the caller has to look what happened.
    """

    def __init__(self, endpoint: trust.Endpoint, user: str, password: Callable[[], str]) -> None:
        self.endpoint = endpoint
        self._user = user
        self._password = password
        self._logging_in = threading.Lock()
        self._logins = 1
        self._refused = 0
        self._wrong: str | None = None  # the password that was refused last
        self._closing = threading.Event()
        with faults.translated("log in"):
            self.stub = connection.stub(endpoint)
            try:
                service: Any = vim.ServiceInstance("ServiceInstance", self.stub)
                self.content = service.RetrieveContent()
                self.content.sessionManager.Login(user, password())
            except BaseException:
                self.stub.DropConnections()
                raise

    def close(self) -> None:
        """Log out, for good. An error here changes nothing: the session idles out by itself."""
        self._closing.set()
        with self._logging_in:
            try:
                self.content.sessionManager.Logout()
            except (OSError, vmodl.MethodFault, http.client.HTTPException) as error:
                log.debug("logout failed", error=str(error))
            finally:
                self.stub.DropConnections()

    def call(self, operation: str, action: Callable[[], T], vm: str | None = None) -> T:
        """`action`, repeated while vCenter does not answer, for OUTAGE seconds."""
        until = time.monotonic() + OUTAGE
        failures = 0
        while True:
            try:
                return self.once(operation, action, vm)
            except RetriesExhausted as error:
                pause = OUTAGE_PAUSES[min(failures, len(OUTAGE_PAUSES) - 1)]
                failures += 1
                if time.monotonic() + pause > until:
                    raise
                log.warning("vCenter does not answer", operation=operation, reason=error.problem)
                if self._closing.wait(pause):
                    raise

    def once(self, operation: str, action: Callable[[], T], vm: str | None = None) -> T:
        """`action` with faults translated. NotAuthenticated means it did not happen: log in, once more."""
        with faults.translated(operation, vm):
            logins = self._logins
            try:
                return action()
            except vim.fault.NotAuthenticated:
                self._log_in_again(operation, logins)
                return action()

    def _log_in_again(self, operation: str, logins: int) -> None:
        """Unless another thread has since. While the password is refused, its file may be changed."""
        log.info("session expired, logging in again", operation=operation)
        until = time.monotonic() + PASSWORD_PATIENCE
        while not self._renewed(operation, logins):
            if time.monotonic() > until:
                raise AuthenticationError(
                    f"the password was refused and not changed within {PASSWORD_PATIENCE:.0f} s",
                    operation=operation,
                    remedy="put the right one into passwordFile, then run the command again",
                )
            self._closing.wait(PASSWORD_LOOK)

    def _renewed(self, operation: str, logins: int) -> bool:
        """Whether there is a new login. No password is tried twice, and after FAILED_LOGINS none at all."""
        with self._logging_in:
            if self._closing.is_set():
                raise Cancelled("the session was closed", operation=operation)
            if self._logins != logins:
                return True
            if self._refused >= FAILED_LOGINS:
                raise vim.fault.InvalidLogin
            password = self._password()
            if password == self._wrong:
                return False
            try:
                self.content.sessionManager.Login(self._user, password)
            except vim.fault.InvalidLogin:
                self._refused += 1
                self._wrong = password
                log.warning("the password is refused: waiting for another in its file")
                return False
            self._logins += 1
            return True

    def vms(self) -> list[SourceVM]:
        """The whole inventory, by name."""
        found = []
        for moref, values in self._collect(PATHS):
            try:
                found.append(source_vm(moref, values))
            except AuthenticationError as error:
                log.warning("left out of the inventory", reason=str(error))
        return sorted(found, key=lambda vm: vm.name)

    def read_vm(self, ref: VMRef) -> SourceVM:
        """The one VM that `ref` names, with its concerns. UsageError when there is none, or more than one."""
        everyone = self._collect(("name", "config.instanceUuid", "config.uuid"))
        matches = [
            moref
            for moref, values in everyone
            if ref.moref == moref._moId  # noqa: SLF001 (pyVmomi's name for it)
            or (ref.name is not None and ref.name == values.get("name"))
            or (ref.instance_uuid is not None and ref.instance_uuid == values.get("config.instanceUuid"))
        ]
        wanted = ref.name or ref.moref or ref.instance_uuid
        if not matches:
            raise UsageError(f"no VM {wanted!r} in this vCenter", remedy="transferd inventory lists them")
        if len(matches) > 1:
            morefs = ", ".join(moref._moId for moref in matches)  # noqa: SLF001
            raise UsageError(
                f"{len(matches)} VMs are called {wanted!r}", remedy=f"name one by its moref: {morefs}"
            )
        ((moref, values),) = self._collect((*PATHS, *concerns.PATHS), matches)
        vm = source_vm(moref, values)
        others = [Neighbour.of(each._moId, facts) for each, facts in everyone]  # noqa: SLF001
        found = concerns.concerns(values, vm, others, self._host(values))
        return vm.model_copy(update={"concerns": found})

    def _host(self, values: dict[str, Any]) -> dict[str, Any]:
        """What its concerns need to know of a VM's host; an account may see the one and not the other."""
        host = values.get("runtime.host")
        if host is None:
            return {}
        try:
            return self.properties(host, *concerns.HOST_PATHS, name=values.get("name"))
        except (AuthenticationError, SourceError) as error:
            log.debug("the host cannot be looked at", reason=str(error))
            return {}

    def vm_object(self, moref: str) -> Any:
        """A stub for calls on one VM; costs no round trip."""
        return vim.VirtualMachine(moref, self.stub)

    def properties(self, of: Any, *paths: str, name: str | None = None) -> dict[str, Any]:
        """Property values of one managed object by path; unset ones are left out."""

        def read() -> dict[str, Any]:
            ((_, values),) = retrieve(self.content, paths, [of], type(of))
            return values

        return self.call("read properties", read, name)

    def power_state(self, vm: SourceVM) -> PowerState:
        return power_of(self.properties(self.vm_object(vm.moref), "name", "runtime.powerState", name=vm.name))

    def wait_for(self, task: Any, operation: str, vm: str, deadline: float) -> Any:
        """Result of `task` within `deadline` seconds; its fault becomes SourceError."""
        until = time.monotonic() + deadline
        while True:
            info = self.call(operation, lambda: task.info, vm)
            if info.state == vim.TaskInfo.State.success:
                return info.result
            if info.state == vim.TaskInfo.State.error:
                raise SourceError(f"vSphere: {faults.text(info.error)}", vm=vm, operation=operation)
            if time.monotonic() > until:
                raise RetriesExhausted(f"not done within {deadline:.0f} s", vm=vm, operation=operation)
            time.sleep(TASK_POLL)

    def _collect(
        self, paths: tuple[str, ...], objects: list[Any] | None = None
    ) -> list[tuple[Any, dict[str, Any]]]:
        return self.call("read inventory", lambda: retrieve(self.content, paths, objects))


@asynccontextmanager
async def connect(config: VCenter, password: Callable[[], str]) -> AsyncIterator[Session]:
    """A session; an unreachable vCenter is tried CONNECT_ATTEMPTS times, a refused login never again."""
    privacy.keep_memory()
    enough = threading.Event()
    connecting = asyncio.ensure_future(in_thread(_connect, config, password, enough))
    try:
        session = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        enough.set()
        await asyncio.wait([connecting], timeout=GIVE_UP)
        if connecting.done() and connecting.exception() is None:
            await _close(connecting.result())
        raise
    try:
        yield session
    finally:
        await _close(session)


async def _close(session: Session) -> None:
    """Log out, unless vCenter takes too long: what keeps it from answering must not keep us here."""
    await asyncio.wait([asyncio.ensure_future(in_thread(session.close))], timeout=GIVE_UP)


def _connect(config: VCenter, password: Callable[[], str], enough: threading.Event) -> Session:
    for attempt in range(1, CONNECT_ATTEMPTS + 1):
        try:
            with faults.translated("connect"):
                endpoint = trust.check(config)
            return Session(endpoint, config.username, password)
        except RetriesExhausted:
            if attempt == CONNECT_ATTEMPTS or enough.wait(attempt):
                raise
            log.info("vCenter does not answer, trying again", attempt=attempt)
    raise Error("unreachable: the last attempt returns or raises")
