package remote

import (
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/castaway-go/castaway/actors"
	"github.com/castaway-go/castaway/raftcore"
	"github.com/castaway-go/castaway/remote/raftpb"
)

// clientRequests have every field that a client may set.
func clientRequests() []*actors.ClientRequest {
	return []*actors.ClientRequest{
		{Hosts: true},
		{Cluster: "cluster", Group: "grüppe", Hosts: true, Request: actors.Request{
			Operation: actors.Propose, Data: []byte("command"), Session: actors.InSession{ID: 1 << 40, Sequence: 300, Done: 299},
		}},
		{Group: "g", Request: actors.Request{Operation: actors.Read, Data: []byte{0}, Consistency: actors.BoundedStale, MaxAge: time.Second, After: 77}},
		{Group: "g", Request: actors.Request{
			Operation: actors.ChangeMembers, Members: actors.Members{Voters: []raftcore.NodeID{1, 1 << 63}, Learners: []raftcore.NodeID{3}, Expect: 9},
		}},
		{Group: "g", Request: actors.Request{Operation: actors.Transfer, To: 2}},
		{Group: "g", Request: actors.Request{Operation: actors.SkipEntry, Entry: 1000}},
		{Group: "g", Request: actors.Request{Operation: actors.AwaitChange, Seen: 5}},
		{Group: "g", Request: actors.Request{Operation: actors.OpenSession, Timeout: 1500 * time.Millisecond}},
		{Group: "g", Request: actors.Request{Operation: actors.ChangeMembers, Members: actors.Members{Voters: []raftcore.NodeID{1, 2, 3}, Witnesses: []raftcore.NodeID{3}}}},
		{Group: "g", Request: actors.Request{Operation: actors.Propose}, Traceparent: "00-0102030405060708090a0b0c0d0e0f10-1112131415161718-01"},
	}
}

// clientResponses have every field that a gateway may set.
func clientResponses() []*actors.ClientResponse {
	status := &actors.Status{
		Group: "g", State: actors.Pausing, Version: 3, Autopilot: actors.AutopilotStatus{Now: "now", Last: "last"}, Tombstones: []raftcore.NodeID{8}, Change: 12,
		Status: raftcore.Status{
			ID: 1, Cluster: 1 << 63, Incarnation: 7, Role: raftcore.Leader, Term: 4, Vote: 1, Joined: true, Leader: 1, Commit: 10, Applied: 9, Saved: 11,
			SavingSince: 5, Last: 12, First: 2, Conf: raftcore.ConfState{Voters: []raftcore.NodeID{1, 2}, Outgoing: []raftcore.NodeID{1}, Learners: []raftcore.NodeID{3}, Witnesses: []raftcore.NodeID{2}},
			ConfIndex: 6, Readable: true, Refused: 1, OtherCluster: 2, Silent: []raftcore.NodeID{2}, Quiescent: true, Stalled: true, HandingTo: 2, Witness: true, WitnessesNeeded: true,
			Peers: []raftcore.PeerStatus{{ID: 2, State: raftcore.ProgressReplicate, Match: 8, Next: 9, Heard: 100, Newcomer: true, CaughtUp: true, Witness: true}, {ID: 3}},
		},
		Snapshots: []actors.SnapshotProgress{{Stage: actors.SnapshotSending, Peer: 2, Index: 8, Done: 1, Size: 1 << 40, At: 99}},
	}
	return []*actors.ClientResponse{
		{Outcome: outcomeOK},
		{Outcome: outcomeOK, Data: []byte("answer"), Index: 1 << 50, Age: time.Millisecond, Leader: 3, Hosts: map[raftcore.NodeID]string{1: "a:1", 2: "b:2", 300: "[::1]:3"}},
		{Outcome: outcomeOK, Session: 99},
		{Outcome: outcomeOK, Status: status},
		{Outcome: outcomeOK, Status: &actors.Status{Group: "h"}, StatusFault: &actors.Failure{Message: "disk", Reasons: []actors.ResponseOutcome{outcomeStorageFault}}},
		{Outcome: outcomeRejected, Failure: actors.Failure{Message: "full", Reasons: []actors.ResponseOutcome{outcomeBusy}},
			Busy: &actors.BusyError{What: "bytes", Used: 10, Limit: 9, RetryAfter: time.Second}},
		{Outcome: outcomeUnknown, Failure: actors.Failure{Message: "perhaps"}},
		{Outcome: outcomeQueryError, Failure: actors.Failure{Message: "no such key"}},
	}
}

// A field that a status comes to have travels, too.
func TestEveryFieldOfAStatusTravels(t *testing.T) {
	var look func(v reflect.Value, name string)
	look = func(v reflect.Value, name string) {
		switch {
		case v.IsZero() && name != "Status.Fault": // which StatusFault has
			t.Errorf("%s is not in the example, and so nobody knows whether it travels", name)
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				look(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
		case v.Kind() == reflect.Slice && v.Len() > 0:
			look(v.Index(0), name)
		}
	}
	for _, r := range clientResponses() {
		if r.Status != nil && r.StatusFault == nil {
			look(reflect.ValueOf(*r.Status), "Status")
		}
	}
}

func TestWhatClientsSayIsDecoded(t *testing.T) {
	for i, want := range clientRequests() {
		in := encodeClientRequest(uint64(i+1), want)
		if got, err := decodeClientRequest(in); err != nil || !reflect.DeepEqual(got, want) || in.Id != uint64(i+1) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
	for i, want := range clientResponses() {
		in := encodeClientResponse(uint64(i+1), want)
		if got, err := decodeClientResponse(in); err != nil || !reflect.DeepEqual(got, want) || in.Id != uint64(i+1) {
			t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
		}
	}
}

// P10: the bytes that clients and gateways send are pinned, as those of packets are: all
// requests, and all responses, one after the other as the envelopes of a batch.
func TestP10_GoldenClients(t *testing.T) {
	var requests, responses []proto.Message
	for i, r := range clientRequests() {
		requests = append(requests, encodeClientRequest(uint64(i), r))
	}
	requests = append(requests, &raftpb.ClientRequest{Version: clientVersion, Id: 3, Cancel: true})
	for i, r := range clientResponses() {
		responses = append(responses, encodeClientResponse(uint64(i), r))
	}
	for i, raw := range goldenBatch(t, "testdata/client-requests-v1.hex", requests) {
		m := new(raftpb.ClientRequest)
		if err := proto.Unmarshal(raw, m); err != nil {
			t.Fatal(err)
		}
		if m.Cancel {
			continue
		}
		if got, err := decodeClientRequest(m); err != nil || !reflect.DeepEqual(got, clientRequests()[i]) {
			t.Errorf("request %d is decoded to %+v, %v", i, got, err)
		}
	}
	for i, raw := range goldenBatch(t, "testdata/client-responses-v1.hex", responses) {
		m := new(raftpb.ClientResponse)
		if err := proto.Unmarshal(raw, m); err != nil {
			t.Fatal(err)
		}
		if got, err := decodeClientResponse(m); err != nil || !reflect.DeepEqual(got, clientResponses()[i]) {
			t.Errorf("response %d is decoded to %+v, %v", i, got, err)
		}
	}
}

func TestMessagesOfClientsThatAreNotOursAreRefused(t *testing.T) {
	for name, r := range map[string]*raftpb.ClientResponse{
		"no version":      {},
		"a later version": {Version: 2},
		"an absurd age":   {Version: 1, Age: 1 << 63},
		"an absurd pause": {Version: 1, Busy: &raftpb.Busy{RetryAfter: 1 << 63}},
		"too many hosts":  {Version: 1, Hosts: make([]*raftpb.HostAddress, maxHosts+1)},
		"no conf":         {Version: 1, Status: &raftpb.MemberStatus{}},
		"a broken conf":   {Version: 1, Status: &raftpb.MemberStatus{Conf: []byte{200, 1}}},
	} {
		if got, err := decodeClientResponse(r); err == nil {
			t.Errorf("%s is decoded to %+v", name, got)
		}
	}
	// Of what is of a later version and does no harm the rest is understood.
	got, err := decodeClientResponse(&raftpb.ClientResponse{Version: 1, Outcome: 1 << 20, Failure: &raftpb.Failure{Message: "m", Reasons: []uint32{1 << 20, 4}}})
	if err != nil || got.Outcome != 255 || len(got.Failure.Reasons) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzDecodeClientRequest(f *testing.F) {
	for i, r := range clientRequests() {
		b, err := proto.Marshal(encodeClientRequest(uint64(i), r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m raftpb.ClientRequest
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		r, err := decodeClientRequest(&m)
		if err != nil {
			return
		}
		if again, err := decodeClientRequest(encodeClientRequest(m.Id, r)); err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

func FuzzDecodeClientResponse(f *testing.F) {
	for i, r := range clientResponses() {
		b, err := proto.Marshal(encodeClientResponse(uint64(i), r))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m raftpb.ClientResponse
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		r, err := decodeClientResponse(&m)
		if err != nil {
			return
		}
		// A second time nothing changes; the first time, an address with bytes that are no
		// text, or a fault that says nothing, may.
		once, err := decodeClientResponse(encodeClientResponse(m.Id, r))
		if err != nil {
			t.Fatalf("%+v is refused when it is encoded again: %v", r, err)
		}
		if again, err := decodeClientResponse(encodeClientResponse(m.Id, once)); err != nil || !reflect.DeepEqual(once, again) {
			t.Fatalf("%+v became %+v, %v", once, again, err)
		}
	})
}
