package main

import (
	"context"
	"log"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Machines answers the calls on VMs and snapshots that vcsim answers differently from vCenter, or not at all.
// One object does so for all VMs: vcsim's own code asserts that a VM is its *VirtualMachine, so a VM cannot
// be replaced by one of ours. Its methods are listed in machineMethods; requests carry the object's reference.
type Machines struct {
	center *Center
}

var machineMethods = map[string]bool{
	"ConsolidateVMDisks_Task": true,
	"CreateSnapshot_Task":     true,
	"QueryChangedDiskAreas":   true,
	"RemoveAllSnapshots_Task": true,
	"RemoveSnapshot_Task":     true,
	"ShutdownGuest":           true,
}

// Reference is where vcsim finds Machines.
func (m *Machines) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "Machines", Value: "machines"}
}

// Lock and Unlock keep vcsim from serialising all calls on all VMs.
func (m *Machines) Lock() {}

// Unlock does nothing; see Lock.
func (m *Machines) Unlock() {}

// ShutdownGuest returns at once, as vCenter's does; the guest powers off later, and only if its Tools run.
// (vcsim's powers off at once and asks nobody.)
func (m *Machines) ShutdownGuest(ctx *simulator.Context, req *types.ShutdownGuest) soap.HasFault {
	body := &methods.ShutdownGuestBody{}
	vm, ok := ctx.Map.Get(req.This).(*simulator.VirtualMachine)
	machine := m.center.Machine(req.This)
	if !ok || machine == nil {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: req.This})
		return body
	}
	var power types.VirtualMachinePowerState
	ctx.WithLock(vm, func() { power = vm.Runtime.PowerState })
	machine.mu.Lock()
	how := machine.shutdown
	machine.mu.Unlock()
	switch {
	case power != types.VirtualMachinePowerStatePoweredOn:
		body.Fault_ = simulator.Fault("", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn,
			ExistingState:  power,
		})
	case !machine.ToolsRun():
		body.Fault_ = simulator.Fault("VMware Tools is not running in this VM", &types.ToolsUnavailable{})
	case how.refused:
		body.Fault_ = simulator.Fault("The guest refuses to shut down", &types.InvalidState{})
	default:
		if !how.ignored {
			time.AfterFunc(time.Duration(how.delay*float64(time.Second)), func() { m.end(machine) })
		}
		body.Res = &types.ShutdownGuestResponse{}
	}
	return body
}

// end is the end of a guest's shutdown. It goes through the service like any other client, and so takes
// vcsim's locks. If somebody else was quicker the task fails with InvalidPowerState and the VM is off, which
// is what was wanted.
func (m *Machines) end(machine *Machine) {
	machine.flush()
	if _, err := object.NewVirtualMachine(m.center.client, machine.Self).PowerOff(context.Background()); err != nil {
		log.Printf("powering off %s: %v", machine.config.Name, err)
	}
}
