"""The boot harness: what QEMU is told, what a guest's own account must look like, and that it always ends."""

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.boot import CONSOLE_LIMIT, Hardware, Outcome, argv, boot
from tests.guests.identity import BEGIN, END, read_identity
from transferd.errors import UsageError

MAC = "00:50:56:00:00:01"
FACTS = {
    "kernel": "6.1.0",
    "cmdline": "root=UUID=1234 ro",
    "multi_user": "active",
    "network": [
        {"ifname": "lo", "address": "00:00:00:00:00:00", "addr_info": []},
        {
            "ifname": "ens192",
            "address": "00:50:56:00:00:01",
            "addr_info": [{"family": "inet", "local": "192.0.2.10", "prefixlen": 24, "scope": "global"}],
        },
    ],
    "mounted": {"filesystems": [{"target": "/", "source": "/dev/vda1", "fstype": "ext4", "uuid": "1234"}]},
    "swaps": [],
    "failed": [{"unit": "networking.service"}],
    "data_sha256": None,
}


def block(text):
    return b"boot noise\r\n" + BEGIN + b"\r\n" + text.encode() + b"\r\n" + END + b"\r\n"


def test_identity_is_read_from_between_its_markers():
    it = read_identity(block(json.dumps(FACTS)))

    assert it.reached_multi_user
    assert it.root_by_uuid
    assert it.root.source == "/dev/vda1"
    assert it.nics == {MAC: "ens192"}
    assert it.addresses == {"ens192": ["192.0.2.10/24"]}
    assert it.failed_units == ["networking.service"]


def test_a_bond_hides_neither_its_ports_macs_nor_is_it_a_nic():
    first, second = "00:50:56:00:00:01", "00:50:56:00:00:02"
    network = [
        {"ifname": "ens192", "address": first, "addr_info": [], "flags": ["SLAVE"], "master": "bond0"},
        {"ifname": "ens224", "address": first, "permaddr": second, "addr_info": [], "master": "bond0"},
        {"ifname": "bond0", "address": first, "addr_info": [], "flags": ["MASTER"]},
        {"ifname": "bond0.100", "address": first, "addr_info": [], "link": "bond0"},
    ]
    it = read_identity(block(json.dumps({**FACTS, "network": network})))

    assert it.nics == {first: "ens192", second: "ens224"}


@pytest.mark.parametrize(
    "console",
    [
        pytest.param(b"", id="nothing said"),
        pytest.param(BEGIN + b"\r\n{}", id="no end"),
        pytest.param(block("{}"), id="facts missing"),
        pytest.param(block('{"kernel": "6.1'), id="cut in the middle"),
        pytest.param(block(json.dumps({**FACTS, "swaps": "none"})), id="wrong type"),
        pytest.param(block(json.dumps({**FACTS, "kernel": "6" * 5000})), id="absurdly long fact"),
        pytest.param(block(json.dumps({**FACTS, "kernel": "6" * 70000})), id="absurdly long block"),
        pytest.param(block("[" * 60000), id="absurdly deep"),
        pytest.param(block('{"kernel":' + "[" * 60000 + "}"), id="absurdly deep inside"),
        pytest.param(block(json.dumps(FACTS)).replace(b"ens192", b"ens\xff"), id="not UTF-8"),
    ],
)
def test_what_does_not_parse_is_no_identity(console):
    assert read_identity(console) is None


@pytest.mark.parametrize("hardware", Hardware)
def test_disks_are_raw_by_force_and_keep_their_content(hardware):
    words = argv([Path("/images/a,b.img"), Path("/images/c.img")], hardware, mac=MAC)

    drives = [after for word, after in itertools.pairwise(words) if word == "-drive"]
    assert len(drives) == 2
    assert all("format=raw" in drive and "snapshot=on" in drive for drive in drives)
    assert drives[0].endswith("file=/images/a,,b.img")


def test_vmware_hardware_numbers_its_slots_as_vmware_does():
    words = argv([Path("/images/a.img")], Hardware.VMWARE, mac=MAC)

    assert "pcie-root-port,id=port2,chassis=2,port=2,slot=192" in words
    assert f"vmxnet3,bus=port2,netdev=net0,mac={MAC},romfile=" in words
    assert not any("virtio" in word for word in words)


@pytest.mark.parametrize("hardware", Hardware)
def test_every_nic_has_its_own_port_and_every_link_its_own_hub(hardware):
    words = argv([Path("/a.img"), Path("/b.img")], hardware, mac=MAC, more_macs=["00:50:56:00:00:02"])

    ports = [word for word in words if word.startswith("pcie-root-port")]
    assert len(ports) == len(set(ports)) == (3 if hardware is Hardware.VMWARE else 4)
    assert any("netdev=net1,mac=00:50:56:00:00:02," in word for word in words)
    assert [word for word in words if word.startswith("hubport")] == [
        "hubport,id=net0,hubid=0",
        "hubport,id=net1,hubid=1",
    ]


def test_uefi_keeps_its_variables_to_itself():
    words = argv([Path("/a.img")], Hardware.VIRTIO, mac=MAC, variables=Path("/images/n,v.fd"))

    flash = [word for word in words if "if=pflash" in word]
    assert "readonly=on" in flash[0]
    assert "snapshot=on" in flash[1]
    assert flash[1].endswith("file=/images/n,,v.fd")


@pytest.mark.boot
def test_a_guest_that_says_nothing_ends_at_the_deadline_and_leaves_no_qemu(tmp_path, empty_disk):
    end = boot([empty_disk], Hardware.VIRTIO, mac=MAC, deadline=2)

    assert end.outcome is Outcome.DEADLINE
    assert end.elapsed < 10
    assert len(end.console) < CONSOLE_LIMIT
    assert not [line for line in command_lines() if str(tmp_path) in line]


@pytest.mark.boot
def test_a_qemu_that_cannot_start_says_why_on_one_line(tmp_path, empty_disk):
    with pytest.raises(UsageError, match=r"QEMU failed with status 1: .*No such file") as failure:
        boot([empty_disk, tmp_path / "absent.img"], Hardware.VIRTIO, mac=MAC, deadline=20)

    assert "\n" not in str(failure.value)


@pytest.fixture
def empty_disk(tmp_path):
    """An empty disk to start QEMU on."""
    if shutil.which("qemu-system-x86_64") is None and "CI" not in os.environ:
        pytest.skip("qemu-system-x86_64 not installed")
    disk = tmp_path / "empty.img"
    with disk.open("wb") as image:
        image.truncate(1 << 20)
    return disk


def command_lines():
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield process.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
