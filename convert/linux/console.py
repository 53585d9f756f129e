"""The serial console: nothing is changed, and what will not work on the new machine is said.

The new machine has one serial port, ttyS0, and a screen. A guest that talks to ttyS0 goes on doing so; one
that talks to no serial port shows its login on the screen, as it did before, and its serial console stays
silent: nobody asked for another. What is worth a word are command lines that name only ports which are not
there, and boot messages on ttyS0 with no login behind them. systemd starts a login on the port of the
command line by itself (systemd-getty-generator(8)).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux.edits import files
from convert.plan import Contribution
from convert.tree import text
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.inspection import Inspection
    from convert.tree import Tree
    from convert.wishes import Wishes

PORT = "ttyS0"
CONSOLE = re.compile(r"(?:^|\s)console=([A-Za-z]+\d*)")
# Serial ports beside the first, and the consoles of Xen and POWER.
ABSENT = re.compile(r"ttyS[1-9]\d*|hvc\d+|xvc\d+")
# Ubuntu's own, and Red Hat's, which starts one for each port of the command line.
UPSTART = ("/etc/init/ttyS0.conf", "/etc/init/serial.conf")
OPENRC = "/etc/runlevels/default/agetty.ttyS0"


def look_at_console(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:  # noqa: ARG001 (a step)
    """Look at the serial console."""
    entry = next((entry for entry in inspection.entries if entry.default), None)
    consoles = CONSOLE.findall(entry.options) if entry else []
    return Contribution(warnings=tuple(_warnings(tree, inspection, consoles)))


def _warnings(tree: Tree, inspection: Inspection, consoles: list[str]) -> Iterator[Warning_]:
    if consoles and all(ABSENT.fullmatch(console) for console in consoles):
        yield Warning_(
            code="console-not-there",
            message=f"the kernel writes to {', '.join(consoles)}, which the new machine does not have",
            remedy=f"put console=tty0 console={PORT} in its place in the boot loader's configuration",
        )
    if PORT in consoles and inspection.init != "systemd" and not _has_login(tree):
        yield Warning_(
            code="console-without-login",
            message=f"the kernel writes to {PORT}, and nothing starts a login there",
            remedy=f"add a getty for {PORT} in the guest if its serial console shall be used",
        )


def _has_login(tree: Tree) -> bool:
    if any(tree.exists(path) for path in UPSTART) or tree.link(OPENRC) is not None:
        return True
    paths = ["/etc/inittab", *files(tree, "/etc/inittab.d", ".tab")]
    return any(_starts_login(line) for path in paths for line in _lines(tree, path))


def _starts_login(line: str) -> bool:
    """inittab(5): ID:RUNLEVELS:ACTION:PROCESS."""
    fields = line.split(":", 3)
    if len(fields) < 4 or fields[0].startswith("#") or fields[2] != "respawn":  # noqa: PLR2004 (the fields)
        return False
    words = fields[3].split()
    return PORT in words and any("getty" in word for word in words)


def _lines(tree: Tree, path: str) -> list[str]:
    try:
        return (text(tree, path) or "").splitlines()
    except ConversionError:
        return []
