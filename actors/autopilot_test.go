package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// With the timeouts of these worlds a member is dead after 6 s, and stable after 1 s.
const (
	deadAfter = 60 * election
	stableFor = 10 * election
)

// inPiloted runs f with hosts whose group has an autopilot. The first found it, the others
// have opened it, and wait to be added.
func inPiloted(t *testing.T, founders, spares int, target actors.Autopilot, f func(w *piloted)) {
	inWorld(t, 0, func(w *world) {
		w.autopilot = &target
		for i := range founders + spares {
			id := raftcore.NodeID(i + 1)
			w.peers[id] = fmt.Sprintf("host-%d", id)
			w.hosts = append(w.hosts, &hostUp{world: w, id: id, disk: persistence.Memory(), addr: w.peers[id], join: i >= founders})
			if i < founders {
				w.founders = append(w.founders, id)
			}
		}
		p := &piloted{world: w}
		for _, h := range w.hosts {
			p.start(h)
		}
		f(p)
	})
}

// piloted is a world whose configurations are all seen.
type piloted struct {
	*world
	away []*hostUp // that are cut off

	mu    sync.Mutex
	confs []seenConf // each once, in the order in which they came up
}

type seenConf struct {
	raftcore.ConfigAt
	at time.Time
}

// start starts a host, and sees every configuration that it comes to.
func (p *piloted) start(h *hostUp) {
	p.t.Helper()
	h.start()
	g := h.group
	go func() {
		for s := range g.Watch(p.ctx) {
			p.see(s)
		}
	}()
}

func (p *piloted) see(s actors.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.ConfIndex == 0 || slices.ContainsFunc(p.confs, func(c seenConf) bool { return c.Index == s.ConfIndex && c.Conf.Equal(s.Conf) }) {
		return
	}
	p.confs = append(p.confs, seenConf{raftcore.ConfigAt{Index: s.ConfIndex, Conf: s.Conf}, time.Now()})
}

// seen returns the configurations so far.
func (p *piloted) seen() []seenConf {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.confs)
}

// come waits until these are the members, for everybody who leads, and returns how long it
// took.
func (p *piloted) come(voters, learners []raftcore.NodeID) time.Duration {
	p.t.Helper()
	begin := time.Now()
	want := raftcore.ConfState{Voters: voters, Learners: learners}
	last := actors.Status{}
	for time.Since(begin) < 5*time.Minute { // fake
		for _, h := range p.hosts {
			if h.host == nil {
				continue
			}
			if s := h.status(); s.Role == raftcore.Leader && s.Readable {
				if last = s; s.Conf.Equal(want) && s.ConfIndex <= s.Commit {
					return time.Since(begin)
				}
			}
		}
		time.Sleep(time.Millisecond) // fake
	}
	p.t.Fatalf("the members are never to be %v; they are %v, and the autopilot says %+v", &want, &last.Conf, last.Autopilot)
	return 0
}

// says waits until the leader's autopilot says something.
func (p *piloted) says(text string) {
	p.t.Helper()
	var now actors.AutopilotStatus
	for range 100000 {
		for _, h := range p.hosts {
			if h.host == nil {
				continue
			}
			if s, _ := h.group.Status(p.ctx); s.Autopilot.Now != "" {
				if now = s.Autopilot; strings.Contains(now.Now, text) {
					return
				}
			}
		}
		time.Sleep(time.Millisecond) // fake
	}
	p.t.Fatalf("the autopilot never says %q, but %+v", text, now)
}

func ids(ids ...raftcore.NodeID) []raftcore.NodeID { return ids }

// other returns a voter that does not lead.
func (p *piloted) other() *hostUp {
	p.t.Helper()
	leader := p.leader()
	for _, id := range leader.status().Conf.Voters {
		if h := p.hosts[id-1]; h != leader && h.host != nil {
			return h
		}
	}
	p.t.Fatal("nobody else votes")
	return nil
}

// without returns from without one.
func without(from []raftcore.NodeID, gone ...raftcore.NodeID) []raftcore.NodeID {
	return slices.DeleteFunc(slices.Clone(from), func(id raftcore.NodeID) bool { return slices.Contains(gone, id) })
}

// neverFewer demands that there were never fewer voters than these.
func (p *piloted) neverFewer(n int) {
	p.t.Helper()
	for _, c := range p.seen() {
		if len(c.Conf.Voters) < n {
			p.t.Errorf("there were only %v to vote", &c.Conf)
		}
	}
}

func TestM15_ADeadVoterIsReplacedByTheSpareAndLearnsWhenItIsBack(t *testing.T) {
	for name, c := range map[string]struct {
		leads, asleep, keep bool
	}{
		"a follower":                  {},
		"the leader":                  {leads: true},
		"a follower, in a silence":    {asleep: true},
		"the leader, in a silence":    {leads: true, asleep: true},
		"a follower, which is kept":   {keep: true},
		"the leader, which is kept":   {leads: true, keep: true},
		"in a silence, which is kept": {asleep: true, keep: true},
	} {
		t.Run(name, func(t *testing.T) {
			inPiloted(t, 3, 1, actors.Autopilot{KeepDead: c.keep}, func(p *piloted) {
				p.come(ids(1, 2, 3), ids(4))
				p.says(actors.AsDescribed)
				p.hosts[0].propose("a")
				if c.asleep {
					p.silent()
					time.Sleep(10 * stableFor) // fake: until nobody looks any more
				}
				gone := p.other()
				if c.leads {
					gone = p.leader()
				}
				gone.stop()
				begin := time.Now()
				var kept []raftcore.NodeID
				if c.keep {
					kept = ids(gone.id)
				}
				p.says(fmt.Sprintf("voters [%d] are silent", gone.id))
				rest := without(ids(1, 2, 3, 4), gone.id)
				p.come(rest, kept)
				if d := time.Since(begin); d < deadAfter || d > deadAfter+6*election {
					t.Errorf("it took %v", d)
				}
				p.neverFewer(3)
				if !c.keep {
					p.silent() // which it is not while a member is dead
				}
				p.hosts[rest[0]-1].propose("b")
				p.start(gone)
				p.come(rest, ids(gone.id))
				p.until("it has everything", func() bool { return gone.applied() == "2" })
				p.silent()
				time.Sleep(10 * deadAfter) // fake
				p.come(rest, ids(gone.id)) // still: nobody is put in and out
				if n := p.speaking(10 * election); n != 0 {
					t.Error("the autopilot wakes a silent group")
				}
			})
		})
	}
}

// Who waits to be added becomes a learner, and a voter when it has been well for a while;
// all that are missing in one step, so that there is never an even number.
func TestM15_AGroupGrowsToWhatIsDescribed(t *testing.T) {
	inPiloted(t, 1, 2, actors.Autopilot{}, func(p *piloted) {
		p.hosts[0].propose("a")
		p.come(ids(1), ids(2, 3))
		d := p.come(ids(1, 2, 3), nil)
		if d < stableFor-2*election || d > stableFor+3*election {
			t.Errorf("they vote after %v", d)
		}
		for _, c := range p.seen() {
			if n := len(c.Conf.Voters); n == 2 {
				t.Errorf("two were to vote: %v", &c.Conf)
			}
		}
	})
}

// A host that nobody knew of comes while the group is silent, and all its autopilot ever
// looked at is well.
func TestM15_ANewPeerIsAskedWhileTheGroupIsSilent(t *testing.T) {
	inPiloted(t, 3, 0, actors.Autopilot{}, func(p *piloted) {
		p.come(ids(1, 2, 3), nil)
		p.says(actors.AsDescribed)
		p.silent()
		time.Sleep(10 * stableFor) // fake: until nobody looks any more
		fourth := &hostUp{world: p.world, id: 4, disk: persistence.Memory(), addr: "host-4", join: true}
		p.peers[4] = fourth.addr
		for _, h := range p.hosts {
			p.setPeers(h)
		}
		p.hosts = append(p.hosts, fourth)
		p.start(fourth)
		p.come(ids(1, 2, 3), ids(4))
	})
}

// One of the two that are missing is not there: a second voter alone would do harm.
func TestM15_AGroupDoesNotGrowToAnEvenNumber(t *testing.T) {
	inPiloted(t, 3, 2, actors.Autopilot{Voters: 5}, func(p *piloted) {
		p.come(ids(1, 2, 3), ids(4, 5))
		p.hosts[4].stop()
		p.come(ids(1, 2, 3), ids(4))
		p.says("3 voters, and 5 are wanted")
		time.Sleep(time.Minute) // fake
		p.come(ids(1, 2, 3), ids(4))
		p.start(p.hosts[4])
		p.come(ids(1, 2, 3, 4, 5), nil)
	})
}

func TestAnEvenNumberBecomesOdd(t *testing.T) {
	t.Run("4 are too many", func(t *testing.T) {
		inPiloted(t, 4, 0, actors.Autopilot{}, func(p *piloted) {
			p.come(ids(1, 2, 3), ids(4))
			p.says(actors.AsDescribed)
		})
	})
	t.Run("4 are too few", func(t *testing.T) {
		inPiloted(t, 4, 1, actors.Autopilot{Voters: 5}, func(p *piloted) { p.come(ids(1, 2, 3, 4, 5), nil) })
	})
	t.Run("nobody can be added to 2", func(t *testing.T) {
		inPiloted(t, 2, 0, actors.Autopilot{}, func(p *piloted) {
			p.says("2 voters, and 3 are wanted")
			time.Sleep(time.Minute) // fake
			p.come(ids(1, 2), nil)
		})
	})
}

func TestMistakesOfAnAutopilotAreSaidAllAtOnce(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		open := func(a actors.Autopilot) error {
			_, err := w.hosts[0].host.Open(w.ctx, actors.GroupConfig{Name: "another", Machine: w.hosts[0].machine, Autopilot: &a})
			return err
		}
		err := open(actors.Autopilot{
			Voters: 4, Hosts: ids(1, 1, 0), Zones: map[raftcore.NodeID]string{7: "a"}, DeadAfter: 299 * time.Millisecond, StableFor: -1,
		})
		for _, want := range []string{
			"Voters is 4: an even number survives no more failures than 3", "Hosts has 3 hosts, and 4 are to vote",
			"Hosts names host 1 twice", "Hosts names host 0", "Zones names host 7, which is none of Hosts",
			"DeadAfter is 299ms, less than three election timeouts (300ms)", "StableFor is -1ns",
		} {
			if err == nil || !strings.Contains(err.Error(), "Autopilot."+want) {
				t.Errorf("nobody says %q, but: %v", want, err)
			}
		}
		if err := open(actors.Autopilot{Voters: -1}); err == nil || !strings.Contains(err.Error(), "Autopilot.Voters is -1, negative") {
			t.Errorf("%v", err)
		}
	})
}

// It is there for less than StableFor at a time: it does not vote, though somebody is
// missing, before it stays.
func TestM15_ALearnerThatComesAndGoesDoesNotVote(t *testing.T) {
	inPiloted(t, 3, 1, actors.Autopilot{}, func(p *piloted) {
		p.come(ids(1, 2, 3), ids(4))
		flapping, gone := p.hosts[3], p.other()
		gone.stop()
		for range 30 {
			p.net.Isolate(flapping.addr)
			time.Sleep(3 * election) // fake
			p.net.Heal()
			time.Sleep(stableFor - 3*election) // fake
			if s := p.leader().status(); slices.Contains(s.Conf.Voters, 4) {
				t.Fatalf("it votes: %v", &s.Conf)
			}
		}
		p.says("learners [4] have to be well for 1s before they replace them")
		p.net.Heal()
		p.come(without(ids(1, 2, 3, 4), gone.id), nil)
	})
}

// Voters that are away for less than DeadAfter stay.
func TestM15_AVoterThatComesAndGoesStays(t *testing.T) {
	inPiloted(t, 3, 1, actors.Autopilot{}, func(p *piloted) {
		p.come(ids(1, 2, 3), ids(4))
		flapping := p.other()
		before := len(p.seen())
		for range 10 {
			flapping.stop()
			time.Sleep(deadAfter - 5*election) // fake
			p.start(flapping)
			time.Sleep(5 * election) // fake
		}
		if after := p.seen(); len(after) != before {
			t.Errorf("the members were changed: %v", after[before:])
		}
	})
}

// Two of three voters are dead: nobody can do anything, and it is said. When one is back
// the other one is replaced.
func TestM15_WithoutAQuorumNothingIsDone(t *testing.T) {
	inPiloted(t, 3, 2, actors.Autopilot{}, func(p *piloted) {
		p.come(ids(1, 2, 3), ids(4, 5))
		leader := p.leader()
		rest := without(ids(1, 2, 3), leader.id)
		for _, id := range rest {
			p.hosts[id-1].stop()
		}
		before := len(p.seen())
		p.says(fmt.Sprintf("nobody leads, and of the voters [1 2 3] these do not answer: %v: no step is safe", rest))
		time.Sleep(10 * deadAfter) // fake
		if after := p.seen(); len(after) != before {
			t.Errorf("the members were changed: %v", after[before:])
		}
		p.start(p.hosts[rest[0]-1])
		p.come(slices.Sorted(slices.Values(ids(leader.id, rest[0], 4))), ids(5))
	})
}

// Two of five die at once: the living are enough for a step in which both are replaced.
func TestM15_TwoOfFiveAreReplacedInOneStep(t *testing.T) {
	inPiloted(t, 5, 2, actors.Autopilot{Voters: 5}, func(p *piloted) {
		p.come(ids(1, 2, 3, 4, 5), ids(6, 7))
		a := p.other()
		a.stop()
		b := p.other()
		b.stop()
		p.come(without(ids(1, 2, 3, 4, 5, 6, 7), a.id, b.id), nil)
		p.neverFewer(5)
		for _, c := range p.seen() {
			if n := len(c.Conf.Voters); n != 5 {
				t.Errorf("%d were to vote: %v", n, &c.Conf)
			}
		}
	})
}

// Nobody is there to replace the dead: they stay voters, or the next one who dies would
// take the quorum along, though the others could have waited for any of them.
func TestM15_TheDeadStayVotersWhenNobodyReplacesThem(t *testing.T) {
	inPiloted(t, 5, 0, actors.Autopilot{Voters: 5}, func(p *piloted) {
		p.hosts[0].propose("a")
		before := len(p.seen())
		for range 2 {
			gone := p.other()
			gone.stop()
			p.says("and nobody is there to replace them")
			time.Sleep(deadAfter) // fake
		}
		if after := p.seen(); len(after) != before {
			t.Errorf("the members were changed: %v", after[before:])
		}
		p.leader().propose("b")
	})
}

// A leader that is cut off, with a learner that could take somebody's place, does nothing.
func TestM15_ALeaderThatIsCutOffDoesNothing(t *testing.T) {
	inPiloted(t, 5, 1, actors.Autopilot{Voters: 5}, func(p *piloted) {
		p.come(ids(1, 2, 3, 4, 5), ids(6))
		p.hosts[0].propose("a")
		leader := p.leader()
		friend := p.other()
		before := len(p.seen())
		for _, h := range p.hosts {
			if h != leader && h != friend && h.id != 6 {
				for _, cut := range []*hostUp{leader, friend, p.hosts[5]} {
					p.net.Cut(cut.addr, h.addr)
					p.net.Cut(h.addr, cut.addr)
				}
			}
		}
		p.leader(leader)
		time.Sleep(deadAfter + 10*stableFor) // fake
		// The others see two dead voters, and a learner that they do not reach.
		if after := p.seen(); slices.ContainsFunc(after[before:], func(c seenConf) bool { return c.Conf.Votes(6) || len(c.Conf.Voters) != 5 }) {
			t.Errorf("the voters were changed: %v", after[before:])
		}
		p.net.Heal()
		p.come(ids(1, 2, 3, 4, 5), ids(6))
	})
}

// Who has just been elected has heard nothing of the dead, nor of the living: it takes its
// time, however long the one before had missed them.
func TestM15_ANewLeaderWaitsUntilItKnows(t *testing.T) {
	inPiloted(t, 5, 1, actors.Autopilot{Voters: 5}, func(p *piloted) {
		p.come(ids(1, 2, 3, 4, 5), ids(6))
		gone := p.other()
		gone.stop()
		time.Sleep(deadAfter - 5*election) // fake
		if err := p.leader().group.Transfer(p.ctx, p.other().id); err != nil {
			t.Fatal(err)
		}
		if d := p.come(without(ids(1, 2, 3, 4, 5, 6), gone.id), nil); d < deadAfter-election {
			t.Errorf("the new leader has replaced it after %v", d)
		}
	})
}

// The leader dies when a step has begun, whichever it is: the next goes on.
func TestM15_TheNextLeaderGoesOn(t *testing.T) {
	for _, joint := range []bool{true, false} {
		t.Run(fmt.Sprintf("joint=%v", joint), func(t *testing.T) {
			inPiloted(t, 5, 2, actors.Autopilot{Voters: 5}, func(p *piloted) {
				p.come(ids(1, 2, 3, 4, 5), ids(6, 7))
				gone := p.other()
				gone.stop()
				old := p.leader()
				for s := range old.group.Watch(p.ctx) {
					if joint && s.Conf.Joint() || s.Conf.Votes(6) && !s.Conf.Joint() {
						break
					}
				}
				old.stop()
				p.come(without(ids(1, 2, 3, 4, 5, 6, 7), gone.id, old.id), nil)
				p.neverFewer(5)
				p.start(gone)
				p.start(old)
				p.come(without(ids(1, 2, 3, 4, 5, 6, 7), gone.id, old.id), slices.Sorted(slices.Values(ids(gone.id, old.id))))
				p.leader().propose("a")
			})
		})
	}
}

// An operator changes something all the time, also while the autopilot is in the middle of
// it: every change is carried out, or loses to another configuration, if it asks for that.
func TestM15_AnOperatorGoesFirst(t *testing.T) {
	inPiloted(t, 3, 2, actors.Autopilot{}, func(p *piloted) {
		p.come(ids(1, 2, 3), ids(4, 5))
		gone := p.other()
		gone.stop()
		alive := without(ids(1, 2, 3, 4, 5), gone.id)
		p.leader()
		time.Sleep(deadAfter - 20*time.Millisecond) // fake
		asker := p.leader()
		done := 0
		for i := range 400 { // while the autopilot replaces the dead one
			m := actors.Members{Voters: asker.status().Conf.Voters, Learners: ids(4, 5)}
			if i%2 == 0 {
				m.Learners = ids(5)
			}
			if m.Voters = slices.Clone(m.Voters); slices.Contains(m.Voters, 4) {
				m.Learners = without(m.Learners, 4)
			}
			if slices.Contains(m.Voters, 5) {
				m.Learners = without(m.Learners, 5)
			}
			if i%3 == 0 {
				m.Expect = asker.status().ConfIndex
			}
			err := asker.group.ChangeMembers(p.ctx, m)
			if m.Expect != 0 && errors.Is(err, actors.ErrConfigChanged) {
				continue
			}
			if err != nil {
				t.Fatalf("change %d, to %+v: %v", i, m, err)
			}
			done++
		}
		if done < 300 {
			t.Errorf("%d were carried out", done)
		}
		// As long as the operator is at work, nothing else happens; then it does.
		want := actors.Members{Voters: alive[:3], Learners: alive[3:]}
		asker.change(want)
		p.come(want.Voters, want.Learners)
		mine := actors.Members{Voters: alive[:3]}
		for range 5 {
			asker.change(mine)
			index := asker.status().ConfIndex
			time.Sleep(stableFor - 2*election) // fake
			if s := asker.status(); s.ConfIndex != index {
				t.Errorf("the autopilot has made %v of it", &s.Conf)
			}
			asker.change(want)
		}
		asker.change(mine)
		p.come(want.Voters, want.Learners)
	})
}

// An operator who comes while a step of the autopilot is under way is not told to come again:
// his own is carried out when that one is over.
func TestM15_AnOperatorWhoComesInTheMiddleOfAStepWaits(t *testing.T) {
	for name, ask := range map[string]func(p *piloted, h *hostUp, s actors.Status, gone raftcore.NodeID) error{
		"a change": func(p *piloted, h *hostUp, s actors.Status, gone raftcore.NodeID) error {
			return h.group.ChangeMembers(p.ctx, actors.Members{Voters: s.Conf.Voters, Learners: ids(gone)})
		},
		"a transfer": func(p *piloted, h *hostUp, s actors.Status, gone raftcore.NodeID) error {
			return h.group.Transfer(p.ctx, without(s.Conf.Voters, s.ID, 4)[0])
		},
	} {
		t.Run(name, func(t *testing.T) {
			inPiloted(t, 3, 1, actors.Autopilot{}, func(p *piloted) {
				p.come(ids(1, 2, 3), ids(4))
				gone := p.other()
				gone.stop()
				p.net.SetFaults(0, 5*time.Millisecond)
				leader := p.leader()
				for s := range leader.group.Watch(p.ctx) {
					if s.Conf.Joint() {
						if err := ask(p, leader, s, gone.id); err != nil {
							t.Errorf("it ends with %v", err)
						}
						break
					}
				}
				p.come(without(ids(1, 2, 3, 4), gone.id), nil)
			})
		})
	}
}

// An operator's learner stays what it is, and votes for nobody; a voter that is none of the
// hosts that may be members is replaced, and leaves, if it leads after it has handed over.
func TestM15_OnlyTheHostsThatAreNamedVote(t *testing.T) {
	inPiloted(t, 3, 2, actors.Autopilot{Hosts: ids(2, 3, 4)}, func(p *piloted) {
		p.hosts[0].propose("a")
		p.until("it may lead", func() bool { return p.hosts[0].group.Transfer(p.ctx, 1) == nil })
		p.leader().change(actors.Members{Voters: ids(1, 2, 3), Learners: ids(5)})
		var led []raftcore.NodeID
		ended := make(chan bool)
		go func() {
			defer close(ended)
			for s := range p.hosts[1].group.Watch(p.ctx) {
				if s.Leader != raftcore.Nobody && (len(led) == 0 || led[len(led)-1] != s.Leader) {
					led = append(led, s.Leader)
				}
				if slices.Equal(s.Conf.Voters, ids(2, 3, 4)) && !s.Conf.Joint() {
					return
				}
			}
		}()
		p.come(ids(2, 3, 4), ids(5))
		<-ended
		if len(led) != 2 || led[0] != 1 || led[1] != 2 {
			t.Errorf("these have led: %v", led)
		}
		p.until("it is told", func() bool { return p.hosts[0].status().Removed() })
		p.says(actors.AsDescribed)
		p.hosts[3].stop() // nobody is left for its place: not 5, and not 1
		time.Sleep(3 * deadAfter)
		p.come(ids(2, 3, 4), ids(5))
	})
}

// The ones in front vote when they can, and no two of a zone do when others can be had.
func TestM15_VotersAreThoseInFrontAndOfAllZones(t *testing.T) {
	target := actors.Autopilot{Hosts: ids(1, 2, 3, 4, 5), Zones: map[raftcore.NodeID]string{1: "a", 2: "b", 3: "a", 4: "c", 5: "c"}}
	inPiloted(t, 3, 2, target, func(p *piloted) {
		p.come(ids(1, 2, 4), ids(3, 5)) // 3 has founded it, and is in the zone of 1
		p.hosts[3].stop()
		p.come(ids(1, 2, 5), ids(3))
		p.hosts[4].stop()
		p.come(ids(1, 2, 3), nil) // nobody of c is there
		p.says("there are no other voters to be had")
		p.start(p.hosts[4])
		p.come(ids(1, 2, 5), ids(3))
		p.start(p.hosts[3])
		p.come(ids(1, 2, 4), ids(3, 5))
		p.says(actors.AsDescribed)
		p.neverFewer(3)
	})
}

// Hosts are stopped, or cut off, and come back at random, as many of the voters at a time as
// the group can do without: then it must be able to do without them whatever the autopilot
// does. And each of its steps must be one that a majority of both sets was there for.
func TestM15_NoStepCostsTheQuorum(t *testing.T) {
	seeds := 10 / slowdown // -storm, with anything, runs 100
	if *stormSeed != 0 {
		seeds = 100
	}
	var steps atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for seed := range uint64(seeds) {
			t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
				t.Parallel()
				steps.Add(int64(comeAndGo(t, seed)))
			})
		}
	})
	if n := steps.Load(); !t.Failed() && n < int64(10*seeds) {
		t.Errorf("the story needs an autopilot that has something to do: %d steps", n)
	}
}

func comeAndGo(t *testing.T, seed uint64) (steps int) {
	rng := rand.New(rand.NewPCG(seed, 0x70_69_6c_6f_74))
	target := actors.Autopilot{Voters: 3 + 2*rng.IntN(2), DeadAfter: 5 * election, StableFor: 2 * election, KeepDead: rng.IntN(2) == 0}
	if rng.IntN(2) == 0 {
		target.Zones = map[raftcore.NodeID]string{1: "a", 2: "a", 3: "b", 4: "b", 5: "c"}
	}
	if rng.IntN(2) == 0 {
		target.Hosts = ids(6, 1, 5, 2, 4, 3)
	}
	inPiloted(t, 3, 3, target, func(p *piloted) {
		p.leader().propose("begin")
		downSince := map[raftcore.NodeID]time.Time{} // and those who have come back, when they were gone
		upSince := map[raftcore.NodeID]time.Time{}
		checked := 0
		check := func() {
			t.Helper()
			confs := p.seen()
			for i := max(checked, 1); i < len(confs); i++ {
				p.allowed(&confs[i-1].Conf, &confs[i], target.Voters, downSince, upSince)
			}
			checked = len(confs)
		}
		commands := 1
		back := func(h *hostUp) {
			upSince[h.id] = time.Now()
			if h.host == nil {
				p.start(h)
			}
			p.net.Heal()
			p.away = slices.DeleteFunc(p.away, func(o *hostUp) bool { return o == h })
			for _, o := range p.away {
				p.net.Isolate(o.addr)
			}
		}
		for range 40 {
			time.Sleep(time.Duration(rng.Int64N(int64(8 * election)))) // fake
			check()
			h := p.hosts[rng.IntN(len(p.hosts))]
			switch {
			case p.down(h):
				back(h)
			case !p.spares(h):
			case rng.IntN(3) == 0:
				downSince[h.id] = time.Now()
				delete(upSince, h.id)
				h.stop()
			default:
				downSince[h.id] = time.Now()
				delete(upSince, h.id)
				p.away = append(p.away, h)
				p.net.Isolate(h.addr)
			}
			if rng.IntN(4) > 0 {
				continue
			}
			ctx, cancel := context.WithTimeout(p.ctx, 20*election)
			up := p.leader(p.away...)
			if _, err := up.group.Propose(ctx, fmt.Append(nil, "c", commands)); err != nil && !errors.Is(err, actors.ErrUnknown) {
				t.Fatalf("host %d, %v: %v", up.id, up.status(), err)
			}
			commands++
			cancel()
		}
		for _, h := range p.hosts {
			if p.down(h) {
				back(h)
			}
		}
		p.until("the group is as described", func() bool {
			time.Sleep(election / 2) // fake
			for _, h := range p.hosts {
				if s := h.status(); s.Role == raftcore.Leader && s.Autopilot.Now == actors.AsDescribed && len(s.Conf.Members()) == len(p.hosts) {
					return len(s.Conf.Voters) == target.Voters
				}
			}
			return false
		})
		check()
		p.leader().propose("end")
		steps = len(p.seen())
	})
	return steps
}

// down reports whether a host is not there for the others.
func (p *piloted) down(h *hostUp) bool { return h.host == nil || slices.Contains(p.away, h) }

// spares reports whether the group can do without a host, and those that are down, in every
// configuration that may be in force.
func (p *piloted) spares(h *hostUp) bool {
	var newest raftcore.ConfigAt
	confs := []raftcore.ConfState{}
	for _, o := range p.hosts {
		if p.down(o) {
			continue
		}
		s := o.status()
		if s.ConfIndex >= newest.Index {
			newest = raftcore.ConfigAt{Index: s.ConfIndex, Conf: s.Conf}
		}
		if s.Role == raftcore.Leader {
			confs = append(confs, s.Conf)
		}
	}
	for _, conf := range append(confs, newest.Conf) {
		for _, voters := range [][]raftcore.NodeID{conf.Voters, conf.Outgoing} {
			alive := 0
			for _, id := range voters {
				if o := p.hosts[id-1]; o != h && !p.down(o) && o.status().Joined {
					alive++
				}
			}
			if len(voters) > 0 && alive <= len(voters)/2 {
				return false
			}
		}
	}
	return true
}

// allowed checks a step from one configuration to the next: of the voters before and after
// a majority was up, or had been until just before; and there were not fewer, unless they
// were too many.
func (p *piloted) allowed(before *raftcore.ConfState, after *seenConf, wanted int, down, up map[raftcore.NodeID]time.Time) {
	p.t.Helper()
	for _, voters := range [][]raftcore.NodeID{before.Voters, after.Conf.Voters, after.Conf.Outgoing} {
		there := 0
		for _, id := range voters {
			since, back := down[id], up[id]
			if since.IsZero() || !back.IsZero() && !back.After(after.at) || since.Add(2*election).After(after.at) {
				there++
			}
		}
		if len(voters) > 0 && there <= len(voters)/2 {
			p.t.Errorf("the members were made %v, and only %d of %v were up", &after.Conf, there, voters)
		}
	}
	if b, a := len(before.Voters), len(after.Conf.Voters); a < min(b, wanted) {
		p.t.Errorf("the members were made %v, before they were %v", &after.Conf, before)
	}
}
