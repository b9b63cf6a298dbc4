package snapshots

import (
	"fmt"
	"io"
)

// Reader reads the content of a snapshot. It is for one goroutine at a time.
//
// Nothing is handed out before the checksum of its block has been checked, and
// io.EOF comes only after the trailer has: a state machine that has read to the
// end has read everything that was written, and nothing else.
type Reader struct {
	scan    scanner
	src     io.Reader
	unit    []byte // its memory
	content []byte // of the block, not handed out yet
	err     error
	info    Info
	finish  func(err error) error // told how it ended: io.EOF, or why not
	close   func() error
}

// Read opens a snapshot for restoring from it. It fails with its Damage if it is
// known to be damaged.
func (d *Dir) Read(id ID) (*Reader, error) {
	e, f, err := d.hold(id)
	if err != nil {
		return nil, err
	}
	r := &Reader{
		scan:   scanner{file: d.file(e.name), want: &e.info},
		src:    io.NewSectionReader(f, 0, 1<<62),
		info:   e.info,
		finish: func(err error) error { d.note(e, err); return err },
		close:  func() error { return d.letGo(e, f) },
	}
	return r, nil
}

// Info returns what the snapshot is.
func (r *Reader) Info() Info { return r.info }

// Read reads a piece of the content. Its error is io.EOF when all was read; a
// *persistence.CorruptError if the snapshot is damaged from there on; or that of
// the disk. It is final.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.content) == 0 && len(p) > 0 {
		if r.err == nil {
			r.err = r.next()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.content)
	r.content = r.content[n:]
	return n, nil
}

// begin reads the header, if it has not been read.
func (r *Reader) begin() error {
	if r.scan.head.bytes == 0 && r.err == nil {
		r.err = r.next()
	}
	return r.err
}

// next reads the next unit.
func (r *Reader) next() (err error) {
	if !r.scan.done {
		r.content, r.unit, err = r.scan.read(r.src, r.unit)
	}
	if err == nil && r.scan.done {
		err = r.atEnd()
	}
	if err != nil {
		err = r.finish(err)
	}
	return err
}

// atEnd makes sure that nothing follows the trailer.
func (r *Reader) atEnd() error {
	var b [1]byte
	switch n, err := io.ReadFull(r.src, b[:]); {
	case n > 0:
		return r.scan.corrupt("something follows its trailer")
	case err == io.EOF:
		return io.EOF
	default:
		return fmt.Errorf("%s: %w", r.scan.file, err)
	}
}

// Close ends the reading, wherever it is.
func (r *Reader) Close() error {
	if r.close == nil {
		return nil
	}
	end := r.close
	r.close, r.err, r.content = nil, errOver, nil
	return end()
}
