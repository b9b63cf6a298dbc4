package rafttest

import (
	"bytes"
	"errors"

	"github.com/castaway-go/castaway/actors"
)

// The tests of the contract of state machines with a disk of their own, a round of each.

// diskTests is what the suite has beside machineTests.
var diskTests = []machineTest{
	{"AMachineGoesOnWhereItWasSaved", goesOnWhereSaved, outside},
	{"WhatWasNotSavedIsDropped", dropsWhatWasNotSaved, outside},
	{"ManyCommandsAreSavedAtOnce", savesMany, outside},
	{"ResetLeavesNothing", resetsToNothing, outside},
	{"RestoreReplacesAll", restoresOverAll, outside},
	{"ARestoreThatComesToNothingLeavesNothing", survivesFailedRestores, outside},
	{"ASnapshotOutlivesReset", snapshotsBeforeReset, outside},
	{"WheneverItIsKilledItIsAsSomeSaveHasLeftIt", survivesKills, outside},
}

// goesOnWhereSaved: it is closed and opened anywhere, as if nothing had been.
func goesOnWhereSaved(r *machineRun) {
	l := r.drawLog()
	x := &expected{l, r.fresh().play(l), "closed, and opened again", cOpen}
	s, at := r.fresh(), 0
	for _, point := range r.points(l) {
		s.follow(x, at, point)
		at = point
		s.save()
		if r.IntN(3) == 0 {
			s.sync()
		}
		for range 1 + r.IntN(2) {
			s = s.again(cOpen)
		}
	}
	s.finish(x, at)
}

// dropsWhatWasNotSaved: nor does what comes after a Save show, when it is closed.
func dropsWhatWasNotSaved(r *machineRun) {
	l := r.drawLog()
	x := &expected{l, r.fresh().play(l), "opened again, and given again what was not saved", cClose}
	s, at := r.fresh(), 0
	for _, point := range r.points(l) {
		s.follow(x, at, point)
		at = point
		s.save()
		s.unsaved(l, at, r.IntN(len(l.Entries)-at+1))
		s = s.again(cClose)
	}
	s.finish(x, at)
}

// unsaved has it apply so many commands of a log, from one on, and does not have them saved.
func (s *subject) unsaved(l *machineLog, at, many int) {
	for _, e := range l.Entries[at : at+many] {
		if s.disk.many+1 >= maxUnsaved || s.disk.size+len(e.Data) >= maxUnsavedBytes {
			return
		}
		e.Data = bytes.Clone(e.Data)
		s.apply(e)
	}
}

// savesMany: there is as much in one Save as there ever is.
func savesMany(r *machineRun) {
	l := &machineLog{}
	for range maxUnsaved {
		l.Entries = append(l.Entries, actors.Entry{Data: r.Command(r.Rand)})
	}
	r.drawPlaces(l, 0)
	l.Questions = make([][][]byte, len(l.Entries)+1)
	l.Questions[len(l.Entries)] = r.drawQuestions(20)
	s := r.fresh()
	s.between = func(i int) {
		if i%50 == 0 {
			s.save()
		}
	}
	x := &expected{l, s.play(l), "saved at the end only, closed, and opened again", cOpen}
	s = r.fresh()
	for _, e := range l.Entries {
		e.Data = bytes.Clone(e.Data)
		s.apply(e)
	}
	s.save()
	s.again(cOpen).finish(x, len(l.Entries))
}

// used is a machine that another log has gone through.
func (r *machineRun) used() *subject {
	s, l := r.fresh(), r.drawLog()
	saved := r.IntN(len(l.Entries) + 1)
	s.unsaved(l, 0, saved)
	s.save()
	if r.IntN(2) == 0 {
		s = s.again(cOpen)
	}
	s.unsaved(l, saved, r.IntN(len(l.Entries)-saved+1))
	return s
}

// resetsToNothing: what was Reset is as fresh, also when it is closed and opened.
func resetsToNothing(r *machineRun) {
	l := r.drawLog()
	x := &expected{machineLog: l, answers: r.fresh().play(l), contract: cReset}
	s := r.used()
	s.reset()
	x.who = "after Reset"
	if r.IntN(3) > 0 {
		x.who = "opened again after Reset"
		if r.IntN(2) == 0 {
			x.who = "opened again after Reset, and after commands that were not saved"
			s.unsaved(l, 0, r.IntN(len(l.Entries)+1))
		}
		s = s.again(cReset)
	}
	s.follow(x, 0, len(l.Entries))
	s.save()
	s.again(cReset).finish(x, len(l.Entries))
}

// restoresOverAll: a snapshot takes the place of what was there.
func restoresOverAll(r *machineRun) {
	x, at, image := r.drawImage()
	x.who, x.contract = "Reset, and restored from a snapshot", cReplaced
	s := r.used()
	s.resetTo(image, at)
	if r.IntN(2) == 0 {
		x.who = "Reset, restored from a snapshot, saved, and opened again"
		s = s.again(cOpen)
	}
	s.finish(x, at)
}

// resetTo has it become what a snapshot holds, which was taken after so many commands.
func (s *subject) resetTo(image []byte, at int) {
	s.reset()
	s.disk.at = at
	if err := s.restore(bytes.NewReader(image)); err != nil {
		must(broken(cRestore, "Restore of %s ended with “%v”", show(image), err))
	}
}

// survivesFailedRestores: the host closes it then, and tries again.
func survivesFailedRestores(r *machineRun) {
	x, at, image := r.drawImage()
	x.contract = cReset
	s := r.used()
	for _, n := range r.cuts(len(image)) {
		s.reset()
		_ = s.read(&cutReader{left: image[:n], err: errors.New("the disk has failed")}) // it may have needed no more
		s = s.again(cReset)
	}
	s.reset()
	err := s.read(bytes.NewReader(image))
	demand(err == nil, cRestore, "Restore of %s ended with “%v”", show(image), err)
	s = s.again(cReset) // a Save would have to come
	if r.IntN(2) == 0 {
		x.who = "opened again after a Restore that came to nothing"
		s.finish(x, 0)
		return
	}
	x.who = "restored after a Restore that came to nothing"
	s.resetTo(image, at)
	s.finish(x, at)
}

// snapshotsBeforeReset: a snapshot may be on its way when another one is restored.
func snapshotsBeforeReset(r *machineRun) {
	l := r.drawLog()
	x := &expected{machineLog: l, answers: r.fresh().play(l), contract: cOutlives}
	s, at := r.fresh(), r.IntN(len(l.Entries)+1)
	x.who = "a second time"
	s.follow(x, 0, at)
	snapshot := s.snapshot()
	later, upTo, image := r.drawImage()
	var written bytes.Buffer
	ended := make(chan error, 1)
	write := func() {
		ended <- failing(func() {
			if err := r.write(snapshot, &written); err != nil {
				written.Reset()
			}
		})
	}
	switch r.IntN(3) {
	case 0:
		s.resetTo(image, upTo)
		write()
	case 1:
		s.reset()
		write()
		s.resetTo(image, upTo)
	default: // beside it
		go write()
		s.resetTo(image, upTo)
	}
	must(<-ended)
	later.who, later.contract = "Reset while a snapshot was on its way, and restored from another", cReplaced
	s.finish(later, upTo)
	if written.Len() > 0 {
		x.who = "restored from a snapshot that was written when its machine was Reset"
		r.restored(written.Bytes()).finish(x, at)
	}
}
