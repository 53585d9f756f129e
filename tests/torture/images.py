"""Malformed images: sound disks damaged where it hurts, and guests with files that nobody wrote by accident.

A case is a function of its seed, but for the UUIDs that some tools choose. The converter may refuse a disk
(exit 7, one line), or plan a conversion with warnings; it may not hang, crash, leave anything behind or write
a byte of the image.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tests.convert import malformed, phony
from tests.convert.phony import Content
from tests.convert.watched import command_lines, convert, surroundings
from tests.guests.disk import MIB, SECTOR
from transferd.errors import ConversionError, printable

FULL = 200  # cases of a whole sweep
SAMPLE = 1  # case of `make test`
DAMAGES = 12  # most in one image
LINKS = ("/", ".", "..", "/etc/passwd", "../" * 40 + "etc/fstab", "/proc/self/mem", "/dev/sda")
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\x01")


def repeat(seed: int) -> None:
    """AssertionError unless the disk is refused or understood, in order."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as name:
        folder = Path(name)
        kind, image = _image(folder / "disk.raw", draw)
        document = phony.document(folder / "source.json", image)
        before, environment = _digest(image), surroundings(folder)
        there = _contents(folder)
        done = convert("plan", image, "--source", document, **environment)
        where = f"{kind}: {done.returncode}: {done.stderr[-2000:]}"
        _require_order(done, where)
        assert _digest(image) == before, where
        assert _contents(folder) == there, where
        assert not [line for line in command_lines() if name in line], where


def _require_order(done: subprocess.CompletedProcess[str], where: str) -> None:
    """The right exit code, one line of error at most, and nothing that a terminal would obey."""
    said = done.stderr.splitlines()
    errors = [line for line in said if line.startswith("transferd-convert: error: ")]
    assert done.returncode in (0, ConversionError.exit_code), where
    assert len(errors) == (1 if done.returncode else 0), where
    assert "Traceback" not in done.stderr, where
    assert all(printable(line) == line for line in (*said, *done.stdout.splitlines())), where


def _digest(image: Path) -> str:
    with image.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _contents(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def _image(path: Path, draw: random.Random) -> tuple[str, Path]:
    if draw.random() < 0.4:
        files, strange = phony.debian(), []
        for _ in range(draw.randint(1, 4)):
            chosen = draw.choice(sorted(files))
            files[chosen] = _strange(files[chosen], draw)
            strange.append(chosen)
        return f"files {strange}", phony.make(path, files)
    kind = draw.choice(sorted(malformed.SEEDS))
    make, places = malformed.SEEDS[kind]
    image = make(path)
    with image.open("r+b") as file:
        for _ in range(draw.randint(1, DAMAGES)):
            _damage(file, *draw.choice(places), draw)
        if draw.random() < 0.1:
            file.truncate(draw.randint(1, image.stat().st_size // SECTOR) * SECTOR)
    return kind, image


def _damage(file: BinaryIO, start: int, length: int, draw: random.Random) -> None:
    at = start + draw.randrange(length)
    match draw.choice(("bit", "bytes", "number", "hole", "copy")):
        case "bit":
            file.seek(at)
            old = file.read(1)[0]
            file.seek(at)
            file.write(bytes([old ^ 1 << draw.randrange(8)]))
        case "bytes":
            file.seek(at)
            file.write(draw.randbytes(draw.randint(1, 64)))
        case "number":
            file.seek(at & ~3)
            file.write(draw.choice(EXTREMES) * draw.choice((2, 4, 8)))
        case "hole":
            file.seek(at)
            file.write(bytes(draw.randint(1, min(4096, length))))
        case "copy":
            file.seek(start + draw.randrange(length))
            piece = file.read(draw.randint(1, 512))
            file.seek(at)
            file.write(piece)


def _strange(content: Content, draw: random.Random) -> Content:
    """What may be in the place of a file: none, another kind of thing, too much, or the file with damage."""
    old = content.encode() if isinstance(content, str) else content if isinstance(content, bytes) else b"x"
    words = (*old.split(), b"\0", b"\xff", b"$(id)", b"{", b"\\", b"'")
    lines = (*old.split(b"\n"), b"\x1b[2J", b"=" * 5000)
    choices: tuple[Callable[[], Content], ...] = (
        lambda: None,
        lambda: phony.Link(draw.choice(LINKS)),
        lambda: draw.choice((phony.FIFO, phony.ENDLESS)),
        lambda: (old or b"x") * (1 + 3 * MIB // max(1, len(old))),
        lambda: old[: draw.randrange(len(old) + 1)],
        lambda: b"".join(bytes([byte]) if draw.random() < 0.99 else draw.randbytes(4) for byte in old),
        lambda: b" ".join(draw.choices(words, k=200)),
        lambda: b"\n".join(draw.choices(lines, k=2000)),
    )
    return draw.choice(choices)()
