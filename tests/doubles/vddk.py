"""A VDDK disk without a vCenter: one raw file, served by nbdkit's real vddk plugin over the stand-in library.

    with VddkDisk(folder, image, latency_us=5000) as disk, disk.serve(threads=64) as uri:
        ...
    subprocess.run(disk.argv(socket, filters=["retry", "blocksize"], extra=["maxdata=2M"]))

What the vCenter double would publish about a VM that is off (tests/doubles/vcenter/registry.go) is written
here once: the image itself is the disk, nothing is copied. The settings are those of the stand-in, listed in
tests/doubles/vddk/vixdisklib.c and spelt as `ini_keys` says. Disks whose settings name the same `host` file
share the limits of one ESXi host.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.doubles import artifacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

MOREF = "vm-1"
PATH = "[datastore1] disk/disk.vmdk"
START_DEADLINE = 20.0  # seconds
STOP_DEADLINE = 5.0

# nbdkit wants all of these; only the stand-in will ever compare them.
_HOST, _PORT, _USER, _PASSWORD = "localhost", 443, "root", "password"
_THUMBPRINT = ":".join(["AA"] * 20)

_PREFIX = "transferd.double."
# The settings whose key is not simply the prefix and their name. The last two are VDDK's own.
_KEYS = {
    "fault_read": "transferd.double.fault.read",
    "fault_blocks": "transferd.double.fault.blocks",
    "buf_size_64k": "vixDiskLib.nfcAio.Session.BufSizeIn64KB",
    "buf_count": "vixDiskLib.nfcAio.Session.BufCount",
}


def ini_keys(settings: Mapping[str, object]) -> dict[str, str]:
    """VDDK's ini keys for settings such as `latency_us`, `fault_read` or `buf_count`."""
    return {_KEYS.get(name, _PREFIX + name): str(value) for name, value in settings.items()}


@dataclass
class Server:
    """A running nbdkit. `log` is what it wrote on stderr."""

    uri: str
    log: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """kill -9: no goodbye to the host."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for an nbdkit that waits for a read that hangs."""
        self.process.terminate()
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()


class VddkDisk:
    """`folder` must exist; what is written there goes with it. `image` must be a multiple of 512 bytes."""

    def __init__(self, folder: Path, image: Path, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vddk-", dir=folder))
        self.image = image.resolve()
        self.settings = settings

    def __enter__(self) -> Self:
        self._libdir = artifacts.build().libdir
        artifacts.build_plugin()
        registry = self.folder / "registry"
        registry.mkdir()
        (registry / "server").write_text(
            f"host {_HOST}\nport {_PORT}\nthumbprint {_THUMBPRINT}\nuser {_USER}\npassword {_PASSWORD}\n"
        )
        (registry / MOREF).write_text(f"power poweredOff\npath {PATH}\nfile {self.image}\n")
        self._write_ini(registry)
        with os.fdopen(os.open(self._password_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
            stream.write(_PASSWORD)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self.folder / "registry" / "server").unlink(missing_ok=True)  # as a vCenter that has stopped

    @property
    def _ini(self) -> Path:
        return self.folder / "vddk.ini"

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    def _write_ini(self, registry: Path) -> None:
        lines = {"transferd.double.state": str(registry), **ini_keys(self.settings)}
        self._ini.write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))

    def argv(
        self, socket: Path, *, filters: Sequence[str] = (), threads: int = 32, extra: Sequence[str] = ()
    ) -> list[str]:
        """nbdkit in the foreground, listening on `socket`, until its parent ends.

        `filters` are outermost first, as nbdkit takes them; `extra` are parameters of filters or plugin.
        """
        return [
            "nbdkit", "--foreground", "--exit-with-parent", "--readonly", "--unix", str(socket),
            "--threads", str(threads), *(f"--filter={name}" for name in filters), str(artifacts.VDDK_PLUGIN),
            f"libdir={self._libdir}", f"config={self._ini}", f"server={_HOST}", f"user={_USER}",
            f"password=+{self._password_file}", f"thumbprint={_THUMBPRINT}", f"vm=moref={MOREF}",
            f"file={PATH}", "transports=nbdssl:nbd", *extra,
        ]  # fmt: skip

    def start(self, *, filters: Sequence[str] = (), threads: int = 32, extra: Sequence[str] = ()) -> Server:
        """An nbdkit that listens; the caller stops it."""
        place = Path(tempfile.mkdtemp(prefix="nbd-", dir=self.folder))
        socket, log, pidfile = place / "s", place / "log", place / "pid"
        argv = self.argv(socket, filters=filters, threads=threads, extra=extra)
        with log.open("wb") as errors:
            process = subprocess.Popen([*argv, f"--pidfile={pidfile}"], stderr=errors)
        server = Server(f"nbd+unix:///?socket={socket}", log, process)
        deadline = time.monotonic() + START_DEADLINE
        while not pidfile.exists():  # which nbdkit writes when it listens
            if process.poll() is not None or time.monotonic() > deadline:
                server.kill()
                raise RuntimeError(f"nbdkit does not listen: {log.read_text().strip()}")
            time.sleep(0.01)
        return server

    @contextlib.contextmanager
    def serve(
        self, *, filters: Sequence[str] = (), threads: int = 32, extra: Sequence[str] = ()
    ) -> Iterator[str]:
        """The NBD URI of the disk, for as long as the context lasts. Several at once are several sessions."""
        server = self.start(filters=filters, threads=threads, extra=extra)
        try:
            yield server.uri
        finally:
            server.stop()
