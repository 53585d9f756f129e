"""One disk over NBD beside nbdcopy, interleaved: whole processes, target flushed, result compared.

transferd hashes every block and reads the target back, nbdcopy does neither, so each is timed: `copy` with
--verify none, `proven` as users get it. The figure of merit is the ratio of medians to nbdcopy in the same
run; seconds on a shared machine mean little.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.nbd import NbdServer
from transferd import digest
from transferd.units import MiB

ROUNDS = 5
SIZE = 1024 * MiB


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """1 GiB of which every fourth 16 MiB is a hole."""
    path = tmp_path_factory.mktemp("source") / "disk.img"
    noise = os.urandom(16 * MiB)
    with path.open("wb") as file:
        for number in range(SIZE // len(noise)):
            if number % 4 == 3:
                file.seek(len(noise), 1)
            else:
                file.write(number.to_bytes(8, "big") + noise[8:])
        file.truncate(SIZE)
    return path


@pytest.mark.parametrize("delay", ["0ms", "5ms"])
@pytest.mark.parametrize("verify", ["none", "target"], ids=["copy", "proven"])
def test_copy_over_nbd(benchmark, tmp_path: Path, source: Path, delay, verify):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    peer: list[float] = []
    with NbdServer(tmp_path, "-t", "32", "--filter=delay", "file", str(source), f"rdelay={delay}") as server:
        nbdcopy = ["nbdcopy", "--flush", server.uri, str(theirs)]
        command = [sys.executable, "-m", "transferd", "copy", server.uri, str(ours), "--verify", verify]

        def beside() -> None:
            ours.unlink(missing_ok=True)
            theirs.unlink(missing_ok=True)
            began = time.perf_counter()
            subprocess.run(nbdcopy, check=True, capture_output=True)
            peer.append(time.perf_counter() - began)

        def run() -> None:
            subprocess.run(command, check=True, capture_output=True)

        benchmark.pedantic(run, setup=beside, rounds=ROUNDS)
    assert digest.of_file(ours) == digest.of_file(theirs) == digest.of_file(source)
    benchmark.extra_info |= {
        "size": SIZE,
        "delay": delay,
        "verify": verify,
        "nbdcopy_median_s": statistics.median(peer),
        "ratio_to_nbdcopy": statistics.median(benchmark.stats.stats.data) / statistics.median(peer),
        "digest": digest.of_file(ours),
    }
    print(f"\n{delay} {verify}: {benchmark.extra_info['ratio_to_nbdcopy']:.2f} x nbdcopy")
