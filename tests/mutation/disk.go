package main

// The defects of what keeps things on a disk, and of who asks it to: as in
// mutants.go, by their line in the list of traps.

// contractMutants are those of package persistence.
var contractMutants = []mutant{
	{"D8", "a gap before the entries of a Save is accepted", []edit{
		{"check.go", "if first <= snapshot || first > last.Index+1 {", "if first <= snapshot {"},
	}},
	{"D8", "a gap among the entries of a Save is accepted", []edit{
		{"check.go", "case e.Index != first+raftcore.Index(i):", "case e.Index < first:"},
	}},
	{"D8", "entries that a snapshot stands for are replaced", []edit{
		{"check.go", "if first <= snapshot || first > last.Index+1 {", "if first > last.Index+1 {"},
	}},
	{"D8", "a log may end before its snapshot", []edit{
		{"check.go", "if snapshot > last.Index {", "if false {"},
	}},
	{"D4", "a Save may have entries of a later term than its hard state", []edit{
		{"check.go", "case e.Term < before || e.Term > h.Term:", "case e.Term < before:"},
	}},
	{"E5", "a Save may change a vote", []edit{
		{"check.go", "l.HardState.Vote != raftcore.Nobody && h.Vote != l.HardState.Vote:", "l.HardState.Vote != raftcore.Nobody && false:"},
	}},
	{"E6", "a Save may lower the term", []edit{
		{"check.go", "case h.Term < l.HardState.Term:", "case false:"},
	}},
	{"M18", "the cluster changes with any Save", []edit{
		{"check.go", "case l.HardState.Cluster != 0 && h.Cluster != l.HardState.Cluster:", "case false:"},
	}},
	{"M18", "a new lineage cuts the log off", []edit{
		{"check.go", "s.Entries[0].EntryID != raftcore.EntryID{Term: h.Term, Index: l.Last.Index + 1}", "s.Entries[0].Term != h.Term"},
	}},
	{"M18", "a new lineage begins without a vote of its voter", []edit{
		{"check.go", "!slices.Equal(s.Entries[0].Config.Voters, []raftcore.NodeID{h.Vote})", "len(slices.Clone(s.Entries[0].Config.Voters)) != 1"},
	}},
	{"P7", "Memory takes a late Save of an earlier boot", []edit{
		{"memory.go", "if save.Token.Boot != g.boot {", "if false {"},
	}},
	{"P8", "Memory opens a group twice", []edit{
		{"memory.go", "if g.boot != 0 {", "if false {"},
	}},
}

// toolMutants are those of castaway-disk, where it begins a new lineage.
var toolMutants = []mutant{
	{"M18", "the survivor with the longest log is the best, whatever its term", []edit{
		{"lineage.go", "!best.last().AtLeast(other.last()) && !d.apart(other)", "best.Last < other.Last && !d.apart(other)"},
	}},
	{"M18", "directories of two lineages are compared", []edit{
		{"lineage.go", "return other.Config != nil && a != b && a != none && b != none", "return other.Config == nil && a != b && a != none && b != none"},
	}},
	{"M18", "a worse survivor is gone on from", []edit{
		{"lineage.go", "is(best != d, despiteWorse", "is(false, despiteWorse"},
	}},
	{"M18", "a group is begun although a majority is there", []edit{
		{"lineage.go", "is(g.quorum(), despiteQuorum", "is(false, despiteQuorum"},
	}},
	{"M18", "a new lineage has the same name each time", []edit{
		{"lineage.go", "rand.Read(b[:]) // never fails", "_, _ = rand.Reader, b"},
	}},
}

// journalMutants are those of package journal.
var journalMutants = []mutant{
	{"D2", "Append does not sync", []edit{
		{"append.go", "if err := s.file.Sync(); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D2", "a segment gets its name with a header that is not synced", []edit{
		{"segment.go", "if err := s.file.Sync(); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D2", "a segment gets its name before its header is synced", []edit{
		{"segment.go", "if err := s.file.Sync(); err != nil {\n\t\treturn err\n\t}\n\tif err := j.o.FS.Rename(spare, s.name); err != nil {\n\t\treturn err\n\t}",
			"if err := j.o.FS.Rename(spare, s.name); err != nil {\n\t\treturn err\n\t}\n\tif err := s.file.Sync(); err != nil {\n\t\treturn err\n\t}"},
	}},
	{"D2", "the name of a new segment is not synced", []edit{
		{"segment.go", "return j.o.FS.SyncDir(j.dir)", "return nil"},
	}},
	{"D2", "the end of a retired segment's name is not synced", []edit{
		{"segment.go", "err = j.o.FS.SyncDir(j.dir)", "err = nil"},
	}},
	{"D2", "what others left to be used again is used again", []edit{
		{"replay.go", "if err := j.o.FS.Remove(j.path(name)); err != nil {\n\t\t\treturn err\n\t\t}", "j.spares = append(j.spares, j.path(name))"},
	}},
	{"D2", "the copy of a repair is not synced before the damage is cut off", []edit{
		{"salvage.go", "if err := kept.Sync(); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D2", "the name of a repair's copy is not synced before the damage is cut off", []edit{
		{"salvage.go", "if err := s.o.FS.SyncDir(s.dir); err != nil {\n\t\treturn err", "if err := error(nil); err != nil {\n\t\treturn err"},
	}},
	{"D6", "a failed sync in Append is not noticed", []edit{
		{"append.go", "if err := s.file.Sync(); err != nil {", "if err := s.file.Sync(); err != nil && false {"},
	}},
	{"D6", "a failed sync in Append is tried again", []edit{
		{"append.go", "if err := s.file.Sync(); err != nil {", "if err := s.file.Sync(); err != nil && s.file.Sync() != nil {"},
	}},
	{"D9", "a lost tail is not looked for", []edit{
		{"replay.go", "return r.checkMark()", "return nil"},
	}},
	{"D9", "a lost newest segment is not looked for", []edit{
		{"watermark.go", "case w.segment > j.segments[n-1].number:", "case false:"},
	}},
	{"D9", "nobody writes which batch is durable", []edit{
		{"append.go", "if err := j.markDurable(s); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D9", "a batch is said to be durable before it is", []edit{
		{"append.go", "if err := s.file.Sync(); err != nil {", "j.sequence++\n\tj.markDurable(s)\n\tj.sequence--\n\tif err := s.file.Sync(); err != nil {"},
	}},
	{"D9", "what the watermark says when a journal is opened is not synced", []edit{
		{"watermark.go", "if err := j.syncMark(active); err != nil {", "if err := j.markDurable(active); err != nil {"},
	}},
	{"D9", "the name of a new watermark is not synced", []edit{
		{"watermark.go", "return j.o.FS.SyncDir(j.dir)", "return nil"},
	}},
	{"D9", "what the watermark says when a segment begins is not synced", []edit{
		{"segment.go", "if err := j.syncMark(s); err != nil {", "if err := j.markDurable(s); err != nil {"},
	}},
	{"D9", "what the watermark says when a journal is closed is not synced", []edit{
		{"journal.go", "err = j.syncMark(j.active())", "err = j.markDurable(j.active())"},
	}},
	{"D9", "a journal that was cut off is for ever shorter than its watermark says", []edit{
		{"salvage.go", "if err := forgetMark(o.FS, dir); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D6", "a failed write of the watermark is not noticed", []edit{
		{"append.go", "if err := j.markDurable(s); err != nil {", "if err := j.markDurable(s); err != nil && false {"},
	}},
	{"D15", "a watermark is believed whatever its checksum", []edit{
		{"watermark.go", " || binary.LittleEndian.Uint32(b[32:]) != checksum(b[:32])", ""},
	}},
	{"D15", "a batch that cannot be read is taken for a torn tail", []edit{
		{"replay.go", "if err := in.unreadable(at, size); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D15", "what cannot be read cannot be repaired", []edit{
		{"replay.go", "return errors.Is(err, syscall.EIO) }", "return errors.Is(err, syscall.EIO) && false }"},
	}},
	{"D13", "a full disk poisons the journal", []edit{
		{"append.go", "if errors.Is(err, persistence.ErrDiskFull) && !errors.Is(err, persistence.ErrPoisoned) {", "if errors.Is(err, persistence.ErrDiskFull) && false {"},
	}},
	{"D13", "a full disk is filled to the end", []edit{
		{"segment.go", "if err == nil && free < size+j.o.KeepFree {", "if err == nil && free < size {"},
	}},
	{"D6", "a failed sync of a new segment is not noticed", []edit{
		{"segment.go", "if err := s.file.Sync(); err != nil {", "if err := s.file.Sync(); err != nil && false {"},
	}},
	{"D6", "a failed sync of a new segment is tried again", []edit{
		{"segment.go", "if err := s.file.Sync(); err != nil {", "if err := s.file.Sync(); err != nil && s.file.Sync() != nil {"},
	}},
	{"D6", "a failed write is tried again", []edit{
		{"append.go", "_, err := s.file.WriteAt(b.buf, j.offset)", "_, err := s.file.WriteAt(b.buf, j.offset)\n\tif err != nil {\n\t\t_, err = s.file.WriteAt(b.buf, j.offset)\n\t}"},
	}},
	{"D6", "no failure poisons the journal", []edit{
		{"journal.go", "j.failure.CompareAndSwap(nil, &poisoned)\n", ""},
		{"journal.go", "return *j.failure.Load()", "return poisoned"},
	}},
	{"D6", "a failed write does not poison the journal", []edit{
		{"append.go", "_, err := s.file.WriteAt(b.buf, j.offset)", "_, err := s.file.WriteAt(b.buf, j.offset)\n\tif err != nil {\n\t\tb.buf = b.buf[:records]\n\t\treturn nil, err\n\t}"},
	}},
	{"D6", "a failed sync does not poison the journal", []edit{
		{"append.go", "if err := s.file.Sync(); err != nil {", "if err := s.file.Sync(); err != nil {\n\t\treturn nil, err\n\t}\n\tif false {"},
	}},
	{"D6", "a segment that could not be retired does not poison the journal", []edit{
		{"segment.go", "return j.fail(err)", "return err"},
	}},
	{"D6", "what only the page cache has is built upon", []edit{
		{"replay.go", "if r.heldIn != nil {\n\t\th.first", "if false {\n\t\th.first"},
		{"replay.go", "(r.heldIn != last || r.heldAt == block)", "r.heldIn != last"},
		{"replay.go", "old, oldEnd := r.heldIn, r.heldAt", "if err := r.deliver(); err != nil {\n\t\treturn err\n\t}\n\told, oldEnd := r.heldIn, r.heldAt+r.held.size()"},
	}},
	{"D8", "a missing segment is skipped", []edit{
		{"replay.go", "if i > 0 && number != numbers[i-1]+1 {", "if false {"},
		{"replay.go", "if h.first != j.sequence || h.chain != j.chain {", "if j.sequence, j.chain = h.first, h.chain; false {"},
		{"replay.go", "if next != nil && j.sequence < next.first || next", "if next"},
	}},
	{"D15", "nobody looks for batches behind a damaged one", []edit{
		{"replay.go", "return r.checkTail(&in, s, at)", "return nil"},
	}},
	{"D15", "a batch that a header vouches for is taken for the torn tail", []edit{
		{"replay.go", "|| next == nil && j.sequence <= h.durable {", "{"},
	}},
	{"D15", "a header vouches for nothing", []edit{
		{"replay.go", "h := segmentHeader{life: random(), first: j.sequence, durable: j.sequence - 1, chain: j.chain}", "h := segmentHeader{life: random(), first: j.sequence, chain: j.chain}"},
	}},
	{"D15", "a damaged batch in an earlier segment is skipped", []edit{
		{"replay.go", "if next != nil && j.sequence < next.first || next", "if next"},
		{"replay.go", "if h.first != j.sequence || h.chain != j.chain {", "if j.sequence, j.chain = h.first, h.chain; false {"},
	}},
	{"D15", "neither the chain of a segment nor that of a batch is compared", []edit{
		{"replay.go", "if h.first != j.sequence || h.chain != j.chain {", "if h.first != j.sequence {"},
		{"replay.go", "if h.chain != r.j.chain {", "if false {"},
	}},
	{"D15", "the chain of a batch is not compared", []edit{
		{"replay.go", "if h.chain != r.j.chain {", "if false {"},
	}},
	{"D15", "the chain passes over the records", []edit{
		{"frame.go", "for at := batchHeaderSize; at < len(batch); {\n\t\tchain = crc32", "for at := len(batch); at < len(batch); {\n\t\tchain = crc32"},
	}},
	{"D15", "the checksums of records have no mask", []edit{
		{"frame.go", "binary.LittleEndian.PutUint64(b[8:], sequence)\n\treturn checksum(b[:])", "binary.LittleEndian.PutUint64(b[8:], sequence)\n\treturn 0"},
	}},
	{"D15", "the life of a batch is not compared", []edit{
		{"frame.go", "\n\t\tbinary.LittleEndian.Uint64(b[8:]) != life ||", ""},
	}},
	{"D15", "the checksum of a batch's header is not compared", []edit{
		{"frame.go", "binary.LittleEndian.Uint32(b[4:]) != checksum(b[8:batchHeaderSize]) {", "false {"},
	}},
	{"D15", "the checksum of a segment's header is not compared", []edit{
		{"frame.go", "case checksum(b[:60]) != binary.LittleEndian.Uint32(b[60:]):", "case false:"},
	}},
	{"D15", "the checksums of records are not compared when the journal is opened", []edit{
		{"replay.go", "if checksum(record[4:])^m != binary.LittleEndian.Uint32(record) {", "if m == 0 && false {"},
	}},
	{"D15", "what stands behind the records of a batch is not looked at", []edit{
		{"replay.go", "if !zero(batch[size:]) || !intact(", "if !intact("},
	}},
	{"D15", "the checksum of a record that is read back is not compared", []edit{
		{"read.go", "|| checksum(record[4:]) != p.Sum {", "{"},
	}},
	{"D15", "a segment of another journal is taken for ours", []edit{
		{"replay.go", "case h.journal != j.o.ID:", "case false:"},
	}},
	{"D15", "a journal that is gone is taken for a new one", []edit{
		{"replay.go", "if len(numbers) == 0 && !j.o.Create {", "if false {"},
	}},
	{"D15", "a repair does not look for its oldest segment", []edit{
		{"salvage.go", "if damage := s.first(j); damage != nil {", "if damage := s.first(j); damage != nil && false {"},
	}},
	{"D15", "a repair leaves what follows the damaged segment", []edit{
		{"salvage.go", "case number > s.keep || number == s.keep && s.at == 0:", "case number == s.keep && s.at == 0:"},
	}},
	{"P4", "files of retired segments are not used again", []edit{
		{"segment.go", "if size == j.o.SegmentBytes {", "if false {"},
	}},
	{"P4", "files of retired segments are kept, however many", []edit{
		{"segment.go", "&& len(j.spares) < maxSpares", ""},
	}},
	{"P4", "files of retired segments that cannot be used again stay", []edit{
		{"segment.go", "err = j.o.FS.Remove(s.name)", "err = nil"},
	}},
	{"P4", "a torn tail keeps its space", []edit{
		{"replay.go", "if err := old.file.Truncate(oldEnd); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"P8", "the lock of a journal is not taken", []edit{
		{"lock_unix.go", "err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)", "err = nil"},
	}},
	{"P8", "a journal is repaired while it is open", []edit{
		{"salvage.go", "lock, err := o.FS.Lock(filepath.Join(dir, lockName))", "lock, err := io.NopCloser(nil), error(nil)"},
	}},
}

// storeMutants are those of package badgerstore.
var storeMutants = []mutant{
	{"D2", "a marker is not synced", []edit{
		{"marker.go", "if err := f.Sync(); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D2", "the name of a marker is not synced", []edit{
		{"marker.go", "return fsys.SyncDir(dir)", "return nil"},
	}},
	{"D2", "a store is ready before it is whole", []edit{
		{"open.go", "m = marker{format: storeFormat, id: random(), fresh: true}\n\t\tif err := s.prepare(m); err != nil {\n\t\t\treturn err\n\t\t}",
			"m = marker{format: storeFormat, id: random(), fresh: true}\n\t\tif err := s.prepare(marker{id: m.id}); err != nil {\n\t\t\treturn err\n\t\t}"},
	}},
	{"D2", "a segment is retired before Badger has what is needed of it", []edit{
		{"handover.go", "t.root.next = segment + 1\n", "t.root.next = segment + 1\n\tif err := s.journal.Retire(segment); err != nil {\n\t\treturn err\n\t}\n"},
		{"handover.go", "if err := s.journal.Retire(segment); err != nil {\n\t\treturn err\n\t}\n\ts.mu", "s.mu"},
	}},
	{"D2", "a segment is retired although Badger could not be told", []edit{
		{"handover.go", "if err := t.commit(); err != nil {\n\t\treturn err\n\t}\n\tif err := s.table.sync()", "if err := t.commit(); err != nil && false {\n\t\treturn err\n\t}\n\tif err := s.table.sync()"},
	}},
	{"D2", "the directory of Badger is not synced before a segment is retired", []edit{
		{"handover.go", "if err := s.table.sync(); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D2", "the directory of Badger is synced after a segment is retired", []edit{
		{"handover.go", "if err := s.table.sync(); err != nil {\n\t\treturn err\n\t}\n", ""},
		{"handover.go", "if err := s.journal.Retire(segment); err != nil {\n\t\treturn err\n\t}\n\ts.mu", "if err := s.journal.Retire(segment); err != nil {\n\t\treturn err\n\t}\n\tif err := s.table.sync(); err != nil {\n\t\treturn err\n\t}\n\ts.mu"},
	}},
	{"D2", "the directory of Badger is not synced before a store is ready", []edit{
		{"open.go", "err = s.table.sync()", "err = nil"},
	}},
	{"D2", "a new group is not known to the segment that tells of it", []edit{
		{"store.go", "s.touch(g, positions[0].Segment) // one batch is in one segment\n", ""},
	}},
	{"D2", "a repaired group is not known to the segment that tells of it", []edit{
		{"open.go", "s.touch(g, positions[0].Segment)", "_, _ = g, positions"},
	}},
	{"D4", "entries are saved before their hard state", []edit{
		{"save.go", "\treturn s.commit()\n", `	for i := range s.pieces {
		if p := &s.pieces[i]; len(p.entries) > 0 {
			hard := p.hard
			p.hard = p.g.log.HardState
			s.pieces = append(s.pieces, piece{g: p.g, hard: hard, damaged: p.damaged})
		}
	}
	all := s.pieces
	for len(all) > 0 {
		n := 1
		for n < len(all) && n < len(all)/2 {
			n++
		}
		s.pieces, all = all[:n], all[n:]
		if err := s.commit(); err != nil {
			return err
		}
	}
	return nil
`},
	}},
	{"D4", "the hard state is saved before its entries", []edit{
		{"save.go", "\treturn s.commit()\n", `	all := s.pieces
	s.pieces = nil
	for i := range all {
		s.pieces = append(s.pieces, piece{g: all[i].g, hard: all[i].hard, damaged: all[i].damaged})
	}
	if err := s.commit(); err != nil {
		return err
	}
	s.pieces = all
	return s.commit()
`},
	}},
	{"D4", "what is saved of several groups becomes durable one by one", []edit{
		{"save.go", "\treturn s.commit()\n", `	all := s.pieces
	for i := range all {
		s.pieces = all[i : i+1]
		if err := s.commit(); err != nil {
			return err
		}
	}
	s.pieces = all
	return nil
`},
	}},
	{"D6", "a failed Append does not poison the store", []edit{
		{"save.go", "return nil, s.fail(err)", "return nil, err"},
	}},
	{"P3", "a list of tables whose sync failed keeps Badger from opening", []edit{
		{"table.go", "notes, err := mendManifest(dir)", "notes, err := 0, error(nil)"},
	}},
	{"P1", "a table that is missing may be on the list that is mended", []edit{
		{"manifest.go", "if !exists(id) {", "if id == 0 {"},
	}},
	{"P3", "a store of the oldest format is refused", []edit{
		{"marker.go", "if m.format < oldestFormat ||", "if m.format <= oldestFormat ||"},
	}},
	{"P3", "programs that know an older format only are not told of a newer one", []edit{
		{"open.go", "if m.fresh || m.damaged || m.format != storeFormat {", "if m.fresh || m.damaged {"},
	}},
	{"D9", "nobody looks whether the journal is shorter than Badger knows", []edit{
		{"open.go", "case !r.cut && s.journal.Sequence() < s.root.sequence:", "case false:"},
	}},
	{"D9", "a repaired journal is for ever shorter than Badger knows", []edit{
		{"open.go", "s.root.sequence = s.journal.Sequence() // the journal is shorter than it was", ""},
	}},
	{"D13", "a full disk poisons the store", []edit{
		{"save.go", "case errors.Is(err, persistence.ErrPoisoned):", "case err != nil:"},
	}},
	{"D13", "a full disk has nobody hand over", []edit{
		{"room.go", "return n > s.o.RetainSegments || n > 0 && s.room.wanted", "return n > s.o.RetainSegments"},
	}},
	{"D13", "a store that was closed on a full disk is never let go of", []edit{
		{"store.go", "go s.release()", ""},
	}},
	{"D13", "a directory that is in use until there is room is taken for one that stays so", []edit{
		{"open.go", "if full := s.roomForBadger(0); errors.Is(full, persistence.ErrDiskFull) {", "if full := error(nil); full != nil {"},
	}},
	{"D13", "Badger is closed on a full disk", []edit{
		{"rest.go", "if r.room() != nil {\n\t\tr.timer", "if false {\n\t\tr.timer"},
	}},
	{"D13", "Badger is opened on a full disk", []edit{
		{"rest.go", "if err := r.room(); err != nil {", "if err := r.room(); err != nil && false {"},
	}},
	{"D13", "a Badger that cannot be opened on a full disk poisons the store", []edit{
		{"rest.go", "return nil, noRoomYet(err)", "return nil, r.failed(err)"},
	}},
	{"D13", "a Badger that could not be closed on a full disk never rests", []edit{
		{"rest.go", "\t\tr.timer.Reset(r.after)\n\t\treturn\n", "\t\treturn\n"},
	}},
	{"D9", "a Badger that cannot be opened again poisons nothing", []edit{
		{"rest.go", "r.gone = r.failed(err)\n\t\t}\n", "return nil, err\n\t\t}\n"},
	}},
	{"D9", "a Badger that cannot be closed is taken for one that rests", []edit{
		{"rest.go", "r.gone = r.failed(fmt.Errorf(\"closing badger: %w\", err))", "_ = fmt.Errorf"},
	}},
	{"D9", "damage that opening Badger again has met is forgotten", []edit{
		{"open.go", "return s.fail(s.notice(err))", "return s.fail(err)"},
	}},
	{"P3", "Badger rests while it is read", []edit{
		{"rest.go", "r.users > 0 ||", ""},
	}},
	{"P3", "Badger never rests again", []edit{
		{"rest.go", "if r.users--; r.users == 0 &&", "if r.users--; false &&"},
	}},
	{"P3", "a Badger that takes long to open rests at once", []edit{
		{"rest.go", "r.after = max(r.after, 100*time.Since(began))", "_ = began"},
	}},
	{"D13", "a full disk is opened", []edit{
		{"open.go", "if err := s.roomForBadger(0); err != nil {", "if err := s.roomForBadger(0); err != nil && false {"},
	}},
	{"D6", "a failed Append is tried again", []edit{
		{"save.go", "positions, err := s.append(&s.batch)", "positions, err := s.append(&s.batch)\n\tif errors.Is(err, persistence.ErrPoisoned) {\n\t\terr, positions = nil, make([]journal.Position, len(s.pieces))\n\t}"},
	}},
	{"D6", "a failed hand-over does not poison the store", []edit{
		{"handover.go", "if !errors.Is(err, errQuit) {", "if false {"},
	}},
	{"D6", "what Badger complains of does not poison the store", []edit{
		{"table.go", "if open {\n\t\tl.failed(", "if false {\n\t\tl.failed("},
	}},
	{"D7", "the end of the log moves although the Append fails", []edit{
		{"save.go", "positions, err := s.append(&s.batch)", "for i := range s.pieces {\n\t\tif e := s.pieces[i].entries; len(e) > 0 {\n\t\t\ts.pieces[i].g.truncate(e[0].Index)\n\t\t}\n\t}\n\tpositions, err := s.append(&s.batch)"},
	}},
	{"D7", "the hard state changes although the Append fails", []edit{
		{"save.go", "positions, err := s.append(&s.batch)", "for i := range s.pieces {\n\t\ts.pieces[i].g.log.HardState = s.pieces[i].hard\n\t}\n\tpositions, err := s.append(&s.batch)"},
	}},
	{"D7", "the base moves although the Append fails", []edit{
		{"save.go", "positions, err := s.append(&s.batch)", "for i := range s.pieces {\n\t\ts.pieces[i].g.begin(&s.pieces[i].compaction)\n\t}\n\tpositions, err := s.append(&s.batch)"},
	}},
	{"D8", "nobody checks whether a Save follows", []edit{
		{"save.go", "if err := g.checked.Follow(&save.Save); err != nil {", "if err := g.checked.Follow(&save.Save); err != nil && false {"},
	}},
	{"D8", "a Save is checked against the log before the part ahead of it", []edit{
		{"save.go", "if g.checking != s.saves {", "if true {"},
	}},
	{"D8", "a log with a gap is opened", []edit{
		{"group.go", "if g.extents[i].gap() {", "if false {"},
	}},
	{"D9", "the vote is kept although the journal was cut off", []edit{
		{"group.go", "l.HardState.Vote, l.HardState.Joined = raftcore.Nobody, false", "l.HardState.Joined = false"},
	}},
	{"D9", "a member counts on although the journal was cut off", []edit{
		{"group.go", "l.HardState.Vote, l.HardState.Joined = raftcore.Nobody, false", "l.HardState.Vote = raftcore.Nobody"},
	}},
	{"D9", "the incarnation is kept although the journal was cut off", []edit{
		{"open.go", "d.incarnation = raftcore.Incarnation(random())", "d.incarnation = g.log.Incarnation"},
	}},
	{"D9", "the term falls behind the log that is left", []edit{
		{"group.go", "l.HardState.Term = max(l.HardState.Term, g.lastID().Term, l.Snapshot.Last.Term)\n", ""},
	}},
	{"D9", "a group that was lost with the rest is taken for a new one", []edit{
		{"store.go", "if s.repaired {", "if false {"},
	}},
	{"D9", "after a repair nobody looks what can be read of the log", []edit{
		{"open.go", "g.truncate(last + 1)\n", "_ = last\n"},
	}},
	{"D9", "a newer snapshot of Badger's does not end the log that is left", []edit{
		{"group.go", "if at := s.Last.Index; at > 0 && (", "if at := s.Last.Index; false && ("},
	}},
	{"D15", "a repair begins before the marker says so", []edit{
		{"open.go", "if err := writeMarker(s.o.hooks.fs, s.o.Dir, *m); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D15", "the marker says that all is well before the groups know", []edit{
		{"open.go", "cut, err := journal.Salvage(s.path(journalName), o)", "cut, err := journal.Salvage(s.path(journalName), o)\n\tif err == nil {\n\t\terr = writeMarker(s.o.hooks.fs, s.o.Dir, marker{id: m.id})\n\t}"},
	}},
	{"D15", "a repair that was interrupted is not finished", []edit{
		{"marker.go", `m.damaged = lines[3] == "state damaged"`, "m.damaged = false"},
		{"marker.go", "if err != nil || string(m.encode()) != string(b) {", "if err != nil {"},
	}},
	{"D9", "while Badger is made anew nothing says that it is damaged", []edit{
		{"rebuild.go", "if !m.damaged {\n\t\tm.damaged = true\n\t\tif err", "if false {\n\t\tif err"},
	}},
	{"D9", "the journal is replayed over a Badger that has lost more than entries", []edit{
		{"rebuild.go", "if w.t.partial {", "if false {"},
	}},
	{"D9", "the journal is replayed over a Badger that has lost its end", []edit{
		{"rebuild.go", "if full.root.generation < w.mark || full.root.next < oldest || full.root.next > active {", "if oldest > active {"},
	}},
	{"D9", "what was taken from the journal is taken from it once more", []edit{
		{"rebuild.go", "if _, err := journal.Salvage(s.path(journalName), old); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D9", "what follows a hole in Badger is kept", []edit{
		{"rebuild.go", "last, err := w.source.readable(g)", "last, err := g.log.Last, error(nil)"},
	}},
	{"D15", "damage that a Load meets is not noted", []edit{
		{"rebuild.go", "if err := s.writeNote(corrupt.Error()); err != nil &&", "if err := error(nil); err != nil &&"},
	}},
	{"D15", "what was noted is not repaired", []edit{
		{"open.go", "cause := s.noted(m)", "cause := error(nil)"},
	}},
	{"D15", "a damaged Badger is made anew without being told to", []edit{
		{"rebuild.go", "case cause == nil || m.fresh || !s.o.Repair && !m.damaged:", "case cause == nil || m.fresh:"},
	}},
	{"D15", "a repair that was interrupted between two names begins again, with nothing", []edit{
		{"rebuild.go", "if err == nil && !slices.Contains(names, badgerName) && slices.Contains(names, anewName) {", "if err == nil && len(names) == 0 {"},
	}},
	{"D15", "a half of a Badger is taken for whole where there is no other", []edit{
		{"rebuild.go", "if err := s.o.hooks.fs.MkdirAll(s.path(badgerName)); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D15", "a damaged Badger is not kept", []edit{
		{"rebuild.go", "if err := fsys.Rename(s.path(badgerName), aside); err != nil {", "if err := s.o.hooks.removeTable(s.path(badgerName)); err != nil {"},
	}},
	{"P1", "a damaged block of Badger is taken for one that had nothing but entries", []edit{
		{"tablefiles.go", "t.partial = t.partial || !onlyEntries(this.KeyBytes(), next.KeyBytes())", ""},
	}},
	{"P1", "pieces of two entries are put together", []edit{
		{"load.go", "if err == nil && c.sum != nil && !bytes.Equal(bodySum(body), c.sum) {", "if err == nil && len(bytes.Clone(c.sum)) < 0 {"},
	}},
	{"P1", "the tables without a list are passed over", []edit{
		{"tablefiles.go", "case isTable && err == nil && listed && !lists:", "case isTable && err == nil && !lists:"},
	}},
	{"D15", "a store is repaired without being told to", []edit{
		{"open.go", "if err == nil || !s.o.Repair || !errors.As(err, &corrupt) ||", "if err == nil || !errors.As(err, &corrupt) ||"},
	}},
	{"D15", "a journal that lacks its oldest segment is opened", []edit{
		{"open.go", "case oldest > s.root.next:", "case oldest > s.root.next && false:"},
	}},
	{"D15", "records that do not fit are passed over", []edit{
		{"open.go", "case r.misfit != nil:", "case false:"},
	}},
	{"D15", "an entry that is read is not compared with the log", []edit{
		{"load.go", "e.Term != want || e.Index != l.from+raftcore.Index(i) {", "e.Term != want && false {"},
	}},
	{"P1", "Badger does not sync", []edit{
		{"table.go", "WithSyncWrites(true)", "WithSyncWrites(false)"},
	}},
	{"P1", "Badger opens tables whose ends are damaged", []edit{
		{"table.go", "return checkFiles(dir)", "return nil"},
	}},
	{"P1", "the last block of a table is not checked before Badger is opened", []edit{
		{"files.go", "!ok || crc32.Checksum(rest, castagnoli) != sum {", "!ok && sum > 0 && len(rest) > 0 {"},
	}},
	{"P1", "the heads of Badger's logs are not checked", []edit{
		{"files.go", "if wrong := wrongHead(b[:]); wrong != \"\" {", "if wrong := \"\"; wrong != \"\" {"},
	}},
	{"P1", "Badger removes the tables whose list is missing", []edit{
		{"files.go", `filepath.Ext(e.Name()) == ".sst"`, "e == nil"},
	}},
	{"P1", "tickets are not checked", []edit{
		{"open.go", "return s.checkTickets()", "return nil"},
	}},
	{"P1", "tickets of an earlier round count", []edit{
		{"open.go", "if generation < oldest || generation > s.root.generation {", "if false {"},
	}},
	{"P1", "tickets are not counted", []edit{
		{"open.go", "if err == nil && n != s.root.generation-oldest+1 {", "if false {"},
	}},
	{"P1", "the generation is not held against the marks", []edit{
		{"open.go", "case s.root.generation < r.mark:", "case false:"},
	}},
	{"P1", "a mark is left out", []edit{
		{"handover.go", "if _, err := s.journal.Append(&b); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"P1", "the versions of the groups are not checked", []edit{
		{"open.go", "|| versions != s.root.versions {", "{"},
	}},
	{"P1", "neither groups nor versions are counted", []edit{
		{"open.go", "n != s.root.groups || versions != s.root.versions {", "n != s.root.groups && false {"},
	}},
	{"P1", "a group that is missing in Badger is passed over", []edit{
		{"open.go", "if number != uint64(len(s.groups))+1 {", "if false {"},
	}},
	{"P1", "the root of another store is taken for ours", []edit{
		{"open.go", "case s.root.store != m.id:", "case false:"},
	}},
	{"P1", "the checksum of a value is not compared", []edit{
		{"values.go", "!= binary.LittleEndian.Uint32(value[n:]) {", "== 0 && false {"},
	}},
	{"P1", "the checksum of a value does not cover its key", []edit{
		{"values.go", "if crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[:n])", "if crc32.Update(0, castagnoli, value[:n])"},
		{"values.go", "sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)", "sum := crc32.Update(0, castagnoli, value)"},
	}},
	{"P1", "the root does not say where the journal begins", []edit{
		{"handover.go", "t.root.next = segment + 1\n", ""},
	}},
	{"P2", "a transaction is split when it is too big", []edit{
		{"table.go", "txn := t.db.NewTransaction(true)\n\tdefer txn.Discard()", "txn := t.db.NewWriteBatch()\n\tdefer txn.Cancel()"},
		{"table.go", "if err := txn.Commit(); err != nil {", "if err := txn.Flush(); err != nil {"},
	}},
	{"P2", "the root is written in a transaction of its own", []edit{
		{"handover.go", "writes = append(writes, write{key: rootKey", "if len(writes) > 0 {\n\t\tif err := s.table.commit(writes); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n\twrites = append(writes[:0:0], write{key: rootKey"},
	}},
	{"P2", "the values of groups are written in a transaction of their own", []edit{
		{"handover.go", "s.mu.RLock()\n\tfor i := range t.groups {", "if len(t.writes) > 0 {\n\t\tif err := s.table.commit(t.writes); err != nil {\n\t\t\treturn err\n\t\t}\n\t\tt.writes = t.writes[:0:0]\n\t}\n\ts.mu.RLock()\n\tfor i := range t.groups {"},
	}},
	{"P4", "chunks that were compacted are never deleted", []edit{
		{"handover.go", "if h.base == 0 || h.held == h.base {", "if true {"},
	}},
	{"P4", "chunks of a log that a snapshot replaced are never deleted", []edit{
		{"handover.go", "doomed = append(doomed, slices.Clone(key))\n\t\t\treturn true, nil", "if first > h.held {\n\t\t\t\tdoomed = append(doomed, slices.Clone(key))\n\t\t\t}\n\t\t\treturn true, nil"},
	}},
	{"P4", "chunks of entries that were replaced are never deleted", []edit{
		{"handover.go", "doomed = append(doomed, slices.Clone(key))\n\t\t\treturn true, nil", "if first <= h.held {\n\t\t\t\tdoomed = append(doomed, slices.Clone(key))\n\t\t\t}\n\t\t\treturn true, nil"},
	}},
	{"P4", "pieces are never deleted", []edit{
		{"handover.go", "if doomed, err = h.pieces(doomed); err != nil {", "if err != nil {"},
	}},
	{"P4", "pieces that were compacted are never deleted", []edit{
		{"handover.go", "if err == nil && h.base > 0 && h.held > h.base {", "if false {"},
	}},
	{"P4", "what a retired segment told of is never forgotten", []edit{
		{"handover.go", "delete(s.touched, segment)\n", ""},
	}},
	{"P4", "small chunks are never put together", []edit{
		{"handover.go", "if beyond || small {", "if beyond || small && false {"},
	}},
	{"P7", "a late Save of an earlier boot is taken", []edit{
		{"save.go", "if save.Token.Boot != g.boot {", "if false {"},
	}},
	{"P7", "every opening of a group has the same boot", []edit{
		{"store.go", "boot := random()", "boot := g.number"},
	}},
	{"P8", "the lock of a store is not taken", []edit{
		{"open.go", "lock, err := fsys.Lock(filepath.Join(o.Dir, lockName))", "lock, err := fsys.Lock(filepath.Join(o.Dir, fmt.Sprint(random())))"},
	}},
	{"P8", "the lock is let go of while Badger hangs", []edit{
		{"store.go", "return errors.Join(s.table.close(), s.journal.Close(), s.unlock())", "return errors.Join(s.journal.Close(), s.unlock(), s.table.close())"},
	}},
	{"P8", "a group is opened twice", []edit{
		{"store.go", "if g.boot != 0 {", "if false {"},
	}},
	{"P8", "a closed group is saved to", []edit{
		{"store.go", "if err == nil {\n\t\tg.boot = 0\n\t}", "_ = g"},
	}},
	{"D14", "a failure leaves those waiting who wait for room", []edit{
		{"store.go", "s.makeRoom()\n\t}\n\treturn *s.failure.Load()", "}\n\treturn *s.failure.Load()"},
	}},
}

// snapshotMutants are those of package snapshots.
var snapshotMutants = []mutant{
	{"D2", "snapshots are not synced", []edit{
		{"draft.go", "if err := d.f.Sync(); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D2", "the end of a snapshot is not synced before it gets its name", []edit{
		{"writer.go", "return info, w.file.sync()", "return info, w.file.err"},
	}},
	{"D2", "a received snapshot is not synced before it gets its name", []edit{
		{"incoming.go", "if err := w.sync(); err != nil {\n\t\treturn Info{}, err", "if err := w.err; err != nil {\n\t\treturn Info{}, err"},
	}},
	{"D2", "the name of a snapshot is not synced", []edit{
		{"draft.go", "if err := d.fs.SyncDir(d.dir); err != nil {", "if err := error(nil); err != nil {"},
	}},
	{"D2", "the names that are found are not synced", []edit{
		{"dir.go", "return d.fs.SyncDir(d.path)", "return nil"},
	}},
	{"D2", "a partial says how much is durable before it is", []edit{
		{"incoming.go", "if err := w.sync(); err != nil {\n\t\treturn err", "if err := w.err; err != nil {\n\t\treturn err"},
	}},
	{"D2", "what an earlier process wrote is taken for durable", []edit{
		{"incoming.go", "stale: true", "stale: false"},
	}},
	{"D6", "a failed sync of a snapshot is not noticed", []edit{
		{"draft.go", "if err := d.f.Sync(); err != nil {", "if err := d.f.Sync(); err != nil && false {"},
	}},
	{"D6", "a failed sync of a snapshot is tried again", []edit{
		{"draft.go", "if err := d.f.Sync(); err != nil {", "if err := d.f.Sync(); err != nil && d.f.Sync() != nil {"},
	}},
	{"D6", "a failed sync of a snapshot does not end the attempt", []edit{
		{"draft.go", "if err := d.f.Sync(); err != nil {\n\t\treturn d.fail(err)", "if err := d.f.Sync(); err != nil {\n\t\treturn failed(d.path(d.name), err)"},
	}},
	{"D6", "a failed write of a snapshot does not end the attempt", []edit{
		{"draft.go", "if _, err := d.f.WriteAt(p, d.at); err != nil {\n\t\treturn d.fail(err)", "if _, err := d.f.WriteAt(p, d.at); err != nil {\n\t\treturn failed(d.path(d.name), err)"},
	}},
	{"D15", "the checksum of a block is not compared", []edit{
		{"scan.go", "if crc32.Update(s.sum, castagnoli, unit[4:]) != binary.LittleEndian.Uint32(unit) {", "if false {"},
	}},
	{"D15", "the checksum of a block does not continue the one before", []edit{
		{"scan.go", "if crc32.Update(s.sum, castagnoli, unit[4:]) != binary.LittleEndian.Uint32(unit) {", "if crc32.Update(0, castagnoli, unit[4:]) != binary.LittleEndian.Uint32(unit) {"},
		{"writer.go", "w.sum = crc32.Update(w.sum, castagnoli, w.block[4:])", "w.sum = crc32.Update(0, castagnoli, w.block[4:])"},
	}},
	{"D15", "the checksum of a snapshot's header is not compared", []edit{
		{"format.go", "if checksum(body) != binary.LittleEndian.Uint32(b[len(body):]) {", "if false {"},
	}},
	{"D15", "the checksum of a trailer is not compared", []edit{
		{"format.go", "if crc32.Update(sum, castagnoli, b[4:]) != binary.LittleEndian.Uint32(b) {", "if false {"},
		{"format.go", "if t.content < 0 || !bytes.Equal(t.encode(sum), b) {", "if t.content < 0 {"},
	}},
	{"D15", "a snapshot that is cut off is taken for whole", []edit{
		{"scan.go", "if content < 0 || content > size || h.fileBytes(content) != size || ", "if "},
	}},
	{"D15", "the checksum of a chunk is not compared", []edit{
		{"incoming.go", "case c.sum() != c.Sum:", "case false:"},
	}},
	{"S11", "the snapshots before are removed before the next is durable", []edit{
		{"dir.go", "if err := w.rename(name); err != nil {", "for _, e := range d.list {\n\t\tif e.info.Meta.Last.Index < info.Meta.Last.Index {\n\t\t\td.fs.Remove(d.file(e.name))\n\t\t}\n\t}\n\tif err := w.rename(name); err != nil {"},
	}},
	{"S11", "newer snapshots are not kept", []edit{
		{"dir.go", "e == kept || e.info.Meta.Last.Index > kept.info.Meta.Last.Index {", "e == kept {"},
	}},
	{"S11", "a damaged snapshot is kept, and the good ones are not", []edit{
		{"dir.go", "return e, e.damage\n", "return e, nil\n"},
	}},
	{"S11", "a snapshot is removed while it is read", []edit{
		{"dir.go", "if e.readers > 0 {", "if false {"},
	}},
	{"P4", "drafts are never swept", []edit{
		{"dir.go", "case strings.HasSuffix(name, draftSuffix):\n\t\t\tsweep = append(sweep, name)", "case strings.HasSuffix(name, draftSuffix):"},
	}},
	{"P8", "the lock of a snapshot directory is not taken", []edit{
		{"dir.go", `lock, err := d.fs.Lock(filepath.Join(d.path, "lock"))`, "lock, err := io.NopCloser(nil), error(nil)"},
	}},
}

// actorMutants are those of package actors.
var actorMutants = []mutant{
	{"L6", "leaders go back and forth", []edit{
		{"balance.go", "leads[to] > leads[self]-2 {", "leads[to] > leads[self]-1 {"},
	}},
	{"L6", "a leadership is handed to who is gone", []edit{
		{"balance.go", "&& peer.Heard.Add(cfg.ElectionTimeout) >= newest", ""},
	}},
	{"L7", "a host that is not heard of is not missed", []edit{
		{"liveness.go", "gone := p.missed > patience", "gone := false"},
	}},
	{"L7", "beats that were lost are not noticed", []edit{
		{"liveness.go", "p.resend = p.said != digest{beat.Count, beat.Sum}", "p.resend = false"},
	}},
	{"A1", "a node does not hear of its machine before something else happens", []edit{
		{"machine.go", "if m.hurry.Load() {", "if false && m.hurry.Load() {"},
	}},
	{"P9", "what is brought forward comes when it was to come before", []edit{
		{"clock.go", "if at == 0 || a.set != 0 && a.set <= at {", "if at == 0 || a.set != 0 {"},
	}},
	{"P9", "what was put off never comes", []edit{
		{"clock.go", "return false, a.due", "return false, 0"},
	}},
	{"P9", "what was put off comes all the same", []edit{
		{"clock.go", "case a.due > now:", "case a.due > now && false:"},
	}},
	{"L7", "a clock that is late counts twice", []edit{
		{"liveness.go", "if m.at == l.wake {", "if true {"},
	}},
	{"L8", "a host that lives vouches for all its members", []edit{
		{"liveness.go", "b.here == b.there && !gone {", "!gone {"},
	}},
	{"L8", "a member that is leaving is said to sleep", []edit{
		{"member.go", "m.host.liveness.tell(awake{m.group.key})", ""},
	}},
	{"L8", "a node whose member is leaving is said to sleep", []edit{
		{"liveness.go", "node == nil || node.box != m.node.box {", "node == nil && false {"},
	}},
	{"D9", "a snapshot that a repaired log follows, and that is gone, is looked for for ever", []edit{
		{"snapshots.go", "if f == nil || !r.Damaged || r.Snapshot.Last.Index == 0 {", "if f == nil || r.Damaged || r.Snapshot.Last.Index == 0 {"},
	}},
	{"D9", "the disk is not told what takes the place of a repaired log", []edit{
		{"member.go", "o.order.log.tell(&saveOrder{group: o.opened.Group, save: *save})", "_ = o.order.log"},
	}},
	{"D2", "a Save is acknowledged when it is ordered", []edit{
		{"log.go", "l.owed = append(l.owed, m)", "m.from.tell(raftcore.Saved{Token: m.save.Token})"},
	}},
	{"D2", "a Save is acknowledged although it failed", []edit{
		{"log.go", "l.fail(ctx, err)\n\t\t\treturn\n\t\t}\n\t\tl.saved(n)", "l.fail(ctx, err)\n\t\t}\n\t\tl.saved(n)"},
	}},
	{"D6", "a failed Save is tried again", []edit{
		{"log.go", "err := l.store.Save(l.saves[:n])", "err := l.store.Save(l.saves[:n])\n\t\tif err != nil {\n\t\t\terr = l.store.Save(l.saves[:n])\n\t\t}"},
	}},
	{"D13", "a log whose disk is full gives up", []edit{
		{"log.go", "if errors.Is(err, persistence.ErrDiskFull) && !errors.Is(err, persistence.ErrPoisoned) {", "if false {"},
	}},
	{"D13", "a group that is closed leaves its saves to a full disk", []edit{
		{"log.go", "l.drop(m.order.group)", "_ = l.drop"},
	}},
	{"D13", "proposals wait for a full disk without a word", []edit{
		{"node.go", "n.host.full.Load() != nil {", "n.host.full.Load() != nil && false {"},
	}},
	{"D6", "a log that has failed goes on", []edit{
		{"log.go", "if l.failed != nil {\n\t\tif m, ok", "if false {\n\t\tif m, ok"},
		{"log.go", "|| l.full && !l.due || l.failed != nil {", "|| l.full && !l.due {"},
	}},
	{"D15", "nobody is told that entries are damaged", []edit{
		{"log.go", "order.from.tell(loadDamaged{err})\n\t\t\t\tcontinue\n", ""},
	}},
	{"D15", "a member whose log is damaged tries again", []edit{
		{"member.go", "if errors.As(err, new(*persistence.CorruptError)) || ", "if "},
	}},
	{"D6", "a member goes on with a store that has failed", []edit{
		{"supervisor.go", "h.eachMember(&storeLost{m.err})", ""},
	}},
	{"D14", "nobody is told that the log has failed", []edit{
		{"log.go", "ctx.Send(l.parent, &logFailed{epoch: l.epoch, err: err})", "_ = err"},
	}},
	{"D14", "a log that has failed does not answer who opens a group", []edit{
		{"log.go", "if m, ok := message.(*openGroup); ok {\n\t\t\tm.reply(&groupOpened{order: m, err: l.failed})\n\t\t}", ""},
	}},
	{"D14", "a log that fails first does not answer who opens a group", []edit{
		{"log.go", "o.reply(&groupOpened{order: o, err: l.failed})\n\t\t\tcontinue", "continue"},
	}},
	{"D14", "a log that is gone does not answer who opens a group", []edit{
		{"log.go", "func (o *openGroup) orphaned() { o.reply(&groupOpened{order: o, err: persistence.ErrClosed}) }", "func (o *openGroup) orphaned() { _ = persistence.ErrClosed }"},
	}},
	{"D14", "a mailbox that is closed drops what still comes", []edit{
		{"mailbox.go", "default:\n\t\torphaned(message)", "default:"},
	}},
	{"D14", "a mailbox that is closed drops what waits in it", []edit{
		{"mailbox.go", "for _, message := range requests {\n\t\tmessage.(refusable).refuse(errGone)\n\t}", "_ = requests"},
	}},
	{"D14", "members wait for a store that stays closed", []edit{
		{"supervisor.go", "h.eachMember(&storeGone{err})", ""},
		{"member.go", "if gone := m.host.gone.Load(); gone != nil {", "if gone := m.host.gone.Load(); gone != nil && false {"},
	}},
	{"D14", "a store that has failed is not opened again", []edit{
		{"supervisor.go", "case who.Equal(h.log.ref().pid):\n\t\th.reopen(ctx)", "case who.Equal(h.log.ref().pid):"},
	}},
	{"D14", "a log that panics is not missed", []edit{
		{"supervisor.go", "if l := h.log.ref(); f.child.Equal(l.pid) {", "if l := h.log.ref(); f.child.Equal(l.pid) && false {"},
	}},
	{"D14", "requests that wait for a member that stops are dropped", []edit{
		{"member.go", "requestCall(l.system, r, sender).finish(nil, ErrStopped)", "_, _ = r, sender"},
	}},
	{"P7", "a node resumes after a panic", []edit{
		{"member.go", "func (m *member) HandleFailure(system *actor.ActorSystem, _ actor.Supervisor,", "func (m *member) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor,"},
		{"member.go", "system.Root.Send(m.self, &childFailed{child: child, reason: reason})", "supervisor.ResumeChildren(child)"},
	}},
	{"P7", "a node is restarted in place after a panic", []edit{
		{"member.go", "func (m *member) HandleFailure(system *actor.ActorSystem, _ actor.Supervisor,", "func (m *member) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor,"},
		{"member.go", "system.Root.Send(m.self, &childFailed{child: child, reason: reason})", "supervisor.RestartChildren(child)"},
	}},
	{"P7", "the log takes orders of a node that was stopped", []edit{
		{"log.go", "if l.open[m.group] != m.save.Token.Boot {", "if false {"},
	}},
	{"P7", "an answer that was overtaken starts a node", []edit{
		{"member.go", "if o.order != m.order {", "if false {"},
	}},
	{"P8", "a group is opened twice on a host", []edit{
		{"props.go", "if other := h.groups[g.key]; other != nil {", "if other := h.groups[g.key]; other != nil && false {"},
	}},
	{"C1", "a command that comes again is carried out again", []edit{
		{"sessions.go", "if result, known := s.results[o.sequence]; known {", "if result, known := s.results[o.sequence]; known && false {"},
	}},
	{"C1", "a command that was said to be answered is carried out", []edit{
		{"sessions.go", "if o.sequence <= s.done {", "if false {"},
	}},
	{"C1", "a session sends a command again with another number", []edit{
		{"session.go", "maybe, again = true, true", "maybe, again = true, true\n\t\t\tsequence, _ = s.take(ctx)"},
	}},
	{"C1", "two commands of a session have one number", []edit{
		{"session.go", "return sequence, nil", "return s.next, nil"},
	}},
	{"C2", "a session never expires", []edit{
		{"sessions.go", "if ends := s.last + s.timeout; ends < now {", "if ends := s.last + s.timeout; ends < now && false {"},
	}},
	{"C2", "a command opens the session that it lacks", []edit{
		{"sessions.go", "return nil, errNoSession\n\t}\n\ts.last", "s = &sessionState{timeout: 60000, results: map[uint64][]byte{}}\n\t\tt.byID[o.session] = s\n\t}\n\ts.last"},
	}},
	{"C3", "a snapshot has no sessions", []edit{
		{"snapshots.go", "m.sessions.encode(), m.group.skips.encode(), m.effects.encode()", "newSessions().encode(), m.group.skips.encode(), m.effects.encode()"},
	}},
	{"C3", "a restored table has forgotten the results", []edit{
		{"sessions.go", "s.results[sequence] = result\n\t\t\ts.bytes", "_ = sequence\n\t\t\ts.bytes"},
	}},
	{"C3", "who is answered can change what is kept of it", []edit{
		{"sessions.go", "kept.answer = bytes.Clone(kept.answer)", "_ = bytes.Clone(kept.answer)"},
	}},
	{"S5", "a snapshot has no effects", []edit{
		{"snapshots.go", "m.sessions.encode(), m.group.skips.encode(), m.effects.encode()", "m.sessions.encode(), m.group.skips.encode(), newEffects().encode()"},
	}},
	{"A4", "the version is raised when some members can be of it", []edit{
		{"versions.go", "enough := len(u.able) == u.others ||", "enough := len(u.able) > 0 ||"},
	}},
	{"A4", "learners are not asked for their versions", []edit{
		{"versions.go", "slices.Concat(s.Conf.Voters, s.Conf.Learners)", "slices.Concat(s.Conf.Voters)"},
	}},
	{"A4", "the version is raised for other members than were asked", []edit{
		{"versions.go", "if u.version <= m.version || u.conf != m.applied.Conf.Index {", "if u.version <= m.version {"},
	}},
	{"A4", "a machine goes on that cannot be of the version", []edit{
		{"versions.go", "if able := m.group.cfg.Versions; !able.includes(u.version) {", "if able := m.group.cfg.Versions; !able.includes(u.version) && able.Oldest > able.Newest {"},
		{"machine.go", "if able := m.group.cfg.Versions; !able.includes(m.version) {", "if able := m.group.cfg.Versions; !able.includes(m.version) && able.Oldest > able.Newest {"},
	}},
	{"A4", "a machine restores what it cannot be of", []edit{
		{"snapshots.go", "if !able.includes(h.version) {", "if !able.includes(h.version) && able.Oldest > able.Newest {"},
	}},
	{"S5", "a snapshot has no version", []edit{
		{"snapshots.go", "binary.AppendUvarint(nil, m.version)", "binary.AppendUvarint(nil, 0)"},
	}},
	{"A6", "who does not lead carries out effects", []edit{
		{"machine.go", "if leads != 0 && !m.acting && m.applied.Last.Term == leads {", "if !m.acting {"},
	}},
	{"A6", "a new leader begins before it knows what was done", []edit{
		{"machine.go", "if leads != 0 && !m.acting && m.applied.Last.Term == leads {", "if leads != 0 && !m.acting {"},
	}},
	{"A6", "a new leader sends nothing that the last one had to", []edit{
		{"effector.go", "f.table, f.sent, f.noting, f.rung = table, EffectID{}, \"\", nil", "f.table, f.noting, f.rung = table, \"\", nil\n\tif f.sent = (EffectID{}); table != nil {\n\t\tif waiting := table.sendsAfter(f.sent); len(waiting) > 0 {\n\t\t\tf.sent = waiting[len(waiting)-1].id\n\t\t}\n\t}"},
	}},
	{"A6", "an order that failed is not given again", []edit{
		{"effector.go", "\tdelete(f.asked, m.order)\n", "\tif m.err == nil {\n\t\tdelete(f.asked, m.order)\n\t}\n"},
	}},
	{"A6", "a timer that was set again goes off when it was to before", []edit{
		{"effects.go", "if now, is := t.timers[o.name]; !is || now.set != o.set {", "if _, is := t.timers[o.name]; !is {"},
	}},
	{"A6", "an actor that is monitored anew is gone as the last one", []edit{
		{"effects.go", "if now, is := t.monitors[o.name]; !is || now != o.set {", "if _, is := t.monitors[o.name]; !is {"},
	}},
	{"A6", "an Append that comes again is applied again", []edit{
		{"effects.go", "t.appends = slices.Delete(t.appends, i, i+1)", "_ = i"},
	}},
	{"A6", "what an actor does to what it was sent changes the table", []edit{
		{"effector.go", "Data: slices.Clone(q.data)", "Data: slices.Clip(q.data)"},
	}},
	{"A6", "what is sent is not what the machine has said", []edit{
		{"effector.go", "Data: slices.Clone(q.data)", "Data: append(slices.Clone(q.data), byte(f.host.cfg.ID))"},
	}},
	{"A4", "a machine goes on with a snapshot in the version that it had", []edit{
		{"machine.go", "\tm.setVersion(head.version)\n", ""},
	}},
	{"A6", "one actor that is gone stands for all", []edit{
		{"effector.go", "if f.watch[who.Id] != 0 {", "for _, a := range sorted(f.watch) {\n\t\tf.gone[a] = true\n\t}\n\tif f.watch[who.Id] != 0 {"},
	}},
	{"A6", "that an actor is gone is told twice", []edit{
		{"effects.go", "\t\tdelete(t.monitors, o.name)\n", ""},
	}},
	{"C1", "commands that are applied together are answered in any order", []edit{
		{"batch.go", "m.answer(w, e.Index, outcome{data: answers[i], index: e.Index})", "m.answer(w, e.Index, outcome{data: answers[len(answers)-1-i], index: e.Index})"},
	}},
	{"A6", "commands that are applied together have one another's effects", []edit{
		{"batch.go", "m.did(e.Index, m.batch.effects[i])", "m.did(e.Index, m.batch.effects[len(entries)-1-i])"},
	}},
	{"A6", "a timer goes off twice", []edit{
		{"effects.go", "\t\tdelete(t.timers, o.name)\n", ""},
	}},
	{"A6", "a timer goes off before its time", []edit{
		{"effects.go", "if first.at > now {", "if first.at > now+100 {"},
	}},
	{"C5", "a session refuses the command that its results wait for", []edit{
		{"sessions.go", "awaited := o.sequence == s.done+1 && len(s.results) > 0", "awaited := false"},
	}},
	{"C4", "what may have happened is called rejected", []edit{
		{"session.go", "err := o.err\n\t\tif maybe && !errors.Is(err, ErrUnknown) {", "err := o.err\n\t\tif maybe && false {"},
	}},
	{"C4", "a session that may have been opened is said not to be", []edit{
		{"session.go", "err = &perhaps{err}\n\t\t}\n\t\tif !again {\n\t\t\treturn nil, err\n\t\t}\n\t\tif err := c.pause(", "_ = maybe\n\t\t}\n\t\tif !again {\n\t\t\treturn nil, err\n\t\t}\n\t\tif err := c.pause("},
	}},
	{"C5", "a group that is stopped leaves what it has sent to the leader waiting", []edit{
		{"group.go", "p.tell(deposed{g.key})", "_ = p"},
	}},
	{"C5", "what is forwarded behind the news of another leader waits for ever", []edit{
		{"peer.go", "p.deposed = append(p.deposed, m.group)", "p.abandonAsked(func(group GroupKey) bool { return group == m.group })"},
	}},
	{"C7", "a session expires by this member's clock", []edit{
		{"sessions.go", "t.expire(e.Time)", "t.expire(time.Now().UnixMilli())"},
		{"sessions.go", "\t\"slices\"\n", "\t\"slices\"\n\t\"time\"\n"},
	}},
	{"A2", "a machine that panics again and again is restarted until it is given up", []edit{
		{"member.go", "!hopeless && p.index != g.poison {", "!hopeless {"},
	}},
	{"A2", "a machine is quarantined at its first panic", []edit{
		{"member.go", "!hopeless && p.index != g.poison {", "!hopeless && false {"},
	}},
	{"A2", "a machine that is quarantined skips the entry and goes on", []edit{
		{"machine.go", "if m.anew || m.poison != 0 && e.Index >= m.poison {", "if m.anew || m.poison != 0 && e.Index == m.poison {"},
	}},
	{"A2", "a machine that is quarantined does not look for the decision to skip", []edit{
		{"machine.go", "\t\tm.decide(e, entry)\n\t\tm.answer(w, e.Index, outcome{index: e.Index})", "\t\t_ = entry\n\t\tm.answer(w, e.Index, outcome{index: e.Index})"},
	}},
	{"A2", "a machine that is quarantined looks at no more than it could hold", []edit{
		{"machine.go", "m.passed = e.Index", "_ = m.passed"},
	}},
	{"A2", "a machine that has applied a skipped entry goes on", []edit{
		{"skip.go", "if m.anew || entry > m.applied.Last.Index && entry != m.poison {", "if m.anew || entry != m.poison {"},
	}},
	{"A2", "a snapshot that has a skipped entry in it is restored", []edit{
		{"skip.go", "if entry <= last && !slices.Contains(within, entry) {", "if false {"},
	}},
	{"A2", "a snapshot is taken before the log has said what is skipped", []edit{
		{"machine.go", "if m.applied.Last.Index < m.recovered.Last || m.anew ||", "if m.anew ||"},
	}},
	{"A2", "a snapshot does not say what was skipped", []edit{
		{"snapshots.go", "m.group.skips.encode(), m.effects", "new(skips).encode(), m.effects"},
	}},
	{"A2", "a machine that is restored does not know what was skipped", []edit{
		{"machine.go", "m.group.skips.add(head.skips...)", ""},
	}},
	{"A1", "what a state has behind it is applied again", []edit{
		{"machine.go", "\tif m.behind(e.Index) {\n\t\treturn m.replay(e.Index)\n\t}\n", ""},
	}},
	{"A1", "what a state has behind it is applied again, in batches", []edit{
		{"batch.go", "|| m.behind(e.Index)", ""},
	}},
	{"A1", "batches are saved when they are done, however many commands came before", []edit{
		{"batch.go", "most, bytes = maxUnsaved-d.many, maxUnsavedBytes-d.size", "_ = d"},
	}},
	{"A1", "answers and effects are not kept with the state", []edit{
		{"diskmachine.go", "if len(answer)+len(effects) > 0 {", "if false {"},
	}},
	{"A1", "what a snapshot does not have yet is not kept any more", []edit{
		{"diskmachine.go", "d.noted[0] <= snapshot {", "d.noted[0] <= snapshot+1000 {"},
	}},
	{"A1", "a state of which notes are missing is gone on with", []edit{
		{"diskmachine.go", "&& d.mark.forgotten <= meta.Last.Index {", "{"},
	}},
	{"A1", "a state that goes further than the log is gone on with", []edit{
		{"diskmachine.go", "if d.mark.last.Index > m.recovered.Last && !m.recovered.Damaged {", "if false {"},
	}},
	{"A1", "a state of another log is gone on with", []edit{
		{"diskmachine.go", "case e.Time > mark.time, e.Term > mark.last.Term, e.Index == mark.last.Index && (e.Term != mark.last.Term || e.Time != mark.time):", "case mark == nil:"},
	}},
	{"A1", "the log is cut for a state that is not durable", []edit{
		{"diskmachine.go", "\tonDisk(\"syncing the disk\", m.disk.Sync)\n", ""},
	}},
	{"A1", "the log is cut behind what a state is marked with", []edit{
		{"diskmachine.go", "m.disk.due = m.disk.due || m.disk.mark.last != m.applied.Last", ""},
	}},
	{"A1", "a state that is gone is replaced by nothing", []edit{
		{"diskmachine.go", "} else if bare {\n\t\treturn h, m.stateError(", "} else if bare && false {\n\t\treturn h, m.stateError("},
		{"snapshots.go", "\tif h.bare {", "\tif false {"},
	}},
	{"A1", "a state is asked that has commands which are not saved", []edit{
		{"machine.go", "m.saveDisk(len(rest) == 0)", "m.saveDisk(false)"},
	}},
	{"A1", "a command is blamed for a disk that cannot be read", []edit{
		{"machine.go", "if err, is := reason.(error); is && errors.Is(err, ErrStorageFault) {", "if err, is := reason.(error); is && false {"},
	}},
	{"A1", "a machine is blamed for a disk that is full", []edit{
		{"snapshots.go", "case err == nil || errors.Is(err, ErrStorageFault):", "case err == nil:"},
	}},
	{"A1", "a state is closed while a snapshot of it is written", []edit{
		{"machine.go", "\t\tm.box.abandonBatch()\n\tcase *actor.Stopped:", "\t\tm.box.abandonBatch()\n\t\tif m.disk != nil {\n\t\t\t_ = m.disk.Close()\n\t\t\tm.group.disk = nil\n\t\t}\n\tcase *actor.Stopped:"},
	}},
	{"A2", "a state has an entry in it that is to be skipped", []edit{
		{"diskmachine.go", "if entry <= m.last.Index && !slices.Contains(m.skips, entry) {", "if false {"},
	}},
	{"S1", "a snapshot without a state is sent", []edit{
		{"courier.go", "\tif bare {\n\t\treturn nil, errBare", "\tif false {\n\t\treturn nil, errBare"},
	}},
	{"S1", "a snapshot with the state is overtaken by one without it", []edit{
		{"machine.go", "!w.whole && !m.group.wholes.Load()", "!w.whole"},
	}},
	{"S1", "a snapshot with the state is overlooked beside one without it", []edit{
		{"snapshots.go", "if bare, err := f.bare(s.ID); err == nil && !bare {", "if bare, err := f.bare(s.ID); err == nil && bare {"},
	}},
	{"F4", "a request counts for ever", []edit{
		{"request.go", "\tc.release()\n\tif c.state.Swap", "\tif c.state.Swap"},
	}},
	{"F4", "a request counts in its group alone", []edit{
		{"budget.go", "used := h.budget.take(bytes); used", "used := h.budget.take(0); used"},
	}},
	{"F4", "two that come at once take the same room", []edit{
		{"budget.go", "used := g.budget.take(bytes); used", "used := g.budget.take(0) + bytes; used"},
		{"budget.go", "\t\tg.budget.take(-bytes)\n\t\treturn h.noRoom(\"in", "\t\treturn h.noRoom(\"in"},
		{"budget.go", "\t}\n\tif used := h", "\t}\n\tg.budget.take(bytes)\n\tif used := h"},
	}},
	{"F4", "what is refused takes room", []edit{
		{"budget.go", "\t\tg.budget.take(-bytes)\n\t\treturn h.noRoom(\"in", "\t\treturn h.noRoom(\"in"},
	}},
	{"F4", "what a host refuses takes room in the group", []edit{
		{"budget.go", "\t\tg.budget.take(-bytes)\n\t\th.budget.take(-bytes)\n", "\t\th.budget.take(-bytes)\n"},
	}},
	{"F4", "what an actor on another host wants is not counted", []edit{
		{"host.go", "if err := g.admit(c); err != nil {\n\t\t\t\tc.finish(nil, err)\n\t\t\t\treturn\n\t\t\t}\n", ""},
	}},
	{"F4", "what was sent to another host, and nobody waits for, counts for ever", []edit{
		{"budget.go", "p.tell(sweepCalls{})", "_ = p"},
	}},
	{"F4", "who says what he knows is refused, too", []edit{
		{"budget.go", "return len(c.data) == 0 || c.data[0] == sessionOpens || c.data[0] == sessionCommand", "return true"},
	}},
	{"F1", "a host takes in what its disk is behind with", []edit{
		{"host.go", "if len(entries) > 0 && h.unsaved.Load() > h.cfg.MaxBytes/2 {", "if false {"},
	}},
	{"F1", "what waits for a node does not count", []edit{
		{"budget.go", "\ta.waiting.Add(a.bytes)\n", ""},
		{"budget.go", "\ta.waiting.Add(-a.bytes)\n", ""},
	}},
	{"F1", "what a node has dealt with counts", []edit{
		{"node.go", "\t\t\t\ta.done()\n", "\t\t\t\t_ = a\n"},
	}},
	{"F1", "what disappears with a node counts for ever", []edit{
		{"budget.go", "func (a *arrived) orphaned() { a.done() }", "func (a *arrived) orphaned() {}"},
	}},
	{"F1", "what the disk has counts as waiting", []edit{
		{"log.go", "\t\to.done()\n\t\t// A completion", "\t\t// A completion"},
	}},
	{"A2", "any entry is skipped for who asks", []edit{
		{"skip.go", "case q.Entry != entry:", "case q.Entry != entry && false:"},
	}},
	{"A2", "an entry that the leader has applied is skipped", []edit{
		{"skip.go", "case q == nil:", "case q == nil && false:"},
		{"skip.go", "case q.Entry != entry:", "case q != nil && q.Entry != entry:"},
	}},
	{"A2", "entries that are skipped use up the restarts", []edit{
		{"member.go", "\tm.restarts = restarts{}\n", ""},
	}},
	{"C1", "a command that was skipped is carried out when it comes again", []edit{
		{"sessions.go", "s.results[o.sequence] = kept", "if !kept.skipped {\n\t\ts.results[o.sequence] = kept\n\t}"},
	}},
	{"C3", "a restored table takes a skipped command for one with an empty answer", []edit{
		{"sessions.go", "return result{skipped: true}", "return result{}"},
	}},
	{"C5", "who waits for a machine that stalls waits although it is stopped", []edit{
		{"node.go", "if !w.done.Load() {", "if false {"},
	}},
	{"C5", "a query of an actor goes on when the member stops", []edit{
		{"member.go", "\tif m.endLife != nil {\n\t\tm.endLife()\n\t}\n", ""},
	}},
	{"C5", "goroutines wait for the work of a host that has stopped", []edit{
		{"dispatcher.go", "close(d.quit)", "_ = d.quit"},
	}},
	{"C5", "a host leaves the members behind that are others' children", []edit{
		{"props.go", "\t\tl.stop(h.system)\n", "\t\t_ = l\n"},
	}},
	{"P7", "a parent is not told that a member has given up", []edit{
		{"member.go", "ctx.Send(m.self, &giveUp{})", "_ = giveUp{}"},
	}},
	{"P7", "a restart that comes after the end is carried out", []edit{
		{"member.go", "if m.life.over() {", "if false {"},
		{"member.go", "if m.life.ending.Load() { // a restart that overtook", "if false { // a restart that overtook"},
	}},
	{"P7", "the host stops a member that has given up, and nobody says why", []edit{
		{"supervisor.go", "supervisor.ResumeChildren(child)", "supervisor.StopChildren(child)"},
	}},
	{"A2", "a leader whose machine is quarantined takes commands", []edit{
		{"node.go", "if q := n.group.quarantine.Load(); q != nil && !c.operation.leads() {", "if q := n.group.quarantine.Load(); q != nil && false {"},
	}},
	{"A2", "a machine that is quarantined answers reads of what it has not applied", []edit{
		{"machine.go", "case m.poison != 0 && c.index >= m.poison:", "case m.poison != 0 && c.index >= m.poison && false:"},
	}},
	{"A3", "an order that is not understood is skipped", []edit{
		{"sessions.go", "panic(fmt.Errorf(\"entry %d: %w, or one of a later version\", e.Index, err))", "return nil, err"},
	}},
	{"S4", "older snapshots go before the Save that names the new one is durable", []edit{
		{"node.go", "n.naming = append(n.naming, namingSave{out.Save.Token.Sequence, s.Last})", "n.snapshotter.tell(keepOrder{s.Last})"},
	}},
	{"S5", "a snapshot has the configuration of the beginning", []edit{
		{"machine.go", "if e.Kind == raftcore.EntryConfig {", "if e.Kind == raftcore.EntryConfig && m.applied.Conf.Index == 0 {"},
	}},
	{"S12", "a snapshot begins anew after every interruption", []edit{
		{"courier.go", "if err := in.file.Close(); err != nil {", "in.file.Abort()\n\t\tif err := error(nil); err != nil {"},
	}},
	{"S12", "what was lost of a snapshot is not sent again", []edit{
		{"courier.go", "d.next, d.taken = a.Offset, a.Offset", "d.taken = a.Offset"},
	}},
	{"S14", "a node is told of a snapshot before it has arrived", []edit{
		{"courier.go", "\t\tc.in = &arriving{from: from, message: o.Message, file: file}\n", "\t\tc.in = &arriving{from: from, message: o.Message, file: file}\n\t\tc.tellNode(&o.Message)\n"},
	}},
	{"D15", "a snapshot is believed without its end", []edit{
		{"snapshots.go", "_, err = io.Copy(io.Discard, r) // the end", "_ = io.Copy // the end"},
	}},
	{"Q2", "a member reads without asking who leads", []edit{
		{"read.go", "n.reads.asking = append(n.reads.asking, c)", "n.hold(c)"},
	}},
	{"Q3", "a lease is given to whoever wants one", []edit{
		{"request.go", "case r.Consistency == Lease && !cfg.Raft.LeaseReads:", "case r.Consistency == Lease && false:"},
	}},
	{"Q4", "a state is as young as the word that confirms it", []edit{
		{"read.go", "asOf := n.reads.askedAt", "asOf := n.now"},
	}},
	{"Q4", "a confirmation is good for ever", []edit{
		{"read.go", "if age > c.more.maxAge {", "if false {"},
		{"read.go", "if r.asOf == 0 || age > maxAge {", "if r.asOf == 0 {"},
	}},
	{"Q4", "a machine does not look how late it is", []edit{
		{"machine.go", "if c.consistency == BoundedStale {", "if false {"},
	}},
	{"Q5", "a read does not wait for the index that it was given", []edit{
		{"read.go", "if c.index <= r.given {", "if true {"},
	}},
	{"Q5", "a read does not wait for the entry that it was told of", []edit{
		{"read.go", "c.index = max(c.index, c.its().after)", "_ = c"},
	}},
	{"Q7", "reads that are held are forgotten by a node that stops", []edit{
		{"read.go", "all = append(all, h.call)", "_ = h"},
	}},
	{"Q7", "reads that have asked are forgotten by a node that stops", []edit{
		{"read.go", "all = append(all, r.rounds[tag].calls...)", "_ = tag"},
	}},
	{"Q7", "only the first of those that ask together is told that there is no leader", []edit{
		{"node.go", "for _, c := range round.calls {\n\t\t\t\tn.refused(c, r)", "for _, c := range round.calls[:1] {\n\t\t\t\tn.refused(c, r)"},
	}},
	{"Q7", "reads that wait for a confirmation are not told that there is none", []edit{
		{"read.go", "for _, c := range r.waiting {\n\t\tc.finish(nil, err)\n\t}\n", "_ = err\n"},
	}},
	{"Q7", "reads that come during a confirmation are not asked for again", []edit{
		{"read.go", "r.wanted = len(r.waiting) > 0", "r.wanted = false"},
	}},
	{"Q7", "a member that is behind lets its reads wait", []edit{
		{"read.go", "late := known && ", "late := false && known && "},
	}},
	{"P8", "a member that recovers leaves its group open when it stops", []edit{
		{"member.go", "case *actor.Stopped:\n\t\tm.closeGroup()", "case *actor.Stopped:"},
	}},
	{"M15", "the old voters need not be there for a step of the autopilot", []edit{
		{"autopilot.go", "range [][]raftcore.NodeID{v.conf.Voters, conf.Voters} {", "range [][]raftcore.NodeID{conf.Voters} {"},
	}},
	{"M15", "the new voters need not be there for a step of the autopilot", []edit{
		{"autopilot.go", "range [][]raftcore.NodeID{v.conf.Voters, conf.Voters} {", "range [][]raftcore.NodeID{v.conf.Voters} {"},
	}},
	{"M15", "half of the voters are enough for a step of the autopilot", []edit{
		{"autopilot.go", "if alive <= len(voters)/2 {", "if alive < len(voters)/2 {"},
	}},
	{"M15", "the dead are taken out before anybody is there to replace them", []edit{
		{"autopilot.go", "able := slices.Clone(v.conf.Voters)", "able := slices.DeleteFunc(slices.Clone(v.conf.Voters), func(id raftcore.NodeID) bool { return v.members[id] == dead })"},
		{"autopilot.go", "n = max(n, min(a.Voters, len(v.conf.Voters)))", "n = max(n, min(len(able), len(v.conf.Voters)))"},
	}},
	{"M15", "the autopilot makes the voters an even number", []edit{
		{"autopilot.go", "if n%2 == 0 {\n\t\tn--", "if false {\n\t\tn--"},
	}},
	{"M15", "a learner votes that is not well, or has just come", []edit{
		{"autopilot.go", "if v.members[id] == stable && slices.Contains(v.hosts, id) {", "if v.members[id] >= heard && slices.Contains(v.hosts, id) {"},
	}},
	{"M15", "voters are moved while one may be dying", []edit{
		{"autopilot.go", "if v.members[id] == silent {\n\t\t\treturn", "if false {\n\t\t\treturn"},
	}},
	{"M15", "the autopilot prefers the dead", []edit{
		{"autopilot.go", "if v.members[id] == dead {\n\t\trank += 2", "if v.members[id] != dead {\n\t\trank += 2"},
	}},
	{"M15", "two of a zone vote although another could", []edit{
		{"autopilot.go", "used[a.zone(best)]++", "_ = best"},
	}},
	{"M15", "a leader that is not to vote is taken out while it leads", []edit{
		{"autopilot.go", "if !conf.Votes(v.self) {", "if false {"},
	}},
	{"M15", "a host that has not opened the group becomes a learner", []edit{
		{"pilot.go", "if p.present[id] {", "if !v.conf.Contains(id) {"},
	}},
	{"M15", "a new leader goes on with what it knew the last time", []edit{
		{"pilot.go", "if s.Term != p.term {", "if p.well == nil {"},
		{"pilot.go", "p.forget()\n\tp.alarm.Stop()\n\tvar shown", "p.alarm.Stop()\n\tvar shown"},
	}},
	{"M15", "a new leader acts before it can have heard of anybody", []edit{
		{"pilot.go", "p.wait(p.host.cfg.Raft.ElectionTimeout) // until then", "p.wait(0) // until then"},
	}},
	{"M15", "an autopilot waits anew each time that the group wakes", []edit{
		{"pilot.go", "if now := p.host.now(); now >= p.woke.Add(2*timeout) {", "if now := p.host.now(); true {"},
	}},
	{"M15", "a leader that has woken takes everybody to be alive, and acts", []edit{
		{"pilot.go", "if m.woke {", "if false {"},
	}},
	{"M15", "who was silent for a while is dead", []edit{
		{"pilot.go", "case now < m.Heard.Add(p.target.DeadAfter):", "case now < m.Heard.Add(p.target.DeadAfter/2):"},
	}},
	{"M15", "in a silent group everybody is dead after a while", []edit{
		{"pilot.go", "case s.Quiescent || now < m.Heard.Add(timeout) && !m.Newcomer:", "case now < m.Heard.Add(timeout) && !m.Newcomer:"},
		{"pilot.go", "if !m.CaughtUp {", "if now >= m.Heard.Add(timeout) || !m.CaughtUp {"},
	}},
	{"M15", "a member whose disk was lost counts for a step of the autopilot", []edit{
		{"pilot.go", "now < m.Heard.Add(timeout) && !m.Newcomer:", "now < m.Heard.Add(timeout):"},
	}},
	{"M15", "a learner that was away for a moment has been well all the time", []edit{
		{"pilot.go", "if !m.CaughtUp {\n\t\t\tdelete(p.well, m.ID)\n\t\t} else if", "if"},
		{"pilot.go", "case since != 0 && now >= since", "case m.CaughtUp && now >= since"},
		{"pilot.go", "if since != 0 && v.members[m.ID] != stable {", "if m.CaughtUp && v.members[m.ID] != stable {"},
	}},
	{"M15", "the autopilot overwrites what an operator has just done", []edit{
		{"pilot.go", "r.Members.Expect = expect", "r.Members.Expect = 0"},
		{"pilot.go", "p.wait(p.target.StableFor)\n\t}\n\tp.conf =", "p.wait(0)\n\t}\n\tp.conf ="},
	}},
	{"M15", "a step of the autopilot is taken by a later leadership", []edit{
		{"node.go", "own != 0 && own != n.leads {", "own != 0 && n.leads == 0 {"},
	}},
	{"M15", "an operator is told that the autopilot is at work", []edit{
		{"members.go", "if n.step {", "if false {"},
	}},
	{"M15", "the autopilot takes its own change for somebody else's", []edit{
		{"pilot.go", "case m.err == nil:\n\t\tp.conf = 0", "case m.err == nil:"},
	}},
	{"M15", "the autopilot is not told that a silent group has woken", []edit{
		{"liveness.go", "n.tellPilot(n.asleep && !quiescent)", "_ = n.tellPilot"},
	}},
	{"P8", "a member that stops tells those to stop who have", []edit{
		{"member.go", "if !m.ordered { // or", "if true { // or"},
	}},
	{"M15", "the autopilot is not told of a new peer while the group is silent", []edit{
		{"node.go", "case peersChanged:\n\t\tn.tellPilot(false)", "case peersChanged:"},
	}},
	{"M15", "what a host that never answers was asked is kept for ever", []edit{
		{"pilot.go", "before.giveUp() // or", "_ = before // or"},
	}},
}
