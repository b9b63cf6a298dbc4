package rafttest_test

import (
	"testing"

	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestTheExamplePasses(t *testing.T) { rafttest.TestStateMachine(t, totals) }
