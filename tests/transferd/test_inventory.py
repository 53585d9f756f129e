"""A VM's properties as the source document, for the cases that the simulator does not show."""

import pytest
from pyVmomi import vim

from transferd.errors import AuthenticationError
from transferd.model import PowerState
from transferd.vsphere.inventory import source_vm

MOREF = vim.VirtualMachine("vm-7")


def test_a_vm_without_configuration_still_has_a_name_and_no_disks():
    """vCenter shows no config of a VM whose host it cannot reach."""
    vm = source_vm(MOREF, {"name": "lost", "runtime.powerState": "poweredOn"})

    assert (vm.name, vm.moref, vm.power_state, vm.disks, vm.nics) == ("lost", "vm-7", PowerState.ON, [], [])


def test_a_vm_of_unknown_power_is_refused():
    with pytest.raises(AuthenticationError, match=r"System\.Read"):
        source_vm(MOREF, {"name": "secret"})


def test_devices_become_disks_and_nics():
    controller = vim.vm.device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing")
    disk = vim.vm.device.VirtualDisk(
        key=2001,
        controllerKey=1000,
        unitNumber=1,
        capacityInKB=1024,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName="[ds] a/a.vmdk", diskMode="independent_persistent", thinProvisioned=False, uuid="u"
        ),
    )
    nic = vim.vm.device.VirtualE1000e(
        key=4001,
        macAddress="00:50:56:AA:BB:CC",
        backing=vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VLAN 7"),
        connectable=vim.vm.device.VirtualDevice.ConnectInfo(
            startConnected=False, allowGuestControl=True, connected=False
        ),
    )
    hardware = vim.vm.VirtualHardware(
        numCPU=4, numCoresPerSocket=2, memoryMB=512, device=[controller, disk, nic]
    )
    slot = vim.option.OptionValue(key="ethernet1.pciSlotNumber", value="224")
    vm = source_vm(
        MOREF,
        {
            "name": "a",
            "runtime.powerState": "poweredOff",
            "config.hardware": hardware,
            "config.firmware": "efi",
            "config.extraConfig": [slot],
        },
    )

    assert (vm.firmware, vm.cpus, vm.cores_per_socket, vm.memory) == ("efi", 4, 2, 512 << 20)
    assert vm.disks[0].model_dump() == {
        "key": 2001,
        "label": "device 2001",
        "controller": "pvscsi",
        "bus": 0,
        "unit": 1,
        "capacity": 1 << 20,
        "path": "[ds] a/a.vmdk",
        "object_id": None,
        "uuid": "u",
        "thin": False,
        "mode": "independent_persistent",
    }
    assert (vm.nics[0].mac, vm.nics[0].adapter, vm.nics[0].slot) == ("00:50:56:aa:bb:cc", "e1000e", 224)
    assert (vm.nics[0].network, vm.nics[0].connected) == ("VLAN 7", False)
