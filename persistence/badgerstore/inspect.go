package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// This file is for who looks at a store from outside: castaway-disk. Nothing in it
// creates or changes a file, or keeps a lock.
// Badger's files are read in tablefiles.go.

// InspectOptions says how to look at a store.
type InspectOptions struct {
	// Live: look although somebody has the store open.
	Live bool
	// Chunks: decode everything in Badger, too, not only check its checksums.
	Chunks bool
	// Progress is told how many bytes have been read, and how many there are.
	Progress func(done, total int64)
}

// Inspection is what is in a store. It is to be closed.
type Inspection struct {
	Dir     string
	Format  int
	ID      uint64
	Host    raftcore.NodeID // whose it is; raftcore.Nobody: no host has opened it yet
	Fresh   bool            // the store was being made when that was interrupted
	Cutting bool            // a damage was being repaired when that was interrupted
	Noted   bool            // damage of Badger's was met, and is repaired when it is opened with Repair
	InUse   bool            // somebody has it open
	Journal *journal.Inspection
	Table   TableInfo
	Mark    uint64 // Badger must have had so many transactions
	Groups  []*InspectedGroup
	Damage  []Damage

	s       *store
	files   *tableFiles
	unnamed map[uint64]bool
	before  string // what the directory was like

	markerErr error
	rooted    bool // Badger has a root
}

// TableInfo is what is in Badger.
type TableInfo struct {
	Generation, Groups, Versions uint64 // what the root says: transactions, groups, their versions
	Oldest                       uint32 // the oldest segment that the journal must have
	Keys                         map[string]int
	Files                        []TableFile
}

// TableFile is a file of Badger.
type TableFile struct {
	Name    string
	Kind    string // table, log, list of tables, or what else it is
	Level   int    // of a table
	Size    int64
	End     int64 // of a log: up to here it is whole; what follows is dropped
	Records int
	Void    bool // Badger removes it when it is opened
	Torn    bool // of a log: what follows its end is not just zeros
}

// Damage is something that was durable once, and is not there any more.
type Damage struct {
	persistence.CorruptError
	Bytes       int64 // how far it reaches; 0 if that is not a part of a file
	First, Last uint64
	Batches     bool // the batches First to Last of the journal are lost
	Apparently  bool // Concerns is read out of what is damaged
}

// InspectedGroup is a group, and where its entries are.
type InspectedGroup struct {
	Number    uint64
	Name      string
	Known     bool // a record or a value names it
	Log       raftcore.Recovered
	BaseTime  int64
	Version   uint64         // of its value in Badger; 0 if there is none
	Held      raftcore.Index // Badger has the entries up to here
	InJournal []Extent
	Tombstone *persistence.Tombstone // all that is left, if the group was removed
	g         *group
}

// Extent is a run of entries in one segment of the journal; in none if they are
// missing.
type Extent struct {
	From, To raftcore.Index
	Segment  uint32
	Records  int
}

// ErrNoStore: the directory is not one of a store.
var ErrNoStore = errors.New("there is no store")

// ErrChanged: the store was changed while it was read.
var ErrChanged = errors.New("the store has changed while it was read")

// Inspect reads the store in a directory, whatever state it is in, and changes
// nothing. The error is that of a directory that cannot be read; what is damaged
// is in the Inspection. If somebody has the store open, and that is not asked for,
// the error is persistence.ErrLocked.
func Inspect(dir string, o InspectOptions) (in *Inspection, err error) {
	in = &Inspection{Dir: dir, unnamed: map[uint64]bool{}}
	if err := in.begin(o.Live); err != nil {
		return nil, err
	}
	defer func(began *Inspection) { // a return that fails sets in to nil
		if err != nil {
			began.Close()
		}
	}(in)
	progress := in.progress(o.Progress)
	in.files = &tableFiles{dir: in.s.path(badgerName), in: in, cells: map[string]cell{}, progress: progress}
	if err := in.files.read(); err != nil {
		return nil, err
	}
	in.s.table = in.files
	in.readTable()
	damaged := len(in.Damage)
	fragments := map[int][]persistence.EntryRange{}
	in.Journal, err = journal.Inspect(in.s.path(journalName), journal.InspectOptions{
		ID: in.ID, Record: in.record, Progress: progress,
		Fragment: func(d int, record []byte) { fragments[d] = append(fragments[d], in.fragment(record)...) },
	})
	if err != nil {
		return nil, err
	}
	in.s.journal = in.Journal.Journal()
	for k, d := range in.Journal.Damage {
		in.Damage = append(in.Damage, Damage{CorruptError: d.CorruptError, Bytes: d.Bytes, First: d.First, Last: d.Last, Batches: d.Batches, Apparently: true})
		in.Damage[len(in.Damage)-1].Concerns = merge(fragments[k])
	}
	in.finish(damaged)
	if o.Chunks {
		for _, g := range in.Groups {
			in.checkChunks(g.g)
		}
	}
	if in.Fresh {
		in.Damage = nil // nobody was told that anything is there
	}
	return in, in.Unchanged()
}

func (in *Inspection) damage(file string, offset, bytes int64, format string, args ...any) *Damage {
	d := Damage{CorruptError: persistence.CorruptError{File: file, Offset: offset, Detail: fmt.Sprintf(format, args...)}, Bytes: bytes}
	in.Damage = append(in.Damage, d)
	return &in.Damage[len(in.Damage)-1]
}

// begin looks what the directory is.
func (in *Inspection) begin(live bool) error {
	in.s = &store{o: Options{Dir: in.Dir}.withDefaults(), names: map[string]*group{}, touched: map[uint32][]*group{}}
	name := in.s.path(markerName)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(in.Dir); err != nil {
			return err
		}
		for _, pattern := range []string{"*", "*/*"} {
			if below, _ := filepath.Glob(filepath.Join(in.Dir, pattern, markerName)); len(below) > 0 {
				return fmt.Errorf("%w in %s, but there is one in %s", ErrNoStore, in.Dir, filepath.Dir(below[0]))
			}
		}
		return fmt.Errorf("%w in %s: it has no file %s", ErrNoStore, in.Dir, markerName)
	}
	if err != nil {
		return err
	}
	if in.InUse, err = journal.InUse(in.Dir); err != nil {
		return err
	}
	if in.InUse && !live {
		return fmt.Errorf("%s: %w", in.Dir, persistence.ErrLocked)
	}
	m, err := decodeMarker(b[:min(len(b), maxMarkerBytes)])
	var version *versionError
	if errors.As(err, &version) {
		return fmt.Errorf("%s: %w", in.Dir, err)
	}
	if err != nil {
		in.damage(name, 0, int64(len(b)), "%v", err)
		in.markerErr = &persistence.CorruptError{File: name, Detail: err.Error()}
	}
	in.Format, in.ID, in.Host, in.Fresh = m.format, m.id, m.host, m.fresh
	in.Cutting = err == nil && strings.Contains(string(b), "\nstate damaged\n")
	_, err = os.Stat(in.s.path(noteName))
	in.Noted = err == nil
	in.before, _ = in.fingerprint()
	return nil
}

// fingerprint tells the state of the files, and how large they are together.
func (in *Inspection) fingerprint() (text string, total int64) {
	var b strings.Builder
	for _, dir := range []string{in.Dir, in.s.path(journalName), in.s.path(badgerName)} {
		names, _ := os.ReadDir(dir)
		for _, name := range names {
			if info, err := name.Info(); err == nil && !info.IsDir() {
				fmt.Fprintln(&b, dir, name.Name(), info.Size(), info.ModTime().UnixNano())
				total += info.Size()
			}
		}
	}
	return b.String(), total
}

func (in *Inspection) progress(report func(done, total int64)) func(int64) {
	if report == nil {
		return func(int64) {}
	}
	done := int64(0)
	_, total := in.fingerprint()
	return func(n int64) {
		done += n
		report(min(done, total), total)
	}
}

// Unchanged returns an error if the store was opened, or its files have changed,
// since the inspection began. A store that somebody has open is not asked.
func (in *Inspection) Unchanged() error {
	if in.InUse {
		return nil
	}
	if used, err := journal.InUse(in.Dir); err != nil || used {
		return errors.Join(err, fmt.Errorf("%s: %w: somebody has opened it", in.Dir, ErrChanged))
	}
	if now, _ := in.fingerprint(); now != in.before {
		return fmt.Errorf("%s: %w", in.Dir, ErrChanged)
	}
	return nil
}

// Close closes the files.
func (in *Inspection) Close() error {
	var err error
	if in.Journal != nil {
		err = in.Journal.Close()
	}
	if in.files != nil {
		err = errors.Join(err, in.files.close())
	}
	return err
}

// readTable reads what Badger has of every group. It is store.readTable, but goes
// on behind what does not fit.
func (in *Inspection) readTable() {
	s := in.s
	badgerDir := s.path(badgerName)
	found := false
	_ = s.table.scan(rootKey, rootKey, func(_, value []byte) (_ bool, err error) {
		if s.root, err = decodeRoot(value); err != nil {
			in.damage(badgerDir, 0, 0, "the root: %v", err)
		} else if found = true; in.ID == 0 {
			in.ID = s.root.store
		} else if s.root.store != in.ID {
			in.damage(badgerDir, 0, 0, "it belongs to store %016x, not to %016x", s.root.store, in.ID)
		}
		return false, nil
	})
	if in.rooted = found; !found && in.files.refused == nil {
		in.damage(badgerDir, 0, 0, "the root is missing: Badger has lost what was in it")
	}
	in.Table.Generation, in.Table.Groups, in.Table.Versions, in.Table.Oldest = s.root.generation, s.root.groups, s.root.versions, s.root.next
	groups, versions := uint64(0), uint64(0)
	err := s.table.scan([]byte{prefixGroup}, []byte{prefixGroup}, func(key, value []byte) (bool, error) {
		number, v, err := decodeGroup(key, value)
		if err != nil || number > uint64(len(s.groups))+maxMissingGroups {
			in.damage(badgerDir, 0, 0, "the value of a group, under key %x: %v", key, err)
			return true, nil
		}
		for uint64(len(s.groups))+1 < number {
			in.damage(badgerDir, 0, 0, "the value of group %d is missing", len(s.groups)+1)
			in.unknown()
		}
		groups, versions = groups+1, versions+v.version
		s.add(newGroup(number, &v))
		return true, nil
	})
	if err != nil {
		in.damage(badgerDir, 0, 0, "%v", err)
	}
	if found && (groups != s.root.groups || versions != s.root.versions) {
		in.damage(badgerDir, 0, 0, "transactions are lost: it has %d groups with %d versions, and should have %d with %d", groups, versions, s.root.groups, s.root.versions)
	}
	if found {
		if err := s.checkTickets(); err != nil {
			in.damage(badgerDir, 0, 0, "%s", detail(err))
		}
	}
}

// maxMissingGroups bounds what is believed of a number that may be damaged.
const maxMissingGroups = 1 << 16

func detail(err error) string {
	var corrupt *persistence.CorruptError
	if errors.As(err, &corrupt) {
		return corrupt.Detail
	}
	return err.Error()
}

// unknown adds a group of which nothing but the number is known.
func (in *Inspection) unknown() {
	number := uint64(len(in.s.groups)) + 1
	in.unnamed[number] = true
	in.s.add(&group{number: number, name: fmt.Sprintf("#%d", number)})
}

// record takes the next record of the journal.
func (in *Inspection) record(at journal.Position, record []byte) error {
	s := in.s
	head := reader{b: record}
	kind, number := head.byte(), uint64(0)
	of := kind == recordSave || kind == recordRemoval || kind == recordRevival
	if kind == recordGroup || of {
		number = head.uvarint()
	}
	if known := uint64(len(s.groups)); number > known+1 || of && number > known {
		if number > known+maxMissingGroups {
			return fmt.Errorf("group %d appears, and the last one before is %d", number, known)
		}
		for uint64(len(s.groups)) < number-1 || of && uint64(len(s.groups)) < number {
			in.damage(s.path(journalName), 0, 0, "group %d is spoken of, and what gives its name is lost", len(s.groups)+1)
			in.unknown()
		}
	}
	if kind == recordGroup && in.unnamed[number] {
		if _, incarnation, name, err := head.groupName(number); err == nil && s.names[name] == nil {
			g := s.groups[number-1]
			delete(s.names, g.name)
			delete(in.unnamed, number)
			g.name, g.log.Incarnation = name, incarnation
			s.names[name] = g
		}
	}
	r := replaying{s: s}
	err := r.record(at, record)
	in.Mark = max(in.Mark, r.mark)
	if err == nil {
		err = r.misfit
	}
	return err
}

// groupName takes what follows the number in the record of a group.
func (r *reader) groupName(number uint64) (uint64, raftcore.Incarnation, string, error) {
	rest := reader{b: append(binary.AppendUvarint(nil, number), r.b...)}
	return rest.groupRecord()
}

// fragment makes out whom a damaged record concerned.
func (in *Inspection) fragment(record []byte) []persistence.EntryRange {
	r := reader{b: record}
	switch r.byte() {
	case recordGroup:
		if number, _, name, err := r.groupRecord(); err == nil && number <= uint64(len(in.s.groups))+maxMissingGroups {
			return []persistence.EntryRange{{Group: name}}
		}
	case recordSave:
		save, err := r.saveRecord()
		if err != nil || save.number > uint64(len(in.s.groups)) {
			return nil
		}
		g := in.s.groups[save.number-1]
		if first, last, err := rangeOf(save.body); err == nil && first > 0 && first <= g.log.Last+1<<20 {
			return []persistence.EntryRange{{Group: g.name, From: first, To: last}}
		}
		return []persistence.EntryRange{{Group: g.name}}
	}
	return nil
}

// merge joins ranges that follow each other.
func merge(ranges []persistence.EntryRange) []persistence.EntryRange {
	var out []persistence.EntryRange
	for _, r := range ranges {
		if n := len(out); n > 0 && out[n-1].Group == r.Group && (r.From == 0 || out[n-1].From > 0 && r.From == out[n-1].To+1) {
			out[n-1].To = max(out[n-1].To, r.To)
		} else if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// finish checks what the whole has come to, and describes the groups.
func (in *Inspection) finish(damaged int) {
	s := in.s
	if s.root.generation < in.Mark {
		d := in.damage(s.path(badgerName), 0, 0, "transactions are lost: there are %d, the journal says that there were %d", s.root.generation, in.Mark)
		for _, f := range in.Table.Files {
			if f.Torn {
				d.File, d.Offset, d.Bytes = filepath.Join(s.path(badgerName), f.Name), f.End, f.Size-f.End
			}
		}
	} else if n := len(in.Journal.Segments); n > 0 && in.rooted {
		oldest, last := in.Journal.Segments[0].Number, in.Journal.Segments[n-1].Number
		if oldest > s.root.next || last+1 < s.root.next {
			in.damage(s.journal.File(s.root.next), 0, 0, "the segment is missing")
		} else if end := in.Journal.Next - 1; end < s.root.sequence && len(in.Journal.Damage) == 0 {
			in.damage(s.journal.File(last), 0, 0, "the end of the journal is lost: it ends with batch %d, and batch %d was durable when Badger was last written to", end, s.root.sequence)
		}
	}
	for _, g := range s.groups {
		l := g.log
		l.LastTime = 0
		out := &InspectedGroup{Number: g.number, Name: g.name, Known: !in.unnamed[g.number], Log: l, BaseTime: g.baseTime, Version: g.version, Held: g.held, Tombstone: g.tombstone, g: g}
		gaps := false
		for i := range g.extents {
			e := &g.extents[i]
			next := Extent{From: e.first, To: g.end(i), Segment: e.at.Segment, Records: 1}
			if n := len(out.InJournal); n > 0 && out.InJournal[n-1].Segment == next.Segment {
				out.InJournal[n-1].To = next.To
				out.InJournal[n-1].Records++
			} else {
				out.InJournal = append(out.InJournal, next)
			}
			if e.gap() {
				gaps = true
				d := in.damage(in.Dir, 0, 0, "group %q: entries %d to %d are missing", g.name, next.From, next.To)
				d.Concerns = []persistence.EntryRange{{Group: g.name, From: next.From, To: next.To}}
			}
		}
		if err := g.whole(); err != nil && !gaps {
			in.damage(in.Dir, 0, 0, "group %q: %v", g.name, err).Concerns = []persistence.EntryRange{{Group: g.name}}
		}
		in.Groups = append(in.Groups, out)
	}
	for i := range in.Damage[:damaged] { // Badger's: who is concerned could not be named before
		in.Damage[i].Detail = in.named(in.Damage[i].Detail)
	}
}

// named puts the names of groups where their numbers are. Chunks and pieces are
// described before it is known what their groups are called.
func (in *Inspection) named(text string) string {
	for {
		at := strings.Index(text, "\x00")
		end := strings.Index(text[at+1:], "\x00") + at + 1
		if at < 0 || end <= at {
			return text
		}
		name := text[at+1 : end]
		if number, err := strconv.ParseUint(name, 10, 64); err == nil && number > 0 && number <= uint64(len(in.s.groups)) {
			name = fmt.Sprintf("%q", in.s.groups[number-1].name)
		}
		text = text[:at] + name + text[end+1:]
	}
}

// checkChunks decodes what Badger has of a group's log, newest chunk first.
func (in *Inspection) checkChunks(g *group) {
	base, need := g.log.Base.Index, g.held
	missing := func(from, to raftcore.Index, offset int64, file, format string, args ...any) {
		d := in.damage(file, offset, 0, format, args...)
		d.Concerns = []persistence.EntryRange{{Group: g.name, From: from, To: to}}
	}
	prefix := string(chunksOf(g.number))
	for at := sort.SearchStrings(in.files.keys, prefix); at < len(in.files.keys) && need > base; at++ {
		key := in.files.keys[at]
		if !strings.HasPrefix(key, prefix) {
			break
		}
		first := firstOf([]byte(key))
		if first > need || first == 0 {
			continue // of entries that were replaced since
		}
		c := in.files.cells[key]
		file := in.files.path(c.file)
		last, err := in.checkChunk(g, first, need)
		if err != nil {
			missing(max(first, base+1), need, c.offset, file, "group %q: the chunk with entries from %d on: %s", g.name, first, detail(err))
		} else if last < need {
			missing(last+1, need, 0, in.s.path(badgerName), "group %q: the chunk with entries %d to %d is missing", g.name, last+1, need)
		}
		need = first - 1
	}
	if need > base {
		missing(base+1, need, 0, in.s.path(badgerName), "group %q: the chunk with entries %d to %d is missing", g.name, base+1, need)
	}
}

// checkChunk decodes a chunk up to an entry, and returns its last one.
func (in *Inspection) checkChunk(g *group, first, to raftcore.Index) (last raftcore.Index, err error) {
	body, found, err := in.s.chunk(g.number, first)
	if err != nil || found != first {
		return 0, errors.Join(err)
	}
	err = decodeEntries(body, func(e *raftcore.Entry) error {
		if last == 0 && e.Index != first {
			return fmt.Errorf("it begins with entry %d", e.Index)
		}
		last = e.Index
		if want := g.term(e.Index); e.Index > g.log.Base.Index && e.Index <= to && e.Term != want {
			return fmt.Errorf("entry %d has term %d, the group says %d", e.Index, e.Term, want)
		}
		return nil
	})
	return last, err
}

// Entries hands entries of a group to visit, in order. Those that are missing or
// damaged are handed to lost, with the reason, instead; the error is the first that
// one of the two returns.
func (in *Inspection) Entries(g *InspectedGroup, from, to raftcore.Index, visit func(e *raftcore.Entry) error, lost func(from, to raftcore.Index, err error) error) error {
	from, to = max(from, g.Log.Base.Index+1), min(to, g.Log.Last)
	for from <= to {
		end, gap := g.until(from, to)
		if gap {
			if err := lost(from, end, errors.New("they are missing")); err != nil {
				return err
			}
			from = end + 1
			continue
		}
		entries, err := in.s.load(g.g, from, end, 1<<20)
		if err != nil {
			end = min(end, in.next(g, from)-1)
			if err := lost(from, end, err); err != nil {
				return err
			}
			from = end + 1
			continue
		}
		for i := range entries {
			if err := visit(&entries[i]); err != nil {
				return err
			}
		}
		from += raftcore.Index(len(entries))
	}
	return nil
}

// until returns how far one reads from an entry without meeting a gap, or the end
// of the gap that it is in.
func (g *InspectedGroup) until(from, to raftcore.Index) (end raftcore.Index, gap bool) {
	if end = to; from <= g.Held {
		end = min(to, g.Held)
	}
	for _, e := range g.InJournal {
		if e.Segment != 0 {
			continue
		}
		if e.From <= from && from <= e.To {
			return min(to, e.To), true
		}
		if e.From > from {
			return min(end, e.From-1), false
		}
	}
	return end, false
}

// next returns the entry with which the next chunk or record begins.
func (in *Inspection) next(g *InspectedGroup, from raftcore.Index) raftcore.Index {
	next := g.Held + 1
	if from <= g.Held {
		prefix := string(chunksOf(g.Number))
		for at := sort.SearchStrings(in.files.keys, prefix); at < len(in.files.keys) && strings.HasPrefix(in.files.keys[at], prefix); at++ {
			if first := firstOf([]byte(in.files.keys[at])); first > from && first < next {
				next = first
			}
		}
		return next
	}
	for i := range g.g.extents {
		if first := g.g.extents[i].first; first > from {
			return first
		}
	}
	return g.Log.Last + 1
}

// Rehearsal is what opening a store would do.
type Rehearsal struct {
	Err     error // what Open would fail with, or nil
	Journal *journal.Plan
	// Repair is what it would do with Options.Repair; nil if that would do nothing.
	Repair *Repair
	// Records are how many the replay takes from each segment.
	Records map[uint32]int
	// Oldest is the segment up to which, itself not included, Badger has everything;
	// older ones are left from a handover that was interrupted, and are retired.
	Oldest uint32
}

// Repair is what opening a damaged store with Options.Repair would do, beside what
// becomes of its groups.
type Repair struct {
	Badger bool   // it would be made anew, of what can be read of it and of the journal
	File   string // else where the journal would be cut off; "" if it has ended too early already
	Offset int64
}

// Rehearse does what Open does, up to the point where that would change something.
// The inspection is the one that goes with it.
func (in *Inspection) Rehearse() (*Rehearsal, error) {
	out := &Rehearsal{Records: map[uint32]int{}, Oldest: in.s.root.next}
	if in.Fresh || in.Cutting {
		return out, nil // everything is made anew, or is changed before it is read
	}
	err := in.markerErr
	if err == nil {
		err = in.files.refused
	}
	m := marker{format: in.Format, id: in.ID}
	s := &store{o: in.s.o, table: in.files, names: map[string]*group{}, touched: map[uint32][]*group{}}
	if err == nil {
		err = s.readTable(m)
	}
	if err == nil {
		r := replaying{s: s}
		s.journal, out.Journal, err = journal.Rehearse(s.path(journalName), journal.Options{ID: m.id}, func(at journal.Position, record []byte) error {
			out.Records[at.Segment]++
			return r.record(at, record)
		})
		if err == nil {
			err = r.finish()
			s.journal.Close()
		}
		if errors.As(err, new(*persistence.CorruptError)) {
			out.Repair = s.plannedRepair(r.short)
		}
	}
	out.Err = err
	var corrupt *persistence.CorruptError
	if errors.As(err, &corrupt) {
		in.concern(corrupt)
	}
	strange := in.rooted && in.s.root.store != in.ID
	if in.markerErr == nil && !strange && (in.Noted || corrupt != nil && s.isBadgers(corrupt)) {
		out.Repair = &Repair{Badger: true}
	}
	return out, in.Unchanged()
}

// plannedRepair is the part of openJournal that decides whether to repair. short: the
// journal is whole, and lacks what must have come next.
func (s *store) plannedRepair(short bool) *Repair {
	damage, err := journal.Damaged(s.path(journalName), journal.Options{ID: s.root.store, First: s.root.next})
	switch {
	case damage != nil:
		return &Repair{File: damage.File, Offset: damage.Offset}
	case err == nil && short:
		return &Repair{}
	}
	return nil
}

// concern adds to an error whom it concerns.
func (in *Inspection) concern(corrupt *persistence.CorruptError) {
	for _, d := range in.Damage {
		if d.File == corrupt.File && d.Offset == corrupt.Offset {
			corrupt.Concerns = d.Concerns
		}
	}
}
