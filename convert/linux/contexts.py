"""The SELinux policy's own answer to what label a path should have: file_contexts(5), as libselinux reads it.

A specification is a regular expression for whole paths, perhaps a file type, and a context. Those without any
special character are asked first; of the others the last that matches counts (libselinux, label_file.c:
sort_specs and lookup_common). Paths are first renamed by file_contexts.subs and then by .subs_dist.

The expressions are the guest's. RE2 matches in linear time and compiles within a fixed memory; what it cannot
do (look-around, back references) makes the answer unknown rather than wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import re2

from convert.tree import MIB, encoded
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.tree import Tree

Kind = Literal["file", "folder", "link"]

CONFIG = "/etc/selinux/config"
POLICY = re.compile(r"^[ \t]*SELINUXTYPE[ \t]*=[ \t]*([\w-]+)", re.MULTILINE)
DEFAULT_POLICY = "targeted"
# Fedora's has 450 KiB.
LIMIT = 4 * MIB
# In the order in which libselinux reads them.
PARTS = ("", ".homedirs", ".local")
TYPES: dict[str, Kind | None] = {"--": "file", "-d": "folder", "-l": "link"}
OTHER_TYPES = frozenset({"-b", "-c", "-p", "-s"})
NO_LABEL = "<<none>>"
SPECIAL = frozenset(".^$?*+|[({")
OPTIONAL = frozenset("?*{")
CONTEXT = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+(?::[\w.,:-]+)?")
# Bytes for one compiled expression; RE2 refuses what needs more.
COMPILED = 256 * 1024


class Undecided(Exception):  # noqa: N818 (an answer, not a fault)
    """The policy does not tell; the text says why."""


@dataclass(frozen=True)
class Specification:
    """`literal` is what every match begins with; `exact` says that it is the whole path."""

    expression: str
    kind: Kind | None
    context: str
    literal: str
    exact: bool


@dataclass(frozen=True)
class Policy:
    specifications: tuple[Specification, ...]
    renames: tuple[tuple[tuple[str, str], ...], ...] = ()

    def label(self, path: str, kind: Kind) -> str | None:
        """The context for a new path, None where it should have none. Raises Undecided."""
        for table in self.renames:
            path = next((new for old, to in table if (new := _renamed(path, old, to))), path)
        found = next((spec for spec in self._asked(path, kind) if _matches(spec, path)), None)
        if found is None:
            raise Undecided("no specification of the policy matches it")
        if found.context == NO_LABEL:
            return None
        if not CONTEXT.fullmatch(found.context):
            raise Undecided(f"the policy gives it {found.context!r}, which is no context")
        return found.context

    def _asked(self, path: str, kind: Kind) -> Iterator[Specification]:
        usable = [spec for spec in self.specifications if spec.kind in (None, kind)]
        near = [spec for spec in reversed(usable) if path.startswith(spec.literal)]
        yield from (spec for spec in near if spec.exact)
        yield from (spec for spec in near if not spec.exact)


def read(tree: Tree) -> Policy:
    """The policy that the guest loads. Raises Undecided where there is none to read."""
    config = _text(tree, CONFIG) or ""
    match = POLICY.search(config)
    base = f"/etc/selinux/{match[1] if match else DEFAULT_POLICY}/contexts/files/file_contexts"
    texts = [_text(tree, base + part) for part in PARTS]
    if texts[0] is None:
        raise Undecided(f"there is no {base}")
    subs = [_text(tree, f"{base}.{name}") or "" for name in ("subs", "subs_dist")]
    specifications = tuple(spec for content in texts for spec in _specifications(content or ""))
    return Policy(specifications, tuple(_renames(content) for content in subs))


def _text(tree: Tree, path: str) -> str | None:
    try:
        data = tree.read(path, LIMIT)
    except ConversionError as error:
        raise Undecided(error.problem) from error
    return None if data is None else data.decode("utf-8", "surrogateescape")


def _specifications(content: str) -> Iterator[Specification]:
    for line in content.splitlines():
        words = line.split()
        if len(words) not in (2, 3) or words[0].startswith("#"):
            continue
        kind = words[1] if len(words) == len(("path", "type", "context")) else None
        if kind in OTHER_TYPES:
            continue
        literal, exact = _literal(words[0])
        yield Specification(words[0], TYPES.get(kind or ""), words[-1], literal, exact)


def _literal(expression: str) -> tuple[str, bool]:
    """What every match of the expression begins with, and whether it is all of it."""
    found: list[str] = []
    at = 0
    while at < len(expression):
        if expression[at] == "\\":
            at += 1
        elif expression[at] in SPECIAL:
            break
        found += expression[at : at + 1]
        at += 1
    if at >= len(expression):
        return "".join(found), True
    if expression[at] in OPTIONAL:
        found = found[:-1]
    return ("" if "|" in _outside_groups(expression) else "".join(found)), False


def _outside_groups(expression: str) -> str:
    depth = 0
    outside: list[str] = []
    for character in expression:
        depth += (character == "(") - (character == ")")
        outside += character if depth <= 0 else ""
    return "".join(outside)


def _renames(content: str) -> tuple[tuple[str, str], ...]:
    """The last line is asked first."""
    rows = [line.split() for line in content.splitlines() if not line.lstrip().startswith("#")]
    return tuple((row[0], row[1]) for row in reversed(rows) if len(row) > 1)


def _renamed(path: str, old: str, new: str) -> str | None:
    if path == old or path.startswith(f"{old}/"):
        return new + path.removeprefix(old)
    return None


def _matches(spec: Specification, path: str) -> bool:
    if spec.exact:
        return spec.literal == path
    options = re2.Options()
    options.max_mem = COMPILED
    options.log_errors = False
    options.dot_nl = True
    try:
        expression = re2.compile(encoded(spec.expression), options)
        return expression.fullmatch(encoded(path)) is not None
    except re2.error as error:
        raise Undecided(f"the policy's expression {spec.expression!r} cannot be read") from error
