package actors

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// What an autopilot decides is held against rules that are too simple to be wrong, for views
// at random.

func drawView(r *rand.Rand) (*Autopilot, *view) {
	const hosts = 7
	a := &Autopilot{Voters: 1 + 2*r.IntN(3), KeepDead: r.IntN(2) == 0, Zones: map[raftcore.NodeID]string{}}
	v := &view{members: map[raftcore.NodeID]health{}}
	for _, k := range r.Perm(hosts) {
		id := raftcore.NodeID(k + 1)
		if r.IntN(8) > 0 {
			v.hosts = append(v.hosts, id)
		}
		if z := r.IntN(5); z > 0 {
			a.Zones[id] = fmt.Sprint(z)
		}
		switch r.IntN(4) {
		case 0, 1:
			v.conf.Voters = append(v.conf.Voters, id)
		case 2:
			v.conf.Learners = append(v.conf.Learners, id)
		default:
			if slices.Contains(v.hosts, id) && r.IntN(2) == 0 {
				v.present = append(v.present, id)
			}
			continue
		}
		v.members[id] = []health{dead, silent, heard, stable, stable, stable}[r.IntN(6)]
	}
	if r.IntN(2) == 0 {
		a.Hosts = v.hosts
	}
	slices.Sort(v.conf.Voters)
	slices.Sort(v.conf.Learners)
	if len(v.conf.Voters) > 0 {
		v.self = v.conf.Voters[r.IntN(len(v.conf.Voters))]
		v.members[v.self] = stable
	}
	return a, v
}

// quorum reports whether more than half of some voters are heard of.
func (v *view) quorum(voters []raftcore.NodeID) bool {
	n := 0
	for _, id := range voters {
		if v.members[id] == heard || v.members[id] == stable {
			n += 2
		}
	}
	return n > len(voters)
}

func TestM15_WhatIsDecidedIsSafe(t *testing.T) {
	steps, idle := 0, 0
	for seed := range uint64(200000) {
		a, v := drawView(rand.New(rand.NewPCG(seed, 1)))
		if len(v.conf.Voters) == 0 {
			continue
		}
		d := a.decide(v)
		if d.members == nil {
			if idle++; d.why == "" || d.heirs != nil {
				t.Fatalf("seed %d: %+v decides nothing about %+v, and does not say why", seed, a, v)
			}
			continue
		}
		steps++
		if bad := v.bad(a, &d); bad != "" {
			t.Fatalf("seed %d: %s: %+v makes %+v of %+v", seed, bad, a, d, v)
		}
	}
	if steps < 50000 || idle < 20000 {
		t.Errorf("the test needs more of both: %d steps, %d times none", steps, idle)
	}
}

// bad returns which rule a step breaks.
func (v *view) bad(a *Autopilot, d *decision) string {
	was, next := v.conf.Voters, d.members.Voters
	conf := d.members.conf()
	has := func(list []raftcore.NodeID, id raftcore.NodeID) bool { return slices.Contains(list, id) }
	if all := conf.Members(); len(all) != len(next)+len(conf.Learners) || conf.Equal(&v.conf) {
		return "somebody is named twice, or nothing is changed"
	}
	if !v.quorum(was) || !v.quorum(next) {
		return "there is no quorum"
	}
	if n := len(next); n < min(len(was), a.Voters) || n > max(len(was), a.Voters) || n > len(was) && n%2 == 0 {
		return "there are too few, too many, or an even number"
	}
	deadGone, unclear := false, false
	for _, id := range was {
		deadGone = deadGone || v.members[id] == dead && !has(next, id)
		unclear = unclear || v.members[id] == silent
		if !has(next, id) && !has(conf.Learners, id) && has(v.hosts, id) && (v.members[id] != dead || a.KeepDead) {
			return "a voter that is to be a member leaves"
		}
	}
	voters := slices.Equal(slices.Sorted(slices.Values(next)), was)
	if !voters && !deadGone && len(next) <= len(was) && unclear {
		return "it was not known yet who is dead"
	}
	for _, id := range next {
		if !has(was, id) && (v.members[id] != stable || !has(v.conf.Learners, id) || !has(v.hosts, id)) {
			return fmt.Sprintf("host %d is not one that may vote", id)
		}
	}
	for _, id := range conf.Learners {
		if !v.conf.Contains(id) && !has(v.present, id) {
			return fmt.Sprintf("host %d has not opened the group", id)
		}
	}
	for _, id := range v.conf.Learners {
		if !has(v.hosts, id) && !has(conf.Learners, id) {
			return "an operator's learner is touched"
		}
	}
	if !voters {
		able := slices.Clone(was)
		for _, id := range v.conf.Learners {
			if has(v.hosts, id) && v.members[id] == stable {
				able = append(able, id)
			}
		}
		if best := v.best(a, able, len(next)); v.cost(a, next) != best {
			return fmt.Sprintf("it costs %v, and others %v", v.cost(a, next), best)
		}
	}
	if (len(d.heirs) > 0) != (!has(next, v.self) && slices.ContainsFunc(next, func(id raftcore.NodeID) bool { return has(was, id) && v.members[id] >= heard })) {
		return "who leads does not hand over, or has no reason to"
	}
	for _, id := range d.heirs {
		if !has(was, id) || !has(next, id) || v.members[id] < heard {
			return "it hands over to who does not vote before and after, or is not there"
		}
	}
	return ""
}

// cost is what is wrong with some voters, the worst first: the dead, the strangers among
// those and the others, and those who share a zone.
func (v *view) cost(a *Autopilot, voters []raftcore.NodeID) (cost [4]int) {
	for i, id := range voters {
		stranger := !slices.Contains(v.hosts, id)
		switch dead := v.members[id] == dead; {
		case dead && stranger:
			cost[0]++
		case dead:
			cost[1]++
		case stranger:
			cost[2]++
		}
		for _, other := range voters[:i] {
			if z := a.Zones[id]; z != "" && z == a.Zones[other] {
				cost[3]++
			}
		}
	}
	return cost
}

// best returns the lowest cost of n of these.
func (v *view) best(a *Autopilot, able []raftcore.NodeID, n int) (best [4]int) {
	best = [4]int{1 << 20}
	for set := range 1 << len(able) {
		var some []raftcore.NodeID
		for i, id := range able {
			if set>>i&1 == 1 {
				some = append(some, id)
			}
		}
		if c := v.cost(a, some); len(some) == n && slices.Compare(c[:], best[:]) < 0 {
			best = c
		}
	}
	return best
}

// What has been decided is not decided otherwise when it is done, as long as nothing else
// happens: nobody is put in and out.
func TestM15_WhatIsDecidedStands(t *testing.T) {
	for seed := range uint64(50000) {
		a, v := drawView(rand.New(rand.NewPCG(seed, 2)))
		if len(v.conf.Voters) == 0 {
			continue
		}
		for round := 0; ; round++ {
			d := a.decide(v)
			if d.members == nil {
				break
			}
			if round > 3 {
				t.Fatalf("seed %d: it never ends: %+v, %+v", seed, a, v)
			}
			before := v.conf
			v.conf = d.members.conf()
			for _, id := range v.conf.Members() {
				if !before.Contains(id) {
					v.members[id] = stable // it is there
				}
			}
			if !v.conf.Votes(v.self) {
				v.self = v.conf.Voters[0]
			}
			v.present = nil
		}
	}
}

// A host that never answers is asked again and again: of what was asked before nothing must
// be kept, there or in the channel to it.
func TestM15_WhatIsNeverAnsweredIsGivenUp(t *testing.T) {
	h := &Host{cfg: HostConfig{ID: 1}, epoch: time.Now()}
	box, to := newMailbox(10), &channel{}
	box.dispatcher = neverRuns{}
	to.put(ref{box: box})
	h.peers.Store(&peers{2: to})
	p := &pilot{group: &Group{host: h}, host: h, target: &Autopilot{StableFor: time.Hour}, asked: map[raftcore.NodeID]*call{}}
	v := &view{hosts: []raftcore.NodeID{1, 2}, conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}}
	if !p.probe(v) || !p.probe(v) || box.UserMessageCount() != 1 {
		t.Fatalf("it was asked %d times, and it was time to once", box.UserMessageCount())
	}
	first := p.asked[2]
	p.probeAt = 0
	p.probe(v)
	second := p.asked[2]
	if first == second || first.state.Load() != callAnswered || second.state.Load() != callWaiting {
		t.Error("the first one is waited for still, or the second is not")
	}
	p.forget()
	if second.state.Load() != callAnswered {
		t.Error("who leads no more waits for an answer")
	}
}
