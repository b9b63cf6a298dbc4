package actors

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// effectsDone has a table that carries out orders, and remembers what the machine was told.
type effectsDone struct {
	*effects
	index raftcore.Index
	told  []string
}

func newEffectsDone() *effectsDone { return &effectsDone{effects: newEffects()} }

func (t *effectsDone) do(effects ...Effect) raftcore.Index {
	t.index++
	t.add(t.index, effects)
	return t.index
}

func (t *effectsDone) order(o effectOrder) {
	t.index++
	t.apply(&raftcore.Entry{EntryID: raftcore.EntryID{Index: t.index}, Data: o.encode()}, func(e Entry) {
		t.told = append(t.told, fmt.Sprintf("%s%s%s", e.Data, e.Timer, e.Down))
	})
}

func (t *effectsDone) want(test *testing.T, told ...string) {
	test.Helper()
	if !reflect.DeepEqual(t.told, told) {
		test.Errorf("the machine was told %q, not %q", t.told, told)
	}
	t.told = nil
}

// TestA6_WhatHasHappenedIsToldOnce: an order that comes again, or late, tells nothing.
func TestA6_WhatHasHappenedIsToldOnce(t *testing.T) {
	e := newEffectsDone()
	at := time.UnixMilli(1000)
	who := "worker"
	first := e.do(SetTimer{"alarm", at}, Append{[]byte("command")}, Monitor{who})
	again := e.do(SetTimer{"alarm", at})
	e.order(effectOrder{kind: effectRings, set: first, name: "alarm"})
	e.want(t)
	e.order(effectOrder{kind: effectRings, set: again, name: "alarm"})
	e.order(effectOrder{kind: effectRings, set: again, name: "alarm"})
	e.want(t, "alarm")
	appends := effectOrder{kind: effectAppends, id: EffectID{first, 1}}
	e.order(appends)
	e.order(appends)
	e.want(t, "command")
	e.order(effectOrder{kind: effectDown, set: first, name: who})
	e.order(effectOrder{kind: effectDown, set: first, name: who})
	e.want(t, "worker")
	later := e.do(Monitor{who})
	e.order(effectOrder{kind: effectDown, set: first, name: who})
	e.want(t)
	e.do(Demonitor{who})
	e.order(effectOrder{kind: effectDown, set: later, name: who})
	e.want(t)
}

// TestA6_WhatWasSentIsNotKept, and what was not is.
func TestA6_WhatWasSentIsNotKept(t *testing.T) {
	e := newEffectsDone()
	send := Send{"a", []byte("text")}
	index := e.do(send, Append{[]byte("x")}, send, send)
	e.do(send)
	e.order(effectOrder{kind: effectSent, id: EffectID{index, 2}})
	left := e.sendsAfter(EffectID{})
	if len(left) != 2 || left[0].id != (EffectID{index, 3}) {
		t.Errorf("left are %v", left)
	}
	before := e.size()
	e.order(effectOrder{kind: effectSent, id: EffectID{index, 2}})
	if e.size() != before || len(e.appendsNow(9)) != 1 {
		t.Errorf("%d bytes are left, and %d appends", e.size(), len(e.appendsNow(9)))
	}
	e.order(effectOrder{kind: effectSent, id: EffectID{e.index, 0}})
	e.order(effectOrder{kind: effectAppends, id: EffectID{index, 1}})
	if e.size() != 0 {
		t.Errorf("%d bytes are left of nothing", e.size())
	}
}

// TestTimersGoOffInTheOrderOfTheirTimes, whenever they are set, set again or stopped.
func TestTimersGoOffInTheOrderOfTheirTimes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	e := newEffectsDone()
	want := map[string]int64{}
	e.leads(true)
	for now := int64(0); now < 2000; now++ {
		name := fmt.Sprint(rng.IntN(50))
		switch rng.IntN(3) {
		case 0:
			want[name] = now + rng.Int64N(100)
			e.do(SetTimer{name, time.UnixMilli(want[name])})
		case 1:
			delete(want, name)
			e.do(StopTimer{name})
		}
		if rng.IntN(100) == 0 {
			e.leads(true) // anew
		}
		due, next := e.due(now)
		for _, r := range due {
			if at, is := want[r.name]; !is || at > now {
				t.Fatalf("at %d timer %s has gone off, it is set to %d", now, r.name, at)
			}
			delete(want, r.name)
			e.order(effectOrder{kind: effectRings, set: r.set, name: r.name})
		}
		earliest := int64(0)
		for name, at := range want {
			if at <= now {
				t.Fatalf("at %d timer %s, set to %d, has not gone off", now, name, at)
			}
			if earliest == 0 || at < earliest {
				earliest = at
			}
		}
		if next != earliest {
			t.Fatalf("at %d the next timer is for %d, and is said to be for %d", now, earliest, next)
		}
	}
	if len(e.rings) > 200 {
		t.Errorf("of %d timers %d are kept in order", len(e.timers), len(e.rings))
	}
}

// TestS5_TheEffectsAreInASnapshot, byte for byte the same on every member.
func TestS5_TheEffectsAreInASnapshot(t *testing.T) {
	e := newEffectsDone()
	for i := range 20 {
		who := fmt.Sprint("worker", i)
		e.do(Send{who, []byte("text")}, Append{[]byte("command")}, SetTimer{fmt.Sprint("t", i), time.UnixMilli(-5)}, Monitor{who})
	}
	b := e.encode()
	read, err := decodeEffects(b)
	if err != nil {
		t.Fatal(err)
	}
	if again := read.encode(); !bytes.Equal(again, b) || read.size() != e.size() {
		t.Errorf("it was read as something else: %d bytes are %d", len(b), len(again))
	}
}

// TestA3_AnOrderForEffectsThatIsNotUnderstoodIsNotSkipped: others may understand it.
func TestA3_AnOrderForEffectsThatIsNotUnderstoodIsNotSkipped(t *testing.T) {
	for _, data := range []string{"", "\x10", "\x10\x01", "\x10\x01\x01more", "\x11\x01\x01more", "\x13", "\x7f"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was skipped", data)
				}
			}()
			newEffects().apply(&raftcore.Entry{Data: []byte(data)}, func(Entry) {})
		}()
	}
}

func FuzzEffects(f *testing.F) {
	e := newEffectsDone()
	e.do(Send{"a", []byte("text")}, Append{[]byte("c")}, SetTimer{"t", time.UnixMilli(5)}, Monitor{"b"})
	f.Add(e.encode())
	for _, o := range []effectOrder{{kind: effectSent, id: EffectID{3, 1}}, {kind: effectAppends, id: EffectID{3, 1}}, {kind: effectRings, set: 4, name: "t"}, {kind: effectDown, set: 4, name: "b"}} {
		f.Add(o.encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if table, err := decodeEffects(b); err == nil {
			again, err := decodeEffects(table.encode())
			if err != nil || !bytes.Equal(again.encode(), table.encode()) {
				t.Errorf("it is read back as something else: %v", err)
			}
		}
		if o, err := decodeEffectOrder(b); err == nil {
			if again, err := decodeEffectOrder(o.encode()); err != nil || !reflect.DeepEqual(again, o) {
				t.Errorf("%+v is read back as %+v, %v", o, again, err)
			}
		}
	})
}
