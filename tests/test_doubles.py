"""The doubles behave as vCenter, ESXi and VDDK do where a migration would notice.

Disks are read as transferd reads them: through nbdkit's real vddk plugin. A double that lets through what
vSphere refuses, or that serves other bytes, would make every test built on it worthless.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyVmomi import vim

from tests.doubles.inventory import find_vm, virtual_disks
from tests.doubles.served import Refused, allocated, served
from tests.doubles.vsphere import VM, Disk, Nic, VSphere

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 64 * KIB
DEADLINE = 20.0

# No multiple of VDDK's 64 KiB chunk, as real disks sometimes are.
SIZE = 8 * MIB + 32 * KIB + 512
# (offset, length) of what is written; unaligned on purpose, the last across the end of the last whole chunk.
WRITTEN = [(0, 512), (MIB + 4 * KIB, 200 * KIB), (3 * MIB, 64 * KIB), (8 * MIB - 4 * KIB, 36 * KIB + 512)]


# --- the world -------------------------------------------------------------------------------------------


def write_image(path: Path, seed: int) -> Path:
    with path.open("wb") as image:
        image.truncate(SIZE)
        for offset, length in WRITTEN:
            image.seek(offset)
            image.write(bytes((seed + i * i // 7) % 255 + 1 for i in range(length)))
    return path


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory) -> Iterator[VSphere]:
    folder = tmp_path_factory.mktemp("vsphere")
    system, data = write_image(folder / "system.img", 1), write_image(folder / "data.img", 2)
    vms = [
        VM("off", disks=[Disk(system), Disk(data)], firmware="efi", cpus=4, cores_per_socket=2),
        VM(
            "web 01; $(reboot)",
            disks=[Disk(system)],
            nics=[
                Nic("00:50:56:01:02:03", slot=192, ips=["192.0.2.10", "fe80::1"]),
                Nic("00:50:56:01:02:04", slot=224, network="Storage"),
            ],
            powered_on=True,
        ),
        VM("no tools", disks=[Disk(system)], powered_on=True, tools_running=False),
    ]
    with VSphere(folder, vms, shutdown_delay=0.3, latency_us=20_000) as running:
        yield running


WEB = "web 01; $(reboot)"


@pytest.fixture
def snapshot(vsphere) -> Iterator[Any]:
    """A snapshot of the running VM, with the connection that took it."""
    with vsphere.connect() as service:
        vm = find_vm(service, WEB)
        taken = wait(vm.CreateSnapshot_Task("freeze", "", memory=False, quiesce=False))
        yield taken
        if vm.snapshot:
            wait(vm.RemoveAllSnapshots_Task())


def wait(task) -> Any:
    deadline = time.monotonic() + DEADLINE
    while task.info.state not in ("success", "error"):
        assert time.monotonic() < deadline, f"{task.info.descriptionId} takes too long"
        time.sleep(0.02)
    if task.info.error:
        raise task.info.error
    return task.info.result


# --- disks through VDDK ----------------------------------------------------------------------------------


@pytest.mark.parametrize("disk", [0, 1])
def test_a_powered_off_vm_serves_the_bytes_of_its_disks(vsphere, tmp_path, disk):
    flat = vsphere.flat_file("off", disk)
    path = "[datastore1] off/off.vmdk" if disk == 0 else "[datastore1] off/off_1.vmdk"
    with served(vsphere, tmp_path, vm=f"moref={vsphere.moref('off')}", file=path) as connection:
        assert connection.get_size() == SIZE
        assert connection.pread(SIZE, 0) == flat.read_bytes()


def test_sha1_thumbprints_match_whatever_their_case(vsphere, tmp_path):
    moref, lower = f"moref={vsphere.moref('off')}", vsphere.thumbprint.lower()
    path = "[datastore1] off/off.vmdk"
    with served(vsphere, tmp_path, vm=moref, file=path, thumbprint=lower) as connection:
        assert connection.get_size() == SIZE


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"password": "wrong"}, "ConnectEx: Insufficient permissions in the host operating system"),
        ({"user": "nobody"}, "ConnectEx: Insufficient permissions in the host operating system"),
        ({"thumbprint": "00:" * 19 + "00"}, "VixDiskLib_Open: [datastore1] off/off.vmdk: Unknown error"),
        ({"vm": "moref=vm-99999"}, "ConnectEx: The virtual machine cannot be found"),
        ({"vm": "moref=../registry/server"}, "ConnectEx: The virtual machine cannot be found"),
        ({"port": "1"}, "ConnectEx: Cannot connect to host"),
        ({"file": "[datastore1] off/other.vmdk"}, "Open: [datastore1] off/other.vmdk: A file was not found"),
        ({"snapshot": "snapshot-99999"}, "Open: [datastore1] off/off.vmdk: A file was not found"),
        ({"transports": "hotadd"}, "ConnectEx: The operation is not supported"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_vsphere_refuses_is_refused(vsphere, tmp_path, settings, words):
    right = {"vm": f"moref={vsphere.moref('off')}", "file": "[datastore1] off/off.vmdk"}
    with pytest.raises(Refused) as refusal, served(vsphere, tmp_path, **{**right, **settings}):
        pass
    assert words in str(refusal.value)


def test_the_base_disk_of_a_running_vm_is_locked(vsphere, tmp_path):
    moref, path = f"moref={vsphere.moref(WEB)}", f"[datastore1] {WEB}/{WEB}.vmdk"
    with pytest.raises(Refused) as refusal, served(vsphere, tmp_path, vm=moref, file=path):
        pass
    assert "You do not have access rights to this file" in str(refusal.value)


def test_allocated_blocks_are_the_written_ones_rounded_out_to_64_kib(vsphere, tmp_path):
    path, moref = "[datastore1] off/off.vmdk", f"moref={vsphere.moref('off')}"
    expected = [
        (0, CHUNK),
        (MIB, 4 * CHUNK),
        (3 * MIB, CHUNK),
        # The tail shorter than a chunk cannot be asked for: the plugin calls it data.
        (8 * MIB - CHUNK, SIZE - (8 * MIB - CHUNK)),
    ]
    with served(vsphere, tmp_path, vm=moref, file=path) as connection:
        assert allocated(connection) == expected


def test_reads_overlap(vsphere, tmp_path):
    """32 reads of 20 ms each: one after the other they would take 640 ms."""
    path, moref = "[datastore1] off/off.vmdk", f"moref={vsphere.moref('off')}"
    flat = vsphere.flat_file("off").read_bytes()
    with served(vsphere, tmp_path, vm=moref, file=path) as connection:
        nbd = pytest.importorskip("nbd")
        buffers = [nbd.Buffer(CHUNK) for _ in range(32)]
        start = time.monotonic()
        cookies = [connection.aio_pread(buffer, i * CHUNK) for i, buffer in enumerate(buffers)]
        for cookie in cookies:
            while not connection.aio_command_completed(cookie):
                connection.poll(1000)
        elapsed = time.monotonic() - start
    assert b"".join(bytes(b.to_bytearray()) for b in buffers) == flat[: 32 * CHUNK]
    assert 0.02 <= elapsed < 0.32


def test_one_nbdkit_serves_several_connections(vsphere, tmp_path):
    path, moref = "[datastore1] off/off.vmdk", f"moref={vsphere.moref('off')}"
    with served(vsphere, tmp_path, vm=moref, file=path) as first:
        second = type(first)()
        second.connect_unix(str(tmp_path / "nbd"))
        with ThreadPoolExecutor(2) as pool:
            read = list(pool.map(lambda connection: bytes(connection.pread(SIZE, 0)), [first, second]))
        second.shutdown()
    assert read == [vsphere.flat_file("off").read_bytes()] * 2


def test_several_nbdkits_serve_several_disks(vsphere, tmp_path):
    moref = f"moref={vsphere.moref('off')}"

    def read_disk(name: str) -> bytes:
        folder = tmp_path / name
        folder.mkdir()
        with served(vsphere, folder, vm=moref, file=f"[datastore1] off/{name}.vmdk") as connection:
            return bytes(connection.pread(SIZE, 0))

    with ThreadPoolExecutor(2) as pool:
        read = list(pool.map(read_disk, ["off", "off_1"]))
    assert read == [vsphere.flat_file("off", disk).read_bytes() for disk in (0, 1)]


# --- snapshots -------------------------------------------------------------------------------------------


def test_a_snapshot_freezes_content_and_holes_while_the_vm_writes(vsphere, snapshot, tmp_path):
    flat = vsphere.flat_file(WEB)
    before = flat.read_bytes()
    with flat.open("r+b") as disk:
        disk.seek(5 * MIB)
        disk.write(b"written by the running guest")
    path = virtual_disks(snapshot)[0].backing.fileName
    moref = f"moref={vsphere.moref(WEB)}"
    with served(vsphere, tmp_path, vm=moref, file=path, snapshot=snapshot._moId) as connection:
        assert connection.pread(SIZE, 0) == before
        assert 5 * MIB not in [offset for offset, _ in allocated(connection)]
    assert flat.read_bytes() != before


def test_a_removed_snapshot_cannot_be_opened_and_leaves_no_file(vsphere, snapshot, tmp_path):
    assert vsphere.snapshots(WEB) == ["freeze"]
    path, moref, vm = virtual_disks(snapshot)[0].backing.fileName, snapshot._moId, vsphere.moref(WEB)
    wait(snapshot.RemoveSnapshot_Task(removeChildren=False))
    assert vsphere.snapshots(WEB) == []
    assert list((vsphere.state / "frozen").iterdir()) == []
    with pytest.raises(Refused), served(vsphere, tmp_path, vm=f"moref={vm}", file=path, snapshot=moref):
        pass


def test_a_snapshot_opens_only_for_its_own_vm(vsphere, snapshot, tmp_path):
    path, other = virtual_disks(snapshot)[0].backing.fileName, f"moref={vsphere.moref('off')}"
    with pytest.raises(Refused), served(vsphere, tmp_path, vm=other, file=path, snapshot=snapshot._moId):
        pass


def test_removing_a_snapshot_with_its_children_forgets_them_all(vsphere, snapshot):
    with vsphere.connect() as service:
        wait(find_vm(service, WEB).CreateSnapshot_Task("child", "", memory=False, quiesce=False))
    assert vsphere.snapshots(WEB) == ["freeze", "child"]
    wait(snapshot.RemoveSnapshot_Task(removeChildren=True))
    assert vsphere.snapshots(WEB) == []
    assert list((vsphere.state / "frozen").iterdir()) == []


# --- inventory and power ---------------------------------------------------------------------------------


def test_the_inventory_shows_hardware_as_vsphere_does(vsphere):
    with vsphere.connect() as service:
        vm = find_vm(service, "off")
        config, (system, data) = vm.config, virtual_disks(vm)
        assert (config.firmware, config.hardware.memoryMB) == ("efi", 2048)
        assert (config.hardware.numCPU, config.hardware.numCoresPerSocket) == (4, 2)
        assert config.guestId == "debian12_64Guest"
        assert config.guestFullName == "Debian GNU/Linux 12 (64-bit)"
        assert config.uuid != config.instanceUuid
        places = [(disk.key, disk.controllerKey, disk.unitNumber) for disk in (system, data)]
        assert places == [(2000, 1000, 0), (2001, 1000, 1)]
        assert system.deviceInfo.label == "Hard disk 1"
        assert system.capacityInBytes == SIZE
        assert system.backing.fileName == "[datastore1] off/off.vmdk"
        assert system.backing.diskMode == "persistent"
        assert system.backing.thinProvisioned
        assert system.backing.uuid != data.backing.uuid
        assert system.diskObjectId != data.diskObjectId
        pvscsi = vim.vm.device.ParaVirtualSCSIController
        assert [d.key for d in config.hardware.device if isinstance(d, pvscsi)] == [1000]


def test_every_property_of_a_vm_can_be_read(vsphere):
    with vsphere.connect() as service:
        for name in ("off", WEB):
            vm = find_vm(service, name)
            for prop in type(vm)._GetPropertyList():
                getattr(vm, prop.name)


def test_the_inventory_shows_nics_slots_and_addresses(vsphere):
    with vsphere.connect() as service:
        vm = find_vm(service, WEB)
        cards = [d for d in vm.config.hardware.device if isinstance(d, vim.vm.device.VirtualVmxnet3)]
        assert [c.macAddress for c in cards] == ["00:50:56:01:02:03", "00:50:56:01:02:04"]
        assert [c.backing.deviceName for c in cards] == ["VM Network", "Storage"]
        slots = {o.key: o.value for o in vm.config.extraConfig if o.key.endswith("pciSlotNumber")}
        assert slots == {"ethernet0.pciSlotNumber": "192", "ethernet1.pciSlotNumber": "224"}
        assert vm.guest.toolsRunningStatus == "guestToolsRunning"
        seen = {n.deviceConfigId: list(n.ipAddress) for n in vm.guest.net}
        assert seen == {cards[0].key: ["192.0.2.10", "fe80::1"], cards[1].key: []}


def test_a_wrong_password_is_invalid_login(vsphere, tmp_path):
    stranger = VSphere(tmp_path, [], password="wrong")
    stranger._ready = vsphere._ready
    with pytest.raises(vim.fault.InvalidLogin), stranger.connect():
        pass


def test_a_guest_with_tools_shuts_down_after_its_delay_and_starts_again(vsphere):
    with vsphere.connect() as service:
        vm = find_vm(service, WEB)
        vm.ShutdownGuest()
        assert vsphere.power_state(WEB) == "on"
        deadline = time.monotonic() + DEADLINE
        while vsphere.power_state(WEB) == "on":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert vm.guest.toolsRunningStatus == "guestToolsNotRunning"
        wait(vm.PowerOnVM_Task())
        assert vsphere.power_state(WEB) == "on"
        assert vm.guest.toolsRunningStatus == "guestToolsRunning"
        with pytest.raises(vim.fault.InvalidPowerState):
            wait(vm.PowerOnVM_Task())


def test_a_guest_without_tools_cannot_be_asked_to_shut_down(vsphere):
    with vsphere.connect() as service, pytest.raises(vim.fault.ToolsUnavailable):
        find_vm(service, "no tools").ShutdownGuest()
    assert vsphere.power_state("no tools") == "on"


# --- lifetime --------------------------------------------------------------------------------------------


def test_vddk_cannot_connect_once_vcenter_has_stopped(tmp_path):
    image = write_image(tmp_path / "disk.img", 3)
    with VSphere(tmp_path, [VM("gone", disks=[Disk(image)])]) as vsphere:
        moref = f"moref={vsphere.moref('gone')}"
    path = "[datastore1] gone/gone.vmdk"
    with pytest.raises(Refused) as refusal, served(vsphere, tmp_path, vm=moref, file=path):
        pass
    assert "Cannot connect to host" in str(refusal.value)


def test_the_server_stops_in_time_while_a_client_waits(tmp_path):
    with VSphere(tmp_path, [VM("idle")]) as vsphere, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for_power_change, vsphere)
        time.sleep(0.5)
        assert not waiting.done()
        start = time.monotonic()
        vsphere.stop()
        assert time.monotonic() - start < 5.0
        assert isinstance(waiting.exception(DEADLINE), (OSError, HTTPException))


def wait_for_power_change(vsphere) -> None:
    spec: Any = vim.PropertyCollector
    with vsphere.connect() as service:
        collector = service.content.propertyCollector
        objects = [spec.ObjectSpec(obj=find_vm(service, "idle"))]
        properties = [spec.PropertySpec(type=vim.VirtualMachine, pathSet=["runtime.powerState"])]
        collector.CreateFilter(spec.FilterSpec(objectSet=objects, propSet=properties), partialUpdates=False)
        seen = collector.WaitForUpdatesEx("").version
        collector.WaitForUpdatesEx(seen, spec.WaitOptions(maxWaitSeconds=60))


def test_what_cannot_be_served_is_said_in_one_line(tmp_path):
    missing = tmp_path / "missing.img"
    with pytest.raises(RuntimeError, match=f"stat {missing}: no such file or directory") as refusal:
        VSphere(tmp_path, [VM("web", disks=[Disk(missing)])]).start()
    assert "\n" not in str(refusal.value)
