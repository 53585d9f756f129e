package main

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

type machineArguments struct {
	VM      string   `json:"vm"`
	State   string   `json:"state"`
	Delay   *float64 `json:"delay"`
	Refused bool     `json:"refused"`
	Ignored bool     `json:"ignored"`
	Name    string   `json:"name"`
}

func (c *Center) tools(a machineArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	if err := machine.SetTools(a.State); err != nil {
		return nil, err
	}
	ctx := c.context()
	c.onVM(ctx, machine, func(vm *simulator.VirtualMachine) { ctx.Update(vm, machine.guestChanges()) })
	return nil, nil
}

func (c *Center) shutdown(a machineArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	machine.mu.Lock()
	defer machine.mu.Unlock()
	if a.Delay != nil {
		machine.shutdown.delay = *a.Delay
	}
	machine.shutdown.refused, machine.shutdown.ignored = a.Refused, a.Ignored
	return nil, nil
}

// power is what an administrator does by hand.
func (c *Center) power(a machineArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	vm, ctx := object.NewVirtualMachine(c.client, machine.Self), context.Background()
	change := vm.PowerOff
	if a.State == "on" {
		change = vm.PowerOn
	}
	task, err := change(ctx)
	if err != nil {
		return nil, err
	}
	return nil, task.Wait(ctx)
}

type creationArguments struct {
	VM string `json:"vm"`
	Creation
}

func (c *Center) snapshotDelay(a creationArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	if err := checkFault(a.Fault); err != nil {
		return nil, err
	}
	machine.mu.Lock()
	defer machine.mu.Unlock()
	machine.creation = a.Creation
	return nil, nil
}

type consolidationArguments struct {
	VM string `json:"vm"`
	Consolidator
}

func (c *Center) consolidation(a consolidationArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	machine.mu.Lock()
	defer machine.mu.Unlock()
	machine.consolidator = a.Consolidator
	return nil, nil
}

// removeSnapshots removes, by hand, those of that name, or all.
func (c *Center) removeSnapshots(a machineArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	vm, ctx := object.NewVirtualMachine(c.client, machine.Self), context.Background()
	task, err := (*object.Task)(nil), error(nil)
	if a.Name == "" {
		task, err = vm.RemoveAllSnapshot(ctx, types.NewBool(true))
	} else {
		task, err = vm.RemoveSnapshot(ctx, a.Name, false, types.NewBool(true))
	}
	if err != nil {
		return nil, err
	}
	return nil, task.Wait(ctx)
}

// move is a vMotion to another host, whose name it returns.
func (c *Center) move(a machineArguments) (any, error) {
	machine, err := c.machineNamed(a.VM)
	if err != nil {
		return nil, err
	}
	ctx := c.context()
	var moved any
	c.onVM(ctx, machine, func(vm *simulator.VirtualMachine) {
		for _, entity := range ctx.Map.All("HostSystem") {
			target := entity.Reference()
			if target == *vm.Runtime.Host {
				continue
			}
			ctx.Update(vm, []types.PropertyChange{
				{Name: "runtime.host", Val: target}, {Name: "summary.runtime.host", Val: target},
			})
			moved = target.Value
			return
		}
		err = fmt.Errorf("there is no other host")
	})
	return moved, err
}
