package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"strconv"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// command is what clients propose: to have a lock for the time of a Lease, or to Release
// the one that was had with a token.
type command struct {
	Lock, Owner string
	Lease       time.Duration  `json:",omitempty"`
	Release     raftcore.Index `json:",omitempty"`
}

// answer says who holds the lock now, and why that is not who has asked.
type answer struct {
	lease
	Refused string `json:",omitempty"`
}

type lease struct {
	Owner string
	Token raftcore.Index // greater than that of every lease before
	Until time.Time
	// Session is that of the owner's program: the lease ends with it at the latest.
	Session actors.SessionID `json:",omitempty"`
}

// locks is the state machine.
type locks struct {
	Held    map[string]lease
	Granted map[string]int // how often each lock was
}

func newLocks() *locks { return &locks{Held: map[string]lease{}, Granted: map[string]int{}} }

// Apply knows no clock but the entry's: all members come to the same answer, today, and when
// they apply the log anew tomorrow.
func (l *locks) Apply(e actors.Entry) []byte {
	var c command
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return encode(answer{Refused: err.Error()})
	}
	held := l.Held[c.Lock]
	if !e.Time.Before(held.Until) { // it is over; or there was none
		held = lease{}
		delete(l.Held, c.Lock)
	}
	switch {
	case c.Release != 0 && c.Release != held.Token:
		return encode(answer{held, "that token holds nothing"})
	case c.Release != 0:
		delete(l.Held, c.Lock)
		return encode(answer{})
	case held.Token != 0:
		return encode(answer{held, "somebody has it"})
	}
	held = lease{c.Owner, e.Index, e.Time.Add(c.Lease), e.Session}
	l.Held[c.Lock] = held
	l.Granted[c.Lock]++
	return encode(answer{lease: held})
}

// SessionEnded gives back what a client had that is gone.
func (l *locks) SessionEnded(e actors.Entry) {
	maps.DeleteFunc(l.Held, func(_ string, held lease) bool { return held.Session == e.Session })
}

// Query answers how often a lock was granted.
func (l *locks) Query(_ context.Context, lock []byte) ([]byte, error) {
	return strconv.AppendInt(nil, int64(l.Granted[string(lock)]), 10), nil
}

func (l *locks) Snapshot() (io.WriterTo, error) { return bytes.NewBuffer(encode(l)), nil }
func (l *locks) Restore(r io.Reader) error      { return json.NewDecoder(r).Decode(l) }

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only a time beyond the year 9999, and no lease is that long
	}
	return b
}
