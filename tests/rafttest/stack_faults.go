package rafttest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// around draws a duration with the given mean, at least a millisecond.
func (s *stack) around(mean time.Duration) time.Duration {
	return max(time.Millisecond, time.Duration(s.queue.rng.ExpFloat64()*float64(mean)))
}

// every has f happen again and again while the faults go on.
func (s *stack) every(mean time.Duration, what string, f func()) {
	if mean == 0 {
		return
	}
	s.queue.At(s.queue.now+s.around(mean), what, func() {
		if !s.calm {
			f()
			s.every(mean, what, f)
		}
	})
}

// later ends a fault after a while, if the calm has not done so before.
func (s *stack) later(mean time.Duration, what string, f func()) {
	s.queue.At(s.queue.now+s.around(mean), what, func() {
		if !s.calm {
			f()
		}
	})
}

func (s *stack) host() *stackHost { return s.hosts[s.queue.rng.IntN(len(s.hosts))] }

func (s *stack) group() *stackGroup { return s.groups[s.queue.rng.IntN(len(s.groups))] }

func (s *stack) scheduleFaults() {
	p := &s.plan
	s.every(p.Kill, "fault: kill", s.killSome)
	s.every(p.Partition, "fault: partition", s.partition)
	s.every(p.Break, "fault: a connection breaks", func() {
		s.stats.Breaks++
		s.net.Break(s.host().address, s.host().address)
	})
	s.every(p.Refuse, "fault: a connection takes nothing", func() {
		s.stats.Refusals++
		from, to := s.host().address, s.host().address
		s.net.Refuse(from, to, true)
		s.later(p.Heal, "a connection takes something", func() { s.net.Refuse(from, to, false) })
	})
	s.every(p.Split, "fault: a group is split", s.beginSplit)
	s.every(p.Oust, "fault: the leader is cut off", s.oust)
	s.every(p.Hold, "fault: hold", s.hold)
	s.every(p.Full, "fault: a disk is full", func() {
		s.stats.Fulls++
		h := s.host()
		h.disk.full = true
		h.disk.files.Limit(int64(s.queue.rng.IntN(1000)))
		s.later(p.HoldFor, "there is room", h.room)
	})
	s.every(p.FailSave, "fault: a save", func() {
		h := s.host()
		h.disk.fails = []int{failsAfter, failsFirst}[s.queue.rng.IntN(2)]
		h.disk.broken = s.queue.rng.IntN(4) == 0
	})
	s.every(p.FailFile, "fault: a file", func() {
		s.stats.FailedFiles++
		s.host().disk.files.FailAt(1 + s.queue.rng.IntN(20))
	})
	s.every(p.Panic, "fault: a machine panics", func() { s.group().any().panics = true })
	s.every(p.Remove, "remove", s.removeSome)
	s.every(p.BalanceNow, "balance", func() { s.host().balance(func(int) {}) })
	if p.Effects {
		s.every(p.Mortal, "fault: an actor ends, or begins", func() { s.host().beOrNotBe() })
	}
	if p.Upgrades {
		for v := range uint64(newest) {
			s.queue.At(p.Faults*time.Duration(v+1)/(newest+2), "there is a new program", func() { s.install(v + 1) })
		}
		s.every(200*time.Millisecond, "look for those with an old program", s.restartQuarantined)
	}
	s.every(p.Change, "change", s.changeMembers)
	s.every(p.Transfer, "transfer", func() {
		s.stats.Transfers++
		s.group().operate(actors.Request{Operation: actors.Transfer, To: raftcore.NodeID(s.queue.rng.IntN(p.Hosts + 1))}, "transfer", func(error) {})
	})
	s.every(p.Silence, "a client is silent", func() {
		c := s.clients[s.queue.rng.IntN(len(s.clients))]
		c.until = s.queue.now + s.around(p.SessionTimeout)
	})
	if p.Poison {
		s.queue.At(p.Faults/4, "poison", s.poison)
		s.queue.At(p.Faults/2, "machines are mended", s.mend)
	}
}

// killSome kills a process, or stops it, and now and then another one at the same time.
func (s *stack) killSome() {
	for again := true; again; again = s.queue.rng.IntN(4) == 0 {
		h := s.host()
		if h.process == nil || h.starting || h.stopping {
			continue
		}
		down := s.around(s.plan.Down)
		restart := func() { s.queue.At(s.queue.now+down, "start", h.start) }
		if h.up() && s.queue.rng.Float64() < s.plan.Stop {
			m := h.members[s.queue.rng.IntN(len(h.members))]
			if s.queue.rng.IntN(2) == 0 && m.up() {
				s.stats.Reopened++
				m.reopen()
			} else {
				s.stats.Stops++
				h.stop(restart)
			}
			continue
		}
		s.stats.Kills++
		s.queue.note(h.process, "", "is killed")
		h.kill(s.queue.rng.IntN(2) == 0)
		if s.queue.rng.Float64() < s.plan.Wipe && s.spares(h) {
			s.stats.Wiped++
			s.queue.note(nil, "", "%v has lost its disk", h)
			h.wipe()
		}
		restart()
	}
}

// aim has a process killed, now and then, at a moment that is worse than most: there is a
// snapshot, and neither its node nor its log knows.
func (h *stackHost) aim() {
	s, p := h.stack, h.process
	if s.plan.Kill == 0 || s.calm || s.queue.rng.IntN(20) > 0 {
		return
	}
	s.queue.At(s.queue.now+s.queue.between(0, 2*s.plan.Disk+50*time.Microsecond), "fault: kill at a bad moment", func() {
		if h.process != p || p.dead || h.starting || h.stopping || s.calm {
			return
		}
		s.stats.Aimed++
		s.queue.note(p, "", "is killed")
		h.kill(s.queue.rng.IntN(2) == 0)
		s.queue.At(s.queue.now+s.around(s.plan.Down), "start", h.start)
	})
}

// spares reports whether the groups can do without what a host's disk holds: all others
// count, and have all that they were given since they do.
func (s *stack) spares(without *stackHost) bool {
	for _, h := range s.hosts {
		for _, m := range h.members {
			if m.up() && !m.joined {
				m.joined = m.status().Joined
			}
			if h != without && !m.joined {
				return false
			}
		}
	}
	return true
}

// wipe gives a host that is down a new disk.
func (h *stackHost) wipe() {
	h.disk = newStackDisk(h, h.stack.queue.rng.Uint64())
	for _, m := range h.members {
		m.joined = false
		m.joins = h.stack.queue.rng.IntN(2) == 0 // its owner knows, or not
	}
}

// partition cuts a host off, or the hosts into two, or some ways between them.
func (s *stack) partition() {
	s.stats.Partitions++
	rng := s.queue.rng
	cut := func(a, b *stackHost) { s.net.Cut(a.address, b.address) }
	switch rng.IntN(3) {
	case 0:
		alone := s.host()
		for _, h := range s.hosts {
			cut(alone, h)
			cut(h, alone)
		}
		s.queue.note(nil, "", "%v is cut off", alone)
	case 1:
		side := make([]bool, len(s.hosts))
		for i := range side {
			side[i] = rng.IntN(2) == 0
		}
		for i, a := range s.hosts {
			for k, b := range s.hosts {
				if side[i] != side[k] {
					cut(a, b)
				}
			}
		}
		s.queue.note(nil, "", "sides %v", side)
	case 2: // one way
		for range 1 + rng.IntN(len(s.hosts)) {
			a, b := s.host(), s.host()
			cut(a, b)
			s.queue.note(nil, "", "%v does not reach %v", a, b)
		}
	}
	s.later(s.plan.Heal, "healed", s.net.Heal)
}

// oust cuts the leader off when others have reason to elect another, and has a client ask it
// on: what a lease, or a round, allows it to answer must end before they can.
func (s *stack) oust() {
	rng, timeout := s.queue.rng, s.plan.ElectionTimeout
	members := s.main().members()
	at := slices.IndexFunc(members, func(m *stackMember) bool { return m.leads() != 0 })
	if at < 0 {
		return
	}
	m := members[at]
	other := s.hosts[(at+1+rng.IntN(len(s.hosts)-1))%len(s.hosts)]
	s.stats.Ousted++
	s.clocksFavour(m.host)
	var cutIn time.Duration
	switch rng.IntN(5) {
	case 0:
		cutIn = s.handOver(m, other)
	case 1: // it hears the others' answers late
		m.host.process.Hold("", s.queue.now+s.queue.between(timeout/2, 3*timeout))
		cutIn = s.queue.between(0, timeout/2)
	case 2:
		cutIn = s.forget(m.host, other)
	}
	term := m.leads()
	s.queue.At(s.queue.now+cutIn, "fault: the leader is cut off", func() {
		if s.calm || m.leads() != term {
			return
		}
		s.queue.note(nil, "", "%v is cut off, which leads", m.host)
		for _, h := range s.hosts {
			s.sever(m.host, h)
		}
		s.cling(m, term, s.queue.now+4*timeout)
		s.queue.At(s.queue.now+s.queue.between(timeout, 4*timeout), "healed", s.net.Heal)
	})
}

// clocksFavour has a host's clock go slow, and those of the others fast, as far as they may.
func (s *stack) clocksFavour(slow *stackHost) {
	d := float64(s.plan.Drift) / 1000
	for _, h := range s.hosts {
		if h.clock.goes(s.queue.now, 1+d); h == slow {
			h.clock.goes(s.queue.now, 1-d)
		}
	}
}

// handOver has the leader hand over, in half of all cases to a host that hears of it when the
// leader does not wait for that any more. It returns when that one campaigns, or so.
func (s *stack) handOver(leader *stackMember, to *stackHost) time.Duration {
	timeout := s.plan.ElectionTimeout
	order := func() {
		s.stats.Transfers++
		o := s.operator().begin(StackOp{Kind: "transfer"})
		o.try(leader, actors.Request{Operation: actors.Transfer, To: to.id}, func(*actors.Response) {})
	}
	if s.queue.rng.IntN(2) == 0 {
		order()
		return s.queue.between(0, timeout/10)
	}
	late := s.queue.between(timeout, 2*timeout)
	s.hush(timeout/2 + late)
	s.queue.At(s.queue.now+timeout/2, "fault: who is to lead is late", func() {
		if to.process != nil && !to.stopping && !s.calm {
			to.process.Hold("", s.queue.now+late)
			order()
		}
	})
	return timeout/2 + late - s.queue.between(0, timeout/10)
}

// hush has all clients be silent for a while, so that everybody gets to have the whole log.
func (s *stack) hush(d time.Duration) {
	for _, c := range s.clients {
		c.until = max(c.until, s.queue.now+d)
	}
}

// forget has somebody not hear from the leader for a while in which nothing happens, and then
// most others forget that they have. It returns when that is.
func (s *stack) forget(leader, other *stackHost) time.Duration {
	timeout := s.plan.ElectionTimeout
	cut := s.queue.between(0, timeout/2)
	restart := cut + s.queue.between(timeout/2, 3*timeout/2)
	s.hush(restart + timeout)
	s.queue.At(s.queue.now+cut, "fault: somebody does not hear from the leader", func() {
		if !s.calm {
			s.sever(leader, other)
		}
	})
	s.queue.At(s.queue.now+restart, "fault: some are killed, and are back at once", func() {
		for _, h := range s.hosts {
			if h != leader && h != other && !s.calm && h.up() && s.queue.rng.IntN(4) > 0 {
				s.stats.Kills++
				h.kill(true)
				s.queue.At(s.queue.now+s.queue.between(0, timeout/20), "start", h.start)
			}
		}
	})
	return restart
}

// sever cuts two hosts off from each other.
func (s *stack) sever(a, b *stackHost) {
	s.net.Cut(a.address, b.address)
	s.net.Cut(b.address, a.address)
}

// cling has a client read from a leader again and again.
func (s *stack) cling(m *stackMember, term raftcore.Term, until time.Duration) {
	if s.calm || s.queue.now > until || m.leads() != term {
		return
	}
	r := actors.Request{Operation: actors.Read}
	if s.plan.Leases {
		r.Consistency = actors.Lease
	}
	s.operator().question(m, r)
	s.queue.At(s.queue.now+s.queue.between(0, s.plan.ElectionTimeout/20), "asks on", func() { s.cling(m, term, until) })
}

// hold has a process stand still, or some of its actors: a disk that is slow, a machine
// that thinks, a pause of the whole program.
func (s *stack) hold() {
	h := s.host()
	if h.process == nil || h.stopping { // what stops has to be seen to have answered
		return
	}
	s.stats.Holds++
	kinds := []string{"", "log", "log", "machine", "node", "peer", "clock", "courier", "snapshots", "reader", "group", "castaway"}
	kind := kinds[s.queue.rng.IntN(len(kinds))]
	h.process.Hold(kind, s.queue.now+s.around(s.plan.HoldFor))
	s.queue.note(h.process, "", "holds %q", kind)
}

// room has a disk take everything again.
func (h *stackHost) room() {
	h.disk.full = false
	h.disk.files.Limit(-1)
}

func (s *stack) changeMembers() {
	s.stats.Changes++
	rng := s.queue.rng
	var m actors.Members
	voters := 3 + rng.IntN(max(s.plan.Hosts-2, 1))
	for i, k := range rng.Perm(s.plan.Hosts) {
		if id := raftcore.NodeID(k + 1); i < voters {
			m.Voters = append(m.Voters, id)
		} else if rng.IntN(2) == 0 {
			m.Learners = append(m.Learners, id)
		}
	}
	g := s.group()
	m.Witnesses = g.witnesses(m.Voters, m.Learners)
	if g.leaves == nil {
		g.operate(actors.Request{Operation: actors.ChangeMembers, Members: m}, "change", func(error) {})
	}
}

// poison proposes a command that every machine panics at.
func (s *stack) poison() {
	o := s.operator()
	if m := s.main().some(); o.asks == nil && m.up() {
		o.set(o.begin(StackOp{Kind: "poison", Key: "k0", Value: fmt.Sprint("poison.", o.count)}), m)
		return
	}
	s.later(100*time.Millisecond, "poison", s.poison)
}

// mend has no machine panic any more, and the groups opened anew whose machines are
// quarantined.
func (s *stack) mend() {
	s.stats.Mended++
	s.mended = true
	s.restartQuarantined()
	s.every(200*time.Millisecond, "look for the quarantined", s.restartQuarantined)
}

// restartQuarantined starts hosts anew on which a member does not apply, or run, any
// more: what an operator does. He brings the newest program, too.
func (s *stack) restartQuarantined() {
	for _, h := range s.hosts {
		if !h.up() {
			continue
		}
		for _, m := range h.members {
			if m.group == nil {
				continue
			}
			st := m.status()
			poisoned := m.of == s.main() && s.plan.Poison && !s.mended
			if !poisoned && (errors.Is(st.Fault, actors.ErrQuarantined) || st.State == actors.Faulted) {
				s.queue.note(h.process, fmt.Sprint(st.Fault), "an operator starts it anew")
				for _, m := range h.members {
					m.program = max(m.program, s.program(m.of))
				}
				h.kill(true)
				h.start()
				break
			}
		}
	}
}

// program is the newest version of a group's machine that there is by now.
func (s *stack) program(g *stackGroup) uint64 {
	var newest uint64
	for _, m := range g.members() {
		newest = max(newest, m.program)
	}
	return newest
}

// install brings a program that can be of a newer version to all hosts, one after the
// other.
func (s *stack) install(version uint64) {
	for _, g := range s.groups {
		for _, m := range g.members() {
			if g.newest >= version {
				s.later(s.plan.Faults/8, "a host has a new program", func() { m.install(version) })
			}
		}
	}
}

// install brings one to a member. If it is not open, or about to be, it is when it opens.
func (m *stackMember) install(version uint64) {
	if m.program = max(m.program, version); m.up() {
		m.reopen()
	}
}

// removeSome takes a member out of a group, then off its host; later it comes back.
func (s *stack) removeSome() {
	g := s.group()
	m := g.any()
	if g.leaves != nil || !m.up() || g == s.main() && s.plan.Autopilot > 0 {
		return
	}
	conf := m.status().Conf
	var rest actors.Members
	for _, id := range conf.Voters {
		if id != m.host.id {
			rest.Voters = append(rest.Voters, id)
		}
	}
	for _, id := range conf.Learners {
		if id != m.host.id {
			rest.Learners = append(rest.Learners, id)
		}
	}
	rest.Witnesses = g.witnesses(rest.Voters, rest.Learners)
	if len(rest.Voters) < 2 {
		return
	}
	s.stats.Removals++
	g.leaves = m
	if s.queue.rng.IntN(4) > 0 { // else somebody forgets that it has to leave first
		g.operate(actors.Request{Operation: actors.ChangeMembers, Members: rest}, "change", func(error) {})
	}
	s.queue.At(s.queue.now+s.around(3*s.plan.ElectionTimeout), "it is removed", func() {
		if g.leaves = nil; m.up() && !s.calm {
			m.remove()
		}
	})
	s.later(s.plan.Remove, "it is a member again", func() {
		var all actors.Members
		all.Voters = founders(s.plan.Hosts)
		all.Witnesses = g.witnesses(all.Voters)
		g.operate(actors.Request{Operation: actors.ChangeMembers, Members: all}, "change", func(error) {})
	})
}

// balance has a host hand over what it leads too much of.
func (h *stackHost) balance(then func(handed int)) {
	if !h.up() {
		return
	}
	s, p, host, ctx := h.stack, h.process, h.host, h.life
	var handed int
	var err error
	s.queue.Go(func() { handed, err = host.Balance(ctx) }, func() {
		if p.dead || h.stopping {
			return
		}
		if s.stats.Handed += handed; err != nil && s.calm {
			s.fail("balancing %v: %v", h, err)
		}
		then(handed)
	})
}
