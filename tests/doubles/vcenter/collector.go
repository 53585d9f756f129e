package main

import (
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Collector answers Fetch, the call behind pyVmomi's `vm.snapshot`. vcsim answers an unset property with
// the body of another method, which pyVmomi cannot read; vCenter returns nothing.
type Collector struct{}

// FetchResponse gives the reply its name on the wire.
type FetchResponse struct {
	Returnval types.AnyType `xml:"returnval,omitempty,typeattr"`
}

type fetchBody struct {
	Res *FetchResponse
}

func (b *fetchBody) Fault() *soap.Fault { return nil }

// Reference is where vcsim finds the Collector.
func (c *Collector) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "Collector", Value: "collector"}
}

// Fetch is vcsim's, corrected. The request's type is internal to govmomi, hence the reflection.
func (c *Collector) Fetch(ctx *simulator.Context, req any) soap.HasFault {
	collector := ctx.Map.Get(vim25.ServiceInstance).(*simulator.ServiceInstance).Content.PropertyCollector
	fetch := reflect.ValueOf(ctx.Map.Get(collector)).MethodByName("Fetch")
	results := fetch.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req)})
	reply := results[0].Interface().(soap.HasFault)
	if wrong, ok := reply.(*methods.RetrievePropertiesExBody); ok && wrong.Fault_ == nil {
		return &fetchBody{Res: &FetchResponse{}}
	}
	return reply
}
