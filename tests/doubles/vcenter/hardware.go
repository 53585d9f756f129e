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
	disks     map[int32]int32 // disks so far on each controller
	folder    string
	number    int // of the VM
	datastore *Datastore
}

func newHardware(vm *VM, folder string, number int, datastore *Datastore) (object.VirtualDeviceList, error) {
	h := &hardware{disks: map[int32]int32{}, folder: folder, number: number, datastore: datastore}
	for i, disk := range vm.Disks {
		if err := h.addDisk(disk, i); err != nil {
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

func (h *hardware) addDisk(disk Disk, index int) error {
	controller, err := h.controller(disk.Controller)
	if err != nil {
		return err
	}
	unit := h.disks[controller.Key]
	if h.disks[controller.Key]++; unit >= hostUnit {
		unit++
	}
	if unit > maxUnit {
		return fmt.Errorf("more than %d disks on one %s controller", maxUnit, disk.Controller)
	}
	file := h.folder + ".vmdk"
	if index > 0 {
		file = fmt.Sprintf("%s_%d.vmdk", h.folder, index)
	}
	size, err := h.datastore.Adopt(disk.File, h.folder, file)
	if err != nil {
		return err
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
	device.DeviceInfo = label("Hard disk", int32(index+1))
	device.Backing = backing
	// As vCenter builds it: the VM's number in its database, then the device key.
	device.DiskObjectId = fmt.Sprintf("%d-%d", h.number, device.Key)
	h.devices = append(h.devices, device)
	return nil
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
