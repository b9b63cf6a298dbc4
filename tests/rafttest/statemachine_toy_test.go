package rafttest

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"weak"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
)

// toyMachine is a state machine that is as plain as can be: words, by key. With a
// defect it has one of the faults that TestStateMachine must notice.
type toyMachine struct {
	defect string
	toyState

	buffer []byte
	base   map[string][]byte // what was restored
	cached weak.Pointer[[1 << 10]byte]
	last   *toyWriter // the last snapshot

	happened  string                    // what it was told, if it is not of the state
	unwritten map[actors.SessionID]bool // which have something, if that is not
}

type toyState struct {
	Words  map[string][]byte
	Count  int // of the commands
	Last   time.Time
	Index  raftcore.Index
	Hidden int // no answer shows it
}

// What machines of a process should not share.
var (
	toyWords = map[string][]byte{}
	toyCount int
	toySeed  = maphash.MakeSeed()
	toyOnly  *toyMachine
)

func newToyMachine(defect string) *toyMachine {
	m := &toyMachine{defect: defect, toyState: toyState{Words: map[string][]byte{"a": []byte("at first")}}}
	switch {
	case m.is("shares its map"):
		m.Words = toyWords
	case m.is("is always the same"):
		if toyOnly == nil {
			toyOnly = m
		}
		return toyOnly
	}
	return m
}

func (m *toyMachine) is(defect string) bool { return m.defect == defect }

// toy is the machine with a defect, and what can be said to it.
func toy(defect string) StateMachine {
	key := func(r *rand.Rand) string { return string(rune('a' + r.IntN(6))) }
	return StateMachine{
		New: func() actors.StateMachine {
			if defect == "is none" {
				return nil
			}
			if strings.Contains(defect, "batch") {
				return &toyBatches{toyMachine: newToyMachine(defect)}
			}
			return newToyMachine(defect)
		},
		Command: func(r *rand.Rand) []byte {
			k := key(r)
			return []byte([]string{"set " + k + " one", "set " + k + " two", "append " + k + " more", "append " + k + " x",
				"upper " + k, "del " + k, "set " + k + " ", "all", "when", "since", "count", "fly", "watch " + k, "take " + k}[r.IntN(14)])
		},
		Query: func(r *rand.Rand) []byte {
			return []byte([]string{"get " + key(r), "all", "count", "fly"}[r.IntN(4)])
		},
		Canonical: strings.Contains(defect, "no answer shows") || defect == "writes words in any order, and says that it does not",
	}
}

func (m *toyMachine) Apply(e actors.Entry) []byte {
	m.Hidden += len(e.Data)
	switch {
	case m.is("expects every index") && e.Index != m.Index+1:
		panic("an entry is missing")
	case m.is("divides by the time between commands"):
		m.Hidden += 1000 / int(e.Time.Sub(m.Last)/time.Millisecond)
	case m.is("writes behind the data"):
		_ = append(e.Data, ' ')
	case m.is("forgets the words that are not written while a snapshot is") && m.last != nil && !m.last.ended.Load(),
		m.is("refuses all when a snapshot has failed") && m.last != nil && m.last.failed.Load():
		return []byte("later")
	}
	data := bytes.Clone(e.Data)
	if m.is("keeps the data") || m.is("answers with the data") {
		data = e.Data
	}
	m.Index = e.Index
	m.Count++
	if isEvent(e) {
		m.told(e)
		m.Last = e.Time
		return nil
	}
	answer := m.answer(m.apply(data, e))
	m.Last = e.Time
	if m.is("changes the data") {
		copy(e.Data, bytes.ToUpper(e.Data))
	}
	return answer
}

// toyBatches is a toyMachine that takes commands together.
type toyBatches struct {
	*toyMachine
}

func (m *toyBatches) ApplyBatch(entries []actors.Entry) (answers [][]byte) {
	if m.is("forgets the last of a batch") && len(entries) > 1 {
		entries = entries[:len(entries)-1]
	}
	if m.is("applies a batch backwards") {
		entries = slices.Clone(entries)
		slices.Reverse(entries)
	}
	for _, e := range entries {
		answers = append(answers, m.Apply(e))
	}
	if m.is("applies a batch backwards") {
		slices.Reverse(answers)
	}
	if m.is("counts batches") {
		m.Count += 1000
	}
	return answers
}

func (m *toyMachine) apply(data []byte, e actors.Entry) []byte {
	words := bytes.SplitN(data, []byte(" "), 3)
	key := ""
	if len(words) > 1 {
		key = string(words[1])
	}
	switch name := string(words[0]); {
	case name == "set" && (len(words) == 3 || m.is("panics where a word is missing")):
		old := m.Words[key]
		m.Words[key] = words[2]
		if m.is("answers with the data") {
			return words[2]
		}
		return bytes.Clone(old)
	case name == "append" && len(words) == 3:
		m.Words[key] = append(m.Words[key], words[2]...)
		return bytes.Clone(m.Words[key])
	case name == "upper" && len(words) == 2:
		copy(m.Words[key], bytes.ToUpper(m.Words[key]))
		return bytes.Clone(m.Words[key])
	case name == "del" && len(words) == 2:
		delete(m.Words, key)
		at := e.Time.Add(time.Minute)
		if m.is("sets a timer by the clock") {
			at = time.Now()
		}
		e.Do(actors.SetTimer{Name: key, At: at}, actors.Send{To: "log", Data: []byte(key)})
		return nil
	case name == "watch" && len(words) == 2:
		e.Do(actors.Monitor{Actor: "actor-" + key}, actors.StopTimer{Name: key})
		return nil
	case name == "take" && len(words) == 2 && e.Session != 0:
		m.taken(e.Session)
		return nil
	case name == "all":
		return m.all()
	case name == "when":
		return m.when(e)
	case name == "since":
		return fmt.Append(nil, e.Time.Sub(m.Last))
	case name == "count":
		return fmt.Append(nil, m.Count)
	}
	return []byte("what?")
}

// taken notes that a session has something that it gives back when it ends.
func (m *toyMachine) taken(by actors.SessionID) {
	if m.is("forgets in a snapshot whose something is") {
		if m.unwritten == nil {
			m.unwritten = map[actors.SessionID]bool{}
		}
		m.unwritten[by] = true
		return
	}
	m.Words[fmt.Sprint("@", by)] = nil
}

func (m *toyMachine) SessionEnded(e actors.Entry) {
	key := fmt.Sprint("@", e.Session)
	_, has := m.Words[key]
	switch {
	case m.is("expects that every session has something"):
		_ = m.Words[key][:len(key)]
	case m.is("asks the clock when a session ends"):
		m.Words["@"] = fmt.Append(nil, time.Now())
	case m.unwritten[e.Session]:
		m.Words["@"] = []byte(key)
	}
	m.Count++
	if m.Index, m.Last = e.Index, e.Time; has {
		delete(m.Words, key)
		e.Do(actors.Send{To: "log", Data: []byte(key)})
	}
}

// told takes the news of what has happened.
func (m *toyMachine) told(e actors.Entry) {
	switch {
	case m.is("takes a timer for a command") && e.Timer != "":
		_ = e.Data[0]
	case m.is("takes an actor that is gone for a command") && e.Down != "":
		_ = e.Data[0]
	case m.is("forgets in a snapshot what has happened"):
		m.happened += e.Timer + e.Down
		m.Words["!"] = []byte(m.happened)
		return
	case m.is("asks the clock when a timer goes off") && e.Timer != "":
		m.Words["!"+e.Timer] = fmt.Append(nil, time.Now())
		return
	}
	if e.Timer != "" && e.Down == "" {
		m.Words["!"+e.Timer] = []byte("rang")
		e.Do(actors.Demonitor{Actor: "actor-" + e.Timer})
		return
	}
	m.Words["!"+e.Down] = []byte("down")
}

// answer is what goes wrong with answers.
func (m *toyMachine) answer(answer []byte) []byte {
	if m.is("answers from one buffer") {
		m.buffer = append(m.buffer[:0], answer...)
		return m.buffer
	}
	return answer
}

// when tells more than the time of a command, if there is a defect.
func (m *toyMachine) when(e actors.Entry) []byte {
	switch {
	case m.is("asks the clock"):
		return fmt.Append(nil, time.Now().Unix())
	case m.is("draws at random"):
		return fmt.Append(nil, rand.IntN(100))
	case m.is("counts all machines' commands"):
		toyCount++
		return fmt.Append(nil, toyCount)
	case m.is("hashes with a seed of the process"):
		return fmt.Append(nil, maphash.String(toySeed, "when"))
	case m.is("tells the time of its place"):
		return []byte(e.Time.Local().Format(time.Kitchen))
	case m.is("asks the environment"):
		return []byte(os.Getenv("LANG"))
	case m.is("asks for processors"):
		return fmt.Append(nil, runtime.GOMAXPROCS(0))
	case m.is("has a cache that shows"):
		if m.cached.Value() != nil {
			return []byte("cached")
		}
		m.cached = weak.Make(new([1 << 10]byte))
	}
	return fmt.Append(nil, e.Index, e.Time.UnixMilli())
}

func (m *toyMachine) all() []byte {
	var b []byte
	keys := slices.Sorted(maps.Keys(m.Words))
	if m.is("lists words in any order") {
		keys = slices.Collect(maps.Keys(m.Words))
	}
	for _, key := range keys {
		b = fmt.Appendf(b, "%s=%q ", key, m.Words[key])
	}
	return b
}

func (m *toyMachine) Query(ctx context.Context, question []byte) ([]byte, error) {
	words := bytes.Split(question, []byte(" "))
	switch {
	case m.is("waits in a query") || m.is("waits in a query for which nobody waits") && ctx.Err() != nil:
		<-make(chan bool)
	case m.is("counts queries"):
		m.Count++
	case m.is("makes what is asked for") && len(words) > 1:
		m.Words[string(words[1])] = nil
	case m.is("changes the question") && len(question) > 0:
		question[0] = '?'
	}
	switch name := string(words[0]); {
	case name == "get" && (len(words) == 2 || m.is("panics at a bad question")):
		return m.answer(bytes.Clone(m.Words[string(words[1])])), nil
	case name == "all":
		return m.answer(m.all()), nil
	case name == "count":
		return m.answer(fmt.Append(nil, m.Count)), nil
	}
	return nil, errors.New("what?")
}

// toySnapshot is what a toyMachine writes. The words come in order.
type toySnapshot struct {
	State  toyState
	Keys   []string
	Values [][]byte
}

func (m *toyMachine) Snapshot() (io.WriterTo, error) {
	switch {
	case m.is("takes no snapshot"):
		return nil, errors.New("not now")
	case m.is("takes a snapshot that is none"):
		return nil, nil
	case m.is("waits until a snapshot is written") && m.last != nil && !m.last.ended.Load():
		return nil, errors.New("one at a time")
	case m.is("starts anew with a snapshot"):
		defer clear(m.Words)
	case m.is("writes nothing when there is nothing") && m.Count == 0:
		return &bytes.Buffer{}, nil
	}
	w := &toyWriter{m: m}
	m.last = w
	switch {
	case m.is("shares its words with the snapshot"):
		w.late = m.encode
	case m.is("shares the memory of words with the snapshot"):
		state := *m
		state.Words = maps.Clone(m.Words)
		w.late = state.encode
	default:
		w.all = m.encode()
	}
	return w, nil
}

func (m *toyMachine) encode() []byte {
	s := toySnapshot{State: m.toyState}
	s.State.Words = nil
	switch {
	case m.is("forgets to write the count"):
		s.State.Count = 0
	case m.is("forgets to write the time"):
		s.State.Last = time.Time{}
	}
	s.Keys = slices.Sorted(maps.Keys(m.Words))
	if strings.HasPrefix(m.defect, "writes words in any order") {
		s.Keys = slices.Collect(maps.Keys(m.Words))
	}
	s.Keys = slices.DeleteFunc(s.Keys, func(k string) bool {
		return len(m.Words[k]) == 0 && m.is("forgets empty words") || m.base[k] != nil && m.is("writes only what is new")
	})
	for _, k := range s.Keys {
		s.Values = append(s.Values, m.Words[k])
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// toyWriter writes what was encoded, or what is encoded late, in two pieces.
type toyWriter struct {
	m             *toyMachine
	all           []byte
	late          func() []byte
	ended, failed atomic.Bool
}

func (w *toyWriter) WriteTo(to io.Writer) (n int64, err error) {
	if w.late != nil {
		w.all = w.late()
	}
	again := func() []byte { return w.all }
	if w.m.is("shares the second half with the snapshot") {
		if before := w.m.encode(); bytes.Equal(before, w.all) {
			again = w.m.encode
		}
	}
	first, err := to.Write(w.all[:10])
	more := 0
	if err == nil {
		more, err = to.Write(again()[10:])
	}
	w.ended.Store(true)
	w.failed.Store(err != nil)
	switch {
	case w.m.is("waits for what never comes when it writes"):
		<-make(chan bool)
	case w.m.is("panics when it cannot write") && err != nil:
		panic(err)
	case w.m.is("does not say that it could not write"):
		err = nil
	}
	return int64(first + more), err
}

func (m *toyMachine) Restore(r io.Reader) error {
	b, err := m.read(r)
	if err != nil {
		return err
	}
	var s toySnapshot
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&s); err != nil {
		if m.is("panics when a snapshot is cut short") {
			panic(err)
		}
		if m.is("takes what is there of a snapshot") {
			return nil
		}
		return err
	}
	words := map[string][]byte{}
	if m.is("adds a snapshot to what is there") || m.is("shares its map") {
		words = m.Words
	}
	for i, k := range s.Keys {
		words[k] = s.Values[i]
	}
	m.toyState, m.base = s.State, maps.Clone(words)
	m.Words = words
	if m.is("forgets to read what no answer shows") {
		m.Hidden = 0
	}
	return nil
}

// read reads all there is, as some do.
func (m *toyMachine) read(r io.Reader) (b []byte, err error) {
	piece := make([]byte, 1<<12)
	switch {
	case m.is("reads once"):
		n, err := r.Read(piece)
		return piece[:n], err
	case m.is("drops what comes with the end"):
		for {
			n, err := r.Read(piece)
			if err == io.EOF {
				return b, nil
			}
			if err != nil {
				return nil, err
			}
			b = append(b, piece[:n]...)
		}
	case m.is("reads for ever"):
		for err != io.EOF {
			var n int
			n, err = r.Read(piece)
			b = append(b, piece[:n]...)
		}
		return b, nil
	}
	b, err = io.ReadAll(r)
	if m.is("takes what is there of a snapshot") || m.is("panics when a snapshot is cut short") {
		err = nil
	}
	return b, err
}
