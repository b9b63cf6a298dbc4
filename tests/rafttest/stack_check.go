package rafttest

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/castaway-go/castaway/raftcore"
)

// check holds what the clients were told against what was carried out.
func (s *stack) check() {
	if err := checkHistory(s.main().history, parseLedger(s.log)); err != nil {
		s.fail("%w", err)
	}
	for _, g := range s.groups {
		if err := g.checkRecord(g.calm); err != nil {
			s.fail("%w", err)
		}
		s.count(g)
		s.queue.note(nil, "", "group %s has applied %x", g.name, g.record.hash())
	}
}

// count counts what a group has done.
func (s *stack) count(g *stackGroup) {
	seen := map[uint64]bool{}
	for _, e := range g.record.entries {
		switch {
		case e.Timer != "":
			s.stats.Timers++
		case e.Down != "":
			s.stats.Downs++
		case strings.HasPrefix(string(e.Data), "more "):
			s.stats.Appends++
		}
		if !seen[e.Version] && e.Version > 0 {
			s.stats.Upgrades++
		}
		seen[e.Version] = true
	}
}

// checkHistory checks a history against the commands that all members have carried out
// in the end, which is the order that makes it linearizable, or nothing does:
//
//   - each command is there once at most: once if it was acknowledged, and if it was
//     rejected not at all;
//   - every answer is what the commands before it make of it;
//   - whoever was answered before another one asked stands before that one.
//
// It is sound: a history that passes is linearizable, with this order as the proof. What
// only seems so by its values, but not by the order that the members agreed on, fails.
func checkHistory(history []StackOp, log []ledgerEntry) error {
	placed, err := placeAll(history, log)
	if err != nil {
		return err
	}
	if err := replay(placed, log); err != nil {
		return err
	}
	return inOrder(placed)
}

// inOrder demands that who was answered before another one asked stands before that one.
func inOrder(placed []placedOp) error {
	// A read stands behind the command whose entry it was answered at.
	slices.SortStableFunc(placed, func(a, b placedOp) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.read(), b.read()), cmp.Compare(a.Call, b.Call))
	})
	var latest *placedOp // of those before, the one that was asked for last
	for i := range placed {
		o := &placed[i]
		if !o.Linearizable() {
			continue
		}
		if latest != nil && o.returned() < latest.Call {
			return fmt.Errorf("linearizability: %v was answered before %v was asked, and stands behind it, at entries %d and %d", o.StackOp, latest.StackOp, o.at, latest.at)
		}
		if latest == nil || o.Call > latest.Call {
			latest = o
		}
	}
	return nil
}

// placedOp is an operation and the entry that it stands at.
type placedOp struct {
	StackOp
	at raftcore.Index
}

func (o StackOp) read() int {
	if o.Kind == "get" || o.Kind == "sum" || o.Kind == "look" {
		return 1
	}
	return 0
}

func (o *placedOp) returned() uint64 {
	if o.Outcome != Happened {
		return math.MaxUint64
	}
	return o.Return
}

// placeAll finds the entry of every operation that has one.
func placeAll(history []StackOp, log []ledgerEntry) (placed []placedOp, err error) {
	entries := map[string]raftcore.Index{}
	for i, e := range log {
		if i > 0 && e.index <= log[i-1].index {
			return nil, fmt.Errorf("the ledger has entry %d behind %d", e.index, log[i-1].index)
		}
		if first, twice := entries[e.command]; twice {
			return nil, fmt.Errorf("exactly once: %q was carried out at entry %d and at %d", e.command, first, e.index)
		}
		entries[e.command] = e.index
	}
	for _, o := range history {
		p := placedOp{o, o.Index}
		if p.read() == 0 {
			command := string(o.command())
			at, there := entries[command]
			switch delete(entries, command); {
			case there && o.Outcome == Rejected:
				return nil, fmt.Errorf("%v was rejected, and carried out at entry %d", o, at)
			case !there && o.Outcome == Happened:
				return nil, fmt.Errorf("%v was acknowledged, and was never carried out", o)
			case o.Kind == "set" && o.Outcome == Happened && at != o.Index:
				return nil, fmt.Errorf("%v was carried out at entry %d, and it was said to be %d", o, at, o.Index)
			case !there:
				continue
			}
			p.at = at
		}
		placed = append(placed, p)
	}
	for command, at := range entries {
		return nil, fmt.Errorf("%q was carried out at entry %d, and nobody asked for it", command, at)
	}
	return placed, nil
}

// replay carries out all commands once more, and compares the answers.
func replay(placed []placedOp, log []ledgerEntry) error {
	byEntry := slices.Clone(placed)
	slices.SortStableFunc(byEntry, func(a, b placedOp) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.read(), b.read()))
	})
	state := newRegisters()
	for _, o := range byEntry {
		answer := ""
		for len(log) > 0 && log[0].index <= o.at {
			answer = state.carryOut(log[0].command)
			log = log[1:]
		}
		if o.read() == 1 {
			answer = state.ask(o.Kind + " " + o.Key)
		}
		if o.Outcome == Happened && o.Answer != answer {
			return fmt.Errorf("%v: at entry %d the answer is %q", o.StackOp, o.at, answer)
		}
	}
	return nil
}
