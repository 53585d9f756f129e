package main

import (
	"github.com/vmware/govmomi/vim25/types"
)

// Tree is a VM's snapshots as clients see them.
type Tree []types.VirtualMachineSnapshotTree

// Insert adds a snapshot below its parent, or as a root where there is no parent.
func (t Tree) Insert(parent *types.ManagedObjectReference, node types.VirtualMachineSnapshotTree) Tree {
	if parent == nil {
		return append(t.clone(), node)
	}
	tree := t.clone()
	for i := range tree {
		if tree[i].Snapshot == *parent {
			tree[i].ChildSnapshotList = append(tree[i].ChildSnapshotList, node)
		} else {
			tree[i].ChildSnapshotList = Tree(tree[i].ChildSnapshotList).Insert(parent, node)
		}
	}
	return tree
}

// Remove takes a snapshot out; its children take its place.
func (t Tree) Remove(snapshot types.ManagedObjectReference) Tree {
	var tree Tree
	for _, node := range t {
		node.ChildSnapshotList = Tree(node.ChildSnapshotList).Remove(snapshot)
		if node.Snapshot == snapshot {
			tree = append(tree, node.ChildSnapshotList...)
		} else {
			tree = append(tree, node)
		}
	}
	return tree
}

// All lists every snapshot, parents before children.
func (t Tree) All() []types.ManagedObjectReference {
	var all []types.ManagedObjectReference
	for _, node := range t {
		all = append(append(all, node.Snapshot), Tree(node.ChildSnapshotList).All()...)
	}
	return all
}

// Below lists a snapshot and everything under it.
func (t Tree) Below(snapshot types.ManagedObjectReference) []types.ManagedObjectReference {
	for _, node := range t {
		if node.Snapshot == snapshot {
			return Tree{node}.All()
		}
		if found := Tree(node.ChildSnapshotList).Below(snapshot); found != nil {
			return found
		}
	}
	return nil
}

// Parent is the snapshot above, or nil.
func (t Tree) Parent(snapshot types.ManagedObjectReference) *types.ManagedObjectReference {
	for _, node := range t {
		for _, child := range node.ChildSnapshotList {
			if child.Snapshot == snapshot {
				return &node.Snapshot
			}
		}
		if found := Tree(node.ChildSnapshotList).Parent(snapshot); found != nil {
			return found
		}
	}
	return nil
}

// clone copies one level: readers may hold the old list.
func (t Tree) clone() Tree {
	tree := append(Tree{}, t...)
	for i := range tree {
		tree[i].ChildSnapshotList = append(Tree(nil), tree[i].ChildSnapshotList...)
	}
	return tree
}
