"""The server dies at a random moment of a copy and comes back a little later; the copy must end whole.

nbdkit is killed with SIGKILL, so requests are cut off in every state that a connection can be in, and all
sessions at once. A copy that hangs is the failure this sweep has found before.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from pathlib import Path

from tests.cli import argv
from tests.nbd import NbdServer
from transferd.units import KiB, MiB

FULL = 200  # cases of a whole sweep
SAMPLE = 6  # cases of `make test`
SIZE = 48 * MiB
DEADLINE = 30.0  # s; a copy takes a second, a reconnection at most four


def run(seed: int, folder: Path) -> None:
    """AssertionError unless the target is the source; subprocess.TimeoutExpired if the copy hangs."""
    draw = random.Random(seed)
    content = draw.randbytes(SIZE)
    disk, target = folder / "source", folder / "target"
    disk.write_bytes(content)
    request, depth, connections = draw.choice((256, 1024)), draw.randint(1, 16), draw.randint(1, 4)
    seconds = draw.uniform(0.2, 0.8)
    pause = seconds * depth * connections / (SIZE / (request * KiB))  # of each read, for a copy of `seconds`
    how = ("--request-size", f"{request}KiB", "--queue-depth", depth, "--connections", connections)
    command = argv("copy", "--progress", "none", *how)
    serve = ("--filter=delay", "--threads", "64", "file", str(disk), f"rdelay={int(pause * 1000)}ms")
    with (
        NbdServer(folder, *serve) as server,
        subprocess.Popen(
            [*command, server.uri, str(target)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as copy,
    ):
        try:
            _kill(server, copy, target, draw.uniform(0.0, seconds), draw.uniform(0.0, 1.0))
            _, said = copy.communicate(timeout=DEADLINE)
        finally:
            copy.kill()
    assert copy.returncode == 0, said.decode()
    assert target.read_bytes() == content


def _kill(server: NbdServer, copy: subprocess.Popen[bytes], target: Path, after: float, away: float) -> None:
    """`after` seconds from the beginning of the copy, for `away` seconds."""
    until = time.monotonic() + DEADLINE
    while not target.exists() and copy.poll() is None:
        assert time.monotonic() < until, "the copy does not begin"
        time.sleep(0.005)
    time.sleep(after)
    server.kill()
    time.sleep(away)
    server.start()


def repeat(seed: int) -> None:
    """Run the case with this seed in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        run(seed, Path(folder))
