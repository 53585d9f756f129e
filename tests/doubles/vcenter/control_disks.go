package main

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

type diskArguments struct {
	VM       string  `json:"vm"`
	Disk     int     `json:"disk"`
	Offset   int64   `json:"offset"`
	Data     []byte  `json:"data"`
	Capacity int64   `json:"capacity"`
	Start    int64   `json:"start"`
	Length   int64   `json:"length"`
	Share    float64 `json:"share"`
	Count    int     `json:"count"`
	File     string  `json:"file"`
}

// onVolume runs an action on a disk under its machine's lock.
func (c *Center) onVolume(a diskArguments, action func(*Volume) error) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	machine.mu.Lock()
	defer machine.mu.Unlock()
	volume, err := machine.Volume(a.Disk)
	if err != nil {
		return nil, err
	}
	return nil, action(volume)
}

func (c *Center) write(a diskArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	return nil, machine.Write(a.Disk, a.Offset, a.Data)
}

func (c *Center) resetTracking(a diskArguments) (any, error) {
	return c.onVolume(a, func(v *Volume) error {
		v.tracking = NewTracking()
		return nil
	})
}

func (c *Center) omit(a diskArguments) (any, error) {
	return c.onVolume(a, func(v *Volume) error {
		v.lies.omitted = append(v.lies.omitted, span{a.Start, a.Length})
		if a.Length == 0 {
			v.lies.omitted = nil
		}
		return nil
	})
}

func (c *Center) overReport(a diskArguments) (any, error) {
	return c.onVolume(a, func(v *Volume) error {
		v.lies.share = a.Share
		return nil
	})
}

func (c *Center) manyAreas(a diskArguments) (any, error) {
	return c.onVolume(a, func(v *Volume) error {
		// An area and a gap of at least a sector each, or the areas would touch.
		if int64(a.Count)*2*sectorSize > v.capacity {
			return fmt.Errorf("a disk of %d bytes has no room for %d areas", v.capacity, a.Count)
		}
		v.lies.count = a.Count
		return nil
	})
}

// grow extends a disk as an administrator does, which vSphere refuses while there are snapshots.
func (c *Center) grow(a diskArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	ctx := c.context()
	c.onVM(ctx, machine, func(vm *simulator.VirtualMachine) {
		var key int32
		if key, err = machine.growable(a); err != nil {
			return
		}
		devices := append(object.VirtualDeviceList{}, vm.Config.Hardware.Device...)
		for i, device := range devices {
			if device.GetVirtualDevice().Key == key {
				disk := *device.(*types.VirtualDisk)
				disk.CapacityInBytes, disk.CapacityInKB = a.Capacity, a.Capacity/1024
				devices[i] = &disk
			}
		}
		ctx.Update(vm, []types.PropertyChange{
			{Name: "config.hardware.device", Val: []types.BaseVirtualDevice(devices)},
		})
		c.showDisks(ctx, machine, vm)
	})
	return nil, err
}

func (m *Machine) growable(a diskArguments) (int32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	volume, err := m.Volume(a.Disk)
	switch {
	case err != nil:
		return 0, err
	case len(volume.layers) > 1:
		return 0, fmt.Errorf("disk %d has snapshots: vSphere does not extend it", a.Disk)
	case a.Capacity <= volume.capacity || a.Capacity%sectorSize != 0:
		return 0, fmt.Errorf("a disk of %d bytes cannot be extended to %d", volume.capacity, a.Capacity)
	}
	return volume.key, nil
}

// addDisk hot-adds a disk with the file's content, and returns its key.
func (c *Center) addDisk(a diskArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	config := Disk{File: a.File, Controller: "pvscsi"}
	if err := config.check(); err != nil {
		return nil, err
	}
	ctx := context.Background()
	vm := object.NewVirtualMachine(c.client, machine.Self)
	devices, err := vm.Device(ctx)
	if err != nil {
		return nil, err
	}
	h := &hardware{
		devices: devices, folder: folderOf(machine.config.Name), number: machine.number, datastore: c.datastore,
	}
	key, err := h.addDisk(config)
	if err != nil {
		return nil, err
	}
	spec := types.VirtualMachineConfigSpec{DeviceChange: additions(h.devices[len(devices):])}
	task, err := vm.Reconfigure(ctx, spec)
	if err != nil {
		return nil, err
	}
	return key, task.Wait(ctx)
}

func (c *Center) removeDisk(a diskArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	machine.mu.Lock()
	volume, err := machine.Volume(a.Disk)
	machine.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	vm := object.NewVirtualMachine(c.client, machine.Self)
	devices, err := vm.Device(ctx)
	if err != nil {
		return nil, err
	}
	return nil, vm.RemoveDevice(ctx, true, devices.FindByKey(volume.key))
}

type workloadArguments struct {
	VM string `json:"vm"`
	WorkloadPlan
}

func (c *Center) startWorkload(a workloadArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	return nil, machine.StartWorkload(a.WorkloadPlan)
}

func (c *Center) stopWorkload(a diskArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	return machine.StopWorkload()
}
