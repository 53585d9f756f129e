"""YAML that a guest wrote: every scalar a text, no aliases, no more than a screenful of nesting.

Texts, because YAML 1.1 reads an unquoted 10:20:30:40:50:59 as a number to base 60, and netplan and cloud-init
mean a MAC. No aliases, because a few of them make a tree of billions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from convert.linux.stacks.reading import Reader

# The parser takes 2 s and more a megabyte; what configures a network has a few kilobytes.
LIMIT = 64 * 1024
DEPTH = 40


class Plain(yaml.BaseLoader):
    """Refuses aliases and deep nesting as it composes."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        if self._depth >= DEPTH:
            raise yaml.YAMLError("nested too deeply")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def load(reader: Reader, path: str, only_with: str = "") -> dict[str, Any]:
    """The mapping that a file holds; noted as unread if it is no such thing.

    A file without the word `only_with` has nothing to say."""
    content = reader.text(path)
    if only_with not in content:
        return {}
    if len(content) > LIMIT:
        reader.note(path, f"more than {LIMIT} bytes of YAML")
        return {}
    try:
        found = yaml.load(content, Loader=Plain)  # noqa: S506 (a BaseLoader, which makes texts only)
    except (yaml.YAMLError, ValueError) as error:
        reader.note(path, f"not YAML: {' '.join(str(error).split())[:100]}")
        return {}
    return mapping(found)


def mapping(found: Any) -> dict[str, Any]:
    """`found` if it is a mapping, else an empty one: a wrong type is nothing to read."""
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def listing(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def word(found: Any) -> str:
    return found if isinstance(found, str) else ""
