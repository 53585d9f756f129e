"""A kernel's loadable modules, from the indexes that depmod left in /lib/modules/VERSION. Pure.

A driver is there in one of three ways: compiled in (modules.builtin), as a file (modules.dep), or not at
all. Names are compared as modprobe does: without the suffix, with `-` and `_` the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

PACKINGS = (".gz", ".xz", ".zst")
SUFFIXES = (*PACKINGS, ".ko")


def name_of(path: str) -> str:
    name = PurePosixPath(path).name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name.replace("-", "_")


def is_module(path: str) -> bool:
    return path.removesuffix(packing(path)).endswith(".ko")


def packing(path: str) -> str:
    """The suffix of a compression, or nothing."""
    return next((suffix for suffix in PACKINGS if path.endswith(suffix)), "")


@dataclass(frozen=True)
class Modules:
    """`builtin`: names. `needs`: path of each module, relative to its folder -> paths it depends on."""

    builtin: frozenset[str]
    needs: dict[str, tuple[str, ...]]

    @classmethod
    def parse(cls, *, dep: str, builtin: str) -> Modules:
        needs: dict[str, tuple[str, ...]] = {}
        for line in dep.splitlines():
            path, colon, rest = line.partition(":")
            if colon and _inside(path):
                needs[path] = tuple(word for word in rest.split() if _inside(word))
        return cls(frozenset(name_of(line) for line in builtin.split()), needs)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        """The first path of each name: a kernel has thousands, and is asked for a dozen many times."""
        return {name_of(path): path for path in reversed(self.needs)}

    def path(self, name: str) -> str | None:
        return self._by_name.get(name)

    def known(self, name: str) -> bool:
        return name in self.builtin or self.path(name) is not None

    def closure(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Paths of the module files that `names` need, themselves included; what is built in has none."""
        found: dict[str, None] = {}
        waiting = [path for name in names if name not in self.builtin and (path := self.path(name))]
        while waiting:
            path = waiting.pop(0)
            if path not in found:
                found[path] = None
                waiting += self.needs.get(path, ())
        return tuple(sorted(found))


def _inside(path: str) -> bool:
    """A relative path that stays in its folder: modules.dep is a guest's file and names what we read."""
    pure = PurePosixPath(path)
    return bool(path) and not pure.is_absolute() and ".." not in pure.parts
