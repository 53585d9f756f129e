package main

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Watcher keeps the files and the registry in step with vcsim's objects, whichever call changed them. vcsim
// calls it inside the task that makes the change and under the VM's lock: when the client sees the task end,
// disks are frozen and the registry is current.
//
// It has nobody to return an error to. A double that can no longer keep its promise must not go on: it ends.
type Watcher struct {
	center *Center
}

// Reference identifies the watcher among vcsim's handlers.
func (w *Watcher) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "Watcher", Value: "watcher"}
}

// PutObject freezes the disks of a new snapshot, before the VM's snapshot tree shows it.
func (w *Watcher) PutObject(_ *simulator.Context, created mo.Reference) {
	snapshot, ok := created.(*simulator.VirtualMachineSnapshot)
	if !ok {
		return
	}
	moref := snapshot.Self.Value
	disks, err := w.center.datastore.Disks(snapshot.Config.Hardware.Device)
	must("reading the disks of "+moref, err)
	frozen, err := w.center.frozen.Freeze(moref, disks)
	must("freezing "+moref, err)
	must("publishing "+moref, w.center.registry.PublishSnapshot(moref, snapshot.Vm.Value, frozen))
}

// UpdateObject follows a VM's power state, devices and snapshots.
func (w *Watcher) UpdateObject(ctx *simulator.Context, changed mo.Reference, changes []types.PropertyChange) {
	vm, ok := ctx.Map.Get(changed.Reference()).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	for _, change := range changes {
		switch {
		case change.Name == "runtime.powerState":
			w.center.Publish(vm)
			if owned := w.center.owned[vm.Self]; owned != nil {
				ctx.Update(vm, guestChanges(vm, owned))
			}
		case change.Name == "config.hardware.device":
			w.center.Publish(vm)
		case strings.HasPrefix(change.Name, "snapshot"):
			w.forgetLost(ctx, vm)
		}
	}
}

// RemoveObject forgets a VM or a snapshot.
func (w *Watcher) RemoveObject(_ *simulator.Context, removed types.ManagedObjectReference) {
	switch removed.Type {
	case "VirtualMachineSnapshot":
		must("removing "+removed.Value, w.center.registry.Withdraw(removed.Value))
		must("removing "+removed.Value, w.center.frozen.Thaw(removed.Value))
	case "VirtualMachine":
		must("removing "+removed.Value, w.center.registry.Withdraw(removed.Value))
	}
}

// forgetLost forgets the VM's snapshots that have left its tree: removed with its parent, a snapshot
// leaves the tree, but vcsim never removes the object.
func (w *Watcher) forgetLost(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	var tree []types.VirtualMachineSnapshotTree
	if vm.Snapshot != nil {
		tree = vm.Snapshot.RootSnapshotList
	}
	for _, reference := range ctx.Map.AllReference("VirtualMachineSnapshot") {
		snapshot := reference.(*simulator.VirtualMachineSnapshot)
		if snapshot.Vm == vm.Self && !inTree(tree, snapshot.Self) {
			w.RemoveObject(ctx, snapshot.Self)
		}
	}
}

func inTree(tree []types.VirtualMachineSnapshotTree, moref types.ManagedObjectReference) bool {
	for _, node := range tree {
		if node.Snapshot == moref || inTree(node.ChildSnapshotList, moref) {
			return true
		}
	}
	return false
}
