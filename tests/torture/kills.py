"""The server dies at a random moment of a copy and comes back a little later; the copy must end whole.

nbdkit is killed with SIGKILL, so requests are cut off in every state that a connection can be in. A copy that
hangs is the failure this sweep has found before.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
import time
from pathlib import Path

import uvloop

from tests.nbd import NbdServer
from transferd import copy
from transferd.backends.file import FileTarget
from transferd.engine import Limits
from transferd.progress import Silent
from transferd.units import MiB

FULL = 200  # cases of a whole sweep
SAMPLE = 6  # cases of `make test`
SIZE = 48 * MiB
DEADLINE = 30.0  # s; a copy takes half a second, a reconnection at most four


async def run(seed: int, folder: Path) -> None:
    """AssertionError unless the target is the source; TimeoutError if the copy hangs."""
    draw = random.Random(seed)
    content = draw.randbytes(SIZE)
    disk = folder / "source"
    disk.write_bytes(content)
    rate = draw.choice(("500M", "1000M", "2000M"))  # bits per second: the copy takes 0.2 to 0.8 s
    with NbdServer(folder, "--filter=rate", "file", str(disk), f"rate={rate}") as server:
        ended = threading.Event()
        pauses = (draw.uniform(0.0, 0.3), draw.uniform(0.0, 1.0))
        killer = threading.Thread(target=_kill, args=(server, *pauses, ended))
        killer.start()
        try:
            async with asyncio.timeout(DEADLINE), copy.open_source(server.uri) as source:
                with FileTarget(folder / "target", source.size) as target:
                    limits = Limits(request_size=draw.choice((MiB // 4, MiB)), depth=draw.randint(1, 16))
                    how = copy.How(prove=True, limits=limits, progress=Silent())
                    await copy.disk(source, target, "disk", how)
        finally:
            ended.set()
            killer.join()
    assert (folder / "target").read_bytes() == content


def _kill(server: NbdServer, after: float, away: float, ended: threading.Event) -> None:
    """The new server lives as long as this thread, so the thread stays until the copy has ended."""
    time.sleep(after)
    server.kill()
    time.sleep(away)
    server.start()
    ended.wait(DEADLINE)


def repeat(seed: int) -> None:
    """Run the case with this seed in a folder of its own, on the loop that transferd uses."""
    with (
        tempfile.TemporaryDirectory(prefix="torture-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(run(seed, Path(folder)))
