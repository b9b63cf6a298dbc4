package actors

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/castaway-go/castaway/raftcore"
)

// table is a table of sessions with a log, and a machine that counts what it carries
// out.
type table struct {
	*sessions
	index raftcore.Index
	now   int64
	ran   []string
	by    []SessionID // that it ran for
	ended []SessionID // in the order in which that was told
}

func newTable() *table { return &table{sessions: newSessions(), now: 1_000_000} }

func (t *table) do(o sessionOrder) ([]byte, error) {
	t.index++
	return t.apply(&raftcore.Entry{EntryID: raftcore.EntryID{Term: 1, Index: t.index}, Time: t.now, Data: o.encode()}, func(command Entry) result {
		if string(command.Data) == "skipped" {
			return result{skipped: true}
		}
		t.ran, t.by = append(t.ran, string(command.Data)), append(t.by, command.Session)
		return result{answer: fmt.Appendf(nil, "%d:%s", len(t.ran), command.Data)}
	}, func(id SessionID) { t.ended = append(t.ended, id) })
}

func (t *table) begin(timeout uint64) SessionID {
	if _, err := t.do(sessionOrder{kind: sessionOpens, timeout: timeout}); err != nil {
		panic(err)
	}
	return SessionID(t.index)
}

func (t *table) command(id SessionID, sequence, done uint64, data string) (string, error) {
	b, err := t.do(sessionOrder{kind: sessionCommand, session: id, sequence: sequence, done: done, data: []byte(data)})
	return string(b), err
}

// A command says whose it is.
func TestAMachineIsToldTheSession(t *testing.T) {
	tab := newTable()
	first, second := tab.begin(1000), tab.begin(1000)
	for _, id := range []SessionID{second, first, second} {
		if _, err := tab.command(id, uint64(len(tab.by)+1), 0, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if first == second || !slices.Equal(tab.by, []SessionID{second, first, second}) {
		t.Errorf("sessions %d and %d; the machine was told %v", first, second, tab.by)
	}
}

// TestC1_ACommandThatComesAgainIsNotCarriedOutAgain: in any order, until its answer is
// said to be known.
func TestC1_ACommandThatComesAgainIsNotCarriedOutAgain(t *testing.T) {
	tab := newTable()
	id := tab.begin(1000)
	for _, step := range []struct {
		sequence, done uint64
		want           string
		err            error
	}{
		{1, 0, "1:1", nil}, {1, 0, "1:1", nil}, {3, 0, "2:3", nil}, {2, 0, "3:2", nil}, {3, 0, "2:3", nil}, {1, 0, "1:1", nil},
		{4, 2, "4:4", nil}, {1, 0, "", ErrUnknown}, {2, 2, "", ErrUnknown}, {3, 2, "2:3", nil}, {4, 2, "4:4", nil},
		{2 + sessionWindow, 2, "5:1026", nil}, {3 + sessionWindow, 2, "", ErrBusy}, {3 + sessionWindow, 3, "6:1027", nil},
	} {
		got, err := tab.command(id, step.sequence, step.done, fmt.Sprint(step.sequence))
		if got != step.want || !errors.Is(err, step.err) {
			t.Errorf("command %d, done %d: %q, %v; want %q, %v", step.sequence, step.done, got, err, step.want, step.err)
		}
	}
}

// TestC2C7_AnExpiredSessionCarriesNothingOut: by the time of the log, and whatever of it
// comes late.
func TestC2C7_AnExpiredSessionCarriesNothingOut(t *testing.T) {
	tab := newTable()
	short, long := tab.begin(1000), tab.begin(5000)
	must := func(id SessionID, sequence uint64, want error) {
		t.Helper()
		if _, err := tab.command(id, sequence, 0, "x"); !errors.Is(err, want) || err != nil && want == nil {
			t.Errorf("at %d session %d ends with %v, want %v", tab.now, id, err, want)
		}
	}
	tab.now += 1000
	must(short, 1, nil) // not yet: and a sign of life
	tab.now += 1000
	must(short, 2, nil)
	tab.now += 1001
	must(short, 3, ErrSessionExpired)
	must(short, 1, ErrSessionExpired)
	must(long, 1, nil)
	if _, err := tab.do(sessionOrder{kind: sessionKeeps, session: short}); !errors.Is(err, ErrSessionExpired) {
		t.Errorf("a sign of life of an expired session ends with %v", err)
	}
	must(short, 3, ErrSessionExpired)
	tab.now += 4000
	if _, err := tab.do(sessionOrder{kind: sessionKeeps, session: long}); err != nil {
		t.Error(err)
	}
	tab.now += 5000
	must(long, 2, nil)
	if _, err := tab.do(sessionOrder{kind: sessionCloses, session: long}); err != nil {
		t.Error(err)
	}
	must(long, 3, ErrSessionExpired)
	if len(tab.ran) != 4 || len(tab.byID) != 0 || tab.sessions.bytes != 0 {
		t.Errorf("%v were carried out, %d sessions are left, with %d bytes", tab.ran, len(tab.byID), tab.sessions.bytes)
	}
}

// The end of a session is told once, before the command that comes with it, in the order of the
// sessions; also when nobody says anything but the time.
func TestTheEndOfASessionIsTold(t *testing.T) {
	tab := newTable()
	var ids []SessionID
	for i := range uint64(50) {
		ids = append(ids, tab.begin(1000+i%2))
	}
	closed, long := tab.begin(5000), tab.begin(5000)
	for range 2 {
		if _, err := tab.do(sessionOrder{kind: sessionCloses, session: closed}); err != nil {
			t.Fatal(err)
		}
	}
	tab.now += 1002
	if _, err := tab.command(long, 1, 0, "x"); err != nil {
		t.Fatal(err)
	}
	if want := append([]SessionID{closed}, ids...); !slices.Equal(tab.ended, want) {
		t.Errorf("%v have ended, not %v", tab.ended, want)
	}
	if ends := tab.mayEnd(); ends != tab.now-1002+5000 {
		t.Errorf("the next may end after %d, at %d", ends, tab.now)
	}
	tab.index++
	tab.now += 5001
	tab.ended = nil
	if _, err := tab.apply(&raftcore.Entry{Time: tab.now, Data: lookAtSessions()}, nil, func(id SessionID) { tab.ended = append(tab.ended, id) }); !errors.Is(err, ErrSessionExpired) {
		t.Errorf("to look ends with %v", err)
	}
	if !slices.Equal(tab.ended, []SessionID{long}) || tab.mayEnd() != 0 {
		t.Errorf("%v have ended, and the next may after %d", tab.ended, tab.mayEnd())
	}
}

// Results have a budget: who does not say what it knows is refused, and nothing else is.
func TestSessionsKeepNoMoreThanTheyMay(t *testing.T) {
	tab := newTable()
	id, other := tab.begin(1e6), tab.begin(1e6)
	big := string(make([]byte, 1<<20))
	n := uint64(0)
	for err := error(nil); err == nil && n < 100; {
		n++
		_, err = tab.command(id, n, 0, big)
	}
	if tab.byID[id].bytes > maxSessionBytes+2<<20 || n < 4 {
		t.Errorf("a session keeps %d bytes after %d commands", tab.byID[id].bytes, n)
	}
	if _, err := tab.command(other, 1, 0, "x"); err != nil {
		t.Errorf("another session ends with %v", err)
	}
	if _, err := tab.command(id, n, n-1, big); err != nil {
		t.Errorf("when it says what it knows it ends with %v", err)
	}
	for len(tab.byID) < maxSessions {
		tab.begin(1e6)
	}
	if _, err := tab.do(sessionOrder{kind: sessionOpens, timeout: 5}); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrRejected) {
		t.Errorf("one session too many ends with %v", err)
	}
}

// TestC5_ASessionThatKeepsAllItMayGoesOn: the first of many commands was lost on the way,
// and comes when the results of the others are all that may be kept, of its session or of
// all together.
func TestC5_ASessionThatKeepsAllItMayGoesOn(t *testing.T) {
	tab := newTable()
	big := string(make([]byte, 1<<20))
	var ids []SessionID
	for tab.sessions.bytes <= maxSessionsBytes {
		id, last := tab.begin(1e6), uint64(1)
		ids = append(ids, id)
		for err := error(nil); err == nil; {
			last++
			_, err = tab.command(id, last, 0, big)
		}
	}
	fresh := tab.begin(1e6)
	if _, err := tab.command(fresh, 1, 0, "x"); !errors.Is(err, ErrBusy) {
		t.Errorf("when too much is kept a session that keeps nothing ends with %v", err)
	}
	for _, id := range ids {
		if _, err := tab.command(id, 1, 0, "first"); err != nil {
			t.Fatalf("what the others wait for ends with %v", err)
		}
		if _, err := tab.command(id, 9, 8, "next"); err != nil {
			t.Errorf("afterwards it ends with %v", err)
		}
	}
	if _, err := tab.command(fresh, 1, 0, "x"); err != nil {
		t.Errorf("when less is kept it ends with %v", err)
	}
}

// TestC3_WhoIsAnsweredMayChangeTheAnswer: the table keeps what it was.
func TestC3_WhoIsAnsweredMayChangeTheAnswer(t *testing.T) {
	tab := newTable()
	id := tab.begin(1000)
	o := sessionOrder{kind: sessionCommand, session: id, sequence: 1, data: []byte("x")}
	for range 3 {
		answer, err := tab.do(o)
		if err != nil || string(answer) != "1:x" {
			t.Errorf("it is answered with %q, %v", answer, err)
		}
		clear(answer)
	}
}

// TestC3_TheTableIsTheSameOnEveryMember: those that go on from a snapshot, too, taken at
// any moment.
func TestC3_TheTableIsTheSameOnEveryMember(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		tables := []*table{newTable(), newTable()}
		var ids []SessionID
		for range 200 {
			if rng.IntN(20) == 0 { // the second member starts again
				b := tables[1].encode()
				restored, err := decodeSessions(b)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(restored.encode(), b) {
					t.Fatalf("seed %d: what is restored is another table", seed)
				}
				tables[1].sessions = restored
			}
			o := sessionOrder{kind: byte(1 + rng.IntN(4)), timeout: 1 + rng.Uint64N(300), sequence: 1 + rng.Uint64N(12), done: rng.Uint64N(6), data: fmt.Append(nil, rng.IntN(9))}
			if o.kind == sessionOpens {
				o.session, o.sequence, o.done, o.data = 0, 0, 0, nil
			} else if o.timeout = 0; len(ids) > 0 {
				o.session = ids[rng.IntN(len(ids))]
			}
			if o.kind != sessionCommand {
				o.data, o.sequence = nil, 0
			}
			step := rng.Int64N(60)
			var answers [2]string
			for i, tab := range tables {
				tab.now += step
				b, err := tab.do(o)
				answers[i] = fmt.Sprint(string(b), err)
			}
			if o.kind == sessionOpens {
				ids = append(ids, SessionID(tables[0].index))
			}
			if answers[0] != answers[1] || !reflect.DeepEqual(tables[0].ran, tables[1].ran) {
				t.Fatalf("seed %d: %+v is answered with %q and %q", seed, o, answers[0], answers[1])
			}
			if !slices.Equal(tables[0].ended, tables[1].ended) {
				t.Fatalf("seed %d: with %+v, %v and %v have ended", seed, o, tables[0].ended, tables[1].ended)
			}
			sum := 0
			for s := range maps.Values(tables[0].byID) {
				sum += s.bytes
			}
			if sum != tables[0].sessions.bytes {
				t.Fatalf("seed %d: the sessions have %d bytes, the table says %d", seed, sum, tables[0].sessions.bytes)
			}
		}
	}
}

// What is no order is refused before it is proposed; in a log, it is no entry to skip.
func TestA3_AnOrderThatIsNotUnderstoodIsNotSkipped(t *testing.T) {
	for _, b := range [][]byte{nil, {0}, {9, 1}, {sessionOpens}, {sessionOpens, 0}, {sessionCommand, 1}, {sessionCommand, 1, 0, 0}, {sessionCloses, 1, 1}, {sessionOpens, 1, 1}, {sessionKeeps, 0xff}} {
		if o, err := decodeOrder(b); err == nil {
			t.Errorf("%v was taken for %+v", b, o)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("it was skipped")
		}
	}()
	_, _ = newSessions().apply(&raftcore.Entry{Data: []byte{99}}, nil, nil)
}

func FuzzSessions(f *testing.F) {
	tab := newTable()
	id := tab.begin(1000)
	_, _ = tab.command(id, 1, 0, "x")
	f.Add(tab.encode(), (&sessionOrder{kind: sessionCommand, session: 1, sequence: 2, data: []byte("x")}).encode())
	f.Add([]byte{0}, []byte{sessionOpens, 1})
	f.Fuzz(func(t *testing.T, image, order []byte) {
		if tab, err := decodeSessions(image); err == nil {
			again, err := decodeSessions(tab.encode())
			if err != nil || len(again.byID) != len(tab.byID) {
				t.Errorf("what was read and written again is refused: %v", err)
			}
		}
		if o, err := decodeOrder(order); err == nil {
			again, err := decodeOrder(o.encode())
			if err != nil || again.kind != o.kind || again.session != o.session || !bytes.Equal(again.data, o.data) {
				t.Errorf("%+v became %+v, %v", o, again, err)
			}
		}
	})
}
