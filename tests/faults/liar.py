"""A hostile NBD server: speaks fixed newstyle over a Unix socket, and lies as a seed tells it to.

The seed decides the character of the whole run (whether replies are structured, which size the export
claims, how often it lies) and, with the connection's number, every lie on that connection: the same client
making the same requests meets the same lies. Most characters tire of lying after a few, so that a client
with patience can end well, and must then hold the right bytes; some never tire.

The server ends with its `with`; every socket has a deadline.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from pathlib import Path
from random import Random
from typing import Self

from tests.faults import lies, wire
from tests.faults.lies import ESCAPES, HANG_UP, Question
from tests.faults.wire import Garbled, Gone, Opt, Rep

DEADLINE = 60.0  # s
CONTEXT = b"base:allocation"
WRONG_SIZES = (0, 1, 511, 1 << 63, (1 << 63) + 511, (1 << 64) - 1)


class Liar:
    """Listening on `uri` as soon as it is made; use as `with`."""

    def __init__(self, folder: Path, seed: int, content: bytes) -> None:
        self._seed = seed
        chance = Random(seed)
        self._structured = chance.random() < 0.8
        self.size = chance.choice(WRONG_SIZES) if chance.random() < 0.1 else len(content)
        self._grows = chance.random() < 0.1  # once a client has seen the size
        self._seen = False
        self._handshake_rate = chance.choice([0, 0, 0, 0.3, 1])
        self._rate = chance.choice([0.02, 0.1, 0.5, 1])
        self._patience = chance.choice([0, 1, 2, 4, 8, 1 << 30])  # lies until it is honest for good
        self._content = content[: self.size]
        self._numbers = itertools.count()
        self._clients: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.told: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        path = folder / f"liar{seed}.sock"
        self._listener.bind(str(path))
        self._listener.listen()
        self.uri = f"nbd+unix:///?socket={path}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def content(self) -> bytes | None:
        """What an honest copy holds; None where no copy can be: an empty disk, or one beyond any file."""
        return self._content if 0 < self.size <= len(self._content) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(DEADLINE)
        self._listener.close()
        for client in self._clients:
            with contextlib.suppress(OSError):  # closed already
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the server ends
            self._clients.append(client)
            self._threads.append(thread := threading.Thread(target=self._serve, args=(client,)))
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        number = next(self._numbers)
        chance = Random(f"{self._seed}:{number}")
        # OSError: a client may hang up on a liar at any byte. Garbled: after some lies it talks past us.
        with client, contextlib.suppress(Gone, OSError, Garbled):
            client.settimeout(DEADLINE)
            size = self.size + 512 * (self._grows and self._seen)
            structured = Handshake(client, size, self._lie_about_options(chance)).run(may=self._structured)
            self._seen = True
            while True:
                request, _ = wire.read_request(client)
                if request.kind == wire.Cmd.DISC:
                    return
                self._answer(client, Question(request, self._content, structured), chance)

    def _lie_about_options(self, chance: Random) -> str | None:
        if chance.random() >= self._handshake_rate or not self._willing():
            return None
        lie = chance.choice(HANDSHAKE_LIES)
        self.told.append(lie)
        return lie

    def _willing(self) -> bool:
        return len(self.told) < self._patience

    def _answer(self, client: socket.socket, question: Question, chance: Random) -> None:
        parts = [lies.honest(question)]
        if chance.random() < self._rate and self._willing():
            lie = chance.choice(lies.fitting(question))
            self.told.append(f"{lie.__name__} at {question.request.offset}")
            parts = lie(question, chance)
        for part in parts:
            if part == HANG_UP:
                raise Gone
            client.sendall(part)


HANDSHAKE_LIES = (
    "greeting is not NBD",
    "greeting is oldstyle",
    "greeting ends early",
    "hung up after an option",
    "option reply without magic",
    "option reply to another option",
    "option reply of 4 GiB",
    "option reply is noise",
    "error with escape sequences",
    "ack without information",
    "information is short",
    "information of unknown kinds",
    "context twice",
    "context of another name",
    "context without end",
)


class Handshake:
    """The negotiation with one client, with at most one lie in it."""

    def __init__(self, client: socket.socket, size: int, lie: str | None) -> None:
        self._client = client
        self._size = size
        self._lie = lie

    def run(self, *, may: bool) -> bool:
        """True if the client will get structured replies, which it is given if it asks and they `may` be."""
        self._greet()
        wire.exactly(self._client, wire.CLIENT_FLAGS.size)
        structured = False
        while True:
            option, message = wire.read_option(self._client)
            self._disturb(option)
            match option:
                case Opt.STRUCTURED_REPLY if may:
                    structured = True
                    self._reply(option, Rep.ACK)
                case Opt.SET_META_CONTEXT | Opt.LIST_META_CONTEXT if structured:
                    self._offer(option)
                case Opt.GO:
                    self._inform(option)
                    return structured
                case Opt.ABORT:
                    raise Gone
                case _:
                    self._reply(option, Rep.ERR_UNSUP, message[-4:])

    def _greet(self) -> None:
        greeting = wire.GREETING.pack(wire.NBD_MAGIC, wire.IHAVEOPT, wire.FIXED_NEWSTYLE | wire.NO_ZEROES)
        match self._lie:
            case "greeting is not NBD":
                greeting = b"HTTP/1.0 200 OK\r\n\r\n"
            case "greeting is oldstyle":
                oldstyle = struct.pack(">QQI124x", 0x420281861253, 1 << 62, 0xFFFF)
                self._client.sendall(wire.NBD_MAGIC + oldstyle)
                raise Gone
            case "greeting ends early":
                self._client.sendall(greeting[:11])
                raise Gone
        self._client.sendall(greeting)

    def _disturb(self, option: int) -> None:
        """Lies that can be told to any option come before its honest answer, or end the conversation."""
        match self._lie:
            case "hung up after an option":
                raise Gone
            case "option reply without magic":
                self._client.sendall(bytes(8) + struct.pack(">III", option, Rep.ACK, 0))
            case "option reply to another option":
                self._reply(option + 1, Rep.ACK)
            case "option reply of 4 GiB":
                head = wire.OPTION_REPLY.pack(wire.OPTION_REPLY_MAGIC, option, Rep.INFO, 0xFFFFFFFF)
                self._client.sendall(head + bytes(1 << 16))
                raise Gone
            case "option reply is noise":
                self._client.sendall(Random(option).randbytes(4096))
                raise Gone
            case "error with escape sequences" if option == Opt.GO:
                self._reply(option, Rep.ERR_UNSUP + 5, ESCAPES)

    def _offer(self, option: int) -> None:
        context, copies = CONTEXT, 1
        match self._lie:
            case "context twice":
                copies = 2
            case "context of another name":
                context = ESCAPES
            case "context without end":
                context = b"base:" + b"x" * 5000
        for _ in range(copies):
            self._reply(option, Rep.META_CONTEXT, struct.pack(">I", lies.CONTEXT) + context)
        self._reply(option, Rep.ACK)

    def _inform(self, option: int) -> None:
        flags = wire.HAS_FLAGS | wire.READ_ONLY
        export = wire.INFO_EXPORT.pack(wire.INFO_EXPORT_TYPE, self._size, flags)
        match self._lie:
            case "ack without information":
                export = b""
            case "information is short":
                export = export[:7]
            case "information of unknown kinds":
                for kind in (3, 99, 0xFFFF):
                    self._reply(option, Rep.INFO, struct.pack(">H", kind) + ESCAPES)
        if export:
            self._reply(option, Rep.INFO, export)
        self._reply(option, Rep.ACK)

    def _reply(self, option: int, kind: int, data: bytes = b"") -> None:
        self._client.sendall(wire.option_reply(option, kind, data))
