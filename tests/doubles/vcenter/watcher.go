package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Watcher keeps the files and the registry in step with vcsim's objects, whichever call changed them. vcsim
// calls it inside the task that makes the change and under the VM's lock: when the client sees the task end,
// the registry is current.
//
// It has nobody to return an error to. A double that can no longer keep its promise must not go on: it ends.
type Watcher struct {
	center *Center
}

// Reference identifies the watcher among vcsim's handlers.
func (w *Watcher) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "Watcher", Value: "watcher"}
}

// PutObject gives a task of vcsim's the name that vCenter gives it.
func (w *Watcher) PutObject(_ *simulator.Context, created mo.Reference) {
	if task, ok := created.(*simulator.Task); ok {
		if name, known := taskNames[task.Info.Name]; known {
			task.Info.Name, task.Info.DescriptionId = name.method, name.description
		}
	}
}

// taskNames are the methods behind vcsim's tasks, and their keys in vCenter's catalogue. A client that knows
// vSphere's methods cannot read other names.
var taskNames = map[string]struct{ method, description string }{
	"PowerOn":    {"PowerOnVM_Task", "VirtualMachine.powerOn"},
	"PowerOff":   {"PowerOffVM_Task", "VirtualMachine.powerOff"},
	"Suspend":    {"SuspendVM_Task", "VirtualMachine.suspend"},
	"Reset":      {"ResetVM_Task", "VirtualMachine.reset"},
	"ReconfigVm": {"ReconfigVM_Task", "VirtualMachine.reconfigure"},
	"Destroy":    {"Destroy_Task", "VirtualMachine.destroy"},
}

// UpdateObject follows a VM's power state and devices.
func (w *Watcher) UpdateObject(ctx *simulator.Context, changed mo.Reference, changes []types.PropertyChange) {
	machine := w.center.Machine(changed.Reference())
	vm, ok := ctx.Map.Get(changed.Reference()).(*simulator.VirtualMachine)
	if !ok || machine == nil {
		return
	}
	for _, change := range changes {
		switch change.Name {
		case "runtime.powerState":
			machine.Power(vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn)
			w.center.stun(ctx, machine, vm)
			ctx.Update(vm, machine.guestChanges())
		case "config.hardware.device":
			must("reading the disks of "+vm.Name, machine.Reconcile(vm.Config.Hardware.Device, w.center.datastore))
			must("publishing "+vm.Name, machine.Publish(w.center.registry, vm.Runtime.PowerState))
		}
	}
}

// RemoveObject forgets a VM, and its snapshots with it.
func (w *Watcher) RemoveObject(_ *simulator.Context, removed types.ManagedObjectReference) {
	if machine := w.center.Machine(removed); machine != nil {
		must("removing "+removed.Value, w.center.forget(machine))
	}
}
