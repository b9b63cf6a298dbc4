package actors

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
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
	for seed := range uint64(60000) {
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
	if steps < 15000 || idle < 6000 {
		t.Errorf("the test needs more of both: %d steps, %d times none", steps, idle)
	}
}

// bad returns which rule a step breaks.
func (v *view) bad(a *Autopilot, d *decision) string {
	was, next := v.conf.Voters, d.members.Voters
	conf := d.members.conf()
	has := func(list []raftcore.NodeID, id raftcore.NodeID) bool { return slices.Contains(list, id) }
	if all := conf.Members(); len(all) != len(next)+len(conf.Learners) || conf.Equal(v.conf) {
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

// Witnesses are neither made nor replaced, are nobody's heirs, and stay a minority.
func TestM15_WitnessesAreLetBe(t *testing.T) {
	steps := 0
	for seed := range uint64(30000) {
		r := rand.New(rand.NewPCG(seed, 3))
		a, v := drawView(r)
		others := slices.DeleteFunc(slices.Clone(v.conf.Voters), func(id raftcore.NodeID) bool { return id == v.self })
		if len(others) == 0 {
			continue
		}
		v.conf.Witnesses = others[:min(len(others), 1+r.IntN(len(v.conf.Voters)/2))]
		d := a.decide(v)
		if d.members == nil {
			continue
		}
		steps++
		if !slices.Equal(d.members.Witnesses, v.conf.Witnesses) {
			t.Fatalf("seed %d: %+v makes %+v of %+v", seed, a, d.members, v)
		}
		if why := witnessMistake(d.members.Witnesses, d.members.Voters, d.members.Learners); why != "" {
			t.Fatalf("seed %d: %s: %+v makes %+v of %+v", seed, why, a, d.members, v)
		}
		for _, id := range v.conf.Witnesses {
			if !slices.Contains(d.members.Voters, id) || slices.Contains(d.heirs, id) {
				t.Fatalf("seed %d: of %+v witness %d comes to be something else: %+v", seed, v, id, d)
			}
		}
	}
	if steps < 5000 {
		t.Errorf("only %d steps", steps)
	}
}

// What has been decided is not decided otherwise when it is done, as long as nothing else
// happens: nobody is put in and out.
func TestM15_WhatIsDecidedStands(t *testing.T) {
	for seed := range uint64(20000) {
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
	h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}, epoch: time.Now()}
	box, to := newMailbox(10), &channel{}
	box.dispatcher = neverRuns{}
	to.put(ref{box: box})
	h.peers.Store(&peers{2: to})
	p := &pilot{group: &Group{host: h}, host: h, target: &Autopilot{StableFor: time.Hour}, asked: map[raftcore.NodeID]*call{}}
	v := &view{hosts: []raftcore.NodeID{1, 2}, conf: raftcore.ConfState{Voters: []raftcore.NodeID{1}}}
	missing := p.probe(v)
	if again := p.probe(v); !missing || !again || box.UserMessageCount() != 1 {
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

// lonePilot is a pilot without a member around it: what its node says is up to the test.
type lonePilot struct {
	*pilot
	node *mailbox
	raftcore.Status
}

// alone runs f with a pilot of host 1, in fake time.
func alone(t *testing.T, target Autopilot, f func(p *lonePilot)) {
	synctest.Test(t, func(*testing.T) {
		h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}.withDefaults(), epoch: time.Now().Add(-time.Hour)}
		h.logger = h.cfg.Logger
		h.peers.Store(&peers{})
		p := &lonePilot{node: newMailbox(10)}
		p.node.dispatcher = neverRuns{}
		g := &Group{host: h, board: newBoard("group")}
		g.node.Store(&ref{box: p.node})
		p.pilot = &pilot{group: g, host: h, target: target.withDefaults(&h.cfg.Raft), box: newMailbox(0), alarm: time.AfterFunc(0, func() {})}
		p.box.dispatcher = neverRuns{}
		p.self = ref{box: p.box}
		p.Status = raftcore.Status{ID: 1, Role: raftcore.Leader, Leader: 1, Term: 1, Readable: true, ConfIndex: 7, Commit: 9}
		f(p)
		p.alarm.Stop()
	})
}

// members makes these the members, all of whom are well and were heard of just now.
func (p *lonePilot) members(conf raftcore.ConfState) {
	p.Conf, p.Peers = conf, nil
	for _, id := range conf.Members() {
		if id != p.ID {
			p.Peers = append(p.Peers, raftcore.PeerStatus{ID: id, CaughtUp: true, Heard: p.host.now()})
		}
	}
}

// looks has time pass, in which these are not heard of, and returns the step of the pilot, or
// nil.
func (p *lonePilot) looks(after time.Duration, silent ...raftcore.NodeID) *Members {
	time.Sleep(after) // fake
	for i := range p.Peers {
		if m := &p.Peers[i]; !slices.Contains(silent, m.ID) {
			m.Heard = p.host.now()
		} else if after > 0 {
			m.CaughtUp = false
		}
	}
	p.act(&p.Status)
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	for _, m := range p.node.requests {
		p.node.requests = nil
		return m.(*call).its().members
	}
	return nil
}

func list(ids ...raftcore.NodeID) []raftcore.NodeID { return ids }

// Five vote where three should: that could be changed at once. But who has just been elected,
// or woken, has heard of nobody; and those of whom it hears may not count.
func TestM15_WhoDoesNotKnowWaits(t *testing.T) {
	five := raftcore.ConfState{Voters: list(1, 2, 3, 4, 5)}
	const timeout = time.Second
	elected := func(p *lonePilot) {
		p.members(five)
		if m := p.looks(0); m != nil {
			t.Fatalf("it was just elected, and makes the members %+v", m)
		}
	}
	alone(t, Autopilot{Hosts: list(1, 2, 3, 4, 5)}, func(p *lonePilot) {
		elected(p)
		if m := p.looks(timeout - 1); m != nil {
			t.Errorf("it was elected lately, and makes the members %+v", m)
		}
		if m := p.looks(1); m == nil || !slices.Equal(m.Voters, list(1, 2, 3)) || m.Expect != 7 {
			t.Errorf("it has heard of everybody, and makes the members %+v", m)
		}
		if m := p.looks(timeout); m != nil {
			t.Errorf("a step is under way, and it takes another, to %+v", m)
		}
	})
	alone(t, Autopilot{Hosts: list(1, 2, 3, 4, 5)}, func(p *lonePilot) {
		elected(p)
		if m := p.looks(timeout, 3, 4, 5); m != nil {
			t.Errorf("it has heard of a minority, and makes the members %+v", m)
		}
		p.receive(news{woke: true})
		if m := p.looks(0); m != nil {
			t.Errorf("it takes everybody to be alive, and makes the members %+v", m)
		}
		if m := p.looks(timeout); m == nil {
			t.Error("it knows, and does nothing")
		}
	})
	alone(t, Autopilot{Hosts: list(1, 2, 3, 4, 5)}, func(p *lonePilot) {
		elected(p)
		for range 10 {
			p.receive(news{woke: true})
			if m := p.looks(timeout / 2); m != nil {
				return
			}
		}
		t.Error("the group wakes all the time, and is never seen to")
	})
	alone(t, Autopilot{Hosts: list(1, 2, 3, 4, 5)}, func(p *lonePilot) {
		elected(p)
		for i := range 3 {
			p.Peers[i].Newcomer, p.Peers[i].CaughtUp = true, false
		}
		if m := p.looks(timeout); m != nil {
			t.Errorf("a minority counts, and it makes the members %+v", m)
		}
	})
}

// Who has been well, or dead, for how long, is what this leadership has seen.
func TestM15_WhatAFormerLeadershipKnewIsForgotten(t *testing.T) {
	const stable = 10 * time.Second
	alone(t, Autopilot{Hosts: list(1, 2, 3)}, func(p *lonePilot) {
		p.members(raftcore.ConfState{Voters: list(1), Learners: list(2, 3)})
		for _, after := range []time.Duration{0, stable - 1} {
			if m := p.looks(after); m != nil {
				t.Fatalf("it makes the members %+v", m)
			}
		}
		p.Role, p.Leader = raftcore.Follower, 2
		p.looks(0)
		p.Role, p.Leader, p.Term = raftcore.Leader, 1, 2
		for _, after := range []time.Duration{0, 2 * time.Second} {
			if m := p.looks(after); m != nil {
				t.Errorf("%v after it leads again it makes the members %+v", after, m)
			}
		}
		p.Term = 3 // nobody has seen that it did not lead
		for _, after := range []time.Duration{0, stable - 1} {
			if m := p.looks(after); m != nil {
				t.Errorf("%v after it leads again it makes the members %+v", after, m)
			}
		}
		if m := p.looks(1); m == nil || len(m.Voters) != 3 {
			t.Errorf("it makes the members %+v", m)
		}
	})
}

// While its group is silent nobody is heard of, and everybody is well.
func TestM15_WhoSleepsIsNotDead(t *testing.T) {
	alone(t, Autopilot{Hosts: list(1, 2, 3, 4)}, func(p *lonePilot) {
		p.members(raftcore.ConfState{Voters: list(1, 2, 3), Learners: list(4)})
		p.looks(0)
		if m := p.looks(2 * time.Second); m != nil {
			t.Fatalf("it makes the members %+v", m)
		}
		p.Quiescent = true
		time.Sleep(time.Hour) // fake
		if p.act(&p.Status); len(p.node.requests) > 0 || p.shown.Now != AsDescribed {
			t.Errorf("it says %q, and asks for %d steps", p.shown.Now, len(p.node.requests))
		}
		if p.alarm.Stop() {
			t.Error("it looks again, though nothing has happened")
		}
		// And the dead are dead when it is over.
		p.Quiescent = false
		p.receive(news{woke: true})
		for i := range p.Peers {
			p.Peers[i].Heard = p.host.now()
		}
		if m := p.looks(59*time.Second, 3); m != nil {
			t.Errorf("it makes the members %+v", m)
		}
		if m := p.looks(time.Second, 3); m == nil || !slices.Equal(m.Voters, list(1, 2, 4)) {
			t.Errorf("it makes the members %+v, and says %q", m, p.shown.Now)
		}
	})
}

// After a change by somebody else nothing is done for a while: he may not be finished. After
// one of its own the autopilot goes on.
func TestM15_WhoElseChangesTheMembersIsNotDisturbed(t *testing.T) {
	const stable = 10 * time.Second
	alone(t, Autopilot{Hosts: list(1, 2, 3, 4, 5)}, func(p *lonePilot) {
		p.members(raftcore.ConfState{Voters: list(1, 2, 3, 4, 5)})
		p.looks(0)
		if m := p.looks(time.Second); m == nil {
			t.Fatal("it does nothing")
		}
		p.members(raftcore.ConfState{Voters: list(1, 2, 3), Learners: list(4)}) // 5 was removed, in one go
		p.ConfIndex = 8
		p.receive(stepped{term: 1, what: "its own"})
		if last := p.shown.Last; last != "its own" {
			t.Errorf("it has done %q last", last)
		}
		p.present[5] = true
		if m := p.looks(0); m == nil || !slices.Equal(m.conf().Learners, list(4, 5)) || m.Expect != 8 {
			t.Errorf("after its own change it makes the members %+v", m)
		}
		p.receive(stepped{term: 1, what: "another", err: ErrConfigChanged})
		if last := p.shown.Last; last != "another: "+ErrConfigChanged.Error() {
			t.Errorf("it has done %q last", last)
		}
		for _, index := range []raftcore.Index{9, 10} {
			p.ConfIndex, p.Commit = index, index
			for _, after := range []time.Duration{0, stable - 1} {
				if m := p.looks(after); m != nil {
					t.Errorf("%v after somebody else's change it makes the members %+v", after, m)
				}
			}
		}
		if m := p.looks(1); m == nil || m.Expect != 10 {
			t.Errorf("it makes the members %+v", m)
		}
	})
}

// A step that comes late, when its leader leads again in a later term, was thought of by who
// knew nothing of the present: it is refused.
func TestM15_AStepIsForTheLeadershipThatThoughtOfIt(t *testing.T) {
	h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}.withDefaults()}
	h.peers.Store(&peers{})
	cfg := h.cfg.Raft
	cfg.Boot, cfg.Seed = 1, 1
	core, err := raftcore.New(cfg, raftcore.Recovered{Incarnation: 1})
	if err != nil {
		t.Fatal(err)
	}
	var out raftcore.Output
	core.Step(raftcore.Bootstrap{Cluster: 1, Conf: raftcore.ConfState{Voters: list(1)}})
	for i := range 10 {
		core.Step(raftcore.Tick{Now: raftcore.Instant(0).Add(time.Duration(i+1) * time.Second)})
		core.Drain(&out)
		core.Step(raftcore.Saved{Token: out.Save.Token})
	}
	s := core.Status()
	if s.Role != raftcore.Leader || !s.Readable {
		t.Fatalf("the test needs a leader, and not %v", s)
	}
	n := &node{group: &Group{host: h, Client: Client{name: "group"}}, host: h, core: core, leads: s.Term, calls: calls{limit: 10}}
	for term, refused := range map[raftcore.Term]bool{s.Term - 1: true, s.Term: false} {
		c := (&Request{Operation: ChangeMembers, Members: Members{Voters: list(1)}}).newCall()
		var answers []error
		c.more.own, c.answer = term, func(o outcome) { answers = append(answers, o.err) }
		n.request(c)
		if got := len(answers) == 1 && errors.Is(answers[0], errNotReady); got != refused || n.step == refused {
			t.Errorf("in term %d a step of term %d is answered with %v", s.Term, term, answers)
		}
		n.step = false
	}
}
