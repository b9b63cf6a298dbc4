package dashboard_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/actors/dashboard"
	"github.com/castaway-go/castaway/persistence"
)

// nothing is a machine without a state.
type nothing struct{}

func (nothing) Apply(actors.Entry) []byte                     { return nil }
func (nothing) Query(context.Context, []byte) ([]byte, error) { return nil, nil }
func (nothing) Snapshot() (io.WriterTo, error)                { return strings.NewReader(""), nil }
func (nothing) Restore(io.Reader) error                       { return nil }

// The dashboard is a handler of an application's server. Its orchestrator asks there whether
// the process is well, and an operator looks at the page.
func ExampleNew() {
	ctx := context.Background()
	quiet := func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }
	host, err := actors.Start(actor.NewActorSystem(actor.WithLoggerFactory(quiet)), actors.HostConfig{ID: 1, Store: persistence.Memory()})
	if err != nil {
		log.Fatal(err)
	}
	defer host.Stop(ctx)
	group, err := host.Open(ctx, actors.GroupConfig{Name: "accounts", Machine: func() actors.StateMachine { return nothing{} }})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := group.Propose(ctx, nil); err != nil {
		log.Fatal(err)
	}

	handler, err := dashboard.New(dashboard.Config{Hosts: func() []*actors.Host { return []*actors.Host{host} }})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/raft/", http.StripPrefix("/raft", handler))
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, path := range []string{"/raft/healthz", "/raft/readyz?group=accounts"} {
		answer, err := http.Get(server.URL + path)
		if err != nil {
			log.Fatal(err)
		}
		answer.Body.Close()
		fmt.Println(path, answer.Status)
	}
	// Output:
	// /raft/healthz 200 OK
	// /raft/readyz?group=accounts 200 OK
}
