"""A guest's files for one look around: every folder is listed once, and nothing asked that a listing tells.

A question to an appliance costs 15 ms under TCG, and inspection asks a hundred times for what most guests do
not have. What lies in a folder that its parent does not list is not there; no question is needed.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from convert.tree import TEXT_LIMIT

if TYPE_CHECKING:
    from pathlib import Path

    from convert.tree import Tree


class Listed:
    """A Tree over another one that nobody changes meanwhile."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._names: dict[str, list[str]] = {}
        self._known: dict[str, frozenset[str]] = {}

    def names(self, folder: str) -> list[str]:
        if folder not in self._names:
            self._names[folder] = self._tree.names(folder) if self._may_be(folder) else []
        return self._names[folder]

    def exists(self, path: str) -> bool:
        return self._may_be(path) and self._tree.exists(path)

    def read(self, path: str, limit: int = TEXT_LIMIT) -> bytes | None:
        return self._tree.read(path, limit) if self._may_be(path) else None

    def link(self, path: str) -> str | None:
        return self._tree.link(path) if self._may_be(path) else None

    def tail(self, path: str, length: int) -> bytes:
        return self._tree.tail(path, length) if self._may_be(path) else b""

    def fetch(self, path: str, limit: int) -> Path:
        return self._tree.fetch(path, limit)

    def mode(self, path: str) -> int:
        return self._tree.mode(path)

    def free(self, folder: str) -> int:
        return self._tree.free(folder)

    def label(self, path: str) -> str | None:
        return self._tree.label(path)

    def _may_be(self, path: str) -> bool:
        """False where a listing on the way does not have the next name. FAT's names have no case."""
        parts = [part for part in path.split("/") if part]
        if ".." in parts or "." in parts:
            return True
        folder = "/"
        for part in parts:
            if part.lower() not in self._lower(folder):
                return False
            folder = posixpath.join(folder, part)
        return True

    def _lower(self, folder: str) -> frozenset[str]:
        if folder not in self._known:
            if folder not in self._names:
                self._names[folder] = self._tree.names(folder)
            self._known[folder] = frozenset(name.lower() for name in self._names[folder])
        return self._known[folder]
