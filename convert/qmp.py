"""QEMU's monitor (QMP) of one machine: the few things that a rehearsal asks of it, and the events it sends.

One JSON object a line, over a socket pair that only the two processes have. QEMU is trusted here as little as
anything that runs a guest: a line has a limit, an answer has a deadline, and what does not parse is an error.
"""

from __future__ import annotations

import json
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from transferd.errors import ConversionError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

LINE = 1 << 20
# Writing a screenshot under TCG takes a tenth of a second.
ANSWER_DEADLINE = 10.0


class Monitor:
    """`connection` is non-blocking and belongs to the caller, who waits for it to be readable."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending = b""
        self._answers: dict[object, dict[str, Any]] = {}
        self._asked = 0
        with suppress(OSError):  # it has ended already: `events` tells
            self._ask("qmp_capabilities")

    def fileno(self) -> int:
        return self._connection.fileno()

    def events(self) -> list[str] | None:
        """Names of the events that have come, `SHUTDOWN guest-reset` with its reason; None at the end."""
        try:
            heard = self._connection.recv(1 << 16)
        except BlockingIOError:
            return []
        except ConnectionResetError:
            return None
        if not heard:
            return None
        *lines, self._pending = (self._pending + heard).split(b"\n")
        if len(self._pending) > LINE:
            raise ConversionError("QEMU's monitor does not end its line", operation="rehearse")
        messages = [_parsed(line) for line in lines if line.strip()]
        self._answers |= {message["id"]: message for message in messages if "id" in message}
        return [_named(message) for message in messages if "event" in message]

    def screenshot(self, file: Path) -> bool:
        """Whether QEMU has written the screen to `file` as PNG. Events that come meanwhile are dropped."""
        try:
            asked = self._ask("screendump", filename=str(file), format="png")
        except OSError:  # it has ended
            return False
        until = time.monotonic() + ANSWER_DEADLINE
        while asked not in self._answers:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self], [], [], left)[0] or self.events() is None:
                return False
        return "return" in self._answers[asked]

    def _ask(self, command: str, **arguments: str) -> int:
        self._asked += 1
        message = {"execute": command, "id": self._asked, "arguments": arguments}
        self._connection.sendall(json.dumps(message).encode() + b"\n")
        return self._asked


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise ConversionError("QEMU's monitor does not speak JSON", operation="rehearse") from error
    if not isinstance(message, dict):
        raise ConversionError("QEMU's monitor sent no object", operation="rehearse")
    return message


def _named(message: dict[str, Any]) -> str:
    data = message.get("data")
    reason = data.get("reason", "") if isinstance(data, dict) else ""
    return f"{message['event']} {reason}".strip()
