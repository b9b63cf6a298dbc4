package remote

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	protoremote "github.com/asynkron/protoactor-go/remote"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/castaway-go/castaway/remote/raftpb"
)

// pinnedFields adds the fields that are set in a message.
func pinnedFields(m protoreflect.Message, to map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		to[f.FullName()] = true
		switch {
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				pinnedFields(v.List().Get(i).Message(), to)
			}
		default:
			pinnedFields(v.Message(), to)
		}
		return true
	})
}

// P10: a field whose bytes nobody has pinned could come to have another number, or another
// type, and no test would tell.
func TestP10_EveryFieldIsPinned(t *testing.T) {
	pinned := map[protoreflect.FullName]bool{}
	add := func(b []byte, m proto.Message) {
		t.Helper()
		if err := proto.Unmarshal(b, m); err != nil {
			t.Fatal(err)
		}
		pinnedFields(m.ProtoReflect(), pinned)
	}
	files, err := filepath.Glob("testdata/*.hex")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(file, "conversation-") {
			for _, lane := range conversation(t, file, "127.0.0.1:70002", "127.0.0.1:70001") {
				for _, m := range lane {
					for _, e := range m.GetMessageBatch().GetEnvelopes() {
						add(e.MessageData, &raftpb.Packet{})
					}
				}
			}
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
		if err != nil {
			t.Fatal(file, err)
		}
		switch name := filepath.Base(file); {
		case strings.HasPrefix(name, "client-"):
			batch := &protoremote.MessageBatch{}
			if err := proto.Unmarshal(b, batch); err != nil {
				t.Fatal(file, err)
			}
			for _, e := range batch.Envelopes {
				if strings.HasPrefix(name, "client-requests") {
					add(e.MessageData, &raftpb.ClientRequest{})
				} else {
					add(e.MessageData, &raftpb.ClientResponse{})
				}
			}
		default:
			add(b, &raftpb.Packet{})
		}
	}
	messages := raftpb.File_castaway_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !pinned[name] {
				t.Errorf("%s is in none of the files in testdata", name)
			}
		}
	}
}
