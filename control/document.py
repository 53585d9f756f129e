"""Reads a YAML document that an enemy may have written.

YAML can be small and still be too much: aliases unfold 1 KiB into gigabytes, deep nesting exhausts the stack,
a number of 100 KiB takes seconds to convert. So a document is first walked as a flat stream of parser
events, which costs what it is long, and only then built. Documents between processes are trees: they
need no alias at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from transferd.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

# The manifest of a VM with all that vSphere allows, 256 disks and 10 NICs, has 60 KiB, 4400 nodes, depth 9.
MAX_BYTES = 256 << 10
MAX_NODES = 20_000
MAX_DEPTH = 32
MAX_SCALAR = 1024


def read(path: Path) -> object:
    """The one document in the file; UsageError if there is none, or if it exceeds a limit."""
    operation = f"read {path}"
    if not path.is_file():  # opening a FIFO would wait for ever
        raise UsageError("no such file", operation=operation, remedy="give the path of a manifest")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read: {error.strerror}", operation=operation) from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"larger than {MAX_BYTES} bytes", operation=operation, remedy="refused unread")
    try:
        text = content.decode()
        _walk(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date like 2001-99-99
        problem = " ".join(str(error).split())
        raise UsageError(f"not an acceptable YAML document: {problem}", operation=operation) from error


def _walk(text: str) -> None:
    nodes = depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR:
            raise yaml.YAMLError(f"it has a value of more than {MAX_SCALAR} characters")
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it has more than {MAX_NODES} nodes or is nested deeper than {MAX_DEPTH}")
