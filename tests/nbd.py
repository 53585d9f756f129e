"""An nbdkit of a test's own: serves until it is killed, and ends with the process that started it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Self


class NbdServer:
    """Listening on `uri` as soon as it is made; `start` again after `kill`.

    It ends with the thread that started it (PR_SET_PDEATHSIG): keep that thread alive.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.socket = folder / "nbd.sock"
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self._pidfile = folder / "nbd.pid"
        self._argv = ["nbdkit", "-f", "--exit-with-parent", "-U", str(self.socket), "-P", str(self._pidfile),
                      *arguments]  # fmt: skip
        self.start()

    def start(self) -> None:
        self._pidfile.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while not self._pidfile.exists():  # which nbdkit writes when it listens
            assert self.process.poll() is None, "nbdkit ended at once"
            assert time.monotonic() < until, "nbdkit does not listen"
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def our_nbdkits() -> list[str]:
    """Command lines of the nbdkit processes whose socket transferd made."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"nbdkit") and any(b"/transferd-" in word for word in words):
            found.append(b" ".join(words).decode())
    return found


def nbdkits_of(running: subprocess.Popen[str]) -> list[int]:
    """By what they call themselves: the vddk plugin has nbdkit execute itself again as /proc/self/exe."""
    lists = Path(f"/proc/{running.pid}/task").glob("*/children")  # each thread has its own
    children = [Path("/proc", child) for each in lists for child in each.read_text().split()]
    return [int(each.name) for each in children if (each / "cmdline").read_bytes().startswith(b"nbdkit\0")]
