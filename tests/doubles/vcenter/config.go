package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	sectorSize = 512
	mebibyte   = 1 << 20
)

// Config is the inventory and how it behaves.
type Config struct {
	Username      string  `json:"username"`
	Password      string  `json:"password"`
	Datastore     string  `json:"datastore"`
	Endpoint      string  `json:"endpoint"`      // vcenter, or host for one ESXi host
	ShutdownDelay float64 `json:"shutdownDelay"` // seconds that a guest takes to shut down
	SessionIdle   float64 `json:"sessionIdle"`   // seconds after which an idle session ends
	MaxSessions   int     `json:"maxSessions"`   // at once; 0 is no limit
	LockAfter     int     `json:"lockAfter"`     // failed logins in a row that lock the account; 0 is never
	VMs           []VM    `json:"vms"`
}

// VM describes one virtual machine.
type VM struct {
	Name           string `json:"name"`
	GuestID        string `json:"guestId"`
	GuestName      string `json:"guestName"`
	Firmware       string `json:"firmware"` // bios or efi
	CPUs           int32  `json:"cpus"`
	CoresPerSocket int32  `json:"coresPerSocket"`
	Memory         int64  `json:"memory"` // bytes
	Power          string `json:"power"`  // on or off
	ToolsRunning   bool   `json:"toolsRunning"`
	ChangeTracking bool   `json:"changeTracking"` // enabled, and in effect from the start
	Disks          []Disk `json:"disks"`
	Nics           []Nic  `json:"nics"`
}

// Disk names the raw file whose content the virtual disk starts with; the file itself is only read.
type Disk struct {
	File       string `json:"file"`
	Controller string `json:"controller"` // pvscsi, lsilogic, lsilogic-sas or buslogic
}

// Nic describes one network adapter.
type Nic struct {
	MAC     string   `json:"mac"`
	Slot    int      `json:"slot"` // pciSlotNumber: 192 makes a Linux guest say ens192
	Network string   `json:"network"`
	Adapter string   `json:"adapter"` // vmxnet3, e1000 or e1000e
	IPs     []string `json:"ips"`     // what VMware Tools report while they run
}

// ReadConfig reads and checks the file; an unknown key is an error.
func ReadConfig(file string) (*Config, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	decoder := json.NewDecoder(f)
	decoder.DisallowUnknownFields()
	config := &Config{}
	if err := decoder.Decode(config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return config, nil
}

func (c *Config) check() error {
	if c.Username == "" || c.Password == "" || c.Datastore == "" {
		return fmt.Errorf("username, password and datastore are required")
	}
	if c.Endpoint != "vcenter" && c.Endpoint != "host" {
		return fmt.Errorf("endpoint is vcenter or host, not %q", c.Endpoint)
	}
	for i := range c.VMs {
		if err := c.VMs[i].check(); err != nil {
			return fmt.Errorf("VM %q: %w", c.VMs[i].Name, err)
		}
	}
	return nil
}

func (v *VM) check() error {
	switch {
	case v.Name == "" || strings.ContainsAny(v.Name, "/\x00"):
		// vCenter itself stores a slash in a name as %2f.
		return fmt.Errorf("a name is neither empty nor contains / or NUL")
	case v.Power != "on" && v.Power != "off":
		return fmt.Errorf("power is on or off, not %q", v.Power)
	case v.Firmware != "bios" && v.Firmware != "efi":
		return fmt.Errorf("firmware is bios or efi, not %q", v.Firmware)
	case v.Memory <= 0 || v.Memory%mebibyte != 0:
		return fmt.Errorf("memory of %d bytes is not a number of MiB", v.Memory)
	}
	for _, disk := range v.Disks {
		if err := disk.check(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Disk) check() error {
	if !filepath.IsAbs(d.File) {
		return fmt.Errorf("disk %q is not an absolute path", d.File)
	}
	info, err := os.Stat(d.File)
	if err != nil {
		return err
	}
	if info.Size() == 0 || info.Size()%sectorSize != 0 {
		return fmt.Errorf("disk %s of %d bytes is not a number of %d-byte sectors", d.File, info.Size(), sectorSize)
	}
	return nil
}
