package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"unicode/utf8"

	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// The facts that -json prints. Their names are promised: the help lists them.
// Numbers that were drawn at random (store, incarnation, cluster, life) are 16
// hexadecimal digits, because most readers of JSON round numbers of 64 bits.

type storeFacts struct {
	Dir     string `json:"dir"`
	Store   string `json:"store"`
	Host    uint64 `json:"host"` // 0: no host has opened it yet
	InUse   bool   `json:"inUse"`
	Fresh   bool   `json:"fresh"`
	Cutting bool   `json:"cutting"`
}

type groupsFacts struct {
	storeFacts
	Groups []groupFacts  `json:"groups"`
	Damage []damageFacts `json:"damage"`
}

type showFacts struct {
	storeFacts
	Group  groupFacts    `json:"group"`
	Damage []damageFacts `json:"damage"`
}

type groupFacts struct {
	Number      uint64 `json:"number"`
	Name        string `json:"name"`
	NameBytes   []byte `json:"nameBytes,omitempty"` // if the name is not UTF-8
	Known       bool   `json:"known"`
	Damaged     bool   `json:"damaged"`
	Removed     *int64 `json:"removed"`
	Incarnation string `json:"incarnation"`

	HardState hardFacts      `json:"hardState"`
	Base      *snapshotFacts `json:"base"`
	Snapshot  *snapshotFacts `json:"snapshot"`

	First   raftcore.Index `json:"first"`
	Last    raftcore.Index `json:"last"`
	Entries uint64         `json:"entries"`
	Runs    []runFacts     `json:"runs"`
	Configs []configFacts  `json:"configs"`
	Badger  *badgerFacts   `json:"badger"`
	Journal []extentFacts  `json:"journal"`
	Missing []rangeFacts   `json:"missing"`
}

type hardFacts struct {
	Term    raftcore.Term   `json:"term"`
	Vote    raftcore.NodeID `json:"vote"`
	Cluster string          `json:"cluster"`
	Joined  bool            `json:"joined"`
	Witness bool            `json:"witness,omitempty"`
}

type snapshotFacts struct {
	Index  raftcore.Index `json:"index"`
	Term   raftcore.Term  `json:"term"`
	Time   int64          `json:"time"`
	Config configFacts    `json:"config"`
}

type configFacts struct {
	Index    raftcore.Index    `json:"index"`
	Voters   []raftcore.NodeID `json:"voters"`
	Outgoing []raftcore.NodeID `json:"outgoing"`
	Learners []raftcore.NodeID `json:"learners"`
	// Witnesses are left out if there are none.
	Witnesses []raftcore.NodeID `json:"witnesses,omitempty"`
}

type runFacts struct {
	Term  raftcore.Term  `json:"term"`
	First raftcore.Index `json:"first"`
	Last  raftcore.Index `json:"last"`
}

type badgerFacts struct {
	From    raftcore.Index `json:"from"` // 0 if it has no entries
	To      raftcore.Index `json:"to"`
	Version uint64         `json:"version"`
}

type extentFacts struct {
	Segment uint32         `json:"segment"`
	From    raftcore.Index `json:"from"`
	To      raftcore.Index `json:"to"`
	Records int            `json:"records"`
}

type rangeFacts struct {
	Group string         `json:"group,omitempty"`
	From  raftcore.Index `json:"from"`
	To    raftcore.Index `json:"to"`
}

type damageFacts struct {
	File       string       `json:"file"`
	Offset     int64        `json:"offset"`
	Bytes      int64        `json:"bytes"`
	Detail     string       `json:"detail"`
	Batches    *batchRange  `json:"batches"`
	Concerns   []rangeFacts `json:"concerns"`
	Apparently bool         `json:"apparently"`
}

type batchRange struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

type verifyFacts struct {
	storeFacts
	Good      bool                `json:"good"`
	Segments  []segmentFacts      `json:"segments"`
	Spares    []string            `json:"spares"`
	Strays    []string            `json:"strays"`
	Mark      *uint64             `json:"watermark"`
	Torn      *tornFacts          `json:"torn"`
	Badger    tableFacts          `json:"badger"`
	Snapshots []snapshotFileFacts `json:"snapshots"`
	Groups    []verdictFacts      `json:"groups"`
	Damage    []damageFacts       `json:"damage"`
}

type segmentFacts struct {
	Segment uint32 `json:"segment"`
	File    string `json:"file"`
	Size    int64  `json:"size"`
	End     int64  `json:"end"`
	Life    string `json:"life"`
	First   uint64 `json:"firstBatch"`
	Last    uint64 `json:"lastBatch"`
	Batches int    `json:"batches"`
	Records int    `json:"records"`
	Good    bool   `json:"good"`
}

type tornFacts struct {
	File    string `json:"file"`
	Offset  int64  `json:"offset"`
	Bytes   int64  `json:"bytes"`
	Batch   uint64 `json:"batch"`
	Records int    `json:"records"`
}

type tableFacts struct {
	Transactions uint64         `json:"transactions"`
	Mark         uint64         `json:"mark"`
	Oldest       uint32         `json:"oldestSegment"`
	Keys         map[string]int `json:"keys"`
	Files        []fileFacts    `json:"files"`
}

type fileFacts struct {
	File    string `json:"file"`
	Kind    string `json:"kind"`
	Level   int    `json:"level"`
	Size    int64  `json:"size"`
	End     int64  `json:"end"`
	Records int    `json:"records"`
	Removed bool   `json:"removed"`
	Torn    bool   `json:"torn"`
	Good    bool   `json:"good"`
}

type verdictFacts struct {
	Name  string         `json:"name"`
	First raftcore.Index `json:"first"`
	Last  raftcore.Index `json:"last"`
	Good  bool           `json:"good"`

	Removed bool `json:"removed"`
}

type recoveryFacts struct {
	storeFacts
	Opens     bool          `json:"opens"`
	Error     string        `json:"error"`
	Repair    *repairFacts  `json:"repair"`
	Segment   uint32        `json:"segment"`
	Replaces  bool          `json:"replaces"`
	Torn      *tornFacts    `json:"torn"`
	LastBatch *tornFacts    `json:"lastBatch"`
	Cut       *cutFacts     `json:"cut"`
	Replayed  []replayFacts `json:"replayed"`
	Spares    []string      `json:"spares"`
	Logs      []fileFacts   `json:"badgerLogs"`
	Removed   []string      `json:"badgerRemoves"`
	Damage    []damageFacts `json:"damage"`
}

type repairFacts struct {
	Badger bool   `json:"badger"`
	File   string `json:"file"`
	Offset int64  `json:"offset"`
}

type cutFacts struct {
	File  string `json:"file"`
	Size  int64  `json:"size"`
	Bytes int64  `json:"bytes"`
}

type replayFacts struct {
	Segment    uint32 `json:"segment"`
	Records    int    `json:"records"`
	HandedOver bool   `json:"handedOver"`
}

func hex64[T ~uint64](n T) string { return fmt.Sprintf("%016x", uint64(n)) }

func storeOf(in *badgerstore.Inspection) storeFacts {
	return storeFacts{Dir: in.Dir, Store: hex64(in.ID), Host: uint64(in.Host), InUse: in.InUse, Fresh: in.Fresh, Cutting: in.Cutting}
}

// nameOf returns a name as JSON can hold it, and its bytes if that is not all of it.
func nameOf(name string) (string, []byte) {
	if utf8.ValidString(name) {
		return name, nil
	}
	return string(bytes.ToValidUTF8([]byte(name), []byte("\uFFFD"))), []byte(name)
}

func confOf(c *raftcore.ConfigAt) configFacts {
	return configFacts{Index: c.Index, Voters: list(c.Conf.Voters), Outgoing: list(c.Conf.Outgoing), Learners: list(c.Conf.Learners), Witnesses: c.Conf.Witnesses}
}

// list returns a list that is not null in JSON.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

func snapshotOf(s *raftcore.SnapshotMeta) *snapshotFacts {
	if s.Last.Index == 0 {
		return nil
	}
	return &snapshotFacts{Index: s.Last.Index, Term: s.Last.Term, Time: s.Time, Config: confOf(&s.Conf)}
}

func groupOf(g *badgerstore.InspectedGroup) groupFacts {
	l := &g.Log
	f := groupFacts{
		Number: g.Number, Known: g.Known, Damaged: l.Damaged, Incarnation: hex64(l.Incarnation),
		HardState: hardFacts{Term: l.HardState.Term, Vote: l.HardState.Vote, Cluster: hex64(l.HardState.Cluster), Joined: l.HardState.Joined, Witness: l.HardState.Witness},
		Base:      snapshotOf(&raftcore.SnapshotMeta{Last: l.Base, Time: g.BaseTime, Conf: l.BaseConf}),
		Snapshot:  snapshotOf(&l.Snapshot),
		First:     l.Base.Index + 1, Last: l.Last, Entries: uint64(l.Last - l.Base.Index),
		Runs: []runFacts{}, Configs: []configFacts{}, Journal: []extentFacts{}, Missing: []rangeFacts{},
	}
	f.Name, f.NameBytes = nameOf(g.Name)
	if t := g.Tombstone; t != nil {
		f.Removed = &t.Time
	}
	for i, r := range l.Runs {
		last := l.Last
		if i+1 < len(l.Runs) {
			last = l.Runs[i+1].First - 1
		}
		f.Runs = append(f.Runs, runFacts{Term: r.Term, First: r.First, Last: last})
	}
	for i := range l.Configs {
		f.Configs = append(f.Configs, confOf(&l.Configs[i]))
	}
	if g.Version > 0 {
		f.Badger = &badgerFacts{Version: g.Version}
		if g.Held > l.Base.Index {
			f.Badger.From, f.Badger.To = l.Base.Index+1, g.Held
		}
	}
	for _, e := range g.InJournal {
		if e.Segment == 0 {
			f.Missing = append(f.Missing, rangeFacts{From: e.From, To: e.To})
		} else {
			f.Journal = append(f.Journal, extentFacts{e.Segment, e.From, e.To, e.Records})
		}
	}
	return f
}

func damageOf(damage []badgerstore.Damage) []damageFacts {
	out := []damageFacts{}
	for _, d := range damage {
		f := damageFacts{File: d.File, Offset: d.Offset, Bytes: d.Bytes, Detail: d.Detail, Concerns: []rangeFacts{}, Apparently: d.Apparently && len(d.Concerns) > 0}
		if d.Batches {
			f.Batches = &batchRange{d.First, d.Last}
		}
		for _, r := range d.Concerns {
			name, _ := nameOf(r.Group)
			f.Concerns = append(f.Concerns, rangeFacts{name, r.From, r.To})
		}
		out = append(out, f)
	}
	return out
}

// damaged reports whether a damage lies in a file.
func damaged(in *badgerstore.Inspection, file string) bool {
	for _, d := range in.Damage {
		if d.File == file {
			return true
		}
	}
	return false
}

func tornOf(t *journal.Torn) *tornFacts {
	if t == nil {
		return nil
	}
	return &tornFacts{t.File, t.Offset, t.Bytes, t.Sequence, t.Records}
}

func filesOf(in *badgerstore.Inspection) []fileFacts {
	out := []fileFacts{}
	for _, f := range in.Table.Files {
		file := filepath.Join(in.Dir, "badger", f.Name)
		out = append(out, fileFacts{file, f.Kind, f.Level, f.Size, f.End, f.Records, f.Void, f.Torn, !damaged(in, file)})
	}
	return out
}

func verifyOf(in *badgerstore.Inspection, found []foundSnapshot) verifyFacts {
	f := verifyFacts{
		storeFacts: storeOf(in), Good: len(in.Damage) == 0, Segments: []segmentFacts{}, Spares: []string{}, Strays: []string{}, Groups: []verdictFacts{},
		Mark: in.Journal.Watermark, Torn: tornOf(in.Journal.Torn), Damage: damageOf(in.Damage),
		Badger:    tableFacts{in.Table.Generation, in.Mark, in.Table.Oldest, in.Table.Keys, filesOf(in)},
		Snapshots: snapshotFilesOf(found),
	}
	for _, s := range in.Journal.Segments {
		f.Segments = append(f.Segments, segmentFacts{s.Number, s.File, s.Size, s.End, hex64(s.Life), s.First, s.Last, s.Batches, s.Records, !damaged(in, s.File)})
	}
	for _, s := range in.Journal.Spares {
		f.Spares = append(f.Spares, s.Name)
	}
	for _, s := range in.Journal.Strays {
		f.Strays = append(f.Strays, s.Name)
	}
	for _, g := range in.Groups {
		v := verdictFacts{First: g.Log.Base.Index + 1, Last: g.Log.Last, Good: g.Known, Removed: g.Tombstone != nil}
		v.Name, _ = nameOf(g.Name)
		for _, d := range in.Damage {
			for _, r := range d.Concerns {
				v.Good = v.Good && r.Group != g.Name
			}
		}
		f.Groups = append(f.Groups, v)
	}
	return f
}

func recoveryOf(in *badgerstore.Inspection, r *badgerstore.Rehearsal) recoveryFacts {
	f := recoveryFacts{
		storeFacts: storeOf(in), Opens: r.Err == nil, Replayed: []replayFacts{}, Spares: []string{}, Logs: []fileFacts{}, Removed: []string{}, Damage: damageOf(in.Damage),
	}
	if r.Err != nil {
		f.Error = r.Err.Error()
	}
	if r.Repair != nil {
		f.Repair = &repairFacts{r.Repair.Badger, r.Repair.File, r.Repair.Offset}
	}
	if p := r.Journal; p != nil && r.Err == nil {
		f.Segment, f.Replaces, f.Torn, f.Spares = p.Segment, p.Replaces, tornOf(p.Torn), list(p.Spares)
		if c := p.Copied; c != nil {
			f.LastBatch = &tornFacts{c.File, c.Offset, c.Bytes, c.Sequence, c.Records}
			if p.Cut > 0 {
				f.Cut = &cutFacts{c.File, p.CutTo, p.Cut}
			}
		}
	}
	for _, s := range in.Journal.Segments {
		if n := r.Records[s.Number]; n > 0 || r.Err == nil {
			f.Replayed = append(f.Replayed, replayFacts{s.Number, n, s.Number < r.Oldest})
		}
	}
	for _, file := range filesOf(in) {
		if file.Kind == "log" {
			f.Logs = append(f.Logs, file)
		}
		if file.Removed {
			f.Removed = append(f.Removed, file.File)
		}
	}
	return f
}

// printJSON prints facts as one document.
func printJSON(w io.Writer, facts any) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(facts)
}
