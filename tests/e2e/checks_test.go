//go:build unix

package e2e

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/redis/go-redis/v9"
)

// register is what a key of the store is: it holds what was last written.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, o := range history {
			key := o.Input.(op).key
			byKey[key] = append(byKey[key], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		o := input.(op)
		if o.kind == "get" {
			return output.(string) == state.(string), state
		}
		return true, o.value
	},
	DescribeOperation: func(input, output any) string {
		o := input.(op)
		if o.kind == "get" {
			return fmt.Sprintf("get %s is %q", o.key, output)
		}
		return fmt.Sprintf("set %s %q %v", o.key, o.value, o.outcome)
	},
}

// checkLinearizable has porcupine find an order in which the requests on the
// registers may have happened. A write whose outcome is unknown may have
// happened at any time since, or will; one that was rejected never.
func (c *cluster) checkLinearizable(history []op) {
	var operations []porcupine.Operation
	for _, o := range history {
		if o.kind != "get" && o.kind != "set" || o.outcome == rejected || o.kind == "get" && o.outcome == unknown {
			continue
		}
		back := o.back
		if o.outcome == unknown {
			back = math.MaxInt64
		}
		operations = append(operations, porcupine.Operation{ClientId: o.client, Input: o, Call: o.call, Output: o.value, Return: back})
	}
	began := time.Now()
	result, info := porcupine.CheckOperationsVerbose(register, operations, 2*time.Minute)
	c.say("porcupine: %d operations on registers are %v, found in %v", len(operations), map[porcupine.CheckResult]string{
		porcupine.Ok: "linearizable", porcupine.Illegal: "NOT linearizable", porcupine.Unknown: "undecided",
	}[result], time.Since(began).Round(time.Millisecond))
	if result == porcupine.Ok {
		return
	}
	c.t.Errorf("the history is not linearizable, or that could not be decided in time")
	if err := porcupine.VisualizePath(register, info, filepath.Join(c.dir, "history.html")); err != nil {
		c.t.Error(err)
	}
}

// settle waits until nobody has anything left to apply.
func (c *cluster) settle() {
	c.t.Helper()
	leader := c.leader()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := leader.admin.Set(ctx, "settled", "yes", 0).Err(); err != nil {
		c.t.Fatalf("the last write: %v", err)
	}
	for _, m := range c.members {
		m.caughtUp()
		c.eventually(fmt.Sprintf("member %d does not have the last write", m.id), func() bool {
			s, err := m.stale(ctx, []string{"settled"})
			return err == nil && s[0] == "yes"
		})
	}
}

// stale reads what a member itself has applied. A key that is not there is
// "(nil)".
func (m *member) stale(ctx context.Context, keys []string) ([]string, error) {
	pipe := m.admin.Pipeline()
	for _, key := range keys {
		pipe.Do(ctx, "RAFT.GET", key)
	}
	answers, err := pipe.Exec(ctx)
	if err != nil && err != redis.Nil {
		return nil, err
	}
	values := make([]string, len(keys))
	for i, a := range answers {
		v, err := a.(*redis.Cmd).Text()
		if err == redis.Nil {
			v = "(nil)"
		} else if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

// checkKept looks on every member for every write that was acknowledged, and for
// those that were rejected.
func (c *cluster) checkKept(history []op) {
	var keys []string
	var writes []op
	lists := map[string][]op{}
	for _, o := range history {
		switch o.kind {
		case "once":
			keys, writes = append(keys, o.key), append(writes, o)
		case "append":
			lists[o.key] = append(lists[o.key], o)
		}
	}
	acknowledged, appended := 0, 0
	for _, m := range c.members {
		acknowledged, appended = 0, 0
		for from := 0; from < len(keys); from += 1000 {
			to := min(from+1000, len(keys))
			values := c.staleAll(m, keys[from:to])
			for i, got := range values {
				w := writes[from+i]
				switch w.outcome {
				case happened:
					acknowledged++
					if got != w.value {
						c.t.Errorf("member %d lost an acknowledged write: %s is %q: %v", m.id, w.key, got, w)
					}
				case rejected:
					if got != "(nil)" {
						c.t.Errorf("member %d has a write that was rejected: %v", m.id, w)
					}
				case unknown:
					if got != "(nil)" && got != w.value {
						c.t.Errorf("member %d has %q: %v", m.id, got, w)
					}
				}
			}
		}
		for key, ops := range lists {
			appended += c.checkList(m, key, c.staleAll(m, []string{key})[0], ops)
		}
	}
	c.say("every member has all %d acknowledged keys, and all %d acknowledged appends once and in order", acknowledged, appended)
}

// checkList checks what one client has appended: each acknowledged number once,
// each rejected one never, each unknown one once at most; and what was
// acknowledged in the order in which it was sent. An unknown one may come late.
func (c *cluster) checkList(m *member, key, got string, ops []op) (acknowledged int) {
	if got == "(nil)" {
		got = ""
	}
	place := map[string][]int{}
	for i, n := range strings.Fields(got) {
		place[n+" "] = append(place[n+" "], i)
	}
	last := -1
	for _, o := range ops {
		at := place[o.value]
		delete(place, o.value)
		switch o.outcome {
		case happened:
			acknowledged++
			if len(at) != 1 {
				c.t.Errorf("member %d has %d times what was appended once: %v", m.id, len(at), o)
			} else if at[0] < last {
				c.t.Errorf("member %d has it before what was appended earlier: %v", m.id, o)
			} else {
				last = at[0]
			}
		case rejected:
			if len(at) > 0 {
				c.t.Errorf("member %d has an append that was rejected: %v", m.id, o)
			}
		case unknown:
			if len(at) > 1 {
				c.t.Errorf("member %d has %d times what was appended once: %v", m.id, len(at), o)
			} else if len(at) == 1 && at[0] < last {
				c.t.Errorf("member %d has it before what was appended earlier: %v", m.id, o)
			}
		}
	}
	for value := range place {
		c.t.Errorf("member %d has %q in %s, which nobody appended", m.id, value, key)
	}
	return acknowledged
}

func (c *cluster) staleAll(m *member, keys []string) []string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	values, err := m.stale(ctx, keys)
	if err != nil {
		c.t.Fatalf("asking member %d what it has: %v", m.id, err)
	}
	return values
}

// checkAnswers looks for answers that should not be.
func (c *cluster) checkAnswers(history []op) {
	shown := 0
	for _, o := range history {
		if o.outcome == broken {
			if shown++; shown <= 10 {
				c.t.Errorf("an answer that should not be: %v", o)
			}
		}
	}
}
