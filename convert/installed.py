"""The kernels that a guest has: each with its image, its modules and its initramfs.

An image is in /boot or where a boot entry says. Its name may hold the version (vmlinuz-6.1.0-50-amd64), its
folder may (kernel-install's MACHINE/VERSION/linux), or neither does (Arch's vmlinuz-linux, Alpine's
vmlinuz-lts, the rescue image of the Red Hat family): then the image itself tells it. What counts as the
version is the name of a folder of modules; without one a kernel cannot be proven, and is left out.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.loaders import uki
from convert.loaders.menu import Places, version_key
from convert.tree import MIB
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convert.loaders.menu import Entry
    from convert.tree import Tree

BOOT = "/boot"
MODULES = ("/usr/lib/modules", "/lib/modules")
IMAGE = re.compile(r"(?:vmlinu[xz]|kernel|bzImage|Image)(?:-(.+))?")
INITRDS = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}", "initramfs-{}", "initramfs-genkernel-x86_64-{}")
# Kernel images have 5 to 20 MiB; one that holds its own initramfs has more.
IMAGE_LIMIT = 128 * MIB
# The x86 boot protocol (Documentation/arch/x86/boot.rst): magic, and where the version's text is kept.
HEADER = slice(0x202, 0x206)
HEADER_MAGIC = b"HdrS"
VERSION_POINTER = slice(0x20E, 0x210)
SETUP = 0x200
VERSION_LIMIT = 256
# An early part of the initramfs, which holds no driver.
MICROCODE = re.compile(r"ucode|microcode")
RESCUE = re.compile(r"rescue|recovery|failsafe|memtest", re.IGNORECASE)
# Images that a kernel's modules are looked for in; a guest with more is none.
LIMIT = 128
# What a package leaves beside the modules or the image, and `make install` does not.
PACKAGED = (
    "/var/lib/dpkg/info/linux-image-{}.list",
    "/var/lib/dpkg/info/linux-image-unsigned-{}.list",
    "/boot/symvers-{}.gz",
    "/boot/symvers-{}.xz",
    "/boot/linux-{}.cfg",
    "{modules}/pkgbase",
    "{modules}/symvers.gz",
    "{modules}/symvers.xz",
    "{modules}/vmlinuz",
)
ALPINE_RELEASES = "/usr/share/kernel"


@dataclass(frozen=True)
class Kernel:
    """A kernel that the boot loader can start. `modules` is its folder, `initrd` the image's real path; of a
    unified kernel image it is the image. `packaged`: it came from the distribution, not from a compiler."""

    version: str
    image: str
    modules: str
    initrd: str | None
    default: bool
    packaged: bool = True


def kernels(tree: Tree, entries: Sequence[Entry]) -> tuple[Kernel, ...]:
    """Kernels with modules, in the order of their images' names.

    The default is what the boot loader starts; none is, where that has no modules. Only where no boot loader
    was understood it is the newest.
    """
    return _Search(tree, entries).found()


class _Search:
    def __init__(self, tree: Tree, entries: Sequence[Entry]) -> None:
        self.tree = tree
        self.places = Places(tree)
        self.entries = {self.places.real(entry.kernel): entry for entry in reversed(entries) if entry.kernel}
        started = next((entry for entry in entries if entry.default), None)
        self.default = self.places.real(started.kernel) if started else None
        self.versions = {
            version: f"{folder}/{version}" for folder in reversed(MODULES) for version in tree.names(folder)
        }

    def found(self) -> tuple[Kernel, ...]:
        images = dict.fromkeys([*self._images(), *(path for path in self.entries if self.places.has(path))])
        if len(images) > LIMIT:
            raise ConversionError(f"the guest has more than {LIMIT} kernels", operation="inspect")
        known = self._usable([(path, version) for path in images if (version := self._version(path))])
        default = self._default(known)
        return tuple(self._kernel(path, version, default == path) for path, version in known)

    def _usable(self, known: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Without copies that no entry starts, beside one that an entry does (kernel-install makes them), and
        without rescue images, which are `linux.rescue`'s, unless one is what starts."""
        started = {version for path, version in known if path in self.entries}
        return [
            (path, version)
            for path, version in known
            if (path in self.entries or version not in started)
            and (path == self.default or not RESCUE.search(posixpath.basename(path)))
        ]

    def _default(self, known: list[tuple[str, str]]) -> str | None:
        """By its name alone where the entry's path leads nowhere: the loader may see it from another top."""
        if self.default is None:
            return max(known, key=lambda one: version_key(one[1]), default=(None, ""))[0]
        name = posixpath.basename(self.default)
        named = [path for path, _ in known if posixpath.basename(path) == name]
        return next((path for path in named if path == self.default), named[0] if len(named) == 1 else None)

    def _images(self) -> Iterator[str]:
        """Files of /boot; a link leads to one of them."""
        for name in self.tree.names(BOOT):
            path = f"{BOOT}/{name}"
            if IMAGE.fullmatch(name) and self.tree.link(path) is None:
                yield path

    def _version(self, path: str) -> str | None:
        name, folder = posixpath.basename(path), posixpath.basename(posixpath.dirname(path))
        match = IMAGE.fullmatch(name)
        told = [*([match[1] or ""] if match else []), folder]
        return next((version for version in told if self._has_modules(version)), None) or self._read(path)

    def _read(self, path: str) -> str | None:
        if path.lower().endswith(".efi"):
            version = uki.version(self.tree, path)
        elif posixpath.basename(path).startswith("vmlinux"):
            return None  # an ELF file for debuggers
        else:
            version = version_of(self.tree.read(path, IMAGE_LIMIT) or b"")
        return version if version and self._has_modules(version) else None

    def _has_modules(self, version: str) -> bool:
        return version in self.versions and self.places.has(f"{self.versions[version]}/modules.dep")

    def _kernel(self, path: str, version: str, default: bool) -> Kernel:
        return Kernel(
            version,
            path,
            self.versions[version],
            self._initrd(path, version),
            default,
            self._packaged(version),
        )

    def _initrd(self, path: str, version: str) -> str | None:
        """What the entry names, else what the image's own name, or the version, leads to."""
        entry = self.entries.get(path)
        named = (
            [initrd for initrd in reversed(entry.initrds) if not MICROCODE.search(initrd)] if entry else []
        )
        folder, name = posixpath.split(path)
        match = IMAGE.fullmatch(name)
        own = match[1] if match and match[1] else version
        named += [f"{folder}/{pattern.format(key)}" for key in (own, version) for pattern in INITRDS]
        return next((self.places.real(initrd) for initrd in named if self.places.has(initrd)), None)

    def _packaged(self, version: str) -> bool:
        modules = self.versions[version]
        paths = (pattern.format(version, modules=modules) for pattern in PACKAGED)
        return any(self.places.has(path) for path in paths) or self._alpine(version)

    def _alpine(self, version: str) -> bool:
        flavour = version.rpartition("-")[2]
        return self.places.has(f"{ALPINE_RELEASES}/{flavour}/kernel.release")


def version_of(image: bytes) -> str | None:
    """The version that an x86 kernel image tells of itself, None for anything else."""
    if image[HEADER] != HEADER_MAGIC:
        return None
    start = int.from_bytes(image[VERSION_POINTER], "little") + SETUP
    words = image[start : start + VERSION_LIMIT].partition(b"\0")[0].decode("ascii", "replace").split()
    return words[0] if words else None
