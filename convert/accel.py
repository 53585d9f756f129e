"""Whether KVM works here, found out by booting a kernel on it once.

/dev/kvm may exist, open, and then hang the guest: nested virtualization half switched on does that. So a
kernel of this machine is started without a disk, and KVM is believed only if that kernel speaks within the
deadline (it then panics for want of a root, and QEMU exits). The verdict is remembered for this boot of the
machine and this QEMU. Where no kernel is readable there is nothing to try, and TCG is the safe answer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FORCE_TCG = ("force_tcg",)
# A kernel under working KVM prints its first line well within a second.
DEADLINE = 20.0
KERNEL_SPEAKS = b"Linux version "
EMULATOR = "qemu-system-x86_64"


def backend_settings() -> tuple[str, ...]:
    """What libguestfs must be told: nothing where KVM works, `force_tcg` elsewhere."""
    return () if kvm_works() else FORCE_TCG


def kvm_works() -> bool:
    emulator = shutil.which(EMULATOR)
    if emulator is None or not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    key = f"{boot} {Path(emulator).stat().st_mtime_ns}"
    memory = _memory()
    verdict = _recall(memory, key)
    if verdict is None:
        kernel = _newest_kernel()
        verdict = kernel is not None and speaks(emulator, kernel)
        _remember(memory, key, verdict)
    return verdict


def _memory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "transferd" / "accel.json"


def _recall(memory: Path, key: str) -> bool | None:
    try:
        known = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    verdict = known.get(key) if isinstance(known, dict) else None
    return verdict if isinstance(verdict, bool) else None


def _remember(memory: Path, key: str, verdict: bool) -> None:
    """A memory that cannot be written costs the next run one more probe, and nothing else."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=memory.parent, delete=False) as new:
            json.dump({key: verdict}, new)
        Path(new.name).replace(memory)
    except OSError:
        return


def _newest_kernel() -> Path | None:
    kernels = [path for path in Path("/boot").glob("vmlinuz-*") if os.access(path, os.R_OK)]
    return max(kernels, key=lambda path: path.stat().st_mtime_ns, default=None)


def argv(emulator: str, kernel: Path) -> list[str]:
    return [
        emulator,
        *("-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
        # No defaults: no disk, no network, nothing but the serial line that we listen to.
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"),
    ]


def speaks(emulator: str, kernel: Path) -> bool:
    with tempfile.TemporaryFile() as console:
        try:
            subprocess.run(
                argv(emulator, kernel),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.DEVNULL,
                timeout=DEADLINE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        console.seek(0)
        return KERNEL_SPEAKS in console.read()
