// Command vcenter stands in for a vCenter Server and its two ESXi hosts, or for one host alone, in transferd's
// tests.
//
// It runs the real vcsim (github.com/vmware/govmomi/simulator) and adds what vcsim leaves out and a migration
// depends on: virtual disks with content, snapshots that freeze that content, changed block tracking,
// consolidation that takes time and can fail, and a guest that needs running VMware Tools, and time, to shut
// down. Through a second port (control.go) a test is the guest, the administrator and the bad luck.
//
//	vcenter -config FILE -state DIR
//
// FILE is the JSON form of Config (config.go). DIR must not exist; it is created with mode 0700 and holds:
//
//	vcenter.pem   the server's self-signed certificate
//	datastore/    the datastore's files, laid out as VMware does: VM/VM.vmdk and VM/VM-flat.vmdk
//	frozen/       one folder a snapshot, with the disks as they were
//	registry/     what the VDDK stand-in may know (registry.go)
//
// One JSON line on stdout says that the server is ready. It ends when stdin closes, so that it cannot outlive
// the test that started it, or on SIGTERM or SIGINT.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
)

// Ready is the line on stdout.
type Ready struct {
	URL        string `json:"url"`
	Thumbprint string `json:"thumbprint"` // SHA-1, as VDDK wants it
	CA         string `json:"ca"`         // path of the PEM file
	Control    string `json:"control"`    // host:port of the control endpoint (control.go)
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("vcenter: ")
	config := flag.String("config", "", "JSON `file` that describes the inventory")
	state := flag.String("state", "", "`folder` to create and keep everything in")
	flag.Parse()
	if *config == "" || *state == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*config, *state); err != nil {
		log.Fatal(err)
	}
}

func run(configFile, state string) error {
	config, err := ReadConfig(configFile)
	if err != nil {
		return err
	}
	center, err := Start(config, state)
	if err != nil {
		return err
	}
	defer center.Stop()
	if err := json.NewEncoder(os.Stdout).Encode(center.Ready); err != nil {
		return err
	}
	waitForEnd()
	return nil
}

func waitForEnd() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		// Whatever ends the reading, the parent is gone.
		_, _ = io.Copy(io.Discard, os.Stdin)
		end <- syscall.SIGTERM
	}()
	<-end
}

// must ends the program: it is for places that have nobody to return an error to.
func must(doing string, err error) {
	if err != nil {
		log.Fatalf("%s: %v", doing, err)
	}
}
