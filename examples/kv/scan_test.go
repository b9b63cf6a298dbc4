package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every key that is there during a whole iteration is met, exactly once, however
// many others come and go, and on whichever member each step is taken.
func TestScanMeetsEveryKeyThatStays(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	members := []*history{newHistory(), newHistory(), newHistory()}
	everywhere := func(line string) {
		for _, m := range members {
			m.at(1, line)
		}
	}
	for i := range 3000 {
		everywhere(fmt.Sprintf("SET stays%d v", i))
	}
	for round, count := range []int{1, 3, 10, 1000, 100_000} {
		for i := range 5000 {
			everywhere(fmt.Sprintf("SET passing%d-%d v", round, i))
		}
		met := map[string]int{}
		cursor := uint64(0)
		for {
			keys, next := members[random.IntN(3)].keys.find(cursor, count, maxScanBytes, []byte("*"))
			for _, k := range keys {
				met[k]++
			}
			if cursor = next; cursor == 0 {
				break
			}
			if random.IntN(10) == 0 {
				everywhere(fmt.Sprintf("DEL passing%d-%d", round, random.IntN(5000)))
				everywhere(fmt.Sprintf("SET new%d-%d v", round, random.IntN(5000)))
				everywhere(fmt.Sprintf("SET stays%d again", random.IntN(3000)))
			}
		}
		for i := range 3000 {
			if n := met[fmt.Sprintf("stays%d", i)]; n != 1 {
				t.Errorf("COUNT %d: met stays%d %d times", count, i, n)
			}
		}
	}
}

func TestScanVisitsAsManyAsAsked(t *testing.T) {
	h := newHistory()
	for i := range 5000 {
		h.at(1, fmt.Sprintf("SET key%d v", i))
	}
	for _, count := range []int{1, 2, 10, 999} {
		cursor, met := uint64(0), 0
		for steps := 0; ; steps++ {
			keys, next := h.keys.find(cursor, count, maxScanBytes, []byte("*"))
			met += len(keys)
			if cursor = next; cursor == 0 {
				break
			}
			if len(keys) != count {
				t.Fatalf("COUNT %d: %d keys", count, len(keys))
			}
			if cursor >= 1<<53 {
				t.Fatalf("the cursor %d does not fit a float64", cursor)
			}
		}
		if met != 5000 {
			t.Errorf("COUNT %d: %d keys", count, met)
		}
	}
}

// A MATCH that nothing matches still comes to its end, with empty answers.
func TestScanMatch(t *testing.T) {
	h := newHistory()
	var want []string
	for i := range 2000 {
		key := fmt.Sprintf("key%d", i)
		h.at(1, "SET "+key+" v")
		if strings.HasSuffix(key, "07") {
			want = append(want, key)
		}
	}
	for _, c := range []struct {
		pattern string
		want    []string
	}{{"key*07", want}, {"key7", []string{"key7"}}, {"nothing", nil}} {
		var got []string
		for cursor := uint64(0); ; {
			var keys []string
			keys, cursor = h.keys.find(cursor, 10, maxScanBytes, []byte(c.pattern))
			got = append(got, keys...)
			if cursor == 0 {
				break
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.pattern, got, c.want)
		}
	}
}

// Cursors outlive processes: places may never change.
func TestPlacesAreForEver(t *testing.T) {
	for key, want := range map[string]uint64{"": 0xecba3df2c338, "a": 0xed8170de1919, "foo": 0x65a1ad7a7504, "user:1000": 0xa4966ae49fa0} {
		if got := place(key); got != want {
			t.Errorf("place(%q) is %#x, was %#x", key, got, want)
		}
		if place([]byte(key)) != place(key) {
			t.Errorf("%q has two places", key)
		}
	}
}

func TestIntegersAreReadAsStrictlyAsByRedis(t *testing.T) {
	for _, s := range []string{"0", "1", "-1", "9223372036854775807", "-9223372036854775808", "100"} {
		if got, ok := parseInt([]byte(s)); !ok || strconv.FormatInt(got, 10) != s {
			t.Errorf("%s: %d %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-", "+1", "-0", "01", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "99999999999999999999", "184467440737095516170"} {
		if got, ok := parseInt([]byte(s)); ok {
			t.Errorf("%q is %d", s, got)
		}
	}
}
