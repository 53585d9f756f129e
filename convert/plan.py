"""What conversion would change: values, and a view of the guest in which the changes are already made.

A step reads a Tree and answers with a Contribution. `Draft` lays the changes so far over the guest, so that
each step sees the work of the steps before it: the one that fills the initramfs finds the naming rules
that the one before has planned. Nothing is written until the whole plan stands; then `pipeline` performs
exactly these changes, each only if the file still has the digest it was planned on.

A step that finds its work done answers with no changes, so a plan made on a converted guest is empty.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from convert.tree import TEXT_LIMIT, digest, encoded
from transferd.errors import ConversionError, printable
from transferd.model import Caps, Document, Guest, NicName, Step, Warning_

if TYPE_CHECKING:
    from pathlib import Path

    from convert.capabilities import Proof
    from convert.tree import Tree

Action = Literal["write", "append", "symlink", "remove", "run", "label"]

# Changes whose outcome is no matter of a file's text.
UNSEEN = frozenset({"append", "run", "label"})


@dataclass(frozen=True)
class Change:
    """One change to one path. `before` is the digest of the file it was planned on, None if there is none.

    write: `data` is the whole new content. append: `data` goes behind the old content. symlink: `data` is
    the target. run: the guest's program `argv` makes the file anew, after all other changes; `data` shows
    it. label: nothing but the label. `binary` says what `data` is when it is not text. `mode` is permission
    bits. `label` is the SELinux context that the path gets, None to leave it as it comes.
    """

    path: str
    action: Action
    step: str
    reason: str
    before: str | None = None
    mode: int | None = None
    data: bytes = b""
    binary: str | None = None
    label: str | None = None
    argv: tuple[str, ...] = ()

    def document(self) -> ChangeDocument:
        shown = self.data.decode("utf-8", "backslashreplace")
        blob = BinaryDocument(description=self.binary or "", size=len(self.data), digest=digest(self.data))
        return ChangeDocument(
            path=printable(self.path),
            action=self.action,
            before=self.before,
            mode=None if self.mode is None else f"{self.mode:04o}",
            content=shown if self.action in ("write", "symlink", "run") and not self.binary else None,
            binary=blob if self.binary else None,
            reason=printable(self.reason),
            step=self.step,
            label=self.label and printable(self.label),
        )


@dataclass(frozen=True)
class Contribution:
    """What one step adds to the plan."""

    changes: tuple[Change, ...] = ()
    warnings: tuple[Warning_, ...] = ()
    nics: tuple[NicName, ...] = ()
    proofs: tuple[Proof, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The whole plan: what the steps contributed, in their order."""

    contributions: tuple[Contribution, ...]
    steps: tuple[Step, ...]

    @property
    def changes(self) -> list[Change]:
        return [change for part in self.contributions for change in part.changes]

    @property
    def warnings(self) -> list[Warning_]:
        return [warning for part in self.contributions for warning in part.warnings]

    @property
    def nics(self) -> list[NicName]:
        return [nic for part in self.contributions for nic in part.nics]

    @property
    def proofs(self) -> list[Proof]:
        return [proof for part in self.contributions for proof in part.proofs]


def write(tree: Tree, path: str, content: str, *, step: str, reason: str) -> tuple[Change, ...]:
    """The change that gives `path` this content: none if it has it. An existing file keeps its mode."""
    data = encoded(content)
    old = tree.read(path)
    if old == data:
        return ()
    before = None if old is None else digest(old)
    mode = 0o644 if old is None else tree.mode(path)
    return (Change(path, "write", step, reason, before=before, mode=mode, data=data),)


class Draft:
    """A Tree as it will be after the changes given so far."""

    def __init__(self, base: Tree) -> None:
        self._base = base
        self._changes: dict[str, Change] = {}

    def add(self, changes: tuple[Change, ...]) -> None:
        """Images are not kept: no step reads a binary file that an earlier one extends or makes anew."""
        self._changes |= {change.path: change for change in changes if change.action not in UNSEEN}

    def read(self, path: str, limit: int = TEXT_LIMIT) -> bytes | None:
        change = self._changes.get(path)
        if change is None:
            return self._base.read(path, limit)
        return change.data if change.action == "write" else None

    def tail(self, path: str, length: int) -> bytes:
        return self._base.tail(path, length)

    def exists(self, path: str) -> bool:
        change = self._changes.get(path)
        return self._base.exists(path) if change is None else change.action != "remove"

    def link(self, path: str) -> str | None:
        change = self._changes.get(path)
        if change is None:
            return self._base.link(path)
        return change.data.decode() if change.action == "symlink" else None

    def names(self, folder: str) -> list[str]:
        mine = [change for change in self._changes.values() if posixpath.dirname(change.path) == folder]
        gone = {posixpath.basename(change.path) for change in mine if change.action == "remove"}
        new = {posixpath.basename(change.path) for change in mine if change.action != "remove"}
        return sorted((set(self._base.names(folder)) | new) - gone)

    def fetch(self, path: str, limit: int) -> Path:
        if path in self._changes:
            raise ConversionError(f"{path} is both planned and read whole", operation="plan")
        return self._base.fetch(path, limit)

    def mode(self, path: str) -> int:
        change = self._changes.get(path)
        return self._base.mode(path) if change is None or change.mode is None else change.mode

    def free(self, folder: str) -> int:
        return self._base.free(folder)

    def label(self, path: str) -> str | None:
        change = self._changes.get(path)
        return self._base.label(path) if change is None or change.label is None else change.label


class BinaryDocument(Document):
    """Content that is not shown: what it is, bytes, digest."""

    description: str
    size: int
    digest: str


class ChangeDocument(Document):
    """One line of the plan as users read it. `content` is a symlink's target, a text file's whole text, or
    the command that is run. `label` is the SELinux context that the path gets."""

    path: str
    action: Action
    before: str | None
    mode: str | None
    content: str | None
    binary: BinaryDocument | None
    reason: str
    step: str
    label: str | None = None


class PlanDocument(Document):
    """What `transferd-convert plan --json` prints."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    guest: Guest
    caps: Caps
    nics: list[NicName]
    changes: list[ChangeDocument]
    warnings: list[Warning_]
