"""The tables that systems keep in columns, fstab and crypttab: read, and edited without losing a space. Pure.

A line keeps its comment, its order and, where the new word is no longer than the old, its columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WORD = re.compile(r"\S+")
# fstab(5) writes blanks in names as octal escapes.
ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of fstab. `point` is `none` for swap."""

    spec: str
    point: str


def mounts(fstab: str) -> list[Mount]:
    return [Mount(unescaped(row[0]), unescaped(row[1])) for row in rows(fstab) if len(row) > 1]


def rows(table: str) -> list[list[str]]:
    """The words of each line that is no comment."""
    return [line.split() for line in table.splitlines() if not _is_comment(line)]


def unescaped(word: str) -> str:
    return ESCAPE.sub(lambda match: chr(int(match[1], 8)), word)


def edited(table: str, column: int, edit: Callable[[str], str]) -> str:
    """`table` with `edit` applied to one column (from 0) of each line that has it and is no comment."""
    return "".join(_edited_line(line, column, edit) for line in table.splitlines(keepends=True))


def _edited_line(line: str, column: int, edit: Callable[[str], str]) -> str:
    words = list(WORD.finditer(line))
    if _is_comment(line) or len(words) <= column:
        return line
    word = words[column]
    new = edit(word[0])
    rest = line[word.end() :]
    blanks = len(rest) - len(rest.lstrip(" "))
    spare = min(max(0, len(new) - len(word[0])), max(0, blanks - 1))
    return line[: word.start()] + new + rest[spare:]


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
