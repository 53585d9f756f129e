package main

import (
	"fmt"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// maxSnapshots is the longest chain that vSphere allows.
const maxSnapshots = 32

// CreateSnapshotTask freezes the disks. vcsim's takes no time, cannot fail and is called CreateSnapshotEx.
func (m *Machines) CreateSnapshotTask(_ *simulator.Context, req *types.CreateSnapshot_Task) soap.HasFault {
	body := &methods.CreateSnapshot_TaskBody{}
	machine, task, fault := m.occupy(req.This)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	m.center.startTask(task, req.This, "CreateSnapshot_Task", "VirtualMachine.createSnapshot",
		func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			defer machine.release()
			if fault := machine.beforeCreation(); fault != nil {
				return nil, fault
			}
			var self types.ManagedObjectReference
			m.center.onVM(ctx, machine, func(vm *simulator.VirtualMachine) {
				self = m.center.takeSnapshot(ctx, machine, vm, req)
			})
			return self, nil
		})
	body.Res = &types.CreateSnapshot_TaskResponse{Returnval: task}
	return body
}

// occupy finds a machine and reserves it for a new task, which others get to know of until release.
func (m *Machines) occupy(
	vm types.ManagedObjectReference,
) (machine *Machine, task types.ManagedObjectReference, fault types.BaseMethodFault) {
	machine = m.center.Machine(vm)
	if machine == nil {
		return nil, task, &types.ManagedObjectNotFound{Obj: vm}
	}
	machine.mu.Lock()
	defer machine.mu.Unlock()
	if machine.task != nil {
		return nil, task, &types.TaskInProgress{Task: *machine.task}
	}
	task = m.center.newTask()
	machine.task = &task
	return machine, task, nil
}

func (m *Machine) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.task = nil
}

// beforeCreation takes the time, and fails as often, as was arranged.
func (m *Machine) beforeCreation() types.BaseMethodFault {
	m.mu.Lock()
	how, depth := m.creation, len(m.snapshots)
	m.creation.Fail = max(how.Fail-1, 0)
	m.mu.Unlock()
	sleep(how.Seconds)
	switch {
	case how.Fail > 0:
		return newFault(how.Fault)
	case depth >= maxSnapshots:
		return &types.TooManySnapshotLevels{}
	}
	return nil
}

// takeSnapshot does it, at once and under vcsim's lock on the VM. When it returns, disks are frozen and the
// registry is current.
func (c *Center) takeSnapshot(
	ctx *simulator.Context, machine *Machine, vm *simulator.VirtualMachine, req *types.CreateSnapshot_Task,
) types.ManagedObjectReference {
	number := c.nextNumber()
	self := types.ManagedObjectReference{
		Type: "VirtualMachineSnapshot", Value: fmt.Sprintf("snapshot-%d", number),
	}

	snapshot, err := machine.Freeze(self, c.frozen)
	must("freezing "+machine.config.Name, err)
	created := &simulator.VirtualMachineSnapshot{}
	created.Self, created.Vm, created.Config = self, vm.Self, *vm.Config
	created.Config.Hardware.Device = machine.Describe(vm.Config.Hardware.Device, snapshot.see)
	ctx.Map.Put(created)
	tree, parent := treeOf(vm)
	state := types.VirtualMachinePowerStatePoweredOff
	if req.Memory {
		state = vm.Runtime.PowerState
	}
	tree = tree.Insert(parent, types.VirtualMachineSnapshotTree{
		Snapshot: self, Vm: vm.Self, Name: req.Name, Description: req.Description, Id: number,
		CreateTime: time.Now(), State: state, Quiesced: req.Quiesce, ReplaySupported: types.NewBool(false),
	})
	c.stun(ctx, machine, vm)
	c.showSnapshots(ctx, vm, tree, &self)
	return self
}

// stun lets a change of the configuration take effect, and shows the disks as they are now; the caller holds
// vcsim's lock on the VM.
func (c *Center) stun(ctx *simulator.Context, machine *Machine, vm *simulator.VirtualMachine) {
	wanted := vm.Config.ChangeTrackingEnabled
	machine.Stun(wanted != nil && *wanted)
	c.showDisks(ctx, machine, vm)
}

// showDisks brings what clients see, and the registry, in step with the chains.
func (c *Center) showDisks(ctx *simulator.Context, machine *Machine, vm *simulator.VirtualMachine) {
	show := func(object mo.Reference, devices object.VirtualDeviceList) {
		ctx.Map.AtomicUpdate(ctx, object, []types.PropertyChange{
			{Name: "config.hardware.device", Val: []types.BaseVirtualDevice(devices)},
		})
	}
	for _, snapshot := range machine.Snapshots() {
		if object, ok := ctx.Map.Get(snapshot.Self).(*simulator.VirtualMachineSnapshot); ok {
			show(object, machine.Describe(object.Config.Hardware.Device, snapshot.see))
		}
	}
	show(vm, machine.Describe(vm.Config.Hardware.Device, machine.see))
}

// showSnapshots replaces the VM's tree of snapshots.
func (c *Center) showSnapshots(
	ctx *simulator.Context, vm *simulator.VirtualMachine, tree Tree, current *types.ManagedObjectReference,
) {
	if len(tree) == 0 {
		ctx.Update(vm, []types.PropertyChange{{Name: "snapshot"}, {Name: "rootSnapshot"}})
		return
	}
	var roots []types.ManagedObjectReference
	for _, node := range tree {
		roots = append(roots, node.Snapshot)
	}
	ctx.Update(vm, []types.PropertyChange{
		{Name: "snapshot", Val: types.VirtualMachineSnapshotInfo{CurrentSnapshot: current, RootSnapshotList: tree}},
		{Name: "rootSnapshot", Val: roots},
	})
}

func treeOf(vm *simulator.VirtualMachine) (Tree, *types.ManagedObjectReference) {
	if vm.Snapshot == nil {
		return nil, nil
	}
	return vm.Snapshot.RootSnapshotList, vm.Snapshot.CurrentSnapshot
}

// snapshotVM is the VM that a snapshot belongs to.
func (c *Center) snapshotVM(snapshot types.ManagedObjectReference) (types.ManagedObjectReference, bool) {
	object, ok := c.model.Map().Get(snapshot).(*simulator.VirtualMachineSnapshot)
	if !ok {
		return types.ManagedObjectReference{}, false
	}
	return object.Vm, true
}
