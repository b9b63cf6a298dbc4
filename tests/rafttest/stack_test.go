package rafttest

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
)

// parrot notes its name when it is sent anything.
type parrot struct {
	name string
	said *[]string
}

func (p *parrot) Receive(ctx actor.Context) {
	if _, is := ctx.Message().(string); is {
		*p.said = append(*p.said, p.name)
	}
}

// parrots has ten actors take their turns, and returns in which order they did.
func parrots(t *testing.T, seed uint64, meanwhile func(*Queue, *Process)) (said []string, hash uint64) {
	synctest.Test(t, func(*testing.T) {
		q := NewQueue(seed)
		p := q.Process("p")
		system := quietSystem()
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "k"} {
			props := actor.PropsFromProducer(func() actor.Actor { return &parrot{name, &said} }, actor.WithDispatcher(p.Dispatcher(name+"-1")))
			pid, err := system.Root.SpawnNamed(props, name)
			if err != nil {
				t.Fatal(err)
			}
			p.AfterFunc(time.Second, func() { system.Root.Send(pid, "speak") })
		}
		meanwhile(q, p)
		q.Run(time.Minute, nil)
		if q.Now() != time.Minute {
			t.Errorf("after a minute it is %v", q.Now())
		}
		hash = q.trace.hash
	})
	return said, hash
}

func TestAQueueDrawsWhoIsNext(t *testing.T) {
	nothing := func(*Queue, *Process) {}
	one, hash := parrots(t, 1, nothing)
	again, hashAgain := parrots(t, 1, nothing)
	other, _ := parrots(t, 2, nothing)
	if len(one) != 10 || !slices.Equal(one, again) || hash != hashAgain {
		t.Errorf("the same seed gives %v, and %v", one, again)
	}
	if slices.IsSorted(one) || slices.Equal(one, other) {
		t.Errorf("one seed gives %v, another one %v", one, other)
	}
}

func TestAProcessThatIsKilledDoesNothing(t *testing.T) {
	killed, _ := parrots(t, 1, func(q *Queue, p *Process) { q.At(999*time.Millisecond, "kill", p.Kill) })
	if len(killed) > 0 {
		t.Errorf("they spoke: %v", killed)
	}
	late, _ := parrots(t, 1, func(q *Queue, p *Process) {
		q.At(time.Second+35*time.Microsecond, "kill", p.Kill)
	})
	if len(late) == 0 || len(late) == 10 {
		t.Errorf("in the middle of it these had spoken: %v", late)
	}
}

func TestAnActorThatIsHeldWaits(t *testing.T) {
	said, _ := parrots(t, 1, func(q *Queue, p *Process) {
		p.Hold("c", 2*time.Second)
	})
	if len(said) != 10 || said[9] != "c" {
		t.Errorf("one was held, and they speak in this order: %v", said)
	}
	parrots(t, 1, func(q *Queue, p *Process) {
		p.Hold("", time.Hour)
		q.At(2*time.Second, "release", p.Release)
		q.At(3*time.Second, "look", func() {
			if q.ran < 10+10+2 {
				t.Errorf("a second after they were released %d things had happened", q.ran)
			}
		})
	})
}

func TestATimerIsStoppedAndSetAgain(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		q := NewQueue(1)
		p := q.Process("p")
		var rang []time.Duration
		timer := p.AfterFunc(time.Second, func() { rang = append(rang, q.Now()) })
		if !timer.Reset(2*time.Second) || !timer.Stop() || timer.Stop() || timer.Reset(3*time.Second) {
			t.Error("it does not know whether it is set")
		}
		q.Run(time.Minute, nil)
		if len(rang) != 1 || rang[0] < 3*time.Second || rang[0] > 3*time.Second+time.Millisecond {
			t.Errorf("it rang at %v", rang)
		}
	})
}

// The checker is what all runs of the stack rest on: it is shown every kind of lie.
func TestTheCheckerOfHistoriesNoticesLies(t *testing.T) {
	log := parseLedger([]byte("3 set k a\n5 add k x\n6 set k b\n9 add k y\n"))
	truth := []StackOp{
		{Kind: "set", Key: "k", Value: "a", Call: 1, Return: 4, Outcome: Happened, Index: 3},
		{Kind: "get", Key: "k", Answer: "a", Call: 5, Return: 7, Outcome: Happened, Index: 5},
		{Kind: "add", Key: "k", Value: "x", Answer: "1", Call: 2, Return: 6, Outcome: Happened, Index: 8},
		{Kind: "set", Key: "k", Value: "b", Call: 8, Outcome: Unknown},
		{Kind: "set", Key: "k", Value: "c", Call: 9, Return: 10, Outcome: Rejected},
		{Kind: "set", Key: "k", Value: "d", Call: 9, Outcome: Unknown},
		{Kind: "add", Key: "k", Value: "y", Answer: "2", Call: 10, Return: 12, Outcome: Happened, Index: 9},
		{Kind: "sum", Key: "k", Answer: "2", Call: 13, Return: 14, Outcome: Happened, Index: 9},
		{Kind: "get", Key: "k", Answer: "", Call: 13, Return: 14, Outcome: Happened, Index: 2, consistency: actors.Local},
	}
	if err := checkHistory(truth, log); err != nil {
		t.Fatalf("the truth: %v", err)
	}
	lies := []struct {
		says string
		tell func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry)
	}{
		{"was never carried out", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) { return h, log[1:] }},
		{"exactly once", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) {
			return h, append(log, ledgerEntry{12, "add k x"})
		}},
		{"was rejected, and carried out", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) {
			return h, append(log, ledgerEntry{12, "set k c"})
		}},
		{"nobody asked for it", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) {
			return h, append(log, ledgerEntry{12, "set k e"})
		}},
		{"the ledger has entry", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) {
			return h, append(log, ledgerEntry{9, "set k d"})
		}},
		{"it was said to be", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) { h[0].Index = 4; return h, log }},
		{"the answer is", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) { h[1].Answer = "b"; return h, log }},
		{"the answer is", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) { h[6].Answer = "3"; return h, log }},
		{"the answer is", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) { h[8].Answer = "a"; return h, log }},
		// A read that has missed what was acknowledged before.
		{"linearizability", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) {
			h[7].Index, h[7].Answer = 8, "1"
			return h, log
		}},
		// Two reads, of which the later one sees less.
		{"linearizability", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) {
			late := StackOp{Kind: "get", Key: "k", Answer: "a", Call: 15, Return: 16, Outcome: Happened, Index: 5}
			return append(h, StackOp{Kind: "get", Key: "k", Answer: "b", Call: 9, Return: 11, Outcome: Happened, Index: 6}, late), log
		}},
		// A command that stands before one that was answered before it was asked.
		{"linearizability", func(h []StackOp, log []ledgerEntry) ([]StackOp, []ledgerEntry) { h[3].Call = 13; return h, log }},
	}
	for i, lie := range lies {
		h, l := lie.tell(slices.Clone(truth), slices.Clone(log))
		if err := checkHistory(h, l); err == nil || !strings.Contains(err.Error(), lie.says) {
			t.Errorf("lie %d: %v; it should be that it %s", i, err, lie.says)
		}
	}
}
