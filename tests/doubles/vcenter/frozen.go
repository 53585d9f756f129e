package main

import (
	"os"
	"path/filepath"
)

// Frozen keeps, for each snapshot, its disks' content as it was. ESXi freezes a disk by writing elsewhere
// from then on; here the disk is copied instead, and the running VM goes on writing to the same file.
type Frozen struct {
	dir string
}

// Freeze copies the disks and returns where each copy is.
func (f *Frozen) Freeze(snapshot string, disks []DiskFile) ([]DiskFile, error) {
	dir := filepath.Join(f.dir, snapshot)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	var frozen []DiskFile
	for _, disk := range disks {
		file := filepath.Join(dir, filepath.Base(disk.File))
		if err := copySparse(disk.File, file); err != nil {
			return nil, err
		}
		frozen = append(frozen, DiskFile{Path: disk.Path, File: file})
	}
	return frozen, nil
}

// Thaw deletes the snapshot's copies; readers that have one open keep reading it.
func (f *Frozen) Thaw(snapshot string) error {
	return os.RemoveAll(filepath.Join(f.dir, snapshot))
}
