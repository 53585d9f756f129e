package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"

	"github.com/vmware/govmomi/vim25/soap"
)

// The control endpoint is how a test reaches behind the API: HTTP on a port of its own on 127.0.0.1, one POST a
// call, `/NAME` with the arguments as a JSON object, answered with {"result": ...} or {"error": "..."}. Its client
// is tests/doubles/control.py.

// command does what one name stands for.
type command func(c *Center, arguments []byte) (any, error)

// commands are all of them.
var commands = map[string]command{
	// disks (control_disks.go)
	"write": with((*Center).write), "grow": with((*Center).grow), "addDisk": with((*Center).addDisk),
	"removeDisk": with((*Center).removeDisk), "resetCbt": with((*Center).resetTracking),
	"omit": with((*Center).omit), "overReport": with((*Center).overReport), "manyAreas": with((*Center).manyAreas),
	"startWorkload": with((*Center).startWorkload), "stopWorkload": with((*Center).stopWorkload),
	// machines (control_machines.go)
	"tools": with((*Center).tools), "shutdown": with((*Center).shutdown), "power": with((*Center).power),
	"snapshotDelay": with((*Center).snapshotDelay), "consolidation": with((*Center).consolidation),
	"removeSnapshots": with((*Center).removeSnapshots), "move": with((*Center).move),
	// the server (control_server.go)
	"expireSessions": with((*Center).expireSessions), "sessions": with((*Center).countSessions),
	"failedLogins": with((*Center).failedLogins), "setPassword": with((*Center).setPassword),
	"calls": with((*Center).calls), "resetCalls": with((*Center).resetCalls), "delay": with((*Center).delay),
	"fault": with((*Center).fault), "freezeServer": with((*Center).freezeServer),
}

// with makes a command of a method and the type of its arguments; unknown arguments are an error.
func with[A any](method func(*Center, A) (any, error)) command {
	return func(c *Center, arguments []byte) (any, error) {
		var given A
		decoder := json.NewDecoder(bytes.NewReader(arguments))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&given); err != nil {
			return nil, err
		}
		return method(c, given)
	}
}

// none is for commands without arguments.
type none struct{}

func (c *Center) listenForControl() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.Ready.Control = listener.Addr().String()
	go func() { must("serving the control endpoint", http.Serve(listener, http.HandlerFunc(c.control))) }()
	return nil
}

func (c *Center) control(w http.ResponseWriter, r *http.Request) {
	var arguments bytes.Buffer
	if _, err := arguments.ReadFrom(r.Body); err != nil {
		return // the client has gone
	}
	result, err := any(nil), fmt.Errorf("no such command: %s", r.URL.Path)
	if run, ok := commands[r.URL.Path[1:]]; ok {
		result, err = run(c, arguments.Bytes())
	}
	answer := map[string]any{"result": result}
	if err != nil {
		answer = map[string]any{"error": describe(err)}
	}
	_ = json.NewEncoder(w).Encode(answer) // to whoever is still there
}

// describe names the fault of a refused call, whose text is often empty.
func describe(err error) string {
	if soap.IsSoapFault(err) {
		return fmt.Sprintf("vSphere answers %T", soap.ToSoapFault(err).VimFault())
	}
	return err.Error()
}

// machineNamed is the VM that a test means.
func (c *Center) machineNamed(name string) (*Machine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found *Machine // of several the first that was created
	for _, machine := range c.machines {
		if machine.config.Name == name && (found == nil || machine.number < found.number) {
			found = machine
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no VM is named %q", name)
	}
	return found, nil
}
