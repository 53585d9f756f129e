"""The options of a copy, as they are written on a command line, and what they become.

Each is checked before anything is opened, and its error names the option.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transferd import copy, units
from transferd.areas import parse_change_id
from transferd.copy import How, Proof, Watcher
from transferd.errors import SourceError, UsageError
from transferd.limits import Budget, Limits, Means, Pace
from transferd.progress import Progress
from transferd.units import KiB, MiB
from transferd.window import DEEPEST

MOST_CONNECTIONS = 16
SECTOR = 512  # bytes
SMALLEST_REQUEST, LARGEST_REQUEST = 4 * KiB, 4 * MiB  # NBD allows 32 MiB; a block is 4 MiB
LEAST_PATIENCE, MOST_PATIENCE = 1.0, 3600.0  # s

Verify = Annotated[
    str, typer.Option(help="How to prove the copy: target (read it back), sample:PCT, full, or none.")
]
JournalFile = Annotated[
    Path | None, typer.Option("--journal", help="What a restart reads. Default for files: TARGET.journal.")
]
StateFolder = Annotated[
    Path | None, typer.Option("--state", help="A folder for the journal, instead of --journal.")
]
Resume = Annotated[
    bool, typer.Option("--resume/--fresh", help="Go on where an earlier run stopped, or begin anew.")
]
SourceId = Annotated[
    str | None, typer.Option(help="A name for the content of an NBD source; a restart must give the same.")
]
RequestSize = Annotated[str, typer.Option(help="Bytes of one read, 4KiB to 4MiB.")]
QueueDepth = Annotated[
    int | None,
    typer.Option(min=1, max=DEEPEST, help="Reads in flight on a session. Default: found by measuring."),
]
Connections = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_CONNECTIONS, help="Sessions with the source at most. Default: 4."),
]
Bandwidth = Annotated[
    str | None,
    typer.Option(help="Bytes per second, for example 200MiB; @FILE is read again every second."),
]
MetricsAddress = Annotated[
    str | None, typer.Option("--metrics", help="Serve Prometheus metrics at [HOST:]PORT; 0 is any port.")
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="Write a page about the copy here, to look at in a browser.")
]
Patience = Annotated[
    str, typer.Option(help="How long a source may be silent before it is opened anew. Thrice is too often.")
]


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """Options that make sense together."""

    proof: Proof
    means: Means
    journal: Path | None
    state: Path | None
    from_scratch: bool

    def how(self, progress: Progress, watch: Watcher) -> How:
        return How(progress, self.proof, self.means, self.from_scratch, watch)

    def journal_for(self, target: Path) -> Path:
        """Where the journal is. UsageError for a device without a place for it: nothing may lie beside it."""
        if self.journal is not None:
            return self.journal
        if self.state is not None:
            return self.state / "disk.journal"
        if target.exists() and stat.S_ISBLK(target.stat().st_mode):
            raise UsageError(
                f"{target}: a block device needs a journal elsewhere",
                remedy="give --journal FILE or --state DIR, on storage that survives a restart",
            )
        if target.is_dir():
            raise UsageError(f"{target}: is a folder", remedy="name a file inside it")
        return target.with_name(target.name + ".journal")


def copying(
    *,
    verify: str,
    journal: Path | None,
    state: Path | None,
    resume: bool,
    request_size: str,
    queue_depth: int | None,
    connections: int | None,
    bandwidth: str | None,
    patience: str,
) -> CopyOptions:
    """UsageError naming the option for what cannot be meant."""
    if journal is not None and state is not None:
        raise UsageError("--journal and --state: give one of them")
    if state is not None and not state.is_dir():
        raise UsageError(f"--state {state}: no such folder", remedy="create it first")
    limits = Limits(
        request_size=_request_size(request_size),
        depth=queue_depth,
        connections=connections or Limits().connections,
        patience=_patience(patience),
    )
    return CopyOptions(
        copy.proof(verify), Means(limits, Pace(bandwidth), Budget()), journal, state, not resume
    )


def require_apart(places: dict[str, Path | None]) -> None:
    """UsageError if two of the files are one: writing the second would destroy the first."""
    seen: dict[Path, str] = {}
    for name, path in places.items():
        if path is None:
            continue
        real = path.parent.resolve() / path.name  # a link in the last place is judged by who opens it
        if real in seen:
            raise UsageError(f"{name}: {path} is the same file as {seen[real]}", remedy="name another file")
        seen[real] = name


def require_writable(*paths: Path | None) -> None:
    """UsageError for a document that could not be written when the work is done."""
    for path in paths:
        if path is not None and (path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK)):
            raise UsageError(
                f"cannot write {path}", remedy="give a file in a folder that exists and can be written"
            )


def require_change_id(text: str) -> None:
    """UsageError for what no vSphere has printed; it is never asked about."""
    try:
        parse_change_id(text)
    except SourceError as error:
        raise UsageError(f"--since {error.problem}", remedy=error.remedy) from error


def _request_size(text: str) -> int:
    size = units.size(text)
    if not SMALLEST_REQUEST <= size <= LARGEST_REQUEST or size % SECTOR:
        raise UsageError(
            f"--request-size {text}: not between 4KiB and 4MiB in steps of 512 bytes",
            remedy="NBD itself allows 32 MiB, but a block of the copy has 4 MiB",
        )
    return size


def _patience(text: str) -> float:
    seconds = units.duration(text)
    if not LEAST_PATIENCE <= seconds <= MOST_PATIENCE:
        raise UsageError(f"--patience {text}: not between 1s and 1h")
    return seconds
