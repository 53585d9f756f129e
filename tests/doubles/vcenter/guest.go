package main

import (
	"fmt"

	"github.com/vmware/govmomi/vim25/types"
)

// tools are the states of VMware Tools, and what vCenter says of them.
var tools = map[string]types.VirtualMachineToolsStatus{
	"running":      types.VirtualMachineToolsStatusToolsOk,
	"notRunning":   types.VirtualMachineToolsStatusToolsNotRunning,
	"notInstalled": types.VirtualMachineToolsStatusToolsNotInstalled,
}

// SetTools changes the state of the guest's Tools; it shows while the VM is on.
func (m *Machine) SetTools(state string) error {
	if _, ok := tools[state]; !ok {
		return fmt.Errorf("tools are running, notRunning or notInstalled, not %q", state)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tools = state
	return nil
}

// ToolsRun says whether the guest can be asked for anything.
func (m *Machine) ToolsRun() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.on && m.tools == "running"
}

// guestChanges is what vCenter shows of a guest: VMware Tools, and through them the addresses. Both are there
// only while the VM runs with Tools.
func (m *Machine) guestChanges() []types.PropertyChange {
	status := types.VirtualMachineToolsRunningStatusGuestToolsNotRunning
	legacy := types.VirtualMachineToolsStatusToolsNotRunning
	state := types.VirtualMachineGuestStateNotRunning
	nics := []types.GuestNicInfo{}
	address := ""
	if m.ToolsRun() {
		status = types.VirtualMachineToolsRunningStatusGuestToolsRunning
		state = types.VirtualMachineGuestStateRunning
		nics = guestNics(m.config.Nics)
		address = firstAddress(m.config.Nics)
	}
	m.mu.Lock()
	if m.on || m.tools == "notInstalled" {
		legacy = tools[m.tools]
	}
	m.mu.Unlock()
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
