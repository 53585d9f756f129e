"""lvm.conf: filters that let the old names of disks in keep their meaning for the new ones. Pure.

A filter is a list of patterns, `a|...|` to accept and `r|...|` to reject; the first that matches a path
decides for that path, and a device is in when one of its paths is (lvm.conf(5), devices/filter). One like
`[ "a|^/dev/sd|", "r|.*|" ]` hides every VirtIO disk, and with it the volume group that the root lies in. So
for each physical volume it is asked whether it was in under its old paths and would be under its new ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert import hardware

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convert.devices import FileSystem
    from convert.linux.disks.names import Names

STRING = r"\"(?:[^\"\\]|\\.)*\""
SETTING = re.compile(
    rf"^([ \t]*(?:global_)?filter[ \t]*=[ \t]*)(\[(?:[\s,]|#[^\n]*\n|{STRING})*\]|{STRING})", re.MULTILINE
)
ITEM = re.compile(rf"#[^\n]*|({STRING})")
CLOSING = {"(": ")", "[": "]", "{": "}"}
# The guest's patterns run here, so one that could take forever does not: no group repeats, few items do.
REPEATED_GROUP = re.compile(r"\)\s*[*+?{]")
REPEATS = 6
# Character classes and what may become set operations mean something else to Python.
NESTED = re.compile(r"\[\[|\[:|--|&&|~~|\|\|")
PATTERN_LIMIT = 200
PATTERNS = 200
VIRTIO = "/dev/vd"


@dataclass(frozen=True)
class Pattern:
    accepts: bool
    form: re.Pattern[str]


def lvm(content: str, names: Names, where: str) -> str:
    return SETTING.sub(lambda match: match[1] + _filter(match[2], names, where), content)


def _filter(setting: str, names: Names, where: str) -> str:
    texts = [match[1][1:-1] for match in ITEM.finditer(setting) if match[1]]
    patterns = [_pattern(text) for text in texts[:PATTERNS]]
    known = [pattern for pattern in patterns if pattern is not None]
    if len(known) < len(texts):
        names.warn(where, "a filter", "its patterns are none that can be followed")
        return setting
    volumes = [f for f in names.devices.filesystems if f.kind == "LVM2_member" and f.disk is not None]
    lost = [
        f for f in volumes if _lets_in(known, _old_paths(f, names)) and not _lets_in(known, _new_paths(f))
    ]
    if not lost:
        return setting
    hidden = [f for f in volumes if not _lets_in(known, _old_paths(f, names))]
    wanted = [f"a|/lvm-pv-uuid-{f.uuid}$|" for f in lost] if hidden else [f"a|^{VIRTIO}|"]
    names.note(where, f"the filter {' '.join(texts)[:PATTERN_LIMIT]} would hide VirtIO disks")
    items = ", ".join(f'"{text}"' for text in wanted)
    return f"[ {items}, {setting.removeprefix('[').lstrip(' ')}" + ("" if setting.startswith("[") else " ]")


def _pattern(text: str) -> Pattern | None:
    """None for what is no pattern, or none that is safe to run."""
    if text[:1] not in ("a", "r") or not text[2:] or len(text) > PATTERN_LIMIT:
        return None
    regex = text[2:].removesuffix(CLOSING.get(text[1], text[1]))
    if NESTED.search(regex) or REPEATED_GROUP.search(regex) or sum(map(regex.count, "*+?{")) > REPEATS:
        return None
    try:
        return Pattern(text[0] == "a", re.compile(regex))
    except (re.error, OverflowError):
        return None


def _lets_in(patterns: Sequence[Pattern], paths: Sequence[str]) -> bool:
    verdicts = [next((p.accepts for p in patterns if p.form.search(path)), None) for path in paths]
    return True in verdicts or False not in verdicts


def _old_paths(volume: FileSystem, names: Names) -> list[str]:
    kernels, links = names.old_paths(volume.disk or 0)
    part = f"-part{volume.partition}" if volume.partition else ""
    return [
        *(_partition(name, volume) for name in kernels),
        *(link + part for link in links),
        *_content_paths(volume),
    ]


def _new_paths(volume: FileSystem) -> list[str]:
    return [_partition(hardware.lettered(VIRTIO, volume.disk or 0), volume), *_content_paths(volume)]


def _content_paths(volume: FileSystem) -> list[str]:
    """Links that udev makes from what is on the device (60-persistent-storage.rules, 69-dm-lvm.rules)."""
    part = [f"/dev/disk/by-partuuid/{volume.partuuid}"] if volume.partuuid else []
    return [f"/dev/disk/by-id/lvm-pv-uuid-{volume.uuid}", *part]


def _partition(disk: str, volume: FileSystem) -> str:
    separator = "p" if disk[-1:].isdigit() and volume.partition else ""
    return f"{disk}{separator}{volume.partition or ''}"
