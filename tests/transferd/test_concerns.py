"""Concerns of a VM, from pyVmomi's own values; and as the command shows them."""

import json
from pathlib import Path

import pytest
from pyVmomi import vim

from tests import dsl
from tests.cli import transferd
from tests.conftest import require
from tests.doubles.vsphere import VM, Disk, VSphere
from transferd.plan import LARGEST
from transferd.vsphere.concerns import LONGEST_CHAIN, Neighbour, concerns
from transferd.vsphere.inventory import source_vm

MOREF = vim.VirtualMachine("vm-7")
UUIDS = {"config.uuid": "420f-bios", "config.instanceUuid": "500f-instance"}
VirtualDisk = vim.vm.device.VirtualDisk
Flat = VirtualDisk.FlatVer2BackingInfo
Raw = VirtualDisk.RawDiskMappingVer1BackingInfo


def described(label: str) -> vim.Description:
    return vim.Description(label=label, summary="")


def disk(number: int = 1, *, kilobytes: int = 1024, backing=None, controller: int = 1000) -> VirtualDisk:
    return VirtualDisk(
        key=1999 + number,
        controllerKey=controller,
        unitNumber=number - 1,
        capacityInKB=kilobytes,
        deviceInfo=described(f"Hard disk {number}"),
        backing=backing or Flat(fileName="[ds] a/a.vmdk", diskMode="persistent"),
    )


def controller(sharing: str = "noSharing", key: int = 1000) -> vim.vm.device.ParaVirtualSCSIController:
    return vim.vm.device.ParaVirtualSCSIController(key=key, busNumber=key - 1000, sharedBus=sharing)


def with_devices(*devices) -> dict:
    return {"config.hardware": vim.vm.VirtualHardware(numCPU=1, memoryMB=512, device=[*devices])}


def snapshots(*shape: int) -> vim.vm.SnapshotInfo:
    """A chain for each number, that many snapshots long."""
    roots = []
    for length in shape:
        level = []
        for _ in range(length):
            level = [vim.vm.SnapshotTree(name="s", childSnapshotList=level)]
        roots += level
    return vim.vm.SnapshotInfo(rootSnapshotList=roots)


ORDINARY = {
    "name": "web-1",
    **UUIDS,
    **with_devices(controller(), disk()),
    "runtime.powerState": "poweredOff",
    "runtime.connectionState": "connected",
    "runtime.consolidationNeeded": False,
    "runtime.faultToleranceState": "notConfigured",
    "config.changeTrackingEnabled": True,
    "config.firmware": "bios",
    "config.guestId": "debian12_64Guest",
    "config.version": "vmx-19",
    "capability.changeTrackingSupported": True,
    "guest.toolsRunningStatus": "guestToolsNotRunning",
    "guest.toolsVersionStatus2": "guestToolsUnmanaged",
    "datastore": [vim.Datastore("datastore-1")],
}


def of(values: dict, others: tuple[Neighbour, ...] = (), host: dict | None = None) -> list:
    everything = {**ORDINARY, **values}
    return concerns(everything, source_vm(MOREF, everything), others, host or {})


def test_an_ordinary_vm_is_of_no_concern():
    assert of({}) == []


def test_a_vm_of_which_vcenter_shows_nothing_but_the_name_is_not_made_worse_than_it_is():
    values = {"name": "lost", "runtime.powerState": "poweredOn"}

    assert concerns(values, source_vm(MOREF, values), (), {}) == []


ON = {"runtime.powerState": "poweredOn"}
TABLE = {
    "disconnected": ({"runtime.connectionState": "disconnected"}, "critical", "not-connected"),
    "orphaned": ({"runtime.connectionState": "orphaned"}, "critical", "not-connected"),
    "no datastore": ({"datastore": []}, "critical", "no-datastore"),
    "a question": (
        {"runtime.question": vim.vm.QuestionInfo(id="1", text="Moved or copied?")},
        "critical", "pending-question",
    ),
    "fault tolerance": ({"runtime.faultToleranceState": "running"}, "critical", "fault-tolerance"),
    "suspended": ({"runtime.powerState": "suspended"}, "critical", "suspended"),
    "tools do not run": (ON, "critical", "tools"),
    "tools are not there": (
        {**ON, "guest.toolsVersionStatus2": "guestToolsNotInstalled"}, "critical", "tools",
    ),
    "a snapshot": ({"snapshot": snapshots(1)}, "warning", "snapshots"),
    "consolidation": ({"runtime.consolidationNeeded": True}, "warning", "consolidation"),
    "virtual hardware of old": ({"config.version": "vmx-04"}, "warning", "no-change-tracking"),
    "no support": ({"capability.changeTrackingSupported": False}, "warning", "no-change-tracking"),
    "tracking is off": ({"config.changeTrackingEnabled": False}, "information", "change-tracking-off"),
    "another firmware": ({"config.firmware": "coreboot"}, "critical", "firmware"),
    "secure boot": (
        {"config.firmware": "efi", "config.bootOptions": vim.vm.BootOptions(efiSecureBootEnabled=True)},
        "information", "secure-boot",
    ),
    "an OS that is not converted": ({"config.guestId": "freebsd13_64Guest"}, "information", "guest-os"),
    "CPU affinity": (
        {"config.cpuAffinity": vim.vm.AffinityInfo(affinitySet=[0, 1])}, "warning", "affinity",
    ),
    "memory affinity": (
        {"config.memoryAffinity": vim.vm.AffinityInfo(affinitySet=[1])}, "warning", "affinity",
    ),
    "NUMA affinity": (
        {"config.extraConfig": [vim.option.OptionValue(key="numa.nodeAffinity", value="0")]},
        "warning", "affinity",
    ),
    "a name of capitals": ({"name": "WEB"}, "warning", "name"),
    "a name too long": ({"name": "a" * 64}, "warning", "name"),
    "an encrypted VM": (
        {"config.keyId": vim.encryption.CryptoKeyId(keyId="k")}, "warning", "encrypted",
    ),
    "a physical RDM": (
        with_devices(disk(backing=Raw(fileName="f", compatibilityMode="physicalMode"))),
        "critical", "rdm-physical",
    ),
    "a virtual RDM": (
        with_devices(disk(backing=Raw(fileName="f", compatibilityMode="virtualMode", diskMode="persistent"))),
        "warning", "rdm-virtual",
    ),
    "an independent disk": (
        with_devices(disk(backing=Flat(fileName="f", diskMode="independent_persistent"))),
        "critical", "independent-disk",
    ),
    "an independent disk that forgets": (
        with_devices(disk(backing=Flat(fileName="f", diskMode="independent_nonpersistent"))),
        "critical", "independent-disk",
    ),
    "several writers": (
        with_devices(disk(backing=Flat(fileName="f", diskMode="persistent", sharing="sharingMultiWriter"))),
        "critical", "shared-disk",
    ),
    "a shared bus": (with_devices(controller("physicalSharing"), disk()), "critical", "shared-disk"),
    "no size": (with_devices(disk(kilobytes=0)), "critical", "disk-empty"),
    "a negative size": (with_devices(disk(kilobytes=-1)), "critical", "disk-empty"),
    "too large": (with_devices(disk(kilobytes=(LARGEST >> 10) + 1)), "critical", "disk-size"),
    "many disks": (with_devices(*(disk(number) for number in range(1, 167))), "warning", "disk-count"),
    "an encrypted disk": (
        with_devices(disk(backing=Flat(fileName="f", keyId=vim.encryption.CryptoKeyId(keyId="k")))),
        "warning", "encrypted",
    ),
    "a passed-through device": (
        with_devices(vim.vm.device.VirtualPCIPassthrough(key=13000, deviceInfo=described("PCI device 0"))),
        "critical", "passthrough",
    ),
    "SR-IOV": (
        with_devices(
            vim.vm.device.VirtualSriovEthernetCard(
                key=4000,
                deviceInfo=described("Network adapter 1"),
                backing=vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VLAN 7"),
            )
        ),
        "warning", "sriov",
    ),
    "a USB device": (
        with_devices(vim.vm.device.VirtualUSB(key=15000, connected=True, deviceInfo=described("USB 1"))),
        "warning", "usb",
    ),
    "a TPM": (with_devices(vim.vm.device.VirtualTPM(key=11000)), "warning", "tpm"),
}  # fmt: skip


@pytest.mark.parametrize(("values", "category", "name"), TABLE.values(), ids=TABLE.keys())
def test_one_thing_out_of_the_ordinary_is_one_concern_with_a_remedy(values, category, name):
    (concern,) = of(values)

    assert (concern.category, concern.id) == (category, name)
    assert all(text.endswith(".") for text in (concern.assessment, concern.remedy))
    assert "\n" not in concern.label + concern.remedy


@pytest.mark.parametrize(
    "values",
    [
        {**ON, "guest.toolsRunningStatus": "guestToolsRunning"},
        {**ON, "guest.toolsRunningStatus": "guestToolsExecutingScripts"},
        with_devices(controller("physicalSharing", 1001), controller(), disk()),
        {"config.version": "vmx-07"},
        {"config.version": "unheard of"},
        {"config.cpuAffinity": vim.vm.AffinityInfo(affinitySet=[])},
        {"config.guestId": "windows2022srvNext_64Guest"},
        {"name": "a" * 63},
        with_devices(vim.vm.device.VirtualUSBController(key=7000, busNumber=0)),
    ],
    ids=[
        "tools run", "tools run a script", "a shared bus without disks", "the oldest hardware that tracks",
        "an unknown hardware version", "an empty affinity", "Windows", "the longest name", "a USB controller",
    ],
)  # fmt: skip
def test_what_only_looks_like_one_is_no_concern(values):
    assert of(values) == []


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((LONGEST_CHAIN,), ["snapshots"]),
        ((LONGEST_CHAIN + 1,), ["snapshot-chain", "snapshots"]),
        ((20, 20), ["snapshots"]),
        ((100_000,), ["snapshot-chain", "snapshots"]),
    ],
    ids=["as many as there may be", "one more", "two branches", "a hostile number"],
)
def test_a_chain_of_snapshots_that_has_no_room_for_another_is_critical(shape, expected):
    assert [concern.id for concern in of({"snapshot": snapshots(*shape)})] == expected


def test_twins_are_named_and_the_vm_itself_is_none():
    itself = Neighbour("vm-7", "web-1", "500f-instance", "420f-bios")
    clone = Neighbour("vm-8", "clone", "other", "420f-bios")
    copied = Neighbour("vm-9", "registered twice", "500f-instance", "other")
    unread = Neighbour("vm-10", "unread", None, None)

    assert of({}, (itself, unread)) == []
    bios, instance = (of({}, (itself, other)) for other in (clone, copied))
    assert [(each.id, each.category) for each in bios] == [("duplicate-bios-uuid", "warning")]
    assert [(each.id, each.category) for each in instance] == [("duplicate-instance-uuid", "critical")]
    assert "clone" in bios[0].assessment
    assert "registered twice" in instance[0].assessment
    assert of({"config.uuid": None, "config.instanceUuid": None}, (unread,)) == []


def test_a_host_in_maintenance_is_a_warning():
    (concern,) = of({}, host={"runtime.inMaintenanceMode": True})

    assert (concern.id, concern.category) == ("host-maintenance", "warning")
    assert of({}, host={"runtime.inMaintenanceMode": False}) == []


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("Web Server_1", "web-server-1"),
        ("../../etc", "etc"),
        ("$(reboot)", "reboot"),
        ("\U0001f600" * 80, "vm"),
        ("a" * 62 + "_b", "a" * 62),
        ("web-1\n", "web-1"),
        ("", "vm-7"),
    ],
)
def test_b15_a_name_that_does_not_fit_gets_one_that_does(name, fit):
    found = [concern.remedy for concern in of({"name": name})]

    assert found == ([f"Set manifest.name, for example to {fit}."] if name else [])


def test_the_gravest_comes_first_and_all_come_at_once():
    devices = (controller("virtualSharing"), disk(1), disk(2, kilobytes=0), vim.vm.device.VirtualTPM(key=1))
    found = of({**with_devices(*devices), "config.changeTrackingEnabled": False, "name": "A b"})

    assert [(concern.category, concern.id) for concern in found] == [
        ("critical", "disk-empty"),
        ("critical", "shared-disk"),
        ("warning", "name"),
        ("warning", "tpm"),
        ("information", "change-tracking-off"),
    ]
    assert found[0].assessment.endswith(": Hard disk 2.")
    assert found[1].assessment.endswith(": Hard disk 1, Hard disk 2.")
    assert found[3].assessment.endswith(": device 1.")


def test_what_others_wrote_is_cut():
    question = vim.vm.QuestionInfo(id="1", text="why? " * 10_000)
    labels = [disk(number, kilobytes=0) for number in range(1, 160)]
    found = of({"runtime.question": question, **with_devices(*labels)})

    assert all(len(concern.assessment) < 500 for concern in found)


@pytest.fixture(scope="module")
def vsphere(tmp_path_factory):
    require("go", "gcc", "make", "nbdkit")
    folder = tmp_path_factory.mktemp("vsphere")
    image = dsl.write("A0-B", folder / "disk.img")
    with VSphere(
        folder, [VM("Web [red]\u202e1", [Disk(image)], powered_on=True, tools_running=False)]
    ) as running:
        yield running


def test_the_inventory_of_one_vm_has_its_concerns_as_a_document(vsphere, tmp_path: Path):
    settings = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml")
    run = transferd("inventory", "--vcenter", settings, "--vm", "Web [red]\u202e1", "--json")

    assert run.returncode == 0, run.stderr
    found = {concern["id"]: concern for concern in json.loads(run.stdout)["concerns"]}
    assert {*found} == {"tools", "name", "change-tracking-off"}
    assert {*found["tools"]} == {"id", "category", "label", "assessment", "remedy"}
    assert "web-red-1" in found["name"]["remedy"]


def test_the_inventory_of_one_vm_shows_its_concerns_with_remedies(vsphere, tmp_path: Path):
    settings = vsphere.write_vcenter_yaml(tmp_path / "vcenter.yaml")
    run = transferd("inventory", "--vcenter", settings, "--vm", "Web [red]\u202e1")

    assert run.returncode == 0, run.stderr
    assert "critical: VMware Tools are not running: " in run.stdout
    assert "Set manifest.name, for example to web-red-1." in run.stdout
    assert "\u202e" not in run.stdout
