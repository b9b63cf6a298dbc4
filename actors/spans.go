package actors

import (
	"context"
	"time"

	"github.com/castaway-go/castaway/raftcore"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The spans of a proposal:
//
//	castaway.propose          on the host that is asked, until it answers
//	├── castaway.commit       on the leader's, from when it has a place in the log
//	│   ├── castaway.save     until it is on the leader's disk
//	│   └── castaway.replicate   from there until it is on a quorum's
//	└── castaway.apply        until the leader's state machine has applied it
//
// It is a part of the span of who asks: in the context, in the headers of an actor's message,
// or in the request of a client elsewhere. Those of the leader's host are made when their ends
// are known: a proposal whose span is not sampled is followed by nobody.

const keyIndex, keyTerm = attribute.Key("castaway.index"), attribute.Key("castaway.term")

// observed reports whether somebody measures or traces what the group is asked.
func (h *Host) observed() bool { return h.meters != nil || h.tracer != nil }

// observe measures and traces an operation.
func (g *Group) observe(ctx context.Context, operation Operation, do func(context.Context) outcome) outcome {
	ctx, done := g.observing(ctx, operation)
	o := do(ctx)
	done(o)
	return o
}

// observeCall measures and traces a call of who does not wait for it, and returns who is to be
// told of the outcome: answer, or who tells it.
func (g *Group) observeCall(c *call, operation Operation, answer func(outcome)) func(outcome) {
	if !g.host.observed() {
		return answer
	}
	ctx := c.ctx
	if ctx == nil { // an actor's
		ctx = context.Background()
	}
	ctx, done := g.observing(ctx, operation)
	if operation == Propose {
		c.ctx = ctx // with its span
	}
	return func(o outcome) {
		done(o)
		answer(o)
	}
}

// observing begins to measure and to trace an operation, until done is called.
func (g *Group) observing(ctx context.Context, operation Operation) (_ context.Context, done func(outcome)) {
	h := g.host
	began := time.Now()
	var span trace.Span
	if h.tracer != nil && operation == Propose {
		ctx, span = h.tracer.Start(ctx, "castaway.propose", trace.WithAttributes(keyGroup.String(g.name), keyNode.Int64(int64(h.cfg.ID))))
	}
	return ctx, func(o outcome) {
		if h.meters != nil {
			h.meters.called(ctx, g, operation, began, o.err)
		}
		if span == nil {
			return
		}
		if o.err != nil {
			outcome, reason := outcomeOf(o.err)
			span.SetAttributes(keyOutcome.String(outcome), keyReason.String(reason))
			span.SetStatus(codes.Error, o.err.Error())
		} else if o.index != 0 {
			span.SetAttributes(keyIndex.Int64(int64(o.index)))
		}
		span.End()
	}
}

// traceparent is what W3C calls a header with a span.
const traceparent = "traceparent"

// traceparentOf returns the span in a context, if somebody wants to see it.
func traceparentOf(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	headers := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, headers)
	return headers[traceparent]
}

// inSpan returns ctx with the span that some headers have; without it if they have none that
// is valid, or if nobody wants to see it here.
func (h *Host) inSpan(ctx context.Context, headers propagation.MapCarrier) context.Context {
	if h.tracer == nil {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, headers)
}

// traced reports whether somebody wants to see the spans of a call.
func (h *Host) traced(c *call) bool {
	return h.tracer != nil && c != nil && c.ctx != nil && trace.SpanContextFromContext(c.ctx).IsSampled()
}

// spanBytes is the size of GroupRequest.Span.
const spanBytes = 16 + 8 + 1

// spanOf returns the span of a call for its way to another host.
func (h *Host) spanOf(c *call) []byte {
	if !h.traced(c) {
		return nil
	}
	s := trace.SpanContextFromContext(c.ctx)
	id, own := s.TraceID(), s.SpanID()
	return append(append(append(make([]byte, 0, spanBytes), id[:]...), own[:]...), byte(s.TraceFlags()))
}

// spanFrom returns a context with the span of a proposal from another host; nil if there
// is none, or if nobody wants to see it here.
func (h *Host) spanFrom(r *GroupRequest) context.Context {
	if h.tracer == nil || len(r.Span) != spanBytes || r.Operation == Read {
		return nil
	}
	s := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(r.Span[:16]), SpanID: trace.SpanID(r.Span[16:24]), TraceFlags: trace.TraceFlags(r.Span[24]), Remote: true,
	})
	return trace.ContextWithSpanContext(context.Background(), s)
}

// proposal is one that somebody follows.
type proposal struct {
	tag                      raftcore.Tag    // as long as the core has it
	ctx                      context.Context // with the span that it is a part of; nil: nobody traces it
	queued, saved, committed time.Time
}

// trace makes the spans of a proposal that is applied, or that has ended with an error.
func (n *node) trace(p *proposal, entry raftcore.EntryID, now time.Time, err error) {
	if p.ctx == nil {
		return
	}
	tracer := n.host.tracer
	what := trace.WithAttributes(keyGroup.String(n.group.name), keyNode.Int64(int64(n.host.cfg.ID)), keyTerm.Int64(int64(entry.Term)), keyIndex.Int64(int64(entry.Index)))
	span := func(ctx context.Context, name string, from, to time.Time) context.Context {
		if from.IsZero() {
			return ctx // it has not come that far
		}
		open := to.IsZero()
		if open {
			to = now
		}
		ctx, s := tracer.Start(ctx, name, what, trace.WithTimestamp(from))
		if open && err != nil {
			_, reason := outcomeOf(err)
			s.SetAttributes(keyReason.String(reason))
			s.SetStatus(codes.Error, err.Error())
		}
		s.End(trace.WithTimestamp(to))
		return ctx
	}
	within := span(p.ctx, "castaway.commit", p.queued, p.committed)
	span(within, "castaway.save", p.queued, p.saved)
	span(within, "castaway.replicate", p.saved, p.committed)
	span(p.ctx, "castaway.apply", p.committed, time.Time{})
}
