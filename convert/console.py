"""What a guest says on its serial console, and what that proves. Pure: bytes in, a verdict out.

The guest may say anything, at any speed: the last LIMIT bytes are kept, and what arrives is searched once.
A sign of failure counts before a sign of success, because a guest in emergency mode asks for a login, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from transferd.errors import printable

LIMIT = 1 << 20  # bytes of the log
LINES, WIDTH = 20, 200  # of what is quoted
SENTINEL = 256  # bytes that the text to wait for may have
# No sign is longer, nor is the sentinel; so much of what was searched is searched again with what follows it.
OVERLAP = 512
# ECMA-48 control sequences (CSI), and the two-letter ones.
CONTROL = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\-_a-z]")
# agetty and busybox ask "HOST login: ", at the beginning of a line.
LOGIN = re.compile(rb"[\r\n][^\s\x00-\x1f]{1,64} login: ?(?:\Z|[\s\x1b])")
# Who says it: Linux, initramfs-tools, dracut, systemd and sulogin, GRUB, SeaBIOS, OVMF, boot sectors.
FAILURES = (
    (b"Kernel panic - not syncing", "kernel panic"),
    (b"Gave up waiting for root", "the initramfs gave up waiting for the root file system"),
    (b"Dropping to a shell", "the initramfs dropped to a shell"),
    (b"No init found. Try passing init=", "the root file system has no init"),
    (b"Entering emergency mode", "emergency mode in the initramfs"),
    (b"You are in emergency mode", "emergency mode"),
    (b"You are in rescue mode", "rescue mode"),
    (b"Give root password for maintenance", "emergency mode"),
    (b"Cannot open access to console, the root account is locked", "emergency mode"),
    (b"grub rescue>", "GRUB does not find its files: grub rescue"),
    (b"grub>", "GRUB finds no configuration: its prompt"),
    (b"No bootable device", "no bootable device"),
    (b"Missing operating system", "the boot sector finds no operating system"),
    (b"No bootable option or device was found", "UEFI finds nothing to boot"),
    (b"UEFI Interactive Shell", "UEFI finds nothing to boot: its shell"),
)


@dataclass(frozen=True)
class Verdict:
    outcome: Literal["login", "sentinel", "failed", "unknown"]
    seen: str


@dataclass
class Console:
    """`sentinel`: the text that proves a boot, in the place of a login prompt."""

    sentinel: bytes | None = None
    said: bytearray = field(default_factory=bytearray)
    _searched: bytes = field(default=b"", repr=False)

    def hear(self, heard: bytes) -> Verdict | None:
        """What is decided by this and what came before it."""
        self.said += heard
        if len(self.said) > 2 * LIMIT:  # not each time: it moves all that is kept
            del self.said[:-LIMIT]
        text = self._searched + heard
        self._searched = text[-OVERLAP:]
        return judge(CONTROL.sub(b"", text), self.sentinel)

    def log(self) -> bytes:
        return bytes(self.said[-LIMIT:])

    def last_lines(self) -> list[str]:
        """Harmless for a terminal: without control sequences, escaped, cut."""
        text = CONTROL.sub(b"", self.said[-(LINES * WIDTH * 4) :]).decode("utf-8", "replace")
        lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
        return [printable(line)[:WIDTH] for line in lines if line][-LINES:]


def judge(text: bytes, sentinel: bytes | None) -> Verdict | None:
    for words, seen in FAILURES:
        if words in text:
            return Verdict("failed", seen)
    if sentinel is not None:
        return Verdict("sentinel", "the sentinel") if sentinel in text else None
    return Verdict("login", "a login prompt") if LOGIN.search(text) else None
