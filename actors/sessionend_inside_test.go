package actors

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/castaway-go/castaway/raftcore"
)

// ledger notes what it is told, and sends word of it. It keeps what it is given, as on a disk.
type ledger struct {
	picky
	told []string
	kept map[string][]byte
}

func (l *ledger) Apply(e Entry) []byte {
	l.note(e, "command")
	return []byte("done")
}

func (l *ledger) SessionEnded(e Entry) { l.note(e, "end") }

func (l *ledger) note(e Entry, what string) {
	text := fmt.Sprintf("%s of %d at %d", what, e.Session, e.Index)
	l.told = append(l.told, text)
	e.Do(Send{To: "x", Data: []byte(text)})
}

func (l *ledger) Open() (map[string][]byte, error) { return maps.Clone(l.kept), nil }
func (l *ledger) Sync() error                      { return nil }
func (l *ledger) Reset() error                     { return nil }
func (l *ledger) Close() error                     { return nil }

func (l *ledger) Save(keep map[string][]byte) error {
	maps.Copy(l.kept, keep)
	return nil
}

// machineOf is a machine in no actor.
func machineOf(sm StateMachine) *machine {
	m := &machine{host: &Host{}, group: &Group{host: &Host{}}, sessions: newSessions(), effects: newEffects(), recovered: &raftcore.Recovered{}}
	m.use(sm)
	m.disk = m.openDisk(sm)
	return m
}

// TestA1C1_TheEndsOfSessionsAreOneWithTheCommandThatComesThen: their effects have IDs that
// ascend, and when the state of a disk has all of it behind it, its notes bring the same.
func TestA1C1_TheEndsOfSessionsAreOneWithTheCommandThatComesThen(t *testing.T) {
	order := func(index raftcore.Index, time int64, o sessionOrder) *raftcore.Entry {
		e := entryAt(index, raftcore.EntryHost, o.encode())
		e.Time = time
		return e
	}
	entries := []*raftcore.Entry{
		order(1, 0, sessionOrder{kind: sessionOpens, timeout: 10}),
		order(2, 0, sessionOrder{kind: sessionOpens, timeout: 1000}),
		order(3, 0, sessionOrder{kind: sessionOpens, timeout: 11}),
		order(4, 50, sessionOrder{kind: sessionCommand, session: 2, sequence: 1}),
		order(5, 60, sessionOrder{kind: sessionOpens, timeout: 5}),
		order(6, 70, sessionOrder{kind: sessionCommand, session: 2, sequence: 1}), // again: it was answered
		order(7, 80, sessionOrder{kind: sessionCloses, session: 2}),
	}
	want := []string{"end of 1 at 4", "end of 3 at 4", "command of 2 at 4", "end of 5 at 6", "end of 2 at 7"}
	play := func(m *machine) {
		t.Helper()
		w := &work{working: new(atomic.Int64)}
		for _, e := range entries {
			m.apply(w, e)
		}
		m.saveDisk(true)
		var sent []string
		for i, s := range m.effects.sends {
			if i > 0 && !m.effects.sends[i-1].id.Before(s.id) {
				t.Errorf("effect %v comes before %v", m.effects.sends[i-1].id, s.id)
			}
			sent = append(sent, string(s.data))
		}
		if !slices.Equal(sent, want) {
			t.Errorf("the effects are %q, not %q", sent, want)
		}
	}
	l := &ledger{kept: map[string][]byte{}}
	play(machineOf(l))
	if !slices.Equal(l.told, want) {
		t.Errorf("it is told %q, not %q", l.told, want)
	}
	again := &ledger{kept: l.kept}
	m := machineOf(again)
	play(m)
	if len(again.told) > 0 {
		t.Errorf("what its disk has is told again: %q", again.told)
	}
	if len(m.disk.notes) > 0 {
		t.Errorf("the notes of %v were not taken", slices.Collect(maps.Keys(m.disk.notes)))
	}

	// What is skipped tells nothing, and the table is the same.
	skipping := &ledger{kept: map[string][]byte{}}
	m = machineOf(skipping)
	m.group.skips.add(4)
	w := &work{working: new(atomic.Int64)}
	for _, e := range entries {
		m.apply(w, e)
	}
	if got := strings.Join(skipping.told, ", "); got != strings.Join(want[3:], ", ") || len(m.sessions.byID) != 0 {
		t.Errorf("without entry 4 it is told %s, and %d sessions are left", got, len(m.sessions.byID))
	}
}
