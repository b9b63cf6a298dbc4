package actors

import (
	"context"
	"sync"
	"testing"
)

// TestC1_NoTwoCommandsOfASessionHaveOneNumber: the second one would not be carried out,
// and be answered with what the first one was.
func TestC1_NoTwoCommandsOfASessionHaveOneNumber(t *testing.T) {
	const clients, each = 8, 5000
	s := &Session{open: map[uint64]bool{}, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	taken := map[uint64]bool{}
	take := func() (uint64, error) {
		n, err := s.take(ctx)
		mu.Lock()
		defer mu.Unlock()
		if err == nil && taken[n] {
			t.Errorf("command %d is there twice", n)
			cancel() // one that nobody has would be waited for
		}
		taken[n] = true
		return n, err
	}
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range each {
				n, err := take()
				if err != nil {
					return
				}
				s.answered(n)
			}
		})
	}
	all.Wait()
	if s.done != clients*each {
		t.Errorf("%d commands of %d are answered", s.done, clients*each)
	}
}
