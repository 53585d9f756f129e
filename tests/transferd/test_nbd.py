"""The NBD source on its own: what a connection does when the other side misbehaves."""

import subprocess
from pathlib import Path

from tests import dsl
from tests.cli import argv
from tests.faults.proxy import Proxy, Reset
from transferd.units import MiB


def test_a_reset_while_nothing_is_being_sent_is_noticed_at_once(tmp_path: Path, nbd_server):
    """An error, a hang-up and the end of the data reach the client's socket all at once.

    The process that waits for its only read sees them in one wake-up; libnbd's event loop has slept on them.
    """
    source = dsl.write("ABCDEFGH" * 4, tmp_path / "source")
    server = nbd_server("file", str(source))
    target = tmp_path / "target"
    one_read = ("--connections", 1, "--queue-depth", 1)
    with Proxy(server.socket, [Reset(after=5 * MiB)], folder=tmp_path) as proxy:
        command = argv("copy", proxy.uri, target, *one_read, "--patience", "1h")
        with subprocess.Popen(command) as proxy.client:
            try:
                assert proxy.client.wait(timeout=30) == 0
            finally:
                proxy.client.kill()

    assert source.read_bytes() == target.read_bytes()
