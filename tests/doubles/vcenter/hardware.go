package main

import (
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// Device keys and units as ESXi numbers them.
const (
	pciKey       = 100
	scsiKey      = 1000 // plus the bus number
	diskKey      = 2000 // plus 16 a bus, plus the unit
	nicKey       = 4000
	hostUnit     = 7 // the SCSI controller's own address on its bus, never a disk's
	maxUnit      = 15
	firstNicUnit = 7
)

// hardware collects the devices of one VM; its disks are copied into the datastore on the way.
type hardware struct {
	devices   object.VirtualDeviceList
	folder    string
	number    int // of the VM
	datastore *Datastore
}

func newHardware(vm *VM, folder string, number int, datastore *Datastore) (object.VirtualDeviceList, error) {
	h := &hardware{folder: folder, number: number, datastore: datastore}
	for _, disk := range vm.Disks {
		if _, err := h.addDisk(disk); err != nil {
			return nil, err
		}
	}
	for i, nic := range vm.Nics {
		if err := h.addNic(nic, int32(i)); err != nil {
			return nil, err
		}
	}
	return h.devices, nil
}

// controller finds the VM's SCSI controller of that kind, or adds one on the next bus.
func (h *hardware) controller(kind string) (*types.VirtualController, error) {
	present := h.devices.SelectByType((*types.VirtualSCSIController)(nil))
	for _, device := range present {
		if h.devices.Type(device) == kind {
			return device.(types.BaseVirtualController).GetVirtualController(), nil
		}
	}
	device, err := h.devices.CreateSCSIController(kind)
	if err != nil {
		return nil, err
	}
	scsi := device.(types.BaseVirtualSCSIController).GetVirtualSCSIController()
	scsi.BusNumber = int32(len(present))
	scsi.Key = scsiKey + scsi.BusNumber
	scsi.ControllerKey = pciKey
	scsi.SharedBus = types.VirtualSCSISharingNoSharing
	scsi.DeviceInfo = label("SCSI controller", scsi.BusNumber)
	h.devices = append(h.devices, device)
	return &scsi.VirtualController, nil
}

// addDisk returns the key of the new device.
func (h *hardware) addDisk(disk Disk) (int32, error) {
	controller, err := h.controller(disk.Controller)
	if err != nil {
		return 0, err
	}
	unit, err := h.freeUnit(controller.Key)
	if err != nil {
		return 0, err
	}
	file, size, err := h.datastore.Adopt(disk.File, h.folder)
	if err != nil {
		return 0, err
	}
	backing := &types.VirtualDiskFlatVer2BackingInfo{
		DiskMode:        string(types.VirtualDiskModePersistent),
		ThinProvisioned: types.NewBool(true),
	}
	backing.FileName = h.datastore.Path(h.folder, file)
	device := &types.VirtualDisk{CapacityInBytes: size, CapacityInKB: size / 1024}
	device.Key = diskKey + 16*controller.BusNumber + unit
	device.ControllerKey = controller.Key
	device.UnitNumber = types.NewInt32(unit)
	present := h.devices.SelectByType((*types.VirtualDisk)(nil))
	device.DeviceInfo = label("Hard disk", int32(len(present)+1))
	device.Backing = backing
	// As vCenter builds it: the VM's number in its database, then the device key.
	device.DiskObjectId = fmt.Sprintf("%d-%d", h.number, device.Key)
	h.devices = append(h.devices, device)
	return device.Key, nil
}

func (h *hardware) freeUnit(controller int32) (int32, error) {
	taken := map[int32]bool{hostUnit: true}
	for _, device := range h.devices {
		if d := device.GetVirtualDevice(); d.ControllerKey == controller && d.UnitNumber != nil {
			taken[*d.UnitNumber] = true
		}
	}
	for unit := int32(0); unit <= maxUnit; unit++ {
		if !taken[unit] {
			return unit, nil
		}
	}
	return 0, fmt.Errorf("more than %d disks on one controller", maxUnit)
}

func (h *hardware) addNic(nic Nic, index int32) error {
	backing := &types.VirtualEthernetCardNetworkBackingInfo{}
	backing.DeviceName = nic.Network
	device, err := h.devices.CreateEthernetCard(nic.Adapter, backing)
	if err != nil {
		return err
	}
	card := device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
	card.Key = nicKey + index
	card.ControllerKey = pciKey
	card.UnitNumber = types.NewInt32(firstNicUnit + index)
	card.DeviceInfo = label("Network adapter", index+1)
	card.AddressType = string(types.VirtualEthernetCardMacTypeManual)
	card.MacAddress = nic.MAC
	h.devices = append(h.devices, device)
	return nil
}

func label(name string, number int32) *types.Description {
	return &types.Description{Label: fmt.Sprintf("%s %d", name, number)}
}
