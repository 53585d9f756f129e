"""The small changes that steps make to a guest's own files: edit a text, make a link, remove a file.

A file that cannot be read (too large, damaged) is left as it is and reported: none of these files is worth
failing a conversion for. Bytes that are not UTF-8 survive an edit.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from convert.plan import Change, Contribution, write
from convert.tree import digest, text
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from convert.tree import Tree

# Folders of drop-ins hold dozens of files; a guest that shows more does not get to keep us busy.
FILES = 1000


def edited(tree: Tree, path: str, edit: Callable[[str], str], *, step: str, reason: str) -> Contribution:
    """`path` with `edit` applied to its text; nothing where there is no such file or nothing changes."""
    try:
        old = text(tree, path)
    except ConversionError as error:
        message = f"{path} was left as it is: {error.problem}"
        return Contribution(warnings=(Warning_(code="file-not-read", message=message, remedy="look at it"),))
    if old is None or "\0" in old:
        return Contribution()
    return Contribution(write(tree, path, edit(old), step=step, reason=reason))


def files(tree: Tree, folder: str, *endings: str) -> list[str]:
    """Paths of what lies in `folder` and ends so."""
    names = (name for name in tree.names(folder) if name.endswith(endings))
    return [f"{folder}/{name}" for name in islice(names, FILES)]


def removed(tree: Tree, path: str, *, step: str, reason: str) -> Change:
    return Change(path, "remove", step, reason, before=_digest(tree, path))


def linked(tree: Tree, path: str, target: str, *, step: str, reason: str) -> tuple[Change, ...]:
    """The change that makes `path` a link to `target`: none if it is one."""
    old = tree.link(path)
    if old == target:
        return ()
    before = None if old is not None else _digest(tree, path)
    return (Change(path, "symlink", step, reason, before=before, data=target.encode()),)


def _digest(tree: Tree, path: str) -> str | None:
    content = tree.read(path)
    return None if content is None else digest(content)


def joined(parts: Iterable[Contribution]) -> Contribution:
    """Changes and warnings of all, in their order."""
    whole = list(parts)
    return Contribution(
        tuple(change for part in whole for change in part.changes),
        tuple(warning for part in whole for warning in part.warnings),
    )
