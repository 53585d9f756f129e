"""The NBD source on its own: what a connection does when the other side misbehaves."""

import contextlib
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path

from tests import dsl
from tests.cli import DEADLINE, argv
from tests.nbd import NbdServer
from transferd.units import MiB

REQUEST = 28  # bytes of an NBD request


class Cut:
    """A proxy that cuts the first connection the hard way and passes the second one on.

    When enough has passed and the client waits for its next reply, the proxy closes with that request unread:
    an error, a hang-up and the end of the data reach the client's socket all at once.
    """

    def __init__(self, path: Path, server: NbdServer, cut_after: int) -> None:
        self._server = server
        self._cut_after = cut_after
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self.client: subprocess.Popen[bytes] | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError), self._listener:  # the client may have gone: it is judged elsewhere
            self._pass_on(self._cut_after)
            self._server.kill()  # nbdkit 1.32 aborts when its client dies
            self._server.start()
            self._pass_on(None)

    def _pass_on(self, cut_after: int | None) -> None:
        """One thread and one request at a time, so that a request is left unread when the cut comes."""
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._server.socket))
        passed = 0
        with client, server:
            while True:
                readable, _, _ = select.select([client, server], [], [], DEADLINE)
                if client in readable:
                    if cut_after is not None and passed > cut_after:
                        self.client.send_signal(signal.SIGSTOP)
                        break
                    if not (request := client.recv(REQUEST)):
                        return
                    server.sendall(request)
                if server in readable:
                    reply = server.recv(64 << 10)
                    passed += len(reply)
                    client.sendall(reply)
        self.client.send_signal(signal.SIGCONT)


def test_a_reset_while_nothing_is_being_sent_is_noticed_at_once(tmp_path: Path, nbd_server):
    source = dsl.write("ABCDEFGH" * 4, tmp_path / "source")
    server = nbd_server("file", str(source))
    proxy = Cut(tmp_path / "proxy.sock", server, cut_after=5 * MiB)
    target = tmp_path / "target"
    uri = f"nbd+unix:///?socket={tmp_path / 'proxy.sock'}"
    with subprocess.Popen(argv("copy", uri, target, "--queue-depth", 1)) as proxy.client:
        try:
            assert proxy.client.wait(timeout=30) == 0
        finally:
            proxy.client.kill()

    assert source.read_bytes() == target.read_bytes()
