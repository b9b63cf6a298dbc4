package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace/noop"
)

// Who measures and traces nothing does not pay for it.
func TestO1_WhatIsNotMeasuredCostsNothing(t *testing.T) {
	h := &Host{}
	n := &node{host: h, group: &Group{host: h}}
	c := &call{operation: Propose, ctx: context.Background()}
	if got := testing.AllocsPerRun(1000, func() {
		began := h.meters.now()
		h.meters.saved(began, nil)
		h.meters.done(n.group, began)
		h.meters.tookSnapshot(n.group, 1)
		h.meters.restarted(n.group, nil)
		if n.watched(c) || !began.IsZero() || h.spanOf(c) != nil {
			t.Fatal("somebody is told")
		}
	}); got != 0 {
		t.Errorf("it costs %v allocations", got)
	}
}

// An error is one of few words, and those that mean something have their own.
func TestErrorsAreFewWords(t *testing.T) {
	for _, test := range []struct {
		err             error
		outcome, reason string
	}{
		{nil, "done", ""},
		{ErrBusy, "rejected", "busy"},
		{fmt.Errorf("%w: %w: %w", ErrRejected, ErrFaulted, ErrStorageFault), "rejected", "storage"},
		{fmt.Errorf("%w: %w", ErrUnknown, context.DeadlineExceeded), "unknown", "deadline"},
		{errors.Join(&NotLeaderError{}, context.Canceled), "rejected", "not_leader"},
		{errors.New("no such key"), "failed", "other"},
		{ErrUnknown, "unknown", "other"},
	} {
		if outcome, reason := outcomeOf(test.err); outcome != test.outcome || reason != test.reason {
			t.Errorf("%v is %s, %s", test.err, outcome, reason)
		}
	}
	seen := map[string]bool{}
	for _, r := range reasons {
		if seen[r.name] || strings.ToLower(r.name) != r.name {
			t.Errorf("%q is twice, or no word", r.name)
		}
		seen[r.name] = true
	}
}

// What comes from other hosts may have any length.
func TestASpanOfAnotherLengthIsNone(t *testing.T) {
	h := &Host{tracer: noop.NewTracerProvider().Tracer("")}
	for length := range 100 {
		ctx := h.spanFrom(&GroupRequest{Operation: Propose, Span: make([]byte, length)})
		if (ctx != nil) != (length == spanBytes) {
			t.Errorf("a span of %d bytes is taken: %v", length, ctx != nil)
		}
	}
	if (&Host{}).spanFrom(&GroupRequest{Operation: Propose, Span: make([]byte, spanBytes)}) != nil {
		t.Error("a span is taken that nobody wants to see")
	}
}
