package actors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/castaway-go/castaway/raftcore"
)

// This file is about an entry at which state machines panic, and the decision to go on
// without it.
//
// The decision is an entry of the log, of kind raftcore.EntryHost, and so committed, or
// not, for all members:
//
//	skips = 5 entry    entry = uvarint
//
// A machine that is quarantined applies nothing that follows, but looks at it for such a
// decision. When there is one about the entry that it stands before, the whole member
// begins anew from its disk, and at that entry applies nothing. It may have to learn all
// of that again: after a restart of the process it panics twice, is quarantined, and finds
// the decision. From the first snapshot on that has the entry behind it, it does not.
//
// A machine that had no trouble with the entry has applied it when it comes to the
// decision, and has a state that the others do not have. It, too, begins anew, from a
// snapshot before the entry. If its newest has the entry in it the member is faulted. So a
// member takes no snapshot before it has applied what was in its log when it started: the
// decision may be there, and a machine that was mended since has no trouble any more.

// SkipEntry has a group go on without Request.Entry, at which the leader's state machine is
// quarantined.
const SkipEntry Operation = 18

const skipsEntry byte = 5

// encodeSkip encodes the decision to skip an entry.
func encodeSkip(entry raftcore.Index) []byte {
	return binary.AppendUvarint([]byte{skipsEntry}, uint64(entry))
}

var errNoSkip = errors.New("it is no decision to skip an entry")

func decodeSkip(b []byte) (raftcore.Index, error) {
	if len(b) == 0 || b[0] != skipsEntry {
		return 0, errNoSkip
	}
	r := tableReader{b: b[1:]}
	entry := raftcore.Index(r.uvarint())
	if r.bad || len(r.b) > 0 || entry == 0 {
		return 0, errNoSkip
	}
	return entry, nil
}

// skipDecision returns the entry that e decides to skip, if it does.
func skipDecision(e *raftcore.Entry) (entry raftcore.Index, is bool) {
	if e.Kind != raftcore.EntryHost {
		return 0, false
	}
	entry, err := decodeSkip(e.Data)
	return entry, err == nil
}

// skips are the entries that a member knows it has to skip: the decisions are committed.
// They are in every snapshot. A machine that is at one of them skips it, so of what its
// state has behind it they are what was skipped.
type skips struct {
	at atomic.Pointer[[]raftcore.Index]
}

// list returns all of them, ascending.
func (s *skips) list() []raftcore.Index {
	if list := s.at.Load(); list != nil {
		return *list
	}
	return nil
}

func (s *skips) has(entry raftcore.Index) bool {
	list := s.at.Load()
	if list == nil {
		return false
	}
	_, found := slices.BinarySearch(*list, entry)
	return found
}

// add is for the machine alone.
func (s *skips) add(entries ...raftcore.Index) {
	if len(entries) == 0 {
		return
	}
	list := slices.Concat(s.list(), entries)
	slices.Sort(list)
	list = slices.Compact(list)
	s.at.Store(&list)
}

// encode returns them as they are in a snapshot: a count, and the entries, as uvarints.
func (s *skips) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(len(s.list())))
	for _, entry := range s.list() {
		b = binary.AppendUvarint(b, uint64(entry))
	}
	return b
}

var errBadSkips = errors.New("the list of skipped entries cannot be read")

func decodeSkips(b []byte) ([]raftcore.Index, error) {
	r := tableReader{b: b}
	var list []raftcore.Index
	for range r.count() {
		list = append(list, raftcore.Index(r.uvarint()))
	}
	if r.bad || len(r.b) > 0 {
		return nil, errBadSkips
	}
	return list, nil
}

// beginAnew has the member start again from its disk, because an entry that lies behind it
// is to be skipped.
type beginAnew struct{ machine *mailbox }

// decide carries out a decision. A machine that has the entry behind it, or stands before
// it, does no more: see anew.
func (m *machine) decide(decision *raftcore.Entry, entry raftcore.Index) {
	if entry >= decision.Index || m.group.skips.has(entry) {
		return // it makes no sense, or this machine knew it
	}
	m.group.skips.add(entry)
	if m.anew || entry > m.applied.Last.Index && entry != m.poison {
		return // the next machine will come to it, or this one
	}
	m.host.logger.Warn("an entry is skipped: the member begins anew", "group", m.group.name, "index", uint64(entry), "decided", uint64(decision.Index))
	m.anew = true
	m.host.system.Root.Send(m.parent, &beginAnew{m.box})
}

// skippedApplied returns an error if a snapshot holds entries that are skipped: it was
// taken by a machine that had no trouble with them, before that was decided.
func (m *machine) skippedApplied(last raftcore.Index, within []raftcore.Index) error {
	for _, entry := range m.group.skips.list() {
		if entry <= last && !slices.Contains(within, entry) {
			return &SkippedError{Entry: entry, Snapshot: last}
		}
	}
	return nil
}

// maySkip returns what the leader answers at once to who wants an entry skipped, if it does.
func (n *node) maySkip(c *call) (err error, answered bool) {
	entry, _ := decodeSkip(c.data)
	q := n.group.quarantine.Load()
	switch {
	case n.group.skips.has(entry):
		return nil, true
	case q == nil:
		return fmt.Errorf("%w: it has applied the entry, or is about to", ErrNotQuarantined), true
	case q.program:
		return fmt.Errorf("%w: %s", ErrNotQuarantined, q.Reason), true
	case q.Entry != entry:
		return fmt.Errorf("%w: it is at entry %d", ErrNotQuarantined, q.Entry), true
	}
	return nil, false
}

// SkipEntry has the group go on without an entry at which the leader's state machine is
// quarantined: QuarantineError.Entry, in the leader's Status. It is a replicated decision.
// No member carries the entry out, whatever it does with its state machine later, and what
// follows the entry is applied as if it were not there: whoever proposed it is told
// ErrSkipped, if he is told at all. SkipEntry may be called on any host, and returns nil
// when the decision is committed; the members begin anew, one after the other, and answer
// again soon afterwards. To ask again for the same is harmless, and SkipEntry does so by
// itself, until ctx ends.
//
// It gives data up: prefer to mend the state machine, and open the group anew, if it can be
// mended for this entry. A member whose own state machine had no trouble with the entry may
// have told its client that it was carried out, when it led. While such a member leads the
// answer is ErrNotQuarantined, and those that are quarantined have to be mended; so have all
// members up when this is called. One that was down, and has the entry in a snapshot
// already, is faulted when it hears of the decision: see SkippedError.
func (c *Client) SkipEntry(ctx context.Context, entry raftcore.Index) error {
	_, err := c.Do(ctx, &Request{Operation: SkipEntry, Entry: entry})
	return err
}
