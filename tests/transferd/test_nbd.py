"""The NBD source on its own: what a connection does when the other side misbehaves."""

import subprocess
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import argv, transferd
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


@pytest.mark.parametrize("most", [1, 2])
def test_a_session_more_than_the_server_takes_is_no_failure_of_the_copy(tmp_path: Path, nbd_server, most):
    """It is tried because two may move more than one; who is refused it goes on with what there is."""
    source = dsl.write("ABCDEFGH" * 5, tmp_path / "source")
    busy = f"rdelay={150 * most}"  # ms a read: six seconds, long enough for one session more to be tried
    server = nbd_server("--filter=limit", "--filter=delay", "file", str(source), f"limit={most}", f"{busy}ms")
    run = transferd("copy", server.uri, tmp_path / "target", "--queue-depth", 1, "--patience", "1s")

    assert run.returncode == 0, run.stderr
    assert source.read_bytes() == (tmp_path / "target").read_bytes()
