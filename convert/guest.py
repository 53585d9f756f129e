"""The libguestfs appliance that holds the guest's disks, and the guest's files in it.

Everything that a guest wrote is parsed in here, by a small virtual machine without network and with limited
memory: partition tables, file systems, links. A path is resolved inside the guest, never on the host. Only
regular files are read, and only up to a limit, so a device node or a 10 GB fstab costs nothing. File
systems are mounted nodev, nosuid, noexec.

A Guest is a Tree once its root is mounted. Disks are opened with a forced format, in the order given. How
they are read, opened, checked and mounted is `convert.storage`; this is the only module that imports
`guestfs`.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import guestfs

from convert.blocks import drive_label
from convert.lifeline import Lifeline
from convert.storage import TEST, Storage
from convert.tree import MIB, TEXT_LIMIT
from transferd.errors import ConversionError, RetriesExhausted, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

# Measured: 11 to 20 s under TCG on two shared cores; the first launch on a machine also builds the
# appliance, a minute more.
LAUNCH_DEADLINE = 300.0
# All work in one launch; measured: about 40 s under TCG.
SESSION_DEADLINE = 1800.0
# e2fsck of large file systems is what needs memory; libguestfs' own default on x86 is 1280 MiB.
MEMORY = 1280
# What goes through one protocol message, whose limit is somewhat under 4 MiB (guestfs(3), PROTOCOL LIMITS).
# A pread takes 15 ms under TCG, where read_file and download take 130 ms however small the file is.
MESSAGE = MIB
SELINUX = "security.selinux"
# What a hostile disk could make of a fault in QEMU: no process started, no privilege gained. libguestfs
# itself asks for no sandbox; QEMU has it wherever it was built with seccomp, which distributions do.
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
# What the guest would be told of a path that leads to nothing: the bindings keep the errno to themselves.
NOWHERE = (os.strerror(errno.ELOOP), os.strerror(errno.ENAMETOOLONG))


class Guest(Storage):
    """One appliance, from launch to shutdown; use it with `with`. Errors are ConversionError."""

    def __init__(
        self,
        disks: Sequence[Path],
        work: Path,
        *,
        disk_format: Literal["raw", "qcow2"],
        read_only: bool,
        backend_settings: Sequence[str] = (),
        launch_deadline: float = LAUNCH_DEADLINE,
    ) -> None:
        super().__init__(disks, Lifeline(launch_deadline), read_only=read_only)
        self._work = work
        self._format = disk_format
        self._settings = list(backend_settings)
        self._stack = ExitStack()
        self._fetched = 0

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.enter_context(self._lifeline)
            self._launch()
            self._lifeline.extend(SESSION_DEADLINE)
            self._stack = self._stack.pop_all()
        return self

    def _launch(self) -> None:
        """An appliance that does not start is the machine's fault, never the guest's: not exit code 7."""
        try:
            self._start()
        except RuntimeError as error:
            self._raise_if_cancelled("start the libguestfs appliance")
            if self._lifeline.ended_by:
                raise RetriesExhausted(
                    "the libguestfs appliance did not start in time", remedy=TEST
                ) from error
            raise UsageError(f"the libguestfs appliance cannot start: {error}", remedy=TEST) from error

    def _start(self) -> None:
        handle = self._handle = guestfs.GuestFS(python_return_dict=True, close_on_exit=False)
        self._stack.callback(handle.close)
        handle.set_backend("direct")
        handle.set_backend_settings(self._settings)
        handle.set_network(False)
        handle.set_memsize(MEMORY)
        handle.set_autosync(True)
        handle.config("-sandbox", SANDBOX)
        for at, disk in enumerate(self._disks):
            path = str(disk.absolute())
            handle.add_drive_opts(path, format=self._format, readonly=self._read_only, label=drive_label(at))
        handle.launch()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After good work the appliance shuts down in order: a failure then means that writes are lost."""
        with self._stack:
            if kind is None:
                with self._translated("shut the libguestfs appliance down"):
                    self._handle.umount_all()
                    self._handle.shutdown()

    # --- files: convert.tree.Tree ----------------------------------------------------------------------

    def read(self, path: str, limit: int = TEXT_LIMIT) -> bytes | None:
        with self._translated(f"read {path}"):
            size = self._size(path, limit)
            if size is None:
                return None
            return b"".join(self._handle.pread(path, MESSAGE, start) for start in range(0, size, MESSAGE))

    def _size(self, path: str, limit: int) -> int | None:
        """Bytes of a regular file, None if there is none."""
        if not self._there(self._handle.is_file, path):
            return None
        size: int = self._handle.filesize(path)
        if size > limit:
            raise ConversionError(
                f"the guest's {path} has {size} bytes, more than the {limit} that such a file may have",
                operation="read the guest",
            )
        return size

    def tail(self, path: str, length: int) -> bytes:
        with self._translated(f"read {path}"):
            if not self._there(self._handle.is_file, path):
                return b""
            start = max(0, self._handle.filesize(path) - length)
            end: bytes = self._handle.pread(path, min(length, MESSAGE), start)
        return end

    def _there(self, asked: Callable[..., bool], path: str) -> bool:
        """Nothing is where a loop of links leads, and nothing has a name that guestfs cannot be asked for."""
        try:
            return is_possible(path) and asked(path, followsymlinks=True)
        except RuntimeError as error:
            if str(error).endswith(NOWHERE):
                return False
            raise

    def exists(self, path: str) -> bool:
        with self._translated(f"look at {path}"):
            return is_possible(path) and bool(self._handle.exists(path))

    def link(self, path: str) -> str | None:
        with self._translated(f"look at {path}"):
            if not (is_possible(path) and self._handle.is_symlink(path)):
                return None
            try:
                return str(self._handle.readlink(path))
            except UnicodeDecodeError as error:  # the bindings know UTF-8 only; the bytes are in the error
                return os.fsdecode(error.object)

    def names(self, folder: str) -> list[str]:
        """Through a file, because names need not be UTF-8 and guestfs' own lists must be."""
        with self._translated(f"list {folder}"):
            if not self._there(self._handle.is_dir, folder):
                return []
            listing = self._work / "names"
            self._handle.ls0(folder, str(listing))
        return sorted(os.fsdecode(name) for name in listing.read_bytes().split(b"\0") if name)

    def fetch(self, path: str, limit: int) -> Path:
        with self._translated(f"fetch {path}"):
            if self._size(path, limit) is None:
                raise ConversionError(f"the guest's {path} is not a file", operation="fetch")
            return self._download(path)

    def _download(self, path: str) -> Path:
        self._fetched += 1
        local = self._work / f"fetched-{self._fetched}"
        self._handle.download(path, str(local))
        return local

    def mode(self, path: str) -> int:
        with self._translated(f"look at {path}"):
            return stat.S_IMODE(self._handle.statns(path)["st_mode"])

    def free(self, folder: str) -> int:
        with self._translated(f"measure free space of {folder}"):
            space = self._handle.statvfs(folder)
        return int(space["bavail"] * space["frsize"])

    def label(self, path: str) -> str | None:
        with suppress(RuntimeError):
            context: bytes = self._handle.lgetxattr(path, SELINUX)
            return context.rstrip(b"\0").decode("utf-8", "surrogateescape")
        return None

    def architecture(self, path: str) -> str | None:
        with suppress(RuntimeError):
            return str(self._handle.file_architecture(path))
        return None

    # --- writing --------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes, mode: int) -> None:
        with self._translated(f"write {path}"):
            self._handle.mkdir_p(str(Path(path).parent))
            if len(data) <= MESSAGE:
                self._handle.write(path, data)
            else:
                self._handle.write(path, b"")  # an upload leaves the end of a longer file
                self._upload(path, data, 0)
            self._handle.chmod(mode, path)

    def append(self, path: str, data: bytes) -> None:
        with self._translated(f"append to {path}"):
            self._upload(path, data, self._handle.filesize(path))

    def _upload(self, path: str, data: bytes, offset: int) -> None:
        local = self._work / "upload"
        local.write_bytes(data)
        try:
            self._handle.upload_offset(str(local), path, offset)
        finally:
            local.unlink()

    def symlink(self, path: str, target: str) -> None:
        with self._translated(f"link {path}"):
            self._handle.mkdir_p(str(Path(path).parent))
            self._handle.ln_sf(target, path)

    def remove(self, path: str) -> None:
        with self._translated(f"remove {path}"):
            self._handle.rm_f(path)

    def set_selinux_label(self, path: str, label: str) -> None:
        with self._translated(f"label {path}"):
            self._handle.lsetxattr(SELINUX, label, len(label.encode()), path)

    # --- running the guest's programs ------------------------------------------------------------------

    def run(self, argv: Sequence[str], deadline: float) -> str:
        """What the guest's program printed. Past `deadline` seconds the whole appliance is ended."""
        self._lifeline.extend(deadline)
        with self._translated(f"run {argv[0]}"):
            self._allow_programs()
            said: str = self._handle.command(list(argv))
        self._lifeline.extend(SESSION_DEADLINE)
        return said


def is_possible(path: str) -> bool:
    """Whether guestfs can be asked for a path: its bindings take UTF-8 without NULs."""
    try:
        return b"\0" not in path.encode()
    except UnicodeEncodeError:
        return False
