package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
)

// The file of an exported group is one JSON document, one entry a line: the help of
// export has its form. It is read line by line, in exactly that form, so that the
// checksum in the last line can be of bytes.
//
// # Why an imported member is a newcomer
//
// A member's word counts because its disk forgets nothing: not for whom it voted,
// not what it acknowledged. A copy of the disk has forgotten whatever the member
// said after the copy was made, and while the original runs there would be two with
// one voice. If such a copy voted, two leaders could be elected in one term; if its
// acknowledgements counted, an entry could be taken for committed that is on fewer
// disks than a majority. Nobody can see from a file whether the original went on.
//
// So an imported group is, to its peers, what a fresh disk is: it gets a new
// incarnation, and the mark that it has joined is not taken over. A newcomer does
// not vote, does not campaign, and is not counted, until a leader that a quorum of
// the others has confirmed admits this very incarnation, after it has compared
// logs with it (raftcore/newcomer.go). What the import saves is that the entries
// need not be sent again; where they differ from the leader's, they are replaced,
// as on any follower. Term and vote are kept: they can only forbid something.
//
// Three things are refused because even so they would not be safe, or not useful:
//
//   - A log of nothing but the founding entry, or of nothing: newcomers with such a
//     log may vote, as founders. An empty disk does the same, and is not mistaken
//     for more.
//   - A group whose members are one voter alone: nobody is there who could admit the
//     copy, so it would never do anything again. Whoever moves such a member moves
//     its directory, which stays the one disk that it is.
//   - A store that has the group already. Its promises would be overwritten.

const exportFormat = 1

// exportHeader is the first line.
type exportHeader struct {
	Castaway string `json:"castaway"`
	Format   int    `json:"format"`
	From     struct {
		Store       string `json:"store"`
		Incarnation string `json:"incarnation"`
		Damaged     bool   `json:"damaged"`
	} `json:"from"`
	Group     string         `json:"group"`
	NameBytes []byte         `json:"nameBytes,omitempty"`
	HardState hardFacts      `json:"hardState"`
	Base      *snapshotFacts `json:"base"`
	Snapshot  *snapshotFacts `json:"snapshot"`
	First     raftcore.Index `json:"first"`
	Last      raftcore.Index `json:"last"`
}

// exportEntry is a line in the middle. No data is something else than data of
// length zero.
type exportEntry struct {
	Index  raftcore.Index `json:"index"`
	Term   raftcore.Term  `json:"term"`
	Time   int64          `json:"time"`
	Kind   string         `json:"kind"`
	Data   *[]byte        `json:"data,omitempty"`
	Config *configFacts   `json:"config,omitempty"`
}

const (
	entriesOpen  = `,"entries":[`
	entriesClose = `],"checksum":"`
	documentEnd  = "\"}\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// summed is a writer that knows the checksum of what was written.
type summed struct {
	w   *bufio.Writer
	sum uint32
	err error
}

func (s *summed) print(text string) {
	s.sum = crc32.Update(s.sum, castagnoli, []byte(text))
	if _, err := s.w.WriteString(text); err != nil && s.err == nil {
		s.err = err
	}
}

func runExport(v *invocation) error {
	in, err := v.inspect(false)
	if err != nil {
		return err
	}
	defer in.Close()
	g, err := find(in, v.group)
	if err != nil {
		return err
	}
	if n := len(in.Damage); n > 0 && !v.damaged {
		return damageError{fmt.Errorf("%s is damaged in %s, and what is lost may concern this group: verify tells more, -damaged exports all the same", v.dir, count(n, "place"))}
	}
	if !g.Known || len(groupOf(g).Missing) > 0 {
		return damageError{fmt.Errorf("group %q is not whole: show tells what is missing", g.Name)}
	}
	f := groupOf(g)
	h := exportHeader{
		Castaway: "group", Format: exportFormat, Group: f.Name, NameBytes: f.NameBytes,
		HardState: f.HardState, Base: f.Base, Snapshot: f.Snapshot, First: f.First, Last: f.Last,
	}
	h.From.Store, h.From.Incarnation, h.From.Damaged = hex64(in.ID), f.Incarnation, len(in.Damage) > 0 || f.Damaged
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	out := &summed{w: bufio.NewWriter(v.stdout)}
	out.print(string(line[:len(line)-1]) + entriesOpen + "\n")
	err = in.Entries(g, f.First, f.Last, func(e *raftcore.Entry) error {
		line, err := json.Marshal(exportOf(e))
		if err != nil {
			return err
		}
		comma := ","
		if e.Index == f.Last {
			comma = ""
		}
		out.print(string(line) + comma + "\n")
		return out.err
	}, func(from, to raftcore.Index, err error) error {
		return damageError{fmt.Errorf("the export was broken off, and what was written of it will be refused: group %q, %s: %w", g.Name, span(from, to), err)}
	})
	if err != nil {
		return err
	}
	if err := in.Unchanged(); err != nil {
		return err // without its last line, the file is refused
	}
	out.print(entriesClose)
	out.print(fmt.Sprintf("%08x", out.sum) + documentEnd)
	return errors.Join(out.err, out.w.Flush())
}

func exportOf(e *raftcore.Entry) exportEntry {
	x := exportEntry{Index: e.Index, Term: e.Term, Time: e.Time, Kind: kindText(e.Kind)}
	if e.Data != nil {
		x.Data = &e.Data
	}
	if e.Config != nil {
		c := confOf(&raftcore.ConfigAt{Index: e.Index, Conf: *e.Config})
		x.Config = &c
	}
	return x
}

// exported is a group that was read from a file.
type exported struct {
	exportHeader
	hard           raftcore.HardState
	base, snapshot *raftcore.SnapshotMeta
	entries        []raftcore.Entry
}

// readExport reads a file to its end, and believes nothing before that.
func readExport(r io.Reader) (*exported, error) {
	in := bufio.NewReader(r)
	sum, number := uint32(0), 0
	next := func() ([]byte, error) {
		line, err := in.ReadBytes('\n')
		number++
		if err == io.EOF {
			return nil, fmt.Errorf("line %d: the file ends here, before its last line: the export was broken off, or a part is missing", number)
		}
		return line, err
	}
	line, err := next()
	if err != nil {
		return nil, err
	}
	x := &exported{}
	head, ok := bytes.CutSuffix(line, []byte(entriesOpen+"\n"))
	if !ok || json.Unmarshal(append(bytes.Clone(head), '}'), &x.exportHeader) != nil || x.Castaway != "group" {
		return nil, errors.New("line 1: this is not the beginning of an exported group")
	}
	if x.Format != exportFormat {
		return nil, fmt.Errorf("line 1: the file has format %d; this program reads format %d only", x.Format, exportFormat)
	}
	if err := x.header(); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	for {
		sum = crc32.Update(sum, castagnoli, line)
		if line, err = next(); err != nil {
			return nil, err
		}
		if rest, last := bytes.CutPrefix(line, []byte(entriesClose)); last {
			sum = crc32.Update(sum, castagnoli, []byte(entriesClose))
			if string(rest) != fmt.Sprintf("%08x", sum)+documentEnd {
				return nil, fmt.Errorf("line %d: the checksum is wrong: the file has been changed", number)
			}
			break
		}
		var e exportEntry
		if err := json.Unmarshal(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte(",")), &e); err != nil {
			return nil, fmt.Errorf("line %d: this is no entry: %w", number, err)
		}
		entry, err := e.entry()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		x.entries = append(x.entries, entry)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return nil, fmt.Errorf("line %d: something follows the last line", number+1)
	}
	if n := len(x.entries); x.First+raftcore.Index(n) != x.Last+1 || n > 0 && x.entries[0].Index != x.First {
		return nil, fmt.Errorf("the file has %s, and should have %d to %d", count(n, "entry"), x.First, x.Last)
	}
	return x, nil
}

// header decodes what the first line says.
func (x *exported) header() error {
	cluster, err := strconv.ParseUint(x.HardState.Cluster, 16, 64)
	if err != nil {
		return fmt.Errorf("the cluster %q is not 16 hexadecimal digits", x.HardState.Cluster)
	}
	if x.NameBytes != nil {
		x.Group = string(x.NameBytes)
	}
	x.hard = raftcore.HardState{Term: x.HardState.Term, Vote: x.HardState.Vote, Cluster: raftcore.ClusterID(cluster)}
	x.base, x.snapshot = x.Base.meta(), x.Snapshot.meta()
	base := raftcore.Index(0)
	if x.base != nil {
		base = x.base.Last.Index
	}
	if x.First != base+1 {
		return fmt.Errorf("the log begins with %d, after a base of %d", x.First, base)
	}
	return nil
}

func (s *snapshotFacts) meta() *raftcore.SnapshotMeta {
	if s == nil {
		return nil
	}
	return &raftcore.SnapshotMeta{Last: raftcore.EntryID{Index: s.Index, Term: s.Term}, Time: s.Time, Conf: s.Config.at()}
}

func (c *configFacts) at() raftcore.ConfigAt {
	some := func(ids []raftcore.NodeID) []raftcore.NodeID {
		if len(ids) == 0 {
			return nil
		}
		return ids
	}
	return raftcore.ConfigAt{Index: c.Index, Conf: raftcore.ConfState{Voters: some(c.Voters), Outgoing: some(c.Outgoing), Learners: some(c.Learners), Witnesses: some(c.Witnesses)}}
}

func (x *exportEntry) entry() (raftcore.Entry, error) {
	e := raftcore.Entry{EntryID: raftcore.EntryID{Index: x.Index, Term: x.Term}, Time: x.Time}
	if x.Data != nil {
		e.Data = *x.Data
	}
	if x.Config != nil {
		c := x.Config.at()
		e.Config = &c.Conf
	}
	for _, k := range []raftcore.EntryKind{raftcore.EntryNoop, raftcore.EntryCommand, raftcore.EntryConfig, raftcore.EntryHost, raftcore.EntryMeta} {
		if kindText(k) == x.Kind {
			e.Kind = k
			return e, nil
		}
	}
	return e, fmt.Errorf("entry %d is of no known kind: %q", x.Index, x.Kind)
}

// conf returns the members as of the end of the log.
func (x *exported) conf() raftcore.ConfState {
	var c raftcore.ConfState
	if x.base != nil {
		c = x.base.Conf.Conf
	}
	for i := range x.entries {
		if x.entries[i].Config != nil {
			c = *x.entries[i].Config
		}
	}
	return c
}

// refuse says why a group must not be imported, if that is so: see above.
func (x *exported) refuse() error {
	c := x.conf()
	switch {
	case x.Last <= 1:
		return errors.New("refused: the log has nothing but the founding entry, if that; with it, an import could vote as a founder. Start the member with an empty directory instead")
	case len(c.Voters) <= 1 && len(c.Outgoing) <= 1:
		return errors.New("refused: the group has one voter alone, or none, so nobody could admit the copy, and it would never do anything again. Move the directory of the member as a whole instead")
	}
	return nil
}

// saves returns what saves the group in a store that has nothing of it.
func (x *exported) saves() []raftcore.Save {
	first := raftcore.Save{HardState: x.hard}
	if x.base != nil {
		first.Base, first.Snapshot, first.Reset = x.base, x.base, true
	}
	saves := []raftcore.Save{first}
	entries := x.entries
	for len(entries) > 0 {
		n, size := 0, 0
		for n < len(entries) && size < maxImportBytes {
			size += entries[n].Size()
			n++
		}
		saves = append(saves, raftcore.Save{HardState: x.hard, Entries: entries[:n]})
		entries = entries[n:]
	}
	if x.snapshot != nil && (x.base == nil || x.snapshot.Last.Index > x.base.Last.Index) {
		saves = append(saves, raftcore.Save{HardState: x.hard, Snapshot: x.snapshot})
	}
	return saves
}

// maxImportBytes is about how much of a log is saved at once.
const maxImportBytes = 64 << 20

// importFacts is what was done, or would be.
type importFacts struct {
	Dir         string         `json:"dir"`
	Group       string         `json:"group"`
	Written     bool           `json:"written"`
	Created     bool           `json:"created"`
	Incarnation string         `json:"incarnation"`
	HardState   hardFacts      `json:"hardState"`
	Snapshot    *snapshotFacts `json:"snapshot"`
	First       raftcore.Index `json:"first"`
	Last        raftcore.Index `json:"last"`
}

func (f *importFacts) text(w io.Writer) {
	verb, tail := "would be imported", "Nothing was written: -write does it."
	if f.Written {
		verb, tail = "was imported", "incarnation "+f.Incarnation
	}
	fmt.Fprintf(w, "group %q %s into %s: term %d, vote %s, cluster %s, log %s\n", f.Group, verb, f.Dir, f.HardState.Term, vote(f.HardState.Vote), f.HardState.Cluster, logText(f.First, f.Last))
	fmt.Fprintln(w, "It is a newcomer: it neither votes nor is counted before a leader has admitted it.")
	if f.Snapshot != nil {
		fmt.Fprintf(w, "The snapshot of entry %d is not in the file: the member needs it, too, before it can start.\n", f.Snapshot.Index)
	}
	fmt.Fprintln(w, tail)
}

func runImport(v *invocation) error {
	x, err := readExport(v.stdin)
	if err != nil {
		return fmt.Errorf("the file to import: %w", err)
	}
	if v.group != x.Group {
		return badUsage("the file is of group %q, not of %q: a group keeps its name", x.Group, v.group)
	}
	if err := x.refuse(); err != nil {
		return err
	}
	created, err := v.mayImport()
	if err != nil {
		return err
	}
	if err := x.rehearse(); err != nil {
		return err
	}
	f := &importFacts{Dir: v.dir, Group: x.Group, Created: created, HardState: x.HardState, Snapshot: x.Snapshot, First: x.First, Last: x.Last}
	f.HardState.Joined = false
	if v.write {
		incarnation, err := x.write(v.dir)
		if err != nil {
			return err
		}
		f.Written, f.Incarnation = true, hex64(incarnation)
	}
	return v.answer(f)
}

// mayImport looks at the store that the group is to come into.
func (v *invocation) mayImport() (create bool, err error) {
	names, err := os.ReadDir(v.dir)
	if (err == nil && len(names) == 0) || errors.Is(err, fs.ErrNotExist) {
		if !v.create && v.write {
			return false, fmt.Errorf("%s has no store: -create makes one", v.dir)
		}
		return true, nil
	}
	in, err := v.inspect(false)
	if err != nil {
		return false, err
	}
	defer in.Close()
	if n := len(in.Damage); n > 0 {
		return false, damageError{fmt.Errorf("%s is damaged in %s: nothing is imported into it", v.dir, count(n, "place"))}
	}
	for _, g := range in.Groups {
		if g.Name == v.group {
			return false, fmt.Errorf("refused: %s has group %q already, and its promises must not be overwritten", v.dir, v.group)
		}
	}
	return false, nil
}

// rehearse checks that the saves follow from each other.
func (x *exported) rehearse() error {
	var l persistence.Log
	for _, s := range x.saves() {
		if err := l.Follow(&s); err != nil {
			return fmt.Errorf("the file to import makes no sense: %w", err)
		}
	}
	return nil
}

// write brings the group into the store. If it is interrupted, the group is there
// with a part of its log: that is a newcomer, too, and does no harm, but it is not
// imported a second time.
func (x *exported) write(dir string) (incarnation raftcore.Incarnation, err error) {
	store, err := badgerstore.Dir(dir).Open()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	opened, err := store.Open(x.Group)
	if err != nil {
		return 0, err
	}
	if !opened.Recovered.Pristine() {
		return 0, fmt.Errorf("refused: %s has group %q already", dir, x.Group)
	}
	token := raftcore.Token{Boot: opened.Boot}
	// As many at once as a batch takes: then all of it is there, or nothing.
	var batch []persistence.Save
	size := 0
	for _, s := range x.saves() {
		token.Sequence++
		s.Token = token
		bytes := 0
		for i := range s.Entries {
			bytes += s.Entries[i].Size()
		}
		if size += bytes; size > 4*maxImportBytes {
			if err := store.Save(batch); err != nil {
				return 0, err
			}
			batch, size = nil, bytes
		}
		batch = append(batch, persistence.Save{Group: opened.Group, Save: s})
	}
	if err := store.Save(batch); err != nil {
		return 0, err
	}
	return opened.Recovered.Incarnation, nil
}
