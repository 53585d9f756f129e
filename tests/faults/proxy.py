"""A proxy between an NBD client and an nbdkit that breaks the conversation where a script says so.

The n-th connection follows the n-th script; connections beyond the scripts are passed on untouched. A script
is a set of faults. Those with `after` strike at that byte of what the server says, greeting included, in the
middle of a message if need be; the others know the protocol: `Flip` finds a disk offset in the replies,
`Resize` the size in the negotiation, `Swallow` counts the answers to reads.

Only whole messages are read from either side (`wire`), by one thread for each connection. nbdkit is always
left in good order, with NBD_CMD_DISC and its last replies read: 1.32 aborts when its client vanishes
(`connections.c`, raw_send_socket), and the fault under test is the client's, not that one. No TLS: behind
STARTTLS there is nothing to parse.

Every wait has a deadline. A harness fault (what came was not NBD) is kept and raised when the proxy closes;
that either end closes its socket is the daily business here.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.faults import wire
from tests.faults.wire import Cmd, Garbled, Gone, Opt, Rep, Reply, Request

DEADLINE = 60.0  # s; no message takes longer on a machine however loaded


@dataclass(frozen=True)
class Reset:
    """The connection is reset. On TCP at once (RST). On a Unix socket by closing it with a request unread,
    so at the first request that comes `after` so many bytes. The client is stopped meanwhile, where it is
    known (`Proxy.client`), and finds an error, a hang-up and the end of the data all at once."""

    after: int


@dataclass(frozen=True)
class Close:
    """The server's end closes early and in good order: FIN, no RST."""

    after: int


@dataclass(frozen=True)
class BlackHole:
    """Nothing is read and nothing written any more, and nobody says so."""

    after: int


@dataclass(frozen=True)
class Delay:
    """The stream stands still, once, for so many seconds."""

    after: int
    seconds: float


@dataclass(frozen=True)
class Flip:
    """The bits of `mask` in the byte at disk offset `at` are inverted the first `times` times it passes."""

    at: int
    mask: int = 1
    times: int = 1


@dataclass(frozen=True)
class Resize:
    """The export claims to have `size` bytes."""

    size: int


@dataclass(frozen=True)
class Swallow:
    """The `nth` read, counted from 1 by its reply, is never answered."""

    nth: int


Timed = Reset | Close | BlackHole | Delay
Fault = Timed | Flip | Resize | Swallow


class Struck(Exception):  # noqa: N818 (an ending that was asked for)
    """The script has ended this connection."""


class Proxy:
    """Listening on `uri` as soon as it is made; use as `with`."""

    def __init__(self, upstream: Path, *scripts: Sequence[Fault], folder: Path | None = None) -> None:
        """On the Unix socket `folder`/proxy.sock, else on a TCP port of the loopback."""
        self._upstream = upstream
        self._scripts = scripts
        self._failures: list[Garbled] = []
        self.links: list[Link] = []
        self.client: subprocess.Popen[bytes] | subprocess.Popen[str] | None = None
        if folder is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.uri = f"nbd://127.0.0.1:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(folder / "proxy.sock"))
            self._listener.listen()
            self.uri = f"nbd+unix:///?socket={folder / 'proxy.sock'}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone does not wake accept
        self._threads[0].join(DEADLINE)
        self._listener.close()
        for link in self.links:
            link.end()
        for thread in self._threads:
            thread.join(DEADLINE)
        if self._failures and kind is None:  # an earlier error is the better story
            raise self._failures[0]

    def held_by_client(self) -> int:
        """Connections that the client has not closed, black-holed ones included."""
        return sum(link.held for link in self.links)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the proxy closes
            script = self._scripts[len(self.links)] if len(self.links) < len(self._scripts) else ()
            self.links.append(link := Link(self, client, script))
            self._threads.append(thread := threading.Thread(target=self._serve, args=(link,)))
            thread.start()

    def _serve(self, link: Link) -> None:
        try:
            link.run(self._upstream)
        except Garbled as fault:
            self._failures.append(fault)


class Link:
    """One connection and the script that it follows."""

    def __init__(self, proxy: Proxy, client: socket.socket, script: Sequence[Fault]) -> None:
        self._proxy = proxy
        self._client = client
        self._client.settimeout(DEADLINE)
        timed = [fault for fault in script if isinstance(fault, Timed)]
        self._timed = sorted(timed, key=lambda fault: fault.after)
        self._flips = [fault for fault in script if isinstance(fault, Flip) for _ in range(fault.times)]
        self._sizes = [fault.size for fault in script if isinstance(fault, Resize)]
        self._swallow = {fault.nth for fault in script if isinstance(fault, Swallow)}
        self._reset_at_request = False
        self._waiting: dict[int, Request] = {}
        self._swallowed: set[int] = set()
        self._reads_answered = 0
        self._ending = threading.Event()
        self._in_order = False  # the server waits for requests
        self.passed = 0  # bytes of what the server said
        self.held = True  # by the client

    def run(self, upstream: Path) -> None:
        """Until the script or either side ends it; OSError of either side is such an end."""
        with (
            self._client,
            socket.socket(socket.AF_UNIX) as server,
            contextlib.suppress(Gone, Struck, OSError),
        ):
            try:
                server.settimeout(DEADLINE)
                server.connect(str(upstream))
                self._negotiate(server)
                while True:
                    self._pass_one(server)
            finally:
                self._client.close()
                self.held = False
                if self._in_order:
                    _leave(server)

    def end(self) -> None:
        """Called from any thread, also twice: wakes whoever waits for this connection."""
        self._ending.set()
        with contextlib.suppress(OSError):  # closed already
            self._client.shutdown(socket.SHUT_RDWR)

    def _negotiate(self, server: socket.socket) -> None:
        self._say(wire.exactly(server, wire.GREETING.size))
        server.sendall(wire.exactly(self._client, wire.CLIENT_FLAGS.size))
        while True:
            option, message = wire.read_option(self._client)
            if option == Opt.EXPORT_NAME:
                raise Garbled("NBD_OPT_EXPORT_NAME: only clients that know NBD_OPT_GO are served")
            server.sendall(message)
            kind = int(Rep.INFO)
            while kind != Rep.ACK and not kind & wire.REPLY_ERROR:
                kind, head, data = wire.read_option_reply(server)
                self._say(head + self._resized(kind, data))
            if option == Opt.GO and kind == Rep.ACK:
                self._in_order = True
                return

    def _resized(self, kind: int, data: bytes) -> bytes:
        if not self._sizes or kind != Rep.INFO or len(data) != wire.INFO_EXPORT.size:
            return data
        info, _, flags = wire.INFO_EXPORT.unpack(data)
        return wire.INFO_EXPORT.pack(info, self._sizes[0], flags)

    def _pass_one(self, server: socket.socket) -> None:
        """One message from whoever speaks."""
        readable, _, _ = select.select([self._client, server], [], [], DEADLINE)
        if not readable:
            raise TimeoutError
        if self._client in readable:
            if self._reset_at_request:
                self._reset()
            request, message = wire.read_request(self._client)
            if request.kind == Cmd.DISC:
                raise Gone  # `_leave` says it to the server
            self._waiting[request.cookie] = request
            server.sendall(message)
        if server in readable:
            self._answer(wire.read_reply(server, self._waiting))

    def _answer(self, reply: Reply) -> None:
        if self._waiting[reply.cookie].kind == Cmd.READ and reply.last:
            self._reads_answered += 1
            if self._reads_answered in self._swallow:
                self._swallowed.add(reply.cookie)
        if reply.last:
            del self._waiting[reply.cookie]
        if reply.cookie in self._swallowed:
            self._swallowed.discard(reply.cookie)
            return
        self._say(self._flipped(reply))

    def _flipped(self, reply: Reply) -> bytes:
        if not self._flips:
            return reply.message
        data = bytearray(reply.data)
        for flip in dict.fromkeys(self._flips):  # each once in a reply
            if reply.start <= flip.at < reply.start + len(data):
                data[flip.at - reply.start] ^= flip.mask
                self._flips.remove(flip)
        return reply.head + data

    def _say(self, message: bytes) -> None:
        """Pass it on to the client, as far as the next fault lets it."""
        rest = memoryview(message)
        while self._timed and self._timed[0].after <= self.passed + len(rest):
            fault = self._timed.pop(0)
            here = fault.after - self.passed
            self._send(rest[:here])
            rest = rest[here:]
            self._strike(fault)
        self._send(rest)

    def _send(self, part: memoryview) -> None:
        self._client.sendall(part)
        self.passed += len(part)

    def _strike(self, fault: Timed) -> None:
        match fault:
            case Delay():
                self._ending.wait(fault.seconds)
            case Close():
                raise Struck
            case BlackHole():
                self._hold()
                raise Struck
            case Reset():
                if self._client.family == socket.AF_UNIX:
                    self._reset_at_request = True
                else:
                    self._reset()

    def _hold(self) -> None:
        """Do nothing until the client has closed its end, which is seen without reading."""
        poll = select.poll()
        poll.register(self._client, select.POLLRDHUP)  # hang-ups and errors are always reported
        while not poll.poll(DEADLINE * 1000):
            pass  # a black hole has no deadline but the proxy's own end

    def _reset(self) -> None:
        frozen = self._proxy.client
        if frozen is not None:
            frozen.send_signal(signal.SIGSTOP)
        if self._client.family != socket.AF_UNIX:
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.close()
        if frozen is not None:
            frozen.send_signal(signal.SIGCONT)
        raise Struck


def _leave(server: socket.socket) -> None:
    """Say goodbye as NBD asks, and read what nbdkit still has to say: it never meets a dead client."""
    with contextlib.suppress(OSError):  # killed by its test
        server.sendall(wire.REQUEST.pack(wire.REQUEST_MAGIC, 0, Cmd.DISC, 0, 0, 0))
        while server.recv(1 << 16):
            pass
