package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, yes, no string
	}{
		{"*", " a abc", ""},
		{"", " ", "a"},
		{"a*", "a abc", " ba"},
		{"*a", "a ba aaa", " ab"},
		{"a*c", "ac abc abcc", "ab acb"},
		{"*a*b*", "ab xaxbx aab", "ba a b"},
		{"h?llo", "hello hallo", "hllo heello"},
		{"h[ae]llo", "hello hallo", "hillo hllo h[ae]llo"},
		{"h[^e]llo", "hallo hbllo", "hello hllo"},
		{"h[a-c]llo", "hallo hcllo", "hdllo"},
		{"h[c-a]llo", "hallo hcllo", "hdllo"},
		{"h[a-]llo", "", "hallo h-llo"}, // ] ends the range, and the set is not closed
		{`h\*llo`, "h*llo", "hello hllo"},
		{`[\]]`, "]", `\ [`},
		{`a\`, `a\`, "a ab"},
		{"[abc", "a c", "d [abc"},
		{"[]a", "", "a []a"},
		{"**b", "b ab", "ba"},
	} {
		for s := range strings.SplitSeq(c.yes, " ") {
			if c.yes != "" && !globMatch([]byte(c.pattern), []byte(s)) {
				t.Errorf("%q does not match %q", c.pattern, s)
			}
		}
		for s := range strings.SplitSeq(c.no, " ") {
			if c.no != "" && globMatch([]byte(c.pattern), []byte(s)) {
				t.Errorf("%q matches %q", c.pattern, s)
			}
		}
	}
}

// The dumb twin tries everything.
func TestGlobAgainstItsDumbTwin(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	draw := func(letters string) []byte {
		b := make([]byte, random.IntN(8))
		for i := range b {
			b[i] = letters[random.IntN(len(letters))]
		}
		return b
	}
	for range 200_000 {
		pattern, s := draw(`abc**?[]^-\`), draw("abc]-")
		if got, want := globMatch(pattern, s), globDumb(pattern, s); got != want {
			t.Fatalf("globMatch(%q, %q) is %v", pattern, s, got)
		}
	}
}

func globDumb(pattern, s []byte) bool {
	if len(pattern) == 0 {
		return len(s) == 0
	}
	if pattern[0] == '*' {
		return globDumb(pattern[1:], s) || len(s) > 0 && globDumb(pattern, s[1:])
	}
	if len(s) == 0 {
		return false
	}
	next, ok := globByte(pattern, 0, s[0])
	return ok && globDumb(pattern[next:], s[1:])
}

func TestGlobIsNotSlowedDownByItsPattern(t *testing.T) {
	pattern, s := strings.Repeat("a*", 1000)+"b", strings.Repeat("a", 100_000)
	if globMatch([]byte(pattern), []byte(s)) {
		t.Error("it matches")
	}
}
