// Command otel shows what three hosts measure and trace, through OpenTelemetry: the spans of
// one proposal as a tree, across the hosts that it went through, and the metrics of
// the host that leads. It is a module of its own, because the library needs nothing but the
// API of OpenTelemetry, and this needs its SDK.
//
//	go -C examples/otel run .
//
// Look at open: HostConfig.Telemetry takes a MeterProvider and a TracerProvider, and that is
// all. Then at the tree: the caller's span is its root, although host 1 was asked and host 3 has
// led; save is the sync of the leader's disk, replicate what a quorum took beyond that, nothing
// if the others were faster.
//
// Here a reader and an exporter of a few lines print it all. In production give
// the providers others: metric.NewPeriodicReader and trace.WithBatcher, with exporters to
// OTLP or Prometheus.
//
// To try next: Telemetry.PerGroup; trace.WithSampler, and see that what is not sampled costs
// nothing; stop a host, and look at castaway.peer.lag.
package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/persistence/badgerstore"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

func main() {
	slog.SetLogLoggerLevel(slog.LevelError + 1) // the program says itself what happens
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "castaway-otel-")
	check(err)
	discard = func() { os.RemoveAll(dir) }
	defer discard()
	spans := make(spanChannel, 1000)
	hosts, groups, readers := open(ctx, dir, spans)
	for _, h := range hosts {
		defer h.Stop(context.Background())
	}
	check(groups[0].Transfer(ctx, 3))

	fmt.Println("A proposal to host 1, while host 3 leads:")
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	traced, root := provider.Tracer("the application").Start(ctx, "handle a request")
	_, err = groups[0].Propose(traced, nil)
	check(err)
	root.End()
	printTree(await(ctx, spans, root.SpanContext().TraceID(), 6), oteltrace.SpanID{}, "  ")

	for range 100 {
		_, err := groups[2].Propose(ctx, nil)
		check(err)
		_, err = groups[2].Read(ctx, nil)
		check(err)
	}
	fmt.Println("What host 3 has measured, after 100 proposals and 100 reads of its own:")
	var all metricdata.ResourceMetrics
	check(readers[2].Collect(ctx, &all))
	for _, scope := range all.ScopeMetrics {
		slices.SortFunc(scope.Metrics, func(a, b metricdata.Metrics) int { return cmp.Compare(a.Name, b.Name) })
		for _, m := range scope.Metrics {
			printMetric(m)
		}
	}
}

// open starts three hosts, each with providers of its own as in a process of its own, and
// opens the group on each.
func open(ctx context.Context, dir string, spans spanChannel) (hosts []*actors.Host, groups []*actors.Group, readers []*metric.ManualReader) {
	addresses := map[raftcore.NodeID]string{}
	quiet := func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }
	for id := raftcore.NodeID(1); id <= 3; id++ {
		wire, reader := remote.New(remote.Config{Listen: "127.0.0.1:0"}), metric.NewManualReader()
		host, err := actors.Start(actor.NewActorSystem(actor.WithLoggerFactory(quiet)), actors.HostConfig{
			ID: id, Store: badgerstore.Dir(filepath.Join(dir, fmt.Sprint("host-", id))), Transport: wire,
			Telemetry: actors.Telemetry{
				Meters:  metric.NewMeterProvider(metric.WithReader(reader)),
				Tracers: trace.NewTracerProvider(trace.WithSyncer(spans)),
			},
		})
		check(err)
		hosts, readers, addresses[id] = append(hosts, host), append(readers, reader), wire.Address()
	}
	for _, host := range hosts {
		check(host.SetPeers(ctx, addresses))
	}
	for _, host := range hosts {
		group, err := host.Open(ctx, actors.GroupConfig{Name: "counter", Machine: func() actors.StateMachine { return &counter{} }})
		check(err)
		groups = append(groups, group)
	}
	return hosts, groups, readers
}

// spanChannel is an exporter of spans to this program. It takes no more than there is
// room for: nobody waits for who looks on.
type spanChannel chan trace.ReadOnlySpan

func (c spanChannel) ExportSpans(_ context.Context, spans []trace.ReadOnlySpan) error {
	for _, s := range spans {
		select {
		case c <- s:
		default:
		}
	}
	return nil
}

func (spanChannel) Shutdown(context.Context) error { return nil }

// await returns n spans of a trace, when all have come.
func await(ctx context.Context, spans spanChannel, id oteltrace.TraceID, n int) (found []trace.ReadOnlySpan) {
	for len(found) < n {
		select {
		case s := <-spans:
			if s.SpanContext().TraceID() == id {
				found = append(found, s)
			}
		case <-ctx.Done():
			check(fmt.Errorf("%d of %d spans have come: %v", len(found), n, ctx.Err()))
		}
	}
	slices.SortFunc(found, func(a, b trace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return found
}

// printTree prints the spans below a parent.
func printTree(spans []trace.ReadOnlySpan, parent oteltrace.SpanID, indent string) {
	for _, s := range spans {
		if s.Parent().SpanID() != parent {
			continue
		}
		where := "the application"
		set := attribute.NewSet(s.Attributes()...)
		if node, is := set.Value("castaway.node"); is {
			where = "host " + node.String()
		}
		fmt.Printf("%-28s %10v  %s\n", indent+s.Name(), s.EndTime().Sub(s.StartTime()).Round(time.Microsecond), where)
		printTree(spans, s.SpanContext().SpanID(), indent+"  ")
	}
}

// printMetric prints each series of a metric in a line.
func printMetric(m metricdata.Metrics) {
	line := func(set attribute.Set, value string) {
		set, _ = set.Filter(func(kv attribute.KeyValue) bool { return kv.Key != "castaway.node" })
		text := fmt.Sprintf("  %-27s %s %s %s", m.Name, value, strings.Trim(m.Unit, "{}"), set.Encoded(attribute.DefaultEncoder()))
		fmt.Println(strings.TrimRight(text, " "))
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, fmt.Sprint(p.Value))
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, fmt.Sprint(p.Value))
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, fmt.Sprintf("%.4f", p.Value))
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, fmt.Sprintf("%d times, on average %.6f", p.Count, p.Sum/float64(p.Count)))
		}
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			line(p.Attributes, fmt.Sprintf("%d times, on average %d", p.Count, p.Sum/int64(p.Count)))
		}
	}
}

// counter counts commands.
type counter struct{ n int }

func (c *counter) Apply(actors.Entry) []byte                     { c.n++; return c.text() }
func (c *counter) Query(context.Context, []byte) ([]byte, error) { return c.text(), nil }
func (c *counter) Snapshot() (io.WriterTo, error)                { return bytes.NewBuffer(c.text()), nil }
func (c *counter) Restore(r io.Reader) error                     { _, err := fmt.Fscan(r, &c.n); return err }
func (c *counter) text() []byte                                  { return strconv.AppendInt(nil, int64(c.n), 10) }

// discard throws the disks away, however the program ends.
var discard = func() {}

func check(err error) {
	if err != nil {
		discard()
		log.Fatal(err)
	}
}
