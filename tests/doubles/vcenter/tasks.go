package main

import (
	"fmt"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// work is what a task does, in the end with a result or a fault.
type work func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault)

// startTask runs work as the task `self` of vCenter. vcsim's own tasks hold the VM's lock for as long as they
// take, so that nobody can even look at the VM; vCenter's do not.
func (c *Center) startTask(
	self, entity types.ManagedObjectReference, method, description string, run work,
) {
	ctx := c.context()
	task := &simulator.Task{}
	task.Info = types.TaskInfo{
		Name:          method,
		DescriptionId: description,
		Entity:        &entity,
		EntityName:    entity.Value,
		State:         types.TaskInfoStateRunning,
		Reason:        &types.TaskReasonUser{UserName: c.config.Username},
		QueueTime:     time.Now(),
		StartTime:     types.NewTime(time.Now()),
	}
	task.Self, task.Info.Key, task.Info.Task = self, self.Value, self
	ctx.WithLock(entity, func() { ctx.Map.Put(task) })
	go func() {
		result, fault := run(ctx)
		state, problem := types.TaskInfoStateSuccess, any(nil)
		if fault != nil {
			state = types.TaskInfoStateError
			problem = types.LocalizedMethodFault{Fault: fault, LocalizedMessage: faultName(fault)}
		}
		ctx.Map.AtomicUpdate(ctx, task, []types.PropertyChange{
			{Name: "info.completeTime", Val: time.Now()},
			{Name: "info.state", Val: state},
			{Name: "info.result", Val: result},
			{Name: "info.error", Val: problem},
		})
	}()
}

func (c *Center) newTask() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "Task", Value: fmt.Sprintf("task-%d", c.nextNumber())}
}

// sleep waits so many seconds.
func sleep(seconds float64) {
	time.Sleep(time.Duration(seconds * float64(time.Second)))
}
