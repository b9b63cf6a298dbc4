package rafttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// ledger is the state machine of the main group: registers, which are set, and
// counters, which are added to. It keeps all commands, so that in the end everything
// that anybody was told can be held against them.
//
//	set <register> <value>    answers with the value before
//	add <counter> <name>      answers with the sum, and the name is not added twice by anybody
//	poison <name>             has every machine panic, until machines are mended
//	get <register>, sum <counter>, log
type ledger struct {
	stack *stack
	log   []byte // a line for each command: its index, and it; what is there does not change
	registers
}

// registers are what the commands have made.
type registers struct {
	values map[string]string
	sums   map[string]int
}

func newRegisters() registers { return registers{map[string]string{}, map[string]int{}} }

// carryOut carries out a command and returns the answer.
func (r *registers) carryOut(command string) string {
	kind, rest, _ := strings.Cut(command, " ")
	name, value, _ := strings.Cut(rest, " ")
	switch kind {
	case "set":
		before := r.values[name]
		r.values[name] = value
		return before
	case "add":
		r.sums[name]++
		return strconv.Itoa(r.sums[name])
	}
	return ""
}

// ask answers a question.
func (r *registers) ask(question string) string {
	kind, name, _ := strings.Cut(question, " ")
	if kind == "sum" {
		return strconv.Itoa(r.sums[name])
	}
	return r.values[name]
}

func (l *ledger) Apply(e actors.Entry) []byte {
	command := string(e.Data)
	l.log = strconv.AppendUint(l.log, uint64(e.Index), 10)
	l.log = append(append(append(l.log, ' '), command...), '\n')
	return []byte(l.carryOut(command))
}

var errNoSuchQuestion = errors.New("there is no such question")

// Query answers with the time before the answer: by that one knows how old it is.
func (l *ledger) Query(_ context.Context, question []byte) ([]byte, error) {
	switch string(question) {
	case "what?":
		return nil, errNoSuchQuestion
	case "log":
		return l.log[:len(l.log):len(l.log)], nil
	}
	return fmt.Appendf(nil, "%d %s", l.stack.queue.now, l.ask(string(question))), nil
}

// Snapshot shares the commands: what is appended to them later is not written.
func (l *ledger) Snapshot() (io.WriterTo, error) {
	return stateImage(l.log[:len(l.log):len(l.log)]), nil
}

// stateImage is a state that is written as it is.
type stateImage []byte

func (i stateImage) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(i)
	return int64(n), err
}

func (l *ledger) Restore(r io.Reader) (err error) {
	if l.log, err = io.ReadAll(r); err != nil {
		return err
	}
	for _, e := range parseLedger(l.log) {
		l.carryOut(e.command)
	}
	return nil
}

// ledgerEntry is a command in a ledger.
type ledgerEntry struct {
	index   raftcore.Index
	command string
}

func parseLedger(log []byte) (entries []ledgerEntry) {
	for line := range strings.Lines(string(log)) {
		index, command, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		i, _ := strconv.ParseUint(index, 10, 64)
		entries = append(entries, ledgerEntry{raftcore.Index(i), command})
	}
	return entries
}

// parseAnswer takes the answer to a Query apart.
func parseAnswer(data []byte) (at time.Duration, answer string) {
	text, answer, _ := strings.Cut(string(data), " ")
	n, _ := strconv.ParseInt(text, 10, 64)
	return time.Duration(n), answer
}

// The actors that foremen deal with: on each host there is one of each.
const (
	sink     = "sink"     // takes what is sent
	immortal = "immortal" // is there as long as its process
	mortals  = 3          // these come and go
	nobody   = "nobody"   // is nowhere
)

// foreman is a state machine that has effects: every job has some, and so has what comes
// of them.
//
//	job <name>     has effects that the name decides; answers with how many there were
//	more <name>    was appended by a job
//	state          what has come of it
type foreman struct{ foremanState }

// foremanState counts what has happened: by kind, and of timers and actors by name.
type foremanState struct{ Counts map[string]int }

func newForeman() *foreman { return &foreman{foremanState{map[string]int{}}} }

func (f *foreman) count(what string) int {
	f.Counts[what]++
	return f.Counts[what]
}

func (f *foreman) Apply(e actors.Entry) []byte {
	switch {
	case e.Timer != "":
		n := f.count("rang " + e.Timer)
		e.Do(actors.Send{To: sink, Data: fmt.Appendf(nil, "%s for the %d. time", e.Timer, n)})
		return nil
	case e.Down != "":
		n := f.count("down " + e.Down)
		e.Do(actors.Append{Data: fmt.Appendf(nil, "more %s is down for the %d. time", e.Down, n)})
		return nil
	}
	kind, name, _ := strings.Cut(string(e.Data), " ")
	n := f.count(kind)
	if kind == "job" {
		f.work(e, name)
	}
	return strconv.AppendInt(nil, int64(n), 10)
}

// work has the effects of a job.
func (f *foreman) work(e actors.Entry, name string) {
	h := fnv.New64a()
	h.Write([]byte(name))
	dice := rand.New(rand.NewPCG(h.Sum64(), 0)) // of the name, so all members cast the same
	timer, mortal := fmt.Sprint("t", dice.IntN(5)), fmt.Sprint("mortal-", dice.IntN(mortals))
	for range 1 + dice.IntN(3) {
		switch dice.IntN(12) {
		case 0, 1, 2:
			e.Do(actors.Send{To: sink, Data: []byte(name)})
		case 3:
			e.Do(actors.Send{To: nobody, Data: e.Data})
		case 4, 5:
			e.Do(actors.Append{Data: fmt.Appendf(nil, "more of %s, %d", name, dice.Uint32())})
		case 6, 7, 8:
			e.Do(actors.SetTimer{Name: timer, At: e.Time.Add(time.Duration(dice.IntN(600)-50) * time.Millisecond)})
		case 9:
			e.Do(actors.StopTimer{Name: timer})
		case 10:
			e.Do(actors.Monitor{Actor: []string{mortal, mortal, immortal, nobody}[dice.IntN(4)]})
		case 11:
			e.Do(actors.Demonitor{Actor: mortal})
		}
	}
}

func (f *foreman) Query(context.Context, []byte) ([]byte, error) { return json.Marshal(f.Counts) }

func (f *foreman) Snapshot() (io.WriterTo, error) {
	b, err := json.Marshal(f.foremanState)
	return stateImage(b), err
}

func (f *foreman) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(&f.foremanState) }

// revised is a state machine of which there are several versions: each counts in another way.
type revised struct{ Sum, Version uint64 }

// newest is the newest version of it.
const newest = 2

func (r *revised) Apply(e actors.Entry) []byte {
	r.Version = e.Version
	switch e.Version {
	case 0:
		r.Sum++
	case 1:
		r.Sum += uint64(len(e.Data))
	default:
		r.Sum = r.Sum*31 + uint64(len(e.Data))
	}
	return fmt.Appendf(nil, "%d in version %d", r.Sum, e.Version)
}

func (r *revised) Query(context.Context, []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%d since version %d", r.Sum, r.Version), nil
}

func (r *revised) Snapshot() (io.WriterTo, error) {
	b, err := json.Marshal(r)
	return stateImage(b), err
}

func (r *revised) Restore(from io.Reader) error { return json.NewDecoder(from).Decode(r) }
