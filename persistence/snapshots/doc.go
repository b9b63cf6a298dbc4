// Package snapshots keeps the snapshots of one member of one group: files in a
// directory, written by the member's own state machine or received from another
// member, and read to restore it, to send them on, or to back them up.
//
//	dir, err := snapshots.Open("data/snapshots/orders", snapshots.Options{})
//	w, err := dir.Create(cluster, meta)
//	err = machine.WriteTo(w)         // any number of bytes: none of this is ever in memory as a whole
//	info, err := w.Commit()          // durable
//	...                              // the Save that names it is durable, too
//	err = dir.Keep(info.ID)          // now the one before is not needed
//
//	info, err = dir.Find(recovered.Snapshot.Last)
//	r, err := dir.Read(info.ID)
//	err = machine.ReadFrom(r)        // never a byte that was not written so
//
// # What is promised
//
// A snapshot that was committed is there, whatever happens to the process or the
// power. One that was not is there as a whole, or not at all. It is written under
// another name, synced, renamed, and the directory synced; a write, a sync or a
// rename that fails is not tried again, but ends the attempt (ErrFailed), and
// leaves what was there before untouched.
//
// Nothing older is removed until Keep is called. It cannot be done sooner, because
// what a member starts from is named by its Store: until that names the new
// snapshot, the old one is what goes with the log. A host calls Keep when the Save
// with the snapshot has come back, and once after it has started.
//
// Every byte of a file is covered by a checksum over the bytes as they were
// written. Blocks are chained, so that none can stand in another's place or come
// from another snapshot. A Reader hands out no byte of a block before it has
// checked the block, and io.EOF only after it has checked the end. Damage is a
// *persistence.CorruptError that names file and offset; a snapshot in which some
// was found is not read, sent, kept or taken for a duplicate any more, but stays
// where it is, and an older one is given only to those who ask for it.
//
// # Sending and receiving
//
//	out, err := leader.Send(id)                 in, err := follower.Receive(offer)
//	offer := out.Info()                 ──→
//	                                    ←──     in.Offset()
//	chunk, err := out.Chunk(at, buf)    ──→     err = in.Write(chunk)
//	                                            ... until in.Offset() == offer.Size
//	                                            info, err := in.Commit()
//
// What is sent is the file, byte by byte. A receiver that starts again goes on
// where its disk was: what it has is checked as it was when it arrived, and belongs
// to the snapshot with this ID or is dropped. Chunks come in order; one that comes
// twice, or is damaged, or is of another snapshot, does no harm. A sender checks
// what it sends, so that damage on its disk is its error, not the receiver's.
//
// # Backups
//
// Export makes a directory of a snapshot that can be copied anywhere, with a text
// that says what it is. Import puts it into the empty directory of a member that is
// to start from it; OpenBackup reads it, for everything else.
//
// # Looking into it
//
// Inspect reads all snapshots of a directory, and says which are damaged, also beside who
// has it open. Folder is what a host calls the directory of a group.
//
// # Who calls what
//
// The methods of a Dir may be called from any goroutine; they may wait for the
// disk. A Writer, Reader, Outgoing or Incoming is for one goroutine at a time, and
// takes the memory of a block or two, 256 KiB each. There is one Incoming at a
// time, and any number of the others. A directory is open once: a file in it is
// locked.
//
// FORMAT.md, in the directory above, has the bytes. What must never live here: when
// to take a snapshot, what is in it, and the wire.
package snapshots
