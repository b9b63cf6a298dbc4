package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// settle ends the faults and demands that everything comes to rest, with all members in
// the same state.
func (s *stack) settle() {
	s.endFaults()
	s.recover()
	s.queue.Run(s.queue.now+2*time.Second, nil) // what nobody waits for any more is over, too
	s.everybody(long)
	s.until("all clients have their answers", long, func() bool {
		return !slices.ContainsFunc(s.clients, func(c *stackClient) bool {
			return c.asks != nil || c.deals != nil && len(c.deals.open) > 0
		})
	})
	s.equal(long)
	for _, h := range s.hosts {
		if st := h.members[0].status(); s.err == nil && st.Conf.Votes(h.id) { // else the autopilot has it learn
			s.probe(h, long)
		}
	}
	s.quiet = true
	s.balanced(long)
	s.breakAll()
	s.dieOut()
	apart := (s.queue.now + time.Minute) * time.Duration(2*s.plan.Drift) / 1000 // what the clocks are
	s.queue.Run(s.queue.now+2*s.plan.SessionTimeout+apart+time.Second, func() bool { return s.err != nil })
	for _, h := range s.hosts {
		s.answeredBy(h.process, nil)
	}
	s.expired(long)
	s.equal(long)
	for _, g := range s.groups[1:] {
		g.settle(long)
	}
}

// long is how long anything may take when there are no faults.
const long = 30 * time.Second

// endFaults ends the faults.
func (s *stack) endFaults() {
	s.calm, s.mended = true, true
	s.queue.note(nil, "", "calm")
	s.net.Heal()
	s.net.SetFaults(0, s.plan.Delay)
	for _, h := range s.hosts {
		h.room()
		h.disk.fails, h.disk.broken = 0, false
		for _, m := range h.members {
			m.panics, m.back = false, m.removed != 0
		}
		h.disk.files.FailAt(0)
		if h.process != nil {
			h.process.Release()
		}
		for _, o := range s.hosts {
			s.net.Refuse(h.address, o.address, false)
		}
		h.start()
	}
}

// recover waits until all members run, with the newest program, and has an operator help.
func (s *stack) recover() {
	s.until("all hosts are up", long, func() bool {
		return !slices.ContainsFunc(s.hosts, func(h *stackHost) bool { return !h.up() })
	})
	s.newestPrograms()
	s.breakAll()
	again := s.queue.now
	s.until("all members run", long, func() bool {
		if s.queue.now >= again {
			s.restartQuarantined()
			s.newestPrograms() // one that was about to open has opened with an old one
			again = s.queue.now + time.Second
		}
		return !slices.ContainsFunc(s.hosts, func(h *stackHost) bool {
			return !h.up() || slices.ContainsFunc(h.members, func(m *stackMember) bool {
				if m.group == nil && m.removed != 0 {
					m.comeBack()
				}
				return !m.up() || m.runs < m.of.newest || m.status().State != actors.Running || errors.Is(m.status().Fault, actors.ErrQuarantined)
			})
		})
	})
}

// dieOut ends the actors that are monitored.
func (s *stack) dieOut() {
	for _, g := range s.groups {
		if all := g.record.indexes(); len(all) > 0 {
			g.before = all[len(all)-1]
		}
	}
	s.extinct = true
	for _, h := range s.hosts {
		h.dieOut()
	}
}

// newestPrograms brings the newest program to where it is not yet.
func (s *stack) newestPrograms() {
	for _, g := range s.groups {
		for _, m := range g.members() {
			if m.program < g.newest || m.up() && m.runs < g.newest {
				m.install(g.newest)
			}
		}
	}
}

// patienceForTimers is how long is waited for timers that somebody's machine has set.
const patienceForTimers = 70 * time.Second

// settle demands that all members of a group have applied the same, of the newest version,
// and that all effects have been carried out.
func (g *stackGroup) settle(limit time.Duration) {
	s := g.stack
	s.until(fmt.Sprintf("group %s is of version %d", g.name, g.newest), limit, func() bool {
		return !slices.ContainsFunc(g.members(), func(m *stackMember) bool { return m.status().Version != g.newest })
	})
	g.calm = g.last(limit)
	now, why, next := s.queue.now, "", s.queue.now
	if g.theirs { // the timers of ours are soon
		s.queue.Run(s.queue.now+patienceForTimers, func() bool { return s.err != nil })
		now = s.queue.now
	}
	s.until(fmt.Sprintf("the effects of group %s are carried out", g.name), limit, func() bool {
		if s.queue.now < next {
			return false
		}
		next = s.queue.now + 200*time.Millisecond
		f, err := g.follow(g.calm)
		if err != nil {
			s.fail("%w", err)
			return true
		}
		if now := f.waits(s.queue.began.Add(now)); now != why {
			why = now
			s.queue.note(nil, "", "group %s waits until %s", g.name, why)
		}
		return why == ""
	})
	end := g.last(limit)
	for _, m := range g.members() {
		if m.isWitness() {
			continue // nobody can ask it for anything
		}
		for _, question := range g.views {
			if s.err != nil {
				return
			}
			r := actors.Request{Operation: actors.Read, Consistency: actors.Local, After: end, Data: question}
			a := s.ask(fmt.Sprintf("%v has applied all", m), m, limit, r, func(a *actors.Response) bool { return outcomeOf(a.Err) == Happened || outcomeOf(a.Err) == "" })
			if s.err == nil && a.Err == nil {
				g.reads = append(g.reads, stackRead{index: a.Index, question: question, answer: bytes.Clone(a.Data), by: m})
			}
		}
	}
}

// balanced demands that hosts that are told to balance come to lead as many groups each.
func (s *stack) balanced(limit time.Duration) {
	if s.plan.Autopilot > 0 { // there are learners, and the autopilot may still change that
		return
	}
	busy := false
	turn := 0
	s.until("the hosts lead about as many groups each", limit, func() bool {
		leads := make([]int, len(s.hosts))
		all := 0
		for _, h := range s.hosts {
			for _, m := range h.members {
				if m.up() && m.status().Role == raftcore.Leader {
					leads[h.id-1]++
					all++
				}
			}
		}
		if all == len(s.groups) && slices.Max(leads)-slices.Min(leads) <= 1 {
			return true
		}
		if !busy {
			busy = true
			h := s.hosts[turn%len(s.hosts)]
			turn++
			h.balance(func(int) {
				s.queue.At(s.queue.now+50*time.Millisecond, "balance again", func() { busy = false })
			})
		}
		return false
	})
}

// breakAll breaks every connection: what was lost on them without a word is known to be
// lost then.
func (s *stack) breakAll() {
	for _, a := range s.hosts {
		for _, b := range s.hosts {
			s.net.Break(a.address, b.address)
		}
	}
}

// everybody makes all hosts voters, or has the autopilot make all of them members.
func (s *stack) everybody(limit time.Duration) {
	if s.plan.Change+s.plan.Remove+s.plan.Split == 0 {
		return
	}
	var all actors.Members
	all.Voters = founders(s.plan.Hosts)
	groups := s.groups
	if n := s.plan.Autopilot; n > 0 {
		groups = groups[1:]
		s.until("the members are as the autopilot wants them", limit, func() bool {
			return slices.ContainsFunc(s.main().members(), func(m *stackMember) bool {
				st := m.status()
				return st.Role == raftcore.Leader && !st.Conf.Joint() && len(st.Conf.Voters) == n && len(st.Conf.Members()) == s.plan.Hosts
			})
		})
	}
	for _, g := range groups {
		all.Witnesses = g.witnesses(all.Voters)
		g.persist("all hosts are voters of "+g.name, limit, actors.Request{Operation: actors.ChangeMembers, Members: all}, "change")
	}
}

// persist asks for something again and again, until it has happened.
func (g *stackGroup) persist(what string, limit time.Duration, r actors.Request, kind string) {
	s := g.stack
	done, waits, last := false, false, time.Duration(0)
	s.until(what, limit, func() bool {
		if !done && (!waits || s.queue.now > last+2*time.Second) {
			waits, last = true, s.queue.now
			g.operate(r, kind, func(err error) {
				done = done || err == nil
				s.queue.At(s.queue.now+s.plan.ElectionTimeout/2, "the operator asks again", func() { waits = false })
			})
		}
		return done
	})
}

// last has a client give a command, and returns the entry.
func (g *stackGroup) last(limit time.Duration) raftcore.Index {
	s, c := g.stack, g.stack.operator()
	for _, other := range s.clients {
		if g != s.main() && other.of == g && other.deals == nil {
			c = other
		}
	}
	var o *stackOp
	next := s.queue.now
	s.until("a command is carried out", limit, func() bool {
		if o != nil && o.over && o.Outcome == Happened {
			return true
		}
		if c.asks == nil && s.queue.now >= next {
			o, next = c.begin(c.tells("set")), s.queue.now+s.plan.ElectionTimeout/4
			c.set(o, g.any())
		}
		return false
	})
	if s.err != nil {
		return 0
	}
	return o.Index
}

// ask asks a host again and again, until good says that the answer is one.
func (s *stack) ask(what string, m *stackMember, limit time.Duration, r actors.Request, good func(*actors.Response) bool) (answer *actors.Response) {
	waits, next := false, s.queue.now
	kind := "ask"
	if m.of != s.main() && r.Operation == actors.Read {
		kind = "look" // the machine may answer with an error
	}
	s.until(what, limit, func() bool {
		if answer == nil && !waits && s.queue.now >= next {
			waits, next = true, s.queue.now+s.plan.ElectionTimeout/4
			o := s.operator().begin(StackOp{Kind: kind})
			o.try(m, r, func(a *actors.Response) {
				if waits = false; good(a) {
					answer = a
				}
			})
		}
		return answer != nil
	})
	return answer
}

// equal demands that all members have carried out the same.
func (s *stack) equal(limit time.Duration) {
	end := s.main().last(limit)
	for i, h := range s.main().members() {
		if s.err != nil {
			return
		}
		a := s.ask(fmt.Sprintf("%v has all that is carried out", h), h, limit, actors.Request{Operation: actors.Read, Consistency: actors.Local, After: end, Data: []byte("log")},
			func(a *actors.Response) bool { return a.Err == nil })
		switch {
		case s.err != nil:
		case i == 0:
			s.log = a.Data
		case !bytes.Equal(a.Data, s.log):
			s.fail("state machine safety: %v has carried out something else than %v: %s", h, s.main().members()[0], difference(a.Data, s.log))
		}
	}
}

// difference says where two ledgers part.
func difference(a, b []byte) string {
	one, other := parseLedger(a), parseLedger(b)
	for i := range min(len(one), len(other)) {
		if one[i] != other[i] {
			return fmt.Sprintf("%v, and not %v", one[i], other[i])
		}
	}
	n := min(len(one), len(other))
	return fmt.Sprintf("%d commands and %d; those that only one has: %v", len(one), len(other), append(one[n:], other[n:]...))
}

// probe has a host lead, and sends every session's last command once more: it has to
// know what was answered, and must not carry it out again.
func (s *stack) probe(h *stackHost, limit time.Duration) {
	if s.err != nil {
		return
	}
	m := h.members[0]
	next := s.queue.now
	s.until(fmt.Sprintf("%v leads", m), limit, func() bool {
		st := m.status()
		if s.queue.now >= next && st.Role != raftcore.Leader {
			next = s.queue.now + 5*s.plan.ElectionTimeout
			s.stats.Transfers++
			m.of.operate(actors.Request{Operation: actors.Transfer, To: h.id}, "transfer", func(error) {})
		}
		return st.Role == raftcore.Leader
	})
	s.lastCommands(m, limit, func(d *stackDeals, a *actors.Response) {
		switch {
		case a.Err != nil:
			d.hasExpired()
		case d.ended:
			s.fail("%v carries out %v in a session that had ended", h, d.last.StackOp)
		case string(a.Data) != d.last.Answer:
			s.fail("%v answers %q to %v, which was answered %q", h, a.Data, d.last.StackOp, d.last.Answer)
		default:
			s.stats.Probes++
		}
	})
}

// lastCommands sends every session's last command once more, and gives back the answers.
func (s *stack) lastCommands(m *stackMember, limit time.Duration, answered func(*stackDeals, *actors.Response)) {
	for _, c := range s.clients {
		d := c.deals
		if d == nil || d.last == nil || c.of != m.of || s.err != nil {
			continue
		}
		in := actors.InSession{ID: d.id, Sequence: d.last.sequence, Done: d.last.sequence - 1}
		a := s.ask("a session is answered", m, limit, actors.Request{Operation: actors.Propose, Data: d.last.command(), Session: in}, func(a *actors.Response) bool {
			return a.Err == nil || errors.Is(a.Err, actors.ErrSessionExpired)
		})
		if s.err == nil {
			answered(d, a)
		}
	}
}

// expired demands that all sessions have ended: nothing was heard of them for long.
func (s *stack) expired(limit time.Duration) {
	if s.err != nil {
		return
	}
	s.main().last(limit)
	s.lastCommands(s.main().any(), limit, func(d *stackDeals, a *actors.Response) {
		if a.Err == nil {
			s.fail("session %d has been silent for more than its timeout, %v, and is answered", d.id, s.plan.SessionTimeout)
		}
	})
}
