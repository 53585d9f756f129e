"""VMware's package repositories disabled in the text of yum, zypper and apt: pure.

Only those with the guest tools: VMware also serves whole distributions (Photon), whose updates must go on.
"""

from __future__ import annotations

import re

TOOLS = re.compile(r"https?://[\w.-]*\b(?:vmware|broadcom)\.com/(?:[^\s#]*/)?(?:tools|packages)(?:[/\s,]|$)")
SECTION = re.compile(r"^(?=\[)", re.MULTILINE)
# Longer lines are no addresses, and the search above is quadratic in their length.
LINE_LIMIT = 4096
ENABLED = re.compile(r"^enabled[ \t]*=.*$", re.MULTILINE | re.IGNORECASE)
STANZA = re.compile(r"(?<=\n)(?=[ \t]*\n)")
DEB822_ENABLED = re.compile(r"^Enabled[ \t]*:.*$", re.MULTILINE | re.IGNORECASE)
DEB822_BEGIN = re.compile(r"^(?=Types[ \t]*:)", re.MULTILINE | re.IGNORECASE)


def ini(text: str) -> str:
    """yum.conf(5) and zypper: `enabled=0` in each section that has such an address."""
    return "".join(_disabled(section) for section in SECTION.split(text))


def _disabled(section: str) -> str:
    if not section.startswith("[") or not _names_tools(section):
        return section
    if ENABLED.search(section):
        return ENABLED.sub("enabled=0", section)
    head, newline, rest = section.partition("\n")
    return f"{head}\nenabled=0{newline or chr(10)}{rest}"


def one_line(text: str) -> str:
    """sources.list(5), one-line style: the line becomes a comment."""
    return "".join(f"# {line}" if _names_tools(line) else line for line in text.splitlines(keepends=True))


def deb822(text: str) -> str:
    """sources.list(5), deb822 style: `Enabled: no` in the stanza."""
    return "".join(_deb822_disabled(stanza) for stanza in STANZA.split(text))


def _deb822_disabled(stanza: str) -> str:
    if not _names_tools(stanza):
        return stanza
    if DEB822_ENABLED.search(stanza):
        return DEB822_ENABLED.sub("Enabled: no", stanza)
    return DEB822_BEGIN.sub("Enabled: no\n", stanza, count=1)


def _names_tools(text: str) -> bool:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return any(TOOLS.search(line[:LINE_LIMIT]) for line in lines)
