package raftcore

// What tests of the node's bounds need to see and nobody else does.

// WindowBytes returns the size of the entries that the node holds in memory.
func (n *Node) WindowBytes() int { return n.log.window.bytes }

// WindowFirst returns the first entry that the node holds in memory.
func (n *Node) WindowFirst() Index { return n.log.windowFirst() }

// UncommittedBytes returns what a leader counts against MaxUncommittedBytes.
func (n *Node) UncommittedBytes() int { return n.leader.uncommittedBytes }
