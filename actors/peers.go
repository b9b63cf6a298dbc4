package actors

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// This file is about hosts that come and go while this one runs.

// peers are the channels to the other hosts.
type peers map[raftcore.NodeID]*channel

// each goes through p, in the same order each time: who can repeat what the actors do
// (Runtime) is not to be at the mercy of a map. So it is wherever somebody is told
// something.
func (p *peers) each() iter.Seq2[raftcore.NodeID, *channel] {
	return func(yield func(raftcore.NodeID, *channel) bool) {
		for _, id := range slices.Sorted(maps.Keys(*p)) {
			if !yield(id, (*p)[id]) {
				return
			}
		}
	}
}

// channel is where the peer actor of a host is found, and its address.
type channel struct {
	place
	address string // does not change: another address is another channel
}

// peer returns the channel to a host, or nil if it is not among the peers.
func (h *Host) peer(id raftcore.NodeID) *channel { return (*h.peers.Load())[id] }

// nextPeers returns the channels to hosts at these addresses: those that are there
// already, and new ones without an actor.
func (h *Host) nextPeers(addresses map[raftcore.NodeID]string) *peers {
	next := peers{}
	for id, address := range addresses {
		if id == h.cfg.ID {
			continue
		}
		if now := h.peers.Load(); now != nil && (*now)[id] != nil && (*now)[id].address == address {
			next[id] = (*now)[id]
		} else {
			next[id] = &channel{address: address}
		}
	}
	return &next
}

// SetPeers replaces HostConfig.Peers while the host runs: hosts that are new, are
// gone, or have moved to another address; all others are not disturbed. It is not
// kept on the disk: give Start the new map, too. A host that comes back on another address
// and can prove who it is (remote.TLS.HostName) is found without it.
//
// A host is to be among the peers of all others before it becomes a member of a
// group (Group.ChangeMembers), and until it is none any more: to the others it
// would seem to be down. Calls that were sent to a host which is taken out, and
// are not answered yet, end with ErrUnknown, or are asked anew if that is harmless.
//
// With an error, that of the addresses, ErrStopped, or that of ctx, the map may not be in force.
func (h *Host) SetPeers(ctx context.Context, addresses map[raftcore.NodeID]string) error {
	cfg := h.cfg
	cfg.Peers = addresses
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("castaway: bad peers: %w", err)
	}
	return h.order(ctx, func(done chan error) any { return &setPeers{maps.Clone(addresses), done} })
}

// setPeers has the host speak to other peers.
type setPeers struct {
	addresses map[raftcore.NodeID]string
	done      chan error
}

// peersChanged: there may be hosts to become members that were not there before.
type peersChanged struct{}

// moved: a host has proved that it is at another address now.
type moved struct {
	id      raftcore.NodeID
	address string
}

// moved does what SetPeers would, for one host.
func (h *hostActor) moved(ctx actor.Context, m *moved) {
	addresses := map[raftcore.NodeID]string{}
	for id, p := range h.peers.Load().each() {
		if p.address == m.address {
			return // it has been heard, or it is wrong: that is another host's
		}
		addresses[id] = p.address
	}
	if addresses[m.id] == "" {
		return // it has been taken out meanwhile
	}
	addresses[m.id] = m.address
	if h.setPeers(ctx, addresses) == nil {
		h.logger.Info("a host has moved", "peer", uint64(m.id), "address", m.address)
	}
}

// setPeers has an actor for each new channel before anybody can find it, and stops
// those that nobody finds any more. What they still had to send is lost.
func (h *hostActor) setPeers(ctx actor.Context, addresses map[raftcore.NodeID]string) error {
	if h.stopping {
		return ErrStopped
	}
	before, next := h.peers.Load(), h.nextPeers(addresses)
	for id, p := range next.each() {
		if (*before)[id] != p {
			h.spawnPeer(ctx, id, p)
		}
	}
	h.peers.Store(next)
	for id, p := range before.each() {
		if (*next)[id] != p {
			ctx.Stop(p.ref().pid)
			h.eachNode(func(node ref) { node.tell(raftcore.Unreachable{Peer: id}) })
		}
	}
	h.eachNode(func(node ref) { node.tell(peersChanged{}) })
	return nil
}
