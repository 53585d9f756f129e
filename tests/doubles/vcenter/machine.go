package main

import (
	"fmt"
	"slices"
	"sync"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// Machine is what vcsim does not know about one VM: its disks' bytes and change tracking, its snapshots'
// frozen content, its guest's behaviour.
//
// Its lock is the innermost one: whoever holds it calls nothing of vcsim. vcsim's lock on the VM is taken
// first wherever both are needed.
type Machine struct {
	Self   types.ManagedObjectReference
	config *VM
	number int // in vCenter's database

	mu           sync.Mutex
	on           bool
	tools        string // running, notRunning or notInstalled
	tracked      bool   // changes are tracked; what the VM is configured for may differ until it is stunned
	volumes      []*Volume
	snapshots    []*Snapshot                   // oldest first
	task         *types.ManagedObjectReference // on its snapshots; there is one at a time
	workload     *Workload
	shutdown     Shutdown
	creation     Creation
	consolidator Consolidator
}

// Shutdown is how the guest answers when asked to shut down.
type Shutdown struct {
	delay   float64 // seconds
	refused bool
	ignored bool
}

// Creation is how the next snapshots are taken: so slowly, and the first few not at all.
type Creation struct {
	Seconds float64 `json:"seconds"`
	Fail    int     `json:"fail"`
	Fault   string  `json:"fault"`
}

// Consolidator is how the next removals of snapshots go.
type Consolidator struct {
	Seconds      float64 `json:"seconds"`
	Fail         int     `json:"fail"`
	LeavesNeeded bool    `json:"leavesNeeded"` // a failure leaves consolidationNeeded, not the snapshot
	Background   bool    `json:"background"`   // the task ends before the consolidation does
}

func newMachine(self types.ManagedObjectReference, vm *VM, number int, delay float64) *Machine {
	tools := "notRunning"
	if vm.ToolsRunning {
		tools = "running"
	}
	return &Machine{
		Self: self, config: vm, number: number, tools: tools, tracked: vm.ChangeTracking,
		shutdown: Shutdown{delay: delay},
	}
}

// Reconcile follows the VM's devices: disks added, removed and extended.
func (m *Machine) Reconcile(devices object.VirtualDeviceList, datastore *Datastore) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var volumes []*Volume
	for _, device := range devices.SelectByType((*types.VirtualDisk)(nil)) {
		disk := device.(*types.VirtualDisk)
		volume := m.find(disk.Key)
		if volume == nil {
			file, err := datastore.Flat(disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).FileName)
			if err != nil {
				return err
			}
			volume = newVolume(disk, file)
		}
		if disk.CapacityInBytes > volume.capacity {
			if err := volume.Grow(disk.CapacityInBytes); err != nil {
				return err
			}
		}
		volumes = append(volumes, volume)
	}
	m.volumes = volumes
	return nil
}

// view is a disk as somebody sees it: its volume, the uppermost file of its chain and its change ID.
type view struct {
	volume *Volume
	top    string
	id     ChangeID
}

// Describe copies a list of devices, with each disk's backing as it is seen now.
func (m *Machine) Describe(
	devices object.VirtualDeviceList, see func(key int32) (view, bool),
) object.VirtualDeviceList {
	m.mu.Lock()
	defer m.mu.Unlock()
	described := slices.Clone(devices)
	for i, device := range described {
		disk, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		if seen, ok := see(disk.Key); ok {
			changed := *disk
			changed.Backing = seen.volume.Backing(seen.top, seen.id)
			described[i] = &changed
		}
	}
	return described
}

// see is what the VM has open. While it runs, only snapshots have change IDs.
func (m *Machine) see(key int32) (view, bool) {
	volume := m.find(key)
	if volume == nil {
		return view{}, false
	}
	seen := view{volume: volume, top: volume.Current()}
	if m.tracked && !m.on {
		seen.id = volume.tracking.ID()
	}
	return seen, true
}

func (m *Machine) find(key int32) *Volume {
	for _, volume := range m.volumes {
		if volume.key == key {
			return volume
		}
	}
	return nil
}

// Volume is a disk by its place, counted from 0; the caller holds the lock.
func (m *Machine) Volume(disk int) (*Volume, error) {
	if disk < 0 || disk >= len(m.volumes) {
		return nil, fmt.Errorf("VM %q has %d disks, none is number %d", m.config.Name, len(m.volumes), disk)
	}
	return m.volumes[disk], nil
}

// Stun is the moment at which a change of the VM's configuration takes effect on its disks.
func (m *Machine) Stun(wanted bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if wanted && !m.tracked {
		for _, volume := range m.volumes {
			volume.tracking = NewTracking()
		}
	}
	m.tracked = wanted
}

// Power follows the VM's power. A generation ends with it: the change IDs that an off VM shows stay true.
func (m *Machine) Power(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = on
	for _, volume := range m.volumes {
		volume.tracking.Advance()
	}
}

// Write is the guest's; it fails while the VM is off.
func (m *Machine) Write(disk int, offset int64, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	volume, err := m.Volume(disk)
	if err != nil {
		return err
	}
	if !m.on {
		return fmt.Errorf("VM %q is off: its guest cannot write", m.config.Name)
	}
	return volume.Write(offset, data, m.tracked)
}

// Publish tells the VDDK stand-in about the VM's disks and its snapshots' content.
func (m *Machine) Publish(registry *Registry, power types.VirtualMachinePowerState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var disks []DiskFile
	for _, volume := range m.volumes {
		disks = append(disks, DiskFile{Path: volume.Current(), File: volume.file})
	}
	if err := registry.PublishVM(m.Self.Value, string(power), disks); err != nil {
		return err
	}
	for _, snapshot := range m.snapshots {
		if err := registry.PublishSnapshot(snapshot.Self.Value, m.Self.Value, snapshot.Files()); err != nil {
			return err
		}
	}
	return nil
}
