package main

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/tests/rafttest"
)

// TestStateMachine checks the ledger against the contract, with a Badger so small that
// some commands, and many together, are too large for a transaction of it.
func TestStateMachine(t *testing.T) {
	accounts := func(r *rand.Rand) string { return fmt.Sprint("account-", r.IntN(5)) }
	rafttest.TestStateMachine(t, rafttest.StateMachine{
		NewIn: func(dir string) actors.StateMachine { return newSmallLedger(dir) },
		Command: func(r *rand.Rand) []byte {
			var command []byte
			switch r.IntN(150) {
			case 0:
				for i := range 1800 {
					command = fmt.Appendf(command, "account-%d %d\n", i, r.IntN(3))
				}
			case 1, 2:
				return fmt.Append(nil, accounts(r), " ", []int64{math.MaxInt64, math.MinInt64, 0}[r.IntN(3)])
			default:
				for range 1 + r.IntN(3) {
					command = fmt.Appendf(command, "%s %d\n", accounts(r), r.IntN(200)-100)
				}
			}
			return command
		},
		Query:     func(r *rand.Rand) []byte { return []byte(accounts(r)) },
		Canonical: true,
	})
}

func newSmallLedger(dir string) *ledger {
	l := newLedger(dir, func(string, ...any) {})
	l.table = 1 << 20
	return l
}

// A Save that is too large for one transaction is there when what was decided had yet to be
// carried out, all of it; and nothing of it is there when it had not been decided.
func TestALargeSaveIsAllOrNothing(t *testing.T) {
	for _, decided := range []bool{false, true} {
		t.Run(fmt.Sprint("decided: ", decided), func(t *testing.T) {
			l := newSmallLedger(t.TempDir())
			reopen := func() map[string][]byte {
				t.Helper()
				if l.db != nil {
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
				}
				l = newSmallLedger(l.dir)
				kept, err := l.Open()
				if err != nil {
					t.Fatal(err)
				}
				return kept
			}
			reopen()
			save := func(mark string) {
				t.Helper()
				if err := l.Save(map[string][]byte{"mark": []byte(mark)}); err != nil {
					t.Fatal(err)
				}
			}
			post := func(amount int) {
				t.Helper()
				var command []byte
				for i := range 2_000 {
					command = fmt.Appendf(command, "%d %+d\n", i, amount)
				}
				if answer := l.Apply(actors.Entry{Data: command}); bytes.HasPrefix(answer, []byte(refused)) {
					t.Fatalf("it is %s", answer)
				}
			}
			post(7)
			save("first")
			// What a Save leaves that is cut short.
			writes := []write{{[]byte("next/account/0"), []byte{0}}, {[]byte("next/account/1"), []byte("\x01\x00\x00\x00\x00\x00\x00\x00\x09")}, {[]byte("next/kept/mark"), []byte("\x01second")}}
			if decided {
				writes = append(writes, write{decidedKey, []byte{}})
			}
			if err := l.commit(writes); err != nil {
				t.Fatal(err)
			}
			want := map[bool]string{false: "first 7 7 7", true: "second 0 9 7"}[decided]
			for range 2 {
				kept := reopen()
				got := fmt.Sprint(string(kept["mark"]), " ", l.balance("0"), " ", l.balance("1"), " ", l.balance("1999"))
				if got != want {
					t.Errorf("it has %s, want %s", got, want)
				}
			}
			post(1)
			save("third")
			if kept := reopen(); string(kept["mark"]) != "third" || l.balance("1999") != 8 {
				t.Errorf("after the next one it has %d, and kept %q", l.balance("1999"), kept)
			}
			if left := 0; l.each(nextPrefix, func(_, _ []byte) error { left++; return nil }) != nil || left > 0 {
				t.Errorf("%d are left that were carried out", left)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
