package main

import (
	"fmt"
	"reflect"

	"github.com/vmware/govmomi/vim25/types"
)

var typeOf = types.TypeFunc()

// checkFault says whether vSphere has a fault of that name.
func checkFault(name string) error {
	kind, ok := typeOf(name)
	if ok {
		_, ok = reflect.New(kind).Interface().(types.BaseMethodFault)
	}
	if !ok {
		return fmt.Errorf("vSphere has no fault named %q", name)
	}
	return nil
}

// newFault makes a fault by its name, which has been checked.
func newFault(name string) types.BaseMethodFault {
	kind, _ := typeOf(name)
	return reflect.New(kind).Interface().(types.BaseMethodFault)
}

func faultName(fault types.BaseMethodFault) string {
	return reflect.TypeOf(fault).Elem().Name()
}
