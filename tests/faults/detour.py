"""A port that leads to one server now and to another later, as a name does that is pointed elsewhere."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

LOOK = 0.1  # s between looks whether it is over
PIECE = 65536


class Detour:
    """Listening on `port` as soon as it is made; use as `with`. New connections go to the port `to`."""

    def __init__(self, to: int) -> None:
        self.to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LOOK)
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        self._threads[0].join()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for end in (*self._ends, self._listener):
            end.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            far = socket.create_connection(("127.0.0.1", self.to))
            near.settimeout(None)
            self._ends += [near, far]
            for one, other in ((near, far), (far, near)):
                self._threads.append(threading.Thread(target=_carry, args=(one, other)))
                self._threads[-1].start()


def _carry(one: socket.socket, other: socket.socket) -> None:
    """What one end says to the other, until it says no more."""
    with suppress(OSError):
        while data := one.recv(PIECE):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)
