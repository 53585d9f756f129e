"""An nbdkit of a test's own: serves until it is killed, and ends with the process that started it."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from typing import Self


class NbdServer:
    """Listening on `uri` as soon as it is made; `start` again after `kill`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.socket = folder / "nbd.sock"
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self._argv = ["nbdkit", "-f", "--exit-with-parent", "-U", str(self.socket), *arguments]
        self.start()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while not self._listens():
            assert self.process.poll() is None, "nbdkit ended at once"
            assert time.monotonic() < until, "nbdkit does not listen"
            time.sleep(0.01)

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
