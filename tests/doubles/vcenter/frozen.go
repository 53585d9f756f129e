package main

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/vmware/govmomi/vim25/types"
)

// Snapshot is the content of a VM's disks at one moment. ESXi freezes a disk by writing elsewhere from then
// on; here the disk is copied instead, and the running VM goes on writing to the same file.
type Snapshot struct {
	Self  types.ManagedObjectReference
	dir   string
	disks []FrozenDisk
}

// FrozenDisk is one disk of a snapshot. The stamp is empty where changes were not tracked.
type FrozenDisk struct {
	volume   *Volume
	file     string
	capacity int64
	stamp    ChangeID
}

// Freeze takes a snapshot of all disks at once.
func (m *Machine) Freeze(self types.ManagedObjectReference, root string) (*Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	snapshot := &Snapshot{Self: self, dir: filepath.Join(root, self.Value)}
	if err := os.Mkdir(snapshot.dir, 0o700); err != nil {
		return nil, err
	}
	for _, volume := range m.volumes {
		disk := FrozenDisk{
			volume: volume, file: filepath.Join(snapshot.dir, filepath.Base(volume.file)), capacity: volume.capacity,
		}
		if err := copySparse(volume.file, disk.file); err != nil {
			return nil, err
		}
		if m.tracked {
			disk.stamp = volume.tracking.ID()
		}
		volume.tracking.Advance()
		volume.Freeze(self.Value)
		snapshot.disks = append(snapshot.disks, disk)
	}
	m.snapshots = append(m.snapshots, snapshot)
	return snapshot, nil
}

// Thaw forgets a snapshot's content; readers that have a file open keep reading it. Its files in the chain
// stay until they are consolidated.
func (m *Machine) Thaw(self types.ManagedObjectReference) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, snapshot := range m.snapshots {
		if snapshot.Self != self {
			continue
		}
		m.snapshots = append(m.snapshots[:i:i], m.snapshots[i+1:]...)
		for _, disk := range snapshot.disks {
			disk.volume.Orphan(self.Value)
		}
		return os.RemoveAll(snapshot.dir)
	}
	return nil
}

// Snapshots are all that the VM has, oldest first.
func (m *Machine) Snapshots() []*Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.snapshots)
}

// Snapshot is one of the VM's, or nil; the caller holds the machine's lock.
func (m *Machine) Snapshot(self types.ManagedObjectReference) *Snapshot {
	for _, snapshot := range m.snapshots {
		if snapshot.Self == self {
			return snapshot
		}
	}
	return nil
}

// Disk is the snapshot's disk with this device key, or nil.
func (s *Snapshot) Disk(key int32) *FrozenDisk {
	for i := range s.disks {
		if s.disks[i].volume.key == key {
			return &s.disks[i]
		}
	}
	return nil
}

// see is a disk as the snapshot froze it.
func (s *Snapshot) see(key int32) (view, bool) {
	disk := s.Disk(key)
	if disk == nil {
		return view{}, false
	}
	name, ok := disk.volume.Name(s.Self.Value)
	return view{disk.volume, name, disk.stamp}, ok
}

// Files says where the frozen bytes are. VDDK finds them by the snapshot and any file of the chain from the
// frozen one up; the file that froze and the one that the VM has open are those that clients know.
func (s *Snapshot) Files() []DiskFile {
	var files []DiskFile
	for _, disk := range s.disks {
		if name, ok := disk.volume.Name(s.Self.Value); ok {
			files = append(files, DiskFile{Path: name, File: disk.file})
		}
		files = append(files, DiskFile{Path: disk.volume.Current(), File: disk.file})
	}
	return files
}
