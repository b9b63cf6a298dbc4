package flight

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/castaway-go/castaway/raftcore"
)

// ErrMalformed: a story or its recording is damaged, or of another version of this
// module.
var ErrMalformed = errors.New("flight: the story is damaged, or of another version")

// player is the Archive that reads a recording back.
type player struct {
	rest []byte
	zero []byte // commands: as many zeros as were there
}

// maxCommand is more than any command has.
const maxCommand = 1 << 28

// malformed is what a player panics with: raftcore expects no errors of an Archive.
type malformed struct{}

func (p *player) Uint(uint64) uint64 {
	x, n := binary.Uvarint(p.rest)
	if n <= 0 {
		panic(malformed{})
	}
	p.rest = p.rest[n:]
	return x
}

func (p *player) Len(int) int {
	n := p.Uint(0)
	if n > uint64(len(p.rest)) { // each element takes a byte at least
		panic(malformed{})
	}
	return int(n)
}

func (p *player) Data(size int) []byte {
	if size < 0 || size > maxCommand {
		panic(malformed{})
	}
	if size > len(p.zero) {
		p.zero = make([]byte, size)
	}
	return p.zero[:size:size]
}

// Fault is what a node ended with.
type Fault struct {
	// Reason is what it panicked with: mostly a *raftcore.InvariantError.
	Reason any
}

func (f *Fault) Error() string { return fmt.Sprint(f.Reason) }

// Unwrap returns the reason, if it is an error.
func (f *Fault) Unwrap() error {
	err, _ := f.Reason.(error)
	return err
}

// play tells a node what a recording says, from its older part on, and returns the
// node; and a *Fault if it failed, or ErrMalformed. tell, if it is not nil, is given a
// line for everything that happened.
func play(parts [2]part, tell func(string)) (n *raftcore.Node, err error) {
	first := 0
	if parts[0].inputs == 0 {
		first = 1
	}
	if parts[first].inputs == 0 {
		return nil, fmt.Errorf("%w: it has no recording", ErrMalformed)
	}
	p := &player{rest: parts[first].state()}
	stepping := false
	defer func() {
		switch r := recover().(type) {
		case nil:
		case malformed:
			err = ErrMalformed
		default:
			if err = ErrMalformed; stepping {
				err = &Fault{r}
			}
		}
	}()
	n = raftcore.Resume(p)
	if tell != nil {
		tell("from " + n.String())
		n.Trace(func(e raftcore.TraceEvent) {
			if e.Kind != raftcore.TraceInit && e.Kind != raftcore.TraceReceive {
				tell("    " + e.String())
			}
		})
	}
	var out raftcore.Output
	for _, part := range parts[first:] {
		for p.rest = part.told(); len(p.rest) > 0; {
			if p.rest[0] == drained {
				p.rest = p.rest[1:]
				stepping = true
				n.Drain(&out)
				stepping = false
				continue
			}
			in := raftcore.NextInput(p)
			if tell != nil {
				tell(line(in))
			}
			stepping = true
			n.Step(in)
			stepping = false
		}
	}
	return n, nil
}

// line says what a node is told.
func line(in raftcore.Input) string {
	switch in := in.(type) {
	case raftcore.Tick:
		return fmt.Sprintf("tick %v", in.Now.Sub(0))
	case raftcore.Receive:
		return fmt.Sprintf("receive %v", in.Message)
	case raftcore.Propose:
		return fmt.Sprintf("propose tag=%d, %d bytes", in.Tag, len(in.Data))
	case raftcore.Saved:
		return fmt.Sprintf("saved #%d", in.Token.Sequence)
	case raftcore.Loaded:
		return fmt.Sprintf("loaded %d entries for %v", len(in.Entries), in.Load)
	case raftcore.ChangeConfig:
		return fmt.Sprintf("change the configuration to %v", &in.Conf)
	case raftcore.Bootstrap:
		return fmt.Sprintf("bootstrap %v", &in.Conf)
	}
	return fmt.Sprintf("%T%+v", in, in)[len("raftcore."):]
}

// Check plays back what is kept of a node that has not failed, has been drained, and
// has been told something since Rest, and returns an error if that ends in another
// state than the node's: for tests.
func (r *Recorder) Check(n *raftcore.Node) error {
	if r.wait > 0 {
		return nil
	}
	again, err := play([2]part{r.past, r.present}, nil)
	if err != nil {
		return fmt.Errorf("flight: what is kept of a node that works: %w", err)
	}
	if want, got := stateOf(n), stateOf(again); !bytes.Equal(want, got) {
		return fmt.Errorf("flight: played back, %v is %v", n, again)
	}
	return nil
}

func stateOf(n *raftcore.Node) []byte {
	var r Recorder
	n.State(&r)
	return r.present.space[:r.present.length]
}
