package snapshots

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/castaway-go/castaway/raftcore"
)

// Writer writes a snapshot. It is for one goroutine at a time.
type Writer struct {
	enc encoder
	dir *Dir
}

// Create begins a snapshot of the member's own state machine, which stands for
// meta. What is written to it is nothing before Commit.
func (d *Dir) Create(cluster raftcore.ClusterID, meta raftcore.SnapshotMeta) (*Writer, error) {
	return d.create(Info{ID: d.opt.newID(), Cluster: cluster, Meta: meta}, d.opt.blockBytes)
}

func (d *Dir) create(info Info, block int) (*Writer, error) {
	d.mu.Lock()
	err := d.beginToWrite()
	d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	unit, h, err := encodeHeader(&info, block)
	if err != nil {
		return nil, err
	}
	file, err := newDraft(d.fs, d.path, baseName(&info)+draftSuffix, d.opt.syncBytes, d.opt.KeepFree)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: d, enc: encoder{file: file}}
	if err := w.enc.begin(unit, h); err != nil {
		return nil, err
	}
	return w, nil
}

// Write writes a piece of the content, of any size. It fails with ErrFailed, and
// so does everything after that.
func (w *Writer) Write(p []byte) (int, error) { return w.enc.Write(p) }

// Commit makes a snapshot of what was written. It is durable when Commit returns
// nil. If it fails, it may come to light when the directory is opened again: then
// it is whole.
func (w *Writer) Commit() (Info, error) {
	info, err := w.enc.end()
	if err != nil {
		return Info{}, err
	}
	return info, w.dir.put(w.enc.file, info)
}

// Abort gives the snapshot up. After Commit it does nothing.
func (w *Writer) Abort() { w.enc.file.abort() }

// encoder writes the units of a snapshot file.
type encoder struct {
	file    *draft
	tee     io.Writer // gets every byte of the file, too, if it is not nil
	head    header
	block   []byte // being filled: a frame, and content
	sum     uint32
	content int64
	whole   uint32
}

func (w *encoder) begin(unit []byte, h header) error {
	w.head, w.sum = h, checksum(unit[:len(unit)-4])
	w.block = make([]byte, frameBytes, frameBytes+h.block)
	return w.put(unit)
}

func (w *encoder) put(unit []byte) error {
	if err := w.file.append(unit); err != nil {
		return err
	}
	if w.tee != nil {
		w.tee.Write(unit) // a hash, which takes everything
	}
	if w.file.due() {
		return w.file.sync()
	}
	return nil
}

func (w *encoder) Write(p []byte) (n int, err error) {
	for n < len(p) && w.file.err == nil {
		k := min(len(p)-n, cap(w.block)-len(w.block))
		w.block = append(w.block, p[n:n+k]...)
		if len(w.block) == cap(w.block) {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
		n += k
	}
	return n, w.file.err
}

// flush writes the block, which is not empty.
func (w *encoder) flush() error {
	content := w.block[frameBytes:]
	binary.LittleEndian.PutUint32(w.block[4:], uint32(len(content)))
	w.sum = crc32.Update(w.sum, castagnoli, w.block[4:])
	binary.LittleEndian.PutUint32(w.block, w.sum)
	w.whole = crc32.Update(w.whole, castagnoli, content)
	w.content += int64(len(content))
	err := w.put(w.block)
	w.block = w.block[:frameBytes]
	return err
}

// end writes what is left, and syncs.
func (w *encoder) end() (Info, error) {
	if len(w.block) > frameBytes && w.file.err == nil {
		w.flush()
	}
	if w.file.err == nil {
		w.put(trailer{w.content, w.whole}.encode(w.sum))
	}
	info := w.head.info
	info.Size = w.file.at
	return info, w.file.sync()
}
