"""HTML and SVG from values: the one place where a string becomes part of a page.

`element` escapes every child and every attribute that is not `Markup` already, and only `element` makes
`Markup`; a string built from one, by `+` or an f-string, is an ordinary string again and will be escaped.
So a hostile name can be drawn but cannot say anything. What comes out is HTML and well-formed XML alike.
"""

from __future__ import annotations

import html

from transferd.errors import printable

VOID = frozenset({"meta", "link", "br"})  # elements of HTML that have no end tag


class Markup(str):
    """Text that is markup. Made by `element` and `join`, and of constants of this program."""

    __slots__ = ()


def text(value: object) -> Markup:
    """`value` as characters to be read: control characters are spelt out, markup is escaped."""
    return value if isinstance(value, Markup) else Markup(html.escape(printable(str(value))))


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """`<tag>` around its children. `stroke_width` is `stroke-width`, `class_` is `class`."""
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(value)}"' for name, value in attributes.items()
    )
    if tag in VOID:
        return Markup(f"<{tag}{given} />")
    return Markup(f"<{tag}{given}>{join(*children)}</{tag}>")


def join(*parts: object) -> Markup:
    return Markup("".join(map(text, parts)))
