package flight

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/castaway-go/castaway/raftcore"
)

// Bounds bounds what all Recorders of a host keep together. It may be used
// concurrently, and must not be copied.
type Bounds struct {
	bytes  int64
	active atomic.Int64 // recorders that keep something
}

// A part of a recording is kept within these bounds, whatever the share of its
// Recorder is: less would say little, more would be cold memory.
const (
	minPart = 4 << 10
	maxPart = 128 << 10
)

// NewBounds returns bounds of about so many bytes. Many Recorders take a little more:
// each keeps two parts of 4 KiB at least.
func NewBounds(bytes int64) *Bounds { return &Bounds{bytes: bytes} }

// Active returns how many Recorders keep something.
func (b *Bounds) Active() int64 { return b.active.Load() }

// part returns how many bytes of inputs one part of a recording is to have.
func (b *Bounds) part() int {
	return int(min(max(b.bytes/(2*max(b.active.Load(), 1)), minPart), maxPart))
}

// Recorder keeps what a node is told. Like the node it is for one goroutine.
type Recorder struct {
	bounds        *Bounds
	past, present part
	rested        bool // the node can be asked for its state
	active        bool // it is counted in bounds
	limit         int  // of the present part
	// A state that does not fit a part is not kept, and nothing is, until this many
	// drains later.
	wait int
}

// part is a state, and the inputs that came after it.
type part struct {
	space  []byte
	length int // how much of space is written: less to store than a slice, for every number
	inputs int // where they begin; 0: there is nothing
}

func (p *part) state() []byte { return p.space[:p.inputs] }

func (p *part) told() []byte { return p.space[p.inputs:p.length] }

// room sees to it that a number can be written.
func (p *part) room() {
	if len(p.space)-p.length < binary.MaxVarintLen64 {
		grown := make([]byte, max(512, 2*len(p.space)))
		copy(grown, p.space[:p.length])
		p.space = grown
	}
}

// drained is the mark of a Drain: no input begins with this byte.
const drained = 0xff

// patience is how many drains pass before a state is asked for again that was too large.
const patience = 4096

// Record returns a Recorder of what a node is told from now on. The node has just been
// made, or drained.
func Record(n *raftcore.Node, b *Bounds) *Recorder {
	r := &Recorder{bounds: b, rested: true}
	n.Record(r)
	return r
}

// Rest forgets everything, until the node is told something again: idle groups take no
// room. It comes after a Drain.
func (r *Recorder) Rest() {
	if r.active {
		r.active = false
		r.bounds.active.Add(-1)
	}
	r.past, r.present, r.wait = part{}, part{}, 0
}

// Input is told that an input comes. With Drain, Uint, Len and Data it makes a Recorder a
// raftcore.Recorder: the node calls them, and nobody else need.
func (r *Recorder) Input(n *raftcore.Node) { r.begin(n, false) }

// Drain marks a Drain.
func (r *Recorder) Drain(n *raftcore.Node) {
	r.begin(n, true)
	if r.wait > 0 {
		r.wait--
		return
	}
	p := &r.present
	p.room()
	p.space[p.length] = drained
	p.length++
}

// begin begins a new part when the present one is full, and the node can be asked for
// its state.
func (r *Recorder) begin(n *raftcore.Node, drains bool) {
	rested := r.rested
	r.rested = drains
	if p := &r.present; !rested || r.wait > 0 || p.inputs > 0 && p.length-p.inputs < r.limit {
		return
	}
	if !r.active {
		r.active = true
		r.bounds.active.Add(1)
	}
	r.limit = r.bounds.part()
	r.past, r.present = r.present, part{space: r.past.space}
	n.State(r)
	if p := &r.present; p.length > r.limit {
		r.past, r.present, r.wait = part{}, part{}, patience
	} else {
		p.inputs = p.length
	}
}

// Uint takes a number down.
func (r *Recorder) Uint(x uint64) uint64 {
	if r.wait > 0 {
		return x
	}
	p := &r.present
	p.room()
	space, at, rest := p.space, p.length, x
	for ; rest >= 0x80; at++ {
		space[at] = byte(rest) | 0x80
		rest >>= 7
	}
	space[at] = byte(rest)
	p.length = at + 1
	return x
}

// Len takes the length of a list down.
func (r *Recorder) Len(n int) int {
	r.Uint(uint64(n))
	return n
}

// Data is not called: it is for who reads back what was taken down.
func (r *Recorder) Data(int) []byte { return nil }
