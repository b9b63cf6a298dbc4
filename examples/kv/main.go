// Command kv is a replicated key-value store that speaks the Redis protocol.
//
//	go run ./examples/kv                                  three members in one process
//	go run ./examples/kv -id 1 -peers 1=…,2=…,3=… -dir D  one member of three processes
//
// Every member serves every command; any Redis client will do.
//
// To read it, begin with machine.go: the state machine is what is replicated.
// Then member.go, which puts a member together, and server.go, which takes
// commands from clients and brings them to the group.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // whoever insists ends the process at once
	o, err := parseOptions(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "kv: %v (-h explains the flags)\n", err)
		os.Exit(2)
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "kv: %v\n", err)
		os.Exit(1)
	}
}

// run runs members until ctx ends.
func run(ctx context.Context, o options) error {
	configs, err := o.members()
	if err != nil {
		o.discard()
		return err
	}
	for _, c := range configs {
		defer c.redis.Close()
	}
	page, err := o.listenHTTP()
	if err != nil {
		o.discard()
		return err
	}
	defer page.Close()
	crew := &crew{options: o}
	shown := make(chan struct{})
	showing, hide := context.WithCancel(ctx)
	defer func() { hide(); <-shown }()
	go func() {
		defer close(shown)
		screen.Watch(showing)
	}()
	if err := page.serve(crew); err != nil {
		o.discard()
		return err
	}
	members, err := crew.openMembers(ctx, configs)
	if err != nil {
		o.discard()
		if ctx.Err() != nil {
			return nil // stopped before it had started
		}
		return err
	}
	if err := crew.openLearners(ctx); err != nil {
		_ = crew.close()
		return err
	}
	crew.started.Store(true)
	o.greet(members, page)
	news := make(chan struct{})
	go func() {
		defer close(news)
		announce(ctx, members)
	}()
	<-ctx.Done()
	<-news
	say("stopping")
	page.Close()
	if err := crew.close(); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	o.farewell()
	return nil
}

// openMembers opens all members, or none.
func (c *crew) openMembers(ctx context.Context, configs []memberConfig) ([]*member, error) {
	var members []*member
	for _, cfg := range configs {
		cfg.opening = c.reading(cfg.id)
		members = append(members, newMember(cfg)) // whose clients are told why they have to wait
	}
	c.begin(members...)
	for _, m := range members {
		if err := m.open(ctx); err != nil {
			_ = closeMembers(members)
			return nil, err
		}
	}
	c.add(members...)
	return members, nil
}

// closeMembers closes all members, at the same time.
func closeMembers(members []*member) error {
	closed := make(chan error, len(members))
	for _, m := range members {
		go func() { closed <- m.close() }()
	}
	var errs []error
	for range members {
		errs = append(errs, <-closed)
	}
	return errors.Join(errs...)
}
