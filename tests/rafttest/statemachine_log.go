package rafttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// machineLog is a log, and what is asked after so many commands of it.
type machineLog struct {
	Entries   []actors.Entry
	Questions [][][]byte // from before the first command until after the last
}

// answers are what a machine answered to a log.
type answers struct {
	Commands [][]byte
	Effects  []string
	Queries  [][]queried
	Image    []byte // the last snapshot, if those are Canonical
}

// queried is an answer to a question. Of an error, it counts that there is one.
type queried struct {
	Data   []byte
	Failed string
}

func (q queried) String() string {
	if q.Failed != "" {
		return "the error " + oneLine(q.Failed)
	}
	return show(q.Data)
}

func show(b []byte) string { return showFrom(b, 0) }

// showFrom shows bytes, of many those that follow.
func showFrom(b []byte, from int) string {
	const enough = 60
	if len(b) <= enough {
		return fmt.Sprintf("%q", b)
	}
	from = min(from, len(b)-enough)
	shown := fmt.Sprintf("%q", b[from:from+enough])
	if from > 0 {
		shown = "…" + shown
	}
	if from+enough < len(b) {
		shown += "…"
	}
	return fmt.Sprintf("%s (%d bytes)", shown, len(b))
}

// apart says what there is instead of what: of many bytes, where they differ.
func apart(got, want []byte) string {
	from := 0
	for from < min(len(got), len(want)) && got[from] == want[from] {
		from++
	}
	from = max(0, from-20)
	return showFrom(got, from) + " instead of " + showFrom(want, from)
}

// The log's time, and how it passes: often not at all, sometimes for years.
var (
	logBegins = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	paces     = []struct {
		begins time.Time
		step   time.Duration
	}{
		{logBegins, 50 * time.Millisecond},
		{logBegins, 0},
		{logBegins, 5 * time.Second},
		{logBegins, 30 * time.Hour},
		{time.UnixMilli(0).UTC(), time.Minute},
		{logBegins.AddDate(200, 0, 0), 3 * time.Second},
	}
)

// drawLog draws a log: most are short, so that what they show is easy to see.
func (r *machineRun) drawLog() *machineLog {
	l := &machineLog{}
	for range 1 + r.IntN(2<<r.IntN(7)) {
		l.Entries = append(l.Entries, actors.Entry{Data: r.Command(r.Rand)})
	}
	pace := 0
	if r.IntN(2) == 0 {
		pace = r.IntN(len(paces))
	}
	r.drawPlaces(l, pace)
	r.drawAllQuestions(l)
	return l
}

func (r *machineRun) drawAllQuestions(l *machineLog) {
	l.Questions = nil
	for i := range len(l.Entries) + 1 {
		n := 1
		switch {
		case i == len(l.Entries):
			n = 20
		case r.NewIn != nil && r.IntN(4) > 0:
			n = 0 // it must be saved before it is asked, and that is not to be always
		}
		l.Questions = append(l.Questions, r.drawQuestions(n))
	}
}

func (r *machineRun) drawQuestions(n int) (questions [][]byte) {
	for range n {
		var q []byte
		if r.Query != nil {
			q = r.Query(r.Rand)
		}
		questions = append(questions, q)
	}
	return questions
}

// drawPlaces gives the commands their places in the log: there are entries between
// them that are none, and leaders change. Between them comes what the effects of the
// commands ask for, if a machine has some: timers that go off, and actors that are gone. Some
// commands are of sessions, which end before another command, if a machine wants to know.
func (r *machineRun) drawPlaces(l *machineLog, pace int) {
	commands := slices.DeleteFunc(slices.Clone(l.Entries), isEvent)
	l.Entries = l.Entries[:0:0]
	index, term, now := raftcore.Index(1), raftcore.Term(1), paces[pace].begins
	w := &waiting{timers: map[string]time.Time{}, monitors: map[string]bool{}}
	scout := r.fresh()
	_, tells := scout.m.(actors.SessionStateMachine)
	var sessions []actors.SessionID // that are open
	place := func(e actors.Entry) {
		if r.IntN(10) == 0 {
			index += raftcore.Index(1 + r.IntN(3))
			term += raftcore.Term(r.IntN(2))
		}
		e.Index, e.Term, e.Time = index, term, now
		l.Entries = append(l.Entries, e)
		if !isEnd(e) { // the command is of the entry that ends it
			index++
		}
		e.Data = bytes.Clone(e.Data)
		scout.apply(e)
		w.take(scout.effects)
	}
	for i, e := range commands {
		if step := paces[pace].step; step > 0 && r.IntN(4) > 0 {
			now = now.Add(r.upTo(step)).Truncate(time.Millisecond)
		}
		for tells && len(sessions) > 0 && r.IntN(6) == 0 {
			i := r.IntN(len(sessions))
			place(actors.Entry{Session: sessions[i], Down: endOfSession})
			sessions = slices.Delete(sessions, i, i+1)
		}
		switch e.Session = 0; r.IntN(4) {
		case 0:
			e.Session = actors.SessionID(index) // the entry that has opened it
			sessions = append(sessions, e.Session)
			index++
		case 1:
			if len(sessions) > 0 {
				e.Session = sessions[r.IntN(len(sessions))]
			}
		}
		place(e)
		// A machine may ask again whenever it is told: that must have an end.
		for n := 0; w.any() && n < 3 && (r.IntN(3) > 0 || i == len(commands)-1); n++ {
			event, at := w.next(r)
			if at.Sub(now) > farOff {
				break
			}
			if at.After(now) {
				now = at.Truncate(time.Millisecond).Add(time.Duration(r.IntN(3)) * time.Millisecond)
			}
			place(event)
		}
	}
	scout.close()
}

// farOff is how far ahead a timer may be set that goes off in a log.
const farOff = 400 * 24 * time.Hour

// isEvent reports whether an entry is no command, but something that has happened.
func isEvent(e actors.Entry) bool { return e.Timer != "" || e.Down != "" }

// endOfSession is in the place of an actor's name where a log has the end of a session.
const endOfSession = "\x00 the end of a session"

func isEnd(e actors.Entry) bool { return e.Down == endOfSession }

// waiting is what a machine has yet to be told.
type waiting struct {
	timers   map[string]time.Time
	monitors map[string]bool
}

// take takes note of effects. A timer or an actor without a name cannot be told from none.
func (w *waiting) take(effects []actors.Effect) {
	for _, effect := range effects {
		switch e := effect.(type) {
		case actors.SetTimer:
			if e.Name != "" {
				w.timers[e.Name] = e.At
			}
		case actors.StopTimer:
			delete(w.timers, e.Name)
		case actors.Monitor:
			w.monitors[e.Actor] = true
		case actors.Demonitor:
			delete(w.monitors, e.Actor)
		}
	}
}

func (w *waiting) any() bool { return len(w.timers)+len(w.monitors) > 0 }

// next draws what is told next, and when that may be at the earliest.
func (w *waiting) next(r *machineRun) (e actors.Entry, at time.Time) {
	names := slices.Concat(sortedKeys(w.timers), sortedKeys(w.monitors))
	i := r.IntN(len(names))
	if i < len(w.timers) {
		at = w.timers[names[i]]
		delete(w.timers, names[i])
		return actors.Entry{Timer: names[i]}, at
	}
	delete(w.monitors, names[i])
	return actors.Entry{Down: names[i]}, at
}

func (r *machineRun) upTo(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

// points are after how many commands something is done: always, in a short log.
func (r *machineRun) points(l *machineLog) (points []int) {
	n := len(l.Entries)
	if n < 8 {
		for i := range n + 1 {
			points = append(points, i)
		}
		return points
	}
	points = append(points, n)
	for range 4 {
		points = append(points, r.IntN(n))
	}
	slices.Sort(points)
	return slices.Compact(points)
}

// subject is a machine that is tested: it does what is asked, or the test ends.
type subject struct {
	r *machineRun
	m actors.StateMachine
	// effects are what the last command wanted done, and did says what they are.
	effects []actors.Effect
	did     string
	// between is called before each command.
	between func(i int)
	disk    *subjectDisk // nil: it has none
}

func (r *machineRun) fresh() *subject {
	if r.NewIn != nil {
		return r.freshOnDisk()
	}
	defer r.noPanic(cNew, func() string { return "New" })
	r.doing.Store("New")
	m := r.New()
	demand(m != nil, cNew, "New returned nil")
	_, onDisk := m.(actors.DiskStateMachine)
	demand(!onDisk, cNew, "New made an actors.DiskStateMachine: this test needs NewIn instead, for it is to have more than one for the same disk")
	return &subject{r: r, m: m, between: func(int) {}}
}

func (s *subject) apply(e actors.Entry) []byte {
	doing := func() string { return "Apply of " + showEntry(&e) }
	defer s.r.noPanic(cPanics, doing)
	s.r.doing.Store("Apply")
	var effects []actors.Effect
	e.Effects = &effects
	answer := applyAll(s.m, []actors.Entry{e})[0]
	s.effects, s.did = effects, showEffects(effects)
	s.applied(e)
	return answer
}

// showEntry says what an entry is.
func showEntry(e *actors.Entry) string {
	switch {
	case isEnd(*e):
		return fmt.Sprintf("the news that session %d has ended", e.Session)
	case e.Timer != "":
		return fmt.Sprintf("the news that timer %q has gone off", e.Timer)
	case e.Down != "":
		return fmt.Sprintf("the news that actor %q is gone", e.Down)
	}
	return "the command " + show(e.Data)
}

// applyAll applies entries as a member does.
func applyAll(m actors.StateMachine, entries []actors.Entry) [][]byte {
	if e := entries[0]; isEnd(e) { // which comes alone
		e.Down, e.Data = "", nil
		m.(actors.SessionStateMachine).SessionEnded(e)
		return [][]byte{nil}
	}
	batches, together := m.(actors.BatchStateMachine)
	if together {
		answers := batches.ApplyBatch(entries)
		demand(len(answers) == len(entries), cBatch, "of %d commands ApplyBatch has answered %d", len(entries), len(answers))
		return answers
	}
	var answers [][]byte
	for _, e := range entries {
		answers = append(answers, m.Apply(e))
	}
	return answers
}

// applyTogether applies the commands from one on, at once.
func (s *subject) applyTogether(entries []actors.Entry) (answers [][]byte, did []string) {
	doing := func() string { return fmt.Sprintf("ApplyBatch of %d commands", len(entries)) }
	defer s.r.noPanic(cPanics, doing)
	s.r.doing.Store("ApplyBatch")
	effects := make([][]actors.Effect, len(entries))
	given := slices.Clone(entries)
	for i := range given {
		given[i].Data, given[i].Effects = bytes.Clone(given[i].Data), &effects[i]
	}
	answers = applyAll(s.m, given)
	for i := range effects {
		did = append(did, showEffects(effects[i]))
	}
	s.applied(entries...)
	return answers, did
}

// showEffects says what effects are, so that two are the same if they read the same.
func showEffects(effects []actors.Effect) string {
	var all []string
	for _, e := range effects {
		switch e := e.(type) {
		case actors.Send:
			all = append(all, fmt.Sprintf("Send to %q %q", e.To, e.Data))
		case actors.Append:
			all = append(all, fmt.Sprintf("Append %q", e.Data))
		case actors.SetTimer:
			all = append(all, fmt.Sprintf("SetTimer %q at %v", e.Name, e.At.UnixMilli()))
		case actors.StopTimer:
			all = append(all, fmt.Sprintf("StopTimer %q", e.Name))
		case actors.Monitor:
			all = append(all, fmt.Sprintf("Monitor %q", e.Actor))
		case actors.Demonitor:
			all = append(all, fmt.Sprintf("Demonitor %q", e.Actor))
		default:
			all = append(all, fmt.Sprintf("%T", e))
		}
	}
	return strings.Join(all, ", ")
}

func (s *subject) query(ctx context.Context, question []byte) (q queried) {
	s.save()
	doing := func() string { return "Query of " + show(question) }
	defer s.r.noPanic(cPanics, doing)
	s.r.doing.Store("Query")
	data, err := s.m.Query(ctx, question)
	if err != nil {
		return queried{Failed: "“" + err.Error() + "”"}
	}
	return queried{Data: data}
}

// ask asks all questions that belong after so many commands.
func (s *subject) ask(questions [][]byte) (all []queried) {
	for _, q := range questions {
		got := s.query(context.Background(), bytes.Clone(q))
		got.Data = bytes.Clone(got.Data)
		all = append(all, got)
	}
	return all
}

// play has the machine apply a log, and ask, and returns what it answered.
func (s *subject) play(l *machineLog) *answers {
	a := &answers{}
	for i := range l.Entries {
		s.between(i)
		a.Queries = append(a.Queries, s.ask(l.Questions[i]))
		e := l.Entries[i]
		e.Data = bytes.Clone(e.Data)
		a.Commands = append(a.Commands, bytes.Clone(s.apply(e)))
		a.Effects = append(a.Effects, s.did)
	}
	a.Queries = append(a.Queries, s.ask(l.Questions[len(l.Entries)]))
	if s.r.Canonical {
		a.Image = s.image()
	}
	return a
}

// expected is what a machine must answer to a log, and who it is if it does not.
type expected struct {
	*machineLog
	*answers
	who, contract string
}

// follow has the machine go on with a log, from one point to another, and compares
// what it answers.
func (s *subject) follow(x *expected, from, to int) {
	for i := from; i < to; i++ {
		s.between(i)
		x.compareQueries(i, s.ask(x.Questions[i]))
		e := x.Entries[i]
		e.Data = bytes.Clone(e.Data)
		answer := s.apply(e)
		x.compareAnswer(i, answer, s.did)
	}
	x.compareQueries(to, s.ask(x.Questions[to]))
}

// finish has it go on to the end. It is not needed any more then.
func (s *subject) finish(x *expected, from int) {
	s.follow(x, from, len(x.Entries))
	if s.r.Canonical {
		x.compareImage(s.image())
	}
	s.close()
}

func (x *expected) compareAnswer(i int, got []byte, did string) {
	e := &x.Entries[i]
	if want := x.Commands[i]; !bytes.Equal(got, want) && !isEvent(*e) { // nobody gets that answer
		must(broken(x.contract, "%s, entry %d of %d, %s, was answered with %s",
			x.who, i+1, len(x.Entries), showEntry(e), apart(got, want)))
	}
	if want := x.Effects[i]; did != want {
		must(broken(x.contract, "%s, entry %d of %d, %s, had the effects [%s] instead of [%s]",
			x.who, i+1, len(x.Entries), showEntry(e), oneLine(did), oneLine(want)))
	}
}

func (x *expected) compareQueries(i int, got []queried) {
	for k := range x.Queries[i] {
		x.compareQuery(i, k, got[k])
	}
}

func (x *expected) compareQuery(i, k int, got queried) {
	want, found := x.Queries[i][k], ""
	switch {
	case (got.Failed == "") != (want.Failed == ""):
		found = fmt.Sprintf("%v instead of %v", got, want)
	case !bytes.Equal(got.Data, want.Data):
		found = apart(got.Data, want.Data)
	default:
		return
	}
	must(broken(x.contract, "%s, after %d of %d commands the question %s was answered with %s",
		x.who, i, len(x.Entries), show(x.Questions[i][k]), found))
}

func (x *expected) compareImage(got []byte) {
	if !bytes.Equal(got, x.Image) {
		must(broken(cBytes, "%s, it has written the snapshot %s", x.who, apart(got, x.Image)))
	}
}

// compare compares all that another machine has answered.
func (x *expected) compare(a *answers) {
	for i := range x.Entries {
		x.compareQueries(i, a.Queries[i])
		x.compareAnswer(i, a.Commands[i], a.Effects[i])
	}
	x.compareQueries(len(x.Entries), a.Queries[len(x.Entries)])
	x.compareImage(a.Image)
}

// snapshot asks for a snapshot.
func (s *subject) snapshot() io.WriterTo {
	s.save()
	defer s.r.noPanic(cSnapshot, func() string { return "Snapshot" })
	s.r.doing.Store("Snapshot")
	w, err := s.m.Snapshot()
	demand(err == nil, cSnapshot, "Snapshot ended with “%v”", err)
	demand(w != nil, cSnapshot, "Snapshot returned neither a snapshot nor an error")
	return w
}

// write has a snapshot written.
func (r *machineRun) write(w io.WriterTo, to io.Writer) error {
	defer r.noPanic(cSnapshot, func() string { return "WriteTo" })
	r.doing.Store("WriteTo")
	_, err := w.WriteTo(to)
	return err
}

// written is all that is written of a snapshot.
func (r *machineRun) written(w io.WriterTo) []byte {
	var b bytes.Buffer
	err := r.write(w, &b)
	demand(err == nil, cSnapshot, "WriteTo ended with “%v”", err)
	return b.Bytes()
}

func (s *subject) image() []byte { return s.r.written(s.snapshot()) }

// restore has a fresh machine read a snapshot.
func (r *machineRun) restore(from io.Reader) (s *subject, err error) {
	s = r.fresh()
	s.reset()
	return s, s.restore(from)
}

func (s *subject) restore(from io.Reader) error {
	err := s.read(from)
	if err == nil && s.disk != nil {
		s.disk.due = true
		s.save()
	}
	return err
}

// read has it read a snapshot, and not saved yet.
func (s *subject) read(from io.Reader) error {
	defer s.r.noPanic(cReadErr, func() string { return "Restore" })
	s.r.doing.Store("Restore")
	return s.m.Restore(from)
}

// restored returns a machine that has read a snapshot.
func (r *machineRun) restored(image []byte) *subject {
	s, err := r.restore(bytes.NewReader(image))
	if err != nil {
		must(broken(cRestore, "Restore of %s ended with “%v”", show(image), err))
	}
	return s
}
