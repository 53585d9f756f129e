"""Every kind of storage that a guest lies on: opened, found, checked, mounted, or refused in one line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest

from convert import overlay, system
from convert.blocks import drive_label
from convert.mounts import System
from convert.roots import Sight, choose
from convert.tree import text
from tests.convert import layouts
from transferd.errors import ConversionError, UsageError

pytestmark = pytest.mark.guestfs

SYSTEMS = [
    "parts",
    "lvm",
    "lvm_on_luks",
    "luks_on_lvm",
    "mirror",
    "half_a_mirror",
    "btrfs_by_fstab",
    "btrfs_by_default",
    "dirty",
    "damaged",
    "not_utf8",
    "dirty_data",
    "faulty_data",
    "unreadable",
    "encrypted",
]
# One of each kind of file system, and the one whose journal must be replayed for it.
CHECKED = {"parts", "lvm", "btrfs_by_fstab", "dirty"}
NO_SYSTEMS = ["blank", "data", "gpt_garbage", "half_a_stripe", "half_a_group", "twin_groups"]


@dataclass(frozen=True)
class Seen:
    """A system as it was found, and which files say that its parts are in their places."""

    system: System
    hostname: str
    marks: set[str]


class Machine:
    """One appliance that has the disks of all systems: `--root` says which is meant."""

    def __init__(self, disks, guest, key):
        self.disks, self.guest, self.key = disks, guest, key
        self.names = [path.name for paths in disks.values() for path in paths]
        self._seen: dict[str, Seen] = {}

    def place(self, layout: str) -> int:
        """The position of the layout's last disk."""
        return self.names.index(self.disks[layout][-1].name)

    def root(self, layout: str) -> str:
        """What `--root` takes."""
        volumes = {
            "lvm": "/dev/vg-a/root",
            "lvm_on_luks": "/dev/mapper/vgb-root",
            "luks_on_lvm": "/dev/mapper/opened-vgc-crypt",
            "mirror": "/dev/md0",
            "half_a_mirror": "/dev/md/half",
        }
        return volumes.get(layout) or f"{self.place(layout)}:{3 if layout == 'parts' else 0}"

    def find(self, root: str | None, *, check: bool = False) -> System:
        self.guest.unmount_all()
        return system.find(self.guest, self.names, source=None, root=root, keys=[self.key], check=check)

    def seen(self, layout: str) -> Seen:
        if layout not in self._seen:
            found = self.find(self.root(layout), check=layout in CHECKED)
            hostname = (text(self.guest, "/etc/hostname") or "").strip().replace("-", "_")
            self._seen[layout] = Seen(found, hostname, self._marks())
        return self._seen[layout]

    def _marks(self) -> set[str]:
        folders = ("/boot", "/boot/efi", "/usr", "/var")
        return {f"{at}/{name}" for at in folders for name in self.guest.names(at) if "this-is" in name}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def disks(appliance, folder):  # noqa: ARG001 (without an appliance there is nothing to test)
    return layouts.make(folder, [*SYSTEMS, *NO_SYSTEMS])


@pytest.fixture(scope="module")
def machine(disks, folder):
    mine = {name: disks[name] for name in SYSTEMS}
    overlays = overlay.create([path for paths in mine.values() for path in paths], folder)
    paths = [made.path for made in overlays]
    with layouts.opened(paths, folder, read_only=False, disk_format="qcow2") as guest:
        yield Machine(mine, guest, folder / "key")


@pytest.mark.parametrize(
    ("layout", "marks"),
    [
        ("parts", {"/boot/this-is-boot", "/boot/efi/this-is-esp", "/usr/this-is-usr"}),
        ("lvm", {"/var/this-is-var"}),
        ("lvm_on_luks", {"/boot/this-is-boot"}),
        ("luks_on_lvm", set()),
        ("mirror", set()),
        ("half_a_mirror", set()),
        ("btrfs_by_fstab", {"/var/this-is-var"}),
        ("btrfs_by_default", set()),
        ("dirty", set()),
    ],
)
def test_the_root_is_found_and_mounted_with_all_that_belongs_to_it(machine, layout, marks):
    seen = machine.seen(layout)

    assert seen.hostname == layout
    assert seen.marks == marks
    assert seen.system.mounted[0] == seen.system.root


def test_a_part_of_the_system_that_is_on_none_of_the_disks_is_told(machine):
    told = [w.message for w in machine.seen("parts").system.warnings if w.code == "mount-failed"]

    assert told == ["/etc/fstab has LABEL=lost for /var, which is no file system of the given disks"]


def test_the_container_of_an_encrypted_root_is_known(machine):
    inside, below = (machine.seen(name).system.root for name in ("lvm_on_luks", "luks_on_lvm"))

    assert (inside.container.kind, inside.container.partition) == ("crypto_LUKS", 2)
    assert below.container.device == "/dev/vgc/crypt"


def test_what_luks_holds_goes_by_its_name_in_crypttab(machine):
    found = machine.seen("luks_on_lvm").system

    assert found.devices.resolve("/dev/mapper/rooted").device == found.root.device


def test_an_array_goes_by_its_name_in_the_guest(machine):
    devices = machine.seen("mirror").system.devices

    assert devices.resolve("/dev/md0") == devices.resolve("/dev/md/0") == devices.resolve("/dev/md/host:0")


@pytest.mark.parametrize(
    ("layout", "subvolume"), [("btrfs_by_fstab", "@"), ("btrfs_by_default", "@/.snapshots/1/snapshot")]
)
def test_the_right_subvolume_is_the_root(machine, layout, subvolume):
    assert machine.seen(layout).system.root.subvolume == subvolume


def test_a_subvolume_can_be_chosen(machine):
    uuid = machine.seen("btrfs_by_fstab").system.root.uuid

    assert machine.find(f"{uuid}:a-copy").root.subvolume == "a-copy"


def test_a_damaged_root_is_refused(machine):
    with pytest.raises(ConversionError, match=r"is damaged: .*deleted/unused inode") as caught:
        machine.find(machine.root("damaged"), check=True)

    assert "repair it in the source VM" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("file-system-damaged", "its superblock says:"),
        ("storage-incomplete", "runs without 1 of its members"),
        ("encrypted-disk", "is encrypted (LUKS) and the key given does not open it"),
    ],
)
def test_what_ails_the_disks_beside_the_system_is_told(machine, code, message):
    told = {warning.code: warning.message for warning in machine.seen("parts").system.warnings}

    assert message in told[code]


def test_among_several_systems_the_one_on_the_disk_that_firmware_starts_is_chosen(machine):
    found = machine.find(None)

    assert (found.root.disk, found.root.partition) == (machine.place("parts"), 3)
    assert "cannot be read" in {w.code: w.message for w in found.warnings}["file-system-unreadable"]


def test_several_systems_without_a_sign_are_an_error_that_names_them_and_the_option(machine):
    several = [machine.seen(name).system for name in ("lvm", "mirror")]
    machine.guest.unmount_all()
    sight = Sight(tuple(found.root for found in several), ())

    with pytest.raises(ConversionError, match="more than one operating system: /dev/vg-a/root") as caught:
        choose(machine.guest, several[0].devices, sight, None)

    assert f"--root {several[0].root.uuid}" in str(caught.value)


def test_a_root_that_is_none_of_the_disks_is_a_usage_error(machine):
    with pytest.raises(UsageError, match="--root 99:1 names no single file system"):
        machine.find("99:1")


def test_looking_and_checking_replay_the_systems_journal_and_no_other(machine):
    machine.find(machine.root("dirty"), check=True)
    assert machine.guest.exists("/etc/late")
    machine.guest.unmount_all()

    assert not same(machine, "dirty")
    assert same(machine, "dirty_data")


def same(machine, layout: str) -> bool:
    """Whether the appliance sees the very bytes that the disk has."""
    device = f"/dev/disk/guestfs/{drive_label(machine.place(layout))}"
    here = hashlib.sha256(machine.disks[layout][-1].read_bytes()).hexdigest()
    return machine.guest._handle.checksum_device("sha256", device) == here


def test_a_name_that_is_not_utf8_is_listed_and_can_only_not_be_opened(machine):
    machine.find(machine.root("not_utf8"), check=True)

    assert "b\udcff" in machine.guest.names("/etc")
    assert machine.guest.link("/etc/link") == "\udcff"
    assert machine.guest.read("/etc/b\udcff") is None


def test_disks_without_a_system_are_refused_with_everything_that_may_explain_it(disks, folder):
    mine = [path for name in (*NO_SYSTEMS, "encrypted") for path in disks[name]]
    with layouts.opened(mine, folder, read_only=True) as guest:

        def refusal(*keys) -> str:
            with pytest.raises(ConversionError, match="no operating system found") as caught:
                system.find(guest, [p.name for p in mine], source=None, root=None, keys=keys, check=True)
            return str(caught.value)

        without, wrong, right = refusal(), refusal(folder / "key"), refusal(folder / "other")

    for said in (without, wrong, right):
        assert "\n" not in said
        assert "blank-0: no file system" in said
        assert "data-0: whole disk ext4" in said
        assert "gpt_garbage-0: its GPT cannot be read" in said
        assert "does not start: members are missing" in said
        assert "LVM finds the same disk 2 times" in said
        assert "the volume group vgd lacks 1 of its disks" in said
        assert "encrypted-0: whole disk encrypted (LUKS)" in said
    assert f"disk {len(mine) - 1} is encrypted (LUKS); " in without
    assert "give its key with --key" in without
    assert "is encrypted (LUKS) and the key given does not open it" in wrong
    assert "give all disks of the VM" in right


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_a_key_file_without_a_key_is_a_usage_error(machine, tmp_path, content):
    key = tmp_path / "key"
    if content is not None:
        key.write_bytes(content)

    with pytest.raises(UsageError, match=f"the key file {key}"):
        machine.guest.unlock([key])
