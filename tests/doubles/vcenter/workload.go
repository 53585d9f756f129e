package main

import (
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	workloadTick = 5 * time.Millisecond
	journalSize  = 4096 // what a guest's last flush writes
)

// Workload is a guest that writes at random, always the same for the same seed, until it is stopped or its VM
// is off.
type Workload struct {
	machine *Machine
	plan    WorkloadPlan
	random  *rand.ChaCha8
	stop    chan struct{}
	ended   chan struct{}
	writes  int // read it after `ended`
}

// WorkloadPlan says where, how much and how often.
type WorkloadPlan struct {
	Disks           []int     `json:"disks"`
	Seed            uint64    `json:"seed"`
	WritesPerSecond float64   `json:"writesPerSecond"`
	Sizes           [2]int64  `json:"sizes"` // smallest and largest, bytes
	Area            *[2]int64 `json:"area"`  // offset and length to stay within; absent: the whole disk
}

// StartWorkload begins one; a VM has one at a time.
func (m *Machine) StartWorkload(plan WorkloadPlan) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(plan); err != nil {
		return err
	}
	var seed [32]byte
	for i := range 8 {
		seed[i] = byte(plan.Seed >> (8 * i))
	}
	w := &Workload{
		machine: m, plan: plan, random: rand.NewChaCha8(seed),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	m.workload = w
	go w.run()
	return nil
}

func (m *Machine) check(plan WorkloadPlan) error {
	switch {
	case !m.on:
		return fmt.Errorf("VM %q is off: its guest cannot write", m.config.Name)
	case m.workload != nil && !m.workload.over():
		return fmt.Errorf("VM %q has a workload already", m.config.Name)
	case plan.Sizes[0] < sectorSize || plan.Sizes[1] < plan.Sizes[0] || plan.WritesPerSecond <= 0:
		return fmt.Errorf("a workload of %v bytes, %v times a second, makes no sense", plan.Sizes, plan.WritesPerSecond)
	case len(plan.Disks) == 0:
		return fmt.Errorf("a workload needs a disk")
	}
	for _, disk := range plan.Disks {
		volume, err := m.Volume(disk)
		if err != nil {
			return err
		}
		if start, end := plan.bounds(volume.capacity); start < 0 || end-start < plan.Sizes[1] || end > volume.capacity {
			return fmt.Errorf("disk %d of %d bytes has no room for the workload", disk, volume.capacity)
		}
	}
	return nil
}

// StopWorkload ends it and returns how many writes it made; it may have ended by itself.
func (m *Machine) StopWorkload() (int, error) {
	m.mu.Lock()
	w := m.workload
	m.workload = nil
	m.mu.Unlock()
	if w == nil {
		return 0, fmt.Errorf("VM %q has no workload", m.config.Name)
	}
	w.finish()
	return w.writes, nil
}

// flush is the last that a guest with a workload writes before it is off.
func (m *Machine) flush() {
	m.mu.Lock()
	w := m.workload
	m.mu.Unlock()
	if w != nil && !w.over() {
		w.finish()
		w.write(w.plan.Disks[0], journalSize)
	}
}

func (p WorkloadPlan) bounds(capacity int64) (start, end int64) {
	if p.Area == nil {
		return 0, capacity / sectorSize * sectorSize
	}
	return p.Area[0], p.Area[0] + p.Area[1]
}

func (w *Workload) run() {
	defer close(w.ended)
	ticker := time.NewTicker(workloadTick)
	defer ticker.Stop()
	for begun := time.Now(); ; {
		due := int(time.Since(begun).Seconds()*w.plan.WritesPerSecond) + 1
		for w.writes < due {
			size := w.plan.Sizes[0] + w.below(w.plan.Sizes[1]-w.plan.Sizes[0]+1)
			disk := w.plan.Disks[w.below(int64(len(w.plan.Disks)))]
			if !w.write(disk, size/sectorSize*sectorSize) {
				return
			}
			w.writes++
		}
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		}
	}
}

// write changes random bytes somewhere; false when the guest can no longer write.
func (w *Workload) write(disk int, size int64) bool {
	w.machine.mu.Lock()
	volume, err := w.machine.Volume(disk)
	if err != nil {
		w.machine.mu.Unlock()
		return false
	}
	start, end := w.plan.bounds(volume.capacity)
	w.machine.mu.Unlock()
	size = min(size, end-start)
	offset := start + w.below((end-start-size)/sectorSize+1)*sectorSize
	data := make([]byte, size)
	_, _ = w.random.Read(data) // it never fails
	return w.machine.Write(disk, offset, data) == nil
}

func (w *Workload) below(n int64) int64 {
	return int64(w.random.Uint64() % uint64(n))
}

func (w *Workload) finish() {
	w.machine.mu.Lock()
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.machine.mu.Unlock()
	<-w.ended
}

func (w *Workload) over() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}
