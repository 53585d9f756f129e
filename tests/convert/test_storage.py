"""Every kind of storage that a guest lies on: opened, found, checked, mounted, or refused in one line."""

from __future__ import annotations

import hashlib

import pytest

from convert import overlay, system
from convert.blocks import drive_label
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
NO_SYSTEMS = ["blank", "data", "gpt_garbage", "half_a_stripe", "half_a_group", "twin_groups"]


class Machine:
    """One appliance that has the disks of all systems: `--root` says which is meant."""

    def __init__(self, disks, guest, key):
        self.disks, self.guest, self.key = disks, guest, key
        self.names = [path.name for paths in disks.values() for path in paths]

    def place(self, layout: str) -> int:
        """The position of the layout's last disk."""
        return self.names.index(self.disks[layout][-1].name)

    def root(self, layout: str) -> str:
        """What `--root` takes."""
        volumes = {
            "lvm": "/dev/vg-a/root",
            "lvm_on_luks": "/dev/mapper/vgb-root",
            "luks_on_lvm": self.inside("/dev/vgc/crypt"),
            "mirror": "/dev/md0",
            "half_a_mirror": "/dev/md/half",
        }
        return volumes.get(layout) or f"{self.place(layout)}:{3 if layout == 'parts' else 0}"

    def inside(self, container: str) -> str:
        self.guest.unlock([self.key])
        inside = [f for f in self.guest.filesystems() if f.container and f.container.device == container]
        return inside[0].uuid

    def find(self, root: str | None, *, check: bool = False) -> system.System:
        self.guest.unmount_all()
        return system.find(self.guest, self.names, source=None, root=root, keys=[self.key], check=check)


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
    "layout", ["parts", "lvm", "lvm_on_luks", "luks_on_lvm", "mirror", "half_a_mirror", "btrfs_by_fstab",
               "btrfs_by_default", "dirty"],
)  # fmt: skip
def test_the_root_is_found_checked_and_mounted(machine, layout):
    found = machine.find(machine.root(layout), check=True)

    assert (text(machine.guest, "/etc/hostname") or "").replace("-", "_") == f"{layout}\n"
    assert found.mounted[0] == found.root
    machine.guest.write("/etc/written", b"", 0o644)


def marks(machine) -> set[str]:
    folders = ("/boot", "/boot/efi", "/usr", "/var")
    return {
        f"{folder}/{name}" for folder in folders for name in machine.guest.names(folder) if "this-is" in name
    }


def test_partitions_are_mounted_by_every_way_that_fstab_names_them(machine):
    found = machine.find(machine.root("parts"))

    assert marks(machine) == {"/boot/this-is-boot", "/boot/efi/this-is-esp", "/usr/this-is-usr"}
    assert "/etc/fstab has LABEL=lost for /var" in next(
        w.message for w in found.warnings if w.code == "mount-failed"
    )


@pytest.mark.parametrize(
    ("layout", "mark"), [("lvm", "/var/this-is-var"), ("lvm_on_luks", "/boot/this-is-boot"),
                         ("btrfs_by_fstab", "/var/this-is-var")],
)  # fmt: skip
def test_what_else_belongs_to_the_system_is_mounted(machine, layout, mark):
    machine.find(machine.root(layout))

    assert marks(machine) == {mark}


def test_the_container_of_an_encrypted_root_is_known(machine):
    inside, below = (machine.find(machine.root(name)).root for name in ("lvm_on_luks", "luks_on_lvm"))

    assert (inside.container.kind, inside.container.partition) == ("crypto_LUKS", 2)
    assert below.container.device == "/dev/vgc/crypt"


def test_what_luks_holds_goes_by_its_name_in_crypttab(machine):
    found = machine.find(machine.root("luks_on_lvm"))

    assert found.devices.resolve("/dev/mapper/rooted").device == found.root.device


def test_an_array_goes_by_its_name_in_the_guest(machine):
    devices = machine.find(machine.root("mirror")).devices

    assert devices.resolve("/dev/md0") == devices.resolve("/dev/md/0") == devices.resolve("/dev/md/host:0")


@pytest.mark.parametrize(
    ("layout", "subvolume"), [("btrfs_by_fstab", "@"), ("btrfs_by_default", "@/.snapshots/1/snapshot")]
)
def test_the_right_subvolume_is_the_root(machine, layout, subvolume):
    assert machine.find(machine.root(layout)).root.subvolume == subvolume


def test_a_subvolume_can_be_chosen(machine):
    filesystem = machine.find(machine.root("btrfs_by_fstab")).root

    assert machine.find(f"{filesystem.uuid}:a-copy").root.subvolume == "a-copy"


def test_a_damaged_root_is_refused_and_a_damaged_data_disk_is_told(machine):
    with pytest.raises(ConversionError, match=r"is damaged: .*deleted/unused inode") as caught:
        machine.find(machine.root("damaged"), check=True)
    told = {w.code: w.message for w in machine.find(machine.root("parts"), check=True).warnings}

    assert "repair it in the source VM" in str(caught.value)
    assert "its superblock says:" in told["file-system-damaged"]


def test_what_is_missing_or_closed_beside_the_system_is_told(machine):
    told = {w.code: w.message for w in machine.find(machine.root("parts")).warnings}

    assert "runs without 1 of its members" in told["storage-incomplete"]
    assert "is encrypted (LUKS) and the key given does not open it" in told["encrypted-disk"]


def test_several_systems_are_an_error_that_names_them_and_the_option(machine):
    with pytest.raises(ConversionError, match="more than one operating system") as caught:
        machine.find(None)

    assert "/dev/vgb/root" in str(caught.value)
    assert "--root" in str(caught.value)


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
    for look in (machine.guest.read, machine.guest.exists, machine.guest.link):
        with pytest.raises(ConversionError, match="not UTF-8"):
            look("/etc/b\udcff")
    with pytest.raises(ConversionError, match="not UTF-8"):
        machine.guest.link("/etc/link")


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
        assert "the array host:9 does not start: members are missing" in said
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
