"""Lines and words of configuration files, taken apart so that joining them gives the same bytes. Pure.

Not str.splitlines, which also breaks at form feeds and other characters that no configuration file ends a
line with.
"""

from __future__ import annotations

import re

LINE = re.compile(r"[^\n]*\n|[^\n]+")
WORD = re.compile(r"\S+")


def lines(content: str) -> list[str]:
    """With their ends."""
    return LINE.findall(content)


def is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def replaced(line: str, new: dict[int, str]) -> str:
    """`line` with its words, counted from 0, replaced; columns stay where they were if the blanks suffice."""
    out: list[str] = []
    end = 0
    for at, word in enumerate(WORD.finditer(line)):
        if at in new and new[at] != word[0]:
            out += [line[end : word.start()], new[at]]
            end = word.end()
            spare = min(max(0, len(new[at]) - len(word[0])), max(0, _blanks(line[end:]) - 1))
            end += spare
    return "".join([*out, line[end:]])


def _blanks(rest: str) -> int:
    return len(rest) - len(rest.lstrip(" "))
