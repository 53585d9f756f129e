package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Center is the running server: vcsim, the files behind it, and the two hooks through which it differs
// from vcsim. Single calls are answered in vcsim's place (dispatch.go); a Watcher (watcher.go) sees every
// change of state and keeps files and registry in step with vcsim's objects.
type Center struct {
	Ready Ready

	config    *Config
	model     *simulator.Model
	client    *vim25.Client // in process, no session needed
	owned     map[types.ManagedObjectReference]*VM
	datastore *Datastore
	frozen    *Frozen
	registry  *Registry
}

// Start creates the state folder, the inventory and the server.
func Start(config *Config, state string) (*Center, error) {
	state, err := filepath.Abs(state)
	if err != nil {
		return nil, err
	}
	c := &Center{
		config:    config,
		owned:     map[types.ManagedObjectReference]*VM{},
		datastore: &Datastore{name: config.Datastore, dir: filepath.Join(state, "datastore")},
		frozen:    &Frozen{dir: filepath.Join(state, "frozen")},
		registry:  &Registry{dir: filepath.Join(state, "registry")},
	}
	// vcsim's own temporary folder goes there too, and so with it.
	if err := os.Setenv("TMPDIR", state); err != nil {
		return nil, err
	}
	for _, dir := range []string{state, c.datastore.dir, c.frozen.dir, c.registry.dir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := c.createInventory(); err != nil {
		return nil, err
	}
	return c, c.listen(filepath.Join(state, "vcenter.pem"))
}

// Stop makes the stand-in library refuse connections; the process ends right after.
func (c *Center) Stop() {
	must("stopping", c.registry.Withdraw("server"))
	c.model.Remove()
}

func (c *Center) createInventory() error {
	// One host in one cluster; no VM, datastore or distributed switch but ours.
	c.model = simulator.VPX()
	c.model.Host, c.model.ClusterHost = 0, 1
	c.model.Machine, c.model.Datastore, c.model.Portgroup = 0, 0, 0
	if err := c.model.Create(); err != nil {
		return err
	}
	ctx := context.Background()
	var err error
	if c.client, err = vim25.NewClient(ctx, c.model.Service); err != nil {
		return err
	}
	objects := c.model.Map()
	objects.AddHandler(&Watcher{center: c})
	objects.Put(&Machines{client: c.client, shutdownDelay: c.config.shutdownDelay()})
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

// findPlace creates the datastore and finds where VMs go.
func (c *Center) findPlace(ctx context.Context) (*Place, error) {
	finder := find.NewFinder(c.client)
	datacenter, err := finder.DefaultDatacenter(ctx)
	if err != nil {
		return nil, err
	}
	folders, err := datacenter.Folders(ctx)
	if err != nil {
		return nil, err
	}
	host, err := finder.SetDatacenter(datacenter).DefaultHostSystem(ctx)
	if err != nil {
		return nil, err
	}
	pool, err := host.ResourcePool(ctx)
	if err != nil {
		return nil, err
	}
	storage, err := host.ConfigManager().DatastoreSystem(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := storage.CreateLocalDatastore(ctx, c.config.Datastore, c.datastore.dir); err != nil {
		return nil, err
	}
	switches, err := host.ConfigManager().NetworkSystem(ctx)
	if err != nil {
		return nil, err
	}
	return &Place{
		center: c, folder: folders.VmFolder, pool: pool, host: host, switches: switches,
		networks: map[string]bool{"VM Network": true}, // every host has it
	}, nil
}

// Own ties a VM that vcsim has created to its description, and completes what vcsim cannot be told at
// creation.
func (c *Center) Own(moref types.ManagedObjectReference, vm *VM) error {
	objects := c.model.Map()
	object, ok := objects.Get(moref).(*simulator.VirtualMachine)
	if !ok {
		return fmt.Errorf("vcsim lost %s", moref.Value)
	}
	c.owned[moref] = vm
	c.Publish(object)
	changes := append(guestChanges(object, vm), runtimeChanges()...)
	objects.AtomicUpdate(c.model.Service.Context, object, append(changes,
		types.PropertyChange{Name: "config.guestFullName", Val: vm.GuestName},
		types.PropertyChange{Name: "summary.config.guestFullName", Val: vm.GuestName},
	))
	return nil
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

// Publish writes a VM's power state and disks to the registry.
func (c *Center) Publish(vm *simulator.VirtualMachine) {
	moref := vm.Self.Value
	disks, err := c.datastore.Disks(vm.Config.Hardware.Device)
	must("reading the disks of "+moref, err)
	must("publishing "+moref, c.registry.PublishVM(moref, string(vm.Runtime.PowerState), disks))
}

func (c *Center) listen(certificateFile string) error {
	certificate, leaf, err := newCertificate(certificateFile)
	if err != nil {
		return err
	}
	service := c.model.Service
	service.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	service.Listen = &url.URL{
		Host: "127.0.0.1:0",
		User: url.UserPassword(c.config.Username, c.config.Password),
	}
	address := service.NewServer().URL.Host
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	c.Ready = Ready{
		URL:        "https://" + address + vim25.Path,
		Thumbprint: soap.ThumbprintSHA1(leaf),
		CA:         certificateFile,
	}
	return c.registry.PublishServer(host, port, c.Ready.Thumbprint, c.config.Username, c.config.Password)
}
