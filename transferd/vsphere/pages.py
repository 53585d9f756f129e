"""One page of changed areas: asked over the session's own connection, read from its XML straight into arrays.

pyVmomi turns an answer into an object for each area and a string for each number, ten seconds for a million
areas. So this one call asks as pyVmomi does (its request, its connections, its cookie, its faults) and reads
the answer itself, seven times as fast: three numbers matter, and nothing but them is kept.

The answer is not trusted. It has a deadline and a size; a document type, the door to entities, is refused;
compression is not asked for, so that there is none to explode.
"""

from __future__ import annotations

import http.client
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast
from xml.parsers import expat

from pyVmomi import vim, vmodl
from pyVmomi.SoapAdapter import SoapResponseDeserializer

from transferd.areas import OPERATION, ChangesUnknown
from transferd.errors import SourceError
from transferd.units import KiB, MiB

DEADLINE = 120.0  # s for one page to arrive; vCenter needs less than one
LARGEST = 16 * MiB  # bytes of an answer; a page of 2000 areas has 150 KB
STEP = 64 * KiB  # bytes read at once
LONGEST = 20  # characters of a number: a 64-bit one with its sign


@dataclass(frozen=True, slots=True)
class Page:
    """What the bytes from `start` to `end` say about changes: areas as they came, not yet to be believed."""

    start: int
    end: int
    starts: array[int]
    lengths: array[int]


class Answer:
    """A parser for `DiskChangeInfo`. Raises ValueError, ExpatError or OverflowError for anything else."""

    def __init__(self) -> None:
        self._described: dict[str, int] = {}
        self._numbers = self._described  # where the next number goes: there, or into an area
        self._starts, self._lengths = array("q"), array("q")
        self._text = ""
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._begin
        self._parser.CharacterDataHandler = self._say
        self._parser.EndElementHandler = self._end

    def feed(self, data: bytes) -> None:
        self._parser.Parse(data, False)

    def page(self) -> Page:
        """When all was fed."""
        self._parser.Parse(b"", True)
        if self._described.keys() != {"startOffset", "length"}:
            raise ValueError("it does not say which bytes it describes")
        start = self._described["startOffset"]
        return Page(start, start + self._described["length"], self._starts, self._lengths)

    def _refuse(self, *_: object) -> None:
        raise ValueError("it has a document type")

    def _begin(self, tag: str, _: dict[str, str]) -> None:
        self._text = ""
        if tag == "changedArea":
            self._numbers = {}

    def _say(self, text: str) -> None:
        self._text += text
        if len(self._text) > LONGEST:
            raise ValueError("it has text in the place of a number")

    def _end(self, tag: str) -> None:
        if tag in {"startOffset", "start", "length"}:
            self._numbers[tag] = int(self._text)
        elif tag == "changedArea":
            if self._numbers.keys() != {"start", "length"}:
                raise ValueError("an area has no start or no length")
            self._starts.append(self._numbers["start"])
            self._lengths.append(self._numbers["length"])
            self._numbers = self._described
        self._text = ""


def ask(machine: Any, snapshot: Any, disk_key: int, start: int, change_id: str) -> Page:
    """`machine.QueryChangedDiskAreas(...)`: the page that begins at `start`, or around it.

    Raises ChangesUnknown for the faults by which vSphere says that it does not know the changeId (any more),
    SourceError for what is no answer; vSphere's other faults as they are.
    """
    try:
        return _ask(machine, (snapshot, disk_key, start, change_id))
    except (vim.fault.FileFault, vim.fault.NotFound, vmodl.fault.InvalidArgument) as fault:
        if getattr(fault, "invalidProperty", None) in {"startOffset", "deviceKey"}:
            raise
        raise ChangesUnknown(
            f"vSphere cannot tell what changed since {change_id}: {type(fault).__name__.rpartition('.')[2]}",
            operation=OPERATION,
            remedy="compare the whole disk",
        ) from fault


def _ask(machine: Any, arguments: tuple[Any, ...]) -> Page:
    stub = machine._stub  # noqa: SLF001 (pyVmomi's name for it)
    method = cast("Any", vim.VirtualMachine.QueryChangedDiskAreas).info  # the type stubs know a function only
    request = stub.SerializeRequest(machine, method, arguments)
    headers = {"Cookie": stub.cookie, "SOAPAction": stub.versionId, "Content-Type": "text/xml; charset=UTF-8"}
    connection = stub.GetConnection()
    try:
        connection.request("POST", stub.path, request, headers)
        reply = _read(connection.getresponse(), stub, method.result)
    except BaseException:
        connection.close()
        raise
    stub.ReturnConnection(connection)
    if isinstance(reply, Page):
        return reply
    raise reply


def _read(response: http.client.HTTPResponse, stub: Any, kind: Any) -> Page | Exception:
    """The page, or the fault that came in its place."""
    try:
        if response.status == http.client.OK:
            answer = Answer()
            for data in _pieces(response):
                answer.feed(data)
            return answer.page()
        if response.status != http.client.INTERNAL_SERVER_ERROR:  # which is how SOAP delivers a fault
            raise http.client.HTTPException(f"{response.status} {response.reason}")
        fault = SoapResponseDeserializer(stub).Deserialize(b"".join(_pieces(response)), kind)
    except (expat.ExpatError, ValueError, OverflowError) as error:
        raise SourceError(f"vCenter's answer cannot be read: {error}") from error
    if not isinstance(fault, Exception):
        raise SourceError("vCenter's answer cannot be read: it is no fault")
    return fault


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body, as it comes. TimeoutError when it takes too long, ValueError when it is too much."""
    until, size, got = time.monotonic() + DEADLINE, response.length, 0
    while size is None or got < size:
        data = response.read1(STEP if size is None else min(STEP, size - got))
        if not data:
            break
        yield data
        got += len(data)
        if got > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        if time.monotonic() > until:
            raise TimeoutError(f"an answer took more than {DEADLINE:.0f} s")
    if size is not None and got < size:
        raise http.client.IncompleteRead(b"", size - got)
    response.close()  # or the connection could not be used again
