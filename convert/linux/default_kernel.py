"""Another kernel becomes the default, where the one that the boot loader starts cannot drive VirtIO.

Only then, and only where another kernel of the menu can: the guest is otherwise left to start what it always
started. The choice is written where the loader keeps it, as its own tools would: saved_entry in grubenv,
`set default` in grub.cfg with GRUB_DEFAULT beside it, `default` in loader.conf, DEFAULT or MENU DEFAULT of
extlinux, `default` of grub 1. grub.cfg is edited, never made anew: this is not the machine to make it on.

A change is believed only when the loaders' files, read again with it, start the chosen kernel.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convert import bootloader
from convert.loaders import extlinux, grub1, grubenv
from convert.loaders.menu import Entry, Places, version_key
from convert.plan import Change, Draft, write
from convert.tree import text
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convert.capabilities import Proof
    from convert.inspection import Inspection, Kernel
    from convert.tree import Tree

STEP = "default kernel"
# Entries that do not run the guest as it usually runs. In all patterns spaces are those of one line: `\s` at
# the start of every line would make a file of a million empty lines a day's work.
UNUSUAL_TITLE = re.compile(r"recovery|rescue|failsafe", re.IGNORECASE)
UNUSUAL_OPTION = re.compile(r"(?<!\S)(?:single|rescue|recovery|emergency|[1sS]|systemd\.unit=\S*)(?!\S)")
SET_DEFAULT = re.compile(r"^([ \t]*set[ \t]+default=)(?!.*next_entry).*$", re.MULTILINE)
GRUB_DEFAULT = re.compile(r"^([ \t]*GRUB_DEFAULT=).*$", re.MULTILINE)
GRUB_SETTINGS = "/etc/default/grub"
LOADER_DEFAULT = re.compile(r"^[ \t]*default[ \t].*\n?", re.MULTILINE)
GRUB1_DEFAULT = re.compile(r"^[ \t]*default[ \t=].*$", re.MULTILINE)
# The package whose next update becomes the default (Red Hat's and Oracle's kernel packages read it).
KERNEL_SETTINGS = "/etc/sysconfig/kernel"
DEFAULT_PACKAGE = re.compile(r"^([ \t]*DEFAULTKERNEL=[\"']?kernel)(-uek)?", re.MULTILINE)


@dataclass(frozen=True)
class Choice:
    """What came of it: `proofs` are those given, with the default where it is then."""

    proofs: tuple[Proof, ...]
    changes: tuple[Change, ...] = ()
    warnings: tuple[Warning_, ...] = ()


def choose(tree: Tree, inspection: Inspection, proofs: Sequence[Proof]) -> Choice:
    """`proofs` say what every kernel can drive once the other changes are made."""
    given = tuple(proofs)
    default = next((proof for proof in given if proof.default), None)
    able = {proof.version for proof in given if proof.weakest != "missing"}
    if (default and default.version in able) or not inspection.entries:
        return Choice(given)
    places = Places(tree)
    found = _candidates(inspection, places, able)
    if not found:
        return Choice(given)
    kernel, entry = found[0]
    changes = _believed(tree, inspection, entry)
    if not changes:
        return Choice(given, warnings=(_not_set(inspection, kernel),))
    marked = tuple(replace(proof, default=proof.version == kernel.version) for proof in given)
    return Choice(marked, changes, (_set(default, kernel),))


def _candidates(inspection: Inspection, places: Places, able: set[str]) -> list[tuple[Kernel, Entry]]:
    """Kernels that can, newest first, each with its first usual entry."""
    usual = [
        entry
        for entry in inspection.entries
        if not UNUSUAL_TITLE.search(entry.title) and not UNUSUAL_OPTION.search(entry.options)
    ]
    first: dict[str, Entry] = {}
    for entry in usual:
        first.setdefault(places.real(entry.kernel), entry)
    found = [(k, first[k.image]) for k in inspection.kernels if k.version in able and k.image in first]
    return sorted(found, key=lambda one: version_key(one[0].version), reverse=True)


def _believed(tree: Tree, inspection: Inspection, entry: Entry) -> tuple[Change, ...]:
    """The changes that make `entry` the default, none where they would not."""
    make = MAKERS.get(inspection.bootloader or "")
    if make is None:
        return ()
    try:
        changes = (*make(tree, inspection, entry), *_package(tree, entry))
    except ConversionError:
        return ()
    draft = Draft(tree)
    draft.add(changes)
    then = bootloader.survey(draft, inspection.firmware, inspection.esp).default
    return changes if then is not None and then.kernel == entry.kernel else ()


def _write(tree: Tree, path: str, content: str) -> tuple[Change, ...]:
    reason = "the kernel that starts by default cannot drive VirtIO"
    return write(tree, path, content, step=STEP, reason=reason)


def _grub2(tree: Tree, inspection: Inspection, entry: Entry) -> tuple[Change, ...]:
    changes: list[Change] = []
    if inspection.grubenv is not None:
        block = grubenv.edited(text(tree, inspection.grubenv) or "", "saved_entry", entry.key)
        if grubenv.parse(block).get("next_entry"):
            block = grubenv.edited(block, "next_entry", "")
        changes += _write(tree, inspection.grubenv, block)
    elif inspection.grub_config is not None and "'" not in entry.key:
        path = Places(tree).real(inspection.grub_config)
        old = text(tree, path) or ""
        new, count = SET_DEFAULT.subn(lambda line: f"{line[1]}'{entry.key}'", old)
        changes += _write(tree, path, new if count else f"set default='{entry.key}'\n{old}")
        settings = text(tree, GRUB_SETTINGS)
        if settings is not None:
            kept = GRUB_DEFAULT.sub(lambda line: f"{line[1]}'{entry.key}'", settings)
            changes += _write(tree, GRUB_SETTINGS, kept)
    return tuple(changes)


def _systemd_boot(tree: Tree, inspection: Inspection, entry: Entry) -> tuple[Change, ...]:
    paths = [f"{top}/loader/loader.conf" for top in (inspection.esp, "/boot") if top]
    path = next((path for path in paths if tree.read(path) is not None), paths[0])
    old = LOADER_DEFAULT.sub("", text(tree, path) or "")
    gap = "" if not old or old.endswith("\n") else "\n"
    return _write(tree, path, f"{old}{gap}default {entry.key}\n")


def _grub1(tree: Tree, inspection: Inspection, entry: Entry) -> tuple[Change, ...]:  # noqa: ARG001 (a maker)
    old = text(tree, entry.file) or ""
    lines = [grub1.setting(line) for line in old.splitlines()]
    if ("default", grub1.SAVED) in lines:
        path = f"{posixpath.dirname(entry.file)}/default"
        rest = (text(tree, path) or "").partition("\n")[2]
        return _write(tree, path, f"{entry.key}\n{rest}")
    new, count = GRUB1_DEFAULT.subn(f"default={entry.key}", old, count=1)
    return _write(tree, entry.file, new if count else f"default={entry.key}\n{old}")


def _extlinux(tree: Tree, inspection: Inspection, entry: Entry) -> tuple[Change, ...]:  # noqa: ARG001 (a maker)
    """DEFAULT where it names a label; where it names the menu program, the MENU DEFAULT inside labels."""
    lines = (text(tree, entry.file) or "").split("\n")
    labels = {value for command, value in map(extlinux.setting, lines) if command == "label"}
    plain = any(command == "default" and value in labels for command, value in map(extlinux.setting, lines))
    new: list[str] = []
    for line in lines:
        command, value = extlinux.setting(line)
        if plain and command == "default":
            new.append(f"DEFAULT {entry.key}")
        elif plain or (command, value.lower()) != ("menu", "default"):
            new.append(line)
        if not plain and (command, value) == ("label", entry.key):
            new.append("  MENU DEFAULT")
    return _write(tree, entry.file, "\n".join(new))


def _package(tree: Tree, entry: Entry) -> tuple[Change, ...]:
    """Oracle Linux has two kernel packages; the next update must not bring the other one back."""
    old = text(tree, KERNEL_SETTINGS)
    if old is None:
        return ()
    flavour = "-uek" if "uek" in posixpath.basename(entry.kernel) else ""
    return _write(tree, KERNEL_SETTINGS, DEFAULT_PACKAGE.sub(lambda line: line[1] + flavour, old))


MAKERS: dict[str, Callable[[Tree, Inspection, Entry], tuple[Change, ...]]] = {
    "grub2": _grub2,
    "systemd-boot": _systemd_boot,
    "grub1": _grub1,
    "extlinux": _extlinux,
}


def _set(old: Proof | None, kernel: Kernel) -> Warning_:
    why = f"kernel {old.version}, {old.problem}" if old else "it is none that has modules"
    return Warning_(
        code="default-kernel-changed",
        message=f"the boot loader starts kernel {kernel.version} now; its default cannot drive VirtIO: {why}",
        remedy="install a kernel with VirtIO drivers, then choose the default again",
    )


def _not_set(inspection: Inspection, kernel: Kernel) -> Warning_:
    loader = inspection.bootloader or "boot loader"
    return Warning_(
        code="default-kernel-unchanged",
        message=f"kernel {kernel.version} can drive VirtIO and could not be made the default of {loader}",
        remedy="make it the default in the source guest and copy again",
    )
