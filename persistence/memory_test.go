package persistence_test

import (
	"testing"

	"github.com/castaway-go/castaway/persistence"
	"github.com/castaway-go/castaway/tests/rafttest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	rafttest.TestStore(t, func(testing.TB, uint64) rafttest.StorePlace {
		return rafttest.StorePlace{Opener: persistence.Memory()}
	})
}
