package progress

import (
	"strings"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// clock is moved by the test.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestATerminalIsShownABarWithRateAndTimeLeft(t *testing.T) {
	var out strings.Builder
	c := &clock{time.Unix(1, 0)}
	s := newShow(&out, true, c.now)
	work := Work{Name: "opening", Total: 400e6}
	s.Update(work)
	if out.Len() > 0 {
		t.Errorf("what has just begun is shown: %q", out.String())
	}
	c.at, work.Done = c.at.Add(2*time.Second), 100e6
	s.Update(work)
	want := "opening: ████░░░░░░░░░░░░  25 % of 400 MB, 50 MB/s, 6 s left"
	if !strings.Contains(out.String(), want) {
		t.Errorf("it shows %q, want %q", out.String(), want)
	}
	out.Reset()
	s.Println("something else")
	if got := out.String(); got != "\r\x1b[Ksomething else\n" {
		t.Errorf("a line beside the bar is %q", got)
	}
	c.at = c.at.Add(2 * time.Second)
	s.Update()
	if want := "opening: done, 400 MB in 4.0 s\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("at the end it shows %q, want %q", out.String(), want)
	}
}

func TestAFileIsTwoLines(t *testing.T) {
	var out strings.Builder
	c := &clock{time.Unix(1, 0)}
	s := newShow(&out, false, c.now)
	for done := range int64(5) {
		s.Update(Work{Name: "short"}, Work{Name: "catching up", Done: 1000 * done, Total: 4000, Unit: Entries})
		c.at = c.at.Add(time.Second)
		s.Update(Work{Name: "catching up", Done: 1000 * done, Total: 4000, Unit: Entries})
	}
	s.Update()
	want := "catching up: ░░░░░░░░░░░░░░░░   0 % of 4000 entries, 0 entries/s\n" +
		"catching up: done, 4000 entries in 5.0 s\n"
	if out.String() != want {
		t.Errorf("it shows\n%s want\n%s", out.String(), want)
	}
}

func TestThatAStoreIsOpenIsSaidAtOnce(t *testing.T) {
	var out strings.Builder
	c := &clock{time.Unix(1, 0)}
	s := newShow(&out, false, c.now)
	for _, name := range []string{"reading", "reading again"} {
		opening := s.Opening(name)
		opening(0, 4000)
		s.Update()
		opening(2000, 4000)
		c.at = c.at.Add(time.Second)
		s.Update()
		opening(4000, 4000)
		s.Println("open")
		s.Update()
	}
	quick := s.Opening("quick")
	quick(0, 4000)
	s.Update()
	quick(4000, 4000)
	s.Update()
	want := "reading: ████████░░░░░░░░  50 % of 4 KB, 2 KB/s, 1 s left\nreading: done, 4 KB in 1.0 s\nopen\n"
	want += strings.ReplaceAll(want, "reading", "reading again")
	if out.String() != want {
		t.Errorf("it shows\n%s want\n%s", out.String(), want)
	}
}

func TestWhatTakesLongIsReadFromAStatus(t *testing.T) {
	s := actors.Status{
		Snapshots: []actors.SnapshotProgress{
			{Stage: actors.SnapshotSending, Peer: 2, Index: 70, Done: 5, Size: 10},
			{Stage: actors.SnapshotWriting, Index: 80, Done: 6},
		},
		Status: raftcore.Status{ID: 1, Commit: 50_000, Applied: 20_000, Peers: []raftcore.PeerStatus{
			{ID: 2, Match: 70}, {ID: 3, Match: 49_900},
		}},
	}
	want := []Work{
		{"member 1: sending snapshot 70 to 2", 5, 10, Bytes},
		{"member 1: writing snapshot 80", 6, 0, Bytes},
		{"member 1: applying its log", 20_000, 50_000, Entries},
		{"member 2: catching up", 70, 50_000, Entries},
	}
	got := Of(s)
	if len(got) != len(want) {
		t.Fatalf("it is %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("work %d is %v, want %v", i, got[i], want[i])
		}
	}
	s.Applied, s.Peers, s.Snapshots = s.Commit, nil, nil
	if got := Of(s); len(got) > 0 {
		t.Errorf("there is nothing to do, and it is %v", got)
	}
}
