// Package journal is a write-ahead journal: one stream of records for everybody
// in the process, made durable with one write and one sync per batch.
//
// It knows nothing of what a record says. Its owner collects records in a
// Batch, Appends it, and is told where each record lies; from the moment Append
// returns nil they survive whatever happens to the process or the power. Opened
// again, the journal replays them in order.
//
//	journal, err := journal.Open(dir, journal.Options{Create: true}, replay)
//	var b journal.Batch
//	b.Add(func(buf []byte) []byte { return append(buf, "hello"...) })
//	positions, err := journal.Append(&b)     // one pwrite, one fdatasync
//	records, err := journal.Read(positions)
//
// # Segments
//
// The stream is cut into segments, files of 64 MiB. A full one is sealed: it is
// only read from then on, until its owner has brought elsewhere what it still
// needs, and calls Retire. Its file is then used again for a later segment,
// because writing over blocks that were written before is what makes a sync
// cheap: it moves data alone, no metadata (measured on ext4: 85 µs against 135
// to 170 µs for 4 KiB into preallocated blocks, and twice the throughput in
// large batches). While there is no such file, a write that enters fresh blocks
// brings up to 1 MiB of zeros along, so that the few hundred after it find
// written blocks, too.
//
// # Why batches are aligned to 4096 bytes
//
// A torn write must not damage what was acknowledged before. Disks write
// sectors; most have physical sectors of 4096 bytes, whatever they call
// logical, and a write of 512 reads, changes and writes back the other seven
// eighths; file systems write whole pages of 4096 bytes anyway. So a batch that
// began inside the 4096 bytes where the one before it ended would put that one
// at risk. Alignment to 512 would not even be faster: in recycled segments both
// make 11,400 syncs of 150 bytes a second here. Its price is space: a
// batch of one small record takes 4 KiB of journal.
//
// # Torn or corrupt
//
// A batch is written only after the sync of the batch before it has returned, so
// at most one is in flight when the process or the power fails, and of that one
// any sectors may have arrived and any not. When the journal is opened, the last
// batch may therefore be damaged, and is cut off without a word: nobody was told
// that it is durable. A batch that is damaged although something later is there
// was durable once, and so was one that a segment header or the watermark vouches
// for: that is a *persistence.CorruptError, and nothing is served. So is what cannot
// be read.
//
// The watermark is a small file that says which batch was the last to be durable. It
// is written after every batch, and synced when a segment begins and when the journal
// is closed. So whatever happens to the files after the process has ended, a lost tail
// is noticed. After a loss of power the watermark may be as old as the last time that
// it reached the disk: half a minute, with Linux as it comes. A damaged last batch that
// is younger than that is then taken for a torn one.
//
// Three things keep bytes from being taken for what they are not. Batches carry
// a sequence number, and each one the running checksum of everything before it
// (the chain). Every use of a file as a segment has a random number, its life,
// which is in every batch header: what a recycled file held before has another
// one. And the checksum of a record is masked with a checksum of life and
// sequence, so that a header that arrived cannot adopt old records that happen
// to lie where the new ones should.
//
// # Opening never writes over anything
//
// Open does not continue in the segment that it finds. It begins a new one, whose
// header says with which sequence number it begins: what lies in the earlier
// segment from that number on is void. The torn tail is dropped in that way,
// and then cut off; and the last batch, if there is one, is written again
// as the first of the new segment. That one needs it: if its sync failed, or
// nobody lived to see it return, the page cache may show a batch that the
// disk does not have, and a second sync would be told that all is well.
//
// # Who calls what
//
// Append and Read may be called from any goroutine, and overlap each other and
// Retire. Nothing may overlap Close. After the first failed write or sync every
// Append fails with persistence.ErrPoisoned; what was acknowledged can still be
// read.
//
// FORMAT.md, in the directory above, has the bytes. Package journaltest
// simulates the disks that this package was tested on.
package journal
