package main

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"

	"github.com/castaway-go/castaway/actors"
)

// machine is the replicated state machine: it carries out Redis commands, in
// the order of the log, on a keyspace in memory.
//
// # Time
//
// Keys expire, and the members must agree on when. So the only clock here is the
// log's: every entry bears the time at which a leader took it in, and what has
// reached its deadline by then is gone before the entry is carried out. No
// member's own clock ever decides what a client is told.
//
// But a log that nobody writes to has no time. The members' clocks are what asks
// it: they never give an answer, they only are a reason to have one given by the
// log.
//
//   - A read that comes upon a key which is there by log time, but gone by the
//     clock of the member that was asked, is not answered. It goes through the
//     log instead, like a write, and so gets a time of its own.
//   - TTL and PTTL always go through the log.
//   - When the first deadline passes, the leader appends an entry without commands,
//     so that the memory of what nobody asks for is freed.
type machine struct {
	keys   *keyspace
	gauges *gauges

	batch batchReader // being carried out
	reply reply       // to it so far, after answerHeader bytes
}

func newMachine(g *gauges) *machine { return &machine{keys: newKeyspace(), gauges: g} }

// Bounds of what one entry, or one query, answers. Any member must be able to
// pass it on to any other.
const (
	maxReplyBytes    = 6 << 20 // of one command
	enoughReplyBytes = 1 << 20 // with this much, the rest of a batch is left for the next
)

const errReplyTooLarge = "ERR the reply would be larger than 6 MiB: ask for less at a time"

// Apply carries out the commands of an entry. The answer may be for fewer than
// all of them: see codec.go.
func (m *machine) Apply(e actors.Entry) []byte {
	m.keys.advance(e.Time.UnixMilli())
	m.keys.lot = uint64(e.Index)
	answer := m.run(e.Data, true)
	m.gauges.show(m.keys)
	return answer
}

// Query answers the commands of a question, or nothing: then the answer depends
// on what time it is, and that only the log can tell.
func (m *machine) Query(_ context.Context, question []byte) ([]byte, error) {
	asOf, batch, err := decodeQuestion(question)
	if err != nil {
		return nil, err
	}
	m.keys.asOf, m.keys.overdue, m.keys.lot = asOf, false, rand.Uint64()
	answer := m.run(batch, false)
	m.keys.asOf = 0
	if m.keys.overdue {
		return nil, nil
	}
	return answer, nil
}

// Snapshot returns the keys as they are now. They are written while commands go on.
func (m *machine) Snapshot() (io.WriterTo, error) { return m.keys.snapshot(), nil }

// Restore reads the keys.
func (m *machine) Restore(r io.Reader) error {
	keys, err := readImage(r)
	if err != nil {
		return err
	}
	m.keys = keys
	m.gauges.show(keys)
	return nil
}

// run carries out a batch of commands, one after the other, until there is
// enough to answer.
//
// What cannot be carried out is answered with an error, and changes nothing, on
// every member alike. A version with more commands than this one must be on all
// members before the first of them is used.
func (m *machine) run(batch []byte, change bool) []byte {
	r := &m.reply
	if cap(r.b) > enoughReplyBytes {
		r.b = nil // it was a long one: let go of the memory
	}
	r.b = append(r.b[:0], make([]byte, answerHeader)...)
	count := 0
	m.batch.open(batch)
	for len(r.b) < enoughReplyBytes && m.batch.next() {
		m.do(m.batch.args, change)
		count++
	}
	if m.batch.err != nil {
		r.failf("ERR %v", m.batch.err)
		count++
	}
	finishAnswer(r.b, count)
	return bytes.Clone(r.b)
}

// do carries out one command.
func (m *machine) do(args [][]byte, change bool) {
	r := &m.reply
	start := len(r.b)
	r.limit = start + maxReplyBytes
	switch c := lookUp(args[0]); {
	case c == nil || c.run == nil:
		r.fail("ERR the state machine does not know this command")
	case c.kind == write && !change:
		r.fail("ERR a query cannot change anything")
	case !c.takes(len(args)):
		r.failf("ERR wrong number of arguments for '%s' command", c.name)
	default:
		c.run(m.keys, args, r)
	}
	if r.tooLarge() {
		r.b = r.b[:start]
		r.fail(errReplyTooLarge)
	}
}
