package main

import (
	"fmt"
	"io"
	"os"

	"github.com/castaway-go/castaway/persistence/flight"
)

// storyFacts is what came of playing a story back.
type storyFacts struct {
	File    string   `json:"file"`
	Group   string   `json:"group"`
	Node    uint64   `json:"node"`
	Boot    uint64   `json:"boot"`
	Program string   `json:"program"`
	Fault   string   `json:"fault"`
	Same    bool     `json:"same"`
	Verdict string   `json:"verdict"`
	Lines   int      `json:"lines"`
	Last    []string `json:"last"`
}

func (f *storyFacts) text(w io.Writer) {
	fmt.Fprintf(w, "group    %q, node %d, its start number %d\nprogram  %s\nfault    %s\n\n", f.Group, f.Node, f.Boot, f.Program, f.Fault)
	if len(f.Last) < f.Lines {
		fmt.Fprintf(w, "the last %d of %d lines; -max shows more\n", len(f.Last), f.Lines)
	}
	for _, line := range f.Last {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "\n%s\n", f.Verdict)
}

func runReplay(v *invocation) error {
	file, err := os.ReadFile(v.dir)
	if err != nil {
		return err
	}
	story, err := flight.Parse(file)
	if err != nil {
		return fmt.Errorf("%s: %w", v.dir, err)
	}
	if !story.Recorded() {
		return fmt.Errorf("%s has no recording: the state of the node was too large to be kept", v.dir)
	}
	f := &storyFacts{File: v.dir, Group: story.Group, Node: uint64(story.Node), Boot: story.Boot, Program: story.Program, Fault: story.Fault, Last: []string{}}
	end := story.Replay(func(line string) {
		if f.Lines++; v.max == 0 {
			return
		}
		if len(f.Last) == v.max {
			f.Last = f.Last[1:]
		}
		f.Last = append(f.Last, line)
	})
	f.Same, f.Verdict = story.Same(end), story.Verdict(end)
	if err := v.answer(f); err != nil {
		return err
	}
	if !f.Same {
		return damageError{fmt.Errorf("%s does not end in the fault that it tells of", v.dir)}
	}
	return nil
}
