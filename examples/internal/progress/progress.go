// Package progress shows on a terminal how far long work has come: a bar, how much of how
// much, how fast, and how long it will still take.
package progress

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/castaway-go/castaway/actors"
)

// Work is something that takes long.
type Work struct {
	Name  string
	Done  int64
	Total int64 // 0: nobody knows yet
	Unit  Unit
}

// Unit is what Work is counted in.
type Unit bool

// The units.
const (
	Bytes   Unit = false
	Entries Unit = true
)

func (u Unit) format(n float64) string {
	if u == Entries {
		return fmt.Sprintf("%.0f entries", n)
	}
	for _, unit := range []string{"B", "KB", "MB"} {
		if n < 1000 {
			return fmt.Sprintf("%.3g %s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.3g GB", n)
}

// Show shows works. On a terminal a work is a line that is drawn again and again, elsewhere
// one when it has begun to take long, and one when it is done. Its methods may be called
// concurrently.
type Show struct {
	w        io.Writer
	terminal bool
	now      func() time.Time

	mu      sync.Mutex
	opening map[string]Work
	hosts   []watched
	begun   map[string]*begun
	drawn   bool // the line under the cursor is a bar
}

// begun is when a work was seen first, and how it stood then.
type begun struct {
	at   time.Time
	from int64
	last Work
	told bool
}

// patience is how long a work takes before it is shown.
const patience = 300 * time.Millisecond

// New returns a Show on a file, usually os.Stdout.
func New(file *os.File) *Show {
	info, err := file.Stat()
	return newShow(file, err == nil && info.Mode()&os.ModeCharDevice != 0, time.Now)
}

func newShow(w io.Writer, terminal bool, now func() time.Time) *Show {
	return &Show{w: w, terminal: terminal, now: now, opening: map[string]Work{}, begun: map[string]*begun{}}
}

// Println prints a line, and does not mix it up with a bar.
func (s *Show) Println(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	fmt.Fprintln(s.w, line)
}

func (s *Show) wipe() {
	if s.drawn {
		fmt.Fprint(s.w, "\r\x1b[K")
		s.drawn = false
	}
}

// Opening returns what a badgerstore tells how far it has come with its journal
// (Options.Opening). It shows with the next Update.
func (s *Show) Opening(name string) func(done, total int64) {
	return func(done, total int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.opening[name] = Work{Name: name, Done: done, Total: total}
		if done >= total {
			delete(s.opening, name)
			s.over(name) // before whoever waited for it says what comes of it
		}
	}
}

// Add has it show what the members of a host have to do, until ctx ends.
func (s *Show) Add(ctx context.Context, host *actors.Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts = append(s.hosts, watched{ctx, host})
}

// watched is a host that is shown until ctx ends.
type watched struct {
	ctx  context.Context
	host *actors.Host
}

// Watch updates it, until ctx ends, with what is opening, and what the hosts have to do.
func (s *Show) Watch(ctx context.Context) {
	tick := time.NewTicker(patience / 2)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			s.Update(s.look(ctx)...)
		case <-ctx.Done():
			s.Update()
		}
	}
}

// look asks the members of the hosts that are there still.
func (s *Show) look(ctx context.Context) (works []Work) {
	s.mu.Lock()
	s.hosts = slices.DeleteFunc(s.hosts, func(w watched) bool { return w.ctx.Err() != nil })
	hosts := slices.Clone(s.hosts)
	s.mu.Unlock()
	for _, w := range hosts {
		for _, g := range w.host.Groups() {
			ctx, cancel := context.WithTimeout(ctx, time.Second) // it may be busy with just that
			if status, err := g.Status(ctx); err == nil {
				works = append(works, Of(status)...)
			}
			cancel()
		}
	}
	return works
}

// Update shows how the works stand that there are now. What is not among them any more is
// over.
func (s *Show) Update(works ...Work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, name := range slices.Sorted(maps.Keys(s.opening)) {
		works = append(works, s.opening[name])
	}
	names := map[string]bool{}
	var bar string
	for _, w := range works {
		names[w.Name] = true
		b := s.begun[w.Name]
		if b == nil {
			b = &begun{at: now, from: w.Done}
			s.begun[w.Name] = b
		}
		b.last = w
		if now.Sub(b.at) < patience {
			continue
		}
		line := w.line(w.Done-b.from, now.Sub(b.at))
		switch {
		case s.terminal && bar == "":
			bar = line
		case s.terminal:
			bar += "   and " + w.Name // one bar at a time
		case !b.told:
			fmt.Fprintln(s.w, line)
		}
		b.told = true
	}
	for name := range s.begun {
		if !names[name] {
			s.over(name)
		}
	}
	s.wipe()
	if bar != "" {
		fmt.Fprint(s.w, "\x1b[?7l", bar, "\x1b[?7h") // cut off at the edge, so that one line can be wiped
		s.drawn = true
	}
}

// over says that a work is done, if it was shown.
func (s *Show) over(name string) {
	b := s.begun[name]
	delete(s.begun, name)
	if b != nil && b.told {
		s.wipe()
		fmt.Fprintf(s.w, "%s: done, %s in %.1f s\n", name, b.last.Unit.format(float64(max(b.last.Done, b.last.Total)-b.from)), s.now().Sub(b.at).Seconds())
	}
}

const width = 16

// line is a work in words, of which so much was done in that time.
func (w Work) line(moved int64, took time.Duration) string {
	rate := float64(moved) / took.Seconds()
	speed := w.Unit.format(rate) + "/s"
	if w.Total <= 0 {
		return fmt.Sprintf("%s: %s, %s", w.Name, w.Unit.format(float64(w.Done)), speed)
	}
	done := min(max(float64(w.Done)/float64(w.Total), 0), 1)
	full := int(done * width)
	line := fmt.Sprintf("%s: %s%s %3.0f %% of %s, %s", w.Name,
		strings.Repeat("█", full), strings.Repeat("░", width-full), 100*done, w.Unit.format(float64(w.Total)), speed)
	if left := float64(w.Total - w.Done); rate > 0 {
		line += fmt.Sprintf(", %.0f s left", left/rate)
	}
	return line
}

// behind is how many entries a member lacks before that is work to be shown.
const behind = 10_000

// Of returns what a member has to do that takes long, by its status: snapshots, the entries
// that its machine has yet to apply, and on a leader, those that followers lack.
func Of(s actors.Status) (works []Work) {
	for _, p := range s.Snapshots {
		name := fmt.Sprintf("member %d: %v snapshot %d", s.ID, p.Stage, p.Index)
		switch p.Stage {
		case actors.SnapshotSending:
			name += fmt.Sprintf(" to %d", p.Peer)
		case actors.SnapshotReceiving:
			name += fmt.Sprintf(" from %d", p.Peer)
		}
		works = append(works, Work{Name: name, Done: p.Done, Total: p.Size})
	}
	if s.Commit-s.Applied > behind && s.Commit > s.Applied {
		works = append(works, Work{fmt.Sprintf("member %d: applying its log", s.ID), int64(s.Applied), int64(s.Commit), Entries})
	}
	for _, p := range s.Peers {
		if p.Match+behind < s.Commit && p.Match > 0 {
			works = append(works, Work{fmt.Sprintf("member %d: catching up", p.ID), int64(p.Match), int64(s.Commit), Entries})
		}
	}
	return works
}
