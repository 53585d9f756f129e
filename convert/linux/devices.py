"""Names of disks that depend on the old hardware become UUIDs, wherever the guest boots or mounts by them.

    known files --edits, recording--> uses --placed--> places --edits, answering--> changes

What a name stood for is found by evidence (convert.placement), shown as the reason of each change; what is
not known stays as it is and is reported.
"""

from __future__ import annotations

import posixpath
import re
from functools import cache, cached_property
from typing import TYPE_CHECKING

from convert import hardware
from convert.linux.disks import debconf, devices_file, files, sightings, units, volumes
from convert.linux.disks.names import Asked, Names, fits
from convert.linux.stacks.reading import Reader
from convert.placement import Evidence, placed
from convert.plan import Change, Contribution, write
from convert.tree import digest, encoded
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from convert.inspection import Inspection
    from convert.linux.disks.files import Known
    from convert.linux.disks.names import Use
    from convert.linux.disks.sightings import Sighting
    from convert.tree import Tree
    from convert.wishes import Wishes
    from transferd.model import SourceVM

STEP = "devices"
CRYPTTAB = "/etc/crypttab"
# Its images find the root by links of udev (SLES 11 and before); whether they know UUID= was not proven.
SUSES_TOOL = "mkinitrd"
ENABLED_BY = (".wants", ".requires")


def use_uuids(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:
    """Name disks by their UUIDs."""
    found = _Files(tree, inspection)
    names = found.names(wishes.source)
    changes: list[Change] = []
    for known, old in found.texts.items():
        new = known.edit(old, names, known.path)
        if new is None:
            changes += _removed(tree, known.path, names)
        elif new != old:
            changes += _edited(tree, known.path, old, new, names)
    for asked in found.lost(names.asked):
        if hardware.parsed(asked.name) is None:
            names.warn(asked.where, asked.name, "nothing on the given disks has this name")
    return Contribution(tuple(changes), (*found.warnings, *names.warnings))


def lost_names(tree: Tree, inspection: Inspection) -> list[str]:
    """`PATH: NAME` for each name that the guest needs to come up and that does not lead to its disks.

    Swap, resume and what may fail (nofail, noauto) only cost time: the step's warnings speak of them.
    """
    found = _Files(tree, inspection)
    return list(dict.fromkeys(f"{asked.where}: {asked.name}" for asked in found.lost(found.uses)))


def image_edit(tree: Tree, inspection: Inspection, source: SourceVM) -> Callable[[str, bytes], bytes]:
    """The edit of files inside initramfs images, by their names there: as their originals in the root."""
    guest = cache(lambda: _Files(tree, inspection))  # few images have such files

    def edit(name: str, content: bytes) -> bytes:
        known = files.edit_in_image(name)
        if known is None:
            return content
        old = content.decode("utf-8", "surrogateescape")
        recording = Names(inspection.devices)
        known(old, recording, name)
        new = known(old, guest().names(source, recording.asked), name)
        return content if new is None else encoded(new)

    return edit


class _Files:
    """The guest's files that name disks, read once."""

    def __init__(self, tree: Tree, inspection: Inspection) -> None:
        self._tree = tree
        self._inspection = inspection
        self.warnings: list[Warning_] = []
        self._finder = files.Finder(tree)
        grub = [inspection.grub_config] if inspection.grub_config else []
        found = files.known(self._finder, [*inspection.boot_configs, *grub])
        read = {known: self._read(known) for known in found}
        self.texts = {known: content for known, content in read.items() if content is not None}

    def _read(self, known: Known) -> str | None:
        """None where there is no text to edit. A file beyond its limit is reported and left."""
        try:
            data = self._tree.read(known.path, known.limit)
        except ConversionError as error:
            message = f"{known.path} was left as it is: {error.problem}"
            self.warnings.append(Warning_(code="file-not-read", message=message, remedy="look at it"))
            return None
        return None if data is None or b"\0" in data else data.decode("utf-8", "surrogateescape")

    @cached_property
    def uses(self) -> list[Asked]:
        """Every name that the edits would ask for."""
        recording = Names(self._inspection.devices)
        for known, content in self.texts.items():
            known.edit(content, recording, known.path)
        return recording.asked

    def names(self, source: SourceVM, more: Iterable[Asked] = ()) -> Names:
        """The answers, by all evidence that there is. `more`: uses beside those of the files."""
        expected: dict[str, list[tuple[int, Use]]] = {}
        for asked in (*self.uses, *more):
            if parsed := hardware.parsed(asked.name):
                expected.setdefault(parsed.disk, []).append((parsed.partition, asked.use))
        devices, root = self._inspection.devices, self._inspection.root

        def fit(name: str, disk: int) -> bool:
            told = [(devices.at(disk, part), use) for part, use in expected[name] if use.telling]
            return all(found is not None and fits(found, use, root) for found, use in told)

        seen = {}
        if len(source.disks) > 1 and any(map(hardware.LETTERED.fullmatch, expected)):
            seen = sightings.located(self._sightings, devices, source.disks)
        places = placed(expected, Evidence(source.disks, seen, fit))
        return Names(devices, source.disks, places, links=self._inspection.initramfs == SUSES_TOOL)

    @cached_property
    def _sightings(self) -> list[Sighting]:
        return sightings.sightings(Reader(self._tree))

    def volumes(self) -> volumes.Volumes:
        by_path = {known.path: content for known, content in self.texts.items()}
        opened = volumes.opened(by_path.get(CRYPTTAB, ""), by_path.values())
        return volumes.Volumes(self._inspection.devices, opened)

    def lost(self, uses: Iterable[Asked]) -> list[Asked]:
        reachable = self.volumes()
        return [
            asked
            for asked in uses
            if asked.use.needed and reachable.is_lost(asked.name) and self._starts_by_itself(asked)
        ]

    def _starts_by_itself(self, asked: Asked) -> bool:
        """Whether a name is not only in menu entries that somebody would have to choose."""
        of_file = [e for e in self._inspection.entries if self._finder.real(e.file) == asked.where]
        whole = re.compile(rf"{re.escape(asked.name)}(?![\w.-])")
        return not of_file or any(entry.default and whole.search(entry.options) for entry in of_file)


def _edited(tree: Tree, path: str, old: str, new: str, names: Names) -> Iterator[Change]:
    """The new content; a swap unit takes it to the name that fits, with the links that enable it."""
    proper, reason = units.proper_path(path, new), names.reason(path)
    if proper != path:
        yield from _moved_links(tree, path, proper, reason)
        yield _removal(tree, path, reason)
        yield from write(tree, proper, new, step=STEP, reason=reason)
    else:
        # The answers of all packages are nobody's business who reads a plan.
        hidden = "debconf's answers, those of grub changed" if path == debconf.PATH else None
        before, mode = digest(encoded(old)), tree.mode(path)
        yield Change(path, "write", STEP, reason, before, mode, encoded(new), hidden)


def _moved_links(tree: Tree, path: str, proper: str, reason: str) -> Iterator[Change]:
    folder, old = posixpath.split(path)
    new = posixpath.basename(proper)
    for name in tree.names(folder):
        link = f"{folder}/{name}/{old}"
        if name.endswith(ENABLED_BY) and tree.link(link) is not None:
            yield _removal(tree, link, reason)
            yield Change(f"{folder}/{name}/{new}", "symlink", STEP, reason, data=f"../{new}".encode())


def _removed(tree: Tree, path: str, names: Names) -> Iterator[Change]:
    """LVM's list may have been made by hand, so it is kept beside."""
    reason = names.reason(path)
    if path == devices_file.PATH:
        content = tree.read(path) or b""
        kept = path + devices_file.BESIDE
        yield from write(tree, kept, content.decode("utf-8", "surrogateescape"), step=STEP, reason=reason)
    yield _removal(tree, path, reason)


def _removal(tree: Tree, path: str, reason: str) -> Change:
    content = tree.read(path)
    return Change(path, "remove", STEP, reason, before=None if content is None else digest(content))
