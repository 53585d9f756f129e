"""UEFI finds the guest's loader without NVRAM: at EFI/BOOT/BOOTX64.EFI, the path for removable media.

A guest that was installed by UEFI boots by an entry in NVRAM, which stays behind with the old machine. What
the new one tries is the fallback loader (UEFI specification 3.5.1.1). It is kept where there is one. Else it
is made of the guest's own files, byte for byte, so that their signatures hold:

- shim as BOOTX64.EFI, and beside it grub under its own name, which is the one that this shim starts (shim,
  DEFAULT_LOADER), and MokManager. Not shim's fallback program: it writes NVRAM and resets the machine,
  without an end where NVRAM does not last (shim issue 545).
- without shim, the grub that grub-install made, systemd-boot, or a unified kernel image alone.

grub finds its configuration from there too. Distributions' signed images have the vendor's folder built in
(`strings` shows /EFI/debian in Debian's), and SUSE's reads the folder that it was started from; so a grub.cfg
that only leads on to /boot is copied beside it. A whole grub.cfg stays where the guest's updates find it.

A shim that is there and could start nothing gets its grub.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.loaders import efi
from convert.plan import Change, Contribution
from convert.tree import MIB
from transferd.errors import ConversionError
from transferd.model import Firmware, Warning_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convert.inspection import Inspection
    from convert.tree import Tree
    from convert.wishes import Wishes

STEP = "fallback loader"
# shim has 1 MiB, grub 4; a unified kernel image that becomes the fallback has 60.
LOADER_LIMIT = 128 * MIB
# Left free on the EFI system partition, so that the guest's own updates can begin.
SPARE = MIB
# FAT shows every file as executable, and refuses to change that (kernel, fs/fat/file.c, fat_allow_set_mode).
MODE = 0o755
NO_VENDOR = frozenset({"boot", "linux", "microsoft", "systemd", "tools", "loader"})
# Where the folder on the EFI system partition is not the ID of os-release.
VENDORS = {
    "rhel": "redhat",
    "ol": "redhat",
    "scientific": "redhat",
    "sles": "sles",
    "opensuse-leap": "opensuse",
}
REASON = "the new machine has no boot entries; its firmware starts the fallback loader"


@dataclass(frozen=True)
class Names:
    """What files are called on one architecture, newer names first."""

    fallback: str
    shim: tuple[str, ...]
    grub: tuple[str, ...]
    mok: tuple[str, ...]
    second: tuple[str, ...]
    menus: tuple[str, ...]
    systemd_boot: str


def _names(arch: str, upper: str) -> Names:
    return Names(
        fallback=f"BOOT{upper}.EFI",
        shim=(f"shim{arch}.efi", "shim.efi"),
        grub=(f"grub{arch}.efi", "grub.efi"),
        mok=(f"mm{arch}.efi", "MokManager.efi"),
        second=(f"fb{arch}.efi", "fallback.efi"),
        menus=(f"BOOT{upper}.CSV", "BOOT.CSV"),
        systemd_boot=f"systemd-boot{arch}.efi",
    )


NAMES = {"x86_64": _names("x64", "X64"), "aarch64": _names("aa64", "AA64"), "i386": _names("ia32", "IA32")}


class Esp:
    """The EFI system partition, whose names have no case."""

    def __init__(self, tree: Tree, top: str) -> None:
        self.tree = tree
        self.efi = self._named(top, "EFI") or f"{top}/EFI"
        self.boot = self._named(self.efi, "BOOT") or f"{self.efi}/BOOT"

    def find(self, folder: str, *names: str) -> str | None:
        """The first of these files that is in the folder."""
        return next((path for name in names if (path := self._named(folder, name))), None)

    def vendors(self) -> list[str]:
        return [f"{self.efi}/{name}" for name in self.tree.names(self.efi) if name.lower() not in NO_VENDOR]

    def holds(self, path: str, mark: bytes) -> bool:
        return efi.holds(self.tree, path, mark)

    def _named(self, folder: str, name: str) -> str | None:
        found = next((have for have in self.tree.names(folder) if have.lower() == name.lower()), None)
        return found and f"{folder}/{found}"


def keep_a_loader(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:  # noqa: ARG001 (a step)
    """Let UEFI find the boot loader."""
    names = NAMES.get(inspection.arch or "")
    if inspection.firmware is not Firmware.EFI or names is None:
        return Contribution()
    if inspection.esp is None:
        return Contribution(warnings=(_warning("its EFI system partition is not mounted by the guest"),))
    esp = Esp(tree, inspection.esp)
    if problem(esp, names) is None:
        return Contribution()
    try:
        changes = tuple(_made(esp, names, inspection))
        _demand_space(tree, inspection.esp, changes)
    except ConversionError as error:
        return Contribution(warnings=(_warning(error.problem),))
    return Contribution(changes)


def missing(tree: Tree, inspection: Inspection) -> str | None:
    """Why the firmware of a new machine would start nothing; None where it would, or where it is a BIOS."""
    names = NAMES.get(inspection.arch or "")
    if inspection.firmware is not Firmware.EFI or names is None:
        return None
    if inspection.esp is None:
        return "its EFI system partition is not mounted by the guest"
    return problem(Esp(tree, inspection.esp), names)


def problem(esp: Esp, names: Names) -> str | None:
    fallback = esp.find(esp.boot, names.fallback)
    if fallback is None:
        return f"there is no EFI/BOOT/{names.fallback}"
    if not esp.holds(fallback, efi.SHIM) or esp.find(esp.boot, *names.grub):
        return None
    if esp.find(esp.boot, *names.second) and any(_leads_on(esp, vendor, names) for vendor in esp.vendors()):
        return None
    return f"EFI/BOOT/{names.fallback} is a shim with nothing to start"


def _leads_on(esp: Esp, vendor: str, names: Names) -> bool:
    """Whether shim's fallback program finds a loader here: the first field of a line of its CSV names it."""
    menu = esp.find(vendor, *names.menus)
    content = (esp.tree.read(menu) or b"").decode("utf-16", "replace") if menu else ""
    return any(esp.find(vendor, line.partition(",")[0].strip()) for line in content.splitlines() if line)


def _made(esp: Esp, names: Names, inspection: Inspection) -> Iterator[Change]:
    fallback = esp.find(esp.boot, names.fallback)
    vendor = _vendor(esp, names, inspection)
    if vendor is None:
        if fallback is not None:
            raise ConversionError(f"{fallback} is a shim, and there is no loader for it to start")
        yield _copy(esp, _alone(esp, names, inspection), names.fallback)
        return
    shim, grub = esp.find(vendor, *names.shim), esp.find(vendor, *names.grub)
    if grub is None:
        raise ConversionError(f"{shim} has no loader beside it that it could start")
    if fallback is None:
        yield _copy(esp, shim or grub, names.fallback)
    if shim is not None:
        beside = [grub, *(esp.find(vendor, name) for name in names.mok)]
        for path in beside:
            if path is not None and not esp.find(esp.boot, posixpath.basename(path)):
                yield _copy(esp, path, posixpath.basename(path))
    yield from _menu(esp, vendor, names)


def _menu(esp: Esp, vendor: str, names: Names) -> Iterator[Change]:
    """A stub for the loader that looks beside itself. grub 1 looks for its own name with another suffix."""
    stub = esp.find(vendor, "grub.cfg")
    data = esp.tree.read(stub) or b"" if stub else b""
    if stub and b"configfile" in data and b"menuentry" not in data:
        if not esp.find(esp.boot, "grub.cfg"):
            yield _copy(esp, stub, "grub.cfg")
    elif (old := esp.find(vendor, "grub.conf")) and not stub:
        name = names.fallback.replace(".EFI", ".conf")
        if not esp.find(esp.boot, name):
            yield _copy(esp, old, name)


def _vendor(esp: Esp, names: Names, inspection: Inspection) -> str | None:
    """The folder with the loader of this guest: by its distribution, by its grub.cfg, or the only one.

    Raises ConversionError where there are several: another system's loader would start another system.
    """
    found = [path for path in esp.vendors() if esp.find(path, *names.shim, *names.grub)]
    ident = inspection.release.get("ID", "")
    wanted = {ident, VENDORS.get(ident, ident)}
    own = [path for path in found if posixpath.basename(path).lower() in wanted]
    read = [path for path in found if inspection.grub_config == f"{path}/grub.cfg"]
    chosen = own or read or found
    if len(chosen) > 1:
        several = ", ".join(posixpath.basename(path) for path in chosen)
        raise ConversionError(f"the loaders of {several} could all be the guest's")
    return chosen[0] if chosen else None


def _alone(esp: Esp, names: Names, inspection: Inspection) -> str:
    """A loader that needs nothing beside it: systemd-boot, or the image that is the guest's default."""
    loader = esp.find(f"{esp.efi}/systemd", names.systemd_boot)
    if loader and esp.holds(loader, efi.SYSTEMD_BOOT):
        return loader
    images = [entry.kernel for entry in inspection.entries if entry.kernel.startswith(f"{esp.efi}/")]
    default = next((entry.kernel for entry in inspection.entries if entry.default), None)
    if default in images:
        return default
    raise ConversionError("there is no loader on its EFI system partition that could be the fallback")


def _copy(esp: Esp, source: str, name: str) -> Change:
    data = esp.tree.read(source, LOADER_LIMIT) or b""
    what = f"copy of {source}"
    return Change(f"{esp.boot}/{name}", "write", STEP, REASON, mode=MODE, data=data, binary=what)


def _demand_space(tree: Tree, top: str, changes: Sequence[Change]) -> None:
    needed = sum(len(change.data) for change in changes) + SPARE
    if (free := tree.free(top)) < needed:
        raise ConversionError(
            f"its EFI system partition has {free // MIB} MiB free and the fallback loader "
            f"needs {-(-needed // MIB)} MiB"
        )


def _warning(problem: str) -> Warning_:
    return Warning_(
        code="no-fallback-loader",
        message=f"UEFI may find no boot loader on the new machine: {problem}",
        remedy="copy the guest's boot loader to EFI/BOOT on its EFI system partition",
    )
