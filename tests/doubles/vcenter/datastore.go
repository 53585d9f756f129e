package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
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

// Disks says where the bytes of the virtual disks among these devices are.
func (d *Datastore) Disks(devices object.VirtualDeviceList) ([]DiskFile, error) {
	var disks []DiskFile
	for _, device := range devices.SelectByType((*types.VirtualDisk)(nil)) {
		backing := device.GetVirtualDevice().Backing.(types.BaseVirtualDeviceFileBackingInfo)
		path := backing.GetVirtualDeviceFileBackingInfo().FileName
		file, err := d.Flat(path)
		if err != nil {
			return nil, err
		}
		disks = append(disks, DiskFile{Path: path, File: file})
	}
	return disks, nil
}

// MakeFolder creates a VM's folder and returns its name. Characters that cannot stand in a datastore path,
// or in one line of the registry, become underscores; VM names keep them.
func (d *Datastore) MakeFolder(vm string) (string, error) {
	folder := strings.Map(func(r rune) rune {
		if r == '\\' || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, vm)
	if strings.HasPrefix(folder, ".") {
		folder = "_" + folder
	}
	return folder, os.Mkdir(filepath.Join(d.dir, folder), 0o700)
}

// Adopt copies a raw file in as the disk folder/file and returns the disk's size in bytes.
func (d *Datastore) Adopt(raw, folder, file string) (int64, error) {
	flat := filepath.Join(d.dir, folder, flatName(file))
	if err := copySparse(raw, flat); err != nil {
		return 0, err
	}
	info, err := os.Stat(flat)
	if err != nil {
		return 0, err
	}
	extent := vmdk.Extent{Size: info.Size() / sectorSize, Info: filepath.Base(flat)}
	descriptor, err := os.Create(filepath.Join(d.dir, folder, file))
	if err != nil {
		return 0, err
	}
	text := vmdk.NewDescriptor(extent)
	text.CID, text.ParentCID = 0xfffffffe, 0xffffffff // no parent
	if err := text.Write(descriptor); err != nil {
		return 0, err
	}
	return info.Size(), descriptor.Close()
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
