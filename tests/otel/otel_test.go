// Package otel has the SDK of OpenTelemetry listen to simulated hosts. It is a module of
// its own so that the library depends on the API alone.
package otel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/persistence/snapshots"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
	"github.com/castaway-go/castaway/tests/rafttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// counter counts its commands. At "boom" it panics, once, on one host.
type counter struct {
	n    int
	host raftcore.NodeID
	boom *atomic.Uint64 // the host
}

func (c *counter) Apply(e actors.Entry) []byte {
	if string(e.Data) == "boom" && c.boom.CompareAndSwap(uint64(c.host), 0) {
		panic("boom")
	}
	c.n++
	return fmt.Append(nil, c.n)
}

func (c *counter) Query(context.Context, []byte) ([]byte, error) { return fmt.Append(nil, c.n), nil }

func (c *counter) Snapshot() (io.WriterTo, error) { return bytes.NewBufferString(fmt.Sprint(c.n)), nil }

func (c *counter) Restore(r io.Reader) error { _, err := fmt.Fscan(r, &c.n); return err }

// world is three hosts with one group, and who listens to them.
type world struct {
	t       testing.TB
	ctx     context.Context
	systems []*actor.ActorSystem
	hosts   []*actors.Host
	groups  []*actors.Group
	boom    atomic.Uint64
}

func init() { slog.SetLogLoggerLevel(slog.LevelError + 1) }

// quiet returns an actor system that logs nothing.
func quiet() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
}

// inWorld runs f with three hosts in a bubble of fake time.
func inWorld(t *testing.T, told func(raftcore.NodeID) actors.Telemetry, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		w := &world{t: t, ctx: ctx}
		net, peers := rafttest.NewNetwork(1), map[raftcore.NodeID]string{1: "a", 2: "b", 3: "c"}
		for id := raftcore.NodeID(1); id <= 3; id++ {
			system := quiet()
			w.systems = append(w.systems, system)
			host, err := actors.Start(system, actors.HostConfig{
				ID: id, Store: snapshots.Beside(persistence.Memory(), filepath.Join(t.TempDir(), fmt.Sprint(id)), snapshots.Options{}),
				Transport: net.Transport(peers[id]), Peers: peers, Telemetry: told(id),
				Raft: raftcore.Config{ElectionTimeout: 100 * time.Millisecond, Seed: uint64(id), SnapshotEntries: 10, KeepEntries: -1, MaxCommandBytes: 1000},
			})
			if err != nil {
				t.Fatal(err)
			}
			w.hosts = append(w.hosts, host)
		}
		defer time.Sleep(time.Minute) // fake: protoactor's dead-letter throttle outlives what it counts
		defer func() {
			for _, h := range w.hosts {
				if err := h.Stop(ctx); err != nil {
					t.Error(err)
				}
			}
		}()
		for _, h := range w.hosts {
			g, err := h.Open(ctx, actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{host: h.ID(), boom: &w.boom} }})
			if err != nil {
				t.Fatal(err)
			}
			w.groups = append(w.groups, g)
		}
		f(w)
	})
}

// propose proposes on a host, and returns the entry.
func (w *world) propose(ctx context.Context, host int, command string) raftcore.Index {
	w.t.Helper()
	r, err := w.groups[host].Do(ctx, &actors.Request{Operation: actors.Propose, Data: []byte(command)})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Index
}

// leader returns the number of the host that leads.
func (w *world) leader() int {
	w.t.Helper()
	w.propose(w.ctx, 0, "who leads?")
	for i, g := range w.groups {
		if s, err := g.Status(w.ctx); err == nil && s.Role == raftcore.Leader && s.Readable {
			return i
		}
	}
	w.t.Fatal("nobody leads")
	return 0
}

// read returns what a reader has, by name.
func read(t *testing.T, r *metric.ManualReader) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

// points returns a metric's values by their attributes, castaway.node left out; of a
// histogram the counts.
func points(m metricdata.Metrics) map[string]float64 {
	found := map[string]float64{}
	add := func(set attribute.Set, value float64) {
		set, _ = set.Filter(func(kv attribute.KeyValue) bool { return kv.Key != "castaway.node" })
		found[set.Encoded(attribute.DefaultEncoder())] += value
	}
	switch data := m.Data.(type) {
	case nil: // nobody has measured anything
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			add(p.Attributes, float64(p.Value))
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			add(p.Attributes, float64(p.Value))
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			add(p.Attributes, p.Value)
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			add(p.Attributes, float64(p.Count))
		}
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			add(p.Attributes, float64(p.Count))
		}
	default:
		panic(fmt.Sprintf("%s is %T", m.Name, m.Data))
	}
	return found
}

// documented returns the metrics that the documentation of Telemetry names.
func documented(t *testing.T) (names []string) {
	t.Helper()
	source, err := os.ReadFile("../../actors/telemetry.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^//\tcastaway\..*$`).FindAllString(string(source), -1) {
		head := regexp.MustCompile(`^//\t(castaway\.[a-z.]+(?:, castaway\.[a-z.]+)*)`).FindStringSubmatch(line)[1]
		names = append(names, regexp.MustCompile(`castaway\.[a-z.]+`).FindAllString(head, -1)...)
	}
	slices.Sort(names)
	return names
}

func TestMetrics(t *testing.T) {
	for _, perGroup := range []bool{false, true} {
		t.Run(fmt.Sprintf("per group %v", perGroup), func(t *testing.T) {
			reader := metric.NewManualReader()
			provider := metric.NewMeterProvider(metric.WithReader(reader))
			told := func(raftcore.NodeID) actors.Telemetry {
				return actors.Telemetry{Meters: provider, PerGroup: perGroup}
			}
			inWorld(t, told, func(w *world) {
				l := w.leader() // one proposal
				for i := range 20 {
					w.propose(w.ctx, i%3, "x")
				}
				if _, err := w.groups[l].Propose(w.ctx, make([]byte, 2000)); !errors.Is(err, actors.ErrTooLarge) {
					t.Errorf("it ends with %v", err)
				}
				w.boom.Store(uint64(l + 1))
				if _, err := w.groups[l].Propose(w.ctx, []byte("boom")); !errors.Is(err, actors.ErrUnknown) {
					t.Errorf("it ends with %v", err)
				}
				session, err := w.groups[1].OpenSession(w.ctx, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := session.Propose(w.ctx, []byte("x")); err != nil {
					t.Error(err)
				}
				if err := session.Close(w.ctx); err != nil {
					t.Error(err)
				}
				if _, err := w.groups[0].Read(w.ctx, nil); err != nil {
					t.Error(err)
				}
				time.Sleep(10 * time.Second) // fake: until it is calm again
				found := read(t, reader)
				check(t, found, perGroup)
			})
			var names []string
			for name := range read(t, reader) {
				names = append(names, name)
			}
			for _, name := range names {
				if name == "castaway.groups" || name == "castaway.leader" {
					t.Errorf("hosts that have stopped are asked for %s", name)
				}
			}
		})
	}
}

func check(t *testing.T, found map[string]metricdata.Metrics, perGroup bool) {
	t.Helper()
	group, alone := "", ""
	if perGroup {
		group, alone = "castaway.group=counter,", "castaway.group=counter"
	}
	want := map[string]map[string]float64{
		"castaway.proposals": {
			group + "castaway.outcome=done":                          22,
			group + "castaway.outcome=rejected,error.type=too_large": 1,
		},
		"castaway.groups":     {"castaway.state=running": 3},
		"castaway.leader":     {alone: 1},
		"castaway.apply.lag":  {alone: 0},
		"castaway.disk.stall": {"": 0},
		"castaway.restarts":   {group + "error.type=machine": 1},
	}
	unknown := 0.0
	for attrs, n := range points(found["castaway.proposals"]) {
		if strings.Contains(attrs, "castaway.outcome=unknown,error.type=") {
			unknown += n
		}
		if perGroup != strings.Contains(attrs, "castaway.group=") {
			t.Errorf("per group %v: proposals have %q", perGroup, attrs)
		}
	}
	if unknown != 1 {
		t.Errorf("the outcomes of %v proposals are unknown", unknown)
	}
	for name, values := range want {
		got := points(found[name])
		for attrs, value := range values {
			if value != got[attrs] {
				t.Errorf("%s has %v, and should have %v of %q", name, got, value, attrs)
			}
		}
	}
	for _, name := range []string{"castaway.save.duration", "castaway.apply.duration", "castaway.snapshot.size", "castaway.read.duration", "castaway.proposal.duration"} {
		sum := 0.0
		for _, n := range points(found[name]) {
			sum += n
		}
		if sum == 0 {
			t.Errorf("%s has nothing", name)
		}
	}
	units := map[string]string{
		"castaway.proposals": "{proposal}", "castaway.proposal.duration": "s", "castaway.snapshot.size": "By", "castaway.disk.stall": "s", "castaway.peer.lag": "{entry}",
	}
	for name, unit := range units {
		if found[name].Unit != unit {
			t.Errorf("the unit of %s is %q", name, found[name].Unit)
		}
	}
	names := documented(t)
	for name := range found {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not documented", name)
		}
	}
	for _, name := range names {
		only := name == "castaway.term" || name == "castaway.commit.index" || name == "castaway.applied.index"
		if _, is := found[name]; is == (only && !perGroup) {
			t.Errorf("%s is there: %v", name, is)
		}
	}
}

// tracers is one provider for each host, as in three processes, with one exporter.
func tracers(sampler trace.Sampler) (*tracetest.InMemoryExporter, func(raftcore.NodeID) actors.Telemetry) {
	exporter := tracetest.NewInMemoryExporter()
	return exporter, func(raftcore.NodeID) actors.Telemetry {
		return actors.Telemetry{Tracers: trace.NewTracerProvider(trace.WithSyncer(exporter), trace.WithSampler(sampler))}
	}
}

func attr(s tracetest.SpanStub, key attribute.Key) attribute.Value {
	set := attribute.NewSet(s.Attributes...)
	v, _ := set.Value(key)
	return v
}

// The spans of a proposal are one tree, wherever it was proposed, and by whom.
func TestSpansOfAProposal(t *testing.T) {
	t.Run("by a client", func(t *testing.T) { spansOfAProposal(t, (*world).propose) })
	t.Run("by an actor", func(t *testing.T) {
		spansOfAProposal(t, func(w *world, ctx context.Context, host int, command string) raftcore.Index {
			headers := propagation.MapCarrier{}
			propagation.TraceContext{}.Inject(ctx, headers)
			traced := w.systems[host].Root.Copy().WithSenderMiddleware(func(next actor.SenderFunc) actor.SenderFunc {
				return func(from actor.SenderContext, to *actor.PID, e *actor.MessageEnvelope) {
					for key, value := range headers {
						e.SetHeader(key, value)
					}
					next(from, to, e)
				}
			})
			g := w.groups[host]
			answer, err := traced.RequestFuture(g.PID(), &actors.Request{Operation: actors.Propose, Data: []byte(command)}, time.Minute).Result()
			if r, is := answer.(*actors.Response); err == nil && is && r.Err == nil {
				return r.Index
			}
			t.Fatalf("the answer is %v, %v", answer, err)
			return 0
		})
	})
}

func spansOfAProposal(t *testing.T, propose func(*world, context.Context, int, string) raftcore.Index) {
	exporter, told := tracers(trace.AlwaysSample())
	inWorld(t, told, func(w *world) {
		l := w.leader()
		for proposer := range w.groups {
			time.Sleep(time.Second) // fake
			exporter.Reset()
			tracer := trace.NewTracerProvider(trace.WithSyncer(exporter)).Tracer("the user's")
			ctx, root := tracer.Start(w.ctx, "handle a request")
			index := propose(w, ctx, proposer, "x")
			time.Sleep(time.Second) // fake: until the node knows that it is applied
			root.End()
			spans := map[string]tracetest.SpanStub{}
			for _, s := range exporter.GetSpans() {
				if _, twice := spans[s.Name]; twice {
					t.Errorf("there are two of %s", s.Name)
				}
				spans[s.Name] = s
			}
			for _, want := range []struct{ name, parent string }{
				{"castaway.propose", "handle a request"}, {"castaway.commit", "castaway.propose"},
				{"castaway.save", "castaway.commit"}, {"castaway.replicate", "castaway.commit"}, {"castaway.apply", "castaway.propose"},
			} {
				s, is := spans[want.name]
				if parent := spans[want.parent]; !is || s.Parent.SpanID() != parent.SpanContext.SpanID() || s.SpanContext.TraceID() != root.SpanContext().TraceID() || s.StartTime.Before(parent.StartTime) || s.EndTime.Before(s.StartTime) {
					t.Errorf("proposed on host %d: %s is %v, and its parent %v", proposer+1, want.name, s, parent)
				}
				host := l
				if want.name == "castaway.propose" {
					host = proposer
				}
				if attr(s, "castaway.index").AsInt64() != int64(index) || attr(s, "castaway.group").AsString() != "counter" || attr(s, "castaway.node").AsInt64() != int64(host+1) {
					t.Errorf("proposed on host %d: %s has %v", proposer+1, want.name, s.Attributes)
				}
			}
			if len(spans) != 6 {
				t.Errorf("there are %d spans", len(spans))
			}
		}
	})
}

// TestTheSpanOfAClientElsewhere: it has no part in the traces but this.
func TestTheSpanOfAClientElsewhere(t *testing.T) {
	exporter, told := tracers(trace.ParentBased(trace.NeverSample()))
	transport := remote.New(remote.Config{Listen: "127.0.0.1:0", MaxClients: 1})
	host, err := actors.Start(quiet(), actors.HostConfig{ID: 1, Store: persistence.Memory(), Telemetry: told(1), Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Stop(t.Context())
	if _, err := host.Open(t.Context(), actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{host: 1, boom: new(atomic.Uint64)} }}); err != nil {
		t.Fatal(err)
	}
	far, err := remote.Dial(remote.ClientConfig{Seeds: []string{transport.Address()}})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	ctx, root := trace.NewTracerProvider().Tracer("the user's").Start(t.Context(), "handle a request")
	for _, ctx := range []context.Context{t.Context(), ctx} {
		if _, err := far.Group("counter").Propose(ctx, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	root.End()
	for _, s := range exporter.GetSpans() { // what the host does after it has answered may be among them, or not
		if s.Name == "castaway.propose" && s.Parent.SpanID() == root.SpanContext().SpanID() && s.Parent.IsRemote() && s.SpanContext.TraceID() == root.SpanContext().TraceID() {
			return
		}
	}
	t.Errorf("the spans are %v", exporter.GetSpans())
}

// TestTheSpanOfWhatIsWithdrawnEnds: a client elsewhere waits no longer.
func TestTheSpanOfWhatIsWithdrawnEnds(t *testing.T) {
	exporter, told := tracers(trace.AlwaysSample())
	reader := metric.NewManualReader()
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	withMeters := func(id raftcore.NodeID) actors.Telemetry {
		telemetry := told(id)
		telemetry.Meters = meters
		return telemetry
	}
	inWorld(t, withMeters, func(w *world) {
		l := w.leader()
		for i, h := range w.hosts {
			if i != l {
				if err := h.Stop(w.ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		exporter.Reset()
		ctx, cancel := context.WithCancel(w.ctx)
		answers := make(chan *actors.ClientResponse, 1)
		r := &actors.ClientRequest{Group: "counter", Request: actors.Request{Operation: actors.Propose, Data: []byte("x")}}
		w.hosts[l].Ask(ctx, r, func(r *actors.ClientResponse) { answers <- r })
		time.Sleep(10 * time.Millisecond) // fake: it is in the log
		cancel()
		if answer := <-answers; answer.Outcome != actors.Refused(actors.ErrUnknown).Outcome {
			t.Errorf("it ends with %v", answer.Failure)
		}
		spans := exporter.GetSpans()
		if len(spans) != 1 || spans[0].Name != "castaway.propose" || spans[0].Status.Code != codes.Error {
			t.Errorf("the spans are %v", spans)
		}
		unknown := 0.0
		for point, n := range points(read(t, reader)["castaway.proposals"]) {
			if strings.Contains(point, "castaway.outcome=unknown") {
				unknown += n
			}
		}
		if unknown != 1 {
			t.Errorf("%v proposals are counted as unknown", unknown)
		}
	})
}

func TestASpanSaysThatItsProposalHasFailed(t *testing.T) {
	exporter, told := tracers(trace.AlwaysSample())
	inWorld(t, told, func(w *world) {
		l := w.leader()
		exporter.Reset()
		if _, err := w.groups[l].Propose(w.ctx, make([]byte, 2000)); err == nil {
			t.Fatal("it is taken")
		}
		spans := exporter.GetSpans()
		if len(spans) != 1 || spans[0].Name != "castaway.propose" || spans[0].Status.Code != codes.Error || attr(spans[0], "error.type").AsString() != "too_large" {
			t.Errorf("the spans are %v", spans)
		}
	})
}

func TestWhatIsNotSampledIsNotFollowed(t *testing.T) {
	exporter, told := tracers(trace.NeverSample())
	inWorld(t, told, func(w *world) {
		l := w.leader()
		for i := range w.groups {
			w.propose(w.ctx, i, "x")
		}
		w.propose(w.ctx, l, "x")
		if spans := exporter.GetSpans(); len(spans) > 0 {
			t.Errorf("there are %v", spans)
		}
	})
}

// BenchmarkPropose is what it costs to be measured and traced: compare with nothing.
func BenchmarkPropose(b *testing.B) {
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	for _, told := range []struct {
		name string
		actors.Telemetry
	}{
		{"nothing", actors.Telemetry{}},
		{"metrics", actors.Telemetry{Meters: meters}},
		{"traces", actors.Telemetry{Tracers: trace.NewTracerProvider(trace.WithSyncer(tracetest.NewNoopExporter()))}},
	} {
		b.Run(told.name, func(b *testing.B) {
			host, err := actors.Start(quiet(), actors.HostConfig{ID: 1, Store: persistence.Memory(), Telemetry: told.Telemetry})
			if err != nil {
				b.Fatal(err)
			}
			defer host.Stop(context.Background())
			var boom atomic.Uint64
			g, err := host.Open(context.Background(), actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{boom: &boom} }})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := g.Propose(context.Background(), []byte("x")); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
