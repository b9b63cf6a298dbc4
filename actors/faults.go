package actors

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// The classes of faults: why a member failed. Status.Fault is one of them, and so is the
// error of a call that ends with ErrFaulted; test with errors.Is. What comes of each stands
// in the documentation of the package.
var (
	// ErrMachineFault: the StateMachine has panicked, or could not restore a snapshot that
	// is whole. See QuarantineError and SkippedError.
	ErrMachineFault = errors.New("the state machine failed")
	// ErrStorageFault: the Store, or a snapshot, could not be written or read. See
	// persistence.CorruptError and persistence.ErrDiskFull.
	ErrStorageFault = errors.New("the storage failed")
	// ErrInvariantFault: something happened that must not, whatever machines, disks and
	// networks do. See raftcore.InvariantError. It is a mistake in this library; please
	// report it, with the story that the log names: see package flight.
	ErrInvariantFault = errors.New("an invariant is broken")
)

// classify gives an error a class, unless it has one.
func classify(err error) error {
	switch {
	case errors.Is(err, ErrMachineFault), errors.Is(err, ErrStorageFault):
		return err
	case errors.As(err, new(*persistence.CorruptError)):
		return fmt.Errorf("%w: %w", ErrStorageFault, err)
	}
	return fmt.Errorf("%w: %w", ErrInvariantFault, err)
}

// tellStory writes down how the node came to fail: beside the snapshots or, if there is
// no place for them, to the log. The node is suspended. The fault that is returned says
// where.
func (m *member) tellStory(fault error, reason any) error {
	if m.recorder == nil {
		return fault
	}
	s := m.recorder.Story(fmt.Sprint(reason))
	s.Group, s.Node, s.Boot = m.group.name, m.host.cfg.ID, m.boot
	place, any := m.host.cfg.Store.(snapshotPlace)
	if !any {
		m.host.logger.Error("an invariant is broken: this is the story of it", "group", m.group.name, "story", string(s.Encode()))
		return fault
	}
	under, o := place.Snapshots()
	file, err := s.Write(o.FS, filepath.Join(under, snapshots.Folder(m.group.name)))
	if err != nil {
		m.host.logger.Error("an invariant is broken, and the story of it could not be written", "group", m.group.name, "err", err)
		return fault
	}
	m.host.logger.Error("an invariant is broken: there is a story of it, see castaway-disk replay", "group", m.group.name, "file", file)
	return fmt.Errorf("%w (its story: %s)", fault, file)
}

// machinePanic is why a StateMachine failed, at an entry, which every member will be given,
// or in anything else.
type machinePanic struct {
	index  raftcore.Index // 0: at no entry
	reason any
	stack  []byte
}

func (p *machinePanic) Error() string {
	if p.index == 0 {
		return fmt.Sprintf("%v: panic: %v", ErrMachineFault, p.reason)
	}
	return fmt.Sprintf("%v: panic at entry %d: %v", ErrMachineFault, p.index, p.reason)
}

func (p *machinePanic) Unwrap() error { return ErrMachineFault }

// Restarts says how often what has failed starts again from the disk by itself: a member,
// or a Store. The pause before it doubles with each time. Zero fields mean the default.
type Restarts struct {
	// Max is how many restarts there are within Within; then it is given up. Default 10;
	// negative: none.
	Max int
	// Within is for how long a restart counts. Default 1 minute.
	Within time.Duration
	// FirstPause and LongestPause bound the pause. Default 50 ms and 5 s.
	FirstPause, LongestPause time.Duration
}

// or returns r with every zero field as in other.
func (r Restarts) or(other Restarts) Restarts {
	if r.Max == 0 {
		r.Max = other.Max
	}
	if r.Within == 0 {
		r.Within = other.Within
	}
	if r.FirstPause == 0 {
		r.FirstPause = other.FirstPause
	}
	if r.LongestPause == 0 {
		r.LongestPause = max(other.LongestPause, r.FirstPause)
	}
	return r
}

var defaultRestarts = Restarts{Max: 10, Within: time.Minute, FirstPause: 50 * time.Millisecond, LongestPause: 5 * time.Second}

// mistake returns what is wrong with r, after or.
func (r Restarts) mistake() error {
	if r.Within < 0 || r.FirstPause < 0 || r.LongestPause < r.FirstPause {
		return fmt.Errorf("Restarts is %+v: Within and FirstPause are positive, and LongestPause is not less than FirstPause", r)
	}
	return nil
}

// restarts are those of late.
type restarts struct {
	recent []raftcore.Instant
}

// next returns how long to pause before the next restart, or false if there is to be none.
func (r *restarts) next(policy Restarts, now raftcore.Instant) (time.Duration, bool) {
	for len(r.recent) > 0 && now.Sub(r.recent[0]) > policy.Within {
		r.recent = r.recent[1:]
	}
	if len(r.recent) >= policy.Max {
		return 0, false
	}
	pause := policy.FirstPause
	for range r.recent {
		if pause = 2 * pause; pause >= policy.LongestPause {
			pause = policy.LongestPause
			break
		}
	}
	r.recent = append(r.recent, now)
	return pause, true
}
