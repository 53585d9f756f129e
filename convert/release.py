"""Which distribution this is, by what it says of itself and by what its package manager keeps.

For the report only: no step decides by a name. os-release(5) came in 2012; before it each family had a file
of its own, a line of text. A package database is recognized by its files and never opened: a broken one is
the guest's affair.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from convert.tree import text

if TYPE_CHECKING:
    from convert.tree import Tree

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
# Older than os-release, the more particular first: CentOS has redhat-release too. A family without a name of
# its own in the file is told by its first word.
OLD_RELEASES: dict[str, str | None] = {
    "/etc/oracle-release": "ol",
    "/etc/centos-release": "centos",
    "/etc/system-release": None,
    "/etc/redhat-release": None,
    "/etc/SuSE-release": None,
    "/etc/alpine-release": "alpine",
    "/etc/arch-release": "arch",
    "/etc/gentoo-release": "gentoo",
    "/etc/slackware-version": "slackware",
    "/etc/debian_version": "debian",
}
NAMES = {
    "red hat": "rhel",
    "centos": "centos",
    "scientific": "scientific",
    "oracle": "ol",
    "fedora": "fedora",
    "amazon": "amzn",
    "suse linux enterprise": "sles",
    "opensuse": "opensuse",
}
PACKAGES = {
    "dpkg": ("/var/lib/dpkg/status",),
    "rpm": ("/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"),
    "apk": ("/lib/apk/db/installed", "/usr/lib/apk/db/installed"),
    "pacman": ("/var/lib/pacman/local",),
    "portage": ("/var/db/pkg",),
}
VALUE_LIMIT = 256
NUMBER = re.compile(r"\d[\w.]*")
# SuSE-release: `VERSION = 11`, `PATCHLEVEL = 4`.
SUSE_VERSION = re.compile(r"^(VERSION|PATCHLEVEL)[ \t]*=[ \t]*(\d+)", re.MULTILINE)


def release(tree: Tree) -> dict[str, str]:
    """os-release's fields, as data: ID, VERSION_ID and PRETTY_NAME at least, where anything tells them."""
    content = next((told for path in OS_RELEASE if (told := text(tree, path)) is not None), "")
    pairs = [line.partition("=") for line in content.splitlines() if "=" in line and not line.startswith("#")]
    found = {key.strip(): _unquoted(value) for key, _, value in pairs}
    return found if found.get("ID") else {**_old_release(tree), **found}


def packages(tree: Tree) -> str | None:
    """The package manager whose database is here. dpkg is asked first: rpm is a mere tool on Debian."""
    found = [name for name, paths in PACKAGES.items() if any(_has(tree, path) for path in paths)]
    return found[0] if found else None


def _has(tree: Tree, path: str) -> bool:
    return bool(tree.names(path)) or tree.exists(path)


def _unquoted(value: str) -> str:
    """os-release(5) quotes like a shell; what a shell would refuse is taken as it stands."""
    if len(value) > VALUE_LIMIT * 4:
        return value[:VALUE_LIMIT]
    try:
        return " ".join(shlex.split(value))[:VALUE_LIMIT]
    except ValueError:
        return value.strip()[:VALUE_LIMIT]


def _old_release(tree: Tree) -> dict[str, str]:
    for path, ident in OLD_RELEASES.items():
        content = text(tree, path)
        if content is not None:
            return _told(content, ident)
    return {}


def _told(content: str, ident: str | None) -> dict[str, str]:
    line = content.strip().partition("\n")[0].strip()[:VALUE_LIMIT]
    known = ident or next((name for start, name in NAMES.items() if line.lower().startswith(start)), None)
    number = NUMBER.search(line)
    version = number[0] if number else ""
    if suse := dict(SUSE_VERSION.findall(content)):
        version = ".".join(suse[key] for key in ("VERSION", "PATCHLEVEL") if suse.get(key, "0") != "0")
    named = line if any(c.isalpha() for c in line) and not ident else f"{ident or 'Linux'} {version}".strip()
    facts = {"ID": known, "VERSION_ID": version, "PRETTY_NAME": named}
    return {key: value for key, value in facts.items() if value}
