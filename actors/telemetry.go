package actors

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/castaway-go/castaway/raftcore"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Telemetry says to whom a host tells what it measures, through the API of OpenTelemetry.
// What is nil costs nothing.
//
//	metric                      unit, attributes
//	castaway.proposals          {proposal}  castaway.outcome: done, rejected or unknown; error.type
//	castaway.proposal.duration  s           the same; as its caller feels it, retries included
//	castaway.read.duration      s           castaway.outcome; error.type
//	castaway.save.duration      s           of one sync, for all groups; error.type
//	castaway.apply.duration     s           of the entries that one turn has brought
//	castaway.snapshot.size      By          of those that were taken
//	castaway.restarts           {restart}   of members; error.type: machine, storage, invariant
//	castaway.groups             {group}     castaway.state: running, faulted …
//	castaway.leader             {group}     that this host leads
//	castaway.peer.lag           {entry}     castaway.peer; the most that a follower lacks
//	castaway.apply.lag          {entry}     the most that is committed and not applied
//	castaway.disk.stall         s           how long the oldest Save under way has taken
//	castaway.queue.depth        {message}   castaway.queue: log, nodes, peers
//	castaway.term, castaway.commit.index, castaway.applied.index     with PerGroup only
//
// All have castaway.node, the host's ID.
type Telemetry struct {
	Meters  metric.MeterProvider // nil: nothing is measured
	Tracers trace.TracerProvider // nil: nothing is traced
	// PerGroup gives what is a group's its name, as castaway.group. It is for hosts of some
	// groups: each has some thirty series.
	PerGroup bool
}

// scope is the name of what measures.
const scope = "github.com/castaway-go/castaway/actors"

const (
	keyNode    = attribute.Key("castaway.node")
	keyGroup   = attribute.Key("castaway.group")
	keyOutcome = attribute.Key("castaway.outcome")
	keyReason  = attribute.Key("error.type")
	keyState   = attribute.Key("castaway.state")
	keyPeer    = attribute.Key("castaway.peer")
	keyQueue   = attribute.Key("castaway.queue")
)

// meters measure. A nil one does not.
type meters struct {
	host     *Host
	perGroup bool

	proposals                            metric.Int64Counter
	proposing, reading, saving, applying metric.Float64Histogram
	snapshotSize                         metric.Int64Histogram
	restarts                             metric.Int64Counter
	groups, leader, peerLag, applyLag    metric.Int64ObservableGauge
	term, commit, applied, depth         metric.Int64ObservableGauge
	stall                                metric.Float64ObservableGauge
	registration                         metric.Registration
	sets                                 sync.Map // of measured to metric.MeasurementOption: making one takes longer than measuring
}

// measured is what tells measurements of one metric apart.
type measured struct{ group, outcome, reason string }

// makers makes instruments, and keeps the mistakes.
type maker struct {
	meter metric.Meter
	errs  []error
}

func made[T any](m *maker, instrument T, err error) T {
	m.errs = append(m.errs, err)
	return instrument
}

func (m *maker) seconds(name, what string) metric.Float64Histogram {
	bounds := []float64{50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1, 2, 5, 10}
	h, err := m.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(bounds...))
	return made(m, h, err)
}

func (m *maker) counter(name, unit, what string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what))
	return made(m, c, err)
}

func (m *maker) gauge(name, unit, what string) metric.Int64ObservableGauge {
	g, err := m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what))
	return made(m, g, err)
}

// measure begins to measure, if that is wanted.
func (h *Host) measure() error {
	t := h.cfg.Telemetry
	if t.Tracers != nil {
		h.tracer = t.Tracers.Tracer(scope)
	}
	if t.Meters == nil {
		return nil
	}
	k := &maker{meter: t.Meters.Meter(scope)}
	size, err1 := k.meter.Int64Histogram("castaway.snapshot.size", metric.WithUnit("By"), metric.WithDescription("Snapshots that were taken"),
		metric.WithExplicitBucketBoundaries(1<<10, 1<<14, 1<<18, 1<<20, 1<<22, 1<<24, 1<<26, 1<<28, 1<<30))
	stall, err2 := k.meter.Float64ObservableGauge("castaway.disk.stall", metric.WithUnit("s"), metric.WithDescription("How long the oldest Save under way has taken"))
	m := &meters{
		host: h, perGroup: t.PerGroup, snapshotSize: size, stall: stall,
		proposals: k.counter("castaway.proposals", "{proposal}", "Proposals that have ended"),
		proposing: k.seconds("castaway.proposal.duration", "Of proposals, as the caller feels it"),
		reading:   k.seconds("castaway.read.duration", "Of reads, as the caller feels it"),
		saving:    k.seconds("castaway.save.duration", "Of one sync of the journal, for all groups that wait"),
		applying:  k.seconds("castaway.apply.duration", "Of the entries that one turn has brought to a state machine"),
		restarts:  k.counter("castaway.restarts", "{restart}", "Restarts of members"),
		groups:    k.gauge("castaway.groups", "{group}", "Open groups, by state"),
		leader:    k.gauge("castaway.leader", "{group}", "Groups that this host leads"),
		peerLag:   k.gauge("castaway.peer.lag", "{entry}", "The most entries that a follower lacks"),
		applyLag:  k.gauge("castaway.apply.lag", "{entry}", "The most entries that are committed and not applied"),
		depth:     k.gauge("castaway.queue.depth", "{message}", "What waits in mailboxes"),
	}
	all := []metric.Observable{m.groups, m.leader, m.peerLag, m.applyLag, m.stall, m.depth}
	if m.perGroup {
		m.term = k.gauge("castaway.term", "{term}", "The term of a group")
		m.commit = k.gauge("castaway.commit.index", "{entry}", "The newest committed entry")
		m.applied = k.gauge("castaway.applied.index", "{entry}", "The newest applied entry")
		all = append(all, m.term, m.commit, m.applied)
	}
	var err error
	m.registration, err = k.meter.RegisterCallback(m.observe, all...)
	if err = errors.Join(append(k.errs, err, err1, err2)...); err != nil {
		return err
	}
	h.meters = m
	return nil
}

// end measures no more.
func (m *meters) end() error {
	if m == nil {
		return nil
	}
	return m.registration.Unregister()
}

// now is when something begins that is to be measured.
func (m *meters) now() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Now()
}

// with returns the attributes of a measurement.
func (m *meters) with(group *Group, outcome, reason string) metric.MeasurementOption {
	key := measured{outcome: outcome, reason: reason}
	if m.perGroup && group != nil {
		key.group = group.name
	}
	if set, known := m.sets.Load(key); known {
		return set.(metric.MeasurementOption)
	}
	attrs := m.attributes(key.group)
	if outcome != "" {
		attrs = append(attrs, keyOutcome.String(outcome))
	}
	if reason != "" {
		attrs = append(attrs, keyReason.String(reason))
	}
	set := metric.WithAttributeSet(attribute.NewSet(attrs...))
	m.sets.Store(key, set)
	return set
}

func (m *meters) attributes(group string) []attribute.KeyValue {
	attrs := []attribute.KeyValue{keyNode.Int64(int64(m.host.cfg.ID))}
	if m.perGroup && group != "" {
		attrs = append(attrs, keyGroup.String(group))
	}
	return attrs
}

// called measures a call that has ended.
func (m *meters) called(ctx context.Context, g *Group, operation Operation, began time.Time, err error) {
	outcome, reason := outcomeOf(err)
	with := m.with(g, outcome, reason)
	switch operation {
	case Propose:
		m.proposals.Add(ctx, 1, with)
		m.proposing.Record(ctx, time.Since(began).Seconds(), with)
	case Read:
		m.reading.Record(ctx, time.Since(began).Seconds(), with)
	}
}

func (m *meters) saved(began time.Time, err error) {
	if m != nil {
		_, reason := outcomeOf(err)
		m.saving.Record(context.Background(), time.Since(began).Seconds(), m.with(nil, "", reason))
	}
}

func (m *meters) done(g *Group, began time.Time) {
	if m != nil {
		m.applying.Record(context.Background(), time.Since(began).Seconds(), m.with(g, "", ""))
	}
}

func (m *meters) tookSnapshot(g *Group, bytes int64) {
	if m != nil {
		m.snapshotSize.Record(context.Background(), bytes, m.with(g, "", ""))
	}
}

func (m *meters) restarted(g *Group, fault error) {
	if m != nil {
		_, reason := outcomeOf(fault)
		m.restarts.Add(context.Background(), 1, m.with(g, "", reason))
	}
}

// reasons are what an error can be in error.type: few, whatever its text.
var reasons = []struct {
	err  error
	name string
}{
	{ErrMachineFault, "machine"}, {ErrStorageFault, "storage"}, {ErrInvariantFault, "invariant"}, // before those that wrap them
	{ErrQuarantined, "quarantined"}, {ErrFaulted, "faulted"}, {ErrStopped, "stopped"}, {ErrRemoved, "removed"},
	{ErrSessionExpired, "session_expired"}, {ErrDiskFull, "disk_full"}, {ErrBusy, "busy"}, {ErrTooLarge, "too_large"},
	{ErrOverwritten, "overwritten"}, {ErrSkipped, "skipped"}, {ErrTooOld, "too_old"}, {ErrBadRequest, "bad_request"}, {ErrNotAllowed, "not_allowed"},
	{ErrNotLeader, "not_leader"}, {ErrUnreachable, "unreachable"}, {errGone, "restarting"}, {errNotReady, "not_ready"},
	{context.DeadlineExceeded, "deadline"}, {context.Canceled, "canceled"},
}

// outcomeOf says what became of a call, and in a word why. An error of Query is one of the
// application, and "failed".
func outcomeOf(err error) (outcome, reason string) {
	switch {
	case err == nil:
		return "done", ""
	case errors.Is(err, ErrUnknown):
		outcome = "unknown"
	case errors.Is(err, ErrRejected):
		outcome = "rejected"
	default:
		outcome = "failed"
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return outcome, r.name
		}
	}
	return outcome, "other"
}

// observeTimeout bounds how long an observation waits for the nodes, as a whole.
const observeTimeout = time.Second

// observe tells how the groups are at the moment.
func (m *meters) observe(ctx context.Context, o metric.Observer) error {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	h := m.host
	states, lags := map[MemberState]int64{}, map[raftcore.NodeID]int64{}
	leads, behind := int64(0), int64(0)
	stall := time.Duration(0)
	waiting := map[string]int64{"nodes": 0, "peers": 0, "log": 0}
	for _, g := range h.openGroups() {
		if node := g.node.Load(); node != nil {
			waiting["nodes"] += int64(node.box.UserMessageCount())
		}
		s, _ := g.Status(ctx) // the last one that was told, if the node does not answer
		states[s.State]++
		if s.State != Running {
			continue
		}
		if s.SavingSince != 0 {
			stall = max(stall, h.now().Sub(s.SavingSince))
		}
		behind = max(behind, int64(s.Commit-s.Applied))
		led := int64(0)
		if s.Role == raftcore.Leader {
			led = 1
		}
		leads += led
		for _, p := range s.Peers {
			lag := int64(s.Last - min(p.Match, s.Last))
			if lags[p.ID] = max(lags[p.ID], lag); m.perGroup {
				o.ObserveInt64(m.peerLag, lag, metric.WithAttributes(append(m.attributes(g.name), keyPeer.Int64(int64(p.ID)))...))
			}
		}
		if m.perGroup {
			with := m.with(g, "", "")
			o.ObserveInt64(m.term, int64(s.Term), with)
			o.ObserveInt64(m.commit, int64(s.Commit), with)
			o.ObserveInt64(m.applied, int64(s.Applied), with)
			o.ObserveInt64(m.leader, led, with)
			o.ObserveInt64(m.applyLag, int64(s.Commit-s.Applied), with)
		}
	}
	if !m.perGroup {
		o.ObserveInt64(m.leader, leads, m.with(nil, "", ""))
		o.ObserveInt64(m.applyLag, behind, m.with(nil, "", ""))
		for id, lag := range lags {
			o.ObserveInt64(m.peerLag, lag, metric.WithAttributes(append(m.attributes(""), keyPeer.Int64(int64(id)))...))
		}
	}
	for state, n := range states {
		o.ObserveInt64(m.groups, n, metric.WithAttributes(append(m.attributes(""), keyState.String(state.String()))...))
	}
	o.ObserveFloat64(m.stall, stall.Seconds(), m.with(nil, "", ""))
	waiting["log"] = h.log.waiting()
	for _, p := range h.peers.Load().each() {
		waiting["peers"] += p.waiting()
	}
	for queue, n := range waiting {
		o.ObserveInt64(m.depth, n, metric.WithAttributes(append(m.attributes(""), keyQueue.String(queue))...))
	}
	return ctx.Err()
}

// waiting returns how many messages wait for who is there.
func (p *place) waiting() int64 {
	if r := p.at.Load(); r != nil {
		return int64(r.box.UserMessageCount())
	}
	return 0
}
