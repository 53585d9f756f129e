package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Removing a snapshot is two things: it leaves the tree, and then its files are consolidated, which takes
// time and can fail. What is left then is no snapshot but a VM that says `consolidationNeeded`.

// RemoveSnapshotTask removes a snapshot, with everything under it where asked.
func (m *Machines) RemoveSnapshotTask(_ *simulator.Context, req *types.RemoveSnapshot_Task) soap.HasFault {
	body := &methods.RemoveSnapshot_TaskBody{}
	vm, ok := m.center.snapshotVM(req.This)
	if !ok {
		body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: req.This})
		return body
	}
	chosen := func(t Tree) []types.ManagedObjectReference {
		if req.RemoveChildren {
			return t.Below(req.This)
		}
		return []types.ManagedObjectReference{req.This}
	}
	task, fault := m.remove(vm, "RemoveSnapshot_Task", "vm.Snapshot.remove", chosen)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	body.Res = &types.RemoveSnapshot_TaskResponse{Returnval: task}
	return body
}

// RemoveAllSnapshotsTask removes them all.
func (m *Machines) RemoveAllSnapshotsTask(
	_ *simulator.Context, req *types.RemoveAllSnapshots_Task,
) soap.HasFault {
	body := &methods.RemoveAllSnapshots_TaskBody{}
	task, fault := m.remove(req.This, "RemoveAllSnapshots_Task", "VirtualMachine.removeAllSnapshots", Tree.All)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	body.Res = &types.RemoveAllSnapshots_TaskResponse{Returnval: task}
	return body
}

// ConsolidateVMDisksTask merges the files that removed snapshots have left.
func (m *Machines) ConsolidateVMDisksTask(
	_ *simulator.Context, req *types.ConsolidateVMDisks_Task,
) soap.HasFault {
	body := &methods.ConsolidateVMDisks_TaskBody{}
	none := func(Tree) []types.ManagedObjectReference { return nil }
	task, fault := m.remove(req.This, "ConsolidateVMDisks_Task", "VirtualMachine.consolidateDisks", none)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	body.Res = &types.ConsolidateVMDisks_TaskResponse{Returnval: task}
	return body
}

func (m *Machines) remove(
	vm types.ManagedObjectReference, method, description string,
	chosen func(Tree) []types.ManagedObjectReference,
) (types.ManagedObjectReference, types.BaseMethodFault) {
	machine, task, fault := m.occupy(vm)
	if fault != nil {
		return task, fault
	}
	removal := &removal{center: m.center, machine: machine, chosen: chosen}
	m.center.startTask(task, vm, method, description, removal.run)
	return task, nil
}

type removal struct {
	center  *Center
	machine *Machine
	chosen  func(Tree) []types.ManagedObjectReference
}

func (r *removal) run(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault) {
	how := r.plan()
	if how.Fail > 0 {
		defer r.machine.release()
		sleep(how.Seconds)
		if how.LeavesNeeded {
			r.forget(ctx)
			r.setNeeded(ctx, true)
		}
		return nil, &types.FileLocked{FileFault: types.FileFault{File: r.center.datastore.Path(
			folderOf(r.machine.config.Name), r.machine.config.Name+".vmdk",
		)}}
	}
	r.forget(ctx)
	if how.Seconds > 0 {
		r.setNeeded(ctx, true)
	}
	finish := func() {
		defer r.machine.release()
		sleep(how.Seconds)
		r.consolidate(ctx)
	}
	if how.Background {
		go finish()
	} else {
		finish()
	}
	return nil, nil
}

func (r *removal) plan() Consolidator {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	how := r.machine.consolidator
	r.machine.consolidator.Fail = max(how.Fail-1, 0)
	return how
}

// forget takes the chosen snapshots out of the tree, and their content away.
func (r *removal) forget(ctx *simulator.Context) {
	r.center.onVM(ctx, r.machine, func(vm *simulator.VirtualMachine) {
		tree, current := treeOf(vm)
		for _, snapshot := range r.chosen(tree) {
			if current != nil && *current == snapshot {
				current = tree.Parent(snapshot)
			}
			tree = tree.Remove(snapshot)
			must("removing "+snapshot.Value, r.center.registry.Withdraw(snapshot.Value))
			must("removing "+snapshot.Value, r.machine.Thaw(snapshot))
			ctx.Map.Remove(ctx, snapshot)
		}
		r.center.showSnapshots(ctx, vm, tree, current)
	})
}

// consolidate merges the files. The VM is stunned for it.
func (r *removal) consolidate(ctx *simulator.Context) {
	r.center.onVM(ctx, r.machine, func(vm *simulator.VirtualMachine) {
		r.machine.mu.Lock()
		for _, volume := range r.machine.volumes {
			volume.Consolidate()
		}
		r.machine.mu.Unlock()
		r.center.stun(ctx, r.machine, vm)
		r.setNeeded(ctx, false)
	})
}

func (r *removal) setNeeded(ctx *simulator.Context, needed bool) {
	r.center.onVM(ctx, r.machine, func(vm *simulator.VirtualMachine) {
		ctx.Update(vm, []types.PropertyChange{
			{Name: "runtime.consolidationNeeded", Val: needed},
			{Name: "summary.runtime.consolidationNeeded", Val: needed},
		})
	})
}
