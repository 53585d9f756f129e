"""The test guest is what it claims to be: at home on VMware's hardware, lost on VirtIO without conversion."""

import pytest

from tests.boot import Hardware, Outcome, boot
from tests.guests import debian12
from transferd.errors import printable

pytestmark = pytest.mark.boot

# Three to four times what a boot takes on two idle cores without KVM.
PATIENCE = 240.0

DIGEST_BLOCK = 4 << 20


def start(guest, hardware):
    end = boot(guest.disks, hardware, mac=guest.mac, deadline=PATIENCE)
    print(*map(printable, end.console.splitlines()[-40:]), sep="\n")
    return end


def test_its_disks_end_in_the_middle_of_a_digest_block(guest):
    assert [disk.stat().st_size % DIGEST_BLOCK for disk in guest.disks] == [1 << 20, (1 << 20) + 512]


def test_a_clone_is_the_same_guest_on_its_own_sparse_disks(guest, tmp_path):
    clone = debian12.clone(guest, tmp_path)

    assert clone.data_disk.read_bytes() == guest.data_disk.read_bytes()
    assert clone.root_disk.stat().st_size == guest.root_disk.stat().st_size
    assert clone.root_disk.stat().st_blocks * 512 < guest.root_disk.stat().st_size / 2
    assert all(disk.parent == tmp_path for disk in clone.disks)


def test_it_boots_on_vmware_hardware_with_the_names_and_devices_of_vmware(guest):
    end = start(guest, Hardware.VMWARE)

    assert end.outcome is Outcome.IDENTITY
    it = end.identity
    assert it.reached_multi_user
    assert it.failed_units == []
    assert it.kernel == guest.kernel
    assert (it.root_argument, it.root.source, it.root.uuid) == ("/dev/sda1", "/dev/sda1", guest.root_uuid)
    assert it.mounts["/srv/data"].source == "/dev/sdb1"
    assert it.data_sha256 == guest.data_sha256
    assert it.swaps == ["/dev/sda2"]
    assert it.nics == {guest.mac: guest.nic_name} == {guest.mac: "ens192"}
    assert it.addresses == {guest.nic_name: [guest.address]}


def test_without_conversion_it_does_not_find_its_root_on_virtio(guest):
    end = start(guest, Hardware.VIRTIO)

    assert end.outcome is Outcome.NO_ROOT
    assert end.identity is None


def test_with_virtio_alone_in_its_initramfs_it_comes_up_without_its_nic_name_mounts_and_swap(guest, tmp_path):
    end = start(debian12.with_virtio_alone(guest, tmp_path), Hardware.VIRTIO)

    assert end.outcome is Outcome.IDENTITY
    it = end.identity
    assert (it.root.source, it.root_by_uuid) == ("/dev/vda1", True)
    assert list(it.nics) == [guest.mac]
    assert it.nics[guest.mac] != guest.nic_name
    assert guest.address not in it.addresses[it.nics[guest.mac]]
    assert "networking.service" in it.failed_units
    assert "/srv/data" not in it.mounts
    assert it.data_sha256 is None
    assert it.swaps == []
    assert "Timed out waiting for device" in end.console
