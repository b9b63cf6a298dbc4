package rafttest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// total is a state machine: the sum of all numbers that it was sent.
type total struct{ sum int64 }

func (t *total) Apply(e actors.Entry) []byte {
	n, err := strconv.ParseInt(string(e.Data), 10, 32)
	if err != nil {
		return []byte("not a number")
	}
	t.sum += n
	return t.text()
}

func (t *total) Query(context.Context, []byte) ([]byte, error) { return t.text(), nil }
func (t *total) Snapshot() (io.WriterTo, error)                { return bytes.NewBuffer(t.text()), nil }
func (t *total) Restore(r io.Reader) error                     { _, err := fmt.Fscan(r, &t.sum); return err }
func (t *total) text() []byte                                  { return strconv.AppendInt(nil, t.sum, 10) }

// totals is what the test needs to know.
var totals = rafttest.StateMachine{
	New: func() actors.StateMachine { return &total{} },
	Command: func(r *rand.Rand) []byte {
		if r.IntN(10) == 0 {
			return []byte("ten")
		}
		return fmt.Append(nil, r.IntN(200)-100)
	},
	Canonical: true, // a number is written in one way only
}

var t *testing.T // of func TestTotal(t *testing.T), which is yours

func ExampleTestStateMachine() {
	rafttest.TestStateMachine(t, totals)
}
