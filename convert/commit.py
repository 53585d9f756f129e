"""A conversion becomes real on all disks, or on none that a second run would not complete.

    checks passed -> deltas flattened and fsynced -> commit.json fsynced      from here on it will happen
      -> every range written to its disk -> fsync -> ranges re-read and compared -> commit.json says done

Writing the same ranges twice is harmless, so a run that finds an unfinished commit.json starts over with
the writing. One that finds a finished commit.json proves that the disks still hold it and answers with the
result recorded there; if they do not (the disk was copied anew), the record is worthless and is dropped.

Whoever copies a disk anew must remove the work folder: an unfinished commit belongs to the old copy.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import blake3
from pydantic import Field, ValidationError

from convert.files import fsync_folder, write_durably
from convert.overlay import Overlay, disk_size, flatten, written
from convert.tree import MIB
from transferd.errors import ConversionError, IntegrityError, TargetError
from transferd.model import ConversionResult, DiskRange, Document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RECORD = "commit.json"
SLICE = 4 * MIB


class DiskCommit(Document):
    """One disk's part: `digest` is BLAKE3 over the content of its ranges, in their order."""

    path: str
    size: int
    delta: str
    ranges: list[DiskRange]
    digest: str


class Record(Document):
    """commit.json: what must be on the disks, and the result to answer with."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    done: bool = False
    disks: list[DiskCommit]
    result: ConversionResult


def read(work: Path) -> Record | None:
    """The record in this work folder, if one was ever completely written."""
    try:
        return Record.model_validate_json((work / RECORD).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConversionError(
            f"{work / RECORD} is not a commit record",
            operation="commit",
            remedy="copy the disks again and remove the folder",
        ) from error


def prepare(work: Path, overlays: Sequence[Overlay], result: ConversionResult) -> Record:
    """Makes the commit certain. `result` is recorded with the ranges that will be written."""
    disks = [_disk_commit(work, overlay) for overlay in overlays]
    ranges = [found for disk in disks for found in disk.ranges]
    record = Record(disks=disks, result=result.model_copy(update={"written": ranges}))
    write_durably(work / RECORD, record.to_json())
    return record


def _disk_commit(work: Path, overlay: Overlay) -> DiskCommit:
    ranges = written(overlay)
    delta = work / f"delta-{overlay.position}.raw"
    flatten(overlay, delta)
    with delta.open("rb+") as file:
        os.fsync(file.fileno())
        digest = _digest(file.fileno(), ranges)
    return DiskCommit(
        path=str(overlay.disk), size=overlay.size, delta=delta.name, ranges=ranges, digest=digest
    )


def same_disks(record: Record, disks: Sequence[Path]) -> bool:
    given = [(str(disk.absolute()), disk_size(disk)) for disk in disks]
    return given == [(disk.path, disk.size) for disk in record.disks]


def holds(record: Record) -> bool:
    """Whether the disks have the content that this record put there."""
    return all(_disk_digest(disk) == disk.digest for disk in record.disks)


def finish(work: Path, record: Record) -> ConversionResult:
    """Writes what the record says, proves it, and marks it done. May be repeated from any point."""
    for disk in record.disks:
        _write(disk, work / disk.delta)
    for disk in record.disks:
        if _disk_digest(disk) != disk.digest:
            raise IntegrityError(
                "what was written for the conversion reads back different",
                disk=disk.path,
                operation="commit",
                remedy="check the target storage, then copy the disk again",
            )
    write_durably(work / RECORD, record.model_copy(update={"done": True}).to_json())
    for disk in record.disks:
        (work / disk.delta).unlink(missing_ok=True)
    return record.result


def drop(work: Path) -> None:
    (work / RECORD).unlink(missing_ok=True)
    fsync_folder(work)


@contextmanager
def _storage(disk: DiskCommit) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TargetError(
            f"{error.strerror}",
            disk=disk.path,
            operation="commit",
            remedy="mend the storage and run the same command again: it finishes the commit",
        ) from error


def _write(disk: DiskCommit, delta: Path) -> None:
    # O_EXCL refuses a block device that somebody has mounted.
    with _storage(disk), delta.open("rb") as source:
        exclusive = os.O_EXCL if stat.S_ISBLK(Path(disk.path).stat().st_mode) else 0
        target = os.open(disk.path, os.O_RDWR | os.O_CLOEXEC | exclusive)
        try:
            for start, data in _slices(source.fileno(), disk.ranges):
                _write_all(target, data, start)
            os.fsync(target)
        finally:
            os.close(target)


def _write_all(target: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(target, view, start)
        view, start = view[count:], start + count


def _disk_digest(disk: DiskCommit) -> str:
    with _storage(disk), Path(disk.path).open("rb") as file:
        # Out of the page cache, so that the answer comes from the storage.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return _digest(file.fileno(), disk.ranges)


def _digest(source: int, ranges: Sequence[DiskRange]) -> str:
    state = blake3.blake3()
    for _, data in _slices(source, ranges):
        state.update(data)
    return f"blake3:{state.hexdigest()}"


def _slices(source: int, ranges: Sequence[DiskRange]) -> Iterator[tuple[int, bytes]]:
    for found in ranges:
        end = found.start + found.length
        for start in range(found.start, end, SLICE):
            length = min(SLICE, end - start)
            data = os.pread(source, length, start)
            if len(data) < length:
                raise IntegrityError("ends before its size", operation="commit", offset=start + len(data))
            yield start, data
