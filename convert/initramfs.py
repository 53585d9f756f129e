"""What an initramfs image holds, found out without trusting it.

    parent: listing(image) -> python -I -m convert.unpacker list < image > answer.json -> Listing

Everything that is packed is unpacked by a child process that limits itself (convert.unpacker); the parent
sees names, kinds and a few small texts, or says in one line why there are none.
"""

from __future__ import annotations

import io
import json
import posixpath
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from convert import cpio, unpacker
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

# Wall time on a loaded machine; the child's own limit is on processor time.
DEADLINE = 180.0
LINE_LIMIT = 4096
# As many as the kernel follows in one path (include/linux/namei.h, MAXSYMLINKS).
LINKS_FOLLOWED = 40
# Programs that load drivers by the alias of the hardware that they find: without one of them a module that
# lies in the image is loaded only if a script names it. nlplug-findfs is Alpine's.
LOADERS = frozenset({"systemd-udevd", "udevd", "nlplug-findfs"})


@dataclass(frozen=True)
class Listing:
    """`kinds`: name -> file, folder, link or other. `links`: name -> target. `texts`: name -> content of
    small naming files. `tail`: how the last segment is packed; `padding`: zero bytes behind it. `unified`:
    the kernel's version where the image is part of a unified kernel image, else None."""

    kinds: dict[str, str]
    texts: dict[str, bytes]
    links: dict[str, str]
    tail: str = "cpio"
    padding: int = 0
    unified: str | None = None

    def real(self, name: str) -> str:
        """`name` with every link on its way followed, as the kernel will when it unpacks or opens it."""
        waiting, place, followed = name.split("/")[::-1], "", 0
        while waiting:
            place = posixpath.normpath(posixpath.join("/", place, waiting.pop())).lstrip("/")
            target = self.links.get(place)
            if target is not None and followed < LINKS_FOLLOWED:
                followed += 1
                waiting += target.split("/")[::-1]
                place = "" if target.startswith("/") else posixpath.dirname(place)
        return place

    @cached_property
    def loads_by_alias(self) -> bool:
        return any(posixpath.basename(name) in LOADERS for name in self.kinds)


def listing(image: Path) -> Listing:
    """Raises ConversionError naming the image when it cannot be read within the limits."""
    with image.open("rb") as source, tempfile.TemporaryFile(dir=image.parent) as answer:
        if problem := _problem("list", source, answer):
            raise ConversionError(f"an initramfs image cannot be read: {problem}", operation="read initramfs")
        answer.seek(0)
        told = json.loads(answer.read(unpacker.ANSWER_LIMIT))
    texts = {name: text.encode("latin-1") for name, text in told.pop("texts").items()}
    return Listing(texts=texts, **told)


def unpacked(files: list[cpio.Entry]) -> list[cpio.Entry]:
    """The same files with their compression taken off. Raises ConversionError."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as answer:
        source.write(cpio.segment(files))
        source.seek(0)
        if problem := _problem("unpack", source, answer):
            raise ConversionError(f"kernel modules cannot be unpacked: {problem}", operation="read modules")
        answer.seek(0)
        archive = unpacker.Plain(io.BytesIO(answer.read(unpacker.ANSWER_LIMIT)))
        found = cpio.read(archive, lambda _: True, unpacker.MODULE_LIMIT)
        return [cpio.file(each.name, each.text or b"") for each in found]


def _problem(command: Literal["list", "unpack"], source: IO[bytes], answer: IO[bytes]) -> str | None:
    """Runs the child; one line where it did not do its work."""
    argv = [sys.executable, "-I", "-m", "convert.unpacker", command]
    try:
        child = subprocess.run(
            argv, stdin=source, stdout=answer, stderr=subprocess.PIPE, timeout=DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {DEADLINE:.0f} s to read"
    if child.returncode == 0:
        return None
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"it takes more than {unpacker.CPU_LIMIT} s of processor time to unpack"
    last = child.stderr[-LINE_LIMIT:].decode("utf-8", "replace").strip().splitlines()
    return last[-1] if last else f"its reader died with status {child.returncode}"
