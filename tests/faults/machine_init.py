"""The machine's first program (see machine.py): mounts, loads modules, runs the job, tells, switches off.

Runs as /init under a plain Python with nothing but the standard library. The kernel could not open a console
for it (there is no /dev yet), so that is its first business. Whatever happens, it ends in a power-off: what
went wrong stands on the console.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import traceback
from pathlib import Path

MOUNTS = (("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp"), ("tmpfs", "/run"))  # noqa: S108
FINIT_MODULE = 313  # x86-64: asm/unistd_64.h
POWER_OFF = 0x4321FEDC  # linux/reboot.h
REPORT = Path("/dev/ttyS1")

libc = ctypes.CDLL(None, use_errno=True)


def attempted(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount() -> None:
    for kind, place in MOUNTS:
        Path(place).mkdir(exist_ok=True)
        attempted(libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None), f"mount {place}")
    console = os.open("/dev/ttyS0", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(console, standard)


def load_modules() -> None:
    for name in Path("/modules/order").read_text().split():
        with Path("/modules", name).open("rb") as module:
            attempted(libc.syscall(FINIT_MODULE, module.fileno(), b"", 0), f"load {name}")


def job() -> dict[str, object]:
    """What the job writes to stderr goes to the console, where it can be read while it runs."""
    task = json.loads(Path("/job.json").read_text())
    done = subprocess.run(
        task["argv"],
        env=task["env"],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
        cwd="/",
    )
    return {"status": done.returncode, "out": done.stdout}


def main() -> None:
    mount()
    try:
        load_modules()
        report = job()
    except Exception:  # noqa: BLE001 (the last border: behind it there is only the power switch)
        traceback.print_exc()
        report = {"status": 70, "out": ""}
    REPORT.write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    try:
        main()
    finally:
        os.sync()
        libc.reboot(POWER_OFF)
