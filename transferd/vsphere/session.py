"""One login to vCenter, and how to call it.

Everything is read through the PropertyCollector with explicit paths: attribute access on a managed object
is one round trip each. Every HTTP request has a timeout, every task a deadline.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import structlog
from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

from transferd.errors import AuthenticationError, Error, RetriesExhausted, SourceError, UsageError
from transferd.model import PowerState, SourceVM, VCenter, VMRef
from transferd.vsphere import concerns, trust
from transferd.vsphere.concerns import Neighbour
from transferd.vsphere.inventory import PATHS, power_of, source_vm

T = TypeVar("T")
log = structlog.get_logger()

HTTP_TIMEOUT = 60  # s for one SOAP call; vCenter answers property reads in seconds
OUTAGE = 900.0  # s for which a vCenter that does not answer is waited for; disks are read without it
OUTAGE_PAUSES = (1.0, 2.0, 5.0, 10.0)  # s between attempts; the last is repeated
FAILED_LOGINS = 3  # in a session's life: accounts are locked after a few
PASSWORD_PATIENCE = 300.0  # s for which a password that is refused may be changed in its file
PASSWORD_LOOK = 2.0  # s between looks at it
CONNECT_ATTEMPTS = 3
TASK_POLL = 0.5  # s between looks at a task or a power state
PAGE = 500  # objects a property read returns at once


def _text(fault: Any) -> str:
    """What a fault says; vSphere fills one field or the other."""
    return str(getattr(fault, "localizedMessage", None) or getattr(fault, "msg", None) or "no message")


@contextmanager
def _faults(operation: str, vm: str | None = None) -> Iterator[None]:
    """vSphere's faults and the network's errors become ours, chained."""
    try:
        yield
    except (vim.fault.InvalidLogin, vim.fault.NoPermission) as error:
        raise AuthenticationError(
            f"{type(error).__name__.rpartition('.')[2]}: vCenter refused the login or the permission",
            vm=vm,
            operation=operation,
            remedy="check username, passwordFile and the role's privileges; it is not tried again",
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise AuthenticationError(
            f"certificate refused: {error.verify_message}",
            operation=operation,
            remedy="give the right caFile, or a thumbprint that you have checked",
        ) from error
    except vmodl.fault.ManagedObjectNotFound as error:
        raise SourceError("is gone from the inventory", vm=vm, operation=operation) from error
    except vmodl.MethodFault as error:
        raise SourceError(
            f"{type(error).__name__.rpartition('.')[2]}: {_text(error)}", vm=vm, operation=operation
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise RetriesExhausted(
            f"vCenter does not answer: {error}", vm=vm, operation=operation, remedy="check url and network"
        ) from error


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
        with _faults("log in"):
            self._instance = SmartConnect(
                host=endpoint.host,
                port=endpoint.port,
                user=user,
                pwd=password(),
                sslContext=endpoint.context,
                httpConnectionTimeout=HTTP_TIMEOUT,
            )
        self.content = self._instance.RetrieveContent()
        self.stub = self._instance._stub  # noqa: SLF001 (pyVmomi's way to address managed objects)

    def close(self) -> None:
        """Log out. An error here changes nothing for the caller; the session idles out by itself."""
        try:
            Disconnect(self._instance)
        except (OSError, vmodl.MethodFault, http.client.HTTPException) as error:
            log.debug("logout failed", error=str(error))

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
                time.sleep(pause)

    def once(self, operation: str, action: Callable[[], T], vm: str | None = None) -> T:
        """`action` with faults translated. NotAuthenticated means it did not happen: log in, once more."""
        with _faults(operation, vm):
            logins = self._logins
            try:
                return action()
            except vim.fault.NotAuthenticated:
                self._log_in_again(operation, logins)
                return action()

    def _log_in_again(self, operation: str, logins: int) -> None:
        """Unless another thread has since. A refused password is not tried twice: its file may change."""
        with self._logging_in:
            if self._logins != logins:
                return
            log.info("session expired, logging in again", operation=operation)
            until = time.monotonic() + PASSWORD_PATIENCE
            tried: str | None = None
            while True:
                password = self._password()
                if password != tried:
                    try:
                        self.content.sessionManager.Login(self._user, password)
                    except vim.fault.InvalidLogin:
                        self._refused += 1
                        if self._refused == FAILED_LOGINS:
                            raise
                        log.warning("the password is refused: waiting for another in its file")
                        tried = password
                    else:
                        self._logins += 1
                        return
                if time.monotonic() > until:
                    raise AuthenticationError(
                        f"the password was refused and not changed within {PASSWORD_PATIENCE:.0f} s",
                        operation=operation,
                        remedy="put the right one into passwordFile, then run the command again",
                    )
                time.sleep(PASSWORD_LOOK)

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
            ((_, values),) = self._retrieve(paths, [of], type(of))
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
                raise SourceError(f"vSphere: {_text(info.error)}", vm=vm, operation=operation)
            if time.monotonic() > until:
                raise RetriesExhausted(f"not done within {deadline:.0f} s", vm=vm, operation=operation)
            time.sleep(TASK_POLL)

    def _collect(
        self, paths: tuple[str, ...], objects: list[Any] | None = None
    ) -> list[tuple[Any, dict[str, Any]]]:
        return self.call("read inventory", lambda: self._retrieve(paths, objects))

    def _retrieve(
        self, paths: tuple[str, ...], objects: list[Any] | None, kind: type[Any] = vim.VirtualMachine
    ) -> list[tuple[Any, dict[str, Any]]]:
        collector = vmodl.query.PropertyCollector
        wanted = collector.PropertySpec(type=kind, pathSet=[*paths], all=False)
        view = None
        if objects is None:
            root = self.content.rootFolder
            view = self.content.viewManager.CreateContainerView(root, [vim.VirtualMachine], True)
            through = collector.TraversalSpec(name="view", type=type(view), path="view", skip=False)
            roots = [collector.ObjectSpec(obj=view, skip=True, selectSet=[through])]
        else:
            roots = [collector.ObjectSpec(obj=each) for each in objects]
        try:
            spec = collector.FilterSpec(objectSet=roots, propSet=[wanted])
            options = collector.RetrieveOptions(maxObjects=PAGE)
            page = self.content.propertyCollector.RetrievePropertiesEx([spec], options)
            found = []
            while page is not None:
                found += [(each.obj, _values(each)) for each in page.objects]
                token = page.token
                page = self.content.propertyCollector.ContinueRetrievePropertiesEx(token) if token else None
        finally:
            if view is not None:
                view.Destroy()
        return found


def _values(content: Any) -> dict[str, Any]:
    """Properties by path. Unset ones are left out; a lost session must not look like an unset property."""
    for missing in content.missingSet or ():
        if isinstance(missing.fault, vim.fault.NotAuthenticated):
            raise missing.fault
    return {each.name: each.val for each in content.propSet or ()}


@asynccontextmanager
async def connect(config: VCenter, password: Callable[[], str]) -> AsyncIterator[Session]:
    """A session; an unreachable vCenter is tried CONNECT_ATTEMPTS times, a refused login never again."""
    session = await asyncio.to_thread(_connect, config, password)
    try:
        yield session
    finally:
        await asyncio.to_thread(session.close)


def _connect(config: VCenter, password: Callable[[], str]) -> Session:
    for attempt in range(1, CONNECT_ATTEMPTS + 1):
        try:
            with _faults("connect"):
                endpoint = trust.check(config)
            return Session(endpoint, config.username, password)
        except RetriesExhausted:
            if attempt == CONNECT_ATTEMPTS:
                raise
            log.info("vCenter does not answer, trying again", attempt=attempt)
            time.sleep(attempt)
    raise Error("unreachable: the last attempt returns or raises")
