package rafttest

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/raftcore"
)

// The tests of the contract when something fails.

const (
	cPoisoned = "after a write or a sync that failed, and is not tried again, every call ends with ErrPoisoned until the Store is closed and opened again; Close says so once more"
	cAgain    = "an Opener opens its Store again after a failure, from what is really there"
	cNoReason = "what it allows is done, as long as no disk fails"
	cRoom     = "a Save, or Open, for which the disk has no room ends with ErrDiskFull; if that is not ErrPoisoned as well, nothing was written, what was saved can be read, and the same succeeds once there is room"
	cDamage   = "a failed write, or a crash in its middle, is no damage: a torn end that was never acknowledged is cut off"
)

// survivesCrashes crashes between two calls: then there is nothing that may be
// missing.
func survivesCrashes(r *storeRun) {
	lives := uint64(8)
	if r.place(r.seed).CrashAt == nil { // on a real disk, where each costs much and the same comes of it
		lives = 1
	}
	for seed := r.seed; seed < r.seed+lives; seed++ {
		p := r.place(seed)
		p.start()
		p.enter("a")
		p.crash()
		p.start()
		p.enter("a") // the same incarnation
		p.enter("b")
		first := p.term("a", 3, commands(1, 1, 9)...)
		first.HardState.Vote = 2
		p.save(first, p.term("b", 1, commands(1, 1, 3)...))
		p.crash()
		p.start()
		must(p.CheckAll(p.s))
		p.save(p.term("a", 4, commands(4, 5, 6)...))
		p.save(p.compacted(p.term("a", 4, commands(4, 7, 7)...), 5, 3))
		sent := p.term("b", 4)
		sent.Snapshot = &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 4, Index: 20}, Time: 9}
		sent.Base, sent.Reset = sent.Snapshot, true
		p.save(sent)
		must(p.Close(p.s, "b"))
		p.crash()
		p.start()
		must(p.CheckAll(p.s))
		p.crash()
		p.start()
		must(p.CheckAll(p.s))
		p.stop()
	}
}

// prepared opens a Store, and saves something in it that a later Save replaces.
func (r *storeRun) prepared(seed uint64) *place {
	p := r.place(seed)
	p.start()
	p.enter("a", "b", "c", "y", "z")
	p.save(p.term("a", 1, commands(1, 1, 9)...), p.term("b", 1, commands(1, 1, 3)...), p.term("c", 1, commands(1, 1, 9)...), p.term("y", 3, commands(3, 1, 5)...), p.term("z", 3, commands(3, 1, 5)...))
	must(p.Close(p.s, "z"))
	must(p.Close(p.s, "y"))
	must(p.Remove(p.s, persistence.Removal{Group: "y", Time: 5}))
	return p
}

// replacing is a Save that changes all that a Save can, in two parts for a group.
func (p *place) replacing() []persistence.Save {
	a := p.term("a", 2, commands(2, 5, 7)...)
	a.HardState.Vote = 3
	more := a
	more.Entries = commands(2, 6, 12)
	c := p.compacted(p.term("c", 2, commands(2, 8, 20)...), 7, 4)
	b := p.term("b", 2, commands(2, 31, 31)...)
	b.Snapshot = &raftcore.SnapshotMeta{Last: raftcore.EntryID{Term: 2, Index: 30}, Time: 30}
	b.Base, b.Reset = b.Snapshot, true
	return []persistence.Save{a, b, c, more}
}

// beginning is a Save that begins a new lineage of every group.
func (p *place) beginning() []persistence.Save {
	var saves []persistence.Save
	for _, name := range []string{"a", "b", "c"} {
		save := p.term(name, 1)
		begun := begins(&p.group(name).kept, 8, 2)
		begun.Token = save.Token
		save.Save = begun
		saves = append(saves, save)
	}
	return saves
}

// goOn saves more, and looks whether all of it is there to the end.
func (p *place) goOn() {
	must(p.CheckAll(p.s))
	for _, name := range []string{"a", "b", "c"} {
		if !p.group(name).open { // it was removed
			continue
		}
		next := p.group(name).kept.last() + 1
		p.save(p.term(name, 9, commands(9, next, next+2)...))
	}
	if p.Crash != nil {
		p.crash()
		p.start()
		must(p.CheckAll(p.s))
	}
	p.restart()
}

// savesWholly crashes in every change to the disk that a Save makes.
func savesWholly(r *storeRun) {
	r.savesWholly((*place).replacing)
	r.savesWholly((*place).beginning)
}

func (r *storeRun) savesWholly(drawn func(*place) []persistence.Save) {
	for n := 1; ; n++ {
		saved := false
		for seed := range uint64(3) {
			p := r.prepared(r.seed + seed + 3*uint64(n))
			p.CrashAt(n)
			err := p.Save(p.s, drawn(p))
			must(acceptable(err))
			p.crash()
			p.start()
			p.goOn()
			p.stop()
			saved = err == nil
		}
		if saved {
			return
		}
	}
}

// acceptable returns an error that a failing disk does not excuse.
func acceptable(err error) error {
	var violation *contractError
	var corrupt *persistence.CorruptError
	switch {
	case errors.As(err, &violation):
		return err
	case errors.As(err, &corrupt):
		return broken(cDamage, "%v", err)
	}
	for _, wrong := range []error{persistence.ErrBadSave, persistence.ErrGroupClosed, persistence.ErrGroupOpen, persistence.ErrLocked, persistence.ErrClosed} {
		if errors.Is(err, wrong) {
			return broken(cGood, "a call that the contract allows ended with %v", err)
		}
	}
	return nil
}

func survivesCrashesWhileOpening(r *storeRun) {
	for n := 1; ; n++ { // the first time
		p := r.place(r.seed + uint64(n))
		p.CrashAt(n)
		s, err := p.Opener.Open()
		must(acceptable(err))
		p.crash()
		p.start()
		p.enter("a", "b", "c")
		p.goOn()
		p.stop()
		if s != nil {
			break
		}
	}
	p := r.prepared(r.seed)
	for n := 1; ; n++ {
		p.crash()
		p.CrashAt(n)
		s, err := p.Opener.Open()
		must(acceptable(err))
		if s == nil {
			p.crash()
		} else {
			p.CrashAt(0)
			p.s = s
			p.restart()
		}
		if s != nil {
			return
		}
		p.start()
		p.goOn()
	}
}

// survivesFailuresWhileOpening does not crash: the process lives, and opens the
// Store again.
func survivesFailuresWhileOpening(r *storeRun) {
	for n, unharmed := 1, 0; unharmed < enoughUnharmed; n++ { // the first time
		p := r.place(r.seed + uint64(n))
		unharmed = p.startFailing(n, unharmed)
		p.enter("a", "b", "c")
		p.goOn()
		p.stop()
	}
	p := r.prepared(r.seed)
	for n, unharmed := 1, 0; unharmed < enoughUnharmed; n++ {
		p.stop()
		unharmed = p.startFailing(n, unharmed)
		p.goOn()
	}
}

// enoughUnharmed is how many changes in a row may fail and do no harm before it is
// believed that the call makes no more of them. Who swallows one may hear of the
// next.
const enoughUnharmed = 3

// startFailing opens the Store while the nth change fails, and once more if that
// comes to nothing.
func (p *place) startFailing(n, unharmed int) int {
	p.FailAt(n)
	s, err := p.Opener.Open()
	must(acceptable(err))
	p.FailAt(0)
	if err == nil {
		p.s = s
		return unharmed + 1
	}
	if p.s, err = p.Opener.Open(); err != nil {
		must(broken(cAgain, "a write failed when it was opened, and when it was opened again it ended with %v", err))
	}
	return 0
}

// isPoisoned lets every change fail that a Save makes to the disk, or the opening
// of a new group.
func isPoisoned(r *storeRun) {
	for _, c := range []struct {
		what string
		call func(p *place) error
	}{
		{"Save", func(p *place) error { return p.Save(p.s, p.replacing()) }},
		{"Open", func(p *place) error { return p.Open(p.s, "new") }},
		{"Remove", func(p *place) error { return p.Remove(p.s, persistence.Removal{Group: "z"}) }},
		{"Revive", func(p *place) error { return p.Revive(p.s, "y") }},
	} {
		for n, unharmed := 1, 0; unharmed < enoughUnharmed; n++ {
			unharmed++
			for seed := range uint64(8) { // what is forgotten is a matter of chance
				p := r.prepared(r.seed + seed + 8*uint64(n))
				p.FailAt(n)
				err := c.call(p)
				p.FailAt(0)
				if err != nil {
					unharmed = 0
					demand(errors.Is(err, persistence.ErrPoisoned), cPoisoned, "%s, in which a write or a sync failed, ended with %v", c.what, err)
					p.reopenPoisoned()
				}
				p.goOn() // what it was opened with is durable, or a crash shows that it is not
				p.stop()
			}
		}
	}
}

// reopenPoisoned closes the Store and opens it again, without a crash.
func (p *place) reopenPoisoned() {
	p.wantPoisoned()
	p.s = nil
	p.Restarted()
	s, err := p.Opener.Open()
	if err != nil {
		must(broken(cAgain, "after a failed write it was closed and opened again, which ended with %v", err))
	}
	p.s = s
}

// wantPoisoned checks that nothing is answered any more, and closes the Store.
func (p *place) wantPoisoned() {
	s, group := p.s, p.opened("a").Group
	check := func(call string, err error) {
		demand(errors.Is(err, persistence.ErrPoisoned), cPoisoned, "%s after a failed write ended with %v", call, err)
	}
	check("Save", s.Save(p.replacing())) // it may not say now that it is done
	check("another Save", s.Save([]persistence.Save{p.term("b", 8)}))
	check("an empty Save", s.Save(nil))
	_, err := s.Open("another")
	check("Open", err)
	_, err = s.Load(group, raftcore.Load{From: 1, To: 1, MaxBytes: 1})
	check("Load", err)
	check("CloseGroup", s.CloseGroup(group))
	check("Remove", s.Remove(persistence.Removal{Group: "a"}))
	check("Revive", s.Revive("y", p.group("y").incarnation))
	_, err = s.Tombstones()
	check("Tombstones", err)
	check("Close", s.Close())
}

// refusesWhatHasNoRoom fills the disk, and makes room again.
func refusesWhatHasNoRoom(r *storeRun) {
	for n, room := range []int64{0, 20_000, 60_000, 200_000} {
		for _, crashes := range []bool{false, true} {
			p := r.prepared(r.seed + uint64(n))
			p.Limit(room)
			refused, err := p.fill()
			switch {
			case errors.Is(err, persistence.ErrPoisoned):
				p.Limit(-1)
				p.reopenPoisoned()
			case crashes && p.Crash != nil:
				p.crash()
				p.startFull()
			default:
				must(p.CheckAll(p.s))
				err := p.Save(p.s, refused)
				demand(err == nil || full(err), cRoom, "made again when there was no room yet, the Save ended with %v", err)
				if err == nil { // something was given back meanwhile
					refused = nil
				}
				err = p.Open(p.s, "new")
				demand(err == nil || full(err), cRoom, "when there was no room, Open ended with %v", err)
				err = p.Remove(p.s, persistence.Removal{Group: "b"}) // is open
				demand(err == nil || full(err), cRoom, "when there was no room, Remove ended with %v", err)
				err = p.Revive(p.s, "y")
				demand(err == nil || full(err), cRoom, "when there was no room, Revive ended with %v", err)
				p.removeWhenFull("c")
				p.Limit(-1)
				p.saveWhenThereIsRoom(refused, r.patience)
			}
			p.goOn()
			p.stop()
		}
	}
}

// enoughToFill is how many bytes are saved before it is believed that a Store does
// not need the disk for them.
const enoughToFill = 256 << 20

// fill saves until there is no room, and returns what was refused.
func (p *place) fill() ([]persistence.Save, error) {
	data := make([]byte, 8<<10)
	for range enoughToFill / (2 * len(data)) {
		var saves []persistence.Save
		for _, name := range []string{"a", "b"} {
			next := p.group(name).kept.last() + 1
			save := p.term(name, 2, commands(2, next, next)...)
			save.Entries[0].Data = data
			saves = append(saves, save)
		}
		if err := p.Save(p.s, saves); err != nil {
			must(acceptable(err))
			demand(errors.Is(err, persistence.ErrDiskFull), cRoom, "a Save for which there was no room ended with %v", err)
			return saves, err
		}
	}
	must(broken(cRoom, "%d MiB were saved where there was room for much less", enoughToFill>>20))
	return nil, nil
}

// startFull opens the Store while the disk is full, and otherwise when it is not any
// more.
func (p *place) startFull() {
	s, err := p.Opener.Open()
	if err == nil {
		p.s = s
		must(p.CheckAll(p.s))
		p.Limit(-1)
		return
	}
	must(acceptable(err))
	demand(full(err), cRoom, "on a full disk, opening the Store ended with %v", err)
	p.Limit(-1)
	p.start()
}

// removeWhenFull removes a group, which may be refused, and removes or checks it again.
func (p *place) removeWhenFull(name string) {
	must(p.Close(p.s, name))
	err := p.Remove(p.s, persistence.Removal{Group: name, Time: 9})
	demand(err == nil || full(err), cRoom, "when there was no room, Remove ended with %v", err)
	p.enter(name)
}

// saveWhenThereIsRoom makes a Save again and again: what makes room may do so in the
// background.
func (p *place) saveWhenThereIsRoom(saves []persistence.Save, patience time.Duration) {
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		err := p.Save(p.s, saves)
		if err == nil {
			return
		}
		demand(full(err) && time.Now().Before(deadline), cRoom, "made again when there was room, the Save ended with %v", err)
	}
}

// storesAtRandom does at random what the contract allows and what it forbids, in
// several lives of a Store, of which each ends somehow.
func storesAtRandom(r *storeRun) {
	r.each(r.tb, time.Second, func(seed uint64) {
		p := r.place(seed)
		for life := range 2 + p.Rand.IntN(4) {
			if err := p.live(); err != nil {
				must(fmt.Errorf("life %d: %w", life, err))
			}
		}
		p.start()
		must(p.CheckAll(p.s))
		p.stop()
	})
}

// live opens the Store, uses it until something fails, and ends its life.
func (p *place) live() error {
	crashing, failing := p.arm()
	limited := p.Limit != nil && p.Rand.IntN(4) == 0
	if limited {
		p.Limit(p.Rand.Int64N(512 << 10))
	}
	s, err := p.Opener.Open()
	if err == nil {
		p.s = s
		err = p.use(failing, limited)
	}
	if limited {
		p.Limit(-1)
	}
	if full(err) && limited {
		err = nil
	}
	excused := crashing || failing || limited && errors.Is(err, persistence.ErrDiskFull)
	switch {
	case err != nil && !excused:
		return err
	case acceptable(err) != nil:
		return acceptable(err)
	case p.s != nil && errors.Is(err, persistence.ErrPoisoned):
		if err := p.s.Save(nil); !errors.Is(err, persistence.ErrPoisoned) {
			return broken(cPoisoned, "an empty Save after a failed write ended with %v", err)
		}
	}
	crash := p.Crash != nil && (crashing || p.Rand.IntN(2) == 0)
	if p.s != nil && (!crash || err == nil && p.Rand.IntN(2) == 0) {
		if err := p.s.Close(); err != nil && !excused { // it may crash in that, too
			return broken(cNoReason, "Close ended with %v", err)
		}
		p.s = nil
	}
	if crash {
		p.crash()
		return nil
	}
	if failing {
		p.FailAt(0)
	}
	p.Restarted()
	return nil
}

// arm draws whether something fails in this life, and when.
func (p *place) arm() (crashing, failing bool) {
	at := 1 + p.Rand.IntN(250)
	switch n := p.Rand.IntN(6); {
	case n == 0:
	case n == 1 && p.FailAt != nil:
		p.FailAt(at)
		return false, true
	case p.CrashAt != nil && p.Crash != nil:
		if n == 2 {
			at = 1 + at%40 // while it is being opened
		}
		p.CrashAt(at)
		return true, false
	}
	return false, false
}

// use does random things.
func (p *place) use(failing, limited bool) error {
	for range p.Rand.IntN(100) {
		if err := p.Step(p.s); full(err) && limited {
			continue // nothing has happened
		} else if err != nil {
			if !errors.Is(err, persistence.ErrPoisoned) && failing && acceptable(err) == nil {
				return broken(cPoisoned, "a call in which a write or a sync failed ended with %v", err)
			}
			return err
		}
	}
	return p.CheckAll(p.s)
}
