"""The rehearsed machine as a command line: the manifest's hardware, and no way out of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from convert import firmware, machine, wiring
from convert.firmware import Uefi
from convert.machine import Machine
from tests.convert.memory import nic, source
from transferd.errors import UsageError
from transferd.model import BlockBus, Caps, Firmware, NicModel, SourceVM

VIRTIO = Caps(
    block=BlockBus.VIRTIO, net=NicModel.VIRTIO, firmware=Firmware.BIOS, rng=True, balloon=True, boot_disk=1
)
UUID = "6000c290-1111-2222-3333-444455556666"
LAYERS = (Path("/state/layer,0.qcow2"), Path("/state/layer-1.qcow2"))


def vm(**changed) -> SourceVM:
    found = source(nic(), nic("00:50:56:00:00:02"))
    disks = [disk.model_copy(update={"uuid": UUID}) for disk in found.disks]
    return found.model_copy(update={"disks": disks, **changed})


def argv(caps: Caps = VIRTIO, uefi: Uefi | None = None, *, kvm: bool = False, **changed) -> list[str]:
    return machine.argv(Machine(vm(**changed), caps, LAYERS, kvm, 7, uefi))


def values(words: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == option]


def test_disks_and_nics_are_those_of_the_manifest():
    devices = values(argv(), "-device")
    manifest = [wiring.disk(number, disk, VIRTIO) for number, disk in enumerate(vm().disks)]

    assert [device for device in devices if "disk" in device] == [
        f"virtio-blk-pci,drive=disk0,werror=report,rerror=report,serial={manifest[0]['serial']},bus=port3",
        f"virtio-blk-pci,drive=disk1,werror=report,rerror=report,serial={manifest[1]['serial']},bootindex=1,bus=port4",
    ]
    assert [device.partition(",netdev")[0] for device in devices if "mac=" in device] == [
        "virtio-net-pci"
    ] * 2
    assert [f"mac={nic.mac}," in device for nic, device in zip(vm().nics, devices[2:5:2], strict=True)]
    assert {"virtio-rng-pci,bus=port5", "virtio-balloon-pci,bus=port6"} <= set(devices)


def test_a_guest_without_virtio_gets_sata_and_e1000e():
    devices = values(argv(Caps.without_virtio(Firmware.BIOS)), "-device")

    assert [device.partition(",")[0] for device in devices if "drive=" in device] == ["ide-hd"] * 2
    assert [device.partition(",")[0] for device in devices if "mac=" in device] == ["e1000e"] * 2
    assert not [device for device in devices if "virtio" in device]


def test_every_nic_has_a_hub_of_its_own_and_there_is_no_other_network():
    assert values(argv(), "-netdev") == ["hubport,id=net0,hubid=0", "hubport,id=net1,hubid=1"]
    assert values(argv(nics=[]), "-netdev") == []


def test_the_machine_is_shut_in_and_ends_with_its_owner():
    words = argv()

    assert words[:3] == ["setpriv", "--pdeathsig=KILL", "--no-new-privs"]
    assert values(words, "-sandbox") == [
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    ]
    assert {"-nodefaults", "-no-user-config"} <= set(words)
    assert "--core=0" in words
    assert values(words, "-chardev") == ["stdio,id=serial,signal=off", "socket,id=monitor,fd=7"]


@pytest.mark.parametrize(("asked", "given"), [(64, 256), (1024, 1024), (1 << 20, 2048)])
def test_memory_is_the_guests_own_within_limits(asked, given):
    words = argv(memory=asked * machine.MIB)

    assert values(words, "-m") == [f"{given}M"]
    assert f"--as={(given + 4096) * machine.MIB}" in words


def test_every_disk_is_a_layer_of_a_format_that_is_named_whatever_its_path():
    nodes = [json.loads(node) for node in values(argv(), "-blockdev")]

    assert [(node["driver"], node["file"]["filename"]) for node in nodes] == [
        ("qcow2", "/state/layer,0.qcow2"),
        ("qcow2", "/state/layer-1.qcow2"),
    ]


def test_a_mac_address_that_is_none_reaches_no_command_line():
    with pytest.raises(UsageError, match="MAC address"):
        argv(nics=[nic("00:50:56:00:00:01,romfile=/etc/shadow")])


@pytest.mark.parametrize(("kvm", "accelerator"), [(True, "kvm"), (False, "tcg,tb-size=256")])
def test_the_accelerator_is_the_one_that_was_proven(kvm, accelerator):
    assert values(argv(kvm=kvm), "-accel") == [accelerator]


@pytest.mark.parametrize("secure", [False, True])
def test_secure_boot_needs_what_keeps_the_guest_from_its_own_keys(secure):
    uefi = Uefi(Path("/usr/share/CODE.fd"), Path("/state/VARS.fd"), secure)
    words = argv(VIRTIO, uefi)
    nodes = [json.loads(node) for node in values(words, "-blockdev")]

    assert values(words, "-M") == [f"q35,graphics=off,smm={'on' if secure else 'off'}"]
    assert ("driver=cfi.pflash01,property=secure,value=on" in words) == secure
    assert [(node["node-name"], node["read-only"]) for node in nodes[:2]] == [
        ("code", True),
        ("variables", False),
    ]


# --- firmware --------------------------------------------------------------------------------------------


def descriptor(folder: Path, name: str, *, features: tuple[str, ...] = (), machine_type: str = "pc-q35-*"):
    for file in (code := folder / f"{name}.code", variables := folder / f"{name}.vars"):
        file.write_bytes(b"")
    document = {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(code), "format": "raw"},
            "nvram-template": {"filename": str(variables), "format": "raw"},
        },
        "targets": [{"architecture": "x86_64", "machines": [machine_type]}],
        "features": features,
    }
    (folder / f"{name}.json").write_text(json.dumps(document))


def test_the_firmware_with_the_lowest_name_that_fits_is_taken(tmp_path):
    descriptor(tmp_path, "10-other-board", machine_type="microvm")
    descriptor(tmp_path, "20-no-keys", features=("secure-boot",))
    descriptor(tmp_path, "40-secure", features=("secure-boot", "enrolled-keys"))
    descriptor(tmp_path, "60-plain")
    descriptor(tmp_path, "70-later")

    assert firmware.find(secure=False, folders=[tmp_path]).code.name == "60-plain.code"
    assert firmware.find(secure=True, folders=[tmp_path]).code.name == "40-secure.code"


def test_what_the_administrator_hides_is_not_taken(tmp_path):
    own, shipped = tmp_path / "etc", tmp_path / "usr"
    own.mkdir()
    shipped.mkdir()
    descriptor(shipped, "60-plain")
    (own / "60-plain.json").write_bytes(b"")

    with pytest.raises(UsageError, match="install ovmf"):
        firmware.find(secure=False, folders=[own, shipped])


@pytest.mark.parametrize(
    "content", ["[]", '{"mapping": 5}', '"text"', '{"interface-types": ["uefi"]}', "nul"]
)
def test_a_descriptor_of_another_shape_is_passed_over(tmp_path, content):
    (tmp_path / "10-odd.json").write_text(content)
    descriptor(tmp_path, "60-plain")

    assert firmware.find(secure=False, folders=[tmp_path]).code.name == "60-plain.code"
