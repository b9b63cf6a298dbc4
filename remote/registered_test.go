package remote

import (
	"strings"
	"testing"

	"github.com/castaway-go/castaway/remote/raftpb"
)

// TestOurFilesHaveNamesOfOurOwn: a program that has two libraries with a "raft.proto" does
// not start, and etcd's raft has one.
func TestOurFilesHaveNamesOfOurOwn(t *testing.T) {
	file := raftpb.File_castaway_proto
	if !strings.HasPrefix(file.Path(), "castaway") || !strings.HasPrefix(string(file.Package()), "castaway.") {
		t.Errorf("the file is registered as %q, with messages of %q", file.Path(), file.Package())
	}
}
