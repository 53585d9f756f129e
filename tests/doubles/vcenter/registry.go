package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Registry is what the VDDK stand-in may know, as a folder of small files: it is a library in other
// processes, and reads the current state at each connect and open. Lines are `key value`; the value runs
// to the end of the line. Files are replaced by rename, so a reader sees an old or a new one, never half.
//
//	server       host, port, thumbprint (SHA-1), user, password; gone when the server has stopped
//	vm-N         power (poweredOn, poweredOff, suspended), then path and file of each disk
//	snapshot-N   vm (its moref), then path and file of each frozen disk
type Registry struct {
	dir string
}

// DiskFile says in which file the bytes of the disk at a datastore path are.
type DiskFile struct {
	Path string
	File string
}

type line struct{ key, value string }

func (r *Registry) PublishServer(host string, port int, thumbprint, user, password string) error {
	return r.write("server", []line{
		{"host", host},
		{"port", fmt.Sprint(port)},
		{"thumbprint", thumbprint},
		{"user", user},
		{"password", password},
	})
}

func (r *Registry) PublishVM(moref, power string, disks []DiskFile) error {
	return r.write(moref, append([]line{{"power", power}}, diskLines(disks)...))
}

func (r *Registry) PublishSnapshot(moref, vm string, disks []DiskFile) error {
	return r.write(moref, append([]line{{"vm", vm}}, diskLines(disks)...))
}

// Withdraw forgets an entry; one that is not there is already forgotten.
func (r *Registry) Withdraw(name string) error {
	err := os.Remove(filepath.Join(r.dir, name))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func diskLines(disks []DiskFile) []line {
	var lines []line
	for _, disk := range disks {
		lines = append(lines, line{"path", disk.Path}, line{"file", disk.File})
	}
	return lines
}

func (r *Registry) write(name string, lines []line) error {
	var text strings.Builder
	for _, l := range lines {
		if strings.ContainsAny(l.value, "\n\x00") {
			return fmt.Errorf("registry entry %s: %s holds a line break or NUL", name, l.key)
		}
		fmt.Fprintf(&text, "%s %s\n", l.key, l.value)
	}
	next := filepath.Join(r.dir, "."+name)
	if err := os.WriteFile(next, []byte(text.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(r.dir, name))
}
