package journal

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/castaway-go/castaway/persistence"
)

// Cut says where a damaged journal was cut off.
type Cut struct {
	Damage *persistence.CorruptError // the first
	// Aside are the files with what was cut off, for whoever wants to look at it.
	// Nothing reads them.
	Aside []string
}

// Salvage makes of a damaged journal one that opens: it ends before the first
// damage. What was in it from there on is lost, acknowledged or not; the files are
// kept under other names. If there is no damage, nothing is done, and there is no
// Cut.
//
// Afterwards the journal looks whole. So its owner must have noted, durably, that
// something is lost, before it calls Salvage. If that is interrupted, it is called
// again. Nobody may have the journal open.
func Salvage(dir string, o Options) (*Cut, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	o = o.withDefaults()
	lock, err := o.FS.Lock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	defer lock.Close()
	var cut *Cut
	for {
		s := salvage{o: o, dir: dir}
		damage, err := s.find()
		if damage == nil || err != nil {
			return cut, err
		}
		if cut == nil {
			cut = &Cut{Damage: damage}
		}
		if err := forgetMark(o.FS, dir); err != nil {
			return cut, err
		}
		aside, err := s.cut()
		cut.Aside = append(cut.Aside, aside...)
		if err != nil {
			return cut, err
		}
		if len(aside) == 0 { // there was nothing left to cut off
			return cut, nil
		}
	}
}

// Damaged returns the first damage of a journal, or nil. It changes nothing.
// Nobody may have the journal open.
func Damaged(dir string, o Options) (*persistence.CorruptError, error) {
	o.FS = readOnly(o.FS)
	s := salvage{o: o.withDefaults(), dir: dir}
	return s.find()
}

// salvage is one step of it.
type salvage struct {
	o       Options
	dir     string
	names   []string // what is in the directory
	numbers []uint32 // the segments
	keep    uint32   // the segments before this one are whole
	at      int64    // and of this one the first so many bytes; 0: nothing
}

// find reads the journal up to the first damage.
func (s *salvage) find() (*persistence.CorruptError, error) {
	j := &Journal{o: s.o, dir: s.dir, lock: io.NopCloser(nil), sequence: 1, offset: block}
	defer j.closeFiles()
	numbers, _, err := j.list()
	if err != nil {
		return nil, err // a file that nobody of us made
	}
	s.numbers = numbers
	if damage := s.first(j); damage != nil {
		return damage, nil
	}
	r := replayer{j: j, replay: func(Position, []byte) error { return nil }}
	err = r.read(numbers)
	var damage *persistence.CorruptError
	if !errors.As(err, &damage) {
		return nil, err
	}
	s.at = damage.Offset
	for _, number := range numbers {
		if j.File(number) < damage.File {
			s.keep = number + 1
		}
	}
	if len(numbers) > 0 {
		s.keep = max(s.keep, numbers[0])
	}
	// A batch that its segment's header vouches for is missed by every header
	// after it, too: the segment cannot be the last.
	for i, open := range j.segments {
		var h segmentHeader
		if open.number == s.keep && i < len(numbers) && s.at > 0 {
			in := scanner{file: open.file, size: open.size}
			b, err := in.bytes(0, min(block, open.size))
			if err != nil {
				return nil, err
			}
			if h.parse(b) != "" || j.sequence <= h.durable {
				s.at = 0
			}
		}
	}
	return damage, nil
}

// first looks whether the oldest segment that is needed is there. Without it those
// that follow are of no use, nor are those before, unless they end where it begins.
func (s *salvage) first(j *Journal) *persistence.CorruptError {
	n := len(s.numbers)
	if s.o.First == 0 || n > 0 && s.numbers[0] <= s.o.First && s.o.First <= s.numbers[n-1] {
		return nil
	}
	if n > 0 {
		s.keep = s.numbers[0]
		if s.numbers[n-1] == s.o.First-1 {
			s.keep = s.o.First
		}
	}
	return &persistence.CorruptError{File: j.File(s.o.First), Detail: "the segment is missing"}
}

// cut sets aside what comes after the damage, newest first, so that whenever it is
// interrupted there is either still a damage or nothing left to do.
func (s *salvage) cut() (aside []string, err error) {
	if s.names, err = s.o.FS.List(s.dir); err != nil {
		return nil, err
	}
	for _, number := range slices.Backward(s.numbers) {
		name := segmentName(number)
		switch {
		case number > s.keep || number == s.keep && s.at == 0:
			to := s.unused(name)
			if err := s.o.FS.Rename(filepath.Join(s.dir, name), to); err != nil {
				return aside, err
			}
			aside = append(aside, to)
		case number == s.keep:
			to := s.unused(name)
			if err := s.truncate(filepath.Join(s.dir, name), to); err != nil {
				return aside, err
			}
			aside = append(aside, to)
		}
	}
	return aside, s.o.FS.SyncDir(s.dir)
}

// unused returns a name to keep a damaged file under.
func (s *salvage) unused(name string) string {
	to := name + damagedSuffix
	for n := 2; slices.Contains(s.names, to); n++ {
		to = fmt.Sprintf("%s%s.%d", name, damagedSuffix, n)
	}
	s.names = append(s.names, to)
	return filepath.Join(s.dir, to)
}

const damagedSuffix = ".damaged"

// truncate cuts a segment off, and keeps a copy of it as it was.
func (s *salvage) truncate(name, to string) error {
	file, err := s.o.FS.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return err
	}
	kept, err := s.o.FS.Create(to, size)
	if err != nil {
		return err
	}
	defer kept.Close()
	in := scanner{file: file, size: size}
	for at := int64(0); at < size; at += maxSpanBytes {
		buf, err := in.bytes(at, min(maxSpanBytes, size-at))
		if err != nil {
			return err
		}
		if _, err := kept.WriteAt(buf, at); err != nil {
			return err
		}
	}
	if err := kept.Sync(); err != nil {
		return err
	}
	if err := s.o.FS.SyncDir(s.dir); err != nil {
		return err
	}
	if err := file.Truncate(s.at); err != nil {
		return err
	}
	return file.Sync()
}
