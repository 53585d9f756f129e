package main

import (
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Dispatch is vcsim's hook before each call; it sends what we answer ourselves to Machines or Collector.
// Changing the receiver is what works: the object that a hook may return instead is ignored for every call
// within a session (govmomi 0.56, Service.call).
func (c *Center) Dispatch(
	ctx *simulator.Context, call *simulator.Method,
) (mo.Reference, types.BaseMethodFault) {
	switch {
	case unsupported[call.Name]:
		return nil, &types.NotSupported{}
	case call.Name == "Login" && c.sessions.Full():
		return nil, &types.SystemError{Reason: "too many sessions"}
	case ctx.Session == nil && (machineMethods[call.Name] || call.This.Type == "PropertyCollector" && !public(call)):
		// vcsim would name our own object, and answers all reads without a session.
		return nil, &types.NotAuthenticated{NoPermission: types.NoPermission{
			Object: &call.This, PrivilegeId: "System.View",
		}}
	case call.Name == "Fetch":
		call.This = (&Collector{}).Reference()
	case machineMethods[call.Name]:
		call.This = (&Machines{}).Reference()
	}
	return nil, nil
}

// unsupported are calls that vcsim answers and that would leave the disks' bytes behind.
var unsupported = map[string]bool{
	"CreateSnapshotEx_Task":        true,
	"RevertToCurrentSnapshot_Task": true,
	"RevertToSnapshot_Task":        true,
}

// public says whether a read is of the one object that is shown to everybody. The type of a Fetch is internal to
// govmomi, hence the reflection.
func public(call *simulator.Method) bool {
	if call.Name != "Fetch" {
		return false
	}
	object := reflect.ValueOf(call.Body).Elem().FieldByName("This").Interface()
	return object == vim25.ServiceInstance
}
