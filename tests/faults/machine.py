"""A small machine of our own, for faults that only a kernel can make: device mapper over virtual disks.

`run` boots Debian's cloud kernel under QEMU and gives what a script of this checkout printed as JSON. There
is no root disk: everything lives in the initramfs, which is three cpio archives one after the other.

    base     Python, libnbd, nbdkit, dmsetup, transferd's dependencies and the kernel's modules: 150 MB, made
             once from this system's own packages (machine_image.py)
    project  the checkout's transferd/ and tests/, made anew for each run
    job      the command line

The script is the machine's only program besides /init (machine_init.py). It finds the disks as /dev/vda,
/dev/vdb, ... and keeps what it wrote to them; its standard output must be one JSON value. A boot takes about
15 s without KVM, so one script runs many cases.

KVM is not used: where it hangs, it looks present. QEMU runs in its sandbox, has no network, ends with this
process, and is killed at the deadline. No root is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from convert import cpio
from tests.faults.machine_image import ROOT, MachineError, build, entry, folders_first, kernel

TOOLS = ("qemu-system-x86_64", "setpriv", "ldd", "dpkg", "dmsetup", "nbdkit", "mke2fs")
MEMORY = 1536  # MiB
CONSOLE_TAIL = 4000  # characters


def unavailable() -> str | None:
    """Why there can be no machine here, or None."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_search_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        return None if kernel().is_file() else "no kernel"
    except LookupError as error:
        return str(error)


def run(script: Path, *arguments: str, disks: Sequence[Path] = (), deadline: float = 300.0) -> Any:
    """What `script`, a file of this checkout, prints as JSON. MachineError if it fails or takes too long."""
    argv = ["/usr/bin/python3", "-P", f"/project/{script.resolve().relative_to(ROOT)}", *arguments]
    job = {"argv": argv, "env": {"PYTHONPATH": "/project:/site", "PATH": "/usr/sbin:/usr/bin"}}
    base = build()
    with tempfile.TemporaryDirectory() as folder:
        initrd, report, console = (Path(folder, name) for name in ("initrd", "report", "console"))
        with initrd.open("wb") as image:
            with base.open("rb") as archive:
                shutil.copyfileobj(archive, image)
            image.write(cpio.segment([*_project(), cpio.file("job.json", json.dumps(job).encode())]))
        _boot(_qemu(initrd, report, console, disks), console, deadline)
        return _result(report, console)


def _qemu(initrd: Path, report: Path, console: Path, disks: Sequence[Path]) -> list[str]:
    drives = [
        f"if=virtio,format=raw,cache=unsafe,discard=unmap,file={str(disk.resolve()).replace(',', ',,')}"
        for disk in disks
    ]
    return [
        *(
            "setpriv",
            "--pdeathsig=KILL",
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
        ),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", str(MEMORY), "-display", "none"),
        *("-serial", f"file:{console}", "-serial", f"file:{report}"),
        *("-kernel", str(kernel()), "-initrd", str(initrd)),
        # A panic reboots, which -no-reboot makes the end.
        *("-append", "console=ttyS0 rdinit=/init panic=-1 loglevel=5 mitigations=off random.trust_cpu=on"),
        *(word for drive in drives for word in ("-drive", drive)),
    ]


def _boot(command: list[str], console: Path, deadline: float) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=deadline, check=False)
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"not finished within {deadline:.0f} s: {_tail(console)}") from error
    if done.returncode:
        raise MachineError(f"QEMU failed: {done.stderr.decode(errors='replace')}")


def _result(report: Path, console: Path) -> Any:
    try:
        done = json.loads(report.read_text(errors="replace"))
    except ValueError as error:
        raise MachineError(f"it said nothing: {_tail(console)}") from error
    if done["status"]:
        raise MachineError(f"the script ended with {done['status']}: {_tail(console)}")
    return json.loads(done["out"])


def _tail(console: Path) -> str:
    return console.read_text(errors="replace")[-CONSOLE_TAIL:] if console.exists() else "no console"


def _project() -> Iterator[cpio.Entry]:
    paths = [path for name in ("transferd", "tests") for path in sorted((ROOT / name).rglob("*.py"))]
    entries = [entry(f"project/{path.relative_to(ROOT)}", path) for path in paths]
    yield from folders_first(entries)


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
