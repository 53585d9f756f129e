package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// firstNumber keeps our numbers away from vcsim's own.
const firstNumber = 100000

// Center is the running server: vcsim, the files behind it, and the hooks through which it differs from vcsim.
// Single calls are answered in vcsim's place (dispatch.go); a Watcher (watcher.go) sees every change of state
// and keeps files and registry in step with vcsim's objects; a Gate (gate.go) stands before it all.
type Center struct {
	Ready Ready

	config    *Config
	model     *simulator.Model
	client    *vim25.Client // in process, no session needed
	sessions  *Sessions
	gate      *Gate
	datastore *Datastore
	frozen    string // folder of the snapshots' content
	registry  *Registry

	publishServer func(password string) error

	number atomic.Int32 // of tasks and snapshots

	mu       sync.Mutex
	machines map[types.ManagedObjectReference]*Machine
}

// Start creates the state folder, the inventory and the server.
func Start(config *Config, state string) (*Center, error) {
	state, err := filepath.Abs(state)
	if err != nil {
		return nil, err
	}
	c := &Center{
		config:    config,
		machines:  map[types.ManagedObjectReference]*Machine{},
		datastore: &Datastore{name: config.Datastore, dir: filepath.Join(state, "datastore")},
		frozen:    filepath.Join(state, "frozen"),
		registry:  &Registry{dir: filepath.Join(state, "registry")},
	}
	c.number.Store(firstNumber)
	// vcsim's own temporary folder goes there too, and so with it.
	if err := os.Setenv("TMPDIR", state); err != nil {
		return nil, err
	}
	for _, dir := range []string{state, c.datastore.dir, c.frozen, c.registry.dir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := c.createInventory(); err != nil {
		return nil, err
	}
	if err := c.listen(filepath.Join(state, "vcenter.pem")); err != nil {
		return nil, err
	}
	return c, c.listenForControl()
}

// Stop makes the stand-in library refuse connections; the process ends right after.
func (c *Center) Stop() {
	must("stopping", c.registry.Withdraw("server"))
	c.model.Remove()
}

// newModel has two hosts in one cluster, or is one ESXi host; no VM, datastore or distributed switch but ours.
func newModel(endpoint string) *simulator.Model {
	if endpoint == "host" {
		model := simulator.ESX()
		model.Machine, model.Datastore = 0, 0
		return model
	}
	model := simulator.VPX()
	model.Host, model.ClusterHost = 0, 2
	model.Machine, model.Datastore, model.Portgroup = 0, 0, 0
	return model
}

func (c *Center) createInventory() error {
	c.model = newModel(c.config.Endpoint)
	if err := c.model.Create(); err != nil {
		return err
	}
	ctx := context.Background()
	var err error
	if c.client, err = vim25.NewClient(ctx, c.model.Service); err != nil {
		return err
	}
	c.sessions = newSessions(c.config, c.client)
	objects := c.model.Map()
	objects.AddHandler(&Watcher{center: c})
	objects.Put(&Machines{center: c})
	objects.Put(&Collector{})
	objects.Handler = c.Dispatch
	place, err := c.findPlace(ctx)
	if err != nil {
		return err
	}
	for i := range c.config.VMs {
		vm := &c.config.VMs[i]
		if err := place.Create(ctx, vm); err != nil {
			return fmt.Errorf("VM %q: %w", vm.Name, err)
		}
	}
	return nil
}

// Own ties a VM that vcsim has created to its description, and completes what vcsim cannot be told at
// creation.
func (c *Center) Own(moref types.ManagedObjectReference, vm *VM, number int) error {
	ctx := c.context()
	object, ok := ctx.Map.Get(moref).(*simulator.VirtualMachine)
	if !ok {
		return fmt.Errorf("vcsim lost %s", moref.Value)
	}
	machine := newMachine(moref, vm, number, c.config.ShutdownDelay)
	c.mu.Lock()
	c.machines[moref] = machine
	c.mu.Unlock()
	if err := machine.Reconcile(object.Config.Hardware.Device, c.datastore); err != nil {
		return err
	}
	changes := append(machine.guestChanges(), runtimeChanges()...)
	ctx.WithLock(object, func() {
		ctx.Update(object, append(changes,
			types.PropertyChange{Name: "config.guestFullName", Val: vm.GuestName},
			types.PropertyChange{Name: "summary.config.guestFullName", Val: vm.GuestName},
		))
		c.showDisks(ctx, machine, object)
	})
	return nil
}

// Machine is what we know of a VM, or nil.
func (c *Center) Machine(vm types.ManagedObjectReference) *Machine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machines[vm]
}

// forget drops a VM that is gone from the inventory.
func (c *Center) forget(machine *Machine) error {
	c.mu.Lock()
	delete(c.machines, machine.Self)
	c.mu.Unlock()
	for _, snapshot := range machine.Snapshots() {
		if err := errors.Join(c.registry.Withdraw(snapshot.Self.Value), machine.Thaw(snapshot.Self)); err != nil {
			return err
		}
	}
	return c.registry.Withdraw(machine.Self.Value)
}

// onVM runs an action under vcsim's lock on the VM, unless the VM is gone.
func (c *Center) onVM(ctx *simulator.Context, machine *Machine, action func(*simulator.VirtualMachine)) {
	ctx.WithLock(machine.Self, func() {
		if vm, ok := ctx.Map.Get(machine.Self).(*simulator.VirtualMachine); ok {
			action(vm)
		}
	})
}

// context is one caller of vcsim's: its locks are shared within a context, and kept between contexts.
func (c *Center) context() *simulator.Context {
	ctx := *c.model.Service.Context
	return &ctx
}

func (c *Center) nextNumber() int32 {
	return c.number.Add(1)
}

// runtimeChanges sets the enumerations that vcsim leaves empty, at which pyVmomi gives up.
func runtimeChanges() []types.PropertyChange {
	var changes []types.PropertyChange
	for _, runtime := range []string{"runtime", "summary.runtime"} {
		changes = append(changes,
			types.PropertyChange{
				Name: runtime + ".faultToleranceState",
				Val:  types.VirtualMachineFaultToleranceStateNotConfigured,
			},
			types.PropertyChange{
				Name: runtime + ".recordReplayState",
				Val:  types.VirtualMachineRecordReplayStateInactive,
			},
		)
	}
	return changes
}
