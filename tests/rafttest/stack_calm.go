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
	s.calm, s.mended = true, true
	s.queue.note(nil, "", "calm")
	s.net.Heal()
	s.net.SetFaults(0, s.plan.Delay)
	for _, h := range s.hosts {
		h.room()
		h.disk.fails, h.disk.broken, h.panics = 0, false, false
		h.disk.files.FailAt(0)
		if h.process != nil {
			h.process.Release()
		}
		for _, o := range s.hosts {
			s.net.Refuse(h.address, o.address, false)
		}
		h.start()
	}
	const long = 30 * time.Second
	s.until("all hosts are up", long, func() bool {
		return !slices.ContainsFunc(s.hosts, func(h *stackHost) bool { return !h.up() })
	})
	s.breakAll()
	again := s.queue.now
	s.until("all members run", long, func() bool {
		if s.queue.now >= again {
			s.restartQuarantined()
			again = s.queue.now + time.Second
		}
		return !slices.ContainsFunc(s.hosts, func(h *stackHost) bool {
			return !h.up() || h.status().State != actors.Running || errors.Is(h.status().Fault, actors.ErrQuarantined)
		})
	})
	s.queue.Run(s.queue.now+2*time.Second, nil) // what nobody waits for any more is over, too
	s.everybody(long)
	s.until("all clients have their answers", long, func() bool {
		return !slices.ContainsFunc(s.clients, func(c *stackClient) bool {
			return c.asks != nil || c.deals != nil && len(c.deals.open) > 0
		})
	})
	s.equal(long)
	for _, h := range s.hosts {
		if st := h.status(); st.Conf.Votes(h.id) { // else the autopilot has it learn
			s.probe(h, long)
		}
	}
	s.quiet = true
	s.breakAll()
	s.queue.Run(s.queue.now+s.plan.SessionTimeout+time.Second, nil)
	for _, h := range s.hosts {
		s.answeredBy(h.process)
	}
	s.expired(long)
	s.equal(long)
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
	if s.plan.Change == 0 {
		return
	}
	if n := s.plan.Autopilot; n > 0 {
		s.until("the members are as the autopilot wants them", limit, func() bool {
			return slices.ContainsFunc(s.hosts, func(h *stackHost) bool {
				st := h.status()
				return st.Role == raftcore.Leader && !st.Conf.Joint() && len(st.Conf.Voters) == n && len(st.Conf.Members()) == s.plan.Hosts
			})
		})
		return
	}
	var all actors.Members
	all.Voters = founders(s.plan.Hosts)
	s.persist("all hosts are voters", limit, actors.Request{Operation: actors.ChangeMembers, Members: all}, "change")
}

// persist asks for something again and again, until it has happened.
func (s *stack) persist(what string, limit time.Duration, r actors.Request, kind string) {
	done, waits, last := false, false, time.Duration(0)
	s.until(what, limit, func() bool {
		if !done && (!waits || s.queue.now > last+2*time.Second) {
			waits, last = true, s.queue.now
			s.operate(r, kind, func(err error) {
				done = done || err == nil
				s.queue.At(s.queue.now+s.plan.ElectionTimeout/2, "the operator asks again", func() { waits = false })
			})
		}
		return done
	})
}

// last has the operator set a register, and returns the entry.
func (s *stack) last(limit time.Duration) raftcore.Index {
	c := s.operator()
	var o *stackOp
	next := s.queue.now
	s.until("a command is carried out", limit, func() bool {
		if o != nil && o.over && o.Outcome == Happened {
			return true
		}
		if c.asks == nil && s.queue.now >= next {
			o, next = c.begin(StackOp{Kind: "set", Key: "k0", Value: fmt.Sprint("end.", c.count)}), s.queue.now+s.plan.ElectionTimeout/4
			c.set(o, s.host())
		}
		return false
	})
	if s.err != nil {
		return 0
	}
	return o.Index
}

// ask asks a host again and again, until good says that the answer is one.
func (s *stack) ask(what string, h *stackHost, limit time.Duration, r actors.Request, good func(*actors.Response) bool) (answer *actors.Response) {
	waits, next := false, s.queue.now
	s.until(what, limit, func() bool {
		if answer == nil && !waits && s.queue.now >= next {
			waits, next = true, s.queue.now+s.plan.ElectionTimeout/4
			o := s.operator().begin(StackOp{Kind: "ask"})
			o.try(h, r, func(a *actors.Response) {
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
	end := s.last(limit)
	for i, h := range s.hosts {
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
			s.fail("state machine safety: %v has carried out something else than %v: %s", h, s.hosts[0], difference(a.Data, s.log))
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
	next := s.queue.now
	s.until(fmt.Sprintf("%v leads", h), limit, func() bool {
		st := h.status()
		if s.queue.now >= next && st.Role != raftcore.Leader {
			next = s.queue.now + 5*s.plan.ElectionTimeout
			s.stats.Transfers++
			s.operate(actors.Request{Operation: actors.Transfer, To: h.id}, "transfer", func(error) {})
		}
		return st.Role == raftcore.Leader
	})
	s.lastCommands(h, limit, func(d *stackDeals, a *actors.Response) {
		switch {
		case a.Err != nil:
			d.ended = true
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
func (s *stack) lastCommands(h *stackHost, limit time.Duration, answered func(*stackDeals, *actors.Response)) {
	for _, c := range s.clients {
		d := c.deals
		if d == nil || d.last == nil || s.err != nil {
			continue
		}
		in := actors.InSession{ID: d.id, Sequence: d.last.sequence, Done: d.last.sequence - 1}
		a := s.ask("a session is answered", h, limit, actors.Request{Operation: actors.Propose, Data: []byte(d.last.command()), Session: in}, func(a *actors.Response) bool {
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
	s.last(limit)
	s.lastCommands(s.host(), limit, func(d *stackDeals, a *actors.Response) {
		if a.Err == nil {
			s.fail("session %d has been silent for more than its timeout, %v, and is answered", d.id, s.plan.SessionTimeout)
		}
	})
}
