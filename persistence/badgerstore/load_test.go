package badgerstore

import (
	"strings"
	"sync"
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

// The contract allows Load to return less than fits. We do not: a follower that is
// far behind would take many more round trips.
func TestLoadReturnsAsManyEntriesAsFit(t *testing.T) {
	for name, opener := range map[string]persistence.Opener{"disk": quiet(t.TempDir()), "simulated": simulated(journaltest.New(1))} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, opener)
			a := mustOpenGroup(t, s, "a")
			var log []raftcore.Entry
			for i := range raftcore.Index(20) {
				log = append(log, command(1, i+1, strings.Repeat("x", 100)))
			}
			mustSave(t, s, saveOf(a, 1, log...))
			for _, c := range []struct{ from, to, maxBytes, want int }{
				{1, 20, 0, 1}, {1, 20, 100, 1}, {1, 20, 199, 1}, {1, 20, 200, 2}, {5, 20, 1050, 10}, {5, 7, 1 << 20, 3}, {20, 20, -5, 1},
			} {
				got, err := s.Load(a.Group, raftcore.Load{From: raftcore.Index(c.from), To: raftcore.Index(c.to), MaxBytes: c.maxBytes})
				if err != nil || len(got) != c.want || got[0].Index != raftcore.Index(c.from) {
					t.Errorf("%+v: %d entries, %v", c, len(got), err)
				}
			}
			if got, err := s.Load(a.Group, raftcore.Load{From: 1, To: 21}); err == nil {
				t.Errorf("of 21 entries, when there are 20, it returned %d", len(got))
			}
		})
	}
}

func TestLoadsRunBesideSavesAndHandovers(t *testing.T) {
	s := mustOpen(t, quiet(t.TempDir()))
	a := mustOpenGroup(t, s, "a")
	mustSave(t, s, saveOf(a, 1, commands(1, 1, 100)...))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 3 {
		readers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				// The first 100 are never cut off, the next 100 again and again.
				from := raftcore.Index(1 + (n*7+r)%100)
				got, err := s.Load(a.Group, raftcore.Load{From: from, To: 100, MaxBytes: 1 << 20})
				if err == nil {
					err = equalEntries(got, commands(1, from, 100))
				}
				if err != nil {
					t.Error(err)
					return
				}
				s.Load(a.Group, raftcore.Load{From: 90, To: 150, MaxBytes: 1 << 20}) // must not crash
			}
		})
	}
	for term := raftcore.Term(2); term < 120; term++ {
		mustSave(t, s, saveOf(a, term, commands(term, 101, 200)...))
	}
	close(done)
	readers.Wait()
	wantLog(t, s, a, append(commands(1, 1, 100), commands(119, 101, 200)...))
}
