package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/raftcore"
)

// pilot is the actor of a group's Autopilot: one for each member, of which that of the
// leader acts. It looks at what the leader's node knows of the others, once in an election
// timeout, and does what autopilot.go says. It knows nothing that is older than the
// leadership of its member: who leads anew has to see for himself.
//
// A silent group stays silent: its members are all well, or the liveness would wake it, and
// that is news. Only hosts that are no members are asked now and then, by this actor and not
// by the node, whether they have opened the group.
//
//	node  → pilot  news
//	pilot → node   lookOrder; answered by looked
//	pilot → node   *call, for a step; answered by stepped
//	pilot → peers  forward, of askVersions; answered by answered
type pilot struct {
	group  *Group
	host   *Host
	target *Autopilot
	box    *mailbox
	self   ref
	alarm  Timer

	looking bool // the node has been asked
	again   bool // there was news since
	moving  bool // a step is under way

	// Since its member leads.
	term    raftcore.Term // in which it leads; 0: it does not
	conf    raftcore.Index
	waitFor raftcore.Instant // nothing is done before
	woke    raftcore.Instant // when the group did, and that counted
	well    map[raftcore.NodeID]raftcore.Instant
	asked   map[raftcore.NodeID]*call // hosts that are no members
	present map[raftcore.NodeID]bool  // those that have answered
	probeAt raftcore.Instant          // when to ask them next
	tried   int                       // transfers
	shown   AutopilotStatus
}

// The messages of the pilot.
type (
	// news: the node's status is another one.
	news struct {
		woke bool // it was silent, and takes everybody to be alive, for a while
	}
	// lookOrder asks for the node's status. It is no request: those may wait for long, or be
	// refused, where there are many.
	lookOrder struct{}
	looked    struct{ status raftcore.Status }
	stepped   struct {
		term     raftcore.Term
		what     string
		transfer bool
		err      error
	}
	answered struct { // by a host that is no member
		term raftcore.Term // in which it was asked
		from raftcore.NodeID
		err  error
	}
	pilotDue struct{} // the alarm speaking
)

func (p *pilot) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *actor.Started:
		p.self = ref{ctx.Self(), p.box}
		p.alarm = p.host.cfg.Runtime.AfterFunc(p.target.StableFor, func() { p.self.tell(pilotDue{}) })
		p.alarm.Stop()
		p.look()
	case *delivery:
		for _, message := range m.Messages {
			p.receive(message)
		}
	case *actor.Stopped:
		p.forget()
		p.alarm.Stop()
		p.box.close()
		p.show(AutopilotStatus{})
	}
}

func (p *pilot) receive(message any) {
	switch m := message.(type) {
	case news:
		if m.woke {
			p.awoke()
		}
		p.look()
	case pilotDue:
		p.look()
	case answered:
		if m.term == p.term && m.err == nil && !p.present[m.from] {
			p.present[m.from] = true
			p.look()
		}
	case stepped:
		p.stepped(m)
	case looked:
		p.looking = false
		if p.again {
			p.again = false
			p.look()
		}
		p.act(&m.status)
	}
}

// look asks the node for its status.
func (p *pilot) look() {
	node := p.group.node.Load()
	switch {
	case p.looking:
		p.again = true
	case node == nil: // the member is just starting, or stopping
		p.alarm.Reset(p.host.cfg.Raft.ElectionTimeout)
	default:
		p.looking = true
		node.tell(lookOrder{})
	}
}

// awoke has nothing be done until everybody has been heard of. A group that falls silent and
// wakes all the time would never be seen to: so it does not count again within two election
// timeouts, which is less than anybody is silent for who is dead.
func (p *pilot) awoke() {
	timeout := p.host.cfg.Raft.ElectionTimeout
	if now := p.host.now(); now >= p.woke.Add(2*timeout) {
		p.woke = now
		p.wait(timeout)
	}
}

// wait has nothing be done for a while.
func (p *pilot) wait(d time.Duration) { p.waitFor = max(p.waitFor, p.host.now().Add(d)) }

// act does what is to be done, and has the alarm set for the next look.
func (p *pilot) act(s *raftcore.Status) {
	now, timeout := p.host.now(), p.host.cfg.Raft.ElectionTimeout
	if s.Role != raftcore.Leader {
		p.idle(s)
		return
	}
	if s.Term != p.term {
		p.begin(s)
	}
	if p.moving {
		return // there will be word of it
	}
	if p.conf != 0 && s.ConfIndex != p.conf { // somebody else is at work
		p.wait(p.target.StableFor)
	}
	p.conf = s.ConfIndex
	v, next := p.see(s)
	if p.probe(v) {
		next = earlier(next, p.probeAt)
	}
	d := p.target.decide(v)
	switch {
	case !s.Readable || s.Conf.Joint() || s.ConfIndex > s.Commit:
		d = decision{why: "a change of the members, or of the leader, is not over yet"}
	case d.members != nil && now < p.waitFor:
		d = decision{why: "it waits: a leader has just been elected, or the members have just been changed"}
	}
	if now < p.waitFor {
		next = earlier(next, p.waitFor)
	}
	if !s.Quiescent {
		next = earlier(next, now.Add(timeout))
	}
	if d.members != nil {
		p.step(d, s.ConfIndex)
		return
	}
	p.say(d.why)
	if next != 0 {
		p.alarm.Reset(next.Sub(now))
	}
}

// idle is for who does not lead.
func (p *pilot) idle(s *raftcore.Status) {
	p.forget()
	p.alarm.Stop()
	var shown AutopilotStatus
	if s.Leader == raftcore.Nobody && s.Conf.Votes(s.ID) {
		shown.Now = "nobody leads: no step is safe"
		if n := len(s.Silent); n > 0 {
			shown.Now = fmt.Sprintf("nobody leads, and of the voters %v these do not answer: %v: no step is safe", s.Conf.Voters, s.Silent)
		}
		p.alarm.Reset(p.host.cfg.Raft.ElectionTimeout)
	}
	p.show(shown)
}

// begin begins a leadership: nothing is known.
func (p *pilot) begin(s *raftcore.Status) {
	p.forget()
	p.term, p.conf = s.Term, s.ConfIndex
	p.well, p.present, p.asked = map[raftcore.NodeID]raftcore.Instant{}, map[raftcore.NodeID]bool{}, map[raftcore.NodeID]*call{}
	p.wait(p.host.cfg.Raft.ElectionTimeout) // until then all are taken to be alive
}

// forget forgets what it knew as that of a leader.
func (p *pilot) forget() {
	for _, c := range p.asked {
		c.giveUp()
	}
	p.term, p.conf, p.moving, p.waitFor, p.woke, p.probeAt, p.tried = 0, 0, false, 0, 0, 0, 0
	p.well, p.present, p.asked = nil, nil, nil
	p.shown.Last = ""
}

// see returns what is known of the members, and when somebody will be stable, or dead, if
// nothing happens.
func (p *pilot) see(s *raftcore.Status) (v *view, next raftcore.Instant) {
	now, timeout := p.host.now(), p.host.cfg.Raft.ElectionTimeout
	v = &view{self: s.ID, conf: s.Conf, hosts: p.hosts(), members: map[raftcore.NodeID]health{s.ID: stable}}
	for i := range s.Peers {
		m := &s.Peers[i]
		if !s.Conf.Contains(m.ID) {
			continue // it is being told that it is none any more
		}
		delete(p.present, m.ID)
		if !m.CaughtUp {
			delete(p.well, m.ID)
		} else if p.well[m.ID] == 0 {
			p.well[m.ID] = now
		}
		since := p.well[m.ID]
		switch {
		case since != 0 && now >= since.Add(p.target.StableFor):
			v.members[m.ID] = stable
		case s.Quiescent || now < m.Heard.Add(timeout) && !m.Newcomer:
			v.members[m.ID] = heard
		case now < m.Heard.Add(p.target.DeadAfter):
			v.members[m.ID] = silent
		default:
			v.members[m.ID] = dead
		}
		if since != 0 && v.members[m.ID] != stable {
			next = earlier(next, since.Add(p.target.StableFor))
		}
	}
	for _, id := range v.hosts {
		if p.present[id] {
			v.present = append(v.present, id)
		}
	}
	return v, next
}

// hosts returns those that may be members.
func (p *pilot) hosts() []raftcore.NodeID {
	if len(p.target.Hosts) > 0 {
		return p.target.Hosts
	}
	hosts := []raftcore.NodeID{p.host.cfg.ID}
	for id := range p.host.peers.Load().each() {
		hosts = append(hosts, id)
	}
	slices.Sort(hosts)
	return hosts
}

// probe asks those who may be members, and are none, whether they have opened the group, if
// it is time to. It reports whether there are any.
func (p *pilot) probe(v *view) (any bool) {
	now := p.host.now()
	due := now >= p.probeAt
	for _, id := range v.hosts {
		to := p.host.peer(id)
		if v.conf.Contains(id) || to == nil {
			continue
		}
		if any = true; !due {
			continue
		}
		p.probeAt = now.Add(p.target.StableFor)
		if before := p.asked[id]; before != nil {
			before.giveUp() // or those that are never answered would be kept
		}
		self, term := p.self, p.term
		p.asked[id] = p.group.newOrder(askVersions, nil, func(o outcome) { self.tell(answered{term, id, o.err}) })
		to.tell(&forward{group: p.group.key, call: p.asked[id]})
	}
	return any
}

// step takes a step, which the node refuses if the configuration is another one by then.
func (p *pilot) step(d decision, expect raftcore.Index) {
	r, what := &Request{Operation: ChangeMembers, Members: *d.members}, ""
	r.Members.Expect = expect
	if n := len(d.heirs); n > 0 {
		r = &Request{Operation: Transfer, To: d.heirs[p.tried%n]}
		p.tried++
		what = fmt.Sprintf("voter %d is to lead, because this one is not to vote", r.To)
	} else {
		conf := d.members.conf()
		what = fmt.Sprintf("the members are to be %v", &conf)
	}
	node, self, term := p.group.node.Load(), p.self, p.term
	if node == nil {
		return // the member is stopping
	}
	p.moving = true
	p.host.logger.Info("the autopilot takes a step", "group", p.group.name, "term", uint64(p.term), "index", uint64(expect), "step", what)
	p.say(what)
	c := r.newCall()
	c.more.own, c.foreign = term, true // it is for this leadership, and for no other
	c.answer = func(o outcome) { self.tell(stepped{term, what, r.Operation == Transfer, o.err}) }
	node.tell(c)
}

// stepped takes the news of what has come of a step.
func (p *pilot) stepped(m stepped) {
	if !p.moving || m.term != p.term {
		return // it leads no more, or again
	}
	p.moving = false
	last := m.what
	if m.err != nil {
		last = fmt.Sprintf("%s: %v", m.what, m.err)
	}
	switch passes := passes(m.err) || errors.Is(m.err, ErrBusy); {
	case m.err == nil:
		p.conf = 0
	case passes && !m.transfer:
		p.wait(p.host.cfg.Raft.ElectionTimeout)
	default: // somebody else is at work, or it would fail again; and during a transfer nothing is proposed
		p.wait(p.target.StableFor)
		p.host.logger.Warn("a step of the autopilot has failed", "group", p.group.name, "step", m.what, "err", m.err)
	}
	p.show(AutopilotStatus{Now: p.shown.Now, Last: last})
	p.look()
}

func (p *pilot) say(now string) { p.show(AutopilotStatus{Now: now, Last: p.shown.Last}) }

// show has the status say it, if that is another text.
func (p *pilot) show(s AutopilotStatus) {
	if shown, _ := p.group.board.latest(); s != shown.Autopilot {
		p.group.board.update(func(st *Status) { st.Autopilot = s })
	}
	p.shown = s
}

// earlier returns the earlier one; zero is never.
func earlier(a, b raftcore.Instant) raftcore.Instant {
	if a == 0 {
		return b
	}
	return min(a, b)
}
