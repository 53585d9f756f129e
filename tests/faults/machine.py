"""A small machine of our own, for faults that only a kernel can make: device mapper over virtual disks.

`run` boots Debian's cloud kernel under QEMU and gives what a script of this checkout printed as JSON. There
is no root disk: everything lives in the initramfs, which is three cpio archives one after the other.

    base     Python, libnbd, nbdkit, dmsetup, mkfs and mount with every library that they load, the
             packages that transferd is installed with, and the kernel modules: some 100 MB, taken from
             this system's own packages once and kept in the cache under the digest of their versions
    project  the checkout's transferd/ and tests/, made anew for each run
    job      the command line

The script is the machine's only program besides /init (machine_init.py). It finds the disks as /dev/vda,
/dev/vdb, ... and keeps what it wrote to them; its standard output must be one JSON value. A boot takes about
15 s without KVM, so one script runs many cases.

KVM is not used: where it hangs, it looks present. QEMU runs in its sandbox, has no network, ends with this
process, and is killed at the deadline. No root is needed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from convert import cpio

ROOT = Path(__file__).parents[2]
CACHE = Path("~/.cache/transferd/machine")
TOOLS = ("qemu-system-x86_64", "setpriv", "ldd", "dpkg", "dmsetup", "nbdkit", "mke2fs")

PACKAGES = (
    *("python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
    *("python3-libnbd", "nbdkit", "dmsetup", "e2fsprogs", "util-linux", "mount"),
)
UNUSED = ("/usr/share/", "/usr/lib/systemd/", "/usr/lib/udev/", "/lib/udev/", "/etc/")
PLUGINS = ("data", "file", "memory", "null", "pattern", "random", "sparse-random")  # of nbdkit; each has needs
NOT_COPIED_BY = {"pyvmomi"}  # 6 MB that a copy never imports
MODULES = (
    *("virtio_pci", "virtio_blk", "loop", "brd"),
    *("dm-mod", "dm-flakey", "dm-log-writes", "dm-delay"),
)
MERGED = ("bin", "sbin", "lib", "lib64")  # links into /usr
MEMORY = 1536  # MiB
BUILD_DEADLINE = 300.0  # s; another builder may be at work
TOOL_DEADLINE = 60.0
CONSOLE_TAIL = 4000


class MachineError(Exception):
    """The machine did not do its work; the text ends with what it said last."""


def unavailable() -> str | None:
    """Why there can be no machine here, or None."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_search_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        return None if _kernel().is_file() else "no kernel"
    except LookupError as error:
        return str(error)


def run(script: Path, *arguments: str, disks: Sequence[Path] = (), deadline: float = 300.0) -> Any:
    """What `script`, a file of this checkout, prints as JSON. MachineError if it fails or takes too long."""
    argv = ["/usr/bin/python3", "-P", f"/project/{script.resolve().relative_to(ROOT)}", *arguments]
    job = {"argv": argv, "env": {"PYTHONPATH": "/project:/site", "PATH": "/usr/sbin:/usr/bin", "HOME": "/tmp"}}  # noqa: S108
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
        *("setpriv", "--pdeathsig=KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-M", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", str(MEMORY), "-display", "none"),
        *("-serial", f"file:{console}", "-serial", f"file:{report}"),
        *("-kernel", str(_kernel()), "-initrd", str(initrd)),
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
        raise MachineError(f"the script ended with {done['status']}: {done['err'][-CONSOLE_TAIL:]}")
    return json.loads(done["out"])


def _tail(console: Path) -> str:
    return console.read_text(errors="replace")[-CONSOLE_TAIL:] if console.exists() else "no console"


# --- the base ----------------------------------------------------------------------------------------------


def build() -> Path:
    """The base archive, from the cache or made now; two builders at once are one after the other."""
    cache = CACHE.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    finished = cache / f"base-{_recipe()}.cpio"
    with _locked(cache / "lock"):
        if not finished.exists():
            made = finished.with_suffix(".new")
            made.write_bytes(cpio.segment([*_folders_first(_base())]))
            made.rename(finished)
    return finished


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Ends with OSError (EINTR, by the caller's alarm) at the latest; a lock dies with its holder."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _recipe() -> str:
    versions = _said("dpkg-query", "--show", *PACKAGES)
    sites = sorted(f"{each.name} {each.version}" for each in _distributions())
    parts = [versions, *sites, _kernel().name, Path(__file__).read_text(), _init().read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _base() -> Iterator[cpio.Entry]:
    for name in MERGED:
        yield _link(name, f"usr/{name}")
    files = [path for name in PACKAGES for path in _files_of(name)]
    yield from (_entry(_merged(path), path) for path in files)
    libraries = _libraries([path for path in files if not path.is_symlink() and _is_elf(path)])
    site = [*_site_files()]
    extensions = _libraries([path for _, path in site if path.suffix == ".so"])
    yield from (_entry(_merged(path), path.resolve()) for path in sorted(libraries | extensions))
    yield from (_entry(f"site/{name}", path) for name, path in site)
    yield from _modules()
    yield cpio.file("init", b"#!/usr/bin/python3 -I\n" + _init().read_bytes(), 0o755)
    yield from (cpio.folder(name) for name in ("dev", "proc", "sys", "tmp", "run", "etc"))


def _files_of(package: str) -> Iterator[Path]:
    for line in _said("dpkg", "--listfiles", package).splitlines():
        path = Path(line)
        plugin = path.name.removeprefix("nbdkit-").removesuffix("-plugin.so")
        unused = line.startswith(UNUSED) or ("/nbdkit/plugins/" in line and plugin not in PLUGINS)
        if not unused and line[1:] not in MERGED and (path.is_symlink() or path.is_file()):
            yield path


def _site_files() -> Iterator[tuple[str, Path]]:
    for distribution in _distributions():
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if file.parts[0] != ".." and path.suffix != ".pyc" and path.is_file():
                yield str(file), path


def _distributions() -> list[metadata.Distribution]:
    """What pyproject.toml says that transferd depends on, and what that depends on in turn."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found: dict[str, metadata.Distribution] = {}
    while wanted:
        requirement = wanted.pop()
        name = requirement.split(";")[0].strip().split("[")[0]
        name = name[: next((i for i, c in enumerate(name) if c in " <>=!~("), len(name))]
        if name.lower() in NOT_COPIED_BY or name.lower() in found or "extra ==" in requirement:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python
        found[name.lower()] = distribution
        wanted += distribution.requires or ()
    return [found[name] for name in sorted(found)]


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """Shared libraries that the dynamic loader finds for these, and the loader itself."""
    lines = _said("ldd", *map(str, binaries)).splitlines()
    words = [word for line in lines for word in line.split() if word.startswith("/") and not word.endswith(":")]
    return {Path(word) for word in words}


def _modules() -> Iterator[cpio.Entry]:
    """The modules and, in the order of loading, their names."""
    folder = _module_folder()
    needs = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        needs[Path(module).name.partition(".")[0].replace("-", "_")] = (module, rest.split())
    builtin = (folder / "modules.builtin").read_text().replace("-", "_")
    order: list[str] = []
    for name in MODULES:
        key = name.replace("-", "_")
        if key not in needs:
            if f"/{key}.ko" not in builtin:
                raise LookupError(f"the kernel {folder.name} has no module {name}")
            continue
        module, dependencies = needs[key]
        order += [each for each in (*reversed(dependencies), module) if each not in order]
    yield cpio.file("modules/order", "\n".join(Path(each).name for each in order).encode())
    yield from (cpio.file(f"modules/{Path(each).name}", (folder / each).read_bytes()) for each in order)


def _module_folder() -> Path:
    return Path("/lib/modules", _kernel().name.removeprefix("vmlinuz-"))


def _kernel() -> Path:
    found = [
        path for path in sorted(Path("/boot").glob("vmlinuz-*"))
        if (Path("/lib/modules") / path.name.removeprefix("vmlinuz-") / "modules.dep").is_file()
    ]  # fmt: skip
    if not found:
        raise LookupError("no kernel with modules in /boot: install linux-image-cloud-amd64")
    return found[-1]


def _init() -> Path:
    return Path(__file__).with_name("machine_init.py")


# --- archives ----------------------------------------------------------------------------------------------


def _project() -> Iterator[cpio.Entry]:
    paths = [path for name in ("transferd", "tests") for path in sorted((ROOT / name).rglob("*.py"))]
    entries = [_entry(f"project/{path.relative_to(ROOT)}", path) for path in paths]
    yield from _folders_first(entries)


def _folders_first(entries: Iterable[cpio.Entry]) -> Iterator[cpio.Entry]:
    """Each entry once, after the folders that lead to it."""
    seen: set[str] = set()
    for entry in entries:
        parents = [str(parent) for parent in reversed(Path(entry.name).parents) if str(parent) != "."]
        for name in parents:
            if name not in seen:
                seen.add(name)
                yield cpio.folder(name)
        if entry.name not in seen:
            seen.add(entry.name)
            yield entry


def _entry(name: str, path: Path) -> cpio.Entry:
    if path.is_symlink():
        return _link(name, str(path.readlink()))
    return cpio.file(name, path.read_bytes(), stat.S_IMODE(path.stat().st_mode))


def _link(name: str, target: str) -> cpio.Entry:
    return cpio.Entry(name, stat.S_IFLNK | 0o777, target.encode())


def _merged(path: Path) -> str:
    """Where /usr-merged systems have it: dpkg still says /bin, the archive has links there."""
    name = str(path).lstrip("/")
    return f"usr/{name}" if name.split("/")[0] in MERGED else name


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _said(*argv: str) -> str:
    """Standard output. ldd fails for static programs, and says about the others what it knows."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=TOOL_DEADLINE, check=False, env=os.environ | {"LC_ALL": "C"}
    )
    if done.returncode and argv[0] != "ldd":
        raise MachineError(f"{argv[0]}: {done.stderr}")
    return done.stdout


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
