package main

import (
	"context"
	"log"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Machines answers the calls on VMs that vcsim answers differently from vCenter, or not at all. One object
// does so for all VMs: vcsim's own code asserts that a VM is its *VirtualMachine, so a VM cannot be
// replaced by one of ours. Its methods are listed in machineMethods; requests carry the VM's reference.
type Machines struct {
	client        *vim25.Client
	shutdownDelay time.Duration
}

var machineMethods = map[string]bool{"ShutdownGuest": true}

// Reference is where vcsim finds Machines.
func (m *Machines) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "Machines", Value: "machines"}
}

// ShutdownGuest returns at once, as vCenter's does; the guest powers off later, and only if its Tools run.
// (vcsim's powers off at once and asks nobody.)
func (m *Machines) ShutdownGuest(ctx *simulator.Context, req *types.ShutdownGuest) soap.HasFault {
	body := &methods.ShutdownGuestBody{}
	vm, ok := ctx.Map.Get(req.This).(*simulator.VirtualMachine)
	if !ok {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: req.This})
		return body
	}
	var power types.VirtualMachinePowerState
	var tools string
	ctx.WithLock(vm, func() { power, tools = vm.Runtime.PowerState, vm.Guest.ToolsRunningStatus })
	switch {
	case power != types.VirtualMachinePowerStatePoweredOn:
		body.Fault_ = simulator.Fault("", &types.InvalidPowerState{
			RequestedState: types.VirtualMachinePowerStatePoweredOn,
			ExistingState:  power,
		})
	case tools != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning):
		body.Fault_ = simulator.Fault("VMware Tools is not running in this VM", &types.ToolsUnavailable{})
	default:
		time.AfterFunc(m.shutdownDelay, func() { m.powerOff(req.This) })
		body.Res = &types.ShutdownGuestResponse{}
	}
	return body
}

// powerOff goes through the service like any other client, and so takes vcsim's locks. If somebody else was
// quicker the task fails with InvalidPowerState and the VM is off, which is what was wanted.
func (m *Machines) powerOff(vm types.ManagedObjectReference) {
	if _, err := object.NewVirtualMachine(m.client, vm).PowerOff(context.Background()); err != nil {
		log.Printf("powering off %s: %v", vm.Value, err)
	}
}
