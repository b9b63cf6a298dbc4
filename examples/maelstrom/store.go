package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

	"github.com/castaway-go/castaway/actors"
)

// command writes To, if From is nothing, or the value that is there. Keys and values are
// whatever JSON has.
type command struct {
	Key  json.RawMessage `json:"key,omitempty"`
	From json.RawMessage `json:"from,omitempty"`
	To   json.RawMessage `json:"to,omitempty"`
}

// result is the answer to a command or a read.
type result struct {
	Value json.RawMessage `json:",omitempty"`
	Code  int             `json:",omitempty"`
	Text  string          `json:",omitempty"`
}

// store is the state machine: values by their keys.
type store struct{ values map[string]json.RawMessage }

func newStore() *store { return &store{map[string]json.RawMessage{}} }

// Apply writes. What another program has proposed it does not understand, and says so.
func (s *store) Apply(e actors.Entry) []byte {
	var c command
	if err := json.Unmarshal(e.Data, &c); err != nil || c.Key == nil || c.To == nil {
		return encode(result{Code: codeMalformed, Text: "this is no command"})
	}
	if c.From != nil {
		switch value, there := s.values[string(c.Key)]; {
		case !there:
			return encode(result{Code: codeNoKey, Text: "there is no such key"})
		case !bytes.Equal(value, c.From):
			return encode(result{Code: codeNotThat, Text: "it is " + string(value)})
		}
	}
	s.values[string(c.Key)] = c.To
	return encode(result{})
}

// Query reads the value of a key.
func (s *store) Query(_ context.Context, key []byte) ([]byte, error) {
	value, there := s.values[string(key)]
	if !there {
		return encode(result{Code: codeNoKey, Text: "there is no such key"}), nil
	}
	return encode(result{Value: value}), nil
}

func (s *store) Snapshot() (io.WriterTo, error) { return bytes.NewBuffer(encode(s.values)), nil }

func (s *store) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(&s.values) }

// encode is for what has nothing in it that JSON cannot say.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// compact returns JSON as encode writes it, without spaces, so that what is equal has equal
// bytes; nil for none.
func compact(v json.RawMessage) json.RawMessage {
	if b, err := json.Marshal(v); err == nil && len(v) > 0 {
		return b
	}
	return nil
}
