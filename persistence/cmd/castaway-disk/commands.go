package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// commands are all of them, in the order of the help. They are filled in by init
// because their functions look at them.
var commands []*command

func init() {
	commands = []*command{
		{name: "groups", args: []string{"DIR"}, flags: "json live", help: helpGroups, run: runGroups},
		{name: "show", args: []string{"DIR", "GROUP"}, flags: "json live", help: helpShow, run: runShow},
		{name: "entries", args: []string{"DIR", "GROUP"}, flags: "json live from to max data bytes", help: helpEntries, run: runEntries},
		{name: "verify", args: []string{"DIR"}, flags: "json live", help: helpVerify, run: runVerify},
		{name: "recovery", args: []string{"DIR"}, flags: "json", help: helpRecovery, run: runRecovery},
		{name: "export", args: []string{"DIR", "GROUP"}, flags: "json damaged", help: helpExport, run: runExport},
		{name: "import", args: []string{"DIR", "GROUP"}, flags: "json write create", help: helpImport, run: runImport},
		{name: "lineage", args: []string{"DIR..."}, flags: "json group all id learners despite accept-data-loss", help: helpLineage, run: runLineage},
		{name: "replay", args: []string{"FILE"}, flags: "json max", help: helpReplay, run: runReplay},
	}
}

func commandNames() []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	return names
}

// facts are what an answer is made of.
type facts interface{ text(w io.Writer) }

// answer prints facts, as JSON if that was asked for.
func (v *invocation) answer(f facts) error {
	out := bufio.NewWriter(v.stdout)
	if v.json {
		if err := printJSON(out, f); err != nil {
			return err
		}
	} else {
		f.text(out)
	}
	return out.Flush()
}

func runGroups(v *invocation) error {
	return v.with(false, func(in *badgerstore.Inspection) error {
		f := &groupsFacts{storeFacts: storeOf(in), Groups: []groupFacts{}, Damage: damageOf(in.Damage)}
		for _, g := range in.Groups {
			f.Groups = append(f.Groups, groupOf(g))
		}
		return v.answer(f)
	})
}

func runShow(v *invocation) error {
	return v.with(false, func(in *badgerstore.Inspection) error {
		g, err := find(in, v.group)
		if err != nil {
			return err
		}
		return v.answer(&showFacts{storeOf(in), groupOf(g), damageOf(in.Damage)})
	})
}

func runVerify(v *invocation) error {
	return v.with(true, func(in *badgerstore.Inspection) error {
		found, err := v.inspectSnapshots(in)
		if err != nil {
			return err
		}
		f := verifyOf(in, found)
		return v.answer(&f)
	})
}

func runRecovery(v *invocation) error {
	return v.with(true, func(in *badgerstore.Inspection) error {
		r, err := in.Rehearse()
		if err != nil {
			return err
		}
		f := recoveryOf(in, r)
		if err := v.answer(&f); err != nil {
			return err
		}
		if r.Err != nil {
			return damageError{fmt.Errorf("opening %s would fail: %w", v.dir, r.Err)}
		}
		return nil
	})
}

// entryFacts is an entry.
type entryFacts struct {
	Index raftcore.Index `json:"index"`
	Term  raftcore.Term  `json:"term"`
	Time  int64          `json:"time"`
	Kind  string         `json:"kind"`
	Bytes int            `json:"bytes"`
	Data  *string        `json:"data"`
	Conf  *configFacts   `json:"config,omitempty"`
}

func kindText(k raftcore.EntryKind) string {
	switch k {
	case raftcore.EntryNoop:
		return "noop"
	case raftcore.EntryCommand:
		return "command"
	case raftcore.EntryConfig:
		return "config"
	case raftcore.EntryHost:
		return "host"
	case raftcore.EntryMeta:
		return "meta"
	}
	return fmt.Sprintf("kind %d", k)
}

// entriesPrinter prints entries as they come: there may be many.
type entriesPrinter struct {
	v     *invocation
	out   *bufio.Writer
	lines *tabwriter.Writer
	n     int
	lost  []lostFacts
}

type lostFacts struct {
	From   raftcore.Index `json:"from"`
	To     raftcore.Index `json:"to"`
	Detail string         `json:"detail"`
}

func (p *entriesPrinter) entry(e *raftcore.Entry) error {
	f := entryFacts{Index: e.Index, Term: e.Term, Time: e.Time, Kind: kindText(e.Kind), Bytes: len(e.Data)}
	if e.Config != nil {
		c := confOf(&raftcore.ConfigAt{Index: e.Index, Conf: *e.Config})
		f.Conf = &c
	}
	p.n++
	if !p.v.json {
		data := dataText(e.Data, p.v.data, p.v.bytes)
		if f.Conf != nil {
			data = f.Conf.text()
		}
		_, err := fmt.Fprintf(p.lines, "%d\t%d\t%s\t%s\t%d\t%s\n", f.Index, f.Term, moment(f.Time), f.Kind, f.Bytes, data)
		if p.n%500 == 0 {
			p.lines.Flush()
		}
		return err
	}
	if e.Data != nil && p.v.data != "none" {
		data, _ := nameOf(string(e.Data))
		if p.v.data == "hex" {
			data = hex.EncodeToString(e.Data)
		}
		f.Data = &data
	}
	if p.n > 1 {
		p.out.WriteString(",")
	}
	p.out.WriteString("\n    ")
	return compactJSON(p.out, f)
}

// compactJSON prints facts on one line, and does not end it.
func compactJSON(w io.Writer, f any) error {
	b, err := json.Marshal(f)
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

func (p *entriesPrinter) miss(from, to raftcore.Index, err error) error {
	p.lost = append(p.lost, lostFacts{from, to, err.Error()})
	if !p.v.json {
		p.lines.Flush()
		fmt.Fprintf(p.out, "LOST: %s: %v\n", span(from, to), err)
	}
	return nil
}

func runEntries(v *invocation) error {
	return v.with(false, func(in *badgerstore.Inspection) error {
		g, err := find(in, v.group)
		if err != nil {
			return err
		}
		first, last := g.Log.Base.Index+1, g.Log.Last
		from, to := max(first, raftcore.Index(v.from)), last
		if v.to != 0 {
			to = min(last, raftcore.Index(v.to))
		}
		more := uint64(0)
		if limit := raftcore.Index(v.max); limit > 0 && to >= from && to-from+1 > limit {
			more = uint64(to - from + 1 - limit)
			to = from + limit - 1
		}
		out := bufio.NewWriter(v.stdout)
		p := &entriesPrinter{v: v, out: out, lines: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
		head := struct {
			storeFacts
			Group groupFacts     `json:"group"`
			From  raftcore.Index `json:"from"`
			To    raftcore.Index `json:"to"`
			More  uint64         `json:"more"`
			As    string         `json:"dataIs"`
		}{storeOf(in), groupOf(g), from, max(to, from-1), more, v.data}
		if v.json {
			b, err := json.Marshal(head)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s,\n  \"entries\": [", b[:len(b)-1])
		} else if from > to {
			fmt.Fprintf(out, "There are none: the log of group %s is %s.\n", head.Group.title(), logText(first, last))
		} else {
			fmt.Fprintln(p.lines, "index\tterm\ttime (UTC)\tkind\tbytes\tdata")
		}
		if err := in.Entries(g, from, to, p.entry, p.miss); err != nil {
			return err
		}
		p.lines.Flush()
		if v.json {
			fmt.Fprint(out, "\n  ],\n  \"lost\": ")
			if err := compactJSON(out, list(p.lost)); err != nil {
				return err
			}
			fmt.Fprint(out, ",\n  \"damage\": ")
			if err := compactJSON(out, damageOf(in.Damage)); err != nil {
				return err
			}
			fmt.Fprint(out, "\n}\n")
		} else if more > 0 {
			fmt.Fprintf(out, "… %s more, up to %d: go on with -from %d\n", count(more, "entry"), to+raftcore.Index(more), to+1)
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if len(p.lost) > 0 {
			return damageError{fmt.Errorf("of group %s, entries are lost in %s", head.Group.title(), count(len(p.lost), "place"))}
		}
		return nil
	})
}

func logText(first, last raftcore.Index) string {
	if last < first {
		return "empty"
	}
	return span(first, last)
}
