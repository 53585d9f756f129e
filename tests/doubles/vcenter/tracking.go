package main

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// blockSize is the grain at which ESXi tracks changes and reports allocation.
const blockSize = 64 << 10

// Tracking is one disk's changed block tracking: a counter of generations, and the blocks written in each.
// A snapshot is stamped with the current generation, which it still contains; then the counter rises.
type Tracking struct {
	uuid        string
	generations []map[int64]struct{} // the last is the current one; [0] is generation 1
}

// NewTracking begins anew: change IDs given out before belong to another UUID from now on.
func NewTracking() *Tracking {
	return &Tracking{uuid: newChangeUUID(), generations: []map[int64]struct{}{{}}}
}

// Record notes a write of the current generation.
func (t *Tracking) Record(start, length int64) {
	current := t.generations[len(t.generations)-1]
	for block := start / blockSize; block*blockSize < start+length; block++ {
		current[block] = struct{}{}
	}
}

// Advance begins the next generation.
func (t *Tracking) Advance() {
	t.generations = append(t.generations, map[int64]struct{}{})
}

// ID is the change ID of this moment.
func (t *Tracking) ID() ChangeID {
	return ChangeID{t.uuid, len(t.generations)}
}

// Between lists, in order, the blocks that were written after generation `since` and up to `until`.
func (t *Tracking) Between(since, until int) []int64 {
	union := map[int64]struct{}{}
	for _, generation := range t.generations[since:until] {
		for block := range generation {
			union[block] = struct{}{}
		}
	}
	blocks := make([]int64, 0, len(union))
	for block := range union {
		blocks = append(blocks, block)
	}
	slices.Sort(blocks)
	return blocks
}

// ChangeID names a generation of one disk's tracking; the zero value is none.
type ChangeID struct {
	uuid     string
	sequence int
}

// ParseChangeID reads `UUID/SEQUENCE`.
func ParseChangeID(text string) (ChangeID, bool) {
	uuid, number, found := strings.Cut(text, "/")
	sequence, err := strconv.Atoi(number)
	if !found || err != nil || sequence < 0 {
		return ChangeID{}, false
	}
	return ChangeID{uuid, sequence}, true
}

// String is empty for none, so that the property is left out.
func (c ChangeID) String() string {
	if c.uuid == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d", c.uuid, c.sequence)
}

// newChangeUUID is random and spelt as ESXi does: `52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63`.
func newChangeUUID() string {
	var bytes [16]byte
	_, _ = rand.Read(bytes[:]) // it never fails
	bytes[0] = 0x52            // as all of VMware's
	return fmt.Sprintf("% x-% x", bytes[:8], bytes[8:])
}
