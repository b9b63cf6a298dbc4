package actors

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// two are the two sides of a pair, and what is under way between them, in order.
type two struct {
	sides [2]*pair
	wire  [2][]*Beat      // to each side
	woken [2][]GroupKey   // by the last look
	names map[string]bool // what has happened
}

func newTwo() *two {
	fresh := func() *pair { return &pair{groups: map[GroupKey]*between{}, first: true} }
	return &two{sides: [2]*pair{fresh(), fresh()}, names: map[string]bool{}}
}

// look has a side look at the clock. lost: nothing of what it says arrives.
func (w *two) look(side int, lost bool) {
	p := w.sides[side]
	w.woken[side] = slices.Sorted(slices.Values(p.doubtful()))
	beats := p.beats()
	for _, b := range beats {
		if b.First {
			w.names["first"] = true
		}
		if b.Resend {
			w.names["resend"] = true
		}
	}
	if len(beats) > 1 {
		w.names["portions"] = true
	}
	if !lost {
		w.wire[1-side] = append(w.wire[1-side], beats...)
	}
}

// arrive delivers what is under way to a side.
func (w *two) arrive(side int) {
	for _, b := range w.wire[side] {
		w.sides[side].heard(b)
	}
	w.wire[side] = nil
}

// round has both sides look, and hear of one another.
func (w *two) round() {
	for side := range w.sides {
		w.look(side, false)
	}
	for side := range w.sides {
		w.arrive(side)
	}
}

func TestWhatSleepsOnBothSidesIsLeftAlone(t *testing.T) {
	w := newTwo()
	const groups = 3*maxChanges + 1
	for g := range GroupKey(groups) {
		w.sides[0].set(g, 5)
		w.sides[1].set(g, 5)
	}
	for range 10 * patience {
		if w.round(); len(w.woken[0])+len(w.woken[1]) > 0 {
			t.Fatalf("%d and %d groups are woken", len(w.woken[0]), len(w.woken[1]))
		}
	}
	if !w.names["portions"] {
		t.Error("so many changes are in one beat")
	}
	for side, p := range w.sides {
		if p.told.count != groups || p.told != p.said || len(p.groups) != groups {
			t.Errorf("side %d was told of %v, and told of %v", side, p.said, p.told)
		}
	}
	for g := range GroupKey(groups) {
		w.sides[0].set(g, 0)
		w.sides[1].set(g, 0)
	}
	w.round()
	w.round()
	for side, p := range w.sides {
		if len(p.groups) != 0 || p.told != (digest{}) || p.said != (digest{}) || len(p.beats()) != 0 {
			t.Errorf("side %d keeps %d groups, %v, %v", side, len(p.groups), p.told, p.said)
		}
	}
}

// L8: the other side lives, and says so, but not of these.
func TestL8_WhoSleepsAloneIsWoken(t *testing.T) {
	for name, other := range map[string]raftcore.Term{"not at all": 0, "in an earlier term": 4, "in a later term": 6} {
		w := newTwo()
		w.sides[0].set(1, 5)
		w.sides[1].set(1, 5)
		w.sides[0].set(2, 5)
		w.sides[1].set(2, other)
		at := 0
		for look := 1; look <= 2*patience && at == 0; look++ {
			if w.round(); len(w.woken[0]) > 0 {
				at = look
			}
		}
		if at < patience || at > patience+2 || !slices.Equal(w.woken[0], []GroupKey{2}) {
			t.Errorf("%s: at look %d, %v are woken", name, at, w.woken[0])
		}
	}
}

// It said that it slept, and takes it back: its first message has the time of a look to
// arrive.
func TestL8_WhoIsLeftAloneIsWokenSoon(t *testing.T) {
	w := newTwo()
	for side := range w.sides {
		w.sides[side].set(1, 5)
	}
	w.round()
	w.round()
	w.sides[1].set(1, 0)
	looks := 0
	for len(w.woken[0]) == 0 && looks < 10 {
		w.round()
		looks++
	}
	if looks < 2 || looks > 3 {
		t.Errorf("after %d looks", looks)
	}
}

// L7: nothing is heard any more.
func TestL7_WhoseOtherSideIsNotHeardIsWoken(t *testing.T) {
	w := newTwo()
	for g := range GroupKey(3) {
		w.sides[0].set(g, 5)
		w.sides[1].set(g, 5)
	}
	w.round()
	w.round()
	for look := 1; look <= patience+1; look++ {
		w.look(0, false)
		if woken := len(w.woken[0]) == 3; woken != (look == patience+1) {
			t.Errorf("look %d: %v are woken", look, w.woken[0])
		}
	}
	for range patience {
		if w.look(0, false); len(w.woken[0]) > 0 {
			t.Error("they are woken again at once")
		}
	}
}

// One look, however late it comes, is one: what was sent meanwhile may wait to be heard.
func TestL7_AStallIsOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Host{cfg: HostConfig{ID: 1, Runtime: &dispatcher{}}.withDefaults(), epoch: time.Now()}
		h.peers.Store(&peers{})
		h.clock.put(ref{box: newMailbox(0)})
		h.clock.ref().box.dispatcher = neverRuns{}
		l := &liveness{host: h, pairs: map[raftcore.NodeID]*pair{}, nodes: map[GroupKey]asleep{}}
		node := ref{box: newMailbox(0)}
		node.box.dispatcher = neverRuns{}
		g := &Group{host: h, key: 7}
		g.node.Store(&node)
		l.receive(asleep{group: g, node: node, term: 5, with: []raftcore.NodeID{2}})
		l.lookAgain()
		beat := &Beat{First: true, Changes: []BeatChange{{7, 5}}, Count: 1, Sum: mixed(7, 5)}
		for range 10 {
			time.Sleep(time.Hour)
			if l.wake == 0 {
				t.Fatal("it does not look any more")
			}
			l.receive(woken{l.wake})
			l.receive(&heardBeat{2, beat})
			l.lookAgain()
		}
		if n := node.box.UserMessageCount(); n != 0 {
			t.Errorf("it is woken %d times", n)
		}
		// What was asked of an earlier clock is not a look.
		for range 10 {
			l.receive(woken{l.wake - 1})
		}
		if l.receive(woken{}); l.wake != 0 {
			t.Error("it does not ask a new clock")
		}
		if n := node.box.UserMessageCount(); n != 0 {
			t.Errorf("it is woken %d times", n)
		}
	})
}

// L8: what a node says after its member has been told to stop counts for nothing.
func TestL8_AMemberThatIsLeavingDoesNotSleep(t *testing.T) {
	l := &liveness{pairs: map[raftcore.NodeID]*pair{}, nodes: map[GroupKey]asleep{}}
	g, node, next := &Group{key: 7}, ref{box: newMailbox(0)}, ref{box: newMailbox(0)}
	m := asleep{group: g, node: node, term: 5, with: []raftcore.NodeID{2, 3}}
	g.node.Store(&node)
	l.receive(m)
	if len(l.nodes) != 1 || l.pair(2).groups[7].here != 5 || l.pair(3).groups[7].here != 5 {
		t.Fatalf("it is not noted: %v", l.nodes)
	}
	l.receive(awake{7})
	g.node.Store(nil)
	l.receive(m)
	g.node.Store(&next)
	l.receive(m)
	if len(l.nodes) != 0 || l.pair(2).groups[7].here != 0 || l.pair(3).groups[7].here != 0 {
		t.Errorf("it sleeps: %v", l.nodes)
	}
}

// Sets that change, beats that are lost, sides that begin anew: in the end each knows
// what the other says, nobody who sleeps alone is forgotten, and nobody else is woken.
func TestPairsAgreeWhateverIsLost(t *testing.T) {
	all := map[string]bool{}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newTwo()
		for range rng.IntN(400) {
			side := rng.IntN(2)
			switch p := w.sides[side]; rng.IntN(8) {
			case 0, 1, 2:
				p.set(GroupKey(rng.IntN(12)), raftcore.Term(rng.IntN(3)))
			case 3, 4:
				w.look(side, rng.IntN(4) == 0)
			case 5, 6:
				w.arrive(side)
			case 7:
				if rng.IntN(10) > 0 {
					continue
				}
				// Another life: its nodes say anew what they are.
				here := maps.Clone(p.groups)
				w.sides[side] = newTwo().sides[0]
				for g, b := range here {
					if b.here != 0 {
						w.sides[side].set(g, b.here)
					}
				}
			}
		}
		for range 5 {
			w.round()
		}
		for side, p := range w.sides {
			other := w.sides[1-side]
			for g := range GroupKey(12) {
				here, there := raftcore.Term(0), raftcore.Term(0)
				if b := p.groups[g]; b != nil {
					here, there = b.here, b.there
				}
				if b := other.groups[g]; b == nil && there != 0 || b != nil && there != b.here {
					t.Fatalf("seed %d, group %d: side %d thinks that the other sleeps in %d: %+v", seed, g, side, there, b)
				}
				if (here != 0) && there != here {
					all["alone"] = true
				}
			}
		}
		for range patience + 1 {
			woken := [2]map[GroupKey]bool{{}, {}}
			for range patience + 2 {
				w.round()
				for side := range w.sides {
					for _, g := range w.woken[side] {
						woken[side][g] = true
					}
				}
			}
			for side, p := range w.sides {
				for g, b := range p.groups {
					gone := p.said.count == 0 && w.sides[1-side].told.count == 0
					if alone := b.here != 0 && b.here != b.there; woken[side][g] != alone && !(gone && alone) {
						t.Fatalf("seed %d, group %d, side %d: %+v, woken: %v", seed, g, side, b, woken[side][g])
					}
				}
			}
		}
		maps.Copy(all, w.names)
	}
	for _, want := range []string{"first", "resend", "alone"} {
		if !all[want] {
			t.Errorf("it never happened that %s", want)
		}
	}
}

// The sums are part of the protocol: see remote/PROTOCOL.md.
func TestP10_SumsArePinned(t *testing.T) {
	var d digest
	d.replace(0x1122334455667788, 0, 7)
	d.replace(5, 0, 1)
	if want := (digest{2, 0x9190a438d412f8e3}); d != want {
		t.Errorf("%d, %#x", d.count, d.sum)
	}
	d.replace(5, 1, 2)
	d.replace(5, 2, 0)
	if want := (digest{1, mixed(0x1122334455667788, 7)}); d != want {
		t.Errorf("%d, %#x", d.count, d.sum)
	}
}

// F5: a host makes up groups without end, and says that they are silent. What is kept of that
// has an end, it is no sign of life, and when the host makes sense again it is believed.
func TestF5_SilentGroupsThatAreMadeUpAreBounded(t *testing.T) {
	p := newTwo().sides[0]
	p.set(1, 7)
	var told digest
	for group := GroupKey(1); group <= maxSilent+2*maxChanges; {
		b := &Beat{}
		for range maxChanges {
			b.Changes = append(b.Changes, BeatChange{group, 7})
			told.replace(group, 0, 7)
			group++
		}
		b.Count, b.Sum = told.count, told.sum
		p.missed = 2
		p.heard(b)
		if len(p.groups) > maxSilent {
			t.Fatalf("%d groups are kept", len(p.groups))
		}
	}
	if !p.resend || p.missed == 0 {
		t.Error("what does not add up is a sign of life")
	}
	told = digest{}
	told.replace(1, 0, 7)
	p.heard(&Beat{First: true, Changes: []BeatChange{{1, 7}}, Count: told.count, Sum: told.sum})
	if p.resend || p.missed > 0 || len(p.groups) != 1 {
		t.Errorf("it goes on: missed %d, %d groups", p.missed, len(p.groups))
	}
}
