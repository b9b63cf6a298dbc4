package peers

import (
	"fmt"
	"testing"
)

// BenchmarkMemory has whole groups replicate in memory, three members in one process.
func BenchmarkMemory(b *testing.B) {
	for _, clients := range []int{1, 256} {
		b.Run(fmt.Sprintf("etcd=%s/size=16/clients=%d", etcdVersion, clients), func(b *testing.B) {
			data := make([]byte, 16)
			compare(b, clients, []*run{
				{name: "ours", group: newOurs(b, inMemory)},
				{name: "etcd", group: newEtcdGroup(b)},
				{name: "hashicorp", group: newHashicorp(b, inMemory)},
			}, func(g group) error { return g.propose(data) })
		})
	}
}

// BenchmarkDisk has them replicate durably, over sockets on loopback.
func BenchmarkDisk(b *testing.B) {
	for _, clients := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("size=128/clients=%d", clients), func(b *testing.B) {
			data := make([]byte, 128)
			compare(b, clients, []*run{
				{name: "ours", group: newOurs(b, onDisk)},
				{name: "hashicorp", group: newHashicorp(b, onDisk)},
			}, func(g group) error { return g.propose(data) })
		})
	}
}

// BenchmarkReads has clients on the leader's host read, linearizably.
func BenchmarkReads(b *testing.B) {
	for _, clients := range []int{256, 4096} {
		b.Run(fmt.Sprintf("etcd=%s/clients=%d", etcdVersion, clients), func(b *testing.B) {
			compare(b, clients, []*run{
				{name: "ours", group: newOurs(b, inMemory)},
				{name: "etcd", group: newEtcdGroup(b)},
				{name: "hashicorp", group: newHashicorp(b, inMemory)},
			}, func(g group) error { return g.read() })
		})
	}
}
