"""Random disks copied in random ways, and compared byte by byte: what nobody thought of writing as a test.

A case is a function of its seed alone, so a failure is repeated by its number. Disks are mixtures of data,
written zeros and holes cut at sectors; sources are files and NBD servers with and without extents; targets
are new files, reused files and reused block devices.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.copying import DEADLINE, copied
from tests.nbd import NbdServer
from transferd import digest
from transferd.backends.file_target import FileTarget
from transferd.copy import open_source
from transferd.units import KiB, MiB

SECTOR = 512
FULL = 1000  # cases of a whole sweep
SAMPLE = 24  # cases of `make test`


@dataclass(frozen=True)
class Case:
    """One copy. `pieces` are (kind, sectors): data, zeros, hole. `limits` are fields of Limits."""

    seed: int
    pieces: tuple[tuple[str, int], ...]
    source: str
    target: str
    limits: dict[str, Any]

    @property
    def size(self) -> int:
        return sum(sectors for _, sectors in self.pieces) * SECTOR


def case(seed: int) -> Case:
    draw = random.Random(seed)
    kinds = draw.choices(("data", "zeros", "hole"), k=draw.randint(1, 20))
    lengths = [draw.choice((1, 8, 127, 128, 2048, 8192, draw.randint(1, 20_000))) for _ in kinds]
    return Case(
        seed,
        tuple(zip(kinds, lengths, strict=True)),
        source=draw.choice(("file", "nbd", "nbd without extents")),
        target=draw.choice(("new file", "reused file", "reused device")),
        limits={
            "request_size": draw.choice((64 * KiB, 256 * KiB, MiB, 4 * MiB)),
            "depth": draw.choice((None, draw.randint(1, 32))),
            "connections": draw.randint(1, 3),
            "slots": draw.randint(1, 8),
            "writers": draw.randint(1, 4),
            "verifiers": draw.randint(1, 3),
            "commit_bytes": draw.choice((1, 8 * MiB, 128 * MiB)),
        },
    )


def write(disk: Case, path: Path) -> bytes:
    """The source file of a case; returns what it reads as."""
    draw = random.Random(disk.seed)
    content = bytearray()
    with path.open("wb") as file:
        for kind, sectors in disk.pieces:
            piece = draw.randbytes(sectors * SECTOR) if kind == "data" else bytes(sectors * SECTOR)
            if kind == "hole":
                file.seek(len(piece), 1)
            else:
                file.write(piece)
            content += piece
        file.truncate(len(content))
    return bytes(content)


@contextmanager
def target_of(disk: Case, folder: Path):
    """Where the case writes: what is not new is full of 0xA5, and a device is longer than the disk."""
    path = folder / "target"
    if disk.target == "new file":
        yield path
        return
    beyond = MiB if disk.target == "reused device" else 0
    path.write_bytes(b"\xa5" * (disk.size + beyond))
    if disk.target == "reused file":
        yield path
        return
    made = subprocess.run(
        ["losetup", "--find", "--show", str(path)], check=True, capture_output=True, text=True
    )
    try:
        yield Path(made.stdout.strip())
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def run(disk: Case, folder: Path) -> None:
    """AssertionError unless the target reads as the source and the digest is the recomputed one."""
    content = write(disk, folder / "source")
    with ExitStack() as stack:
        name = str(folder / "source")
        if disk.source != "file":
            filters = ["--filter=noextents"] if "without" in disk.source else []
            name = stack.enter_context(NbdServer(folder, *filters, "file", name)).uri
        path = stack.enter_context(target_of(disk, folder))
        source = stack.enter_context(open_source(name, source_id=None, patience=DEADLINE))
        with FileTarget(path, source.size) as target:
            done = copied(source, target, folder / "journal", **disk.limits)
        with path.open("rb") as file:
            assert file.read(disk.size) == content, disk
            assert set(file.read()) <= {0xA5}, disk
        assert digest.of_file(folder / "source") == done.digests.disk(), disk
        assert done.end.written + done.end.zero == done.end.verified == disk.size, disk


def repeat(seed: int) -> None:
    """Run the case with this seed in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        run(case(seed), Path(folder))
