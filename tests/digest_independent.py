"""A disk's digest from its definition alone: that two programs agree is what makes it a definition.

    python tests/digest_independent.py FILE [SIZE]

Blocks of 4 MiB, the last one shorter; BLAKE3-256 of each; BLAKE3-256 of those names one after the other.
"""

from __future__ import annotations

import sys
from pathlib import Path

from blake3 import blake3

BLOCK = 4 << 20


def of_bytes(content: bytes) -> str:
    """The digest of a disk that holds exactly `content`."""
    names = [blake3(content[at : at + BLOCK]).digest() for at in range(0, len(content), BLOCK)]
    return "blake3-4m:" + blake3(b"".join(names)).hexdigest()


def of_file(path: Path, size: int | None = None) -> str:
    """The digest of a file or block device, or of its first `size` bytes."""
    names = blake3()
    with path.open("rb") as disk:
        left = disk.seek(0, 2) if size is None else size
        disk.seek(0)
        while left:
            block = disk.read(min(BLOCK, left))
            if not block:
                sys.exit(f"{path}: {left} bytes are missing")
            names.update(blake3(block).digest())
            left -= len(block)
    return "blake3-4m:" + names.hexdigest()


if __name__ == "__main__":
    print(of_file(Path(sys.argv[1]), *map(int, sys.argv[2:3])))
