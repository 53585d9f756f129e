"""What conversion writes gets the label that the guest's SELinux policy gives it.

A file that is changed in place keeps its own label with its inode. A new file or link, and every folder made
for it, gets the label that the policy names (linux.contexts); where the policy does not tell, that of a
neighbour of its kind, else that of its folder, which is what the kernel itself would have given it. Where
nothing tells, the guest is asked to label itself at its next boot: /.autorelabel, and the plan says why.

The EFI system partition is FAT: it has no labels.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from convert.linux import contexts
from convert.linux.contexts import Kind, Policy, Undecided
from convert.plan import Change, Contribution
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convert.inspection import Inspection
    from convert.tree import Tree

STEP = "selinux"
MARKER = "/.autorelabel"
ENABLED = frozenset({"enforcing", "permissive"})
REASON = "what is new needs the label of the guest's SELinux policy"
# Neighbours that are asked for their label; each is a question to the appliance.
NEIGHBOURS = 8
REASONS_SHOWN = 3


def labelled(tree: Tree, inspection: Inspection, parts: Sequence[Contribution]) -> list[Contribution]:
    """`parts`, planned on `tree`, with a label on every change that makes a file; and what else it takes."""
    if inspection.selinux not in ENABLED:
        return list(parts)
    labels = _Labels(tree, inspection.esp)
    new = [replace(part, changes=tuple(labels.on(change) for change in part.changes)) for part in parts]
    return [*new, labels.rest()] if labels.asked else new


@dataclass
class _Labels:
    """One labelling of a plan: what it has found out, and what remained open."""

    tree: Tree
    esp: str | None
    policy: Policy | None = None
    unread: str | None = None
    folders: dict[str, str] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    asked: bool = False

    def on(self, change: Change) -> Change:
        """A change that keeps an inode keeps the label; a link is always a new inode."""
        kind: Kind = "link" if change.action == "symlink" else "file"
        keeps = change.action in ("append", "remove", "run", "label") or (
            kind == "file" and self.tree.exists(change.path)
        )
        if keeps or change.label is not None or self._without_labels(change.path):
            return change
        self.asked = True
        for folder in self._missing_folders(change.path):
            if folder not in self.folders and (label := self._label(folder, "folder")):
                self.folders[folder] = label
        return replace(change, label=self._label(change.path, kind))

    def rest(self) -> Contribution:
        changes = [
            Change(folder, "label", STEP, REASON, label=label) for folder, label in self.folders.items()
        ]
        if not self.open:
            return Contribution(tuple(changes))
        if not self.tree.exists(MARKER):
            changes.append(Change(MARKER, "write", STEP, self._why(), mode=0o644))
        warning = Warning_(
            code="selinux-relabel",
            message=f"the guest labels all its files at its next boot, and then boots again: {self._why()}",
            remedy="allow for some minutes at the first boot",
        )
        return Contribution(tuple(changes), (warning,))

    def _why(self) -> str:
        more = len(self.open) - REASONS_SHOWN
        return "; ".join([*self.open[:REASONS_SHOWN], *([f"{more} more"] if more > 0 else [])])

    def _without_labels(self, path: str) -> bool:
        return self.esp is not None and path.startswith(f"{self.esp}/")

    def _missing_folders(self, path: str) -> Iterator[str]:
        """Folders that do not exist yet, outermost first."""
        missing = []
        folder = posixpath.dirname(path)
        while folder != "/" and not self.tree.exists(folder):
            missing.append(folder)
            folder = posixpath.dirname(folder)
        return reversed(missing)

    def _label(self, path: str, kind: Kind) -> str | None:
        try:
            return self._policy().label(path, kind)
        except Undecided as doubt:
            found = self._neighbour(path, kind)
            if found is None:
                self.open.append(f"{path}: {doubt}")
            return found

    def _policy(self) -> Policy:
        if self.unread is not None:
            raise Undecided(self.unread)
        if self.policy is None:
            try:
                self.policy = contexts.read(self.tree)
            except Undecided as doubt:
                self.unread = str(doubt)
                raise
        return self.policy

    def _neighbour(self, path: str, kind: Kind) -> str | None:
        """The label of one of its kind in the same folder, else of the nearest folder that has one."""
        folder = posixpath.dirname(path)
        beside = [posixpath.join(folder, name) for name in self.tree.names(folder)[:NEIGHBOURS]]
        same = (self.tree.label(other) for other in beside if self._kind(other) == kind)
        found = next((label for label in same if label), None)
        while found is None and folder not in ("/", ""):
            found = self.folders.get(folder) or self.tree.label(folder)
            folder = posixpath.dirname(folder)
        return found

    def _kind(self, path: str) -> Kind:
        if self.tree.link(path) is not None:
            return "link"
        return "folder" if self.tree.names(path) else "file"
