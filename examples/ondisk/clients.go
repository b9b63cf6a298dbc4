package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/castaway-go/castaway/actors"
)

const patience = 5 * time.Second

// clients serves them over HTTP:
//
//	POST /postings          a command, in the body; see parse
//	GET  /accounts/NAME     the balance
//	POST /sessions          opens a session
//	POST /postings?session=S&sequence=N    the Nth command of a session, one after the other:
//	                        however often it is sent, to whichever member, it is posted once
//	GET  /status            how the member is
//
// What was not carried out, and will not be, is answered with 503: try again. With 504 it may
// have been: only a session makes it safe to try again.
func clients(group *actors.Group) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, do func(context.Context, *http.Request) (string, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), patience)
			defer cancel()
			text, err := do(ctx, r)
			if err != nil {
				http.Error(w, err.Error(), status(err))
				return
			}
			fmt.Fprintln(w, text)
		})
	}
	handle("POST /postings", func(ctx context.Context, r *http.Request) (string, error) {
		propose, err := command(r)
		if err != nil {
			return "", err
		}
		response, err := group.Do(ctx, propose)
		if err != nil {
			return "", err
		}
		return string(response.Data), nil
	})
	handle("GET /accounts/{name}", func(ctx context.Context, r *http.Request) (string, error) {
		balance, err := group.Read(ctx, []byte(r.PathValue("name")))
		return string(balance), err
	})
	handle("POST /sessions", func(ctx context.Context, r *http.Request) (string, error) {
		response, err := group.Do(ctx, &actors.Request{Operation: actors.OpenSession})
		if err != nil {
			return "", err
		}
		return fmt.Sprint(response.Session), nil
	})
	handle("GET /status", func(ctx context.Context, r *http.Request) (string, error) {
		s, err := group.Status(ctx)
		return fmt.Sprintf("%v %v, the log from %d to %d, applied up to %d", s.State, s.Role, s.First, s.Last, s.Applied), err
	})
	return mux
}

var errBadQuery = fmt.Errorf("%w: a session and a sequence are numbers, from 1 on", actors.ErrBadRequest)

// command is what a client wants posted.
func command(r *http.Request) (*actors.Request, error) {
	propose := &actors.Request{Operation: actors.Propose}
	if q := r.URL.Query(); q.Has("session") {
		id, err := strconv.ParseUint(q.Get("session"), 10, 64)
		sequence, wrong := strconv.ParseUint(q.Get("sequence"), 10, 64)
		if err != nil || wrong != nil || sequence == 0 {
			return nil, errBadQuery
		}
		propose.Session = actors.InSession{ID: actors.SessionID(id), Sequence: sequence, Done: sequence - 1}
	}
	var err error
	propose.Data, err = io.ReadAll(r.Body)
	return propose, err
}

// status is what HTTP has for an error.
func status(err error) int {
	switch {
	case errors.Is(err, actors.ErrBadRequest), errors.Is(err, errBadAccount):
		return http.StatusBadRequest
	case errors.Is(err, actors.ErrUnknown):
		return http.StatusGatewayTimeout
	}
	return http.StatusServiceUnavailable
}
