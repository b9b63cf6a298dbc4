package rafttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing/iotest"
	"time"

	"github.com/castaway-go/castaway/actors"
)

// The tests of the contract of state machines, a round of each. There is always a
// machine that has been given a log and nothing else; what it answered, all others
// must answer, whatever happens to them.

// circumstances are where a machine does the same once more; between is called
// between the commands.
var circumstances = []struct {
	who  string
	test func(r *machineRun, test func(between func(int)))
}{
	{"a second time", func(r *machineRun, test func(func(int))) {
		inBubble(r, func() { test(func(int) {}) })
	}},
	{"at another time of another day", func(r *machineRun, test func(func(int))) {
		inBubble(r, func() {
			r.pass(r.upTo(20_000 * time.Hour))
			test(func(int) { r.pass(r.upTo(time.Hour)) })
		})
	}},
	{"beside a machine with other commands", func(r *machineRun, test func(func(int))) {
		inBubble(r, func() { test(r.beside()) })
	}},
	{"by the real clock, with garbage collections in between", func(r *machineRun, test func(func(int))) {
		left := 2 // they take longer than all the rest
		test(func(int) {
			if left > 0 && r.IntN(4) == 0 {
				runtime.GC()
				left--
			}
		})
	}},
	{"on one processor", func(r *machineRun, test func(func(int))) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		inBubble(r, func() { test(func(int) {}) })
	}},
	{"on many processors", func(r *machineRun, test func(func(int))) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(7))
		inBubble(r, func() { test(func(int) {}) })
	}},
}

// answersTheSame: nothing around a machine shows.
func answersTheSame(r *machineRun) {
	x := &expected{machineLog: r.drawLog(), contract: cSame}
	inBubble(r, func() { x.answers = r.fresh().play(x.machineLog) })
	for _, c := range circumstances {
		x.who = c.who
		c.test(r, func(between func(int)) {
			s := r.fresh()
			s.between = between
			s.finish(x, 0)
		})
	}
}

// beside has another machine apply other commands.
func (r *machineRun) beside() func(int) {
	other, l := r.fresh(), r.drawLog()
	return func(i int) {
		e := l.Entries[i%len(l.Entries)]
		if e.Data = bytes.Clone(e.Data); i < len(l.Entries) || !isEvent(e) { // that comes once
			other.apply(e)
		}
	}
}

// leavesBytesAlone: bytes are on loan, in both directions.
func leavesBytesAlone(r *machineRun) {
	l := r.drawLog()
	x := &expected{l, r.fresh().play(l), "when the memory of what it was given is used again", cData}
	s := r.fresh()
	var given, copies [][]byte
	keep := func(answer []byte) {
		given, copies = append(given, answer), append(copies, bytes.Clone(answer))
	}
	for i := range len(l.Entries) + 1 {
		for k, q := range l.Questions[i] {
			question := lend(q)
			got := s.query(context.Background(), question.lent)
			question.takeBack("Query")
			x.compareQuery(i, k, got)
			keep(got.Data)
		}
		if i < len(l.Entries) {
			e := l.Entries[i]
			data := lend(e.Data)
			e.Data = data.lent
			answer := s.apply(e)
			data.takeBack("Apply")
			x.compareAnswer(i, answer, s.did)
			keep(answer)
		}
	}
	for i := range given {
		if !bytes.Equal(given[i], copies[i]) {
			must(broken(cAnswer, "an answer has become %s", apart(given[i], copies[i])))
		}
	}
}

// loan is memory that is used for something else later.
type loan struct{ lent, all, before []byte }

func lend(b []byte) *loan {
	all := append(bytes.Clone(b), "what is behind it"...)
	return &loan{all[:len(b)], all, bytes.Clone(all)}
}

func (l *loan) takeBack(from string) {
	if n := len(l.lent); !bytes.Equal(l.all, l.before) {
		must(broken(cData, "%s has made %s of %s, or has written behind it", from, show(l.all[:n]), show(l.before[:n])))
	}
	for i := range l.all {
		l.all[i] ^= 0x55
	}
}

// answersBatches: where a batch begins and ends does not show. Who has no ApplyBatch has
// none.
func answersBatches(r *machineRun) {
	l := r.drawLog()
	x := &expected{machineLog: l, answers: r.fresh().play(l), who: "in batches", contract: cBatch}
	s := r.fresh()
	if _, together := s.m.(actors.BatchStateMachine); !together {
		return
	}
	for from := 0; from < len(l.Entries); {
		x.compareQueries(from, s.ask(l.Questions[from]))
		to := min(from+1+r.IntN(1<<r.IntN(8)), len(l.Entries))
		if event := slices.IndexFunc(l.Entries[from:to], isEvent); event >= 0 {
			to = from + max(event, 1) // it comes alone
		}
		answers, did := s.applyTogether(l.Entries[from:to])
		for i := range answers {
			x.compareAnswer(from+i, answers[i], did[i])
		}
		from = to
	}
	x.compareQueries(len(l.Entries), s.ask(l.Questions[len(l.Entries)]))
	if r.Canonical {
		x.compareImage(s.image())
	}
}

// queriesWithoutTrace: whoever was asked answers as one who was not, and nobody
// waits for an answer that nobody waits for.
func queriesWithoutTrace(r *machineRun) {
	l := r.drawLog()
	unasked := &machineLog{Entries: l.Entries, Questions: make([][][]byte, len(l.Entries)+1)}
	s := r.fresh()
	a := s.play(unasked)
	a.Queries[len(l.Entries)] = s.ask(l.Questions[len(l.Entries)])
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	last := l.Questions[len(l.Entries)]
	unasked.Questions[len(l.Entries)] = last
	for _, asked := range []struct {
		who  string
		with context.Context
	}{{"when it is asked in between", context.Background()}, {"when it is asked in between, and nobody waits for the answer", cancelled}} {
		s := r.fresh()
		question := func(int) {
			for range 3 {
				s.query(asked.with, bytes.Clone(last[r.IntN(len(last))]))
			}
		}
		s.between = question
		x := &expected{unasked, a, asked.who, cQuery}
		s.follow(x, 0, len(l.Entries))
		question(0)
		s.finish(x, len(l.Entries))
	}
}

// takesAnyTime: the same commands, whatever time the log has for them.
func takesAnyTime(r *machineRun) {
	l := r.drawLog()
	for pace := range paces {
		r.drawPlaces(l, pace)
		r.drawAllQuestions(l)
		x := &expected{l, r.fresh().play(l), "with the same log times, at another time", cSame}
		r.pass(r.upTo(10_000 * time.Hour))
		at := r.IntN(len(l.Entries) + 1)
		s := r.fresh()
		s.follow(x, 0, at)
		image := s.image()
		x.who, x.contract = "after a snapshot, at another time", cBeside
		s.finish(x, at)
		x.who, x.contract = "restored, at another time", cWholly
		r.restored(image).finish(x, at)
	}
}

// survivesNonsense: bytes that no front end has made are bytes, too.
func survivesNonsense(r *machineRun) {
	l := r.drawLog()
	for i := range l.Entries {
		l.Entries[i].Data = r.spoil(l.Entries[i].Data)
	}
	r.drawPlaces(l, 0)
	r.drawAllQuestions(l)
	for i := range l.Questions {
		for k, q := range l.Questions[i] {
			l.Questions[i][k] = r.spoil(q)
		}
	}
	s := r.fresh()
	x := &expected{machineLog: l, who: "among commands that are none", contract: cSame}
	// What answers nonsense need not be the state: only what is asked last is compared.
	x.answers = s.play(l)
	for i := range l.Entries {
		x.Queries[i] = nil
	}
	again := r.fresh()
	again.finish(x, 0)
	x.who, x.contract = "restored from a snapshot of that", cWholly
	r.restored(s.image()).finish(x, len(l.Entries))
}

// spoil makes something else of a command, sometimes.
func (r *machineRun) spoil(b []byte) []byte {
	b = bytes.Clone(b)
	switch r.IntN(6) {
	case 0:
		b = nil
	case 1:
		b = make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case 2:
		b = b[:r.IntN(len(b)+1)]
	case 3:
		b = append(b, b[r.IntN(len(b)+1):]...)
		b = append(b, byte(r.Uint32()))
	case 4:
		for range 1 + r.IntN(3) {
			if len(b) > 0 {
				b[r.IntN(len(b))] = []byte{0, 1, 0x7f, 0x80, 0xff, byte(r.Uint32())}[r.IntN(6)]
			}
		}
	}
	return b
}

// snapshotsTheWhole: a member that begins with a snapshot is like one that does not.
func snapshotsTheWhole(r *machineRun) {
	l := r.drawLog()
	x := &expected{machineLog: l, answers: r.fresh().play(l)}
	s, at := r.fresh(), 0
	for _, point := range r.points(l) {
		x.who, x.contract = "after snapshots", cBeside
		s.follow(x, at, point)
		at = point
		image := s.image()
		x.who, x.contract = "restored from a snapshot", cWholly
		r.restored(image).finish(x, at)
	}
}

// snapshotsAgainAndAgain: a member that has always begun with a snapshot, of one
// that had begun with a snapshot.
func snapshotsAgainAndAgain(r *machineRun) {
	l := r.drawLog()
	x := &expected{l, r.fresh().play(l), "restored from snapshots of restored machines", cWholly}
	s, at := r.fresh(), 0
	for _, point := range r.points(l) {
		s.follow(x, at, point)
		at = point
		for range 1 + r.IntN(2) {
			s = r.restored(s.image())
		}
	}
	s.finish(x, at)
}

// snapshotsTheMoment: what is written late, or for long, is as if it had been
// written at once.
func snapshotsTheMoment(r *machineRun) {
	l := r.drawLog()
	x := &expected{machineLog: l, answers: r.fresh().play(l)}
	for _, write := range []struct {
		restored string
		beside   func(r *machineRun, w io.WriterTo, steps int, step func(n int)) []byte
	}{
		{"restored from a snapshot that was written after more commands", writeLate},
		{"restored from a snapshot that was written between more commands, piece by piece", writeInTurns},
		{"restored from a snapshot that was written beside more commands", writeBeside},
	} {
		for _, at := range r.points(l) {
			s := r.fresh()
			s.follow(x, 0, at)
			x.who, x.contract = "while a snapshot is written", cBeside
			image := write.beside(r, s.snapshot(), len(l.Entries)-at, func(n int) { s.follow(x, at+n, at+n+1) })
			s.finish(x, len(l.Entries))
			x.who, x.contract = write.restored, cMoment
			r.restored(image).finish(x, at)
		}
	}
}

func writeLate(r *machineRun, w io.WriterTo, steps int, step func(n int)) []byte {
	for n := range steps {
		step(n)
	}
	return r.written(w)
}

// writeInTurns has some commands applied before and after each piece.
func writeInTurns(r *machineRun, w io.WriterTo, steps int, step func(n int)) []byte {
	image := &turns{turn: make(chan bool), taken: make(chan bool)}
	ended := make(chan error, 1)
	go func() {
		ended <- failing(func() {
			err := r.write(w, image)
			demand(err == nil, cSnapshot, "WriteTo ended with “%v”", err)
		})
	}()
	for n := 0; ; {
		select {
		case <-image.turn:
			for range 1 + r.IntN(3) {
				if n < steps {
					step(n)
					n++
				}
			}
			image.taken <- true
		case err := <-ended:
			for ; n < steps; n++ {
				step(n)
			}
			must(err)
			return image.Bytes()
		}
	}
}

// turns is a Writer that waits for its turn, before it takes a piece and after.
type turns struct {
	bytes.Buffer
	turn, taken chan bool
}

func (t *turns) Write(p []byte) (int, error) {
	t.turn <- true
	<-t.taken
	n, err := t.Buffer.Write(p)
	t.turn <- true
	<-t.taken
	return n, err
}

// writeBeside leaves it to the scheduler, and to the race detector.
func writeBeside(r *machineRun, w io.WriterTo, steps int, step func(n int)) (image []byte) {
	ended := make(chan error, 1)
	go func() { ended <- failing(func() { image = r.written(w) }) }()
	for n := range steps {
		step(n)
	}
	must(<-ended)
	return image
}

var errFull = errors.New("no room")

// brief is a Writer that fails when it has taken so much.
type brief struct {
	left   int
	failed bool
}

func (b *brief) Write(p []byte) (int, error) {
	if b.failed = b.failed || len(p) > b.left; b.failed {
		n := min(len(p), b.left)
		b.left = 0
		return n, errFull
	}
	b.left -= len(p)
	return len(p), nil
}

// survivesFailedSnapshots: whatever becomes of a snapshot, the machine goes on, and
// so does the next snapshot.
func survivesFailedSnapshots(r *machineRun) {
	l := r.drawLog()
	x := &expected{machineLog: l, answers: r.fresh().play(l)}
	s, at := r.fresh(), 0
	for _, point := range r.points(l) {
		x.who, x.contract = "after a snapshot that came to nothing", cBeside
		s.follow(x, at, point)
		at = point
		if r.IntN(3) > 0 { // else it is never written
			room := len(s.image())
			to := &brief{left: r.IntN(room + 1)}
			err := r.write(s.snapshot(), to)
			demand(err != nil || !to.failed, cWriteErr, "WriteTo returned nil when its Writer had failed")
		} else {
			s.snapshot()
		}
		if r.IntN(2) == 0 {
			x.who, x.contract = "restored from the snapshot after one that came to nothing", cWholly
			r.restored(s.image()).finish(x, at)
		}
	}
	x.who, x.contract = "after a snapshot that came to nothing", cBeside
	s.finish(x, at)
}

// drawImage returns a log, and a snapshot of a machine on its way.
func (r *machineRun) drawImage() (x *expected, at int, image []byte) {
	l := r.drawLog()
	x = &expected{machineLog: l, answers: r.fresh().play(l)}
	s, at := r.fresh(), r.IntN(len(l.Entries)+1)
	s.follow(&expected{l, x.answers, "a second time", cSame}, 0, at)
	return x, at, s.image()
}

// restoresFromAnyReader: bytes come as files and networks have them.
func restoresFromAnyReader(r *machineRun) {
	x, at, image := r.drawImage()
	x.contract = cReader
	for _, reader := range []struct {
		who string
		as  func(io.Reader) io.Reader
	}{
		{"restored from one byte at a time", iotest.OneByteReader},
		{"restored from half of what is asked for at a time", iotest.HalfReader},
		{"restored from a last piece that comes with io.EOF", iotest.DataErrReader},
		{"restored from one byte at a time, the last with io.EOF", func(from io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(from)) }},
	} {
		s, err := r.restore(reader.as(bytes.NewReader(image)))
		demand(err == nil, cReader, "%s, Restore ended with “%v”", reader.who, err)
		x.who = reader.who
		s.finish(x, at)
	}
}

// failsWithItsReader: what was not read to its end is not taken for a state. The host
// checks the bytes before, so none are ever missing without an error; but a Restore
// that panics, or reads for ever, when they are, is not to be trusted either.
func failsWithItsReader(r *machineRun) {
	x, at, image := r.drawImage()
	for _, n := range r.cuts(len(image)) {
		s, err := r.restore(&cutReader{left: image[:n], err: errors.New("the disk has failed")})
		if err == nil { // it may have needed no more
			err := failing(func() { s.finish(x, at) })
			demand(err == nil, cReadErr, "Restore returned nil although its Reader failed after %d of %d bytes", n, len(image))
		}
		_, _ = r.restore(&cutReader{left: image[:n], err: io.EOF})
	}
}

func (r *machineRun) cuts(size int) (cuts []int) {
	for range min(size, 12) {
		cuts = append(cuts, r.IntN(size))
	}
	if size > 0 {
		cuts = append(cuts, size-1)
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

// cutReader is a Reader that ends early. It does not want to be asked again for ever.
type cutReader struct {
	left  []byte
	err   error
	asked int
}

func (f *cutReader) Read(p []byte) (int, error) {
	if len(f.left) == 0 {
		f.asked++
		demand(f.asked < 1000, cReadErr, "Restore goes on reading when its Reader has ended with “%v”", f.err)
		return 0, f.err
	}
	n := copy(p, f.left)
	f.left = f.left[n:]
	return n, nil
}
