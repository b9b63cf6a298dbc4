package actors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// snapshotter writes the snapshots of a member, in its own time, and removes those
// that nothing needs any more.
//
//	machine     → snapshotter  takeOrder
//	node        → snapshotter  keepOrder
//	snapshotter → node         raftcore.SnapshotTaken, tookSnapshot
type snapshotter struct {
	group *Group
	host  *Host
	box   *mailbox
	files *files
}

// The messages of the snapshotter.
type (
	// takeOrder asks for a snapshot of a state that stands for meta.
	takeOrder struct {
		from    ref // the node
		group   *Group
		cluster raftcore.ClusterID
		meta    raftcore.SnapshotMeta
		head    []byte      // what stands before the state, as it was then
		state   io.WriterTo // nil: it is durable where the machine has it
		told    waiting
	}
	// keepOrder: the Save that names the snapshot of this entry is durable, so those
	// before it are not needed.
	keepOrder struct{ last raftcore.EntryID }
)

func (s *snapshotter) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *delivery:
		for _, message := range m.Messages {
			switch m := message.(type) {
			case *takeOrder:
				s.take(m)
			case keepOrder:
				s.keep(m)
			}
		}
	case *actor.Stopped:
		s.box.close()
	}
}

func (s *snapshotter) take(o *takeOrder) {
	if _, err := s.files.dir.Find(o.meta.Last); err == nil && o.told != nil {
		o.done(nil) // nothing has come since
		return
	}
	m := s.group.board.snapshots.begin(SnapshotProgress{Stage: SnapshotWriting, Index: o.meta.Last.Index, At: s.host.now()})
	size, err := s.files.write(o, m)
	s.group.board.snapshots.end(m)
	if err == nil {
		s.host.meters.tookSnapshot(s.group, size)
	} else if !errors.Is(err, errGone) {
		s.host.logger.Error("taking a snapshot failed, it will be tried again", "group", s.group.name, "index", uint64(o.meta.Last.Index), "err", err)
	}
	o.done(err)
}

// done tells who waits for the snapshot.
func (o *takeOrder) done(err error) {
	taken := raftcore.SnapshotTaken{Index: o.meta.Last.Index, Time: o.meta.Time}
	switch {
	case err != nil:
		o.told.end(err)
		o.from.tell(raftcore.SnapshotTaken{})
	case o.told == nil:
		o.from.tell(taken)
	default:
		o.from.tell(tookSnapshot{taken, o.told})
	}
	if courier := o.group.courier.Load(); courier != nil && o.group.wholes.Load() {
		courier.tell(wholeTaken{})
	}
}

func (s *snapshotter) keep(o keepOrder) {
	if s.files == nil {
		return // a witness's, of which nothing is kept
	}
	info, err := s.files.dir.Find(o.last)
	if err == nil {
		err = s.files.dir.Keep(info.ID)
	}
	if err != nil {
		s.host.logger.Error("older snapshots are kept", "group", s.group.name, "index", uint64(o.last.Index), "err", err)
	}
}

// files are a member's snapshots. Before the state of the machine they hold what the
// host keeps beside it.
type files struct {
	dir     *snapshots.Dir
	group   *Group
	leaving atomic.Bool // the member is stopping: nothing long is to go on
}

// snapshotPlace is a Store that also knows where snapshots are kept.
type snapshotPlace interface {
	Snapshots() (dir string, o snapshots.Options)
}

var errNoPlace = errors.New("the Store knows no place for snapshots: see snapshots.Beside")

// openFiles opens the snapshots of a group; nil if the Store knows no place for them, or
// there are none because it is a witness's.
func (h *Host) openFiles(g *Group) (*files, error) {
	place, any := h.cfg.Store.(snapshotPlace)
	if !any || g.cfg.Witness {
		return nil, nil
	}
	under, o := place.Snapshots()
	dir, err := snapshots.Open(filepath.Join(under, snapshots.Folder(g.name)), o)
	if err != nil {
		return nil, fmt.Errorf("opening the snapshots: %w", err)
	}
	return &files{dir: dir, group: g}, nil
}

// replacement returns the Save that has a newer snapshot take the place of a log, and
// of the snapshot that it follows, and has recovered be what is there then; or nil, if
// that is not to be. A journal that was cut off may name a snapshot that was removed
// when there was a newer one, which the journal has forgotten. What that stands for was
// committed; the log has not got that far, or it is not known to lead there. Only a
// newcomer may lose what it has.
func (f *files) replacement(r *raftcore.Recovered) *raftcore.Save {
	if f == nil || !r.Damaged || r.Snapshot.Last.Index == 0 {
		return nil
	}
	if _, err := f.dir.Find(r.Snapshot.Last); err == nil {
		return nil
	}
	for _, found := range f.dir.List() {
		meta := found.Meta
		if found.Damage != nil || found.Cluster != r.HardState.Cluster || meta.Last.Index <= r.Snapshot.Last.Index {
			continue
		}
		hard := r.HardState
		hard.Term = max(hard.Term, meta.Last.Term)
		*r = raftcore.Recovered{
			HardState: hard, Incarnation: r.Incarnation, Damaged: true,
			Snapshot: meta, Base: meta.Last, BaseConf: meta.Conf, Last: meta.Last.Index, LastTime: meta.Time,
		}
		return &raftcore.Save{HardState: hard, Snapshot: &meta, Base: &meta, Reset: true}
	}
	return nil
}

// imageVersion is the version of what stands before the state in a snapshot:
//
//	version  = uvarint: 2; 3 if no state follows, because a DiskStateMachine has it
//	sessions = size table    see sessions
//	skips    = size table    see skips
//	effects  = size table    see effects
//	version  = size uvarint  of the state machine
//	size     = uvarint: of the table, in bytes
//
// See FORMAT.md, under persistence.
const (
	imageVersion     = 2
	imageVersionBare = 3
)

// head is what the host keeps in a snapshot beside the state of the machine.
type head struct {
	sessions *sessions
	skips    []raftcore.Index
	effects  *effects
	version  uint64
	bare     bool // no state follows
}

func (m *machine) encodeHead(stateFollows bool) []byte {
	version := uint64(imageVersionBare)
	if stateFollows {
		version = imageVersion
	}
	b := binary.AppendUvarint(nil, version)
	for _, table := range [][]byte{m.sessions.encode(), m.group.skips.encode(), m.effects.encode(), binary.AppendUvarint(nil, m.version)} {
		b = append(binary.AppendUvarint(b, uint64(len(table))), table...)
	}
	return b
}

// write writes a snapshot, durably, and returns its size.
func (f *files) write(o *takeOrder, m *moving) (int64, error) {
	w, err := f.dir.Create(o.cluster, o.meta)
	if err != nil {
		return 0, err
	}
	defer w.Abort()
	if _, err := w.Write(o.head); err != nil {
		return 0, err
	}
	if o.state != nil {
		if err := writeState(o.state, newLeavingWriter(f, w, m)); err != nil {
			return 0, err
		}
	}
	if f.leaving.Load() {
		return 0, errGone
	}
	info, err := w.Commit()
	return info.Size, err
}

func writeState(state io.WriterTo, w io.Writer) error {
	defer panicsAt(0)
	_, err := state.WriteTo(w)
	return err
}

// leavingWriter ends the writing of a snapshot when the member stops, and has it yield to the
// log.
type leavingWriter struct {
	files  *files
	w      io.Writer
	moving *moving
	share  share
}

func newLeavingWriter(f *files, w io.Writer, m *moving) *leavingWriter {
	l := &leavingWriter{files: f, w: w, moving: m, share: share{host: f.group.host}}
	l.share.begin()
	return l
}

func (l *leavingWriter) Write(p []byte) (int, error) {
	if l.files.leaving.Load() {
		return 0, errGone
	}
	n, err := l.w.Write(p)
	l.moving.done.Add(int64(n))
	l.share.wrote(n)
	return n, err
}

// restore has a fresh machine become what the snapshot of an entry holds; or reads, for
// nil, what the host has in it, and no more.
func (f *files) restore(sm StateMachine, last raftcore.EntryID, able Versions) (h head, err error) {
	if f == nil {
		return h, errNoPlace
	}
	info, _, err := f.find(last)
	if err != nil {
		return h, err
	}
	file, err := f.dir.Read(info.ID)
	if err != nil {
		return h, err
	}
	defer file.Close()
	r := &leavingReader{files: f, r: file}
	if h, err = readHead(r, info.Size); err != nil {
		return h, err
	}
	if !able.includes(h.version) {
		return h, &VersionError{h.version, able}
	}
	if sm == nil {
		return h, nil
	}
	if h.bare {
		return h, &StateError{Reason: fmt.Sprintf("up to entry %d the state was on a disk of its own, and this state machine has none", last.Index)}
	}
	defer f.restores(r, info)()
	if err := restoreFrom(sm, r); err != nil {
		return h, err
	}
	_, err = io.Copy(io.Discard, r) // the end of the file says whether all of it was right
	return h, err
}

// restores shows that a snapshot is being restored, until what it returns is called.
func (f *files) restores(r *leavingReader, info snapshots.Info) (done func()) {
	board := f.group.board
	r.moving = board.snapshots.begin(SnapshotProgress{Stage: SnapshotRestoring, Index: info.Meta.Last.Index, Size: info.Size, At: f.group.host.now()})
	return func() { board.snapshots.end(r.moving) }
}

// restoreFrom has a machine restored. When it fails, that is its fault unless it is r's,
// or that of its own disk.
func restoreFrom(sm StateMachine, r *leavingReader) error {
	defer panicsAt(0)
	err := sm.Restore(r)
	switch {
	case err == nil || errors.Is(err, ErrStorageFault):
		return err
	case r.failed != nil:
		return fmt.Errorf("%w: %w", err, r.failed) // which the machine may have kept to itself
	}
	return fmt.Errorf("%w: %w", ErrMachineFault, err)
}

// readHead reads what stands before the state, in a file of this size.
func readHead(r *leavingReader, most int64) (h head, err error) {
	version, err := binary.ReadUvarint(r)
	if err != nil {
		return h, err
	}
	if version != imageVersion && version != imageVersionBare {
		return h, fmt.Errorf("it was written by another version: %d, this one reads %d and %d", version, imageVersion, imageVersionBare)
	}
	h.bare = version == imageVersionBare
	for _, decode := range []func([]byte) error{
		func(b []byte) (err error) { h.sessions, err = decodeSessions(b); return err },
		func(b []byte) (err error) { h.skips, err = decodeSkips(b); return err },
		func(b []byte) (err error) { h.effects, err = decodeEffects(b); return err },
		func(b []byte) (err error) {
			r := tableReader{b: b}
			if h.version = r.uvarint(); r.bad || len(r.b) > 0 {
				err = errBadHead
			}
			return err
		},
	} {
		table, err := readTable(r, most)
		if err == nil {
			err = decode(table)
		}
		if err != nil {
			return h, err
		}
	}
	return h, err
}

// find returns the snapshot of an entry, and whether it has no state in it. There may be
// two: one with the state in it is better.
func (f *files) find(last raftcore.EntryID) (found snapshots.Info, bare bool, err error) {
	for _, s := range f.dir.List() {
		if s.Meta.Last != last || s.Damage != nil {
			continue
		}
		if bare, err := f.bare(s.ID); err == nil && !bare {
			return s.Info, false, nil
		}
	}
	found, err = f.dir.Find(last)
	if err == nil {
		bare, err = f.bare(found.ID)
	}
	return found, bare, err
}

func (f *files) bare(id snapshots.ID) (bool, error) {
	file, err := f.dir.Read(id)
	if err != nil {
		return false, err
	}
	defer file.Close()
	version, err := binary.ReadUvarint(&leavingReader{files: f, r: file})
	return version == imageVersionBare, err
}

func readTable(r *leavingReader, most int64) ([]byte, error) {
	size, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if size > uint64(most) {
		return nil, errBadHead
	}
	b := make([]byte, size)
	_, err = io.ReadFull(r, b)
	return b, err
}

var errBadHead = errors.New("what stands before the state cannot be read")

// leavingReader ends the reading of a snapshot when the member stops.
type leavingReader struct {
	files  *files
	r      io.Reader
	failed error   // it could not be read, or not to its end
	moving *moving // nil: nobody is to know
}

func (l *leavingReader) Read(p []byte) (int, error) {
	if l.files.leaving.Load() {
		l.failed = errGone
		return 0, errGone
	}
	n, err := l.r.Read(p)
	if l.moving != nil {
		l.moving.done.Add(int64(n))
	}
	if err != nil && err != io.EOF {
		l.failed = err
	}
	return n, err
}

// ReadByte is for the head.
func (l *leavingReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(l, b[:])
	return b[0], err
}

// close lets go of the files. Whoever uses them has stopped.
func (f *files) close() error {
	if f == nil {
		return nil
	}
	return f.dir.Close()
}

// TakeSnapshot has this host's member take a snapshot of all that it has applied, and returns
// when that is durable, and the member would start from it. By it the log is cut, as by those
// that are taken when it is time (HostConfig.Raft.SnapshotEntries), but for Raft.KeepEntries. If
// nothing was applied since the last one, nothing is done. The other members take their own.
//
// It fails with ErrRejected if the member cannot take one now: it has just started, its
// machine or its disk fails, it stops, or the Store has no place for snapshots. When ctx ends
// the snapshot may be taken even so.
func (g *Group) TakeSnapshot(ctx context.Context) error {
	if g.cfg.Witness {
		return ErrWitness
	}
	if !g.host.cfg.keepsSnapshots() {
		return fmt.Errorf("%w: %w", ErrRejected, errNoPlace)
	}
	node := g.node.Load()
	if node == nil {
		return g.unavailable()
	}
	told := make(waiting, 1)
	node.tell(snapshotOrder{told})
	select {
	case err := <-told:
		if err != nil {
			return fmt.Errorf("%w: taking a snapshot: %w", ErrRejected, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("taking a snapshot: %w", ctx.Err())
	}
}

// tookSnapshot is a snapshot that somebody waits for: he is told when it is durable, too,
// that the member starts from it.
type tookSnapshot struct {
	taken raftcore.SnapshotTaken
	told  waiting
}

func (s tookSnapshot) orphaned() { s.told.end(errGone) }

// snapshotOrder has a snapshot taken that the core has not asked for.
type snapshotOrder struct{ told waiting }

func (o snapshotOrder) orphaned() { o.told.end(errGone) }
func (o *takeOrder) orphaned()    { o.told.end(errGone) }

// waiting is where somebody waits to be told whether a snapshot was taken; nil: nobody does.
type waiting chan error

// end tells him, if that has not been done.
func (w waiting) end(err error) {
	select {
	case w <- err:
	default: // nobody waits, or he knows
	}
}

var errNotApplied = errors.New("the member has not applied yet what it had, or is out of service")
