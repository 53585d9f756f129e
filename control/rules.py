"""Allow-lists as values: a rule looks at one node of a document and names what is not allowed there.

A rule is built once from smaller rules and has the shape of the document that it admits, so that reading
the rule is reading the document. What a rule does not mention is refused: a new field of a new Kubernetes
release is a decision to take, not a default to inherit.

Values are compared with their type: YAML's `true` and `1` are equal to Python and are not the same here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Rule = Callable[[str, Any], Iterator[str]]
"""`rule(path, value)` yields one `path: problem` for each thing wrong at or below `path`."""

SHOWN = 60  # characters of a foreign value that a message quotes: enough to find it, too few to flood a log


def shown(value: object) -> str:
    """`value` for a message, cut: it may be a hostile megabyte."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def exactly(*allowed: Any) -> Rule:
    """One of these values."""
    wanted = " or ".join(map(repr, allowed)) or "allowed: nothing is here"

    def rule(path: str, value: Any) -> Iterator[str]:
        if not any(type(value) is type(one) and value == one for one in allowed):
            yield f"{path}: {shown(value)} is not {wanted}"

    return rule


def matching(syntax: str, what: str) -> Rule:
    """A string that is `syntax` from end to end; `what` names it in the message."""
    pattern = re.compile(syntax)

    def rule(path: str, value: Any) -> Iterator[str]:
        if not (isinstance(value, str) and pattern.fullmatch(value)):
            yield f"{path}: {shown(value)} is not {what}"

    return rule


def whole(low: int, high: int) -> Rule:
    """An integer from `low` to `high`, both included."""

    def rule(path: str, value: Any) -> Iterator[str]:
        if type(value) is not int or not low <= value <= high:
            yield f"{path}: {shown(value)} is not a number from {low} to {high}"

    return rule


def fields(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    """A mapping with all the required fields, perhaps some of the optional ones, and no other."""
    known = {**required, **(optional or {})}

    def rule(path: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: {shown(value)} is not a mapping"
            return
        for key, inner in value.items():
            if key in known:
                yield from known[key](f"{path}.{key}", inner)
            else:
                yield f"{path}: field {shown(key)} is not allowed"
        yield from (f"{path}: field '{key}' is missing" for key in required if key not in value)

    return rule


def either(**choices: Rule) -> Rule:
    """A mapping with exactly one of these fields and nothing else."""
    inner = fields({}, choices)

    def rule(path: str, value: Any) -> Iterator[str]:
        yield from inner(path, value)
        if isinstance(value, dict) and len(choices.keys() & value.keys()) != 1:
            yield f"{path}: needs exactly one of {', '.join(choices)}"

    return rule


def each(inner: Rule) -> Rule:
    """A list, every member of which `inner` admits."""

    def rule(path: str, value: Any) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path}: {shown(value)} is not a list"
            return
        for i, member in enumerate(value):
            yield from inner(f"{path}[{i}]", member)

    return rule
