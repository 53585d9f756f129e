"""The state directory of one migration: the documents that its stages leave and a restart reads.

    STATE/source.json       the VM as it was read
    STATE/disk-KEY.journal  what of each disk is on its target
    STATE/conversion/       overlays and result of the conversion
    STATE/manifest.yaml     the VirtualMachine
    STATE/result.json       how it ended

A document is written whole or not at all: temporary file, fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from transferd.errors import UsageError
from transferd.model import Document


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, atomically and durably. UsageError names the folder that refuses."""
    try:
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}", remedy="give a folder that exists and can be written"
        ) from error


class State:
    """One state directory, created when missing."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(f"state directory {folder}: {error.strerror}") from error
        self.folder = folder

    @property
    def source(self) -> Path:
        return self.folder / "source.json"

    def journal(self, disk: int) -> Path:
        """The journal of the disk with this key."""
        return self.folder / f"disk-{disk}.journal"

    @property
    def conversion(self) -> Path:
        return self.folder / "conversion"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.yaml"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    def forget_conversion(self) -> None:
        """Drop what an earlier conversion left: its commit belongs to disks about to be copied anew."""
        shutil.rmtree(self.conversion, ignore_errors=True)

    def write(self, path: Path, document: Document) -> None:
        write_text(path, document.to_json())
