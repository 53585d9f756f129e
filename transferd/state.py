"""The state directory of one migration: the documents that its stages leave and a restart reads.

    STATE/source.json       the VM as it was read
    STATE/migration.json    what a restart must know
    STATE/disk-KEY.journal  what of each disk is on its target
    STATE/conversion/       overlays and result of the conversion
    STATE/rehearsal/        the same of a rehearsal, with what the guest said on its console and its screen
    STATE/rehearsal.json    how the rehearsal ended
    STATE/manifest.yaml     the VirtualMachine
    STATE/copied.json       what the last round copied
    STATE/result.json       how it ended

A document is written whole or not at all: temporary file, fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from transferd.errors import UsageError
from transferd.journal import Journal
from transferd.model import ConversionResult, Document

D = TypeVar("D", bound=Document)

COMMIT = "commit.json"  # the converter has it as soon as it will write to the disks


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
    def migration(self) -> Path:
        return self.folder / "migration.json"

    @property
    def conversion(self) -> Path:
        return self.folder / "conversion"

    @property
    def rehearsal(self) -> Path:
        return self.folder / "rehearsal"

    @property
    def rehearsed(self) -> Path:
        return self.folder / "rehearsal.json"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.yaml"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    def forget_conversion(self) -> None:
        """Drop what an earlier conversion left: its commit belongs to disks about to be copied anew."""
        shutil.rmtree(self.conversion, ignore_errors=True)

    @property
    def copied(self) -> Path:
        return self.folder / "copied.json"

    def stage(self, name: str, number: int, attempt: int) -> Path:
        """The result of one attempt at one stage."""
        return self.folder / f"{name}-{number}-{attempt}.json"

    def finished(self) -> ConversionResult:
        """The result of the migration that was finished."""
        return self.read(self.result, ConversionResult)

    def read(self, path: Path, kind: type[D]) -> D:
        """A document of this state. UsageError if it cannot be read."""
        try:
            return kind.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise UsageError(
                f"{path}: is no {kind.__name__} that can be read", remedy="use another state directory"
            ) from error

    def forget_converted(self) -> None:
        """After a conversion that may have written to the disks: believe nothing of them any more."""
        if (self.conversion / COMMIT).exists():
            for path in self.folder.glob("disk-*.journal"):
                with Journal(path) as journal:
                    journal.forget_all()

    def write(self, path: Path, document: Document) -> None:
        write_text(path, document.to_json())
