package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestTheScheduleKeepsTheContract(t *testing.T) {
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		New: func() actors.StateMachine { return newSchedule() },
		Command: func(r *rand.Rand) []byte {
			if r.IntN(2) == 0 {
				return fmt.Appendf(nil, "done job-%d", r.IntN(9))
			}
			return fmt.Appendf(nil, "in %dms job-%d", r.IntN(1000), r.IntN(9))
		},
		Canonical: true,
	})
}

func TestWhatTheScheduleHasDone(t *testing.T) {
	s, noon := newSchedule(), time.Date(2000, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		e    actors.Entry
		want []actors.Effect
	}{
		{actors.Entry{Data: []byte("in 1s tea")}, []actors.Effect{actors.Monitor{Actor: "bell"}, actors.SetTimer{Name: "tea", At: noon.Add(time.Second)}}},
		{actors.Entry{Data: []byte("in 2s eggs")}, []actors.Effect{actors.SetTimer{Name: "eggs", At: noon.Add(2 * time.Second)}}},
		{actors.Entry{Data: []byte("in a while eggs")}, nil},
		{actors.Entry{Data: []byte("in 1s")}, nil},
		{actors.Entry{Data: []byte("dance")}, nil},
		{actors.Entry{Timer: "tea"}, []actors.Effect{actors.Send{To: "bell", Data: []byte("tea")}}},
		{actors.Entry{Down: "bell"}, []actors.Effect{actors.Send{To: "gong", Data: []byte("tea")}}}, // who knows whether it rang
		{actors.Entry{Data: []byte("done tea")}, []actors.Effect{actors.StopTimer{Name: "tea"}}},
		{actors.Entry{Data: []byte("done tea")}, nil},
		{actors.Entry{Timer: "eggs"}, []actors.Effect{actors.Send{To: "gong", Data: []byte("eggs")}}},
	} {
		var got []actors.Effect
		step.e.Time, step.e.Effects = noon, &got
		s.Apply(step.e)
		if !reflect.DeepEqual(got, step.want) {
			t.Errorf("at %q%q%q it does %v, and should do %v", step.e.Data, step.e.Timer, step.e.Down, got, step.want)
		}
	}
}

func TestWhatItSays(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "effects")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(binary).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, line := range []string{ // on a slow machine others rang in between
		`Host 3 leads, so its bell is to ring:`,
		`  in 500ms tea: noted`,
		`  bell on host \d: tea! \(\d+\.0\)`,
		`Host 3 is stopped before the time has come:`,
		`  in 3s eggs: noted`,
		`  it has stopped`,
		`  bell on host \d: eggs! \(\d+\.0\)`,
		`The bells are taken away\. The group monitors them, and turns to the gong:`,
		`  in 500ms bread: noted`,
		`  gong on host [12]: bread! \(\d+\.\d+\)`,
	} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).Match(out) {
			t.Errorf("it does not say %q:\n%s", line, out)
		}
	}
}
