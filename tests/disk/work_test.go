package disk

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
)

// keepEntries is how many entries before a snapshot a node keeps for others that
// are not far behind.
const keepEntries = 1024

// worker is a group that saves one batch after the other, each when the one before
// is durable. Its state machine takes snapshots beside that.
type worker struct {
	j      *job
	number int
	opened persistence.Opened
	dir    *snapshots.Dir

	last      raftcore.Index // that is durable
	begun     raftcore.Index // where the last snapshot was begun
	taking    bool
	ready     chan *raftcore.SnapshotMeta // that was taken
	saved     chan struct{}               // a Save has it
	errs      chan error                  // what became of it
	snapshots int                         // that were saved
	done      chan bool                   // what was wanted is durable; that was the last
}

// take takes a snapshot, and forgets the one before when it is saved.
func (w *worker) take(meta *raftcore.SnapshotMeta) error {
	if w.dir == nil {
		w.ready <- meta
		<-w.saved
		return nil
	}
	to, err := w.dir.Create(jobHardState.Cluster, *meta)
	if err != nil {
		return err
	}
	piece := make([]byte, 4<<10) // a machine does not have its state in one piece
	for left := w.j.State; left > 0; left -= len(piece) {
		if _, err := to.Write(piece[:min(left, len(piece))]); err != nil {
			return err
		}
	}
	info, err := to.Commit()
	if err != nil {
		return err
	}
	w.ready <- meta
	<-w.saved
	return w.dir.Keep(info.ID)
}

// save returns the next part of a Save.
func (w *worker) save() (persistence.Save, error) {
	save := persistence.Save{Group: w.opened.Group, Save: raftcore.Save{Token: raftcore.Token{Boot: w.opened.Boot, Sequence: 1}, HardState: jobHardState}}
	save.Entries = make([]raftcore.Entry, 0, w.j.Batch)
	data := make([]byte, 0, w.j.Batch*entryBytes)
	for i := range w.j.Batch {
		at, index := len(data), w.last+1+raftcore.Index(i)
		data = entryData(data, w.number, index)
		save.Entries = append(save.Entries, jobEntry(w.number, index, data[at:]))
	}
	select {
	case save.Snapshot = <-w.ready:
		if at := save.Snapshot.Last.Index; at > keepEntries {
			save.Base = jobMeta(at - keepEntries)
			save.Base.Time = save.Snapshot.Time
		}
	case err := <-w.errs:
		if w.taking = false; err != nil {
			return save, err
		}
	default:
	}
	if every := raftcore.Index(w.j.Every); every > 0 && !w.taking && w.last >= w.begun+every {
		w.taking, w.begun = true, w.last
		meta := jobMeta(w.last)
		go func() { w.errs <- w.take(meta) }()
	}
	return save, nil
}

// sink makes what several groups want to save durable together. Some of the time
// that it takes may not count.
type sink interface {
	commit(saves []persistence.Save) error
	outside() time.Duration
}

type storeSink struct {
	persistence.Store
	longest time.Duration
}

func (s *storeSink) commit(saves []persistence.Save) error {
	start := time.Now()
	err := s.Save(saves)
	s.longest = max(s.longest, time.Since(start))
	return err
}

func (s *storeSink) outside() time.Duration { return 0 }

// plainSink appends the bare data to a preallocated file, with one write and one
// sync: what this disk can do.
type plainSink struct {
	dir       string
	file      journal.File
	at        int64
	buf       []byte
	preparing time.Duration
}

const plainBytes = 64 << 20

// prepare makes the next file.
func (p *plainSink) prepare() (err error) {
	start, name := time.Now(), filepath.Join(p.dir, "plain")
	if p.file != nil {
		err = errors.Join(p.file.Close(), journal.OS.Remove(name))
	}
	if err == nil {
		p.file, err = journal.OS.Create(name, plainBytes)
	}
	if err == nil {
		err = errors.Join(p.file.Sync(), journal.OS.SyncDir(p.dir))
	}
	p.at = 0
	p.preparing += time.Since(start)
	return err
}

func (p *plainSink) commit(saves []persistence.Save) error {
	p.buf = p.buf[:0]
	for i := range saves {
		for k := range saves[i].Entries {
			p.buf = append(p.buf, saves[i].Entries[k].Data...)
		}
	}
	if p.file == nil || p.at+int64(len(p.buf)) > plainBytes {
		if err := p.prepare(); err != nil {
			return err
		}
	}
	_, err := p.file.WriteAt(p.buf, p.at)
	p.at += int64(len(p.buf))
	return errors.Join(err, p.file.Sync())
}

func (p *plainSink) outside() time.Duration { return p.preparing }

// want is what a worker wants to save next.
type want struct {
	w    *worker
	save persistence.Save
	err  error
}

// work saves until it is told that this was the last one.
func (w *worker) work(wants chan<- want) {
	for last := false; !last; {
		save, err := w.save()
		wants <- want{w, save, err}
		if last = <-w.done; err != nil {
			return
		}
		w.last += raftcore.Index(len(save.Entries))
		if save.Snapshot != nil {
			w.snapshots++
			w.saved <- struct{}{}
		}
	}
}

// turn has all workers save until it is enough, and returns how many entries became
// durable in every second until then. What several want to save while the disk is
// busy is saved together. After an error the workers are left as they are.
func turn(workers []*worker, s sink, enough func(entries int, since time.Duration) (bool, error)) (seconds []int, err error) {
	wants := make(chan want, len(workers)) // each has one at a time
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(func() { w.work(wants) })
	}
	start, outside, entries, last := time.Now(), s.outside(), 0, false
	for left := len(workers); left > 0; {
		batch := []want{<-wants}
		for range len(wants) {
			batch = append(batch, <-wants)
		}
		saves := make([]persistence.Save, len(batch))
		for i := range batch {
			saves[i], err = batch[i].save, errors.Join(err, batch[i].err)
			entries += len(saves[i].Entries)
		}
		if err == nil {
			err = s.commit(saves)
		}
		since := time.Since(start) - (s.outside() - outside)
		if err == nil && !last {
			for len(seconds) <= int(since/time.Second) {
				seconds = append(seconds, 0)
			}
			for i := range saves {
				seconds[len(seconds)-1] += len(saves[i].Entries)
			}
			last, err = enough(entries, since)
		}
		if err != nil {
			return nil, err
		}
		for i := range batch {
			batch[i].w.done <- last
			if last {
				left--
			}
		}
	}
	all.Wait()
	return seconds, nil
}

// workers opens the groups of a job.
func (j *job) workers(s persistence.Store) (all []*worker, err error) {
	for g := range j.Groups {
		w := &worker{j: j, number: g, ready: make(chan *raftcore.SnapshotMeta), saved: make(chan struct{}), errs: make(chan error), done: make(chan bool)}
		w.begun = raftcore.Index(g * j.Every / j.Groups) // not all at once
		if s != nil {
			if w.opened, err = s.Open(groupName(g)); err != nil {
				return nil, err
			}
			w.last = w.opened.Recovered.Last
		}
		if s != nil && j.State > 0 {
			if w.dir, err = snapshots.Open(j.snapshots(g), snapshots.Options{}); err != nil {
				return nil, err
			}
		}
		all = append(all, w)
	}
	return all, nil
}

func (j *job) snapshots(g int) string { return filepath.Join(j.Dir, "snapshots", groupName(g)) }

// work has the groups save for some time, in turns with a plain file, or until they
// have saved enough.
func (j *job) work(r *report) error {
	opened, err := j.open()
	if err != nil {
		return err
	}
	s := &storeSink{Store: opened}
	workers, err := j.workers(s)
	if err != nil {
		return err
	}
	start := time.Now()
	if j.Time == 0 {
		err = j.workUntil(r, workers, s)
	} else {
		err = j.workInTurns(r, workers, s)
	}
	if err != nil {
		return err
	}
	r.Elapsed, r.Longest = time.Since(start), s.longest
	for _, w := range workers {
		if w.taking { // what is not saved any more is as if the process had ended
			select {
			case <-w.ready:
			case err := <-w.errs:
				if err != nil {
					return err
				}
			}
		}
		r.Snapshots += w.snapshots
		r.Entries += int(w.last)
	}
	if r.Memory, err = readMemory(); err != nil {
		return err
	}
	return s.Close()
}

func (j *job) workUntil(r *report, workers []*worker, s sink) error {
	_, err := turn(workers, s, func(entries int, _ time.Duration) (bool, error) {
		return entries >= j.Entries, j.sample(r, entries*samples/j.Entries)
	})
	return err
}

// samples is about how often it is looked what a store takes.
const samples = 200

func (j *job) sample(r *report, due int) error {
	if len(r.Disk) >= due {
		return nil
	}
	bytes, err := diskUse(filepath.Join(j.Dir, "store"))
	r.Disk = append(r.Disk, bytes)
	return err
}

// workInTurns lets the plain file have a turn of a third of the length after every
// one of the store.
func (j *job) workInTurns(r *report, workers []*worker, s sink) error {
	bare := *j
	bare.Every = 0
	plainWorkers, err := bare.workers(nil)
	if err != nil {
		return err
	}
	plain, long := &plainSink{dir: j.Dir}, max(time.Second, (j.Turn/3).Truncate(time.Second))
	r.PlainTurn = int(long / time.Second)
	for done := time.Duration(0); done < j.Time; done += j.Turn {
		seconds, err := turn(workers, s, func(entries int, since time.Duration) (bool, error) {
			return since >= j.Turn, j.sample(r, int((done+since)/time.Second))
		})
		if err != nil {
			return err
		}
		r.Store = append(r.Store, seconds[:j.Turn/time.Second]...)
		if seconds, err = turn(plainWorkers, plain, func(_ int, since time.Duration) (bool, error) { return since >= long, nil }); err != nil {
			return err
		}
		r.Plain = append(r.Plain, seconds[:long/time.Second]...)
	}
	return nil
}

// look opens the store, and reads every entry and the newest snapshot of all groups.
func (j *job) look(r *report) error {
	start := time.Now()
	s, err := j.open()
	if err != nil {
		return err
	}
	opened := make([]persistence.Opened, j.Groups)
	for g := range opened {
		if opened[g], err = s.Open(groupName(g)); err != nil {
			return err
		}
	}
	r.Elapsed = time.Since(start)
	if r.Idle, err = readMemory(); err != nil {
		return err
	}
	for g := range opened {
		o := &opened[g]
		n, err := checkLog(s, g, o)
		if err != nil {
			return err
		}
		r.Read += n
		r.Entries += int(o.Recovered.Last)
		if at := o.Recovered.Snapshot.Last; at.Index > 0 && j.State > 0 {
			if err := j.checkSnapshot(g, at); err != nil {
				return fmt.Errorf("%s: the snapshot of %v: %w", groupName(g), at, err)
			}
		}
	}
	if j.State > 0 {
		if r.Files, err = diskUse(filepath.Join(j.Dir, "snapshots")); err != nil {
			return err
		}
	}
	if r.Memory, err = readMemory(); err != nil {
		return err
	}
	return s.Close()
}

func (j *job) checkSnapshot(g int, at raftcore.EntryID) error {
	dir, err := snapshots.Open(j.snapshots(g), snapshots.Options{})
	if err != nil {
		return err
	}
	info, err := dir.Find(at)
	if err == nil {
		err = dir.Verify(info.ID)
	}
	if n := len(dir.List()); err == nil && n > 2 {
		err = fmt.Errorf("it is one of %d", n)
	}
	return errors.Join(err, dir.Close())
}
