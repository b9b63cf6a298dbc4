package actors

import (
	"errors"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// A member whose newest snapshot is damaged, or gone, has nothing to go on from: its log
// begins where that ends. If its Store is to be repaired it begins again as one does whose
// disk was lost: as a newcomer, who counts for nothing until a leader has admitted it, and
// is sent what it lacks.
//
// With that it gives its log up. So first it asks the others, and does it only when so many
// of them count and are well that they are a quorum without it. Whatever was committed, one
// of those has; and the group does not stop for want of this one. Two of three whose
// snapshots are damaged wait, therefore, for somebody who decides.
type rejoining struct {
	former raftcore.Incarnation // that ends
	conf   raftcore.ConfState   // the newest that this member knows
	round  int                  // of asking
	fit    map[raftcore.NodeID]bool
}

// The messages of who asks the others.
type (
	// fitness is another's answer, or why there is none.
	fitness struct {
		round int
		from  raftcore.NodeID
		fit   bool
	}
	// askAgain: too few have said in this round that they are well.
	askAgain struct{ round int }
)

// repairable is a Store that says whether it is to be repaired.
type repairable interface{ Repairs() bool }

// lostSnapshot: the snapshot that a member's log follows cannot be read.
type lostSnapshot struct {
	recovered *raftcore.Recovered
	err       error
}

func (l *lostSnapshot) Error() string { return l.err.Error() }
func (l *lostSnapshot) Unwrap() error { return l.err }

// lost returns err as a lostSnapshot, if that is what it means.
func (m *machine) lost(last raftcore.EntryID, err error) error {
	damaged := errors.As(err, new(*persistence.CorruptError)) || errors.Is(err, snapshots.ErrNotFound)
	if !damaged || last != m.recovered.Snapshot.Last {
		return err
	}
	return &lostSnapshot{m.recovered, err}
}

// rejoins has the member begin again, if it may.
func (m *member) rejoins(ctx actor.Context, lost *lostSnapshot) bool {
	store, may := m.host.cfg.Store.(repairable)
	if !may || !store.Repairs() {
		return false
	}
	conf := lost.recovered.BaseConf.Conf
	if n := len(lost.recovered.Configs); n > 0 {
		conf = lost.recovered.Configs[n-1].Conf
	}
	r := &rejoining{former: lost.recovered.Incarnation, conf: conf, fit: map[raftcore.NodeID]bool{}}
	for _, id := range r.others(m.host.cfg.ID) {
		r.fit[id] = true
	}
	if !r.quorum() { // not even with all of them
		return false
	}
	m.rejoin = r
	m.host.logger.Error("the newest snapshot is damaged: the member begins again as a newcomer, when enough others are well", "group", m.group.name, "err", lost.err)
	m.down(ctx, 0)
	return true
}

// others are those who vote and have data, but for this one: a witness cannot give it what
// it lacks.
func (r *rejoining) others(self raftcore.NodeID) []raftcore.NodeID {
	var all []raftcore.NodeID
	for _, voters := range [][]raftcore.NodeID{r.conf.Voters, r.conf.Outgoing} {
		for _, id := range voters {
			if id != self && !r.conf.Witness(id) {
				all = append(all, id)
			}
		}
	}
	return all
}

// quorum reports whether those who are fit are one.
func (r *rejoining) quorum() bool {
	majority := func(voters []raftcore.NodeID) bool {
		n := 0
		for _, id := range voters {
			if r.fit[id] {
				n++
			}
		}
		return n > len(voters)/2
	}
	return majority(r.conf.Voters) && (len(r.conf.Outgoing) == 0 || majority(r.conf.Outgoing))
}

// askOthers asks whether they are well.
func (m *member) askOthers(ctx actor.Context) {
	r := m.rejoin
	r.round++
	clear(r.fit)
	system, self, round := ctx.ActorSystem(), ctx.Self(), r.round
	for _, id := range r.others(m.host.cfg.ID) {
		p := m.host.peer(id)
		if p == nil {
			continue
		}
		p.tell(&forward{group: m.group.key, call: m.group.newOrder(askCandidate, nil, func(o outcome) {
			c, err := candidacy{}, o.err
			if err == nil {
				c, err = decodeCandidacy(o.data)
			}
			system.Root.Send(self, &fitness{round, id, err == nil && c.ready})
		})})
	}
	m.host.cfg.Runtime.AfterFunc(m.host.cfg.Raft.ElectionTimeout, func() { system.Root.Send(self, &askAgain{round}) })
}

// heardFrom takes another's answer.
func (m *member) heardFrom(f *fitness) {
	r := m.rejoin
	if r == nil || f.round != r.round || m.state != Recovering {
		return
	}
	if r.fit[f.from] = f.fit; !r.quorum() {
		return
	}
	r.round++ // what is still to come is too late
	m.host.logger.Warn("the member begins again as a newcomer", "group", m.group.name)
	m.open(r.former)
}
