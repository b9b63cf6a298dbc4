package badgerstore

import (
	"errors"
	"fmt"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/journal"
	"github.com/castaway-go/castaway/raftcore"
)

// piece is what one record of a Save says.
type piece struct {
	g       *group
	hard    raftcore.HardState
	damaged bool
	compaction
	entries []raftcore.Entry
}

// Save makes the parts of several groups durable together: one write and one
// sync of the journal, and nothing else.
func (s *store) Save(saves []persistence.Save) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if err := s.check(saves); err != nil {
		return err
	}
	s.pieces = s.pieces[:0]
	for i := range saves {
		g := s.groups[saves[i].Group-1]
		s.cut(g, &saves[i].Save)
	}
	defer clear(s.pieces) // entries must not be kept for longer than by those who read them
	return s.commit()
}

// check refuses what must not be saved, before anything of it is.
func (s *store) check(saves []persistence.Save) error {
	s.saves++
	for i := range saves {
		save := &saves[i]
		g, err := s.group(save.Group)
		if err != nil {
			return err
		}
		if save.Token.Boot != g.boot {
			return fmt.Errorf("group %q: the save is from an earlier opening: %w", g.name, persistence.ErrGroupClosed)
		}
		if g.checking != s.saves {
			g.checking = s.saves
			g.checked = persistence.Log{HardState: g.log.HardState, Snapshot: g.log.Snapshot.Last.Index, Base: g.log.Base.Index, Last: g.lastID()}
		}
		if err := g.checked.Follow(&save.Save); err != nil {
			return fmt.Errorf("group %q: %w", g.name, err)
		}
	}
	return nil
}

// cut makes records of one group's part: more than one if it has many entries.
func (s *store) cut(g *group, save *raftcore.Save) {
	entries, c := save.Entries, compaction{save.Snapshot, save.Base, save.Reset}
	for {
		n, bytes := 0, 0
		for n < len(entries) {
			if bytes += entryBytes(&entries[n]); bytes > maxRecordBytes && n > 0 {
				break
			}
			n++
		}
		s.pieces = append(s.pieces, piece{g: g, hard: save.HardState, damaged: g.log.Damaged && !save.HardState.Joined, compaction: c, entries: entries[:n]})
		c = compaction{} // once is enough
		if entries = entries[n:]; len(entries) == 0 {
			return
		}
	}
}

// commit appends the pieces as one batch, and takes note of them.
func (s *store) commit() error {
	if len(s.pieces) == 0 {
		return nil
	}
	if err := s.waitForRoom(); err != nil {
		return err
	}
	s.batch.Reset()
	for i := range s.pieces {
		p := &s.pieces[i]
		s.batch.Add(func(b []byte) []byte {
			return appendSaveRecord(b, p.g.number, p.hard, p.damaged, p.compaction, p.entries)
		})
	}
	positions, err := s.append(&s.batch)
	if err != nil {
		return err
	}
	s.mu.Lock()
	for i := range s.pieces {
		s.apply(&s.pieces[i], positions[i])
	}
	s.mu.Unlock()
	s.rolled(positions)
	if s.batch.Cap() > maxIdleBatchBytes {
		s.batch = journal.Batch{}
	}
	return nil
}

// maxIdleBatchBytes is how large a batch buffer is kept for the next Save.
const maxIdleBatchBytes = 4 << 20

// apply notes what is durable now. The caller holds mu.
func (s *store) apply(p *piece, at journal.Position) {
	g := p.g
	s.touch(g, at.Segment)
	g.log.HardState, g.log.Damaged = p.hard, p.damaged
	g.begin(&p.compaction)
	if n := len(p.entries); n > 0 {
		g.append(p.entries[0].Index, p.entries[n-1].Index, at)
		for i := range p.entries {
			g.log.Note(&p.entries[i])
		}
	}
}

// append appends a batch to the journal.
func (s *store) append(b *journal.Batch) ([]journal.Position, error) {
	positions, err := s.journal.Append(b)
	switch {
	case errors.Is(err, persistence.ErrPoisoned):
		return nil, s.fail(err)
	case errors.Is(err, persistence.ErrDiskFull):
		return nil, s.noRoom(err)
	case err != nil:
		return nil, err // nothing was written
	}
	return positions, nil
}
