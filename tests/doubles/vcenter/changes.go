package main

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// QueryChangedDiskAreas answers what was written since a change ID, or for `*` what is allocated. Without a
// snapshot it answers for a VM that is off, about its disk as it is.
func (m *Machines) QueryChangedDiskAreas(
	_ *simulator.Context, req *types.QueryChangedDiskAreas,
) soap.HasFault {
	body := &methods.QueryChangedDiskAreasBody{}
	machine := m.center.Machine(req.This)
	if machine == nil {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: req.This})
		return body
	}
	machine.mu.Lock()
	defer machine.mu.Unlock()
	info, fault := machine.changedAreas(req)
	if fault != nil {
		body.Fault_ = simulator.Fault("Error caused by the changed areas asked for", fault)
		return body
	}
	body.Res = &types.QueryChangedDiskAreasResponse{Returnval: info}
	return body
}

func (m *Machine) changedAreas(
	req *types.QueryChangedDiskAreas,
) (info types.DiskChangeInfo, fault types.BaseMethodFault) {
	disk, fault := m.diskAsked(req)
	if fault != nil {
		return info, fault
	}
	if req.StartOffset < 0 || req.StartOffset >= disk.capacity {
		return info, invalid("startOffset")
	}
	// Whatever is wrong with tracking or the change ID, ESXi only says that its file would not do.
	useless := &types.FileFault{File: strings.TrimSuffix(disk.volume.Current(), ".vmdk") + "-ctk.vmdk"}
	if disk.stamp.uuid == "" || disk.stamp.uuid != disk.volume.tracking.uuid {
		return info, useless
	}
	page := &Page{capacity: disk.capacity, start: req.StartOffset}
	since, ok := ParseChangeID(req.ChangeId)
	known := ok && since.uuid == disk.stamp.uuid && since.sequence <= disk.stamp.sequence
	switch lies := disk.volume.lies; {
	case req.ChangeId != "*" && !known:
		return info, useless
	case lies.count > 0:
		page.AddSynthetic(lies.count)
	case req.ChangeId == "*":
		must("reading the allocation", page.AddAllocated(disk.file, lies))
	default:
		page.AddBlocks(disk.volume.tracking.Between(since.sequence, disk.stamp.sequence), lies)
	}
	return page.Info(), nil
}

// diskAsked is the disk of the snapshot, or the VM's own while it is off.
func (m *Machine) diskAsked(req *types.QueryChangedDiskAreas) (*FrozenDisk, types.BaseMethodFault) {
	if req.Snapshot != nil {
		snapshot := m.Snapshot(*req.Snapshot)
		if snapshot == nil {
			return nil, &types.ManagedObjectNotFound{Obj: *req.Snapshot}
		}
		if disk := snapshot.Disk(req.DeviceKey); disk != nil {
			return disk, nil
		}
		return nil, invalid("deviceKey")
	}
	volume := m.find(req.DeviceKey)
	switch {
	case volume == nil:
		return nil, invalid("deviceKey")
	case m.on:
		return nil, &types.FileLocked{FileFault: types.FileFault{File: volume.Current()}}
	}
	disk := &FrozenDisk{volume: volume, file: volume.file, capacity: volume.capacity}
	if m.tracked {
		disk.stamp = volume.tracking.ID()
	}
	return disk, nil
}

func invalid(property string) types.BaseMethodFault {
	return &types.InvalidArgument{InvalidProperty: property}
}
