package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// Volume is a virtual disk: its bytes, its chain of files and its change tracking.
//
// The bytes are in one file, whatever the chain looks like: where ESXi freezes a file and lets the VM write to
// a new one, we copy and let it go on (frozen.go). The chain is kept because clients see it.
type Volume struct {
	key      int32
	file     string
	capacity int64
	layers   []layer // the base first, what the VM has open last
	tracking *Tracking
	lies     Lies
	template types.VirtualDiskFlatVer2BackingInfo
}

// layer is one file of the chain. All but the last belong to the snapshot that froze them, or to none when
// that snapshot is gone and its file still waits to be consolidated.
type layer struct {
	name     string // datastore path
	snapshot string // moref, or empty
}

func newVolume(device *types.VirtualDisk, file string) *Volume {
	backing := *device.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	return &Volume{
		key:      device.Key,
		file:     file,
		capacity: device.CapacityInBytes,
		layers:   []layer{{name: backing.FileName}},
		tracking: NewTracking(),
		template: backing,
	}
}

// Current is the file that the VM has open.
func (v *Volume) Current() string {
	return v.layers[len(v.layers)-1].name
}

// Name is the file that a snapshot froze; false where the disk came after the snapshot.
func (v *Volume) Name(snapshot string) (string, bool) {
	for _, l := range v.layers {
		if l.snapshot == snapshot {
			return l.name, true
		}
	}
	return "", false
}

// Freeze gives the current file to a snapshot and goes on in a new one, named as ESXi names it.
func (v *Volume) Freeze(snapshot string) {
	v.layers[len(v.layers)-1].snapshot = snapshot
	base := strings.TrimSuffix(v.layers[0].name, ".vmdk")
	v.layers = append(v.layers, layer{name: fmt.Sprintf("%s-%06d.vmdk", base, v.freeNumber(base))})
}

func (v *Volume) freeNumber(base string) int {
	for number := 1; ; number++ {
		taken := false
		for _, l := range v.layers {
			taken = taken || l.name == fmt.Sprintf("%s-%06d.vmdk", base, number)
		}
		if !taken {
			return number
		}
	}
}

// Orphan takes a layer away from its snapshot; consolidation is what removes it.
func (v *Volume) Orphan(snapshot string) {
	for i := range v.layers {
		if v.layers[i].snapshot == snapshot {
			v.layers[i].snapshot = ""
		}
	}
}

// Consolidate merges into each orphaned file the one above it, which disappears.
func (v *Volume) Consolidate() {
	kept := []layer{v.layers[0]}
	for _, l := range v.layers[1:] {
		if below := &kept[len(kept)-1]; below.snapshot == "" {
			below.snapshot = l.snapshot
		} else {
			kept = append(kept, l)
		}
	}
	v.layers = kept
}

// Backing describes the chain up to and including a file, with the change ID of that moment.
func (v *Volume) Backing(top string, id ChangeID) *types.VirtualDiskFlatVer2BackingInfo {
	var backing *types.VirtualDiskFlatVer2BackingInfo
	for _, l := range v.layers {
		next := v.template
		next.FileName, next.Parent = l.name, backing
		backing = &next
		if l.name == top {
			break
		}
	}
	backing.ChangeId = id.String()
	return backing
}

// Write changes bytes as the guest does.
func (v *Volume) Write(offset int64, data []byte, tracked bool) error {
	if end := offset + int64(len(data)); offset < 0 || end > v.capacity {
		return fmt.Errorf("%d bytes at %d do not fit a disk of %d", len(data), offset, v.capacity)
	}
	f, err := os.OpenFile(v.file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteAt(data, offset); err != nil {
		return err
	}
	if tracked {
		v.tracking.Record(offset, int64(len(data)))
	}
	return f.Close()
}

// Grow extends the disk. ESXi resets change tracking of a disk that is extended.
func (v *Volume) Grow(capacity int64) error {
	v.capacity, v.tracking = capacity, NewTracking()
	return os.Truncate(v.file, capacity)
}
