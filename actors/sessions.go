package actors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/castaway-go/castaway/raftcore"
)

// SessionID names a session: the index of the entry that opened it. It means nothing in
// another group, or in another lineage of the same.
type SessionID uint64

// sessions is the table of the sessions of a group. It is part of the replicated
// state: every member carries out the same commands for it, in the same order, with
// the log's time and no other, and it is in every snapshot. So whichever member leads
// knows what was answered to whom, and a command that comes again is not carried out
// again.
//
// What is to be noted comes in entries of kind raftcore.EntryHost:
//
//	opens     = 1 timeout                      the session is the index of this entry
//	command   = 2 session sequence done data   done: up to there all were answered
//	keeps     = 3 session done                 a sign of life
//	closes    = 4 session
//	timeout, session, sequence, done = uvarint; timeout in milliseconds
type sessions struct {
	byID  map[SessionID]*sessionState
	first int64 // no session ends before this time
	bytes int   // of all results
}

// sessionState is what is known of a session.
type sessionState struct {
	timeout int64 // ms
	last    int64 // log time of the last sign of life
	done    uint64
	results map[uint64]result // by sequence, all beyond done
	bytes   int
}

// result is what became of a command.
type result struct {
	answer  []byte
	skipped bool // its entry was: it is not carried out, as long as the session asks
}

func (r *result) size() int { return len(r.answer) + resultOverhead }

func (r *result) outcome() ([]byte, error) {
	if r.skipped {
		return nil, ErrSkipped
	}
	return r.answer, nil
}

// Bounds of the table. They are part of what the members agree on: to change them is
// to change the state machine.
const (
	maxSessions      = 1 << 16
	sessionWindow    = 1024     // commands of a session that were not said to be answered
	maxSessionBytes  = 4 << 20  // of results that it may ask for again
	maxSessionsBytes = 64 << 20 // of all sessions together
	resultOverhead   = 64
)

// The kinds of what the table is told.
const (
	sessionOpens byte = iota + 1
	sessionCommand
	sessionKeeps
	sessionCloses
)

var (
	errTooManySessions = fmt.Errorf("%w: %d sessions are open", ErrBusy, maxSessions)
	errResultsKept     = fmt.Errorf("%w: too many results wait for being said to be known", ErrBusy)
	errNoSession       = fmt.Errorf("%w: %w", ErrRejected, ErrSessionExpired)
	errAnswered        = fmt.Errorf("%w: it was answered before, and the answer is not kept any more", ErrUnknown)
)

// sessionOrder is an entry for the table, decoded.
type sessionOrder struct {
	kind     byte
	session  SessionID
	timeout  uint64
	sequence uint64
	done     uint64
	data     []byte
}

func (o *sessionOrder) encode() []byte {
	b := make([]byte, 0, 32+len(o.data))
	b = append(b, o.kind)
	if o.kind == sessionOpens {
		return binary.AppendUvarint(b, o.timeout)
	}
	b = binary.AppendUvarint(b, uint64(o.session))
	if o.kind == sessionCommand {
		b = binary.AppendUvarint(b, o.sequence)
	}
	if o.kind != sessionCloses {
		b = binary.AppendUvarint(b, o.done)
	}
	return append(b, o.data...)
}

var errNoOrder = errors.New("it is no order for the table of sessions")

// decodeOrder decodes what encode has made. It is called before an order is proposed,
// so that a log has none that cannot be understood.
func decodeOrder(b []byte) (o sessionOrder, err error) {
	if len(b) == 0 {
		return o, errNoOrder
	}
	r := tableReader{b: b[1:]}
	o.kind = b[0]
	switch o.kind {
	case sessionOpens:
		o.timeout = r.uvarint()
	case sessionCommand:
		o.session, o.sequence, o.done = SessionID(r.uvarint()), r.uvarint(), r.uvarint()
		o.data, r.b = r.b, nil
	case sessionKeeps:
		o.session, o.done = SessionID(r.uvarint()), r.uvarint()
	case sessionCloses:
		o.session = SessionID(r.uvarint())
	default:
		return o, errNoOrder
	}
	if r.bad || len(r.b) > 0 || o.timeout > maxSessionTimeout || o.kind == sessionOpens && o.timeout == 0 || o.kind == sessionCommand && o.sequence == 0 {
		return o, errNoOrder
	}
	return o, nil
}

// maxSessionTimeout is a year, in milliseconds: nothing overflows.
const maxSessionTimeout = 366 * 24 * 3600 * 1000

func newSessions() *sessions { return &sessions{byID: map[SessionID]*sessionState{}} }

// apply carries out an order; run applies a command to the state machine, unless it is to
// be skipped. Before that ended is told of the sessions that end here, in their order.
func (t *sessions) apply(e *raftcore.Entry, run func(command Entry) result, ended func(SessionID)) ([]byte, error) {
	o, err := decodeOrder(e.Data)
	if err != nil {
		// To skip it is to have another state than members of a later version.
		panic(fmt.Errorf("entry %d: %w, or one of a later version", e.Index, err))
	}
	for _, id := range t.expire(e.Time) {
		ended(id)
	}
	if o.kind == sessionOpens {
		return t.open(e, int64(o.timeout))
	}
	s := t.byID[o.session]
	if s == nil {
		if o.kind == sessionCloses {
			return nil, nil
		}
		return nil, errNoSession
	}
	s.last = e.Time
	switch o.kind {
	case sessionCloses:
		t.remove(o.session)
		ended(o.session)
		return nil, nil
	case sessionKeeps:
		t.forget(s, o.done)
		return nil, nil
	}
	t.forget(s, o.done)
	return t.command(s, &o, run)
}

func (t *sessions) open(e *raftcore.Entry, timeout int64) ([]byte, error) {
	if len(t.byID) >= maxSessions {
		return nil, errTooManySessions
	}
	if len(t.byID) == 0 || e.Time+timeout < t.first {
		t.first = e.Time + timeout
	}
	t.byID[SessionID(e.Index)] = &sessionState{timeout: timeout, last: e.Time, results: map[uint64]result{}}
	return binary.AppendUvarint(nil, uint64(e.Index)), nil
}

// command carries out a command that was not carried out before, and answers one
// that was with what it was answered then.
func (t *sessions) command(s *sessionState, o *sessionOrder, run func(Entry) result) ([]byte, error) {
	if o.sequence <= s.done {
		return nil, errAnswered
	}
	if result, known := s.results[o.sequence]; known {
		result.answer = bytes.Clone(result.answer)
		return result.outcome()
	}
	// The first that is not answered is what the results after it are kept for: to refuse
	// that would be to keep them for ever.
	awaited := o.sequence == s.done+1 && len(s.results) > 0
	if o.sequence > s.done+sessionWindow || !awaited && (s.bytes > maxSessionBytes || t.bytes > maxSessionsBytes) {
		return nil, errResultsKept
	}
	kept := run(Entry{Data: o.data, Session: o.session})
	s.bytes += kept.size()
	t.bytes += kept.size()
	answer, err := kept.outcome()
	kept.answer = bytes.Clone(kept.answer) // who is answered may do with it what he likes
	s.results[o.sequence] = kept
	return answer, err
}

// forget lets go of results that are known.
func (t *sessions) forget(s *sessionState, done uint64) {
	if done <= s.done {
		return
	}
	s.done = done
	maps.DeleteFunc(s.results, func(sequence uint64, result result) bool {
		if sequence > done {
			return false
		}
		s.bytes -= result.size()
		t.bytes -= result.size()
		return true
	})
}

func (t *sessions) remove(id SessionID) {
	t.bytes -= t.byID[id].bytes
	delete(t.byID, id)
}

// expire ends the sessions that have given no sign of life for their timeout, and returns
// them, ascending.
func (t *sessions) expire(now int64) (ended []SessionID) {
	if now <= t.first || len(t.byID) == 0 {
		return nil
	}
	t.first = 1<<63 - 1
	for id, s := range t.byID { // in any order: each is judged by itself
		if ends := s.last + s.timeout; ends < now {
			t.remove(id)
			ended = append(ended, id)
		} else {
			t.first = min(t.first, ends)
		}
	}
	slices.Sort(ended)
	return ended
}

// mayEnd returns the log time up to which no session ends by itself; 0: there is none.
func (t *sessions) mayEnd() int64 {
	if len(t.byID) == 0 {
		return 0
	}
	return t.first
}

// lookAtSessions is an order that does nothing but end those sessions whose time has come: a
// sign of life of none.
func lookAtSessions() []byte { return (&sessionOrder{kind: sessionKeeps}).encode() }

// encode returns the table as it is in a snapshot:
//
//	table   = count session …       ascending
//	session = id timeout last done count result …
//	result  = sequence size data    ascending; size is one more than that of data, or 0 if
//	                                the command was skipped
//	all numbers are uvarint, but for last, which is varint
func (t *sessions) encode() []byte {
	b := binary.AppendUvarint(make([]byte, 0, 64*len(t.byID)+t.bytes+16), uint64(len(t.byID)))
	for _, id := range slices.Sorted(maps.Keys(t.byID)) {
		s := t.byID[id]
		b = binary.AppendUvarint(b, uint64(id))
		b = binary.AppendUvarint(b, uint64(s.timeout))
		b = binary.AppendVarint(b, s.last)
		b = binary.AppendUvarint(b, s.done)
		b = binary.AppendUvarint(b, uint64(len(s.results)))
		for _, sequence := range slices.Sorted(maps.Keys(s.results)) {
			result := s.results[sequence]
			b = binary.AppendUvarint(b, sequence)
			if result.skipped {
				b = append(b, 0)
				continue
			}
			b = binary.AppendUvarint(b, uint64(len(result.answer))+1)
			b = append(b, result.answer...)
		}
	}
	return b
}

var errBadSessions = errors.New("the table of sessions cannot be read")

func decodeSessions(b []byte) (*sessions, error) {
	t := newSessions()
	r := tableReader{b: b}
	t.first = 1<<63 - 1
	for range r.count() {
		id := SessionID(r.uvarint())
		s := &sessionState{timeout: int64(r.uvarint()), last: r.varint(), done: r.uvarint(), results: map[uint64]result{}}
		for range r.count() {
			sequence, result := r.uvarint(), r.result()
			s.results[sequence] = result
			s.bytes += result.size()
		}
		t.byID[id] = s
		t.bytes += s.bytes
		t.first = min(t.first, s.last+s.timeout)
	}
	if r.bad || len(r.b) > 0 {
		return nil, errBadSessions
	}
	return t, nil
}

// tableReader reads numbers off the front of b; after a mistake it reads zeros.
type tableReader struct {
	b   []byte
	bad bool
}

func (r *tableReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return take(r, v, n)
}

func (r *tableReader) varint() int64 {
	v, n := binary.Varint(r.b)
	return take(r, v, n)
}

func take[T int64 | uint64](r *tableReader, v T, n int) T {
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many things follow, each of which takes a byte at least.
func (r *tableReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *tableReader) bytes() []byte {
	n := r.count()
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *tableReader) result() result {
	size := r.uvarint()
	if size == 0 {
		return result{skipped: true}
	}
	n := size - 1
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return result{}
	}
	answer := r.b[:n:n]
	r.b = r.b[n:]
	return result{answer: answer}
}
