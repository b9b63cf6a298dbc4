package main

import (
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestLocksKeepTheContract(t *testing.T) {
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New: func() actors.StateMachine { return newLocks() },
		Command: func(r *rand.Rand) []byte {
			c := command{Lock: strconv.Itoa(r.IntN(3)), Owner: strconv.Itoa(r.IntN(3)), Lease: time.Duration(r.IntN(1000)) * time.Millisecond}
			if r.IntN(2) == 0 {
				c.Release = raftcore.Index(r.IntN(100))
			}
			b, _ := json.Marshal(c)
			return b
		},
		Canonical: true,
	})
}

func TestALeaseEnds(t *testing.T) {
	noon := time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	l := newLocks()
	for _, step := range []struct {
		index raftcore.Index
		after time.Duration // noon
		c     command
		owner string
		token raftcore.Index
		ok    bool
	}{
		{1, 0, command{Lock: "x", Owner: "ann", Lease: time.Second}, "ann", 1, true},
		{2, 0, command{Lock: "x", Owner: "ann", Lease: time.Second}, "ann", 1, false}, // not even she
		{3, time.Second - 1, command{Lock: "x", Owner: "bob", Lease: time.Second}, "ann", 1, false},
		{4, 0, command{Lock: "y", Owner: "bob", Lease: time.Second}, "bob", 4, true}, // another lock
		{5, time.Second, command{Lock: "x", Owner: "bob", Lease: time.Second}, "bob", 5, true},
		{6, time.Second, command{Lock: "x", Owner: "ann", Release: 1}, "bob", 5, false},
		{7, time.Second, command{Lock: "x", Owner: "bob", Release: 5}, "", 0, true},
		{8, time.Second, command{Lock: "x", Owner: "bob", Release: 5}, "", 0, false}, // once
		{9, time.Second, command{Lock: "x", Owner: "ann", Lease: time.Second}, "ann", 9, true},
	} {
		data, _ := json.Marshal(step.c)
		var a answer
		if err := json.Unmarshal(l.Apply(actors.Entry{Index: step.index, Time: noon.Add(step.after), Data: data}), &a); err != nil {
			t.Fatal(err)
		}
		if a.Owner != step.owner || a.Token != step.token || (a.Refused == "") != step.ok {
			t.Errorf("entry %d is answered %+v", step.index, a)
		}
	}
}

func TestALeaseEndsWithItsSession(t *testing.T) {
	noon := time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	l := newLocks()
	for i, c := range []command{{Lock: "x"}, {Lock: "y"}, {Lock: "z"}} {
		c.Owner, c.Lease = "somebody", time.Hour
		data, _ := json.Marshal(c)
		l.Apply(actors.Entry{Index: raftcore.Index(10 + i), Time: noon, Data: data, Session: actors.SessionID(i / 2 * 7)}) // 0, 0 and 7
	}
	l.SessionEnded(actors.Entry{Index: 20, Time: noon, Session: 7})
	if _, x := l.Held["x"]; !x || len(l.Held) != 2 {
		t.Errorf("these are held: %v", l.Held)
	}
}

func TestWhatItSays(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "lock")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary).CombinedOutput()
	said := regexp.MustCompile(`^ann locks the report, for one second\.
  She has it, with token (\d+), and writes: done\.
bob wants it, too\.
  It is (?:ann|bob)'s. He waits until that is over\.
ann's program stands still, and does not notice how the time passes\.
  bob has it, with token (\d+), and writes: done\.
ann goes on, and believes that it is hers\. She writes with token (\d+):
  refused, for somebody came with token (\d+)\.
  And she cannot unlock what is bob's: that token holds nothing\.
Host 3 leads\. It is stopped while bob locks and unlocks a door, 100 times\.
  He was told 100 times that it is his\. It was granted 100 times\.
bob locks the door for an hour, and his program ends\.
  His session ends with it\. The door is ann's at once\.
$`).FindStringSubmatch(string(out))
	if err != nil || said == nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hers, _ := strconv.Atoi(said[1])
	his, _ := strconv.Atoi(said[2])
	if hers >= his || said[3] != said[1] || said[4] != said[2] {
		t.Errorf("the tokens are %v", said[1:])
	}
}
