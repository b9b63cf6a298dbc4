package actors_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/castaway-go/castaway/actors"
)

// batcher is an agent that takes commands together, and remembers how many.
type batcher struct {
	agent
	largest *int
}

func (b *batcher) ApplyBatch(entries []actors.Entry) (answers [][]byte) {
	*b.largest = max(*b.largest, len(entries))
	for _, e := range entries {
		answers = append(answers, b.agent.Apply(e))
	}
	return answers
}

// inBatches has all hosts start anew with batchers; it returns the largest batch of each.
func (w *world) inBatches() []int {
	largest := make([]int, len(w.hosts)+1)
	w.machine = func(h *hostUp) actors.StateMachine {
		return &batcher{agent{register{world: w, on: h.id}}, &largest[h.id]}
	}
	w.compacting(50)
	return largest
}

// TestCommandsAreAppliedTogether, each with its own answer and its own effects; those of
// sessions between them, too.
func TestCommandsAreAppliedTogether(t *testing.T) {
	inWorld(t, 3, func(w *world) {
		largest := w.inBatches()
		l := w.settled()
		s := l.session(0)
		defer s.Close(w.ctx)
		const n = 300
		var clients sync.WaitGroup
		var mu sync.Mutex
		answers := map[string]string{}
		for i := range n {
			clients.Go(func() {
				command := fmt.Sprint("append ", i)
				propose := l.group.Propose
				if i%50 == 0 {
					propose = s.Propose
				}
				answer, err := propose(w.ctx, []byte(command))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				answers[command] = string(answer)
			})
		}
		clients.Wait()
		w.until("all is appended", func() bool { return l.read("len") == fmt.Sprint(2*n) })
		log := l.log()
		for command, answer := range answers {
			var at int
			if _, err := fmt.Sscanf(answer, "%d:", &at); err != nil || log[at-1] != command {
				t.Errorf("%q was answered with %q", command, answer)
			}
			if _, what, _ := strings.Cut(command, " "); count(log, what) != 1 {
				t.Errorf("%q is there %d times", what, count(log, what))
			}
		}
		for _, h := range w.hosts {
			w.until("it has all", func() bool { return h.applied() == fmt.Sprint(2*n) })
			if largest[h.id] < 10 {
				t.Errorf("host %d applied %d together at most", h.id, largest[h.id])
			}
		}
	})
}

// TestA2_TheCommandAtFaultIsFoundInItsBatch: what was before it is applied, and it is named.
func TestA2_TheCommandAtFaultIsFoundInItsBatch(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.inBatches()
		w.settled()
		h := w.hosts[0]
		w.panicAt("poison")
		var clients sync.WaitGroup
		for i := range 200 {
			command := fmt.Sprint(i)
			if i == 100 {
				command = "poison"
			}
			clients.Go(func() { h.group.Propose(w.ctx, []byte(command)) })
		}
		clients.Wait()
		w.until("the machine is quarantined", func() bool { return errors.Is(h.status().Fault, actors.ErrQuarantined) })
		var q *actors.QuarantineError
		if !errors.As(h.status().Fault, &q) {
			t.Fatal(h.status().Fault)
		}
		w.until("what was before the command is applied", func() bool { return h.status().Applied == q.Entry-1 })
		if before := h.applied(); before == "0" {
			t.Error("nothing was applied before the command")
		}
		if err := h.group.SkipEntry(w.ctx, q.Entry); err != nil {
			t.Fatal(err)
		}
		w.until("it goes on", func() bool {
			answer, err := h.group.Read(w.ctx, []byte("len"))
			return err == nil && string(answer) == "199"
		})
		if log := h.log(); count(log, "poison") != 0 {
			t.Errorf("%q", log)
		}
	})
}
