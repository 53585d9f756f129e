"""The guest's boot loaders: which are there, which one will run, and what it will start.

A guest collects loaders over its life: menu.lst of an old image beside grub.cfg, systemd-boot beside a
grub that nothing calls any more. The target machine has no NVRAM from before, so the one that runs is found
as the firmware finds it: UEFI starts EFI/BOOT/BOOTX64.EFI, and that file says whose it is; BIOS starts what
the boot sector leads to, and of the loaders that leave a configuration the newer one is taken to be it.

Entries are those of the loader that runs. `configs` are all files that hold command lines, whoever reads
them.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.loaders import bls, efi, extlinux, grub1, grub2, uki
from convert.loaders.menu import Entry, Places
from transferd.model import Firmware

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.tree import Tree

__all__ = ["Boot", "Entry", "survey"]

GRUB2_CONFIGS = ("/boot/grub2/grub.cfg", "/boot/grub/grub.cfg")
GRUB1_NAMES = ("grub.conf", "menu.lst")
GRUB1_FOLDER = "/boot/grub"
# The firmware's own choice where nothing is in NVRAM (UEFI specification 3.5.1.1).
FALLBACKS = ("BOOTX64.EFI", "BOOTAA64.EFI", "BOOTIA32.EFI")
# Files from which command lines are made, by the loaders' own tools and by kernel packages.
SETTINGS = (
    "/etc/default/grub",
    "/etc/sysconfig/bootloader",
    "/etc/sysconfig/grub",
    "/etc/kernel/cmdline",
    "/etc/default/extlinux",
    "/etc/default/u-boot",
    "/etc/update-extlinux.conf",
    "/boot/photon.cfg",
    "/boot/systemd.cfg",
)
SETTING_FOLDERS = {"/etc/default/grub.d": ".cfg", "/etc/cmdline.d": ".conf", "/etc/kernel/cmdline.d": ""}


@dataclass(frozen=True)
class Boot:
    """`loaders`: of grub2, bls, grub1, systemd-boot, uki, extlinux those that are there, first the one that
    runs. `grub_config`: the grub.cfg with the menu. `grubenv`: where that menu remembers its default, None
    where it does not; the file need not exist."""

    loaders: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    configs: tuple[str, ...] = ()
    grub_config: str | None = None
    grubenv: str | None = None

    @property
    def default(self) -> Entry | None:
        return next((entry for entry in self.entries if entry.default), None)


def survey(tree: Tree, firmware: Firmware, esp: str | None) -> Boot:
    """`esp`: where the EFI system partition is mounted. Raises ConversionError where a configuration is
    beyond the limits of a reader."""
    return _Survey(tree, firmware, esp).boot()


class _Survey:
    """One look at the boot files of one guest."""

    def __init__(self, tree: Tree, firmware: Firmware, esp: str | None) -> None:
        self.tree = tree
        self.firmware = firmware
        self.places = Places(tree)
        self.esps = [esp] if esp else []

    def boot(self) -> Boot:
        menus = self._menus()
        menu = menus[0] if menus else None
        images = [entry for top in self.esps for entry in uki.entries(self.tree, top)]
        systemd_boot = bls.systemd_boot(self.tree, self.places, self._boot_tops(), images)
        found = {
            "grub2": menu.entries if menu else (),
            "systemd-boot": systemd_boot if self._has_systemd_boot() else (),
            "extlinux": self._extlinux(),
            "grub1": self._grub1(),
            "uki": bls.systemd_boot(self.tree, self.places, (), images) if images else (),
        }
        present = [name for name in found if found[name]]
        if self.firmware is Firmware.EFI and "systemd-boot" in present and self._starts_systemd_boot():
            present.insert(0, present.pop(present.index("systemd-boot")))
        loaders = [*present[:1], *(["bls"] if menu and menu.bls else []), *present[1:]]
        return Boot(
            loaders=tuple(loaders),
            entries=found[present[0]] if present else (),
            configs=tuple(dict.fromkeys(self.places.real(path) for path in self._configs())),
            grub_config=menu.config if menu else None,
            grubenv=self._grubenv(menu) if menu else None,
        )

    def _menus(self) -> list[grub2.Menu]:
        """UEFI reads the grub.cfg beside its loader; where that is a stub, and for BIOS, it is in /boot."""
        paths = [*GRUB2_CONFIGS]
        if self.firmware is Firmware.EFI:
            paths = [*self._on_esp("grub.cfg"), *paths]
        found = [path for path in paths if self.places.has(path)]
        menus = [grub2.read(self.tree, path, self.firmware, self.places) for path in found]
        return [menu for menu in menus if menu.entries]

    def _grubenv(self, menu: grub2.Menu) -> str | None:
        path = self.places.real(f"{posixpath.dirname(menu.config)}/{grub2.ENVIRONMENT}")
        return path if menu.saved else None

    def _grub1(self) -> tuple[Entry, ...]:
        found = [path for name in GRUB1_NAMES if self.places.has(path := f"{GRUB1_FOLDER}/{name}")]
        found += self._on_esp("grub.conf") if self.firmware is Firmware.EFI else []
        menus = [grub1.read(self.tree, path, self.places) for path in found]
        return next((menu for menu in menus if menu), ())

    def _extlinux(self) -> tuple[Entry, ...]:
        found = [path for path in extlinux.CONFIGS if self.places.has(path)]
        menus = [extlinux.read(self.tree, path, self.places) for path in found]
        return next((menu for menu in menus if menu), ())

    def _has_systemd_boot(self) -> bool:
        return any(self._folder(folder, "systemd") for folder in self._efi())

    def _starts_systemd_boot(self) -> bool:
        """Whether the loader that the firmware falls back to is systemd-boot."""
        folders = [self._folder(top, "BOOT") for top in self._efi()]
        paths = [f"{folder}/{name}" for folder in folders if folder for name in self.tree.names(folder)]
        loaders = [path for path in paths if posixpath.basename(path).upper() in FALLBACKS]
        return any(efi.holds(self.tree, path, efi.SYSTEMD_BOOT) for path in loaders)

    def _boot_tops(self) -> tuple[str, ...]:
        """Where systemd-boot looks for entries: the EFI system partition and the extended boot partition."""
        return tuple(dict.fromkeys([*self.esps, "/boot"]))

    def _efi(self) -> list[str]:
        return [folder for top in self.esps if (folder := self._folder(top, "EFI"))]

    def _folder(self, top: str, name: str) -> str | None:
        """A folder of a FAT file system, where names have no case."""
        found = next((have for have in self.tree.names(top) if have.lower() == name.lower()), None)
        return found and f"{top}/{found}"

    def _on_esp(self, name: str) -> list[str]:
        """`name` beside each loader on the EFI system partition."""
        paths = [f"{top}/{vendor}/{name}" for top in self._efi() for vendor in self.tree.names(top)]
        return [path for path in paths if self.places.has(path)]

    def _configs(self) -> Iterator[str]:
        grub = [f"{folder}/{name}" for folder in ("/boot/grub", "/boot/grub2") for name in _GRUB_FILES]
        fixed = [*grub, *extlinux.CONFIGS, *SETTINGS]
        yield from (path for path in fixed if self.places.has(path))
        for name in ("grub.cfg", "grubenv", "grub.conf"):
            yield from self._on_esp(name)
        for top in self._boot_tops():
            folder = f"{top}/{bls.FOLDER}"
            yield from (f"{folder}/{name}" for name in self.tree.names(folder) if name.endswith(".conf"))
        for folder, suffix in SETTING_FOLDERS.items():
            yield from (f"{folder}/{name}" for name in self.tree.names(folder) if name.endswith(suffix))


_GRUB_FILES = ("grub.cfg", "custom.cfg", grub2.ENVIRONMENT, *GRUB1_NAMES)
