"""The tables that systems keep in columns, fstab and crypttab: read, and edited without losing a space. Pure.

A line keeps its comment, its order and, where the new word is no longer than the old, its columns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Blanks and tabs part words, a newline lines: what else looks like space is part of a name.
WORD = re.compile(r"[^ \t\r\n]+")
# fstab(5) writes blanks in names as octal escapes.
ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")


@dataclass(frozen=True)
class Mount:
    """One line of fstab. `point` is `none` for swap."""

    spec: str
    point: str
    kind: str = "auto"
    options: tuple[str, ...] = ()

    def option(self, name: str) -> str | None:
        """The value of `name=value`, the last one if there are several."""
        values = [
            value for key, _, value in (option.partition("=") for option in self.options) if key == name
        ]
        return values[-1] if values else None


def mounts(fstab: str) -> list[Mount]:
    return [_mount(row) for row in rows(fstab) if len(row) > 1]


def _mount(row: list[str]) -> Mount:
    given = dict(zip(("spec", "point", "kind", "options"), map(unescaped, row), strict=False))
    options = tuple(given.pop("options", "").split(","))
    return Mount(unquoted(given.pop("spec")), **given, options=options)


def containers(crypttab: str) -> list[tuple[str, str]]:
    """(name, device) of each line of crypttab."""
    return [(row[0], unquoted(row[1])) for row in rows(crypttab) if len(row) > 1]


def rows(table: str) -> list[list[str]]:
    """The words of each line that is no comment."""
    return [WORD.findall(line) for line in lines(table) if not _is_comment(line)]


def lines(table: str) -> list[str]:
    """With their newlines. Python's own splitlines knows many more line ends than the guest does."""
    return [line for line in re.split(r"(?<=\n)", table) if line]


def unescaped(word: str) -> str:
    data = word.encode("utf-8", "surrogateescape")
    return ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), data).decode("utf-8", "surrogateescape")


def unquoted(spec: str) -> str:
    """UUID=x of UUID="x", which libblkid takes too."""
    tag, equals, value = spec.partition("=")
    return tag + equals + value.strip("\"'")


def edited(table: str, column: int, edit: Callable[[str], str]) -> str:
    """`table` with `edit` applied to one column (from 0) of each line that has it and is no comment."""
    return "".join(_edited_line(line, column, edit) for line in lines(table))


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
