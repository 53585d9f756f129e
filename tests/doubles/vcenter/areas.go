package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/vmware/govmomi/vim25/types"
)

// maxAreas is how many areas one answer holds at most, as observed of ESXi.
const maxAreas = 2000

// lseek(2)
const (
	seekData = 3
	seekHole = 4
)

// Lies are the ways in which a disk's change tracking is told to be wrong.
type Lies struct {
	omitted []span  // areas that are never reported
	share   float64 // of the unchanged blocks that are reported all the same
	count   int     // so many synthetic areas instead of the truth
}

type span struct{ start, length int64 }

// Page is one answer of QueryChangedDiskAreas.
type Page struct {
	capacity int64
	start    int64
	areas    []types.DiskChangeExtent
	full     bool
}

// Add appends an area, joined to the one before where they touch; false when the page is full.
func (p *Page) Add(start, length int64) bool {
	end := min(start+length, p.capacity)
	start = max(start, p.start)
	if start >= end {
		return true
	}
	if last := len(p.areas) - 1; last >= 0 && p.areas[last].Start+p.areas[last].Length == start {
		p.areas[last].Length = end - p.areas[last].Start
		return true
	}
	if len(p.areas) == maxAreas {
		p.full = true
		return false
	}
	p.areas = append(p.areas, types.DiskChangeExtent{Start: start, Length: end - start})
	return true
}

// Info covers the rest of the disk, or as far as a full page goes.
func (p *Page) Info() types.DiskChangeInfo {
	end := p.capacity
	if p.full {
		last := p.areas[len(p.areas)-1]
		end = last.Start + last.Length
	}
	return types.DiskChangeInfo{StartOffset: p.start, Length: end - p.start, ChangedArea: p.areas}
}

// AddBlocks adds the blocks in order, as far as the lies let them through.
func (p *Page) AddBlocks(blocks []int64, lies Lies) {
	if lies.share > 0 {
		blocks = lies.exaggerate(blocks, p.capacity)
	}
	for _, block := range blocks {
		if !lies.omits(block) && !p.Add(block*blockSize, blockSize) {
			return
		}
	}
}

// AddAllocated adds what is allocated in the file, rounded out to blocks.
func (p *Page) AddAllocated(file string, lies Lies) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for position := p.start; position < p.capacity; {
		data, err := f.Seek(position, seekData)
		if errors.Is(err, syscall.ENXIO) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("seeking data of %s: %w", file, err)
		}
		hole, err := f.Seek(data, seekHole)
		if err != nil {
			return fmt.Errorf("seeking a hole of %s: %w", file, err)
		}
		position = (hole + blockSize - 1) / blockSize * blockSize
		for block := data / blockSize; block*blockSize < position; block++ {
			if !lies.omits(block) && !p.Add(block*blockSize, blockSize) {
				return nil
			}
		}
	}
	return nil
}

// AddSynthetic adds areas scattered evenly over the disk.
func (p *Page) AddSynthetic(count int) {
	stride := p.capacity / int64(count) / sectorSize * sectorSize
	length := max(stride/2/sectorSize*sectorSize, sectorSize)
	for i := p.start / stride; i < int64(count); i++ {
		if !p.Add(i*stride, length) {
			return
		}
	}
}

func (l Lies) omits(block int64) bool {
	return slices.ContainsFunc(l.omitted, func(s span) bool {
		return s.start < (block+1)*blockSize && block*blockSize < s.start+s.length
	})
}

// exaggerate adds the wanted share of the disk's other blocks, always the same ones.
func (l Lies) exaggerate(blocks []int64, capacity int64) []int64 {
	for block := int64(0); block*blockSize < capacity; block++ {
		hash := fnv.New32a()
		_, _ = io.WriteString(hash, fmt.Sprint(block))
		if float64(hash.Sum32()) < l.share*(1<<32) {
			blocks = append(blocks, block)
		}
	}
	slices.Sort(blocks)
	return slices.Compact(blocks)
}
