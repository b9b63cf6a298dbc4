// Package badgerstore is the Store for production: Badger behind the write-ahead
// journal.
//
//	host, err := actors.Start(system, actors.HostConfig{Store: badgerstore.Dir("data"), …})
//
// Two types to know: Options says where a store is and how much disk it may
// take, and is an opener of it; Dir is Options with nothing but a directory.
//
// # A Save, and what becomes of it
//
// The journal is what makes a Save durable: one record for each group's part,
// one write and one sync for all of them (save.go). In memory stays where the
// entries lie, not the entries (group.go). When a segment of the journal is full
// and enough later ones are, what is still needed of it goes to Badger, in few
// large transactions, each durable before the next, and only then the segment is
// given up (handover.go). Most entries have been compacted by then and are never
// copied: measured over minutes, that is the difference between a fifth and nine
// tenths of the disk's speed.
//
//	Save ──→ journal: segment 7, 8, 9 (active)        durable here, at once
//	                     │ 4 later ones are full
//	                     ▼
//	                  Badger: groups, chunks of entries, the root
//
// # Rest
//
// Badger looks for something to do all the time, and most of the time nobody asks it for
// anything. So it is closed after ten seconds in which nobody did, and opened again by the
// next handover, or by who loads entries that it has: that one waits for some tens of
// milliseconds (rest.go). Not being there to be read is no fault while the disk is too full
// to open it.
//
// # Opening
//
// Badger is read first, then the journal over it, oldest record first (open.go).
// A record that Badger has received already changes nothing. What Badger must
// hold is counted (the root, the tickets and the versions in values.go) and
// vouched for by marks in the journal, because Badger drops a damaged end of its
// own log without a word. A store that is less than it must be does not open: the
// error is a *persistence.CorruptError that names the file.
//
// # Repair
//
// A journal that is damaged, or has lost its end, is an error, unless Options.Repair says
// to cut it off there (journal.Salvage). Then nobody knows what is lost, of which
// groups. So the marker says first, durably, that the store is damaged; then the
// journal is cut off; then every group has a record that it goes on with what is
// left, under a new incarnation; and only then the marker says that all is well.
// Until a leader has admitted it, such a group's Recovered is Damaged.
//
// A Badger that is damaged is made anew, with what can be read of the old one, and of
// the journal (rebuild.go). Where a value is lost, an older one of its key comes up: what
// is kept of a group is the beginning of a log that it once had, and not more. The new
// Badger is written beside the old one, which nothing changes meanwhile, and which is kept
// aside then; all groups are damaged, as above. The same steps are taken again, or gone on
// with, when that is interrupted.
//
// Opening does not read the entries in Badger. Damage there is met by who loads them:
// its member is faulted, and a note is left in the directory. The next opening with
// Options.Repair repairs it.
//
// # Why not Badger alone
//
// Measured with power cuts: without SyncWrites it loses what it had acknowledged,
// or does not open; with SyncWrites a batch costs two syncs, and many groups that
// save by themselves come down to a hundredth of the disk's speed. It reports a
// write whose sync failed as done, and one that it reported as failed is there
// after all. So nothing is ever acknowledged on Badger's word.
//
// # Files
//
//	castaway-store    which store this is, and of what format: text
//	lock              held while it is open
//	journal/          see package journal
//	badger/           see values.go
//	damage            a note that damage of Badger was met
//	snapshots/        of the groups: see package snapshots. Hosts write them
//
// FORMAT.md, in the directory above, has the bytes. What must never live here:
// the rules of Raft, and goroutines beside the one that retires segments.
package badgerstore
