"""Journals for tests: a model that knows what records mean, and the format written again by hand."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from transferd import digest
from transferd.journal import Journal
from transferd.plan import BLOCK
from transferd.replay import MAGIC, Header, Replayed, replay

COUNT = 40  # blocks of the disk that these journals are about
SIZE = COUNT * BLOCK - 512
HEADER = Header(SIZE, {"kind": "memory", "id": 1}, {"kind": "file", "inode": 2}, blank=True)


def read(content: bytes) -> Replayed | None:
    """Replay these bytes; an anonymous file has a descriptor, which BytesIO has not."""
    fd = os.memfd_create("journal")
    with os.fdopen(fd, "w+b") as file:
        file.write(content)
        file.seek(0)
        return replay(file)


def name_of(number: int) -> bytes:
    return digest.of_block(b"%d" % number)


def held(found: Replayed) -> dict[int, bytes]:
    return {index: found.digests[index] for index in found.digests.known()}


@dataclass
class Story:
    """The model: what a sequence of records means."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    sealed: bool = False
    distrusted: bool = False

    def told_by(self, found: Replayed) -> bool:
        return (self.blocks, self.sealed, self.distrusted) == (held(found), found.sealed, found.distrusted)


Step = Callable[[Journal, Story], None]


def recorded(blocks: dict[int, bytes], zeros: list[tuple[int, int]]) -> Step:
    def step(journal: Journal, story: Story) -> None:
        journal.blocks(blocks, zeros)
        story.blocks |= blocks
        story.blocks |= {
            index: zero_at(index) for first, count in zeros for index in range(first, first + count)
        }

    return step


def zero_at(index: int) -> bytes:
    return digest.of_zeros(min(BLOCK, SIZE - index * BLOCK))


def forgotten(indexes: list[int]) -> Step:
    def step(journal: Journal, story: Story) -> None:
        journal.forget(indexes)
        for index in indexes:
            story.blocks.pop(index, None)

    return step


def distrusted(journal: Journal, story: Story) -> None:
    journal.distrust()
    story.distrusted = True
    story.blocks.clear()  # any of them may hold zeros that were never read


def sealed(journal: Journal, story: Story) -> None:
    journal.seal("blake3-4m:00")
    story.sealed = True


def framed(kind: bytes, payload: bytes) -> bytes:
    """A record with a right checksum, whatever it holds: the format, written again."""
    body = kind + payload
    return struct.pack("<II", len(body), zlib.crc32(body)) + body


BEGUN = MAGIC + framed(b"H", HEADER.as_json())


@dataclass(frozen=True)
class Whole:
    """A journal with every kind of record. `ends`: where each write ended, and what held from there on."""

    content: bytes
    ends: list[tuple[int, dict[int, bytes]]]
    said: dict[int, set[bytes]]  # every digest that was ever recorded for a block


def written(path: Path) -> Whole:
    """A journal at `path` in which everything happens."""
    story, ends, said = Story(), [], {}
    steps: list[Step] = [
        recorded({0: name_of(1), 3: name_of(2)}, []),
        recorded({}, [(10, 5), (39, 1)]),
        distrusted,
        forgotten([3, 11]),
        sealed,
        forgotten([*range(COUNT)]),
        recorded({3: name_of(3)}, []),
        recorded({0: name_of(4), 1: name_of(5)}, []),
    ]
    with Journal(path) as journal:
        journal.begin(HEADER)
        ends.append((path.stat().st_size, {}))
        for step in steps:
            step(journal, story)
            ends.append((path.stat().st_size, dict(story.blocks)))
            for index, name in story.blocks.items():
                said.setdefault(index, set()).add(name)
    return Whole(path.read_bytes(), ends, said)
