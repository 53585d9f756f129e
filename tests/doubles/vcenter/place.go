package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// Place is where VMs are created: one folder, resource pool and host, and the networks of that host.
type Place struct {
	center   *Center
	folder   *object.Folder
	pool     *object.ResourcePool
	host     *object.HostSystem
	switches *object.HostNetworkSystem
	networks map[string]bool
	count    int // VMs created
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
	hosts, err := finder.SetDatacenter(datacenter).HostSystemList(ctx, "*/*")
	if err != nil {
		return nil, err
	}
	host := hosts[0]
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

// Create adds one VM with its disks, and powers it on where asked.
func (p *Place) Create(ctx context.Context, vm *VM) error {
	p.count++
	folder, err := p.center.datastore.MakeFolder(vm.Name)
	if err != nil {
		return err
	}
	for _, nic := range vm.Nics {
		if err := p.ensureNetwork(ctx, nic.Network); err != nil {
			return err
		}
	}
	devices, err := newHardware(vm, folder, p.count, p.center.datastore)
	if err != nil {
		return err
	}
	task, err := p.folder.CreateVM(ctx, p.spec(vm, folder, devices), p.pool, p.host)
	if err != nil {
		return err
	}
	result, err := task.WaitForResult(ctx)
	if err != nil {
		return err
	}
	moref := result.Result.(types.ManagedObjectReference)
	if err := p.center.Own(moref, vm, p.count); err != nil || vm.Power == "off" {
		return err
	}
	if task, err = object.NewVirtualMachine(p.center.client, moref).PowerOn(ctx); err != nil {
		return err
	}
	return task.Wait(ctx)
}

// ensureNetwork adds a port group to the host's switch unless the network is there.
func (p *Place) ensureNetwork(ctx context.Context, name string) error {
	if p.networks[name] {
		return nil
	}
	p.networks[name] = true
	return p.switches.AddPortGroup(ctx, types.HostPortGroupSpec{Name: name, VswitchName: "vSwitch0"})
}

func (p *Place) spec(vm *VM, folder string, devices object.VirtualDeviceList) types.VirtualMachineConfigSpec {
	spec := types.VirtualMachineConfigSpec{
		Name:                  vm.Name,
		GuestId:               vm.GuestID,
		Firmware:              vm.Firmware,
		NumCPUs:               vm.CPUs,
		NumCoresPerSocket:     types.NewInt32(vm.CoresPerSocket),
		MemoryMB:              vm.Memory / mebibyte,
		Uuid:                  uuid.NewString(),
		InstanceUuid:          uuid.NewString(),
		Version:               "vmx-19",
		ChangeTrackingEnabled: types.NewBool(vm.ChangeTracking),
		Files: &types.VirtualMachineFileInfo{
			VmPathName: p.center.datastore.Path(folder, folder+".vmx"),
		},
	}
	for i, nic := range vm.Nics {
		spec.ExtraConfig = append(spec.ExtraConfig, &types.OptionValue{
			Key:   fmt.Sprintf("ethernet%d.pciSlotNumber", i),
			Value: fmt.Sprint(nic.Slot),
		})
	}
	spec.DeviceChange = additions(devices)
	return spec
}

// additions adds devices whose files, if any, exist.
func additions(devices object.VirtualDeviceList) []types.BaseVirtualDeviceConfigSpec {
	var changes []types.BaseVirtualDeviceConfigSpec
	for _, device := range devices {
		changes = append(changes, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationAdd,
			Device:    device,
		})
	}
	return changes
}
