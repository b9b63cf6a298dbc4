package rafttest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// ledger is the state machine of a simulated group: registers, which are set, and
// counters, which are added to. It keeps all commands, so that in the end everything
// that anybody was told can be held against them.
//
//	set <register> <value>    answers with the value before
//	add <counter> <name>      answers with the sum, and the name is not added twice by anybody
//	poison <name>             has every machine panic, until machines are mended
//	get <register>, sum <counter>, log
type ledger struct {
	host *stackHost
	log  []byte // a line for each command: its index, and it; what is there does not change
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
	l.host.mayPanic(e.Index, command)
	if e.Index > l.host.disk.longest {
		l.host.stack.fail("durability: %v applies entry %d, and its disk ends at %d", l.host, e.Index, l.host.disk.longest)
	}
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
	return fmt.Appendf(nil, "%d %s", l.host.stack.queue.now, l.ask(string(question))), nil
}

// Snapshot shares the commands: what is appended to them later is not written.
func (l *ledger) Snapshot() (io.WriterTo, error) {
	return ledgerImage{l.host, l.log[:len(l.log):len(l.log)]}, nil
}

// ledgerImage is a ledger that is written. Ballast makes it larger than a chunk.
type ledgerImage struct {
	host *stackHost
	log  []byte
}

func (i ledgerImage) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(ballast(i.host.stack.plan.Ballast))
	if err == nil {
		var m int
		m, err = w.Write(i.log)
		n += m
	}
	if err == nil {
		i.host.stack.stats.Snapshots++
		i.host.aim()
	}
	return int64(n), err
}

// ballast is a line of so many bytes.
func ballast(n int) []byte {
	b := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	return append(b, '\n')
}

func (l *ledger) Restore(r io.Reader) error {
	b := bufio.NewReader(r)
	line, err := b.ReadBytes('\n')
	if err != nil {
		return err
	}
	if want := ballast(l.host.stack.plan.Ballast); !bytes.Equal(line, want) {
		l.host.stack.fail("%v restores a snapshot that nobody has written", l.host)
	}
	if l.log, err = io.ReadAll(b); err != nil {
		return err
	}
	for _, e := range parseLedger(l.log) {
		l.carryOut(e.command)
	}
	l.host.stack.stats.Restores++
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
