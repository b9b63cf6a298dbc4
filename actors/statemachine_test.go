package actors

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// clockReader is a StateMachine that keeps the time it was told.
type clockReader struct{ told time.Time }

func (c *clockReader) Apply(e Entry) []byte                          { c.told = e.Time; return nil }
func (c *clockReader) Query(context.Context, []byte) ([]byte, error) { return nil, nil }
func (c *clockReader) Snapshot() (io.WriterTo, error)                { return nil, io.EOF }
func (c *clockReader) Restore(io.Reader) error                       { return io.EOF }

// The hours and the text of a time depend on its zone, so that must be the same on
// every member, whatever its host's is.
func TestA5_LogTimeIsInUTC(t *testing.T) {
	c := &clockReader{}
	m := &machine{host: &Host{}, group: &Group{host: &Host{}}, sm: c, sessions: newSessions()}
	m.apply(&work{}, &raftcore.Entry{EntryID: raftcore.EntryID{Term: 1, Index: 1}, Kind: raftcore.EntryCommand, Time: 1234})
	if c.told.Location() != time.UTC || !c.told.Equal(time.UnixMilli(1234)) {
		t.Errorf("the machine was told %v", c.told)
	}
}
