package badgerstore

import (
	"encoding/binary"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// The kinds of journal records: the first byte of each.
const (
	recordGroup  = 1 // a group was opened for the first time
	recordSave   = 2 // one group's part of a Save
	recordMark   = 3 // Badger holds what it must hold up to here
	recordDamage = 4 // what came before this was cut off; a group goes on with what is left

	recordRemoval = 5 // a group was removed
	recordRevival = 6 // it begins again
)

// maxRecordBytes is how many bytes of entries go into one record. A Save with
// more is several records of one batch: they are durable together or not at
// all, and whoever reads one entry back reads no more than this.
const maxRecordBytes = 64 << 10

// maxLast bounds the index of an entry: no group gets that far.
const maxLast = 1 << 62

// maxNameBytes bounds the name of a group.
const maxNameBytes = 4096

func appendGroupRecord(b []byte, number uint64, incarnation raftcore.Incarnation, name string) []byte {
	b = append(b, recordGroup)
	b = binary.AppendUvarint(b, number)
	b = binary.LittleEndian.AppendUint64(b, uint64(incarnation))
	return append(b, name...)
}

// saveRecord is one group's part of a Save, or a piece of it.
type saveRecord struct {
	number  uint64
	hard    raftcore.HardState
	damaged bool
	compaction
	body []byte // encoded entries; appendEntries wrote it
}

// compaction is what a Save says of snapshots, and of where the log begins.
type compaction struct {
	snapshot *raftcore.SnapshotMeta
	base     *raftcore.SnapshotMeta
	reset    bool // nothing is left of the log before
}

const (
	saveHasBase     = 0x01
	saveHasSnapshot = 0x02
	saveResets      = 0x04
)

func appendSaveRecord(b []byte, number uint64, hard raftcore.HardState, damaged bool, c compaction, entries []raftcore.Entry) []byte {
	b = append(b, recordSave)
	b = binary.AppendUvarint(b, number)
	var flags byte
	if c.base != nil {
		flags |= saveHasBase
	}
	if c.snapshot != nil {
		flags |= saveHasSnapshot
	}
	if c.reset {
		flags |= saveResets
	}
	b = append(b, flags)
	b = appendHardState(b, hard, damaged)
	if c.base != nil {
		b = appendSnapshot(b, c.base)
	}
	if c.snapshot != nil {
		b = appendSnapshot(b, c.snapshot)
	}
	return appendEntries(b, entries)
}

func appendMarkRecord(b []byte, generation uint64) []byte {
	return binary.AppendUvarint(append(b, recordMark), generation)
}

func appendDamageRecord(b []byte, d *damage) []byte {
	b = binary.AppendUvarint(append(b, recordDamage), d.number)
	b = binary.LittleEndian.AppendUint64(b, uint64(d.incarnation))
	b = binary.AppendUvarint(b, uint64(d.last))
	if d.base == nil {
		return append(b, 0)
	}
	return appendSnapshot(append(b, saveHasBase), d.base)
}

func appendRemovalRecord(b []byte, number uint64, t *persistence.Tombstone) []byte {
	b = binary.AppendUvarint(append(b, recordRemoval), number)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Incarnation))
	b = appendHardState(b, t.HardState, false)
	return binary.AppendVarint(b, t.Time)
}

func appendRevivalRecord(b []byte, number uint64, incarnation raftcore.Incarnation) []byte {
	b = binary.AppendUvarint(append(b, recordRevival), number)
	return binary.LittleEndian.AppendUint64(b, uint64(incarnation))
}

// groupRecord, saveRecord, markRecord and so on take what follows the kind.

func (r *reader) groupRecord() (number uint64, incarnation raftcore.Incarnation, name string, err error) {
	number = r.uvarint()
	incarnation = raftcore.Incarnation(r.fixed64())
	if r.failed || number == 0 || len(r.b) > maxNameBytes {
		return 0, 0, "", errMalformed
	}
	return number, incarnation, string(r.b), nil
}

func (r *reader) saveRecord() (saveRecord, error) {
	s := saveRecord{number: r.uvarint()}
	flags := r.byte()
	s.hard, s.damaged = r.hardState()
	if flags&saveHasBase != 0 {
		b := r.snapshot()
		s.base = &b
	}
	if flags&saveHasSnapshot != 0 {
		b := r.snapshot()
		s.snapshot = &b
	}
	s.reset = flags&saveResets != 0
	s.body = r.b
	if r.failed || s.number == 0 || flags&^(saveHasBase|saveHasSnapshot|saveResets) != 0 || s.reset && s.base == nil {
		return saveRecord{}, errMalformed
	}
	return s, nil
}

func (r *reader) damageRecord() (damage, error) {
	d := damage{number: r.uvarint(), incarnation: raftcore.Incarnation(r.fixed64()), last: raftcore.Index(r.uvarint())}
	switch r.byte() {
	case 0:
	case saveHasBase:
		b := r.snapshot()
		d.base = &b
	default:
		r.fail()
	}
	if d.last > maxLast {
		r.fail()
	}
	return d, r.end()
}

// removalRecord returns a tombstone without a name.
func (r *reader) removalRecord() (number uint64, t persistence.Tombstone, err error) {
	number, t.Incarnation = r.uvarint(), raftcore.Incarnation(r.fixed64())
	t.HardState, _ = r.hardState()
	t.Time = r.varint()
	if number == 0 {
		r.fail()
	}
	return number, t, r.end()
}

func (r *reader) revivalRecord() (number uint64, incarnation raftcore.Incarnation, err error) {
	number, incarnation = r.uvarint(), raftcore.Incarnation(r.fixed64())
	if number == 0 {
		r.fail()
	}
	return number, incarnation, r.end()
}

func (r *reader) markRecord() (generation uint64, err error) {
	generation = r.uvarint()
	return generation, r.end()
}
