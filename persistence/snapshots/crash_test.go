package snapshots

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/castaway-go/castaway/persistence/journal/journaltest"
	"github.com/castaway-go/castaway/raftcore"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "run one round of the random tests, with this seed")
	roundsFlag = flag.Int("rounds", 400, "how many rounds of the random tests to run")
)

// member is a host that uses a directory on a disk that fails, beside what it must
// find there. Its senders' disks do not fail.
type member struct {
	rng     *rand.Rand
	disk    *journaltest.Disk
	sender  *Dir
	ids     ID
	content map[ID][]byte // of everything that was ever begun here or there
	must    map[ID]Info   // committed, and not given up by Keep

	dir    *Dir
	closed *Incoming // closed without an error, and nothing received since
	lives  int
}

func newMember(seed uint64) *member {
	m := &member{rng: rand.New(rand.NewPCG(seed, 1)), disk: journaltest.New(seed), content: map[ID][]byte{}, must: map[ID]Info{}}
	o := m.options()
	o.FS = journaltest.New(0)
	m.sender, _ = Open("s", o)
	return m
}

func (m *member) options() Options {
	return Options{FS: m.disk, blockBytes: 700, syncBytes: 3000, newID: func() ID { m.ids++; return m.ids }}
}

// draw makes the content of the next snapshot: of a few units, or syncs.
func (m *member) draw() []byte {
	b := make([]byte, m.rng.IntN([]int{10, 1000, 9000}[m.rng.IntN(3)]))
	for i := range b {
		b[i] = byte(m.rng.Uint32())
	}
	return b
}

// open opens the directory, and checks what is in it.
func (m *member) open() error {
	m.lives++
	d, err := Open("d", m.options())
	if err != nil {
		return err
	}
	m.dir = d
	return m.check()
}

// check compares what is there with what must be.
func (m *member) check() error {
	found := map[ID]bool{}
	for _, f := range m.dir.List() {
		if errors.Is(f.Damage, syscall.EIO) {
			continue // Keep could not remove it
		}
		if f.Damage != nil {
			return wrong("after a crash, snapshot %v is damaged: %v", f.ID, f.Damage)
		}
		found[f.ID] = true
		got, err := read(m.dir, f.ID)
		if err != nil {
			return notThe(err, "reading snapshot %v", f.ID)
		}
		if !bytes.Equal(got, m.content[f.ID]) {
			return wrong("snapshot %v is another", f.ID)
		}
	}
	for id := range m.must {
		if !found[id] {
			return wrong("snapshot %v was committed and is gone", id)
		}
	}
	drafts, partials := 0, 0
	list, err := m.disk.List("d")
	for _, name := range list {
		if strings.HasSuffix(name, draftSuffix) {
			drafts++
		} else if strings.HasSuffix(name, partialSuffix) {
			partials++
		}
	}
	if err == nil && (drafts > 0 || partials > 1) {
		return wrong("there are %d drafts, and %d partials", drafts, partials)
	}
	return err
}

// violation is an error of this package, not of the disk.
type violation struct{ text string }

func (v *violation) Error() string { return v.text }

func wrong(format string, args ...any) error { return &violation{fmt.Sprintf(format, args...)} }

// notThe turns an error that is not the disk's into a violation.
func notThe(err error, format string, args ...any) error {
	if err == nil || errors.Is(err, journaltest.ErrCrashed) || errors.Is(err, syscall.EIO) {
		return err
	}
	return wrong("%s: %v", fmt.Sprintf(format, args...), err)
}

// next is the index of a new snapshot: not always the greatest.
func (m *member) next() raftcore.Index {
	newest := raftcore.Index(100)
	if l := m.dir.List(); len(l) > 0 {
		newest = l[0].Meta.Last.Index
	}
	return newest + 1 + raftcore.Index(m.rng.IntN(5)) - raftcore.Index(m.rng.IntN(8)/7*3)
}

// take takes a snapshot of the member's own.
func (m *member) take() error {
	content := m.draw()
	w, err := m.dir.Create(cluster, meta(m.next()))
	if err != nil {
		return notThe(err, "Create")
	}
	m.content[m.ids] = content
	for len(content) > 0 {
		n := 1 + m.rng.IntN(len(content))
		if _, err := w.Write(content[:n]); err != nil {
			return notThe(err, "Write")
		}
		content = content[n:]
	}
	if m.rng.IntN(8) == 0 {
		w.Abort()
		return nil
	}
	info, err := w.Commit()
	if err == nil {
		m.must[info.ID] = info
	}
	return notThe(err, "Commit")
}

// offered is a snapshot of a sender: the one before, mostly.
func (m *member) offered() (Info, error) {
	if l := m.sender.List(); len(l) > 0 && m.rng.IntN(4) > 0 {
		if _, here := m.must[l[0].ID]; !here {
			return l[0].Info, nil
		}
	}
	content, at := m.draw(), m.next()
	if l := m.sender.List(); len(l) > 0 {
		at = max(at, l[0].Meta.Last.Index+1)
	}
	w, err := m.sender.Create(cluster, meta(at))
	if err != nil {
		return Info{}, wrong("%v", err)
	}
	m.content[m.ids] = content
	w.Write(content)
	info, err := w.Commit()
	if err == nil {
		err = m.sender.Keep(info.ID)
	}
	return info, err
}

// receive receives a snapshot, or a part.
func (m *member) receive() error {
	offer, err := m.offered()
	if err != nil {
		return err
	}
	before := m.closed
	m.closed = nil
	in, err := m.dir.Receive(offer)
	if errors.Is(err, ErrExists) {
		if _, err := m.dir.Find(offer.Meta.Last); err != nil {
			return wrong("what is here is not found: %v", err)
		}
		m.closed = before
		return nil
	}
	if err != nil {
		return notThe(err, "Receive")
	}
	if before != nil && before.offer.same(&offer) && in.Offset() < before.feed.at {
		return wrong("it goes on at %d, it was closed after %d whole bytes", in.Offset(), before.feed.at)
	}
	until := offer.Size
	if m.rng.IntN(3) == 0 {
		until = m.rng.Int64N(until + 1)
	}
	if err := m.feed(in, until); err != nil {
		if !errors.Is(err, journaltest.ErrCrashed) || m.rng.IntN(2) == 0 {
			in.Close()
		}
		return err
	}
	if in.Offset() == offer.Size {
		_, err := in.Commit()
		if err == nil {
			m.must[offer.ID] = offer
		}
		in.Close()
		return notThe(err, "Commit")
	}
	if m.rng.IntN(8) == 0 {
		in.Abort()
		return nil
	}
	if err := in.Close(); err != nil {
		return notThe(err, "Close")
	}
	if in.feed.head.bytes > 0 {
		m.closed = in
	}
	return nil
}

func (m *member) feed(in *Incoming, until int64) error {
	out, err := m.sender.Send(in.Info().ID)
	if err != nil {
		return wrong("%v", err)
	}
	defer out.Close()
	for in.Offset() < until {
		c, err := out.Chunk(in.Offset(), make([]byte, 1+m.rng.IntN(1500)))
		if err != nil {
			return wrong("sending at %d: %v", in.Offset(), err)
		}
		if err := in.Write(c); err != nil {
			return notThe(err, "Write at %d", c.Offset)
		}
	}
	return nil
}

// keep keeps a snapshot, the newest mostly.
func (m *member) keep() error {
	l := m.dir.List()
	if len(l) == 0 {
		return nil
	}
	kept := l[m.rng.IntN(m.rng.IntN(len(l))+1)]
	if kept.Damage != nil {
		return nil
	}
	for id, info := range m.must {
		if info.Meta.Last.Index <= kept.Meta.Last.Index && id != kept.ID {
			delete(m.must, id)
		}
	}
	m.must[kept.ID] = kept.Info
	return notThe(m.dir.Keep(kept.ID), "Keep")
}

// act does one thing.
func (m *member) act() error {
	switch m.rng.IntN(8) {
	case 0, 1, 2:
		return m.receive()
	case 3, 4:
		return m.take()
	case 5, 6:
		return m.keep()
	default:
		m.dir.Close()
		return m.open()
	}
}

// live opens the directory and uses it, until the machine crashes. A disk error
// does not end it: others have to live with what that left.
func (m *member) live(acts int) error {
	m.dir = nil
	for err := m.open(); ; err = m.act() {
		var v *violation
		switch {
		case errors.As(err, &v):
			return err
		case errors.Is(err, journaltest.ErrCrashed):
			return nil
		case err != nil && (m.dir == nil || m.dir.closed):
			return nil // it could not be opened
		case err != nil && !errors.Is(err, syscall.EIO):
			return wrong("it ended with %v", err)
		}
		if acts--; acts < 0 {
			return nil
		}
	}
}

// TestS11_NothingCommittedIsLostAndNothingElseIsTakenForGood lets the machine
// crash, the power fail and the disk report errors in the middle of any
// operations, many times on the same disk.
func TestS11_NothingCommittedIsLostAndNothingElseIsTakenForGood(t *testing.T) {
	seeds, n := rand.Uint64(), *roundsFlag
	if *seedFlag != 0 {
		seeds, n = *seedFlag, 1
	} else if testing.Short() {
		n /= 10
	}
	lives := 0
	for i := range n {
		seed := max(seeds+uint64(i), 1)
		m := newMember(seed)
		err := m.round()
		if lives += m.lives; err != nil {
			t.Fatalf("%v\nreplay: go test ./persistence/snapshots -run '^%s$' -seed %d", err, t.Name(), seed)
		}
	}
	t.Logf("%d rounds from seed %d, the directory was opened %d times", n, seeds, lives)
}

func (m *member) round() error {
	for range 3 + m.rng.IntN(8) {
		switch m.rng.IntN(6) {
		case 0:
		case 1, 2:
			n := 1 + m.rng.IntN(80)
			m.disk.FailAt(n)
			if m.rng.IntN(2) == 0 {
				m.disk.CrashAt(n + 1 + m.rng.IntN(4))
			}
		case 3:
			m.disk.CrashAt(1 + m.rng.IntN(10))
		default:
			m.disk.CrashAt(1 + m.rng.IntN(120))
		}
		if err := m.live(m.rng.IntN(12)); err != nil {
			return fmt.Errorf("life %d: %w", m.lives, err)
		}
		m.disk.Crash(m.rng.IntN(2) == 0)
	}
	// S12: with a disk that works, everything comes to its end.
	if err := m.open(); err != nil {
		return err
	}
	offer, err := m.offered()
	if err != nil {
		return err
	}
	in, err := m.dir.Receive(offer)
	if errors.Is(err, ErrExists) {
		return nil
	}
	if err == nil {
		err = m.feed(in, offer.Size)
	}
	if err == nil {
		_, err = in.Commit()
	}
	if err != nil {
		return fmt.Errorf("in the end: %w", err)
	}
	return m.check()
}

// TestS11S12_EveryPrefixOfTheOperations crashes a fixed story after each change of
// the disk in turn, in all ways.
func TestS11S12_EveryPrefixOfTheOperations(t *testing.T) {
	sender := mustOpen(t, "s", Options{FS: journaltest.New(1), blockBytes: 700, syncBytes: 2000})
	first, second, sent := random(1, 3000), random(2, 3000), random(3, 5000)
	offer := commit(t, sender, meta(30), sent)
	runs := 0
	for n, more := 1, true; more; n++ {
		more = false
		for seed := range uint64(5) {
			for _, how := range []string{"power", "process", "error", "error, then process", "error, then power"} {
				runs++
				s := &story{t: t, disk: journaltest.New(seed), sender: sender, offer: offer, first: first, second: second, sent: sent}
				s.what = fmt.Sprintf("change %d, %s, seed %d", n, how, seed)
				if strings.HasPrefix(how, "error") {
					s.disk.FailAt(n)
				} else {
					s.disk.CrashAt(n)
				}
				if strings.HasPrefix(how, "error, then") {
					s.disk.CrashAt(n + 1)
				}
				err := s.tell()
				more = more || err != nil
				if how == "error" && errors.Is(err, syscall.EIO) {
					s.afterwards(false)
				}
				s.disk.Crash(strings.HasSuffix(how, "power"))
				s.afterwards(true)
			}
		}
		if !more && n < 40 {
			t.Errorf("only %d changes", n)
		}
	}
	t.Logf("%d runs", runs)
}

// story: a snapshot is taken, another is received in two lives and kept, and a
// third is taken and kept.
type story struct {
	t                           *testing.T
	disk                        *journaltest.Disk
	sender                      *Dir
	offer                       Info
	first, second, sent         []byte
	what                        string
	d                           *Dir
	firstIs, sentIs, secondIs   bool // committed
	firstGoes, sentGoes, inHalf bool
}

func (s *story) options() Options {
	id := ID(10)
	return Options{FS: s.disk, blockBytes: 700, syncBytes: 2000, newID: func() ID { id++; return id }}
}

func (s *story) tell() (err error) {
	if s.d, err = Open("d", s.options()); err != nil {
		return err
	}
	info, err := s.take(meta(10), s.first)
	if err != nil {
		return err
	}
	s.firstIs = true
	if err := s.d.Keep(info.ID); err != nil {
		return err
	}
	if err := s.receive(2500); err != nil {
		return err
	}
	s.inHalf = true
	if err := s.d.Close(); err != nil {
		return err
	}
	if s.d, err = Open("d", s.options()); err != nil {
		return err
	}
	s.inHalf = false
	if err := s.receive(s.offer.Size); err != nil {
		return err
	}
	s.sentIs, s.firstGoes = true, true
	if err := s.d.Keep(s.offer.ID); err != nil {
		return err
	}
	info, err = s.take(meta(40), s.second)
	if err != nil {
		return err
	}
	s.secondIs, s.sentGoes = true, true
	return s.d.Keep(info.ID)
}

func (s *story) take(m raftcore.SnapshotMeta, content []byte) (Info, error) {
	w, err := s.d.Create(cluster, m)
	if err != nil {
		return Info{}, err
	}
	if _, err := w.Write(content); err != nil {
		return Info{}, err
	}
	return w.Commit()
}

func (s *story) receive(until int64) error {
	in, err := s.d.Receive(s.offer)
	if err != nil {
		return err
	}
	out, err := s.sender.Send(s.offer.ID)
	if err != nil {
		return err
	}
	defer out.Close()
	for buf := make([]byte, 600); in.Offset() < until; {
		c, err := out.Chunk(in.Offset(), buf)
		if err != nil {
			return err
		}
		if err := in.Write(c); err != nil {
			in.Close()
			return err
		}
	}
	if until < s.offer.Size {
		return in.Close()
	}
	defer in.Close()
	_, err = in.Commit()
	return err
}

// afterwards checks what is there, and that it goes on from it.
func (s *story) afterwards(open bool) {
	t := s.t
	t.Helper()
	fatal := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("%s: %s", s.what, fmt.Sprintf(format, args...))
	}
	var err error
	if open {
		if s.d, err = Open("d", s.options()); err != nil {
			fatal("%v", err)
		}
	} else if s.d == nil || s.d.closed {
		return
	}
	for _, c := range []struct {
		index   raftcore.Index
		content []byte
		must    bool
	}{{10, s.first, s.firstIs && !s.firstGoes}, {30, s.sent, s.sentIs && !s.sentGoes}, {40, s.second, s.secondIs}} {
		info, err := s.d.Find(meta(c.index).Last)
		if err != nil && !c.must && (errors.Is(err, ErrNotFound) || errors.Is(err, syscall.EIO)) {
			continue
		}
		if err != nil {
			fatal("snapshot of %d: %v", c.index, err)
		}
		if got, err := read(s.d, info.ID); err != nil || !bytes.Equal(got, c.content) {
			fatal("snapshot of %d: %v, %d bytes", c.index, err, len(got))
		}
	}
	if l := s.d.List(); s.firstIs && len(l) == 0 {
		fatal("there is none")
	}
	for _, f := range s.disk.Files() {
		if open && strings.HasSuffix(f, draftSuffix) {
			fatal("there is still %s", filepath.Base(f))
		}
	}
	in, err := s.d.Receive(s.offer)
	if errors.Is(err, ErrExists) {
		return
	}
	if err != nil {
		fatal("%v", err)
	}
	if s.inHalf && in.Offset() < 2500-708 {
		fatal("it goes on at %d", in.Offset())
	}
	in.Close()
	if err := s.receive(s.offer.Size); err != nil {
		fatal("going on: %v", err)
	}
	if got, err := read(s.d, s.offer.ID); err != nil || !bytes.Equal(got, s.sent) {
		fatal("what was received afterwards: %v, %d bytes", err, len(got))
	}
}

// sends sends bytes of a snapshot up to an offset.
func sends(t *testing.T, from *Dir, in *Incoming, until int64) {
	t.Helper()
	out, err := from.Send(in.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for in.Offset() < until {
		c, err := out.Chunk(in.Offset(), make([]byte, min(500, until-in.Offset())))
		if err := errors.Join(err, in.Write(c)); err != nil {
			t.Fatal(err)
		}
	}
}

// What an interrupted process wrote and could not sync may still be seen by the
// next one, and be gone when the cache is dropped. It is not built upon.
func TestD6S12_WhatWasNotSyncedIsNotBelievedAfterARestart(t *testing.T) {
	sender := mustOpen(t, "s", Options{FS: journaltest.New(1), blockBytes: 700, syncBytes: 1 << 20})
	content := random(3, 5000)
	offer := commit(t, sender, meta(30), content)
	header := offer.Size - trailerBytes - 8*frameBytes - 5000
	for what, s := range map[string]struct {
		synced, unsynced int64
		damage           int64 // at which byte, before the second life
	}{
		"nothing was synced":             {0, 4000, 0},
		"the beginning was synced":       {2000, 4000, 0},
		"what was synced was damaged":    {4000, 3000, header + 710},
		"all of it, and it was damaged":  {offer.Size, offer.Size, header + 710},
		"all but the trailer was synced": {offer.Size - trailerBytes, offer.Size, 0},
	} {
		for seed := range uint64(20) {
			disk := journaltest.New(seed)
			o := Options{FS: disk, blockBytes: 700, syncBytes: 1 << 20}
			open := func() (*Dir, *Incoming) {
				d := mustOpen(t, "d", o)
				in, err := d.Receive(offer)
				if err != nil {
					t.Fatal(err)
				}
				return d, in
			}
			d, in := open()
			sends(t, sender, in, s.synced)
			if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			d.Close()
			if s.damage > 0 {
				disk.Flip(filepath.Join("d", in.file.name), int(s.damage), 1)
			}
			_, in = open()
			if s.damage > 0 && in.Offset() >= s.damage {
				t.Fatalf("%s: it goes on at %d", what, in.Offset())
			}
			sends(t, sender, in, s.unsynced)
			disk.FailAt(1)  // the sync
			disk.CrashAt(2) // the removal
			if err := in.Close(); !errors.Is(err, ErrFailed) {
				t.Fatal(err)
			}
			disk.Crash(false)
			d, in = open()
			sends(t, sender, in, offer.Size)
			if _, err := in.Commit(); err != nil {
				t.Fatal(err)
			}
			mustHold(t, d, offer.ID, content)
			disk.Crash(true)
			d = mustOpen(t, "d", o)
			if got, err := read(d, offer.ID); err != nil || !bytes.Equal(got, content) {
				t.Fatalf("%s, seed %d: what was committed is %v", what, seed, err)
			}
		}
	}
}

// What a process that was killed has written is still on its way to the disk when
// the next one closes the same file: that makes it durable, too, so that nothing is
// under way that could be torn.
func TestS12_ClosingMakesDurableWhatAnEarlierProcessWrote(t *testing.T) {
	sender := mustOpen(t, "s", Options{FS: journaltest.New(1), blockBytes: 700, syncBytes: 1 << 20})
	content := random(3, 5000)
	offer := commit(t, sender, meta(30), content)
	for seed := range uint64(100) {
		disk := journaltest.New(seed)
		o := Options{FS: disk, blockBytes: 700, syncBytes: 1 << 20}
		in, err := mustOpen(t, "d", o).Receive(offer)
		if err != nil {
			t.Fatal(err)
		}
		sends(t, sender, in, 2000)
		if err := in.mark(true); err != nil {
			t.Fatal(err)
		}
		marked := in.feed.at
		sends(t, sender, in, 3000)
		disk.Crash(false)
		if in, err = mustOpen(t, "d", o).Receive(offer); err != nil || in.Offset() != marked {
			t.Fatal(err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		disk.Crash(true)
		if in, err = mustOpen(t, "d", o).Receive(offer); err != nil || in.Offset() != marked {
			t.Fatalf("seed %d: %v, it goes on at %d, it was closed at %d", seed, err, in.Offset(), marked)
		}
	}
}

// S11: what is seen when the directory is opened stays, even if who renamed it did
// not live to sync the directory: else Keep would remove the one before, and the
// power take the new one.
func TestS11_WhatIsFoundIsDurable(t *testing.T) {
	found, changes := 0, 0
	for seed := range uint64(100) {
		disk := journaltest.New(seed)
		d := mustOpen(t, "d", small(disk))
		first := commit(t, d, meta(1), random(1, 300))
		w, err := d.Create(cluster, meta(2))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(random(2, 300)); err != nil {
			t.Fatal(err)
		}
		before := disk.Ops()
		disk.CrashAt(changes) // syncing the directory comes last
		if _, err := w.Commit(); (err == nil) != (changes == 0) {
			t.Fatal(err)
		}
		if changes == 0 {
			changes = disk.Ops() - before
			continue
		}
		disk.Crash(false)
		d = mustOpen(t, "d", small(disk))
		newest, err := d.Newest()
		if err != nil {
			t.Fatal(err)
		}
		if newest.ID != first.ID {
			found++
			if err := d.Keep(newest.ID); err != nil {
				t.Fatal(err)
			}
		}
		disk.Crash(true)
		d = mustOpen(t, "d", small(disk))
		if again, err := d.Newest(); err != nil || again.ID != newest.ID || d.Verify(again.ID) != nil {
			t.Fatalf("seed %d: %v, then the newest was %v, not %v", seed, err, again.ID, newest.ID)
		}
	}
	if found == 0 {
		t.Error("it was never found")
	}
}
