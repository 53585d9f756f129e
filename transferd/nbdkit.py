"""nbdkit with its vddk plugin: the only way into a VMware disk.

`vddk_argv` is pure and golden-tested; `start` owns the process. One nbdkit serves one session: a crash takes
nothing else down, and it ends with its parent. The password travels through a pipe, never through argv or
the environment, and is taken out of what nbdkit and VDDK say. The socket lives in a private folder.

No `retry` filter, on purpose: it forces one request in flight for the whole connection (nbdkit
filters/retry/retry.c, SERIALIZE_REQUESTS); recovery is the client's. `blocksize` is a guard: NFC servers
fail on requests over 2 MiB when several disks of a host are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from transferd import privacy, process
from transferd.errors import (
    AuthenticationError,
    Error,
    Overload,
    RetriesExhausted,
    SourceError,
    UsageError,
)

log = structlog.get_logger()

START_DEADLINE = 30.0  # s until nbdkit listens; it does not talk to vSphere before a client connects
LINE = 1000  # characters kept of one line
READ_SIZE = 64 * 1024
STOP_DEADLINE = 5.0  # s for nbdkit to end after SIGTERM; a VDDK call that hangs must not keep us
THREADS = 64  # nbdkit's own limit of requests in flight on a connection; its default is 16
MAX_REQUEST = "2M"

# What nbdkit and VDDK print, and what it means. VDDK's texts are those of VixDiskLib_GetErrorText; "Unknown
# error" for a wrong thumbprint or an independent disk is documented in nbdkit-vddk-plugin(1).
_DIAGNOSES: tuple[tuple[str, type[Error], str], ...] = (
    ("cannot open plugin|could not (find|load) .*plugin", UsageError,
     "nbdkit's vddk plugin is missing: run images/dev/setup.sh, or use the transferd image"),
    ("libvixDiskLib.*cannot open shared object|could not load .*libvixDiskLib", UsageError,
     "set vddk.libdir to the folder that holds lib64/libvixDiskLib.so.*"),
    ("VixDiskLib_InitEx", UsageError, "check vddk.libdir and vddk.config"),
    ("Failed to allocate|[Oo]ut of memory|ENOMEM", Overload,
     "the host has no NFC memory left: fewer disks at once, or smaller requests"),
    ("Insufficient permissions|[Ll]ogin|[Pp]assword|[Cc]redentials", AuthenticationError,
     "check username, passwordFile and the role's privileges on this VM"),
    ("[Tt]humbprint|[Cc]ertificate|SSL", AuthenticationError, "check that the thumbprint is the server's"),
    ("Unknown error", SourceError,
     "VDDK says so for a wrong thumbprint and for independent disks: check both"),
    ("Cannot connect|[Tt]imed? ?out|refused connection", RetriesExhausted,
     "check that port 902 of the ESXi host is reachable"),
    ("not found|cannot be found", SourceError, "the VM, the disk or its snapshot is gone: run inventory"),
    ("access rights", SourceError, "a powered-on disk is read through a snapshot: is the VM off?"),
    (r"VixDiskLib_\w+:", SourceError, "this is VMware's own error text; VDDK's log may say more"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class VddkDisk:
    """Everything that names one disk to VDDK. `file` is `[datastore] folder/name.vmdk`."""

    libdir: str
    server: str
    port: int
    user: str
    thumbprint: str
    vm: str
    file: str
    snapshot: str | None
    transports: str


def vddk_argv(
    disk: VddkDisk, *, socket: Path, pidfile: Path, password_fd: int, config: Path | None
) -> list[str]:
    """The whole command line. Every value follows its `key=`, so none can be taken for an option."""
    argv = [
        # No orphan reads on after a kill -9 of ours. nbdkit's --exit-with-parent asks for SIGTERM, and an
        # nbdkit whose VDDK call hangs does not end on that.
        "setpriv",
        "--pdeathsig=KILL",
        "nbdkit",
        "--foreground",
        "--readonly",  # the source is never written
        "--unix",
        str(socket),
        "--pidfile",
        str(pidfile),
        "--threads",
        str(THREADS),
        "--filter=blocksize",
        "vddk",
        f"libdir={disk.libdir}",
        f"server={disk.server}",
        f"port={disk.port}",
        f"user={disk.user}",
        f"password=-{password_fd}",
        f"thumbprint={disk.thumbprint}",
        f"vm=moref={disk.vm}",
        f"file={disk.file}",
        f"transports={disk.transports}",
        f"maxdata={MAX_REQUEST}",
    ]
    if disk.snapshot is not None:
        argv.append(f"snapshot={disk.snapshot}")
    if config is not None:
        argv.append(f"config={config}")
    return argv


def vddk_config(settings: Mapping[str, str]) -> str:
    """VDDK's own ini file. UsageError for a key or value that would start another line."""
    for key, value in settings.items():
        if not re.fullmatch(r"[A-Za-z0-9_.]+", key) or not value.isprintable():
            raise UsageError(f"vddk.config: {key!r} is no VDDK setting", remedy="use one line per setting")
    return "".join(f"{key} = {value}\n" for key, value in settings.items())


def require_library(libdir: str) -> None:
    """UsageError unless nbdkit is installed and VMware's library is where the configuration says."""
    if shutil.which("nbdkit") is None:
        raise UsageError("nbdkit is not installed", remedy="run images/dev/setup.sh")
    if not any(Path(libdir).glob("lib64/libvixDiskLib.so.*")):
        raise UsageError(
            f"vddk.libdir: no lib64/libvixDiskLib.so.* in {libdir}",
            remedy="unpack VMware's VDDK there; it cannot be shipped with transferd",
        )


def diagnose(said: Iterable[str], label: str) -> Error | None:
    """The error that nbdkit's output amounts to, or None if it has not complained."""
    for line in said:
        if "error:" not in line:
            continue
        problem = line.split("error:", 1)[1].strip()
        for pattern, kind, remedy in _DIAGNOSES:
            if re.search(pattern, problem):
                return kind(problem, disk=label, operation="open", remedy=remedy)
    return None


class Server:
    """A running nbdkit: its URI, and what it said last. Ends when stopped, or with its parent."""

    def __init__(
        self,
        child: asyncio.subprocess.Process,
        folder: str,
        socket: Path,
        label: str,
        discreet: Callable[[str], str],
    ) -> None:
        """`discreet` takes the password out of a line that the child wrote."""
        self.child = child
        self._discreet = discreet
        self.uri = f"nbd+unix:///?socket={socket}"
        self._folder = folder
        self._label = label
        self._said: deque[str] = deque(maxlen=50)
        self._listener = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        """Keep nbdkit's last words until it closes stderr; a flood of them neither blocks it nor fills us."""
        assert self.child.stderr is not None  # noqa: S101 (opened with PIPE; tells mypy)
        rest = b""
        while heard := await self.child.stderr.read(READ_SIZE):
            *lines, rest = (rest + heard).split(b"\n")
            rest = rest[:READ_SIZE]
            for line in lines:
                self._hear(line)
        if rest:
            self._hear(rest)

    def _hear(self, line: bytes) -> None:
        text = self._discreet(line.decode(errors="replace").rstrip())[:LINE]
        self._said.append(text)
        log.debug("nbdkit", disk=self._label, said=text)

    def explain(self) -> Error | None:
        """What it complained of since this was last asked."""
        said = [*self._said]
        self._said.clear()
        return diagnose(said, self._label)

    def last_words(self) -> str:
        return self._said[-1] if self._said else "it said nothing"

    async def stop(self, *, hung: bool = False) -> None:
        """End nbdkit, at once if it hangs, and remove its socket."""
        await process.stop(self.child, 0.0 if hung else STOP_DEADLINE)
        await self._listener
        shutil.rmtree(self._folder, ignore_errors=True)


async def start(disk: VddkDisk, *, password: str, config: Mapping[str, str], label: str) -> Server:
    """Run nbdkit for one disk; returns when it listens.

    Call it from the main thread's loop: the death signal binds nbdkit to the thread that started it.
    """
    folder = tempfile.mkdtemp(prefix="transferd-")
    socket, pidfile, ini = Path(folder, "nbd.sock"), Path(folder, "pid"), Path(folder, "vddk.ini")
    if config:
        ini.write_text(vddk_config(config))
    with _pipe_holding(password) as fd:
        argv = vddk_argv(disk, socket=socket, pidfile=pidfile, password_fd=fd, config=ini if config else None)
        log.debug("starting nbdkit", argv=argv)
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(fd,),
            env={**os.environ, "LC_ALL": "C"},  # _DIAGNOSES reads English
        )
    server = Server(child, folder, socket, label, privacy.without(password))
    try:
        await _listening(server, pidfile)
    except BaseException:
        await asyncio.shield(server.stop())
        raise
    return server


@contextlib.contextmanager
def _pipe_holding(secret: str) -> Iterator[int]:
    """A descriptor from which `secret` can be read once."""
    read, write = os.pipe()
    try:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(secret.encode() + b"\n")
        yield read
    finally:
        os.close(read)


async def _listening(server: Server, pidfile: Path) -> None:
    """Return when nbdkit has written its pidfile, which it does once it listens."""
    try:
        async with asyncio.timeout(START_DEADLINE):
            while not pidfile.exists():
                if server.child.returncode is not None:
                    await asyncio.sleep(0.05)  # the listener reads what is left in the pipe
                    raise server.explain() or UsageError(
                        f"nbdkit did not start: {server.last_words()}", remedy="run with --debug"
                    )
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise RetriesExhausted(f"nbdkit did not listen within {START_DEADLINE:.0f} s") from error
