package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// guestChanges is what vCenter shows of a guest: VMware Tools, and through them the addresses. Both are there
// only while the VM runs with Tools.
func guestChanges(vm *simulator.VirtualMachine, owned *VM) []types.PropertyChange {
	poweredOn := vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn
	running := poweredOn && owned.ToolsRunning
	status := types.VirtualMachineToolsRunningStatusGuestToolsNotRunning
	legacy := types.VirtualMachineToolsStatusToolsNotRunning
	state := types.VirtualMachineGuestStateNotRunning
	nics := []types.GuestNicInfo{}
	address := ""
	if running {
		status = types.VirtualMachineToolsRunningStatusGuestToolsRunning
		legacy = types.VirtualMachineToolsStatusToolsOk
		state = types.VirtualMachineGuestStateRunning
		nics = guestNics(owned.Nics)
		address = firstAddress(owned.Nics)
	}
	return []types.PropertyChange{
		{Name: "guest.toolsRunningStatus", Val: string(status)},
		{Name: "guest.toolsStatus", Val: legacy},
		{Name: "guest.guestState", Val: string(state)},
		{Name: "guest.net", Val: nics},
		{Name: "guest.ipAddress", Val: address},
		{Name: "summary.guest.toolsRunningStatus", Val: string(status)},
	}
}

func guestNics(nics []Nic) []types.GuestNicInfo {
	seen := []types.GuestNicInfo{}
	for i, nic := range nics {
		seen = append(seen, types.GuestNicInfo{
			Network:        nic.Network,
			MacAddress:     nic.MAC,
			IpAddress:      nic.IPs,
			Connected:      true,
			DeviceConfigId: nicKey + int32(i),
		})
	}
	return seen
}

func firstAddress(nics []Nic) string {
	for _, nic := range nics {
		for _, ip := range nic.IPs {
			return ip
		}
	}
	return ""
}
