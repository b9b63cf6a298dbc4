// Package persistence says what must not be forgotten: the Store contract
// between a host and its disk, and a Store that forgets everything when the
// process ends.
//
// # The contract
//
// A Store holds the logs and hard states of all groups of one process. Its only
// caller is the host's log actor.
//
//	call        when                                   may overlap
//	Open        a member starts                        Load
//	Save        groups have something to keep          Load
//	Load        entries are wanted that left memory    everything but Close
//	CloseGroup  a member stops                         Load of other groups
//	Remove      a group leaves this host for good      Load of other groups
//	Revive      such a group is to come back, or one
//	            whose snapshot is damaged              Load of other groups
//	Tombstones  the Store was opened                   Load
//	Close       once, at the end                       nothing
//
// What is durable when: everything in a Save, and in every Save before it, from
// the moment Save returns nil. If the process dies before that, each group has
// either all of its part of the Save or nothing of it, and of several Saves a
// prefix. Snapshots themselves are not in a Store: it keeps what they stand for,
// and lets go of the entries that they make needless.
//
// A group keeps the lineage that it belongs to, its cluster, except where a Save says
// that a new one begins (raftcore.Lineage). Only castaway-disk saves that.
//
// A group that was removed is forgotten, but not that it was there: a fresh group of
// its name would vote in terms in which the old one has voted, and acknowledge what that
// one has acknowledged and thrown away. So a Tombstone stays, for ever, and Open refuses
// the name. It may come back as a member that has lost its disk does (Store.Revive): under
// another incarnation, as a newcomer.
//
// A write or a sync that fails is never tried again: after a failure nobody
// knows what the disk holds. The Store that saw it answers every later call
// with an error that is ErrPoisoned, until it is closed and opened again from
// what is really there.
//
// # Where to go next
//
// Package badgerstore has the Store for production. The package journal
// beneath it is what makes a Save durable. Memory, here, is for tests and
// examples. tests/rafttest checks any Store against the contract.
package persistence
