"""The NBD protocol as bytes: just enough to look into a conversation, and to lie in one.

Source of every number: the NBD project's `doc/proto.md`, fixed newstyle negotiation, 64-bit extensions left
out. All integers are big-endian.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

GREETING = struct.Struct(">8sQH")  # NBDMAGIC, IHAVEOPT, flags
CLIENT_FLAGS = struct.Struct(">I")
OPTION = struct.Struct(">QII")  # IHAVEOPT, option, length
OPTION_REPLY = struct.Struct(">QIII")  # magic, option, type, length
REQUEST = struct.Struct(">IHHQQI")  # magic, flags, type, cookie, offset, length
SIMPLE = struct.Struct(">IIQ")  # magic, error, cookie
CHUNK = struct.Struct(">IHHQI")  # magic, flags, type, cookie, length
INFO_EXPORT = struct.Struct(">HQH")  # NBD_INFO_EXPORT, size, transmission flags

NBD_MAGIC = b"NBDMAGIC"
IHAVEOPT = 0x49484156454F5054
OPTION_REPLY_MAGIC = 0x3E889045565A9
REQUEST_MAGIC = 0x25609513
SIMPLE_MAGIC = 0x67446698
CHUNK_MAGIC = 0x668E33EF

FIXED_NEWSTYLE = 1
NO_ZEROES = 2
HAS_FLAGS = 1
READ_ONLY = 2
INFO_EXPORT_TYPE = 0
REPLY_ERROR = 1 << 31
FLAG_DONE = 1
STATE_HOLE = 1
STATE_ZERO = 2
MAX_PAYLOAD = 64 << 20  # bytes; libnbd refuses more than this too


class Opt(IntEnum):
    EXPORT_NAME = 1
    ABORT = 2
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


class Rep(IntEnum):
    ACK = 1
    INFO = 3
    META_CONTEXT = 4
    ERR_UNSUP = REPLY_ERROR + 1


class Cmd(IntEnum):
    READ = 0
    WRITE = 1
    DISC = 2
    BLOCK_STATUS = 7


class Chunk(IntEnum):
    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5
    ERROR = (1 << 15) + 1
    ERROR_OFFSET = (1 << 15) + 2


@dataclass(frozen=True)
class Request:
    """One command of the client; a write's payload is not kept."""

    kind: int
    cookie: int
    offset: int
    length: int


class Gone(Exception):  # noqa: N818 (how conversations end)
    """The other side closed its end."""


class Garbled(Exception):  # noqa: N818 (a verdict on the sender)
    """What came is not NBD: where both sides are real programs, a fault of the harness."""


def exactly(sock: socket.socket, count: int) -> bytes:
    """`count` bytes, or Gone; TimeoutError by the socket's own timeout."""
    received = bytearray(count)
    view = memoryview(received)
    while view:
        got = sock.recv_into(view)
        if not got:
            raise Gone
        view = view[got:]
    return bytes(received)


def read_option(sock: socket.socket) -> tuple[int, bytes]:
    """The client's next option: its number and the whole message."""
    head = exactly(sock, OPTION.size)
    magic, option, length = OPTION.unpack(head)
    _insist(magic == IHAVEOPT and length <= MAX_PAYLOAD, "option", head)
    return option, head + exactly(sock, length)


def read_option_reply(sock: socket.socket) -> tuple[int, bytes, bytes]:
    """The server's next option reply: its type, its header and its data."""
    head = exactly(sock, OPTION_REPLY.size)
    magic, _, kind, length = OPTION_REPLY.unpack(head)
    _insist(magic == OPTION_REPLY_MAGIC and length <= MAX_PAYLOAD, "option reply", head)
    return kind, head, exactly(sock, length)


def read_request(sock: socket.socket) -> tuple[Request, bytes]:
    """The client's next command and the whole message."""
    head = exactly(sock, REQUEST.size)
    magic, _, kind, cookie, offset, length = REQUEST.unpack(head)
    _insist(magic == REQUEST_MAGIC and length <= 1 << 32, "request", head)
    payload = exactly(sock, length) if kind == Cmd.WRITE else b""
    return Request(kind, cookie, offset, length), head + payload


@dataclass(frozen=True)
class Reply:
    """One message of the server. `data` lies at disk offset `start`; it is empty where no disk bytes came."""

    cookie: int
    last: bool
    head: bytes
    start: int
    data: bytes

    @property
    def message(self) -> bytes:
        return self.head + self.data


def read_reply(sock: socket.socket, waiting: dict[int, Request]) -> Reply:
    """The server's next reply or chunk. `waiting` tells, by cookie, how long a simple reply's data is."""
    (magic,) = struct.unpack(">I", start := exactly(sock, 4))
    if magic == SIMPLE_MAGIC:
        head = start + exactly(sock, SIMPLE.size - 4)
        _, error, cookie = SIMPLE.unpack(head)
        _insist(cookie in waiting, "simple reply", head)
        request = waiting[cookie]
        carries = request.kind == Cmd.READ and not error
        data = exactly(sock, request.length) if carries else b""
        return Reply(cookie, last=True, head=head, start=request.offset, data=data)
    _insist(magic == CHUNK_MAGIC, "reply", start)
    head = start + exactly(sock, CHUNK.size - 4)
    _, flags, kind, cookie, length = CHUNK.unpack(head)
    _insist(cookie in waiting and length <= MAX_PAYLOAD, "chunk", head)
    payload = exactly(sock, length)
    last = bool(flags & FLAG_DONE)
    if kind != Chunk.OFFSET_DATA:
        return Reply(cookie, last, head + payload, 0, b"")
    return Reply(cookie, last, head + payload[:8], int.from_bytes(payload[:8], "big"), payload[8:])


def option_reply(option: int, kind: int, data: bytes = b"") -> bytes:
    return OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, kind, len(data)) + data


def simple(cookie: int, data: bytes = b"", error: int = 0) -> bytes:
    return SIMPLE.pack(SIMPLE_MAGIC, error, cookie) + data


def chunk(kind: int, cookie: int, payload: bytes = b"", *, done: bool = False) -> bytes:
    return CHUNK.pack(CHUNK_MAGIC, FLAG_DONE if done else 0, kind, cookie, len(payload)) + payload


def _insist(sound: bool, what: str, seen: bytes) -> None:
    if not sound:
        raise Garbled(f"not an NBD {what}: {seen.hex()}")
