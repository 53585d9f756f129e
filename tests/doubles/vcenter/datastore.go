package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vmdk"
)

// Datastore is a folder of files named as on VMFS: `[name] vm/vm.vmdk` is dir/vm/vm.vmdk, a small descriptor,
// and its bytes are in dir/vm/vm-flat.vmdk.
type Datastore struct {
	name string
	dir  string
}

// Path is the datastore path of a file, `[name] folder/file`.
func (d *Datastore) Path(folder, file string) string {
	p := object.DatastorePath{Datastore: d.name, Path: folder + "/" + file}
	return p.String()
}

// Flat is the file that holds the bytes of the disk at a datastore path.
func (d *Datastore) Flat(diskPath string) (string, error) {
	var p object.DatastorePath
	if !p.FromString(diskPath) || p.Datastore != d.name || !strings.HasSuffix(p.Path, ".vmdk") {
		return "", fmt.Errorf("%q is not a disk of datastore %s", diskPath, d.name)
	}
	return filepath.Join(d.dir, flatName(p.Path)), nil
}

// folderOf is the folder of a VM's files. Characters that cannot stand in a datastore path, or in one line of the
// registry, become underscores; VM names keep them.
func folderOf(vm string) string {
	folder := strings.Map(func(r rune) rune {
		if r == '\\' || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, vm)
	if strings.HasPrefix(folder, ".") {
		folder = "_" + folder
	}
	return folder
}

// MakeFolder creates a VM's folder and returns its name.
func (d *Datastore) MakeFolder(vm string) (string, error) {
	folder := folderOf(vm)
	return folder, os.Mkdir(filepath.Join(d.dir, folder), 0o700)
}

// Adopt copies a raw file in as a disk of the folder, and returns the disk's file name and its size in bytes.
func (d *Datastore) Adopt(raw, folder string) (string, int64, error) {
	file := folder + ".vmdk"
	for number := 1; d.has(folder, file); number++ {
		file = fmt.Sprintf("%s_%d.vmdk", folder, number)
	}
	flat := filepath.Join(d.dir, folder, flatName(file))
	if err := copySparse(raw, flat); err != nil {
		return "", 0, err
	}
	info, err := os.Stat(flat)
	if err != nil {
		return "", 0, err
	}
	return file, info.Size(), d.describe(filepath.Join(d.dir, folder, file), flat, info.Size())
}

func (d *Datastore) has(folder, file string) bool {
	_, err := os.Lstat(filepath.Join(d.dir, folder, file))
	return err == nil
}

// describe writes a disk's descriptor.
func (d *Datastore) describe(file, flat string, size int64) error {
	descriptor, err := os.Create(file)
	if err != nil {
		return err
	}
	text := vmdk.NewDescriptor(vmdk.Extent{Size: size / sectorSize, Info: filepath.Base(flat)})
	text.CID, text.ParentCID = 0xfffffffe, 0xffffffff // no parent
	if err := text.Write(descriptor); err != nil {
		return err
	}
	return descriptor.Close()
}

func flatName(vmdk string) string {
	return strings.TrimSuffix(vmdk, ".vmdk") + "-flat.vmdk"
}

// copySparse copies content and holes; on a file system with reflinks it costs nothing. Sparse "auto" and not
// "always": written zeros stay written, because a disk's allocation is part of what the double reports.
func copySparse(from, to string) error {
	out, err := exec.Command("cp", "--reflink=auto", "--sparse=auto", "--", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copying %s to %s: %w: %s", from, to, err, strings.TrimSpace(string(out)))
	}
	return os.Chmod(to, 0o600)
}
