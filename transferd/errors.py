"""Every way transferd ends other than well, as one small family (standard library only).

An error holds fields, not prose: what went wrong, where (VM, disk, operation, offset) and what to do
next. Its text is rendered in one place, on one line, with control characters escaped, because names come
from inventories and guests that are not ours. The exit code belongs to the class; `__main__` is the only
place that exits.

`Transient` never reaches an operator: whoever retries turns the last one into `RetriesExhausted`.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar

OUT_OF_FILES = {errno.EMFILE, errno.ENFILE}  # this machine's limits, not a fault of the file that met them


def printable(text: str) -> str:
    """`text` on one line with control characters escaped, safe for a terminal, a log and a report."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Error(Exception):
    """Root of the family. `problem` says what went wrong; the other fields say where and what to do."""

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        problem: str,
        *,
        vm: str | None = None,
        disk: str | None = None,
        operation: str | None = None,
        offset: int | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.vm = vm
        self.disk = disk
        self.operation = operation
        self.offset = offset
        self.remedy = remedy

    def within(self, *, vm: str | None = None, disk: str | None = None) -> Error:
        """This error with the VM and disk filled in by the caller that knows them."""
        self.vm = self.vm or vm
        self.disk = self.disk or disk
        return self

    def __str__(self) -> str:
        where = [f"VM {self.vm}" if self.vm else "", f"disk {self.disk}" if self.disk else ""]
        at = f" at offset {self.offset}" if self.offset is not None else ""
        where.append(f"{self.operation}{at}" if self.operation else at.strip())
        text = ": ".join([*filter(None, where), self.problem])
        return printable(f"{text}; {self.remedy}" if self.remedy else text)

    def as_document(self) -> dict[str, Any]:
        """The `error` member of a result document."""
        return {
            "kind": type(self).__name__,
            "exit_code": self.exit_code,
            "message": str(self),
            "vm": self.vm and printable(self.vm),
            "disk": self.disk and printable(self.disk),
            "operation": self.operation,
            "offset": self.offset,
            "remedy": self.remedy,
        }


class UsageError(Error):
    """A request that cannot be meant: unknown VM or disk, bad configuration, a missing library or tool."""

    exit_code = 2


class AuthenticationError(Error):
    """Wrong password, thumbprint or certificate. Never retried: a retry can lock the account."""

    exit_code = 3


class SourceError(Error):
    """The source cannot give the bytes, and asking again will not help."""

    exit_code = 4


class TargetError(Error):
    """The target cannot take the bytes: too small, full, read-only, failing."""

    exit_code = 5


class IntegrityError(Error):
    """Bytes differ from what they must be."""

    exit_code = 6


class ConversionError(Error):
    """The guest could not be made to boot on the target hardware."""

    exit_code = 7


class Cancelled(Error):  # noqa: N818 (an ending, not a fault)
    """The operator, or a signal, asked to stop."""

    exit_code = 8


class Fenced(Error):  # noqa: N818 (an ending, not a fault)
    """A newer attempt owns the state; this one must not write another byte."""

    exit_code = 9


class RetriesExhausted(Error):  # noqa: N818 (an ending, not a fault)
    """Something that should have passed did not, within its deadline or number of attempts."""

    exit_code = 10


class Transient(Error):  # noqa: N818 (internal; always caught by whoever retries)
    """May well work next time: connection lost, deadline passed, server busy."""


class Overload(Transient):
    """The source has no memory for this request now: ask for less at once, then again."""
