"""A conversion with everything but the guest: `python -m tests.convert.committing FOLDER`.

The lock, the overlays, the commit and what an earlier run left are the pipeline's own; in place of the
appliance, qemu-io writes what a conversion would have written. It is there to be killed at any call.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from convert import commit, pipeline
from convert.files import locked
from convert.report import Report
from tests.convert.memory import wishes
from transferd.errors import Error
from transferd.model import Firmware

KIB = 1024
MIB = 1024 * KIB
SIZES = (3 * MIB + 512, 1 * MIB + 1024)  # neither is a multiple of a qcow2 cluster
WRITES = (
    (0, "write -P 0x6e 64K 192K"),
    (0, "write -z 1M 64K"),
    (0, "write -P 0x6e 3M 512"),
    (1, "write -P 0x6e 128K 64K"),
)
OLD = b"o"


def disks(folder: Path) -> list[Path]:
    return [folder / f"disk-{number}.raw" for number in range(len(SIZES))]


def make(folder: Path) -> None:
    for disk, size in zip(disks(folder), SIZES, strict=True):
        disk.write_bytes(OLD * size)


def converted() -> list[bytes]:
    first, second = (bytearray(OLD * size) for size in SIZES)
    first[64 * KIB : 256 * KIB] = b"n" * (192 * KIB)
    first[MIB : MIB + 64 * KIB] = bytes(64 * KIB)
    first[3 * MIB :] = b"n" * 512
    second[128 * KIB : 192 * KIB] = b"n" * (64 * KIB)
    return [bytes(first), bytes(second)]


def work(folder: Path) -> Path:
    return folder / "state" / "convert"


def run(folder: Path) -> None:
    request = pipeline.Request(disks(folder), wishes(capacities=SIZES), work(folder))
    report = Report(Firmware.BIOS, print)
    with locked(request.work):
        if pipeline._finished_earlier(request, report) is not None:
            return
        pipeline._finish(request, prepared(request, report), report)


def prepared(request: pipeline.Request, report: Report) -> commit.Record:
    """The commit is certain, and no disk has been written."""
    with pipeline._overlays(request) as overlays:
        for number, command in WRITES:
            written = ["qemu-io", "-f", "qcow2", "-c", command, str(overlays[number].path)]
            subprocess.run(written, check=True, capture_output=True)
        return commit.prepare(request.work, overlays, report.result())


if __name__ == "__main__":
    try:
        run(Path(sys.argv[1]))
    except Error as failure:
        sys.exit(failure.exit_code)
