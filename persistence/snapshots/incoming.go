package snapshots

import (
	"errors"
	"fmt"
	"io"
)

// Incoming is a snapshot that is being received. It is for one goroutine at a
// time. It ends with Close or Abort, also after a failure; until then there is no
// other.
//
// What arrives is synced every 16 MiB, and when it is closed, and the file's name
// then says how far that is. So whatever happens to the process or the power, what
// was synced is there to go on from, and what merely looks as if it were on the disk
// is not believed.
type Incoming struct {
	dir   *Dir
	offer Info
	feed  feeder
	file  *draft
}

// Receive begins to receive a snapshot, or goes on: see Offset. It fails with
// ErrExists if the snapshot is here already, or another one that stands for the
// same; with ErrReceiving if one is being received.
//
// One incoming snapshot is kept: what there is of any other is removed. The offer
// is the sender's Info. Its Cluster and Size are believed: whether they are right
// for this group and this disk is for the caller to judge.
func (d *Dir) Receive(offer Info) (*Incoming, error) {
	unit, head, err := encodeHeader(&offer, d.opt.blockBytes)
	if err != nil {
		return nil, fmt.Errorf("the offer is malformed: %w", err)
	}
	if offer.Size < int64(len(unit)+trailerBytes) {
		return nil, fmt.Errorf("snapshot %v cannot have %d bytes: %w", offer.ID, offer.Size, ErrMismatch)
	}
	size := offer.Size
	offer = head.info // shares nothing with the caller's
	offer.Size = size
	partial, err := d.beginReceiving(&offer)
	if err != nil {
		return nil, err
	}
	in := &Incoming{dir: d, offer: offer}
	if partial != "" && in.resume(partial) {
		err = in.mark(true) // which is lower, if something was damaged
	} else {
		if partial != "" {
			d.fs.Remove(d.file(partial)) // what stays is swept when the directory is opened
		}
		in.feed = feeder{scanner: scanner{want: &in.offer}}
		in.file, err = newDraft(d.fs, d.path, partialName(baseName(&offer), 0), d.opt.syncBytes, d.opt.KeepFree)
	}
	if err != nil {
		d.endReceiving("")
		return nil, err
	}
	in.feed.file = "incoming " + baseName(&offer)
	return in, nil
}

// beginReceiving returns the file that may be resumed, if there is one. Whether it
// is of this snapshot, its header tells.
func (d *Dir) beginReceiving(offer *Info) (partial string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.beginToWrite(); err != nil {
		return "", err
	}
	if d.receiving {
		return "", ErrReceiving
	}
	for _, e := range d.list {
		if e.damage == nil && e.info.equivalent(offer) {
			return "", fmt.Errorf("entry %v: %w", offer.Meta.Last, ErrExists)
		}
	}
	partial, d.partial, d.receiving = d.partial, "", true
	return partial, nil
}

func (d *Dir) endReceiving(partial string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.receiving, d.partial = false, partial
}

// resume reads what there is of the snapshot, up to what is durable, and goes on
// after the last unit that is whole and undamaged: writes behind what is durable
// may have torn what lies in the same sectors. It reports whether there is
// anything to go on from.
func (in *Incoming) resume(name string) bool {
	d := in.dir
	in.feed = feeder{scanner: scanner{file: d.file(name), want: &in.offer}}
	f, err := d.fs.Open(d.file(name))
	if err != nil {
		return false
	}
	_, mark, _ := parsePartial(name)
	size, sizeErr := f.Size()
	at, err := in.reread(f, mark)
	// What lies behind that will be written over, if it is not more than is offered.
	if err != nil || sizeErr != nil || size > in.offer.Size || in.feed.head.bytes == 0 || in.feed.done && at < in.offer.Size {
		f.Close()
		return false
	}
	in.file = &draft{fs: d.fs, dir: d.path, name: name, f: f, at: at, synced: at, stale: true, every: d.opt.syncBytes, keep: d.opt.KeepFree}
	return true
}

// reread checks the first bytes of a file, and returns where the units end that
// are good.
func (in *Incoming) reread(f io.ReaderAt, mark int64) (int64, error) {
	src := io.NewSectionReader(f, 0, mark)
	for buf := make([]byte, in.dir.opt.blockBytes); ; {
		n, err := src.Read(buf)
		if in.feed.feed(buf[:n]) != nil || err == io.EOF {
			in.feed.unit = nil
			return in.feed.at, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// Info returns what was offered.
func (in *Incoming) Info() Info { return in.offer }

// Offset returns where the next chunk begins: after Receive, not 0 if an earlier
// attempt has got so far; it goes on with whole blocks. At Info().Size everything
// is there.
func (in *Incoming) Offset() int64 { return in.file.at }

// Write takes a chunk. One that was here before is ignored. It fails with ErrGap
// if one before it is missing, with ErrChunk if it is damaged, with ErrMismatch if
// it is of another snapshot: all this does no harm, go on at Offset. ErrInvalid and
// ErrFailed end the attempt: everything after that fails, nothing is left, and the
// next Receive begins anew.
func (in *Incoming) Write(c Chunk) error {
	if in.file.err != nil {
		return in.file.err
	}
	have := in.file.at
	switch {
	case c.ID != in.offer.ID:
		return fmt.Errorf("a chunk of snapshot %v, not %v: %w", c.ID, in.offer.ID, ErrMismatch)
	case c.sum() != c.Sum:
		return fmt.Errorf("snapshot %v, chunk at %d: %w", c.ID, c.Offset, ErrChunk)
	case c.Offset < 0 || c.Offset > in.offer.Size || int64(len(c.Data)) > in.offer.Size-c.Offset:
		return fmt.Errorf("snapshot %v has %d bytes, not a chunk of %d at %d: %w", c.ID, in.offer.Size, len(c.Data), c.Offset, ErrMismatch)
	case c.Offset > have:
		return fmt.Errorf("snapshot %v, chunk at %d after %d bytes: %w", c.ID, c.Offset, have, ErrGap)
	case c.Offset+int64(len(c.Data)) <= have:
		return nil
	}
	data := c.Data[have-c.Offset:]
	if err := in.feed.feed(data); err != nil {
		return in.invalid(err)
	}
	if err := in.file.append(data); err != nil {
		return err
	}
	if in.file.due() {
		return in.mark(true)
	}
	return nil
}

// invalid ends the attempt because of what was sent. That is no damage on this
// side: the error is no CorruptError.
func (in *Incoming) invalid(err error) error {
	in.file.abort()
	if errors.Is(err, ErrVersion) {
		in.file.err = fmt.Errorf("%w: %w", ErrInvalid, err)
	} else {
		in.file.err = fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	return in.file.err
}

// mark makes what has arrived durable, and the file's name say how many bytes in
// whole units that is: only after the sync, for if that fails, nobody who comes
// later must believe what the page cache still shows.
func (in *Incoming) mark(goOn bool) error {
	w := in.file
	if err := w.sync(); err != nil {
		return err
	}
	if name := partialName(baseName(&in.offer), in.feed.at); name != w.name {
		if err := w.rename(name); err != nil {
			return err
		}
		if goOn {
			return w.reopen()
		}
	} else if !goOn {
		return w.close()
	}
	return nil
}

// Commit makes a snapshot of what has arrived. It is durable when Commit returns
// nil. It fails with ErrIncomplete, which does no harm, if something is missing;
// otherwise as Write does.
func (in *Incoming) Commit() (Info, error) {
	w := in.file
	switch {
	case w.err != nil:
		return Info{}, w.err
	case w.at < in.offer.Size:
		return Info{}, fmt.Errorf("%d of %d bytes: %w", w.at, in.offer.Size, ErrIncomplete)
	case !in.feed.done: // all that there is, and more would be needed
		return Info{}, in.invalid(in.feed.corrupt("it is cut off"))
	}
	if err := w.sync(); err != nil {
		return Info{}, err
	}
	if err := in.dir.put(w, in.offer); err != nil {
		return Info{}, err
	}
	in.dir.endReceiving("")
	return in.offer, nil
}

// Close ends the receiving, and keeps what has arrived, durably, for another
// Receive. After Commit or Abort it does nothing.
func (in *Incoming) Close() error {
	if in.file.err == errOver {
		return nil
	}
	var err error
	partial := ""
	switch {
	case in.file.err != nil:
	case in.feed.head.bytes == 0: // nothing to speak of
		in.file.abort()
	default:
		if err = in.mark(false); err == nil {
			partial = in.file.name
		}
	}
	in.file.err = errOver
	in.dir.endReceiving(partial)
	return err
}

// Abort gives the snapshot up, and removes what has arrived. After Commit or Close
// it does nothing.
func (in *Incoming) Abort() {
	if in.file.err == errOver {
		return
	}
	in.file.abort()
	in.file.err = errOver
	in.dir.endReceiving("")
}
