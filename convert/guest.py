"""The libguestfs appliance that holds the guest's disks: the only module that knows `guestfs`.

Everything that a guest wrote is parsed in here, by a small virtual machine without network and with limited
memory: partition tables, file systems, links. A path is resolved inside the guest, never on the host. Only
regular files are read, and only up to a limit, so a device node or a 10 GB fstab costs nothing. File
systems are mounted nodev, nosuid, noexec.

A Guest is a Tree once its root is mounted. Disks are opened with a forced format, in the order given, which
is the order of `devices()`.
"""

from __future__ import annotations

import shlex
import stat
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import guestfs

from convert.devices import FileSystem
from convert.lifeline import Lifeline
from convert.tree import MIB, TEXT_LIMIT
from transferd.errors import Cancelled, ConversionError, RetriesExhausted, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

# Measured: 11 to 20 s under TCG on two shared cores; the first launch on a machine also builds the
# appliance, a minute more.
LAUNCH_DEADLINE = 300.0
# All work in one launch; measured: about 40 s under TCG.
SESSION_DEADLINE = 1800.0
TEST = "run libguestfs-test-tool on this machine"
# e2fsck of large file systems is what needs memory; libguestfs' own default on x86 is 1280 MiB.
MEMORY = 1280
# What goes through one protocol message, whose limit is somewhat under 4 MiB (guestfs(3), PROTOCOL LIMITS).
# A pread takes 15 ms under TCG, where read_file and download take 130 ms however small the file is.
MESSAGE = MIB
# GUID partition types (UEFI specification 5.3.3; GRUB manual, BIOS installation).
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
BIOS_BOOT_TYPE = "21686148-6449-6E6F-744E-656564454649"


class Guest:
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
        self._disks = disks
        self._work = work
        self._format = disk_format
        self._read_only = read_only
        self._settings = list(backend_settings)
        self._lifeline = Lifeline(launch_deadline)
        self._stack = ExitStack()
        self._handle: Any = None
        self._devices: list[str] = []
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
        for at, disk in enumerate(self._disks):
            path = str(disk.absolute())
            handle.add_drive_opts(path, format=self._format, readonly=self._read_only, label=_label(at))
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

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._raise_if_cancelled(operation)
            if self._lifeline.ended_by:
                problem = "the libguestfs appliance did not answer before its deadline and was ended"
                raise ConversionError(problem, operation=operation, remedy=TEST) from error
            raise ConversionError(str(error), operation=operation) from error

    def _raise_if_cancelled(self, operation: str) -> None:
        if self._lifeline.ended_by == "signal":
            raise Cancelled("stopped by a signal", operation=operation)

    # --- disks and file systems ----------------------------------------------------------------------

    def devices(self) -> list[str]:
        """The appliance's names of the disks, in the order in which they were given."""
        if not self._devices:
            with self._translated("list disks"):
                self._devices = self._handle.list_devices()[: len(self._disks)]
        return self._devices

    def filesystems(self) -> list[FileSystem]:
        """File systems and swaps of every disk and volume, by their own superblocks; empty space is left out.

        Not guestfs' list_filesystems, which takes three times as long: arrays and volume groups are looked
        for only where a member of one was found.
        """
        with self._translated("list file systems"):
            partitions: list[str] = self._handle.list_partitions()
            places = {device: (at, 0) for at, device in enumerate(self.devices())}
            places |= {device: self._place(device) for device in partitions}
            found = [self._filesystem(device, *place) for device, place in places.items()]
            kinds = {filesystem.kind for filesystem in found}
            volumes: list[str] = self._handle.list_md_devices() if "linux_raid_member" in kinds else []
            volumes += self._handle.lvs() if "LVM2_member" in kinds or volumes else []
            found += [self._filesystem(device, None, None) for device in volumes]
        return [filesystem for filesystem in found if filesystem.kind]

    def _place(self, partition: str) -> tuple[int, int]:
        disk = self.devices().index(self._handle.part_to_dev(partition))
        return disk, self._handle.part_to_partnum(partition)

    def _filesystem(self, device: str, disk: int | None, partition: int | None) -> FileSystem:
        facts = self._handle.blkid(device)
        uuid, label, part = (facts.get(key) or None for key in ("UUID", "LABEL", "PART_ENTRY_UUID"))
        return FileSystem(device, facts.get("TYPE", ""), disk, partition, uuid, label, part)

    def partition_types(self) -> set[str]:
        """Type GUIDs of all GPT partitions, upper case."""
        types = set()
        with self._translated("read partition tables"):
            for device in self.devices():
                if self._handle.blkid(device).get("PTTYPE") == "gpt":
                    numbers = [part["part_num"] for part in self._handle.part_list(device)]
                    types |= {self._handle.part_get_gpt_type(device, n).upper() for n in numbers}
        return types

    def first_sector(self, disk: int) -> bytes:
        with self._translated("read boot sectors"):
            sector: bytes = self._handle.pread_device(self.devices()[disk], 512, 0)
        return sector

    def mount(self, filesystem: FileSystem, mountpoint: str, *, look_only: bool = False) -> None:
        access = "ro" if self._read_only or look_only else "rw"
        with self._translated(f"mount {filesystem.device} on {mountpoint}"):
            options = f"{access},nodev,nosuid,noexec"
            self._handle.mount_options(options, filesystem.device, mountpoint)

    def unmount_all(self) -> None:
        with self._translated("unmount"):
            self._handle.umount_all()

    def reread(self) -> None:
        """Unmounts and forgets all: what is read from now on comes from the disks, mounted read-only."""
        with self._translated("read the disks anew"):
            self._handle.umount_all()
            self._handle.sync()
            self._handle.drop_caches(3)
        self._read_only = True

    def damage(self, filesystem: FileSystem) -> str | None:
        """What the checker says of an unmounted file system, None if it is clean or no checker knows it.

        `e2fsck -n` goes through guestfs' debugging call: its own e2fsck repairs what it can and says that
        all was well (libguestfs 1.48, daemon/ext2.c), which is no check.
        """
        operation = f"check {filesystem.device}"
        try:
            if filesystem.kind in ("ext2", "ext3", "ext4"):
                self._handle.debug("sh", ["e2fsck", "-f", "-n", shlex.quote(_lasting_name(filesystem))])
            elif filesystem.kind == "xfs" and self._handle.xfs_repair(filesystem.device, nomodify=True):
                return "xfs_repair -n found damage"
        except RuntimeError as error:
            if self._lifeline.ended_by:
                with self._translated(operation):
                    raise
            return " ".join(str(error).split())[:500]
        return None

    # --- files: convert.tree.Tree ----------------------------------------------------------------------

    def read(self, path: str, limit: int = TEXT_LIMIT) -> bytes | None:
        with self._translated(f"read {path}"):
            size = self._size(path, limit)
            if size is None:
                return None
            return b"".join(self._handle.pread(path, MESSAGE, start) for start in range(0, size, MESSAGE))

    def _size(self, path: str, limit: int) -> int | None:
        """Bytes of a regular file, None if there is none."""
        if not self._handle.is_file(path, followsymlinks=True):
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
            if not self._handle.is_file(path, followsymlinks=True):
                return b""
            start = max(0, self._handle.filesize(path) - length)
            end: bytes = self._handle.pread(path, min(length, MESSAGE), start)
        return end

    def exists(self, path: str) -> bool:
        with self._translated(f"look at {path}"):
            return bool(self._handle.exists(path))

    def link(self, path: str) -> str | None:
        with self._translated(f"look at {path}"):
            return str(self._handle.readlink(path)) if self._handle.is_symlink(path) else None

    def names(self, folder: str) -> list[str]:
        with self._translated(f"list {folder}"):
            return sorted(self._handle.ls(folder)) if self._handle.is_dir(folder, followsymlinks=True) else []

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


def _label(disk: int) -> str:
    """A drive label of letters alone, as add_drive demands: `diska`, `diskb`, ..."""
    return "disk" + "".join(chr(ord("a") + int(digit)) for digit in str(disk))


def _lasting_name(filesystem: FileSystem) -> str:
    """The device's name for programs inside the appliance.

    Its kernel may find the disks in any order; guestfs translates /dev/sdX in its calls, but not in `debug`.
    """
    if filesystem.disk is None:
        return filesystem.device
    return f"/dev/disk/guestfs/{_label(filesystem.disk)}{filesystem.partition or ''}"
