package actors_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// agent is a register whose commands have effects: "send NAME TEXT", "append COMMAND",
// "timer NAME MILLISECONDS", "stop NAME", "watch NAME" and "unwatch NAME".
type agent struct{ register }

func (a *agent) Apply(e actors.Entry) []byte {
	command := string(e.Data)
	switch {
	case e.Timer != "":
		command = "rang " + e.Timer
	case e.Down != "":
		command = "down " + e.Down
	}
	verb, rest, _ := strings.Cut(command, " ")
	name, more, _ := strings.Cut(rest, " ")
	switch verb {
	case "send":
		e.Do(actors.Send{To: name, Data: []byte(more)})
	case "append":
		e.Do(actors.Append{Data: []byte(rest)})
	case "timer":
		ms, _ := strconv.Atoi(more)
		e.Do(actors.SetTimer{Name: name, At: e.Time.Add(time.Duration(ms) * time.Millisecond)})
	case "stop":
		e.Do(actors.StopTimer{Name: name})
	case "watch":
		e.Do(actors.Monitor{Actor: name})
	case "unwatch":
		e.Do(actors.Demonitor{Actor: name})
	case "all": // several at once
		e.Do(actors.Send{To: name, Data: []byte(more)}, actors.Append{Data: []byte("appended " + more)},
			actors.SetTimer{Name: more, At: e.Time.Add(50 * time.Millisecond)})
	}
	e.Data = []byte(command)
	return a.register.Apply(e)
}

// inbox collects what is sent to an actor of the same name on every host.
type inbox struct {
	mu   sync.Mutex
	got  map[string][]string // texts by host
	ids  map[actors.EffectID]string
	mess []string // what was wrong
}

// agents has all hosts start anew, with an agent that takes a snapshot every so many
// entries, and an actor "inbox".
func (w *world) agents(every int) *inbox {
	in := &inbox{got: map[string][]string{}, ids: map[actors.EffectID]string{}}
	w.machine = func(h *hostUp) actors.StateMachine { return &agent{register{world: w, on: h.id}} }
	w.compacting(every)
	return in.everywhere(w)
}

func (in *inbox) everywhere(w *world) *inbox {
	for _, h := range w.hosts {
		in.on(h)
	}
	return in
}

func (in *inbox) on(h *hostUp) {
	addr := h.addr
	_, err := h.host.System().Root.SpawnNamed(actor.PropsFromFunc(func(ctx actor.Context) {
		m, is := ctx.Message().(*actors.Sent)
		if !is {
			return
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		text := string(m.Data)
		if before, known := in.ids[m.ID]; known && before != text || m.Group != "group" {
			in.mess = append(in.mess, fmt.Sprintf("effect %v of group %s is %q, and was %q", m.ID, m.Group, text, before))
		}
		in.ids[m.ID] = text
		clear(m.Data) // it is ours
		in.got[addr] = append(in.got[addr], text)
	}), "inbox")
	if err != nil {
		panic(err)
	}
}

func (in *inbox) at(h *hostUp) []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got[h.addr])
}

func (h *hostUp) log() []string { return strings.Split(h.read("all"), "\n") }

func count(log []string, command string) (n int) {
	for _, c := range log {
		if c == command {
			n++
		}
	}
	return n
}

// TestA6_TheLeaderCarriesOutEffects, and nobody else.
func TestA6_TheLeaderCarriesOutEffects(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		in := w.agents(1000)
		l := w.settled()
		other := w.hosts[l.id%3]
		want := []string{}
		for i := range 20 {
			other.propose(fmt.Sprint("send inbox ", i))
			want = append(want, fmt.Sprint(i))
		}
		w.until("all is sent", func() bool { return len(in.at(l)) >= len(want) })
		other.propose("append hello")
		set := time.Now()
		other.propose("timer first 700")
		other.propose("timer never 100")
		other.propose("stop never")
		other.propose("timer moved 100")
		other.propose("timer moved 900")
		w.until("the command was appended", func() bool { return count(l.log(), "hello") == 1 })
		w.until("the timer has gone off", func() bool { return count(l.log(), "rang first") == 1 })
		if after := time.Since(set); after < 700*time.Millisecond || after > time.Second {
			t.Errorf("the timer has gone off after %v", after)
		}
		time.Sleep(5 * time.Second) // fake
		log := l.log()
		if count(log, "rang first") != 1 || count(log, "rang never") != 0 || count(log, "rang moved") != 1 || count(log, "hello") != 1 {
			t.Errorf("the log is %q", log)
		}
		for _, h := range w.hosts {
			got := in.at(h)
			if h == l && !slices.Equal(got, want) || h != l && len(got) > 0 {
				t.Errorf("host %d, and host %d leads: sent were %q", h.id, l.id, got)
			}
		}
	})
}

// TestA6_AMonitoredActorGoes on the leader's host; one that was never there is gone.
func TestA6_AMonitoredActorGoes(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		in := w.agents(1000)
		l := w.settled()
		l.propose("watch inbox")
		l.propose("watch nobody")
		w.until("it is known that nobody is there", func() bool { return count(l.log(), "down nobody") == 1 })
		l.propose("unwatch inbox")
		system := l.host.System()
		_ = system.Root.StopFuture(actor.NewPID(system.Address(), "inbox")).Wait()
		time.Sleep(time.Second) // fake
		if log := l.log(); count(log, "down inbox") != 0 {
			t.Errorf("nobody wanted to know that it is gone: %q", log)
		}
		l.propose("watch inbox")
		w.until("it is gone", func() bool { return count(l.log(), "down inbox") == 1 })
		in.on(l) // another one of that name
		l.propose("watch inbox")
		time.Sleep(time.Second) // fake
		if log := l.log(); count(log, "down inbox") != 1 {
			t.Errorf("it is there again: %q", log)
		}
		_ = system.Root.StopFuture(actor.NewPID(system.Address(), "inbox")).Wait()
		w.until("it is gone again", func() bool { return count(l.log(), "down inbox") == 2 })
	})
}

// TestA6S5_ANewLeaderGoesOnWithEffects: with timers and monitors that the last one had, from
// a snapshot, too.
func TestA6S5_ANewLeaderGoesOnWithEffects(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.agents(5)
		l := w.settled()
		l.propose("timer late 3000")
		l.propose("timer moved 3000")
		l.propose("watch inbox")
		for i := range 20 {
			l.propose(fmt.Sprint("nothing ", i))
		}
		w.until("there is a snapshot", func() bool { return l.status().First > 10 })
		l.propose("timer moved 4000")
		l.stop()
		next := w.leader(l)
		time.Sleep(10 * time.Second) // fake
		log := next.log()
		if count(log, "rang late") != 1 || count(log, "rang moved") != 1 || count(log, "down inbox") != 0 {
			t.Errorf("the log is %q", log)
		}
		system := next.host.System()
		_ = system.Root.StopFuture(actor.NewPID(system.Address(), "inbox")).Wait()
		w.until("it is gone", func() bool { return count(next.log(), "down inbox") == 1 })
	})
}

// TestA6_WhatWasSentBeforeIsNotSentAgain by a leader that has yet to learn that it was.
func TestA6_WhatWasSentBeforeIsNotSentAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		h := w.hosts[0]
		in := w.agents(100_000)
		w.settled()
		const n = 3000
		var clients sync.WaitGroup
		for i := range n {
			clients.Go(func() { h.propose(fmt.Sprint("send inbox ", i)) })
		}
		clients.Wait()
		w.until("all is sent", func() bool { return len(in.at(h)) == n })
		h.propose("nothing")
		time.Sleep(time.Second) // fake: the log says so
		h.stop()
		h.start()
		in.on(h)
		w.leader()
		h.propose("send inbox last")
		w.until("the last is sent", func() bool { return slices.Contains(in.at(h), "last") })
		if got := len(in.at(h)); got != n+1 {
			t.Errorf("%d were sent again", got-n-1)
		}
	})
}

// TestA6_ATimerThatCannotBeToldIsToldLater: it goes off while the leader takes no commands.
func TestA6_ATimerThatCannotBeToldIsToldLater(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		w.agents(1000)
		l := w.settled()
		other := w.hosts[l.id%3]
		w.net.Isolate(other.addr)
		l.propose("timer alarm 50")
		go l.group.Transfer(w.ctx, other.id)
		time.Sleep(40 * time.Millisecond) // fake
		ctx, cancel := context.WithTimeout(w.ctx, 20*time.Millisecond)
		defer cancel()
		if _, err := l.group.Propose(ctx, []byte("now")); err == nil {
			t.Error("the leader takes commands while it hands over")
		}
		w.until("the timer has gone off", func() bool { return count(l.log(), "rang alarm") == 1 })
		if next := w.leader(); next != l {
			t.Errorf("host %d leads, not %d: nothing was shown", next.id, l.id)
		}
	})
}

// TestA6_InAStormNoEffectIsLost: hosts are cut off, stopped and started, and come back from
// snapshots. What is sent may come twice, with the same ID; what comes to the machine comes
// once.
func TestA6_InAStormNoEffectIsLost(t *testing.T) {
	eachSeed(t, 2, 3, func(w *world, seed uint64) { w.stormOfEffects(seed, w.agents(20)) })
}

func (w *world) stormOfEffects(seed uint64, in *inbox) {
	rng := rand.New(rand.NewPCG(seed, 9))
	w.net.SetFaults(0.05, 3*time.Millisecond)
	end := time.Now().Add(20 * time.Second)
	var mu sync.Mutex
	var acknowledged []string
	var clients sync.WaitGroup
	for c := range 3 {
		clients.Go(func() {
			for n := 0; time.Now().Before(end); n++ {
				text := fmt.Sprint(c, "-", n)
				mu.Lock()
				g := w.hosts[c].group
				mu.Unlock()
				ctx, cancel := context.WithTimeout(w.ctx, 300*time.Millisecond)
				_, err := g.Propose(ctx, []byte("all inbox "+text))
				cancel()
				if err == nil {
					mu.Lock()
					acknowledged = append(acknowledged, text)
					mu.Unlock()
				}
				time.Sleep(30 * time.Millisecond) // fake
			}
		})
	}
	for time.Now().Before(end) {
		h := w.hosts[rng.IntN(3)]
		switch rng.IntN(3) {
		case 0:
			w.net.Isolate(h.addr)
		case 1:
			h.stop()
			time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
			h.startHost(h.config())
			g := h.open("group")
			mu.Lock()
			h.group = g
			mu.Unlock()
			in.on(h)
		}
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		w.net.Heal()
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
	}
	clients.Wait()
	w.net.SetFaults(0, 0)
	w.leader()
	time.Sleep(5 * time.Second) // fake
	log := w.hosts[0].log()
	times := map[string]int{}
	for _, command := range log {
		times[command]++
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	sent, different := map[string]int{}, map[string]int{}
	for _, texts := range in.got {
		for _, text := range texts {
			sent[text]++
		}
	}
	for _, text := range in.ids {
		different[text]++
	}
	doubled := 0
	for command, n := range times {
		text, is := strings.CutPrefix(command, "all inbox ")
		if !is {
			continue
		}
		if n != 1 || times["appended "+text] != 1 || times["rang "+text] != 1 || sent[text] < 1 || different[text] != 1 {
			w.t.Errorf("%s: %d times, appended %d times, rang %d times, sent %d times under %d IDs", text, n, times["appended "+text], times["rang "+text], sent[text], different[text])
		}
		if sent[text] > 1 {
			doubled++
		}
	}
	for _, text := range acknowledged {
		if times["all inbox "+text] != 1 {
			w.t.Errorf("%s was acknowledged and is there %d times", text, times["all inbox "+text])
		}
	}
	if len(in.mess) > 0 || len(acknowledged) < 100 {
		w.t.Errorf("%d were acknowledged; %q", len(acknowledged), in.mess)
	}
	w.t.Logf("%d commands, %d were sent more than once", len(acknowledged), doubled)
}

// TestA6_WhatIsNoEffectIsAMistake: an effect that is pointed to would be lost without a word.
func TestA6_WhatIsNoEffectIsAMistake(t *testing.T) {
	for _, effect := range []actors.Effect{nil, &actors.Send{To: "a"}, actors.Send{}, actors.Monitor{}, actors.Demonitor{}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%T is taken", effect)
				}
			}()
			actors.Entry{Effects: new([]actors.Effect)}.Do(effect)
		}()
	}
}

// TestA6_AnAppendMayBeAsLargeAsACommand, although it is proposed again.
func TestA6_AnAppendMayBeAsLargeAsACommand(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.agents(1000)
		h := w.settled()
		large := strings.Repeat("x", raftcore.Config{}.WithDefaults().MaxCommandBytes-len("append "))
		h.propose("append " + large)
		w.until("it is appended", func() bool { return count(h.log(), large) == 1 })
	})
}
