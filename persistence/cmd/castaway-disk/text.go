package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/castaway-go/castaway/raftcore"
)

// The texts. Each is made of the facts that -json prints, and of nothing else.

// table prints lines whose columns are parted by tabs.
func table(w io.Writer, lines func(w io.Writer)) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	lines(t)
	t.Flush()
}

// count returns a number and what is counted.
func count[N int | int64 | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		what = stem + "ie"
	} else if strings.HasSuffix(what, "ch") {
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// span returns a range of entries.
func span(from, to raftcore.Index) string {
	if from == to {
		return fmt.Sprintf("entry %d", from)
	}
	return fmt.Sprintf("entries %d to %d", from, to)
}

// moment returns a time of an entry.
func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02 15:04:05.000")
}

func (g *groupFacts) title() string {
	if g.NameBytes != nil {
		return fmt.Sprintf("%q", string(g.NameBytes))
	}
	return fmt.Sprintf("%q", g.Name)
}

func (s *storeFacts) text(w io.Writer) {
	if s.Host == 0 {
		fmt.Fprintf(w, "store %s in %s\n", s.Store, s.Dir)
	} else {
		fmt.Fprintf(w, "store %s of host %d in %s\n", s.Store, s.Host, s.Dir)
	}
	if s.Fresh {
		fmt.Fprintln(w, "It was being made when that was interrupted: nothing was ever saved in it, and opening it begins anew.")
	}
	if s.Cutting {
		fmt.Fprintln(w, "A damage was being repaired when that was interrupted: opening goes on with it.")
	}
	if s.InUse {
		fmt.Fprintln(w, "A process has it open: this is how it was a moment ago.")
	}
}

func (f *groupsFacts) text(w io.Writer) {
	f.storeFacts.text(w)
	fmt.Fprintln(w)
	if len(f.Groups) == 0 {
		fmt.Fprintln(w, "There are no groups.")
	} else {
		table(w, func(w io.Writer) {
			fmt.Fprintln(w, "#\tgroup\tterm\tvote\tlog\tsnapshot\tmember\tincarnation")
			for i := range f.Groups {
				g := &f.Groups[i]
				log, snapshot := "empty", "none"
				switch {
				case g.Removed != nil:
					log = "gone"
				case g.Entries > 0:
					log = fmt.Sprintf("%d to %d", g.First, g.Last)
				case g.Base != nil:
					log = fmt.Sprintf("empty, after %d", g.Last)
				}
				if g.Snapshot != nil {
					snapshot = fmt.Sprintf("of %d", g.Snapshot.Index)
				}
				fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", g.Number, g.title(), g.HardState.Term, vote(g.HardState.Vote), log, snapshot, g.standing(), g.Incarnation)
			}
		})
	}
	damageText(w, f.Damage)
}

func vote(id raftcore.NodeID) string {
	if id == raftcore.Nobody {
		return "none"
	}
	return fmt.Sprintf("for %d", id)
}

// standing says whether the member's word counts.
func (g *groupFacts) standing() string {
	switch {
	case g.Removed != nil:
		return "removed " + time.UnixMilli(*g.Removed).UTC().Format(time.RFC3339)
	case g.HardState.Joined && g.HardState.Witness:
		return "joined, a witness: it has no data"
	case g.HardState.Joined:
		return "joined"
	case g.Damaged:
		return "newcomer, after damage or a removal"
	}
	return "newcomer"
}

func (f *showFacts) text(w io.Writer) {
	f.storeFacts.text(w)
	g := &f.Group
	fmt.Fprintf(w, "\ngroup %s, number %d\n", g.title(), g.Number)
	if !g.Known {
		fmt.Fprintln(w, "What names this group is lost.")
	}
	table(w, func(w io.Writer) {
		line := func(what, format string, args ...any) {
			fmt.Fprintf(w, "  %s\t%s\n", what, fmt.Sprintf(format, args...))
		}
		line("incarnation", "%s", g.Incarnation)
		h := &g.HardState
		line("hard state", "term %d, vote %s, cluster %s, %s", h.Term, vote(h.Vote), h.Cluster, g.standing())
		line("snapshot", "%s", g.Snapshot.text())
		line("base", "%s", g.Base.text())
		if g.Removed != nil {
			line("log", "gone: a tombstone is left, with the last incarnation and hard state")
		} else if g.Entries == 0 {
			line("log", "empty")
		} else {
			line("log", "%s", span(g.First, g.Last))
		}
		for i, r := range g.Runs {
			line(once(i, "terms"), "%d: %s", r.Term, span(r.First, r.Last))
		}
		for i := range g.Configs {
			line(once(i, "configurations"), "%s", g.Configs[i].text())
		}
		switch {
		case g.Badger == nil:
			line("in Badger", "nothing: no segment of the journal has been handed over since the group is there")
		case g.Badger.To == 0:
			line("in Badger", "no entries; written %s", count(g.Badger.Version, "time"))
		default:
			line("in Badger", "%s; written %s", span(g.Badger.From, g.Badger.To), count(g.Badger.Version, "time"))
		}
		if len(g.Journal) == 0 {
			line("in the journal", "no entries")
		}
		for i, e := range g.Journal {
			line(once(i, "in the journal"), "segment %d: %s, in %s", e.Segment, span(e.From, e.To), count(e.Records, "record"))
		}
		for i, e := range g.Missing {
			line(once(i, "missing"), "%s", span(e.From, e.To))
		}
	})
	damageText(w, f.Damage)
}

// once returns a word for the first of several lines, and nothing for the others.
func once(i int, word string) string {
	if i > 0 {
		return ""
	}
	return word
}

func (s *snapshotFacts) text() string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("entry %d, term %d, of %s; %s", s.Index, s.Term, moment(s.Time), s.Config.text())
}

func (c *configFacts) text() string {
	ids := func(list []raftcore.NodeID) string { return strings.Trim(fmt.Sprint(list), "[]") }
	text := "voters " + ids(c.Voters)
	if len(c.Outgoing) > 0 {
		text += ", leaving from " + ids(c.Outgoing)
	}
	if len(c.Learners) > 0 {
		text += ", learners " + ids(c.Learners)
	}
	if len(c.Witnesses) > 0 {
		text += ", witnesses " + ids(c.Witnesses)
	}
	return fmt.Sprintf("%s, since entry %d", text, c.Index)
}

// damageText lists damages, if there are any.
func damageText(w io.Writer, damage []damageFacts) {
	if len(damage) == 0 {
		return
	}
	fmt.Fprintf(w, "\nDAMAGED in %s:\n", count(len(damage), "place"))
	for i := range damage {
		d := &damage[i]
		where := d.File
		if d.Bytes > 0 {
			where = fmt.Sprintf("%s, offset %d, %s", d.File, d.Offset, count(d.Bytes, "byte"))
		} else if d.Offset > 0 {
			where = fmt.Sprintf("%s, offset %d", d.File, d.Offset)
		}
		fmt.Fprintf(w, "  %s\n    %s\n", where, d.Detail)
		if b := d.Batches; b != nil {
			what := fmt.Sprintf("batches %d to %d, with whatever was saved in them", b.First, b.Last)
			if b.First == b.Last {
				what = fmt.Sprintf("batch %d, with whatever was saved in it", b.First)
			}
			fmt.Fprintf(w, "    lost: %s\n", what)
		}
		for k, r := range d.Concerns {
			if k == maxConcerns {
				fmt.Fprintf(w, "    and %d more; -json lists them\n", len(d.Concerns)-k)
				break
			}
			what, entries := "concerns", "hard state or snapshot"
			if d.Apparently {
				what = "concerns, by what can still be read there,"
			}
			if r.From > 0 {
				entries = span(r.From, r.To)
			}
			fmt.Fprintf(w, "    %s group %q: %s\n", what, r.Group, entries)
		}
	}
}

const maxConcerns = 10

func (f *verifyFacts) text(w io.Writer) {
	f.storeFacts.text(w)
	fmt.Fprintln(w, "\njournal")
	table(w, func(w io.Writer) {
		for _, s := range f.Segments {
			what := fmt.Sprintf("batches %d to %d, %s", s.First, s.Last, count(s.Records, "record"))
			if s.Batches == 0 {
				what = "no batches that count"
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", verdict(s.Good), filepath.Base(s.File), bytesText(s.Size), what)
		}
		for _, s := range f.Spares {
			fmt.Fprintf(w, "  -\t%s\t\tto be used again\n", s)
		}
		for _, s := range f.Strays {
			fmt.Fprintf(w, "  -\t%s\t\tno part of the journal\n", s)
		}
		if f.Mark != nil {
			fmt.Fprintf(w, "  good\twatermark\t\tbatch %d was durable\n", *f.Mark)
		} else {
			fmt.Fprintf(w, "  -\twatermark\t\tmissing or damaged, which loses nothing; the store makes a new one\n")
		}
	})
	if t := f.Torn; t != nil {
		fmt.Fprintf(w, "  The last batch, %d, is torn: %s, offset %d. That is not damage: nobody was told that it is durable.\n", t.Batch, filepath.Base(t.File), t.Offset)
	}
	fmt.Fprintln(w, "\nBadger")
	table(w, func(w io.Writer) {
		for _, file := range f.Badger.Files {
			what := file.Kind
			switch {
			case file.Removed:
				what = "a table that is not listed: Badger removes it"
			case file.Kind == "table":
				what = fmt.Sprintf("table, level %d, %s", file.Level, count(file.Records, "record"))
			case file.Kind == "log" && file.Torn:
				what = fmt.Sprintf("log, %s up to offset %d; what is behind does not check out, and Badger drops it", count(file.Records, "record"), file.End)
			case file.Kind == "log":
				what = fmt.Sprintf("log, %s up to offset %d", count(file.Records, "record"), file.End)
			case file.Kind == "other":
				what = "nothing of ours is in it"
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", verdict(file.Good), filepath.Base(file.File), bytesText(file.Size), what)
		}
	})
	b := &f.Badger
	fmt.Fprintf(w, "  %s, and the journal vouches for %d; %s, %s, %s\n", count(b.Transactions, "transaction"), b.Mark, count(b.Keys["group"], "group"), count(b.Keys["chunk"], "chunk"), count(b.Keys["piece"], "piece"))
	snapshotsText(w, f.Snapshots)
	fmt.Fprintln(w, "\ngroups")
	table(w, func(w io.Writer) {
		for _, g := range f.Groups {
			log := span(g.First, g.Last)
			if g.Last < g.First {
				log = "no entries"
			}
			if g.Removed {
				log = "removed"
			}
			fmt.Fprintf(w, "  %s\t%q\t%s\n", verdict(g.Good), g.Name, log)
		}
	})
	if f.Good {
		fmt.Fprintln(w, "\nEverything is whole.")
	}
	damageText(w, f.Damage)
}

func verdict(good bool) string {
	if good {
		return "good"
	}
	return "BAD"
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

// failText says why opening fails, and what to do about it.
func (f *recoveryFacts) failText(w io.Writer) {
	fmt.Fprintf(w, "Opening this store FAILS, and changes nothing:\n  %s\n", f.Error)
	switch r := f.Repair; {
	case r == nil:
		fmt.Fprintln(w, "Options.Repair does not help. Move the directory away, and let the member come back\nwith an empty one: its peers bring it up to date.")
	case r.Badger:
		fmt.Fprintf(w, "With Options.Repair it opens: %s\n", rebuilds)
	case r.File == "":
		fmt.Fprintln(w, "With Options.Repair it opens, and goes on with what is left.", damagedGroups)
	default:
		fmt.Fprintf(w, "With Options.Repair it opens: the journal is cut off at offset %d of\n  %s,\nand what comes after that is kept under other names. %s\n", r.Offset, r.File, damagedGroups)
	}
}

const rebuilds = "Badger is made anew, of what can be read of it and\nof the journal, as far as that is certain, and the damaged files are kept under other\nnames. " + damagedGroups

const damagedGroups = "All groups of this store come\nback without a vote, and count again when their peers have brought them up to date."

func (f *recoveryFacts) text(w io.Writer) {
	f.storeFacts.text(w)
	fmt.Fprintln(w)
	if f.Fresh || f.Cutting {
		damageText(w, f.Damage)
		return
	}
	if !f.Opens {
		f.failText(w)
		damageText(w, f.Damage)
		return
	}
	if f.Repair != nil {
		fmt.Fprintf(w, "Damage has been met when Badger was read, and there is a note of it. With\nOptions.Repair opening repairs it: %s\n\n", rebuilds)
	}
	fmt.Fprintln(w, "Opening this store succeeds. This is what it does; nothing of it has been done now.")
	if t := f.Torn; t != nil {
		records := "its header is damaged"
		if t.Records > 0 {
			records = "by its header it has " + count(t.Records, "record")
		}
		fmt.Fprintf(w, "- drop the torn tail: batch %d, %s at offset %d of %s (%s).\n  Nobody was told that it is durable.\n", t.Batch, count(t.Bytes, "byte"), t.Offset, t.File, records)
	} else {
		fmt.Fprintln(w, "- there is no torn tail to drop")
	}
	total := 0
	for _, r := range f.Replayed {
		total += r.Records
	}
	fmt.Fprintf(w, "- replay %s from %s:\n", count(total, "record"), count(len(f.Replayed), "segment"))
	for _, r := range f.Replayed {
		note := ""
		if r.HandedOver {
			note = ": Badger has all of it already, and it is retired"
		}
		fmt.Fprintf(w, "    segment %d, %s%s\n", r.Segment, count(r.Records, "record"), note)
	}
	verb := "begin"
	if f.Replaces {
		verb = "begin anew, for nothing in it counts,"
	}
	fmt.Fprintf(w, "- %s segment %d\n", verb, f.Segment)
	if b := f.LastBatch; b != nil {
		fmt.Fprintf(w, "- write the last batch there again: batch %d, %s, %s, from offset %d of %s\n", b.Batch, count(b.Records, "record"), count(b.Bytes, "byte"), b.Offset, b.File)
	}
	if c := f.Cut; c != nil {
		fmt.Fprintf(w, "- cut %s to %s: %s void or unused\n", c.File, count(c.Size, "byte"), count(c.Bytes, "byte"))
	}
	for _, s := range f.Spares {
		fmt.Fprintf(w, "- remove the spare file %s\n", s)
	}
	for _, l := range f.Logs {
		note := "zeros follow"
		if l.Torn {
			note = "what follows is a torn transaction, and Badger drops it"
		} else if l.End == l.Size {
			note = "that is all of it"
		}
		fmt.Fprintf(w, "- have Badger replay %s: %s, %s; %s\n", l.File, count(l.Records, "record"), count(l.End, "byte"), note)
	}
	for _, r := range f.Removed {
		fmt.Fprintf(w, "- have Badger remove %s, which is not in its list\n", r)
	}
	if len(f.Damage) > 0 {
		fmt.Fprintln(w, "\nOpening does not notice this; reading will:")
		damageText(w, f.Damage)
	}
}

// dataText prints the data of an entry.
func dataText(data []byte, as string, limit int) string {
	if as == "none" || data == nil {
		return ""
	}
	rest := ""
	if limit > 0 && len(data) > limit {
		rest = fmt.Sprintf(" … %s more", count(len(data)-limit, "byte"))
		data = data[:limit]
	}
	if as == "hex" {
		return fmt.Sprintf("%x%s", data, rest)
	}
	return fmt.Sprintf("%q%s", bytes.Clone(data), rest)
}
