package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Dispatch is vcsim's hook before each call; it sends what we answer ourselves to Machines or Collector.
// Changing the receiver is what works: the object that a hook may return instead is ignored for every call
// within a session (govmomi 0.56, Service.call).
func (c *Center) Dispatch(
	_ *simulator.Context, call *simulator.Method,
) (mo.Reference, types.BaseMethodFault) {
	switch {
	case call.Name == "Fetch":
		call.This = (&Collector{}).Reference()
	case call.This.Type == "VirtualMachine" && machineMethods[call.Name]:
		call.This = (&Machines{}).Reference()
	}
	return nil, nil
}
