package journaltest

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
)

// handle is an open file.
type handle struct {
	disk *Disk
	life int
	name string
	file *inode
}

func (h *handle) Close() error { return nil }

func (h *handle) Size() (int64, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return int64(len(h.file.seen)), h.alive()
}

func (h *handle) alive() error {
	if h.disk.crashed || h.life != h.disk.life {
		return ErrCrashed
	}
	return nil
}

func (h *handle) ReadAt(p []byte, offset int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.alive(); err != nil {
		return 0, err
	}
	if offset >= int64(len(h.file.seen)) {
		return 0, io.EOF
	}
	n := copy(p, h.file.seen[offset:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes into the cache. One that fails in the middle has written some
// of it.
func (h *handle) WriteAt(p []byte, offset int64) (int, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if err := h.disk.grow(max(offset+int64(len(p))-int64(len(h.file.seen)), 0)); err != nil {
		return 0, h.wrap("write", err)
	}
	verdict, err := h.disk.change(h.life)
	n := len(p)
	switch verdict {
	case dead:
		return 0, err
	case failing:
		n = h.disk.rng.IntN(n + 1)
	}
	h.file.apply(change{offset: offset, data: slices.Clone(p[:n])})
	return n, h.wrap("write", err)
}

func (h *handle) Truncate(size int64) error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	verdict, err := h.disk.change(h.life)
	if verdict == proceed {
		h.disk.free += int64(len(h.file.seen)) - size
		h.file.apply(change{resize: true, offset: size})
	}
	return h.wrap("truncate", err)
}

// Sync makes the file durable. One that fails leaves on the disk what it likes,
// and what it did not write is not written later: the pages count as clean.
func (h *handle) Sync() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	verdict, err := h.disk.change(h.life)
	switch {
	case verdict == dead:
	case verdict == failing && h.disk.crashed:
		// The changes stay pending: Crash tears them, if it was the power.
	case verdict == failing:
		h.file.reachDisk(func() bool { return h.disk.rng.IntN(2) == 0 })
	default:
		h.file.reachDisk(func() bool { return true })
	}
	return h.wrap("sync", err)
}

func (h *handle) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: h.name, Err: err}
}

// apply makes a change visible.
func (f *inode) apply(c change) {
	f.seen = c.in(f.seen, func() bool { return true })
	f.pending = append(f.pending, c)
}

// in carries the change out on some contents, as far as arrives says so, sector
// by sector.
func (c change) in(contents []byte, arrives func() bool) []byte {
	if c.resize {
		if arrives() {
			return resize(contents, c.offset)
		}
		return contents
	}
	for at := c.offset; at < c.offset+int64(len(c.data)); {
		end := min((at/sector+1)*sector, c.offset+int64(len(c.data)))
		if arrives() {
			if end > int64(len(contents)) {
				contents = resize(contents, end)
			}
			copy(contents[at:end], c.data[at-c.offset:end-c.offset])
		}
		at = end
	}
	return contents
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	n := len(b)
	b = slices.Grow(b, int(size)-n)[:size]
	clear(b[n:])
	return b
}

// reachDisk writes what is pending to the disk, as far as arrives says so.
func (f *inode) reachDisk(arrives func() bool) {
	for _, c := range f.pending {
		f.kept = c.in(f.kept, arrives)
	}
	f.pending = nil
}

// evict drops the cache, but for what is waiting to be written. It makes a
// difference only after a failed sync.
func (f *inode) evict() {
	f.seen = slices.Clone(f.kept)
	for _, c := range f.pending {
		f.seen = c.in(f.seen, func() bool { return true })
	}
}

// tear is what a loss of power does to what was not synced.
func (f *inode) tear(rng *rand.Rand) {
	pending := f.pending
	switch rng.IntN(4) {
	case 0: // nothing arrived
		f.pending = nil
	case 1: // everything did
		f.reachDisk(func() bool { return true })
	default:
		odds := 1 + rng.IntN(7)
		f.reachDisk(func() bool { return rng.IntN(8) < odds })
	}
	if rng.IntN(4) == 0 {
		f.damage(pending, rng)
	}
	f.seen = slices.Clone(f.kept)
}

// damage spoils blocks that were being written.
func (f *inode) damage(pending []change, rng *rand.Rand) {
	for _, c := range pending {
		if c.resize || len(c.data) == 0 {
			continue
		}
		first, last := c.offset/block, (c.offset+int64(len(c.data))-1)/block
		at := (first + rng.Int64N(last-first+1)) * block
		for i := at; i < min(at+block, int64(len(f.kept))); i++ {
			f.kept[i] = byte(rng.Uint32())
		}
	}
}
