package rafttest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the conformance suites have in common: TestStore and TestStateMachine.

// rounds is how often a random test is run, and with which seeds.
type rounds struct {
	seed  uint64
	once  bool   // one round, with this seed
	limit uint64 // 0: as many as fit the time
}

func roundsFromEnvironment(t *testing.T) (r rounds) {
	seed, replayed, err := fromEnvironment("RAFTTEST_SEED", rand.Uint64()>>1+1)
	if err != nil {
		t.Fatal(err)
	}
	limit, limited, err := fromEnvironment("RAFTTEST_ROUNDS", 0)
	if err != nil {
		t.Fatal(err)
	}
	if limit == 0 && testing.Short() {
		limit = 3
	}
	return rounds{seed, replayed && !limited, limit}
}

// report ends a test as its error says, and tells how to repeat it.
func (r *rounds) report(t *testing.T, err error) {
	t.Helper()
	if missing := (*cannotCheck)(nil); errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("%v\nreplay: RAFTTEST_SEED=%d go test -run '%s'", err, r.seed, runPattern(t.Name()))
	}
}

// each runs a random test again and again, for so long, with seeds that follow one
// another. The one that fails is the seed then.
func (r *rounds) each(tb testing.TB, long time.Duration, round func(seed uint64)) {
	begun := time.Now()
	first := r.seed
	for n := uint64(0); ; n++ {
		enough := n >= r.limit
		if r.limit == 0 {
			enough = time.Since(begun) > long
		}
		if n > 0 && (enough || r.once) {
			tb.Logf("%d rounds from seed %d", n, first)
			return
		}
		r.seed = first + n
		round(r.seed)
	}
}

func fromEnvironment(name string, otherwise uint64) (n uint64, set bool, err error) {
	text := os.Getenv(name)
	if text == "" {
		return otherwise, false, nil
	}
	n, err = strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, false, fmt.Errorf("%s is %q, not a positive number", name, text)
	}
	return n, true, nil
}

// runPattern is what -run takes for a test that is nested in others.
func runPattern(name string) string {
	return "^" + strings.ReplaceAll(regexp.QuoteMeta(name), "/", "$/^") + "$"
}

// failing runs a test, and returns what has ended it.
func failing(test func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failure)
			if !ok {
				panic(p)
			}
			err = f.error
		}
	}()
	test()
	return nil
}

type cannotCheck struct{ text string }

func (c *cannotCheck) Error() string { return c.text }

// failure is what ends a test: a panic, so that tests read as what they do. That,
// and not testing.T, because the suites themselves are tested with what must fail.
type failure struct{ error }

// must ends the test if there is an error.
func must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// demand ends the test, with what the contract says, unless it is so.
func demand(ok bool, contract, format string, args ...any) {
	if !ok {
		must(broken(contract, format, args...))
	}
}

// contractError says what was done that the contract does not allow.
type contractError struct{ found, contract string }

func (e *contractError) Error() string { return e.found + "; the contract: " + e.contract }

func broken(contract, format string, args ...any) error {
	return &contractError{fmt.Sprintf(format, args...), contract}
}
