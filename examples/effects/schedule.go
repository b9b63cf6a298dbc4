package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/castaway-go/castaway/actors"
)

// schedule is the state machine. Its commands are
//
//	in DURATION JOB    remind of a job
//	done JOB           somebody has been reminded
//
// It has the bell ring, as long as that is there; then the gong.
type schedule struct {
	Jobs      map[string]string // what each job that is not done waits for
	Monitored bool              // the bell is
	Gong      bool              // the bell is gone
}

const (
	itsTime = "its time"
	ringing = "somebody to say that he has rung"
)

func newSchedule() *schedule { return &schedule{Jobs: map[string]string{}} }

func (s *schedule) Apply(e actors.Entry) []byte {
	switch {
	case e.Timer != "": // the time has come
		s.ring(e, e.Timer)
		return nil
	case e.Down != "": // the bell is gone, and may have rung before, or not
		s.Gong = true
		for _, job := range slices.Sorted(maps.Keys(s.Jobs)) { // in an order that is the same everywhere
			if s.Jobs[job] == ringing {
				s.ring(e, job)
			}
		}
		return nil
	}
	verb, rest, _ := strings.Cut(string(e.Data), " ")
	switch verb {
	case "in":
		return []byte(s.in(e, rest))
	case "done":
		if _, is := s.Jobs[rest]; is {
			delete(s.Jobs, rest)
			e.Do(actors.StopTimer{Name: rest}) // if it has yet to go off
		}
		return []byte(rest)
	}
	return []byte("what?")
}

func (s *schedule) in(e actors.Entry, rest string) string {
	duration, job, _ := strings.Cut(rest, " ")
	d, err := time.ParseDuration(duration)
	switch {
	case err != nil:
		return err.Error()
	case job == "" || !utf8.ValidString(job): // JSON would not keep it
		return "what for?"
	}
	if !s.Monitored {
		s.Monitored = true
		e.Do(actors.Monitor{Actor: "bell"})
	}
	s.Jobs[job] = itsTime
	e.Do(actors.SetTimer{Name: job, At: e.Time.Add(d)})
	return "noted"
}

func (s *schedule) ring(e actors.Entry, job string) {
	s.Jobs[job] = ringing
	who := "bell"
	if s.Gong {
		who = "gong"
	}
	e.Do(actors.Send{To: who, Data: []byte(job)})
}

// Query answers what is not done.
func (s *schedule) Query(context.Context, []byte) ([]byte, error) {
	var b bytes.Buffer
	for _, job := range slices.Sorted(maps.Keys(s.Jobs)) {
		fmt.Fprintf(&b, "%s waits for %s\n", job, s.Jobs[job])
	}
	return b.Bytes(), nil
}

func (s *schedule) Snapshot() (io.WriterTo, error) {
	state, err := json.Marshal(s)
	return bytes.NewBuffer(state), err
}

func (s *schedule) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(s) }
