package actors

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/castaway-go/castaway/raftcore"
)

// counter is a machine that counts what it applies.
type counter struct{ picky }

func (c counter) Snapshot() (io.WriterTo, error) { return new(bytes.Buffer), nil }

func entryAt(index raftcore.Index, kind raftcore.EntryKind, data []byte) *raftcore.Entry {
	return &raftcore.Entry{EntryID: raftcore.EntryID{Term: 1, Index: index}, Kind: kind, Data: data}
}

// TestA2_ADecisionThatComesAgainTakesNothingBack: an operator may ask twice. A machine that
// has skipped the entry, or has a snapshot from one that has, knows that it has.
func TestA2_ADecisionThatComesAgainTakesNothingBack(t *testing.T) {
	box := newMailbox(0)
	box.dispatcher = neverRuns{}
	m := &machine{host: &Host{}, group: &Group{host: &Host{}}, sessions: newSessions(), effects: newEffects(), sm: counter{}, snapshotter: ref{box: box}, recovered: &raftcore.Recovered{}}
	m.group.skips.add(2)
	w := &work{working: new(atomic.Int64)}
	m.apply(w, entryAt(1, raftcore.EntryCommand, nil))
	m.apply(w, entryAt(2, raftcore.EntryCommand, nil))
	for i := raftcore.Index(3); i < 6; i++ {
		m.apply(w, entryAt(i, raftcore.EntryHost, encodeSkip(2)))
		if m.anew || m.applied.Last.Index != i {
			t.Fatalf("decision %d: it begins anew", i)
		}
	}
	m.apply(w, entryAt(6, raftcore.EntryHost, encodeSkip(6))) // makes no sense
	m.apply(w, entryAt(7, raftcore.EntryHost, encodeSkip(99)))
	if m.anew || m.group.skips.has(6) || m.group.skips.has(99) {
		t.Error("what comes after the decision is skipped")
	}
	m.snapshot(&work{cluster: 1})
	order := box.facts[0].(*takeOrder)
	head, err := readHead(&leavingReader{files: &files{}, r: bytes.NewReader(order.head)}, 1000)
	if err != nil || !slices.Equal(head.skips, []raftcore.Index{2}) {
		t.Errorf("the snapshot says that %v are skipped, %v", head.skips, err)
	}
	for _, bad := range [][]byte{{}, {1}, {2, 1}, {0, 0}, {1, 0x80}, bytes.Repeat([]byte{0xff}, 12)} {
		if list, err := decodeSkips(bad); !errors.Is(err, errBadSkips) {
			t.Errorf("%v is read as %v", bad, list)
		}
	}
}

func TestDecisionsToSkip(t *testing.T) {
	for _, entry := range []raftcore.Index{1, 127, 128, 1 << 60} {
		if got, err := decodeSkip(encodeSkip(entry)); err != nil || got != entry {
			t.Errorf("entry %d is read as %d, %v", entry, got, err)
		}
		if _, err := decodeOrder(encodeSkip(entry)); err == nil {
			t.Error("who is to order something of the sessions decides what is skipped")
		}
	}
	for _, bad := range [][]byte{nil, {5}, {5, 0}, {4, 1}, {5, 1, 1}, {5, 0x80}} {
		if entry, err := decodeSkip(bad); err == nil {
			t.Errorf("%v is read as %d", bad, entry)
		}
	}
}

// A skipped command of a session stays skipped, in the table that a snapshot brings, too.
func TestC3_ARestoredTableKnowsWhatWasSkipped(t *testing.T) {
	tab := newTable()
	id := tab.begin(1000)
	for range 2 {
		if _, err := tab.command(id, 1, 0, "skipped"); !errors.Is(err, ErrSkipped) {
			t.Errorf("it ends with %v", err)
		}
		restored, err := decodeSessions(tab.encode())
		if err != nil {
			t.Fatal(err)
		}
		if restored.bytes != tab.bytes || !bytes.Equal(restored.encode(), tab.encode()) {
			t.Error("the restored table is another one")
		}
		tab.sessions = restored
	}
	if _, err := tab.command(id, 1, 0, "not this time"); !errors.Is(err, ErrSkipped) || len(tab.ran) != 0 {
		t.Errorf("sent again, it ends with %v", err)
	}
}
