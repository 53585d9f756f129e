"""One disk of the vSphere double, read as transferd reads it: nbdkit, its real vddk plugin, libnbd."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.doubles import artifacts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.doubles.vsphere import VSphere

DEADLINE = 20.0  # seconds


class Refused(Exception):  # noqa: N818 (an answer, not a fault)
    """nbdkit would not serve the disk; the text is what it wrote."""


@contextmanager
def served(vsphere: VSphere, folder: Path, **settings: str) -> Iterator[Any]:
    """A connected nbd.NBD to the disk that `vm`, `file` and `snapshot` name, or Refused with nbdkit's words.

    The settings are those of nbdkit's vddk plugin, and replace the right ones. `folder` takes the socket.
    """
    nbd = _require_nbd()
    log, socket = folder / "nbdkit.log", folder / "nbd"
    with log.open("w") as errors:
        server = subprocess.Popen(_nbdkit_argv(vsphere, folder, settings), stderr=errors)
    try:
        _wait_for(socket, server, log)
        connection = nbd.NBD()
        connection.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        try:
            connection.connect_unix(str(socket))
        except nbd.Error as error:
            raise Refused(log.read_text()) from error
        try:
            yield connection
        finally:
            # nbdkit stops only when its clients have gone.
            connection.shutdown(nbd.SHUTDOWN_ABANDON_PENDING)
    finally:
        server.terminate()
        server.wait(DEADLINE)
        socket.unlink(missing_ok=True)


def allocated(connection: Any) -> list[tuple[int, int]]:
    """(offset, length) of everything that is no hole, merged."""
    nbd = _require_nbd()
    found: list[tuple[int, int]] = []
    position, size = 0, connection.get_size()

    def extents(_context: str, offset: int, entries: list[int], _error: Any) -> None:
        nonlocal position
        for length, flags in zip(entries[::2], entries[1::2], strict=True):
            if not flags & nbd.STATE_HOLE:
                joins = bool(found) and sum(found[-1]) == offset
                start, before = found.pop() if joins else (offset, 0)
                found.append((start, before + length))
            offset += length
        position = offset

    while position < size:
        connection.block_status(size - position, position, extents)
    return found


def _nbdkit_argv(vsphere: VSphere, folder: Path, settings: dict[str, str]) -> list[str]:
    config = folder / "vddk.ini"
    config.write_text("".join(f'{key} = "{value}"\n' for key, value in vsphere.vddk_config().items()))
    address = urlsplit(vsphere.url)
    right = {
        "libdir": str(vsphere.libdir),
        "config": str(config),
        "server": str(address.hostname),
        "port": str(address.port),
        "user": vsphere.username,
        "password": f"+{vsphere.password_file}",
        "thumbprint": vsphere.thumbprint,
        "transports": "nbdssl:nbd",
    }
    options = ["-f", "-r", "--exit-with-parent", "-t", "32", "-U", str(folder / "nbd")]
    given = [f"{key}={value}" for key, value in (right | settings).items()]
    return ["nbdkit", *options, str(artifacts.VDDK_PLUGIN), *given]


def _require_nbd() -> Any:
    """libnbd's binding; a missing tool skips the test, and fails it in CI."""
    missing = [] if shutil.which("nbdkit") else ["nbdkit"]
    missing += [] if importlib.util.find_spec("nbd") else ["python3-libnbd"]
    missing += [] if artifacts.VDDK_PLUGIN.exists() else [f"{artifacts.VDDK_PLUGIN} (build-vddk-plugin.sh)"]
    if missing:
        report = pytest.fail if "CI" in os.environ else pytest.skip
        report(f"missing: {', '.join(missing)}")
    return importlib.import_module("nbd")


def _wait_for(socket: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not socket.exists() and server.poll() is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nbdkit opens no socket: {log.read_text()}")
        time.sleep(0.02)
