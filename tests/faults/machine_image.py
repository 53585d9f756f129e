"""The machine's base image: what its one program needs, as a cpio archive (see machine.py).

Python, libnbd, nbdkit, dmsetup, mke2fs and mount with every library that they load, the packages that
transferd is installed with, and the kernel's modules, all taken from this system. It is kept in the cache
under the digest of what it is made of: package versions, kernel, and these files. Pure copying: no root, no
mount, no network.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import subprocess
import time
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from convert import cpio

ROOT = Path(__file__).parents[2]
CACHE = Path("~/.cache/transferd/machine")
PACKAGES = (
    *("python3-minimal", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
    *("python3-libnbd", "nbdkit", "dmsetup", "e2fsprogs", "util-linux", "mount"),
)
UNUSED = ("/usr/share/", "/usr/lib/systemd/", "/usr/lib/udev/", "/lib/udev/", "/etc/")
PLUGINS = {"data", "file", "memory", "null", "pattern", "random", "sparse-random"}  # others bring libraries
NOT_COPIED_BY = {"pyvmomi"}  # 6 MB that a copy never imports
MODULES = ("virtio_pci", "virtio_blk", "dm-mod", "dm-flakey", "dm-log-writes", "dm-delay")
MERGED = ("bin", "sbin", "lib", "lib64")  # links into /usr
BUILD_DEADLINE = 300.0  # s that another builder may take
TOOL_DEADLINE = 60.0  # s


class MachineError(Exception):
    """The machine did not do its work; the text ends with what it said last."""


def build() -> Path:
    """The base archive, from the cache or made now; two builders at once are one after the other."""
    cache = CACHE.expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    finished = cache / f"base-{_recipe()}.cpio"
    with _locked(cache / "lock"):
        if not finished.exists():
            for stale in cache.glob("base-*"):
                stale.unlink()
            made = finished.with_suffix(".new")
            made.write_bytes(cpio.segment([*folders_first(_base())]))
            made.rename(finished)
    return finished


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; a lock dies with its holder. MachineError when another holds it for too long."""
    until = time.monotonic() + BUILD_DEADLINE
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise MachineError(f"{path}: held for {BUILD_DEADLINE:.0f} s") from None
                time.sleep(0.5)
        yield


def _recipe() -> str:
    versions = _said("dpkg-query", "--show", *PACKAGES)
    sites = sorted(f"{each.name} {each.version}" for each in _distributions())
    parts = [versions, *sites, kernel().name, Path(__file__).read_text(), _init().read_text()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _base() -> Iterator[cpio.Entry]:
    for name in MERGED:
        yield _link(name, f"usr/{name}")
    files = [path for name in PACKAGES for path in _files_of(name)]
    yield from (entry(_merged(path), path) for path in files)
    libraries = _libraries([path for path in files if not path.is_symlink() and _is_elf(path)])
    site = [*_site_files()]
    extensions = _libraries([path for _, path in site if path.suffix == ".so"])
    yield from (entry(_merged(path), path.resolve()) for path in sorted(libraries | extensions))
    yield from (entry(f"site/{name}", path) for name, path in site)
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
    words = [
        word for line in lines for word in line.split() if word.startswith("/") and not word.endswith(":")
    ]
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
    return Path("/lib/modules", kernel().name.removeprefix("vmlinuz-"))


def kernel() -> Path:
    found = [
        path for path in sorted(Path("/boot").glob("vmlinuz-*"))
        if (Path("/lib/modules") / path.name.removeprefix("vmlinuz-") / "modules.dep").is_file()
    ]  # fmt: skip
    if not found:
        raise LookupError("no kernel with modules in /boot: install linux-image-cloud-amd64")
    return found[-1]


def _init() -> Path:
    return Path(__file__).with_name("machine_init.py")


def folders_first(entries: Iterable[cpio.Entry]) -> Iterator[cpio.Entry]:
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


def entry(name: str, path: Path) -> cpio.Entry:
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
        argv,
        capture_output=True,
        text=True,
        timeout=TOOL_DEADLINE,
        check=False,
        env=os.environ | {"LC_ALL": "C"},
    )
    if done.returncode and argv[0] != "ldd":
        raise MachineError(f"{argv[0]}: {done.stderr}")
    return done.stdout
