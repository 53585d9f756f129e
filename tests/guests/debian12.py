"""The real guest of the tests: a Debian 12 as an administrator would have made it on vSphere, years ago.

MBR and grub, ext4 root, swap and a data disk named by /dev/sdX everywhere (fstab, kernel command line,
resume), a static address on the NIC name that VMware's slot 192 gives, an initramfs that knows VMware's disk
adapter and nothing of virtio. Moving it to VirtIO hardware breaks all of that unless it is converted;
tests/test_guests.py proves both that it runs on the VMware-like machine and that it breaks on the other.

`python -m tests.guests.debian12` builds it (as root: the packages' files have owners) into the cache, where
it stays for as long as its recipe stays the same: the cache key is the digest of that. A build takes three
steps: a root folder by debootstrap (tree.py), disk images from folders (disk.py), and one boot in which the
guest's own grub and mkswap finish the disk (files/provision.sh).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.boot import VMWARE_SLOT, Hardware, Kernel, Outcome, boot
from tests.guests import disk, tree
from tests.guests.disk import MIB, SECTOR, Partition
from tests.guests.tools import SEARCH_PATH
from transferd.errors import Error, IntegrityError, RetriesExhausted, UsageError

CACHE = Path("~/.cache/transferd/guests")

NETWORK = tree.Network(nic_name=f"ens{VMWARE_SLOT}", address="192.0.2.10/24")
MAC = "00:50:56:3f:12:01"  # 00:50:56:00-3f is VMware's range for addresses given by hand
ROOT_UUID = "5a3c9f0e-9d61-4a36-8f5b-6f2f6d0c1201"
DATA_UUID = "5a3c9f0e-9d61-4a36-8f5b-6f2f6d0c1202"

# Neither disk is a multiple of the digest's 4 MiB block, and the second not even of a page.
ROOT_SIZE = 2048 * MIB + 1 * MIB
DATA_SIZE = 512 * MIB + 1 * MIB + SECTOR
ROOT = Partition(1 * MIB, 1920 * MIB, "83", active=True)
SWAP = Partition(1921 * MIB, 127 * MIB, "82")
DATA = Partition(1 * MIB, 512 * MIB, "83")

KNOWN_FILE = "known.bin"
KNOWN_SIZE = 8 * MIB

TOOLS = ("debootstrap", "unshare", "setpriv", "sfdisk", "mke2fs", "debugfs", "e2fsck", "qemu-system-x86_64")

# Another builder may be at work: this is twice what a build may take.
LOCK_DEADLINE = 720.0
PROVISION_DEADLINE = 240.0


@dataclasses.dataclass(frozen=True)
class Guest:
    """`address` has its prefix length; `data_sha256` is of /srv/data/known.bin on the data disk."""

    root_disk: Path
    data_disk: Path
    virtio_initrd: Path
    mac: str
    nic_name: str
    address: str
    slot: int
    kernel: str
    root_uuid: str
    data_uuid: str
    data_sha256: str

    @property
    def disks(self) -> tuple[Path, Path]:
        return self.root_disk, self.data_disk


def build(cache: Path = CACHE) -> Guest:
    """The guest from the cache, where it is made first if need be. Never write to its images: `clone` it."""
    folder = _folder(cache)
    if not folder.exists():
        obstacle = unavailable(cache)
        if obstacle:
            raise UsageError(obstacle, remedy="run images/dev/setup.sh as root")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent):
            _remove_half_built(folder.parent)
            if not folder.exists():
                _build(folder)
    return _load(folder)


def unavailable(cache: Path = CACHE) -> str | None:
    """Why this machine can neither find, nor build, nor run the guest: what tests say when they skip."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=SEARCH_PATH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0 and not _folder(cache).exists():
        return "the test guest is not built yet, and only root can build it"
    return None


def clone(guest: Guest, folder: Path) -> Guest:
    """The same guest on throw-away sparse copies of its disks."""
    folder.mkdir(parents=True, exist_ok=True)
    return dataclasses.replace(
        guest,
        root_disk=disk.clone(guest.root_disk, folder / guest.root_disk.name),
        data_disk=disk.clone(guest.data_disk, folder / guest.data_disk.name),
    )


def with_virtio_alone(guest: Guest, folder: Path) -> Guest:
    """A clone whose initramfs knows virtio too, and whose root is found by UUID so that it gets to use it.

    Nothing else is touched: what then still fails is what conversion owes the guest beyond its drivers.
    """
    changed = clone(guest, folder)
    disk.replace(
        changed.root_disk, ROOT, f"/boot/initrd.img-{guest.kernel}", guest.virtio_initrd.read_bytes()
    )
    menu = disk.read(changed.root_disk, ROOT, "/boot/grub/grub.cfg")
    by_uuid = menu.replace(b"root=/dev/sda1", f"root=UUID={guest.root_uuid}".encode())
    if by_uuid == menu:
        raise IntegrityError("the guest's grub.cfg does not say root=/dev/sda1", disk=str(changed.root_disk))
    disk.replace(changed.root_disk, ROOT, "/boot/grub/grub.cfg", by_uuid)
    return changed


def _folder(cache: Path) -> Path:
    """Where the guest is or will be: the name holds a digest of everything that decides what it is."""
    here = Path(__file__).parent
    digest = hashlib.sha256(repr(NETWORK).encode())
    for path in [Path(__file__), here / "tree.py", here / "disk.py", *sorted((here / "files").iterdir())]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return cache.expanduser() / f"debian12-{digest.hexdigest()[:16]}"


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    until = time.monotonic() + LOCK_DEADLINE
    with (cache / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise RetriesExhausted(f"{cache} has been locked for {LOCK_DEADLINE:.0f} s") from None
                time.sleep(1)
            else:
                break
        yield


def _remove_half_built(cache: Path) -> None:
    """Called under the lock: whoever left such a folder is dead."""
    for remains in cache.glob(".building-*"):
        shutil.rmtree(remains)


def _build(folder: Path) -> None:
    cache = folder.parent
    with tempfile.TemporaryDirectory(prefix=".building-", dir=cache) as scratch:
        half_built = Path(scratch) / "guest"
        half_built.mkdir()
        root = Path(scratch) / "root"
        version = tree.install(root, NETWORK, packages=cache / "packages")
        shutil.move(root / tree.VIRTIO_INITRD.lstrip("/"), half_built / "initrd-virtio.img")
        _make_root_disk(half_built / "root.img", root, version)
        known = _make_data_disk(half_built / "data.img", Path(scratch) / "data")
        facts = {"kernel": version, "data_sha256": known}
        (half_built / "guest.json").write_text(json.dumps(facts))
        half_built.rename(folder)


def _make_root_disk(image: Path, root: Path, version: str) -> None:
    disk.create(image, ROOT_SIZE, [ROOT, SWAP], disk_id="0x12d3b1a1")
    disk.fill(image, ROOT, root, uuid=ROOT_UUID)
    kernel = Kernel(
        image=root / f"boot/vmlinuz-{version}",
        initrd=root / f"boot/initrd.img-{version}",
        cmdline="root=/dev/sda1 console=ttyS0 init=/usr/local/sbin/provision",
    )
    end = boot([image], Hardware.VMWARE, mac=MAC, deadline=PROVISION_DEADLINE, kernel=kernel, keep=True)
    if end.outcome is not Outcome.OFF or "=== TRANSFERD GUEST PROVISIONED ===" not in end.console:
        said = " | ".join([line for line in end.console.splitlines() if line and line[0] != "["][-5:])
        raise IntegrityError(f"the new guest did not finish its own installation ({end.outcome}): {said}")


def _make_data_disk(image: Path, content: Path) -> str:
    """The SHA-256 of its known file: noise, so that it is neither sparse nor compressible anywhere."""
    content.mkdir()
    noise = hashlib.shake_256(b"transferd's known file").digest(KNOWN_SIZE)
    (content / KNOWN_FILE).write_bytes(noise)
    (content / "README").write_text("The data disk of the Debian 12 test guest.\n")
    disk.create(image, DATA_SIZE, [DATA], disk_id="0x12d3b1b1")
    disk.fill(image, DATA, content, uuid=DATA_UUID)
    return hashlib.sha256(noise).hexdigest()


def _load(folder: Path) -> Guest:
    facts = json.loads((folder / "guest.json").read_text())
    return Guest(
        root_disk=folder / "root.img",
        data_disk=folder / "data.img",
        virtio_initrd=folder / "initrd-virtio.img",
        mac=MAC,
        nic_name=NETWORK.nic_name,
        address=NETWORK.address,
        slot=VMWARE_SLOT,
        kernel=facts["kernel"],
        root_uuid=ROOT_UUID,
        data_uuid=DATA_UUID,
        data_sha256=facts["data_sha256"],
    )


def main() -> int:
    try:
        guest = build()
    except Error as error:
        print(f"tests.guests.debian12: error: {error}", file=sys.stderr)
        return error.exit_code
    print(guest.root_disk.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
